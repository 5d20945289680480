"""Building features into the lake, and reading them: the same bits either way.

1. The expressions become one plan; its version names the feature set, so that a changed definition is another set.
2. A series' bars are cut into segments, one for each period of its files: coarse ones, and fine ones at its end.
3. A segment is described by a digest of the bars it consumes (their times, and when each was learned, of this series
   and of every other series it joins) and a digest of the state it begins with. Digests are noted when files are made.
4. Segments are walked in order. One whose two digests are those it was built with is skipped: its rows and the state
   after it stand. Any other is computed from the state before it, passes the schema's gate, and is staged.
5. Staged segments of many series are committed together, then remembered. A crash before the commit loses only work;
   one after it makes the next build compute the same rows again.

So new bars cost the segment they fall in, a late or corrected bar costs the segments from there until the state is the
same again bit for bit, and an unchanged series costs one look at its keys. Series are computed and encoded in parallel;
memory holds one segment of each worker.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from gapless.errors import LakeDamaged, LakeError, SchemaViolation
from gapless.events import FeaturesBuilt, Observer, nobody
from gapless.features import plan as understand
from gapless.features.frames import align, numbers, times, try_gate, typed
from gapless.features.planning import FeaturePlan, run
from gapless.protocols import FeatureStore, Segment
from gapless.segments import Stretch, joined, stretches
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, LATEST, Span, Timeframe

_WORKERS = max(2, os.cpu_count() or 2)
_COMMIT_FILES = 256  # staged segments in one commit


@dataclass
class BuildReport:
    """What a build did: rows written and segments skipped per series, and what went wrong."""

    name: str
    rows: dict[Series, int] = field(default_factory=dict)
    skipped: dict[Series, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    errors: dict[Series, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, built: _Built) -> None:
        """One more series."""
        self.rows[built.series], self.skipped[built.series] = built.rows, built.kept
        for name, count in built.clipped.items():
            self.clipped[name] = self.clipped.get(name, 0) + count
        if built.error:
            self.errors[built.series] = built.error

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "set": self.name,
            "rows": sum(self.rows.values()),
            "series": [self._line(s) for s in self.rows],
            "clipped": self.clipped,
            "errors": [{"series": str(s), "error": e} for s, e in self.errors.items()],
            "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def _line(self, s: Series) -> dict[str, Any]:
        names = {"instrument": str(s.instrument), "timeframe": s.timeframe.name}
        return names | {"rows": self.rows[s], "segments_kept": self.skipped[s]}


def set_name(plan: FeaturePlan) -> str:
    """The name of the set of these features: their versions, so that another definition is another set."""
    return f"set-{plan.version_all}"


def build(
    store: FeatureStore,
    features: Mapping[str, str],
    instruments: Sequence[Instrument] | None,
    timeframe: Timeframe,
    *,
    observer: Observer = nobody,
) -> BuildReport:
    """Materialise features; a series that violates its schema is told and left alone, the others go on."""
    started = time.perf_counter()
    plan = understand(features)
    plan.refuse_crossing("built", "it is computed when it is read: lake.features(…); nothing of it is stored")
    name = set_name(plan)
    known = store.present(timeframe)
    names = sorted(known) if instruments is None else [str(i) for i in instruments]
    absent = [n for n in names if n not in known]
    if absent:
        raise LakeError(f"{absent[0]} has no {timeframe} bars.", hint="backfill or import them first")
    store.remember_set(name, timeframe, {n: (plan.expression(n), plan.version(n)) for n in plan.names})
    report, staged = BuildReport(name), list[_Staged]()
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        jobs = (Series(Instrument.parse(n), timeframe) for n in names)
        for built in pool.map(lambda series: _build_one(store, plan, name, series), jobs):
            report.add(built)
            staged += built.staged
            observer(FeaturesBuilt(built.series, built.rows, built.seconds))
            if len(staged) >= _COMMIT_FILES:
                store.commit_features(name, timeframe, staged, plan.schema)
                staged = []
        if staged:
            store.commit_features(name, timeframe, staged, plan.schema)
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nothing more is begun
    report.seconds = time.perf_counter() - started
    return report


_Staged = tuple[Series, Segment, Any]


@dataclass
class _Built:
    """What one worker made of one series."""

    series: Series
    staged: list[_Staged] = field(default_factory=list)
    rows: int = 0
    kept: int = 0
    clipped: dict[str, int] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def _build_one(store: FeatureStore, plan: FeaturePlan, name: str, series: Series) -> _Built:
    """Stage every stale segment of one series; all of them or, where the schema is violated, none."""
    started, built = time.perf_counter(), _Built(series)
    try:
        for segment, frame in _walk(store, plan, name, series, built.clipped):
            if frame is None:
                built.kept += 1
                continue
            built.staged.append((series, segment, store.stage_features(name, series, segment, frame, plan.schema)))
            built.rows += frame.height
    except SchemaViolation as error:
        built = _Built(series, error=str(error))
    built.seconds = time.perf_counter() - started
    return built


def _walk(
    store: FeatureStore, plan: FeaturePlan, name: str, series: Series, clipped: dict[str, int], until: int = LATEST
) -> Iterator[tuple[Segment, pl.DataFrame | None]]:
    """Step 4: segments that begin before ``until`` in order; with rows where computed, None where they stand."""
    known, found = store.segments(name, series), _stretches(store, plan, series)
    before, state, at_hand = "", None, True  # the state before the next stretch, and whether it is in memory
    for k, stretch in enumerate(found):
        if stretch.span.start >= until:
            return
        old = known.get(stretch.period)
        if old is not None and (old.digest, old.before) == (stretch.digest, before):
            yield old, None
            before, state, at_hand = old.after, None, False
            continue
        if not at_hand:
            state = _state_after(store, plan, name, series, found[:k], before)
        rows, state = _compute(store, plan, series, stretch.span, state, clipped)
        after, at_hand = _short(state), True
        yield Segment(stretch.period, stretch.last, stretch.digest, before, after, state), rows
        before = after


def _state_after(
    store: FeatureStore, plan: FeaturePlan, name: str, series: Series, done: Sequence[Stretch], wanted: str
) -> bytes | None:
    """The state after standing segments: the newest that is kept, carried on over those after it."""
    state, start = None, 0
    for k in range(len(done) - 1, -1, -1):
        state = store.state(name, series, done[k].period)
        if state is not None:
            start = k + 1
            break
    for stretch in done[start:]:
        _, state = _compute(store, plan, series, stretch.span, state, {})
    if _short(state) != wanted:
        raise LakeDamaged(
            f"the features of {series} in {name} do not follow from its bars.",
            hint="gapless features verify shows where",
        )
    return state


def _short(state: bytes | None) -> str:
    return "" if state is None else hashlib.sha256(state).hexdigest()[:32]


def _stretches(store: FeatureStore, plan: FeaturePlan, series: Series) -> list[Stretch]:
    """Steps 2 and 3: the segments of a series, with the digests of all bars they would consume."""
    mine = store.pieces(series.timeframe, str(series.instrument))
    others = [store.pieces(series.timeframe, name) for name in sorted({i for _, i in plan.others})]
    return [replace(s, digest=joined(s, others)) for s in stretches(mine, series.timeframe)]


def _compute(
    store: FeatureStore, plan: FeaturePlan, series: Series, span: Span, state: bytes | None, clipped: dict[str, int]
) -> tuple[pl.DataFrame, bytes]:
    """Feature rows of the bars in ``span``, continuing from ``state``; gated."""
    name = str(series.instrument)
    bars = store.rows(series.timeframe, [name], span, ["instrument", "ts", *plan.inputs])
    ts = times(bars)
    columns = {column: numbers(bars, column) for column in plan.inputs}
    for other in sorted({instrument for _, instrument in plan.others}):
        wanted = [column for column, instrument in plan.others if instrument == other]
        theirs = store.rows(series.timeframe, [other], span, ["ts", *wanted])
        for column in wanted:
            columns[f"{column}@{other}"] = align(ts, times(theirs), numbers(theirs, column))
    values, after = run(plan, columns, state)
    for feature, count in try_gate(plan, values, ts, name).items():
        clipped[feature] = clipped.get(feature, 0) + count
    return bars.select("instrument", "ts").with_columns(typed(plan, values)), after


def read(
    store: FeatureStore,
    features: Mapping[str, str],
    instruments: Sequence[Instrument] | None,
    timeframe: Timeframe,
    span: Span | None,
) -> pl.DataFrame:
    """Feature rows by (instrument, ts): stored where they were built and still stand, computed otherwise."""
    plan = understand(features)
    names = sorted(store.present(timeframe)) if instruments is None else sorted({str(i) for i in instruments})
    parts = [_read_one(store, plan, Series(Instrument.parse(n), timeframe), span) for n in names]
    schema = {"instrument": pl.String(), "ts": pl.Datetime("us", "UTC"), **plan.schema}
    filled = [part for part in parts if part.height]
    return pl.concat(filled) if filled else pl.DataFrame(schema=schema)


def _read_one(store: FeatureStore, plan: FeaturePlan, series: Series, span: Span | None) -> pl.DataFrame:
    name, who = set_name(plan), str(series.instrument)
    whole = Span(EARLIEST, LATEST) if span is None else span
    if not store.segments(name, series) and plan.memory is not None and span is not None:
        return _window(store, plan, series, span)
    parts = [pl.DataFrame(schema={"instrument": pl.String(), "ts": pl.Datetime("us", "UTC"), **plan.schema})]
    for segment, rows in _walk(store, plan, name, series, {}, whole.end):
        found = rows
        if rows is None and segment.last >= whole.start:
            found = store.read_features(name, series.timeframe, who, _period_span(segment, parts, whole), plan.schema)
        if found is not None:
            parts.append(found.filter(pl.col("ts").to_physical().is_between(whole.start, whole.end, closed="left")))
    return pl.concat([p.select(parts[0].columns) for p in parts])


def _period_span(segment: Segment, parts: list[pl.DataFrame], whole: Span) -> Span:
    """What of a standing segment is wanted and not read yet."""
    done = max((int(p["ts"].to_physical()[-1]) + 1 for p in parts if p.height), default=whole.start)
    return Span(max(whole.start, done), max(whole.start, done, min(whole.end, segment.last + 1)))


def _window(store: FeatureStore, plan: FeaturePlan, series: Series, span: Span) -> pl.DataFrame:
    """A finite memory needs only the last bars before the span: the same bits from any start."""
    start, needed = span.start, (plan.memory or 1) - 1
    for piece in reversed(store.pieces(series.timeframe, str(series.instrument))):
        if piece.first < span.start and needed > 0:
            start = piece.first
            needed -= piece.bars if piece.last < span.start else 0
    rows, _ = _compute(store, plan, series, Span(start, span.end), None, {})
    return rows.filter(pl.col("ts").to_physical() >= span.start)


def differing(store: FeatureStore, features: Mapping[str, str], series: Series) -> tuple[int, int]:
    """(values looked at, values whose bits differ) between the stored rows of a series and a fresh computation.

    Only segments that still stand are stored truth; a stale one is the next build's work and not looked at.
    """
    plan = understand(features)
    name, state, looked, wrong = set_name(plan), None, 0, 0
    known = store.segments(name, series)
    for stretch in _stretches(store, plan, series):
        rows, after = _compute(store, plan, series, stretch.span, state, {})
        old = known.get(stretch.period)
        if old is not None and (old.digest, old.before) == (stretch.digest, _short(state)):
            stored = store.read_features(name, series.timeframe, str(series.instrument), stretch.span, plan.schema)
            looked += rows.height * len(plan.names)
            wrong += _bits_apart(rows, stored, plan.names) + (old.after != _short(after))
        state = after
    return looked, wrong


def _bits_apart(fresh: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str]) -> int:
    """Values that are not the same to the bit (any two NaN are); all of them when the rows do not match."""
    if not fresh["ts"].equals(stored["ts"]):
        return max(fresh.height, stored.height) * len(names)
    return sum(int(fresh[n].ne_missing(stored[n]).sum()) for n in names)
