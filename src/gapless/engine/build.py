"""Building features into the lake, and reading them: the same bits either way.

1. The expressions become one plan, and the plan parts: the stored sets that hold its columns (parts.py).
2. The series are walked side by side, each in order (chain.py): what stands is skipped, what does not is computed and
   passes the schema's gate. Each segment is encoded and written while the next one is computed.
3. Staged segments of many series are committed together, then remembered. A crash before the commit loses only work;
   one after it makes the next build compute the same rows again.

So new bars cost the segment they fall in, a late or corrected bar costs the segments from there until the state is the
same again bit for bit, an unchanged series costs one look at its keys, and a new definition costs what is new in it.
Memory holds a few segments of each worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

from gapless.engine.chain import Chain, Pieces, short
from gapless.engine.parts import Part, definitions, parts, set_name
from gapless.errors import LakeError, SchemaViolation
from gapless.events import FeaturesBuilt, Observer, nobody
from gapless.features import plan as understand
from gapless.features.planning import FeaturePlan
from gapless.protocols import FeatureStore, Segment
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, LATEST, Span, Timeframe

__all__ = ["BuildReport", "build", "differing", "read", "set_name"]

_WORKERS = max(2, os.cpu_count() or 2)  # series at once; as many encode, and wait for the disk
_AHEAD = 2  # segments of one series that wait for their encoding
_COMMIT_FILES = 256  # staged segments in one commit
_JOINED = 16  # joined series whose pieces are looked up once


@dataclass
class BuildReport:
    """What a build did: rows written and segments skipped per series, where the time went, and what went wrong.

    ``sets`` names the stored sets, with the wanted columns that each holds. ``parts`` are the seconds of all workers
    together, by what they did: read, compute, check, encode (and write), commit.
    """

    sets: dict[str, list[str]]
    rows: dict[Series, int] = field(default_factory=dict)
    skipped: dict[Series, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    errors: dict[Series, str] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The set, or the first of several."""
        return next(iter(self.sets))

    def add(self, built: _Built) -> None:
        """One more series."""
        self.rows[built.series], self.skipped[built.series] = built.rows, built.kept
        for name, count in built.clipped.items():
            self.clipped[name] = self.clipped.get(name, 0) + count
        for name, seconds in built.parts.items():
            self.spend(name, seconds)
        if built.error:
            self.errors[built.series] = built.error

    def spend(self, what: str, seconds: float) -> None:
        """So much more time went there."""
        self.parts[what] = self.parts.get(what, 0.0) + seconds

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "set": self.name,
            "sets": self.sets,
            "rows": sum(self.rows.values()),
            "series": [self._line(s) for s in self.rows],
            "clipped": self.clipped,
            "errors": [{"series": str(s), "error": e} for s, e in self.errors.items()],
            "seconds": round(self.seconds, 3),
            "parts": {name: round(seconds, 3) for name, seconds in self.parts.items()},
        }  # fmt: skip

    def _line(self, s: Series) -> dict[str, Any]:
        names = {"instrument": str(s.instrument), "timeframe": s.timeframe.name}
        return names | {"rows": self.rows[s], "segments_kept": self.skipped[s]}


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
    known = store.present(timeframe)
    names = sorted(known) if instruments is None else [str(i) for i in instruments]
    absent = [n for n in names if n not in known]
    if absent:
        raise LakeError(f"{absent[0]} has no {timeframe} bars.", hint="backfill or import them first")
    wanted = parts(store, plan, timeframe)
    for part in wanted:
        store.remember_set(part.name, timeframe, definitions(part.plan))
    report = BuildReport({part.name: [*part.columns] for part in wanted})
    jobs = [Series(Instrument.parse(n), timeframe) for n in names]
    _build_all(store, wanted, jobs, report, observer)
    report.seconds = time.perf_counter() - started
    return report


_Staged = list[tuple[Series, Segment, Any]]


