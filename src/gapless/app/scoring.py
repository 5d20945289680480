"""``quality``: what looks wrong in a lake, a score a series, and flags kept beside the data.

1. Each series is read, its corporate actions with it, and looked at by itself (``coverage.quality``).
2. Rows that were refused, and never made good, are flags too.
3. Another witness, where one is named, is asked for the flagged bars only, and heard for or against each flag.
4. The flags take the place of those of the last look at the same span; no bar is touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gapless.app.adjusting import cut_of
from gapless.app.coverage import check_known
from gapless.app.lake import Lake
from gapless.app.runs import Run, running
from gapless.app.witnesses import witness
from gapless.bars import TS
from gapless.coverage.quality import Change, Flag, find, refused, weighed
from gapless.coverage.score import Score, score
from gapless.observe.progress import Progress
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, LATEST, Span, SpanSet, Timeframe
from gapless.stores import flags as kept
from gapless.stores.lake import Lake as Store

_FLAGS = {
    "instrument": pl.String, "timeframe": pl.String, "start": pl.Int64, "end": pl.Int64, "kind": pl.String,
    "size": pl.Float64, "evidence": pl.String, "confidence": pl.Float64,
}  # fmt: skip
_ALWAYS = Span(EARLIEST, LATEST)


@dataclass
class Report:
    """Scores, the worst first, and every flag. ``exit_code`` is not 0 where a witness could not be asked."""

    scores: list[Score] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As ``gapless quality --json`` prints it."""
        ordered = sorted(self.scores, key=lambda s: (s.score, s.series))
        return {"series": [s.to_dict() for s in ordered], "flags": [f.to_dict() for f in self.flags]}

    @property
    def table(self) -> pl.DataFrame:
        """One row a flag: instrument, timeframe, start, end, kind, size, evidence, confidence."""
        rows = [
            f.to_dict() | {"start": f.span.start, "end": f.span.end, "evidence": "; ".join(f.evidence)}
            for f in self.flags
        ]
        return pl.DataFrame(rows, schema=_FLAGS, orient="row").cast({"start": TS, "end": TS})


def quality(
    lake: Lake,
    instruments: Sequence[Instrument] | None,
    timeframes: Sequence[Timeframe],
    *,
    span: Span | None = None,
    against: str | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at series, keep their flags, and tell; ``against``: a witness to be heard about each flag."""
    held = {name for t in timeframes for name in (*lake.store.present(t), *_refused_of(lake.store, t))}
    check_known(instruments or (), map(Instrument.parse, held))
    report, looked = Report(), []
    with running(lake.store, "quality", progress) if against else nullcontext() as run:
        for timeframe in timeframes:
            bad = _refused_of(lake.store, timeframe)
            for name in _names(lake.store, timeframe, instruments, bad):
                series = Series(Instrument.parse(name), timeframe)
                bars = lake.store.rows(timeframe, [name], span, ["ts", "open", "high", "low", "close", "volume"])
                found = _look(lake, series, bars, span or _ALWAYS, bad.get(name, {}))
                if run is not None and against is not None:
                    found = _heard(lake, run, series, bars, found, against, base_url)
                report.scores.append(score(series, bars["ts"].to_physical().to_numpy(), found))
                report.flags += found
                looked.append((series, span or _ALWAYS, found))
    kept.keep(lake.store, looked)
    report.exit_code = run.exit_code if run is not None else 0
    return report


def _names(
    store: Store, timeframe: Timeframe, instruments: Sequence[Instrument] | None, bad: dict[str, Any]
) -> list[str]:
    known = store.present(timeframe).keys() | bad.keys()
    return sorted(known if instruments is None else known & {str(i) for i in instruments})


def _look(lake: Lake, series: Series, bars: pl.DataFrame, span: Span, bad: dict[int, list[str]]) -> list[Flag]:
    """Everything that can be said of one series by itself."""
    actions = lake.store.meta.actions.of([str(series.instrument)])
    cut = cut_of(lake.config, series.instrument.venue, series.timeframe) if actions else int  # who has none needs none
    changes = [Change(cut(a.ex), float(a.factor)) for a in actions]
    there = set(bars["ts"].to_physical().to_list()) if bad else set()
    rows = [refused(series, ts, why) for ts, why in bad.items() if span.start <= ts < span.end and ts not in there]
    return sorted([*rows, *find(bars, series, changes)], key=lambda f: (f.span.start, f.kind))


def _refused_of(store: Store, timeframe: Timeframe) -> dict[str, dict[int, list[str]]]:
    """Reasons of refused rows by instrument and bar, of those whose instrument and time can be believed."""
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in store.meta.refused(timeframe):
        if row["instrument"] is not None and row["ts"] is not None and row["reason"] != "time_out_of_range":
            found[row["instrument"]][timeframe.floor(row["ts"])].append(f"{row['reason']} ({row['source']})")
    return found


def _heard(
    lake: Lake, run: Run, series: Series, bars: pl.DataFrame, found: list[Flag], against: str, base_url: str | None
) -> list[Flag]:
    """The flags after a witness was asked for the bars they speak of."""
    spans = SpanSet.of(*(f.span for f in found if f.kind != "refused"))
    if not spans:
        return found
    other = witness(lake, against, base_url)
    said = other.bars(series.timeframe, {series.instrument: spans}, run)
    return [f if f.kind == "refused" else weighed(f, bars, said, other.name) for f in found]
