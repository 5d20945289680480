"""A source under test, and the vendor it asks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gapless.bars import TS
from gapless.protocols import Source
from gapless.series import Instrument, Series
from gapless.spans import Span


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the path below the source's address, parameters as text, headers."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Json = Any  # what an answer is made of, as the standard library types JSON


@dataclass(frozen=True, slots=True)
class Form:
    """How a vendor writes: ``load`` takes a body apart into lists, objects and numbers, ``dump`` puts one together.

    ``closed``: a body that is cut off can be told from a whole one. Where it cannot, what is left must be true.
    """

    load: Callable[[bytes], Json]
    dump: Callable[[Json], bytes]
    closed: bool = True


def _json(doc: Json) -> bytes:
    return json.dumps(doc, separators=(",", ":")).encode()


def _rows(body: bytes) -> Json:
    return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(body.decode()))]


def _number(text: str) -> Json:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _table(doc: Json) -> bytes:
    made = io.StringIO()
    writer = csv.DictWriter(made, list(dict.fromkeys(name for row in doc for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(doc)
    return made.getvalue().encode()


JSON = Form(json.loads, _json)
CSV = Form(_rows, _table, closed=False)  # a table with a header


@dataclass(frozen=True)
class Subject:
    """A source under test, and the vendor it asks.

    ``make`` makes the source; ``answer`` is the vendor at a time of its clock (µs); ``truth`` are all final bars of
    ``series`` between its first and last, at least forty; ``now`` lies behind the last by more than the source's
    ``settle``, best in the middle of a bar. ``secret`` is the key the source was made with, if it needs one. ``form``:
    how the vendor writes bars, if not in JSON.
    """

    make: Callable[[], Source]
    answer: Callable[[Asked, int], Told]
    series: Series
    truth: pl.DataFrame
    now: int
    secret: str = ""
    form: Form = JSON

    @property
    def opens(self) -> list[int]:
        """When the bars open, µs."""
        return [int(ts) for ts in self.truth.get_column("ts").to_physical()]

    @property
    def span(self) -> Span:
        """From the first bar to the close of the last."""
        return Span(self.opens[0], self.opens[-1] + self.series.timeframe.micros)

    @property
    def part(self) -> Span:
        """A stretch in the middle that most checks ask for."""
        return Span(self.opens[4], self.opens[24])

    def bars(self, span: Span) -> pl.DataFrame:
        """The true bars that open inside ``span``."""
        return self.truth.filter(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))


@dataclass(frozen=True)
class ValueSubject:
    """A source of values at times under test (``protocols.py: ValueSource``), and the vendor it asks.

    ``make`` makes the source of bars beside which it stands; ``value`` is the kind; ``truth`` are all values
    (``ts``, ``value``) of ``instrument`` between its first and last, at least forty and none older than can be asked
    at ``now``. The rest as of ``Subject``.
    """

    make: Callable[[], Source]
    value: str
    answer: Callable[[Asked, int], Told]
    instrument: Instrument
    truth: pl.DataFrame
    now: int
    secret: str = ""
    form: Form = JSON

    @property
    def times(self) -> list[int]:
        """When the values held, µs."""
        return [int(ts) for ts in self.truth.get_column("ts").to_physical()]

    @property
    def span(self) -> Span:
        """From the first value to just after the last."""
        return Span(self.times[0], self.times[-1] + 1)

    @property
    def part(self) -> Span:
        """A stretch in the middle that most checks ask for."""
        return Span(self.times[4], self.times[24])

    def values(self, span: Span) -> pl.DataFrame:
        """The true values inside ``span``."""
        return self.truth.filter(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))


def made_bars(series: Series, start: int, count: int, *, sparse: bool = False) -> pl.DataFrame:
    """``count`` bars to build a vendor on, no two alike; ``sparse`` leaves out every third of ``count`` minutes.

    >>> made_bars(Series.parse("MINE:ABC", "1m"), 0, 3).get_column("close").to_list()
    [100.25, 101.5, 102.75]
    """
    at = [n for n in range(count) if not sparse or n % 3 or n in (0, count - 1)]
    opened = [100.0 + n for n in at]
    closed = [100.25 + 1.25 * n for n in at]
    return pl.DataFrame(
        {
            "instrument": [str(series.instrument)] * len(at),
            "ts": pl.Series([series.timeframe.floor(start) + n * series.timeframe.micros for n in at]).cast(TS),
            "open": opened,
            "high": [max(pair) + 0.5 for pair in zip(opened, closed, strict=True)],
            "low": [min(pair) - 0.5 for pair in zip(opened, closed, strict=True)],
            "close": closed,
            "volume": [10.0 + n / 8 for n in at],
        }
    )
