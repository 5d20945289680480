"""A Delta Lake table with our own files and our own commits.

1. The files are staged and durable before this module sees them.
2. ``commit`` refreshes the handle; if our files are already live the commit has landed before: done.
3. It asks the caller to plan adds and removes from exactly this snapshot.
4. It checks that every key range lives in one file only, and commits with no automatic retries, carrying an
   application transaction that says how far we are.
5. On a conflict it starts again at 2, with jitter; a commit that raised may have landed, which 2 finds out.
6. The log entry is synced: only then is the write durable.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from gapless.errors import LakeDamaged, LakeError
from gapless.stores import durable, parquet

_SETTINGS = {"delta.checkpointInterval": "25", "delta.logRetentionDuration": "interval 6 hours"}
_TRIES = 8


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file the newest snapshot refers to; times in µs."""

    path: str
    instrument: str
    first: int
    last: int
    rows: int
    size: int

    @property
    def period(self) -> str:
        return self.path.partition(".")[0]


@dataclass(frozen=True)
class Change:
    """What one commit does."""

    adds: Sequence[parquet.DataFile]
    removes: Sequence[LiveFile] = ()


class DeltaLog:
    """The log of one table. Not created on disk before the first commit."""

    def __init__(self, directory: Path, schema: dict[str, pl.DataType]) -> None:
        self.directory = directory
        self.schema = schema
        self._table: Any = None
        self._live: tuple[int, tuple[LiveFile, ...]] = (-1, ())
        self._by_name: tuple[int, dict[str, tuple[LiveFile, ...]]] = (-1, {})
        self._looked = 0  # when the log's directory had last changed, as we last read the log
        self._lock = threading.RLock()  # a handle is not made for two threads

    # ------------------------------------------------------------ reading

    def refresh(self) -> int:
        """Look at the newest version; -1 when there is no table yet."""
        from deltalake import DeltaTable

        with self._lock, _damage_told(self.directory):
            log = self.directory / "_delta_log"
            if self._table is not None and not log.is_dir():  # somebody deleted it
                self._table, self._live = None, (-1, ())
            if self._table is None:
                if not log.is_dir() or not DeltaTable.is_deltatable(str(self.directory)):
                    return -1
                self._table = DeltaTable(str(self.directory))
            elif not self._is_newest(log):
                changed = log.stat().st_mtime_ns
                self._table.update_incremental()
                self._looked = changed
            return int(self._table.version())

    def _is_newest(self, log: Path) -> bool:
        """Has nobody committed since we looked? Two looks at a directory cost a hundredth of reading the log.

        A next entry is there, or the directory has changed: entries are also deleted, after hours.
        """
        following = log / f"{self._table.version() + 1:020}.json"
        return not following.exists() and log.stat().st_mtime_ns == self._looked

    def live(self) -> tuple[LiveFile, ...]:
        """The live files of the newest version, sorted by instrument and time."""
        with self._lock:
            version = self.refresh()
            if version != self._live[0]:
                self._live = (version, self._read_live())
            return self._live[1]

    def of(self, instrument: str) -> tuple[LiveFile, ...]:
        """The live files of one instrument, sorted by time."""
        with self._lock:
            live = self.live()
            if self._by_name[0] != self._live[0]:
                found = itertools.groupby(live, key=lambda file: file.instrument)
                self._by_name = self._live[0], {name: tuple(files) for name, files in found}
            return self._by_name[1].get(instrument, ())

    def _read_live(self) -> tuple[LiveFile, ...]:
        actions = pl.DataFrame(self._table.get_add_actions(flatten=True))
        if not actions.height:
            return ()
        if "min.ts" not in actions.columns:
            raise LakeDamaged(f"{self.directory} holds files without statistics.", hint="was it written by others?")
        rows = actions.select(
            "path", pl.col("min.instrument"), pl.col("min.ts").dt.cast_time_unit("us").to_physical(),
            pl.col("max.ts").dt.cast_time_unit("us").to_physical(), "num_records", "size_bytes",
        ).sort("min.instrument", "min.ts")  # fmt: skip
        return tuple(LiveFile(*row) for row in rows.iter_rows())

    # ------------------------------------------------------------ writing

    def prepare(self) -> Path:
        """The directory, made durably if need be, for staging files."""
        made = [p for p in (self.directory, *self.directory.parents) if not p.exists()]
        self.directory.mkdir(parents=True, exist_ok=True)
        for directory in made:
            durable.sync_directory(directory.parent)
        return self.directory

    def commit(
        self, plan: Callable[[tuple[LiveFile, ...]], Change], *, transaction: tuple[str, int] | None = None
    ) -> Change:
        """Apply ``plan`` to the newest snapshot; returns what was committed (which may be nothing)."""
        self._create()
        for attempt in range(_TRIES):
            live = self.live()
            change = plan(live)
            paths = {f.path for f in live}
            if not change.adds and not change.removes:
                return change
            if change.adds and all(f.path in paths for f in change.adds):
                self._sync_log()
                return change  # landed before
            _check_staged(self.directory, change)
            _check_current(paths, change)
            _check_disjoint(live, change)
            try:
                self._write(change, transaction)
            except Exception as error:
                _refuse_if_final(error, self.directory)
                if attempt == _TRIES - 1:
                    raise LakeError(f"could not commit to {self.directory}: {error}.", hint="try again") from error
                time.sleep(random.uniform(0.001, 0.02) * (attempt + 1))
                continue
            self._sync_log()
            self._follow(live, change)
            return change
        raise AssertionError("unreachable")

    def _follow(self, live: tuple[LiveFile, ...], change: Change) -> None:
        """The snapshot after our own commit, without reading it: that would take longer the more files there are."""
        with self._lock:
            if live is self._live[1] and self.refresh() == self._live[0] + 1:
                self._live = self._live[0] + 1, _followed(live, change)

    def _create(self) -> None:
        from deltalake import DeltaTable

        if self.refresh() >= 0:
            return
        self.prepare()
        self._table = DeltaTable.create(
            str(self.directory), schema=_arrow(tuple(self.schema.items())), configuration=_SETTINGS, mode="ignore"
        )
        self._sync_log()
        durable.sync_directory(self.directory)

    def _write(self, change: Change, transaction: tuple[str, int] | None) -> None:
        from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

        now = time.time_ns() // 1_000_000
        durable.sync_directory(self.directory)
        for old in change.removes:  # the grace of ``vacuum`` counts from now
            with suppress(FileNotFoundError):
                os.utime(self.directory / old.path)
        actions: list[Any] = [
            AddAction(f.path, f.size, {}, now, True, json.dumps(parquet.statistics(f))) for f in change.adds
        ]
        actions += [RemoveAction(f.path, True, now, f.size, {}) for f in change.removes]
        app = [Transaction(*transaction)] if transaction else None
        self._table.create_write_transaction(
            actions,
            mode="append",
            schema=_arrow(tuple(self.schema.items())),
            commit_properties=CommitProperties(max_commit_retries=0, app_transactions=app),
        )

    def _sync_log(self) -> None:
        """Make the newest entry durable, and the checkpoint when one was made with it."""
        log = self.directory / "_delta_log"
        name = f"{self.refresh():020}"
        for path in (log / f"{name}.json", *log.glob(f"{name}.checkpoint*.parquet"), log / "_last_checkpoint"):
            if path.exists():
                durable.sync_file(path)
        durable.sync_directory(log)

    def vacuum(self, *, older_than: float) -> list[str]:
        """Delete files that nothing refers to since before ``older_than`` (seconds since the epoch)."""
        live = {f.path for f in self.live()}
        gone = []
        for path in self.directory.glob("*"):
            if path.is_file() and path.name not in live and path.stat().st_mtime < older_than:
                path.unlink()
                gone.append(path.name)
        return gone


