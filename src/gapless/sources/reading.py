"""What every REST source does with an answer: decode it, check it, make a page of it. Sources differ in the rest.

A third-party source may use these too: they are the short way to a source that passes ``gapless.conformance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np
import polars as pl

from gapless.bars import TS, empty
from gapless.errors import Faulty
from gapless.protocols import Page
from gapless.series import Series
from gapless.spans import Micros, Span, Timeframe

MICROS_FROM = 10**14  # milliseconds lie below this (the year 5138), microseconds above it (1973)

_T = TypeVar("_T")


def decoded(name: str, body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """The body in the shape of ``decoder``; Faulty with the problem and the body's head when it has another.

    >>> decoded("mine", b'{"bars": 1}', msgspec.json.Decoder(list[int]))
    Traceback (most recent call last):
    ...
    gapless.errors.Faulty: mine answered what cannot be read: Expected `array`, got `object`; it begins '{"bars": 1}'.
    """
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise Faulty(f"{name} answered what cannot be read: {error}; it begins {head(body)}.") from error


def head(body: bytes) -> str:
    """The beginning of a body, for messages.

    >>> head(b"<html>\\n  <body>no"), head(b"")
    ("'<html> <body>no'", 'nothing')
    """
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f"'{text[:80]}'" if text else "nothing"


def micros(times: Sequence[int]) -> Micros:
    """Microseconds, each time read by its own magnitude: vendors have changed their unit in the middle of a history.

    >>> micros([1746057600000, 1746057600000000]).tolist()
    [1746057600000000, 1746057600000000]
    """
    values = np.array(times, dtype=np.int64)
    return np.where(values < MICROS_FROM, values * 1000, values)


def page_of(
    name: str,
    series: Series,
    span: Span,
    opened: Micros | Sequence[int],
    values: Mapping[str, Sequence[float | None]],
    size: int,
) -> Page:
    """A page of the bars that open at ``opened`` (µs): sorted, a row sent twice once. ``size``: bytes received.

    Raises Faulty for bars outside ``span``, and for two rows of one time that disagree. The page covers the span from
    its start to the close of its last bar: that an answer stops there proves nothing of what follows.
    """
    if not len(opened):
        return Page(empty(), Span(span.start, span.start), size)
    opened = np.asarray(opened, dtype=np.int64)
    if (opened < span.start).any() or (opened >= span.end).any():
        raise Faulty(f"{name} {series} {span}: the answer holds bars outside the asked span.")
    columns = (pl.Series(column, data, dtype=pl.Float64) for column, data in values.items())
    frame = pl.DataFrame([pl.Series("ts", opened).cast(TS), *columns])
    if not (np.diff(opened) > 0).all():
        frame = frame.unique(maintain_order=True).sort("ts")
        if not frame.get_column("ts").is_unique().all():
            raise Faulty(f"{name} {series} {span}: two rows of one time disagree.")
    who = pl.Series("instrument", [str(series.instrument)])
    frame = frame.insert_column(0, who.new_from_index(0, frame.height))  # pl.repeat waits for the thread pool
    return Page(frame, Span(span.start, _proven(int(opened.max()), series.timeframe, span)), size)


def _proven(last: int, timeframe: Timeframe, span: Span) -> int:
    """Up to where an answer is the whole truth: the close of its last bar."""
    return min(span.end, timeframe.floor(last) + timeframe.micros)
