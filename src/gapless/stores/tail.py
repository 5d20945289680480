"""The tail: recent rows that are durable but not folded into Parquet yet, as chunks in one SQLite file.

A chunk is one write: an Arrow body of any instruments of one timeframe, with the runs it covers beside it. A page of a
backfill or a live minute costs one row and one sync; a thousand bars take about two milliseconds. Chunk numbers only
grow, so that a fold can say, in the table's own log, up to which chunk it got.

Bars of many instruments at one time (a live minute) are a *moment*: one line says for all of them what it covers, and
names a roster, the list of who they are, which is the same minute after minute. ``gather`` joins moments into an
ordinary chunk, so that a reader of one instrument never opens more than an hour of them.
"""

from __future__ import annotations

import hashlib
import io
import random
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gapless.errors import LakeDamaged
from gapless.spans import Micros, Span, SpanSet, Timeframe
from gapless.stores.decoded import Decoded

_TABLES = """
CREATE TABLE IF NOT EXISTS chunk(
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, timeframe TEXT NOT NULL, rows INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunk_time ON chunk(timeframe, kind, first, last);
CREATE TABLE IF NOT EXISTS held(
  chunk INTEGER NOT NULL REFERENCES chunk(id) ON DELETE CASCADE, instrument TEXT NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL, runs BLOB NOT NULL, PRIMARY KEY(instrument, chunk)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_chunk ON held(chunk);
CREATE TABLE IF NOT EXISTS roster(id INTEGER PRIMARY KEY, names TEXT NOT NULL, digest BLOB NOT NULL UNIQUE);
"""
_ROSTER = "#"  # a line of ``held`` for a whole roster: # and its number; no instrument is called so
PATIENCE = 10.0  # seconds to wait for another process that holds a SQLite file


