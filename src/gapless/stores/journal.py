"""live.sqlite: what the live desk decided, in one transaction a bar time.

    entry       alerts and position events: what was decided, since when it is known, and until when it stood
    moment      feature rows of one bar time of all instruments
    checkpoint  the desk's memory after a bar time
    letter      what is to be sent to whom, and how that went

An entry is never changed or taken out. A correction of the past that makes another decision withdraws the old entry
(``withdrawn_at``) and adds the new one; what stands is what has no ``withdrawn_at``. So a restart, a late bar and a
replay all do the same: decide again, and say what differs.
"""

from __future__ import annotations

import io
import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl

from gapless.errors import LakeDamaged
from gapless.protocols import Changes, Entry
from gapless.spans import DAY, Span, Timeframe
from gapless.stores.lake import no_space
from gapless.stores.tail import Database

_TABLES = """
CREATE TABLE IF NOT EXISTS entry(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, timeframe TEXT NOT NULL, key TEXT NOT NULL,
  ts INTEGER NOT NULL, body TEXT NOT NULL, known_at INTEGER NOT NULL, withdrawn_at INTEGER);
CREATE INDEX IF NOT EXISTS entry_time ON entry(kind, timeframe, ts) WHERE withdrawn_at IS NULL;
CREATE INDEX IF NOT EXISTS entry_key ON entry(kind, key);
CREATE TABLE IF NOT EXISTS moment(
  feature_set TEXT, timeframe TEXT, ts INTEGER, known_at INTEGER, checksum INTEGER, body BLOB,
  PRIMARY KEY(feature_set, timeframe, ts)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoint(
  desk TEXT, ts INTEGER, known_at INTEGER, made REAL, checksum INTEGER, body BLOB, PRIMARY KEY(desk, ts));
CREATE TABLE IF NOT EXISTS fact(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letter(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, channel TEXT, kind TEXT, subject TEXT, payload TEXT,
  made_at INTEGER, state TEXT, attempts INTEGER, error TEXT, next_try INTEGER);
CREATE INDEX IF NOT EXISTS letter_state ON letter(channel, state, seq);
"""


