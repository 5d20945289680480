"""Upsert, fold and compact: the only places where Parquet files of bars are made.

*Upsert* puts rows into the files of their instruments and periods: a new file where there is none, otherwise a new file
in place of the one that covers the period, in one commit. *Fold* does that with the oldest chunks of the tail, after
their revisions, and then drops them; while bars come live, ``begin`` makes its files beside them and ``finish`` commits
these in a moment. *Compact* joins the month files of years that are over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import polars as pl

from gapless.bars import STORED
from gapless.spans import Timeframe
from gapless.stores import parquet, periods
from gapless.stores.delta import Change, LiveFile
from gapless.stores.rows import newest, one_per_version
from gapless.stores.tail import Chunk

if TYPE_CHECKING:
    from gapless.stores.lake import Lake

FOLD_BATCH = 1_000_000  # rows of the tail taken into memory at once
_APP = "tail"


@dataclass(frozen=True)
class Begun:
    """A fold whose files are made, of a table as it was at ``version``."""

    chunks: Sequence[Chunk]
    version: int
    adds: Sequence[parquet.DataFile]
    gone: Sequence[LiveFile]


class Folder:
    """Moves rows between the tail and Parquet files of one lake. Call under the writer's lock."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    # ------------------------------------------------------------ upsert

    def upsert(self, timeframe: Timeframe, rows: pl.DataFrame, *, upto: int | None = None) -> None:
        """Rows of the stored schema, sorted by key, into Parquet files, durable in one commit."""
        log = self.lake.log("bars", timeframe)
        log.prepare()
        self._commit(timeframe, *self._staged(timeframe, rows, log.live()), upto)

    def _staged(
        self, timeframe: Timeframe, rows: pl.DataFrame, live: Sequence[LiveFile]
    ) -> tuple[list[parquet.DataFile], list[LiveFile]]:
        """New files that hold these rows, and the live ones whose place they take."""
        years = {f.period for f in live if len(f.period) == 4}
        by_key = {(f.instrument, f.period): f for f in live}
        parts = _parts(rows, timeframe, years, by_key)
        with ThreadPoolExecutor(2) as pool:
            adds = list(pool.map(lambda p: self._stage(timeframe, *p), parts))
        return adds, [old for _, _, old in parts if old is not None]

    def _commit(
        self, timeframe: Timeframe, adds: Sequence[parquet.DataFile], gone: Sequence[LiveFile], upto: int | None
    ) -> None:
        log = self.lake.log("bars", timeframe)
        self.lake.meta.index_files(f"bars/{timeframe.name}", list(adds))
        log.commit(lambda _: Change(list(adds), list(gone)), transaction=(_APP, upto) if upto is not None else None)

    def _stage(self, timeframe: Timeframe, period: str, part: pl.DataFrame, old: LiveFile | None) -> parquet.DataFile:
        directory = self.lake.root / "bars" / timeframe.name
        if old is not None:
            part = newest(parquet.read([directory / old.path], STORED), part)
        return parquet.stage(directory, part.select(*STORED), period=period, timeframe=timeframe)

    # ------------------------------------------------------------ fold

    def fold(self, timeframe: Timeframe, *, all_of_it: bool = True) -> int:
        """Fold the tail of a timeframe into Parquet; returns the rows folded."""
        total = 0
        while chunks := self.lake.tail.chunks(timeframe, limit_rows=FOLD_BATCH):
            self._fold_chunks(timeframe, chunks)
            total += sum(c.rows for c in chunks)
            if not all_of_it:
                break
        return total

    def begin(self, timeframe: Timeframe) -> Begun:
        """Make the files that folding the oldest chunks takes; the lock is held only to look what there is."""
        log = self.lake.log("bars", timeframe)
        with self.lake.writing("begin to fold"):
            self.lake.tail.gather(timeframe, least=1)
            log.prepare()
            live, version = log.live(), log.refresh()
            chunks = self.lake.tail.chunks(timeframe, limit_rows=FOLD_BATCH)
        rows = self.lake.tail.bodies(c for c in chunks if c.kind == "bars")
        adds, gone = ([], []) if rows is None else self._staged(timeframe, newest(rows), live)
        return Begun(chunks, version, adds, gone)

    def finish(self, timeframe: Timeframe, begun: Begun) -> int:
        """Commit what was begun, under the lock; the rows folded: none if somebody committed meanwhile."""
        if self.lake.log("bars", timeframe).refresh() != begun.version:
            return 0
        upto = begun.chunks[-1].id if begun.chunks else None
        superseded = self.lake.tail.bodies(c for c in begun.chunks if c.kind == "revisions")
        if superseded is not None and upto is not None:
            self._append_revisions(timeframe, superseded, upto)
        self._commit(timeframe, begun.adds, begun.gone, upto)
        self.lake.tail.drop(begun.chunks)
        return sum(chunk.rows for chunk in begun.chunks)

    def _fold_chunks(self, timeframe: Timeframe, chunks: Sequence[Chunk]) -> None:
        """Folding the same chunks again changes nothing: a crash before the drop does no harm.

        What the log says of chunks folded before is not asked: the tail it speaks of may have been lost since.
        """
        upto = chunks[-1].id
        superseded = self.lake.tail.bodies(c for c in chunks if c.kind == "revisions")
        if superseded is not None:
            self._append_revisions(timeframe, superseded, upto)
        rows = self.lake.tail.bodies(c for c in chunks if c.kind == "bars")
        if rows is not None:
            self.upsert(timeframe, newest(rows), upto=upto)
        self.lake.tail.drop(chunks)

    def _append_revisions(self, timeframe: Timeframe, rows: pl.DataFrame, upto: int) -> None:
        """Revisions of one instrument may overlap in time, so each instrument keeps one file, rewritten."""
        log = self.lake.log("revisions", timeframe)
        directory = log.prepare()
        old = {f.instrument: f for f in log.live()}
        adds, gone = [], []
        for (name,), part in rows.group_by("instrument", maintain_order=True):
            before = old.get(str(name))
            frames = [parquet.read([directory / before.path], log.schema)] if before else []
            whole = one_per_version(pl.concat([*frames, part.select(*log.schema)]))
            adds.append(parquet.stage(directory, whole, period="all", timeframe=timeframe))
            gone += [before] if before else []
        log.commit(lambda _: Change(adds, gone), transaction=(_APP, upto))

    # ------------------------------------------------------------ compact

    def compact(self, timeframe: Timeframe) -> int:
        """Join the month files of finished years; returns the files saved. One instrument and year in memory."""
        log = self.lake.log("bars", timeframe)
        months = [
            (f.instrument, year, f) for f in log.live() if (year := periods.sealed_year(f.period, self.lake.clock()))
        ]
        saved = 0
        for (_, year), found in groupby(months, key=lambda m: (m[0], m[1])):
            files = [f for _, _, f in found]
            self._join(timeframe, year, files)
            saved += len(files) - 1
        return saved

    def _join(self, timeframe: Timeframe, year: str, files: list[LiveFile]) -> None:
        log = self.lake.log("bars", timeframe)
        rows = parquet.read([log.directory / f.path for f in files], STORED)
        merged = parquet.stage(log.directory, rows, period=year, timeframe=timeframe)
        self.lake.meta.index_files(f"bars/{timeframe.name}", [merged])
        log.commit(lambda _: Change([merged], files))


_Part = tuple[str, pl.DataFrame, "LiveFile | None"]


def _parts(
    rows: pl.DataFrame, timeframe: Timeframe, years: set[str], live: dict[tuple[str, str], LiveFile]
) -> list[_Part]:
    """Cut rows at instruments and periods; each part with the live file it must replace."""
    found: list[_Part] = []
    for part in _by_instrument(rows):
        name = str(part["instrument"][0])
        whole = [y for y in years if (name, y) in live]
        at = 0
        for period, length in periods.runs(part["ts"], timeframe, whole):
            found.append((period, part.slice(at, length), live.get((name, period))))
            at += length
    return found


def _by_instrument(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    at = 0
    for length in rows["instrument"].rle().struct.field("len"):
        yield rows.slice(at, length)
        at += length