def connect(path: Path) -> sqlite3.Connection:
    """A SQLite file in the lake's manner: WAL, synced on every commit, readers beside one writer.

    SQLite needs 32 kB of disk for the index that processes share. Where a full disk has not even these, the index is
    kept in memory and the file to ourselves, so that the lake can still be read, and room be made.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _connect(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                if not path.exists() or not path.stat().st_size:
                    raise
                return _connect(path, "locking_mode=EXCLUSIVE")
            if time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(0.001, 0.01))  # two that make a file at once: SQLite does not wait for that itself


def _connect(path: Path, *first: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*first, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_master")  # the first look is what needs the shared index
    except BaseException:
        connection.close()
        raise
    return connection


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        self._lock = threading.RLock()
        with _telling(path):
            self._connection = connect(path)
            self._connection.executescript(tables)

    @contextmanager
    def transaction(self) -> Any:
        """All or nothing, durable at the end."""
        with self._lock, _telling(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:  # a full disk may refuse the commit, and end the transaction by itself
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _telling(self.path):
            return self._connection.execute(query, parameters).fetchall()

    def version(self) -> tuple[int, int]:
        """Changes whenever anybody changed the file: other processes (data_version) or we (total_changes)."""
        with self._lock:
            return int(self.rows("PRAGMA data_version")[0][0]), self._connection.total_changes

    def check(self) -> str:
        """SQLite's own integrity check; an empty text when all is well."""
        found = self.rows("PRAGMA integrity_check")
        return "" if found == [("ok",)] else "; ".join(str(r[0]) for r in found)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell a damaged file in words; what SQLite says of locks, space and permissions is told by the lake."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise LakeDamaged(
            f"{path} is damaged: {error}.", hint="restore it from a copy; the Parquet files beside it are not touched"
        ) from error


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk without its body."""

    id: int
    kind: str
    rows: int


class Tail:
    """The chunks of a lake. ``kind`` is ``bars`` (rows that stand) or ``revisions`` (rows that were superseded)."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _TABLES)
        self._decoded = Decoded()

    def append(self, timeframe: Timeframe, frames: Iterable[tuple[str, pl.DataFrame]]) -> None:
        """Add chunks of several kinds in one durable transaction; empty frames vanish."""
        with self.database.transaction() as db:
            for kind, frame in frames:
                if frame.height:
                    self._insert(db, kind, timeframe, frame)

    def append_moment(self, timeframe: Timeframe, frame: pl.DataFrame) -> None:
        """Add bars of one time, sorted by instrument, in one durable transaction."""
        runs = SpanSet.from_bars(frame["ts"].to_physical().to_numpy()[:1], timeframe).tobytes()
        ts = int(frame["ts"].to_physical()[0])
        names = "\n".join(frame["instrument"])
        with self.database.transaction() as db:
            number = self._insert_body(db, "bars", timeframe, frame)
            who = f"{_ROSTER}{_roster(db, names)}"
            db.execute("INSERT INTO held VALUES (?,?,?,?,?)", (number, who, ts, ts, runs))

    def _insert(self, db: sqlite3.Connection, kind: str, timeframe: Timeframe, frame: pl.DataFrame) -> None:
        number = self._insert_body(db, kind, timeframe, frame)
        db.executemany(
            "INSERT INTO held VALUES (?,?,?,?,?)",
            [
                (number, name, int(t[0]), int(t[-1]), SpanSet.from_bars(t, timeframe).tobytes())
                for name, t in groups(frame)
            ],
        )

    def _insert_body(self, db: sqlite3.Connection, kind: str, timeframe: Timeframe, frame: pl.DataFrame) -> int | None:
        body = io.BytesIO()
        frame.write_ipc(body, compression="lz4")
        blob = body.getvalue()
        ts = frame["ts"].to_physical().to_numpy()
        cursor = db.execute(
            "INSERT INTO chunk(kind, timeframe, rows, first, last, checksum, body) VALUES (?,?,?,?,?,?,?)",
            (kind, timeframe.name, frame.height, int(ts.min()), int(ts.max()), zlib.crc32(blob), blob),
        )
        return cursor.lastrowid

    def gather(self, timeframe: Timeframe, *, least: int = 60) -> int:
        """Join the moments of a timeframe, if there are ``least`` of them, into one ordinary chunk; how many."""
        where = """FROM chunk WHERE timeframe=? AND kind='bars' AND id IN (
                   SELECT chunk FROM held WHERE instrument >= ? AND instrument < ?)"""
        moments = (timeframe.name, _ROSTER, chr(ord(_ROSTER) + 1))
        if self.database.rows(f"SELECT count(*) {where}", moments)[0][0] < least:
            return 0
        with self.database.transaction() as db:
            found = db.execute(f"SELECT id, checksum, body {where} ORDER BY id", moments).fetchall()
            rows = pl.concat([self._decode(row) for row in found])
            ordered = rows.sort("instrument", "ts", "known_at", maintain_order=True)
            self._insert(db, "bars", timeframe, ordered.unique(["instrument", "ts"], keep="last", maintain_order=True))
            db.executemany("DELETE FROM chunk WHERE id=?", [(row[0],) for row in found])
            db.execute(
                "DELETE FROM roster WHERE ? || id NOT IN (SELECT instrument FROM held WHERE instrument LIKE ?)",
                (_ROSTER, f"{_ROSTER}%"),
            )
            return len(found)

    def _rosters(self) -> dict[str, tuple[str, ...]]:
        """Who is meant, by the name that lines of ``held`` use."""
        rows = self.database.rows("SELECT id, names FROM roster")
        return {f"{_ROSTER}{number}": tuple(names.split("\n")) for number, names in rows}

    def rows(self, timeframe: Timeframe) -> int:
        """Rows of all kinds waiting to be folded."""
        found = self.database.rows("SELECT coalesce(sum(rows), 0) FROM chunk WHERE timeframe=?", (timeframe.name,))
        return int(found[0][0])

    def chunks(self, timeframe: Timeframe, *, limit_rows: int) -> list[Chunk]:
        """The oldest chunks, up to ``limit_rows`` rows (at least one chunk)."""
        found: list[Chunk] = []
        total = 0
        for row in self.database.rows(
            "SELECT id, kind, rows FROM chunk WHERE timeframe=? ORDER BY id", (timeframe.name,)
        ):
            if found and total + row[2] > limit_rows:
                break
            found.append(Chunk(*row))
            total += row[2]
        return found

    def timeframes(self) -> list[Timeframe]:
        return [Timeframe.parse(r[0]) for r in self.database.rows("SELECT DISTINCT timeframe FROM chunk")]

    def read(
        self, timeframe: Timeframe, kind: str, schema: dict[str, pl.DataType], *,
        instruments: Sequence[str] | None = None, span: Span | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Rows of one kind, oldest chunk first; keys may repeat (the row known last stands)."""
        where = ["timeframe=?", "kind=?"]
        values: list[str | int] = [timeframe.name, kind]
        if span is not None:
            where, values = [*where, "last>=?", "first<?"], [*values, span.start, span.end]
        if instruments is not None and len(instruments) <= 500:
            among = set(instruments)
            held_as = [*instruments, *(key for key, names in self._rosters().items() if not among.isdisjoint(names))]
            marks = ",".join("?" * len(held_as))
            where.append(f"id IN (SELECT chunk FROM held WHERE instrument IN ({marks}))")
            values += held_as
        frames = self._frames(" AND ".join(where), values)
        if not frames:
            return pl.DataFrame(schema=schema)
        wanted = []
        if span is not None:
            wanted.append(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))
        if instruments is not None:
            wanted.append(pl.col("instrument").is_in(list(instruments)))
        frame = pl.concat(frames)
        return frame.filter(*wanted) if wanted else frame

    def _frames(self, where: str, values: Sequence[str | int]) -> list[pl.DataFrame]:
        """The rows of these chunks; the bodies of those that were decoded already are not read again."""
        known, frames = self._decoded.among(), []
        body = f"CASE WHEN id IN ({','.join(map(str, known))}) THEN NULL ELSE body END"
        query = f"SELECT id, checksum, {body} FROM chunk WHERE {where} ORDER BY id"
        for row in self.database.rows(query, values):  # one statement: chunks are joined and folded meanwhile
            frame = known[row[0]] if row[2] is None else self._decode(row)
            self._decoded.keep(row[0], frame)
            frames.append(frame)
        return frames

    def bodies(self, chunks: Iterable[Chunk]) -> pl.DataFrame | None:
        """The rows of these chunks, oldest first, as far as they are still there; None for none."""
        query = "SELECT id, checksum, body FROM chunk WHERE id=?"
        frames = [self._decode(row) for c in chunks for row in self.database.rows(query, (c.id,))]
        return pl.concat(frames) if frames else None

    def _decode(self, row: tuple[Any, ...]) -> pl.DataFrame:
        number, checksum, body = row
        if zlib.crc32(body) != checksum:
            raise LakeDamaged(f"chunk {number} of {self.database.path} differs from its checksum.", hint="restore it")
        return pl.read_ipc(io.BytesIO(body))

    def numbers(self, timeframe: Timeframe) -> set[int]:
        """The chunks of bars."""
        query = "SELECT id FROM chunk WHERE timeframe=? AND kind='bars'"
        return {row[0] for row in self.database.rows(query, (timeframe.name,))}

    def held(self, timeframe: Timeframe, *, after: int = 0) -> dict[str, SpanSet]:
        """The bars held per instrument, in chunks numbered above ``after``."""
        query = """SELECT instrument, runs FROM chunk CROSS JOIN held ON held.chunk = chunk.id
                   WHERE chunk.id>? AND timeframe=? AND kind='bars'"""
        found: dict[str, list[SpanSet]] = {}
        for name, runs in self.database.rows(query, (after, timeframe.name)):
            found.setdefault(name, []).append(SpanSet.frombytes(runs))
        joined = {name: union(sets) for name, sets in found.items()}
        rosters = self._rosters() if any(name.startswith(_ROSTER) for name in joined) else {}
        each = {name: runs for name, runs in joined.items() if name not in rosters}
        for key, names in rosters.items():
            if key in joined:
                each |= {name: each[name] | joined[key] if name in each else joined[key] for name in names}
        return each

    def drop(self, chunks: Iterable[Chunk]) -> None:
        """Forget chunks that are folded."""
        with self.database.transaction() as db:
            db.executemany("DELETE FROM chunk WHERE id=?", [(c.id,) for c in chunks])

    def verify(self) -> list[str]:
        """Problems found in the file and in every chunk."""
        problems = [p for p in [self.database.check()] if p]
        for row in self.database.rows("SELECT id, checksum, body FROM chunk"):
            if zlib.crc32(row[2]) != row[1]:
                problems.append(f"tail chunk {row[0]} differs from its checksum")
        return problems


def _roster(db: sqlite3.Connection, names: str) -> int:
    """The number of a roster, new or known."""
    digest = hashlib.sha256(names.encode()).digest()
    db.execute("INSERT OR IGNORE INTO roster(names, digest) VALUES (?,?)", (names, digest))
    return int(db.execute("SELECT id FROM roster WHERE digest=?", (digest,)).fetchone()[0])


def groups(frame: pl.DataFrame) -> list[tuple[str, Micros]]:
    """Bar opens per instrument, of a frame sorted by (instrument, ts)."""
    ts = frame["ts"].to_physical().to_numpy()
    lengths = frame["instrument"].rle()
    found, at = [], 0
    for length, name in zip(lengths.struct.field("len"), lengths.struct.field("value"), strict=True):
        found.append((name, ts[at : at + length]))
        at += length
    return found


def union(sets: list[SpanSet]) -> SpanSet:
    """The union of many span sets in one pass."""
    import numpy as np

    if len(sets) == 1:
        return sets[0]
    return SpanSet.merge(np.concatenate([s.starts for s in sets]), np.concatenate([s.ends for s in sets]))