class Letter(Protocol):
    """What is kept of a delivery; ``notify.outbox.Delivery`` is one."""

    @property
    def id(self) -> str: ...

    @property
    def channel(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def payload(self) -> str: ...

    @property
    def made_at(self) -> int: ...

    @property
    def state(self) -> str: ...

    @property
    def attempts(self) -> int: ...

    @property
    def error(self) -> str: ...

    @property
    def next_try(self) -> int: ...


JOURNAL = "live.sqlite"
_LETTER = ("id", "channel", "kind", "subject", "payload", "made_at", "state", "attempts", "error", "next_try")
L = TypeVar("L", bound=Letter)
_ROWS = 2 * DAY  # feature rows of bars older than this are had by ``features``, from the bars


class _Told(Database):
    """A full disk, or somebody else who holds the file, is told as a LakeError: who decides waits and tries again."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with no_space(self.path.parent), super().transaction() as db:
            yield db

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with no_space(self.path.parent):
            return super().rows(query, parameters)


class Journal:
    """The live desk's durable memory, in a file of its own beside the bars.

    ``teller`` makes what is to be sent of changes; it is kept in the same transaction, so that no decision is ever
    durable without its messages.
    """

    def __init__(self, path: Path, teller: Callable[[Changes], Iterable[Letter]] = lambda changes: ()) -> None:
        with no_space(path.parent):
            self.database = _Told(path, _TABLES)
        self.teller = teller

    # ------------------------------------------------------------ decisions

    def decide(
        self,
        timeframe: Timeframe,
        since: int,
        until: int,
        entries: Sequence[Entry],
        *,
        now: int,
        moments: Iterable[tuple[str, int, pl.DataFrame]] = (),
    ) -> Changes:
        """Make ``entries`` what stands of the bar times from ``since`` to ``until``, both included; durable on return.

        ``moments`` are feature rows by (set, ts). Entries that stood and are decided again stay; the others are
        withdrawn.
        """
        with self.database.transaction() as db:
            changes = _reconcile(db, timeframe.name, since, until, entries, now)
            if changes.added or changes.withdrawn:
                _put(db, self.teller(changes))
            for name, ts, frame in moments:
                blob = _encode(frame)
                values = (name, timeframe.name, ts, now, zlib.crc32(blob), blob)
                db.execute("INSERT OR REPLACE INTO moment VALUES (?,?,?,?,?,?)", values)
            db.execute("INSERT OR REPLACE INTO fact VALUES (?,?)", (f"decided {timeframe.name}", json.dumps(until)))
        return changes

    def decided(self, timeframe: Timeframe) -> int | None:
        """The newest bar time that was decided; None where none ever was."""
        found = self.fact(f"decided {timeframe.name}")
        return None if found is None else int(found)

    def entries(
        self,
        kind: str,
        timeframe: Timeframe | None = None,
        *,
        span: Span | None = None,
        withdrawn: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Bodies of entries by time, with ``seq``, ``known_at`` and ``withdrawn_at``; the newest ``limit``."""
        where, values = ["kind=?"], [kind]
        if timeframe is not None:
            where, values = [*where, "timeframe=?"], [*values, timeframe.name]
        if span is not None:
            where, values = [*where, "ts>=?", "ts<?"], [*values, span.start, span.end]  # type: ignore[list-item]
        if not withdrawn:
            where.append("withdrawn_at IS NULL")
        columns, order = "seq, body, known_at, withdrawn_at", "ORDER BY ts DESC, seq DESC"
        query = f"SELECT {columns} FROM entry WHERE {' AND '.join(where)} {order}"
        rows = self.database.rows(query + (f" LIMIT {int(limit)}" if limit else ""), values)
        return [
            json.loads(body) | {"seq": seq, "known_at": known, "withdrawn_at": gone}
            for seq, body, known, gone in reversed(rows)
        ]

    # ------------------------------------------------------------ feature rows

    def moments(self, name: str, timeframe: Timeframe, span: Span | None = None) -> pl.DataFrame | None:
        """Feature rows of a set by (ts, instrument); None where there are none."""
        span = span or Span(-(2**62), 2**62)
        query = """SELECT ts, checksum, body FROM moment WHERE feature_set=? AND timeframe=? AND ts>=? AND ts<?
                   ORDER BY ts"""
        rows = self.database.rows(query, (name, timeframe.name, span.start, span.end))
        frames = [_decode(f"feature rows of {ts}", checksum, body, self.database.path) for ts, checksum, body in rows]
        return pl.concat(frames) if frames else None

    # ------------------------------------------------------------ checkpoints

    def keep(self, desk: str, ts: int, body: bytes, *, now: int, newest: int = 3, days: int = 7) -> None:
        """Keep the memory after ``ts``; of older ones the ``newest``, and the first of each of so many ``days``.

        Feature rows that are two days older go.
        """
        with self.database.transaction() as db:
            values = (desk, ts, now, time.time(), zlib.crc32(body), body)
            db.execute("INSERT OR REPLACE INTO checkpoint VALUES (?,?,?,?,?,?)", values)
            db.execute(
                """DELETE FROM checkpoint WHERE desk=?1 AND ts NOT IN (
                     SELECT ts FROM checkpoint WHERE desk=?1 ORDER BY ts DESC LIMIT ?2) AND ts NOT IN (
                     SELECT min(ts) FROM checkpoint WHERE desk=?1 GROUP BY ts / 86400000000
                     ORDER BY 1 DESC LIMIT ?3)""",
                (desk, newest, days),
            )
            db.execute("DELETE FROM moment WHERE timeframe=? AND ts<?", (desk, ts - _ROWS))

    def checkpoints(self, desk: str) -> list[tuple[int, int, float]]:
        """(bar time, when it was kept, the same by the host's clock in seconds) of what is kept, newest first."""
        query = "SELECT ts, known_at, made FROM checkpoint WHERE desk=? ORDER BY ts DESC"
        return [tuple(row) for row in self.database.rows(query, (desk,))]

    def checkpoint(self, desk: str, ts: int) -> bytes | None:
        """The memory after ``ts``; None where it is not kept or does not match its checksum."""
        rows = self.database.rows("SELECT checksum, body FROM checkpoint WHERE desk=? AND ts=?", (desk, ts))
        return rows[0][1] if rows and zlib.crc32(rows[0][1]) == rows[0][0] else None

    def forget_checkpoints(self, desk: str, after: int) -> None:
        """Let go of memories of bar times from ``after`` on: a correction made them wrong."""
        with self.database.transaction() as db:
            db.execute("DELETE FROM checkpoint WHERE desk=? AND ts>=?", (desk, after))

    # ------------------------------------------------------------ what is to be sent

    def put(self, letters: Iterable[Letter]) -> None:
        """Add those whose id is not known yet. Durable on return."""
        with self.database.transaction() as db:
            _put(db, letters)

    def letters(
        self, make: Callable[..., L], *, channel: str | None = None, states: Sequence[str] = (), limit: int = 1000
    ) -> list[L]:
        """What was to be sent, oldest first, as ``make(id=…, channel=…, …)``."""
        where, values = ["1"], list[Any]()
        if channel is not None:
            where, values = [*where, "channel=?"], [*values, channel]
        if states:
            where, values = [*where, f"state IN ({','.join('?' * len(states))})"], [*values, *states]
        query = f"SELECT {', '.join(_LETTER)} FROM letter WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"
        return [make(**dict(zip(_LETTER, row, strict=True))) for row in self.database.rows(query, (*values, limit))]

    def told(self, channel: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest ``limit`` letters, oldest first."""
        where, values = ("WHERE channel=?", [channel]) if channel is not None else ("", [])
        query = f"SELECT {', '.join(_LETTER)} FROM letter {where} ORDER BY seq DESC LIMIT ?"
        rows = self.database.rows(query, (*values, limit))
        return [dict(zip(_LETTER, row, strict=True)) for row in reversed(rows)]

    def mark(self, letters: Sequence[Letter]) -> None:
        """Keep state, attempts, error and next_try of these, in one go. Durable on return."""
        values = [(x.state, x.attempts, x.error, x.next_try, x.id) for x in letters]
        with self.database.transaction() as db:
            db.executemany("UPDATE letter SET state=?, attempts=?, error=?, next_try=? WHERE id=?", values)

    def taken_back(self, message: str) -> int:
        """How often a message, whose id this is, was taken back."""
        query = "SELECT count(*) FROM letter WHERE id >= ?1 AND id < ?1 || '~' AND kind='withdrawn' GROUP BY channel"
        return max((row[0] for row in self.database.rows(query, (message,))), default=0)

    def sent(self) -> dict[str, int]:
        """How many letters are in each state."""
        return dict(self.database.rows("SELECT state, count(*) FROM letter GROUP BY state ORDER BY state"))

    # ------------------------------------------------------------ facts

    def fact(self, name: str) -> Any:
        """A remembered value; None where there is none."""
        rows = self.database.rows("SELECT value FROM fact WHERE name=?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def facts(self, prefix: str) -> dict[str, Any]:
        """Remembered values whose names begin so."""
        rows = self.database.rows("SELECT name, value FROM fact WHERE substr(name, 1, ?)=?", (len(prefix), prefix))
        return {name: json.loads(value) for name, value in rows}

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Remember values by name."""
        with self.database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO fact VALUES (?,?)", [(n, json.dumps(v)) for n, v in facts.items()])


def _reconcile(
    db: sqlite3.Connection, timeframe: str, since: int, until: int, entries: Sequence[Entry], now: int
) -> Changes:
    """Step from what stands to what was decided; an entry is told apart by its key and its whole content."""
    query = """SELECT seq, kind, key, ts, body FROM entry
               WHERE kind IN ('alert', 'position') AND timeframe=? AND ts>=? AND ts<=? AND withdrawn_at IS NULL"""
    standing = {
        (kind, key, body): (seq, ts) for seq, kind, key, ts, body in db.execute(query, (timeframe, since, until))
    }
    added = []
    for entry in entries:
        text = json.dumps(entry.body, sort_keys=True)
        if standing.pop((entry.kind, entry.key, text), None) is None:
            added.append(entry)
            values = (entry.kind, timeframe, entry.key, entry.ts, text, now)
            db.execute("INSERT INTO entry(kind, timeframe, key, ts, body, known_at) VALUES (?,?,?,?,?,?)", values)
    gone = [Entry(kind, timeframe, key, ts, json.loads(body)) for (kind, key, body), (_, ts) in standing.items()]
    db.executemany("UPDATE entry SET withdrawn_at=? WHERE seq=?", [(now, seq) for seq, _ in standing.values()])
    return Changes(tuple(added), tuple(gone))


def _put(db: sqlite3.Connection, letters: Iterable[Letter]) -> None:
    marks = ",".join("?" * len(_LETTER))
    db.executemany(
        f"INSERT OR IGNORE INTO letter({', '.join(_LETTER)}) VALUES ({marks})",
        [tuple(getattr(x, name) for name in _LETTER) for x in letters],
    )


def _encode(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_ipc(body, compression="lz4")
    return body.getvalue()


def _decode(what: str, checksum: int, body: bytes, path: Path) -> pl.DataFrame:
    if zlib.crc32(body) != checksum:
        raise LakeDamaged(f"{what} in {path} differ from their checksum.", hint="gapless live decides them again")
    return pl.read_ipc(io.BytesIO(body))