@dataclass
class _Built:
    """What one worker made of one series; ``staged`` by the number of the part."""

    series: Series
    staged: list[_Staged] = field(default_factory=list)
    rows: int = 0
    kept: int = 0
    clipped: dict[str, int] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def _build_all(
    store: FeatureStore, wanted: Sequence[Part], jobs: Sequence[Series], report: BuildReport, observer: Observer
) -> None:
    """Steps 2 and 3."""
    staged: list[_Staged] = [[] for _ in wanted]
    workers, encoders = ThreadPoolExecutor(_WORKERS), ThreadPoolExecutor(_WORKERS)
    joined = lru_cache(maxsize=_JOINED)(lambda name, columns: store.pieces(jobs[0].timeframe, name, columns))
    try:
        for built in workers.map(lambda series: _build_one(store, wanted, series, joined, encoders), jobs):
            report.add(built)
            for k, more in enumerate(built.staged):
                staged[k] += more
            observer(FeaturesBuilt(built.series, built.rows, built.seconds))
            if sum(map(len, staged)) >= _COMMIT_FILES:
                _commit(store, wanted, staged, report)
        _commit(store, wanted, staged, report)
    finally:
        workers.shutdown(cancel_futures=True)  # after an error nothing more is begun
        encoders.shutdown(cancel_futures=True)


def _commit(store: FeatureStore, wanted: Sequence[Part], staged: list[_Staged], report: BuildReport) -> None:
    """Put in place what is staged; a commit a set."""
    begin = time.perf_counter()
    for part, done in zip(wanted, staged, strict=True):
        if done:
            store.commit_features(part.name, done[0][0].timeframe, done, part.plan.schema)
            done.clear()
    report.spend("commit", time.perf_counter() - begin)


def _build_one(
    store: FeatureStore, wanted: Sequence[Part], series: Series, joined: Pieces, encoders: ThreadPoolExecutor
) -> _Built:
    """Stage every stale segment of one series; all of them or, where the schema is violated, none."""
    started, built = time.perf_counter(), _Built(series)
    try:
        for part in wanted:
            chain = Chain(store, part.plan, series, joined)
            built.staged.append(_stage(chain, part, built, encoders))
    except SchemaViolation as error:
        built = _Built(series, error=str(error))
    built.seconds = time.perf_counter() - started
    return built


def _stage(chain: Chain, part: Part, built: _Built, encoders: ThreadPoolExecutor) -> _Staged:
    """The stale segments of one part: each is encoded while the next is computed."""
    made, rows = list[tuple[Segment, Future[tuple[Any, float]]]](), 0
    for segment, frame in chain.walk():
        if frame is None:
            built.kept += 1
            continue
        rows += frame.height
        made.append((segment, encoders.submit(_encode, chain, segment, frame)))
        if len(made) > _AHEAD:
            made[-1 - _AHEAD][1].result()
    staged = [(built.series, segment, encoded.result()[0]) for segment, encoded in made]
    built.rows = max(built.rows, rows)
    built.clipped |= {n: chain.clipped[c] for n, c in part.columns.items() if c in chain.clipped}
    for what, seconds in [*chain.seconds.items(), *(("encode", encoded.result()[1]) for _, encoded in made)]:
        built.parts[what] = built.parts.get(what, 0.0) + seconds
    return staged


def _encode(chain: Chain, segment: Segment, frame: pl.DataFrame) -> tuple[Any, float]:
    begin = time.perf_counter()
    staged = chain.store.stage_features(chain.name, chain.series, segment, frame, chain.plan.schema)
    return staged, time.perf_counter() - begin


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
    wanted = parts(store, plan, timeframe)
    found = [_read_one(store, plan, wanted, Series(Instrument.parse(n), timeframe), span) for n in names]
    filled = [rows for rows in found if rows.height]
    return pl.concat(filled) if filled else _nothing(plan)


def _nothing(plan: FeaturePlan) -> pl.DataFrame:
    return pl.DataFrame(schema={"instrument": pl.String(), "ts": pl.Datetime("us", "UTC"), **plan.schema})


