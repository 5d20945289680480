"""Verify, compact, vacuum: what keeps a lake whole and small."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import polars as pl

from gapless.bars import STORED, is_sorted_unique
from gapless.errors import LakeDamaged
from gapless.spans import DAY, SpanSet, Timeframe
from gapless.stores import parquet, sets
from gapless.stores.delta import DeltaLog, LiveFile

if TYPE_CHECKING:
    from gapless.stores.lake import Lake

GRACE = 7 * DAY


def verify(lake: Lake, *, deep: bool = True) -> list[str]:
    """Every problem found: checksums, row counts, order, one instrument a file, the coverage index, both databases.

    ``deep`` also reads every row; without it only names, sizes and the databases are looked at.
    """
    problems = [f"meta.sqlite: {p}" for p in [lake.meta.database.check()] if p]
    problems += lake.tail.verify() + lake.values.verify()
    for log in logs(lake):
        problems += _overlaps(lake, log)
        for file in log.live():
            where = log.directory.relative_to(lake.root) / file.path
            problems += [f"{where} {p}" for p in _check_file(lake, log, file, deep)]
    return problems


def logs(lake: Lake) -> Iterator[DeltaLog]:
    """The logs of all tables that exist: bars, revisions, features."""
    for kind in ("bars", "revisions"):
        for directory in sorted((lake.root / kind).glob("*")):
            yield lake.log(kind, Timeframe.parse(directory.name))
    built = ((name, timeframe, feature) for name, timeframe, feature, _, _ in lake.meta.feature_sets())
    for (name, timeframe), found in groupby(built, key=lambda row: row[:2]):
        kinds = {n: STORED[n] for n in ("instrument", "ts")} | {f: pl.Float64() for _, _, f in found}
        directory = lake.root / "features" / name / timeframe
        if directory.is_dir():
            yield DeltaLog(directory, kinds)


def _overlaps(lake: Lake, log: DeltaLog) -> list[str]:
    """A key lives in one file: files of one instrument must not overlap in time."""
    where = log.directory.relative_to(lake.root)
    return [
        f"{where}/{after.path} overlaps {before.path} ({after.instrument})"
        for before, after in pairwise(log.live())
        if before.instrument == after.instrument and after.first <= before.last
    ]


def _check_file(lake: Lake, log: DeltaLog, file: LiveFile, deep: bool) -> list[str]:
    path = log.directory / file.path
    if not path.exists() or path.stat().st_size != file.size:
        return ["is missing" if not path.exists() else "has another size than was committed"]
    if not deep:
        return []
    problem = parquet.check(path)
    if problem:
        return [problem]
    try:
        frame = parquet.read([path], log.schema)
    except LakeDamaged as error:
        return [str(error)]
    found = []
    if frame.height != file.rows:
        found.append(f"holds {frame.height} rows, {file.rows} were committed")
    if set(frame["instrument"].unique()) != {file.instrument}:
        found.append("holds another instrument than its name in the log")
    if "known_to" not in log.schema and not is_sorted_unique(frame):  # of a revised bar there are several
        found.append("is not strictly ordered by time")
    if log.schema == STORED:
        found += _check_bars(lake, log, file, frame["ts"].to_physical().to_numpy())
    return found


def _check_bars(lake: Lake, log: DeltaLog, file: LiveFile, ts: object) -> list[str]:
    timeframe = Timeframe.parse(log.directory.name)
    known = lake.meta.file_runs(f"bars/{timeframe.name}", [file.path]).get(file.path)
    runs = SpanSet.from_bars(ts, timeframe)  # type: ignore[arg-type]
    return ["holds other bars than the coverage index says"] if known is not None and known != runs else []


def compact(lake: Lake) -> dict[str, int]:
    """Fold the tail, then join month files of finished years, and old weeks of features; rows folded, files saved."""
    folded = saved = 0
    for timeframe in lake.timeframes():
        with lake.writing("compact"):
            folded += lake.folder.fold(timeframe)
            saved += lake.folder.compact(timeframe)
    saved += sets.join(lake)
    return {"folded": folded, "files_saved": saved}


def vacuum(lake: Lake, *, grace: int = GRACE) -> dict[str, int]:
    """Delete files no snapshot refers to, and feature sets that were built otherwise since, older than ``grace`` µs.

    Readers may still hold younger ones. Returns how many files and sets.
    """
    deleted = 0
    with lake.writing("vacuum"):
        given_up = sets.give_up(lake, lake.clock() - grace)
        for log in logs(lake):
            gone = log.vacuum(older_than=(lake.clock() - grace) / 1e6)
            lake.meta.forget_files(str(log.directory.relative_to(lake.root)), gone)
            deleted += len(gone)
    return {"deleted": deleted, "sets": given_up}
