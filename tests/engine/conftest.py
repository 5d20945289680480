"""A store in memory that behaves as the protocol says, and the comparison of what it holds with the truth."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl
import pytest

from gapless.bars import check_bars, conform
from gapless.protocols import Answer, Counts, Facts, WriteReport
from gapless.series import Instrument, Series
from gapless.spans import LATEST, Span, SpanSet, Timeframe

VALUES = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]


@dataclass
class MemoryStore:
    """Bars in a dict, answers in a list. ``fail`` is raised by the next write; ``gate`` holds writes while cleared."""

    rows: dict[Series, dict[int, tuple[object, ...]]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    writes: int = 0
    fail: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def write(self, timeframe: Timeframe, frame: pl.DataFrame, *, source: str, run: str = "") -> WriteReport:
        self.gate.wait()
        if self.fail:
            raise self.fail
        self.writes += 1
        checked = check_bars(conform(frame), timeframe, now=LATEST)
        report = {
            Series.parse(name[0], timeframe): self._keep(Series.parse(name[0], timeframe), part)
            for name, part in checked.clean.partition_by("instrument", as_dict=True).items()
        }
        return WriteReport(report, dict(Counter(checked.quarantined.get_column("reason"))))

    def _keep(self, series: Series, part: pl.DataFrame) -> Counts:
        held, new = (
            self.rows.setdefault(series, {}),
            dict(zip(part.get_column("ts").to_physical(), part.select(VALUES).rows(), strict=True)),
        )
        written = sum(ts not in held for ts in new)
        unchanged = sum(held.get(ts) == row for ts, row in new.items())
        held.update(new)
        return Counts(len(new), written, unchanged, len(new) - written - unchanged)

    def bars(
        self, instruments: Sequence[Instrument] | None, timeframe: Timeframe, span: Span | None, *, as_of: int | None
    ) -> pl.DataFrame:
        raise AssertionError("the engine does not read bars")

    def record(self, answers: Iterable[Answer]) -> None:
        self.answers += answers

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]:
        return [self.fact(series) for series in {answer.series for answer in self.answers}]

    def fact(self, series: Series) -> Facts:
        mine = [answer for answer in self.answers if answer.series == series]
        return Facts(
            series,
            present=self.present(series),
            answered=SpanSet.of(*(answer.answered for answer in mine if answer.answered)),
            failed=tuple(answer for answer in mine if answer.status == "failed"),
        )

    def present(self, series: Series) -> SpanSet:
        held = sorted(self.rows.get(series, {}))
        return SpanSet.from_bars(pl.Series(held, dtype=pl.Int64).to_numpy(), series.timeframe)

    def missing(self, series: Series, span: Span) -> SpanSet:
        fact = self.fact(series)
        return SpanSet.of(span) - fact.present - fact.answered

    def wrong(self, truth: pl.DataFrame, series: Series, span: Span) -> list[int]:
        """Times of stored bars inside ``span`` that the truth does not have, or has with other values."""
        right = dict(zip(truth.get_column("ts").to_physical(), truth.select(VALUES).rows(), strict=True))
        held = self.rows.get(series, {}).items()
        return [ts for ts, row in held if right.get(ts) != row and span.start <= ts < span.end]

    def lost(self, truth: pl.DataFrame, series: Series) -> list[int]:
        """Times of true bars that are not stored, though the ledger says that the source answered: silently lost."""
        answered, held = self.fact(series).answered, self.rows.get(series, {})
        return [ts for ts in truth.get_column("ts").to_physical() if ts not in held and answered.contains(ts)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