def _read_one(
    store: FeatureStore, plan: FeaturePlan, wanted: Sequence[Part], series: Series, span: Span | None
) -> pl.DataFrame:
    """The columns of all parts side by side; a bar that came in between two looks waits for the next read."""
    key = ["instrument", "ts"]
    rows, *more = [_read_part(store, part, series, span) for part in wanted]
    for columns in more:
        same = columns["ts"].equals(rows["ts"])
        rows = rows.hstack(columns.drop(key)) if same else rows.join(columns, on=key, maintain_order="left")
    return rows.select(*key, *plan.names)


def _read_part(store: FeatureStore, part: Part, series: Series, span: Span | None) -> pl.DataFrame:
    whole = Span(EARLIEST, LATEST) if span is None else span
    chain = Chain(store, part.plan, series)
    if not chain.known and len(part.columns) < len(part.plan.names):
        chain = Chain(store, part.wanted, series)
    if not chain.known and chain.plan.memory is not None and span is not None:
        rows = _window(chain, span)
    else:
        rows = _walked(chain, [*dict.fromkeys(part.columns.values())], whole)
    return rows.select("instrument", "ts", *(pl.col(column).alias(name) for name, column in part.columns.items()))


def _walked(chain: Chain, columns: Sequence[str], whole: Span) -> pl.DataFrame:
    """The rows of a span, stored or computed."""
    schema = {name: chain.plan.schema[name] for name in columns}
    parts = [_nothing(chain.plan).select("instrument", "ts", *columns)]
    for segment, rows in chain.walk(whole.end):
        found = rows
        if rows is None and segment.last >= whole.start:
            who, span = str(chain.series.instrument), _wanted(segment, parts, whole)
            found = chain.store.read_features(chain.name, chain.series.timeframe, who, span, schema)
        if found is not None:
            parts.append(found.filter(pl.col("ts").to_physical().is_between(whole.start, whole.end, closed="left")))
    return pl.concat([p.select(parts[0].columns) for p in parts])


def _wanted(segment: Segment, parts: list[pl.DataFrame], whole: Span) -> Span:
    """What of a standing segment is wanted and not read yet."""
    done = max((int(p["ts"].to_physical()[-1]) + 1 for p in parts if p.height), default=whole.start)
    return Span(max(whole.start, done), max(whole.start, done, min(whole.end, segment.last + 1)))


def _window(chain: Chain, span: Span) -> pl.DataFrame:
    """A finite memory needs only the last bars before the span: the same bits from any start."""
    start, needed = span.start, (chain.plan.memory or 1) - 1
    for piece in reversed(chain.store.pieces(chain.series.timeframe, str(chain.series.instrument))):
        if piece.first < span.start and needed > 0:
            start = piece.first
            needed -= piece.bars if piece.last < span.start else 0
    rows, _ = chain.compute(Span(start, span.end), None)
    return rows.filter(pl.col("ts").to_physical() >= span.start)


def differing(store: FeatureStore, features: Mapping[str, str], series: Series) -> tuple[int, int]:
    """(values looked at, values whose bits differ) between the stored rows of a set and a fresh computation.

    Only segments that still stand are stored truth; a stale one is the next build's work and not looked at.
    """
    chain = Chain(store, understand(features), series)
    names, state, looked, wrong = chain.plan.names, None, 0, 0
    for stretch in chain.stretches():
        old = chain.stands(stretch, short(state))
        rows, state = chain.compute(stretch.span, state)
        if old is not None:
            who = str(series.instrument)
            stored = store.read_features(chain.name, series.timeframe, who, stretch.span, chain.plan.schema)
            looked += rows.height * len(names)
            wrong += _bits_apart(rows, stored, names) + (old.after != short(state))
    return looked, wrong


def _bits_apart(fresh: pl.DataFrame, stored: pl.DataFrame, names: Sequence[str]) -> int:
    """Values that are not the same to the bit (any two NaN are); all of them when the rows do not match."""
    if not fresh["ts"].equals(stored["ts"]):
        return max(fresh.height, stored.height) * len(names)
    return sum(int(fresh[n].ne_missing(stored[n]).sum()) for n in names)
