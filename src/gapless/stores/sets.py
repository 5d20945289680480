"""What keeps feature sets few and their files large: old weeks are joined, sets that nobody needs are given up."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from gapless.protocols import Segment
from gapless.segments import join_digests, joinable
from gapless.series import Series
from gapless.spans import Timeframe
from gapless.stores import parquet
from gapless.stores.delta import DeltaLog, LiveFile

if TYPE_CHECKING:
    from gapless.stores.lake import Lake

Versions = Mapping[str, str]  # column → version


def join(lake: Lake) -> int:
    """Put whole periods in the place of their short stretches, where these are no longer near the end; files saved.

    Nothing is computed: rows are copied, the digest of the whole is that of its parts', its states are theirs.
    """
    return sum(_join_set(lake, name, Timeframe.parse(timeframe)) for name, timeframe in _sets(lake))


def _join_set(lake: Lake, name: str, timeframe: Timeframe) -> int:
    log = lake.feature_log(name, timeframe, {})
    saved = 0
    for instrument in sorted({file.instrument for file in log.live()}):
        series = Series.parse(instrument, timeframe)
        known, files = lake.segments(name, series), {file.period: file for file in log.of(instrument)}
        staged = []
        for whole, periods in joinable([file.period for file in files.values()], timeframe).items():
            parts = [known[period] for period in periods if period in known]
            if len(parts) == len(periods) and _follow(parts):
                one = _joined(lake, name, series, whole, parts)
                staged.append(_copied(lake, name, series, one, [files[p] for p in periods]))
                saved += len(parts) - 1
        if staged:
            lake.commit_features(name, timeframe, staged, _columns(log, log.of(instrument)[0]))
    return saved


def _columns(log: DeltaLog, file: LiveFile) -> dict[str, pl.DataType]:
    """The columns of a set, as one of its files has them."""
    found = parquet.schema(log.directory / file.path)
    return {name: kind for name, kind in found.items() if name not in ("instrument", "ts")}


def _follow(parts: Iterable[Segment]) -> bool:
    """Does each begin with the state that the one before it left?"""
    return all(before.after == after.before for before, after in pairwise(parts))


def _joined(lake: Lake, name: str, series: Series, whole: str, parts: list[Segment]) -> Segment:
    last = parts[-1]
    digest = join_digests(part.digest for part in parts)
    state = lake.state(name, series, last.period)
    return Segment(whole, last.last, digest, parts[0].before, last.after, state)


def _copied(
    lake: Lake, name: str, series: Series, segment: Segment, files: list[LiveFile]
) -> tuple[Series, Segment, parquet.DataFile]:
    """The rows of some files staged as one."""
    directory = lake.feature_log(name, series.timeframe, {}).directory
    columns = [*parquet.schema(directory / files[0].path)]
    rows = pl.concat([parquet.read_features(directory / file.path, columns) for file in files])
    return series, segment, parquet.stage(
        directory, rows, period=segment.period, timeframe=series.timeframe, feature=True
    )  # fmt: skip


def give_up(lake: Lake, older_than: int) -> int:
    """Forget sets of which every column has been built otherwise since, and delete their files; how many sets.

    A column has, when a set built later holds its version, or its name with another version. Only sets that no build
    asked for since ``older_than`` (µs) are given up. What is read of them afterwards is computed: the same bits.
    """
    sets, built = _sets(lake), lake.meta.feature_builds()
    gone = [
        (name, timeframe)
        for (name, timeframe), own in sets.items()
        if built.get((name, timeframe), 0) < older_than and _superseded(own, _later(sets, built, (name, timeframe)))
    ]
    for name, timeframe in gone:
        lake.forget_set(name, timeframe)
    for directory in (lake.root / "features").glob("*/*"):  # those of a crash between the two as well
        if (directory.parent.name, directory.name) not in sets or (directory.parent.name, directory.name) in gone:
            shutil.rmtree(directory)
    return len(gone)


def _sets(lake: Lake) -> dict[tuple[str, str], dict[str, str]]:
    """Column → version of each set, by (set, timeframe)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, timeframe, feature, _, version in lake.meta.feature_sets():
        found.setdefault((name, timeframe), {})[feature] = version
    return found


def _later(
    sets: Mapping[tuple[str, str], Versions], built: Mapping[tuple[str, str], int], key: tuple[str, str]
) -> list[Versions]:
    """The sets of the same timeframe that were built after this one."""
    own = built.get(key, 0)
    return [s for other, s in sets.items() if other[1] == key[1] and other != key and built.get(other, 0) > own]


def _superseded(own: Versions, later: Iterable[Versions]) -> bool:
    names = {name for columns in later for name in columns}
    versions = {version for columns in later for version in columns.values()}
    return all(name in names or version in versions for name, version in own.items())