def _followed(live: Iterable[LiveFile], change: Change) -> tuple[LiveFile, ...]:
    """Live files, by instrument and time, after a change."""
    gone = {f.path for f in change.removes}
    files = [f for f in live if f.path not in gone]
    for f in change.adds:
        file = LiveFile(f.path, f.instrument, f.first, f.last, f.rows, f.size)
        insort(files, file, key=lambda known: (known.instrument, known.first))
    return tuple(files)


@contextmanager
def _damage_told(directory: Path) -> Iterator[None]:
    """Tell a log that cannot be read in words. Some damage makes the library panic, which is no Exception."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except BaseException as error:
        if isinstance(error, DeltaError) or type(error).__name__ == "PanicException":
            said = str(error).splitlines()[0]
            raise LakeDamaged(
                f"the log of {directory} cannot be read: {said}.", hint="restore it from a copy"
            ) from None
        raise


@lru_cache(maxsize=32)
def _arrow(schema: tuple[tuple[str, pl.DataType], ...]) -> Any:
    import pyarrow as pa

    kinds = {pl.String(): pa.string(), pl.Float64(): pa.float64(), pl.Float32(): pa.float32(), pl.Int8(): pa.int8()}
    return pa.schema([(n, pa.timestamp("us", "UTC") if k.is_temporal() else kinds[k]) for n, k in schema])


def _refuse_if_final(error: Exception, directory: Path) -> None:
    """A full disk stays full: say so at once instead of trying again."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    if "No space left" in str(error) or "os error 28" in str(error):
        raise OSError(28, "No space left on device", str(directory)) from error


def _check_staged(directory: Path, change: Change) -> None:
    """Nothing is committed that is not there: somebody may have vacuumed without a grace meanwhile."""
    lost = [f.path for f in change.adds if not (directory / f.path).exists()]
    if lost:
        raise LakeError(f"{lost[0]} was deleted before it was committed.", hint="run the same command again")


def _check_current(paths: set[str], change: Change) -> None:
    """What is to be replaced must still be there: the plan was made from this snapshot or is void."""
    stale = [f.path for f in change.removes if f.path not in paths]
    if stale:
        raise LakeError(f"refused: {stale[0]} was replaced by another writer.", hint="run the same command again")


def _check_disjoint(live: Iterable[LiveFile], change: Change) -> None:
    """A key lives in exactly one live file: no two files of one instrument may overlap in time."""
    gone = {f.path for f in change.removes}
    touched = {f.instrument for f in change.adds}
    rest = [f for f in live if f.path not in gone and f.instrument in touched]
    files: list[LiveFile | parquet.DataFile] = [*rest, *change.adds]
    spans = sorted((f.instrument, f.first, f.last, f.path) for f in files)
    for before, after in itertools.pairwise(spans):
        if before[0] == after[0] and after[1] <= before[2]:
            raise LakeError(f"refused: {after[3]} would overlap {before[3]} ({before[0]}).", hint="please report this")
