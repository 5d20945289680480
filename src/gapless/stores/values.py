"""Values at times beside bars: what is known now, what was believed before, and what was asked of whom.

A database of its own, ``values.sqlite``, made when the first value comes. A value, the spans that its answer speaks for
and the line of its ledger are one transaction: after a crash nothing is claimed that is not there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from gapless.protocols import Counts, ValueAnswer
from gapless.spans import EARLIEST, LATEST, Span, SpanSet
from gapless.stores.tail import Database
from gapless.values import VALUES

_TABLES = """
CREATE TABLE IF NOT EXISTS series(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, instrument TEXT NOT NULL, UNIQUE(name, instrument));
CREATE TABLE IF NOT EXISTS source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS value(
  series INTEGER, ts INTEGER, value REAL, source INTEGER, known_at INTEGER, PRIMARY KEY(series, ts)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS superseded(
  series INTEGER, ts INTEGER, known_from INTEGER, known_to INTEGER, value REAL, source INTEGER,
  PRIMARY KEY(series, ts, known_from)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answered(series INTEGER, start INTEGER, end INTEGER, PRIMARY KEY(series, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger(
  id INTEGER PRIMARY KEY, run TEXT, source TEXT, series INTEGER, asked_start INTEGER, asked_end INTEGER,
  answered_start INTEGER, answered_end INTEGER, rows INTEGER, attempts INTEGER, error TEXT, known_at INTEGER,
  ended INTEGER, changed INTEGER);
CREATE INDEX IF NOT EXISTS ledger_series ON ledger(series, asked_end);
CREATE INDEX IF NOT EXISTS ledger_known ON ledger(known_at);
"""  # noqa: E501 - a table a line
_CURRENT = """SELECT instrument, ts, value, source.name, known_at FROM series
              CROSS JOIN value ON value.series = series.id JOIN source ON source.id = value.source
              WHERE series.name=? AND ts>=? AND ts<?"""
_OLD = """SELECT instrument, ts, value, source.name, known_from FROM series
          CROSS JOIN superseded ON superseded.series = series.id JOIN source ON source.id = superseded.source
          WHERE series.name=? AND ts>=? AND ts<? AND known_from<=? AND known_to>?"""


@dataclass(frozen=True, slots=True)
class Held:
    """What there is of one kind of values of one instrument. Times in µs."""

    name: str
    instrument: str
    values: int
    first: int
    last: int
    known_at: int
    superseded: int


class Values:
    """Typed access; every method is one transaction. The caller holds the writer's lock while it writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: Database | None = None

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._database is not None:
            self._database.close()

    # ------------------------------------------------------------ writing

    def keep(self, answer: ValueAnswer, frame: pl.DataFrame) -> Counts:
        """Remember an answer and its values (``ts``, ``value``; sorted, each once); what differs supersedes.

        The value that stood stays readable as of a time at which it stood.
        """
        times, values = frame["ts"].to_physical().to_list(), frame["value"].to_list()
        with self._open().transaction() as db:
            series = _number(db, "series", ("name", "instrument"), (answer.name, str(answer.instrument)))
            source = _number(db, "source", ("name",), (answer.source,))
            counts, changed = _store(db, series, source, list(zip(times, values, strict=True)), answer.known_at)
            _log(db, series, answer, changed)
            for span in SpanSet.of(answer.answered) - answer.holes if answer.answered else ():
                _join(db, series, span)
        return counts

    # ------------------------------------------------------------ reading

    def read(
        self, name: str, instruments: Sequence[str] | None = None, span: Span | None = None, *, as_of: int | None = None
    ) -> pl.DataFrame:
        """instrument, ts, value, source, known_at by (instrument, ts); ``as_of``: as known at that time."""
        if self._reader() is None:
            return pl.DataFrame(schema=VALUES)
        inside = (span.start, span.end) if span is not None else (EARLIEST, LATEST)
        found = self._frame(_CURRENT, (name, *inside), instruments)
        if as_of is not None:
            found = found.filter(pl.col("known_at").to_physical() <= as_of)
            found = pl.concat([found, self._frame(_OLD, (name, *inside, as_of, as_of), instruments)])
        return found.sort("instrument", "ts")

    def answered(self, name: str) -> dict[str, SpanSet]:
        """Spans for which a source spoke the whole truth, by instrument."""
        query = "SELECT instrument, start, end FROM answered JOIN series ON series.id = answered.series WHERE name=?"
        found: dict[str, list[tuple[int, int]]] = {}
        for instrument, start, end in self._rows(query, (name,)):
            found.setdefault(instrument, []).append((start, end))
        return {instrument: SpanSet.of(*spans) for instrument, spans in found.items()}

    def asked_until(self, name: str) -> dict[str, int]:
        """Up to when everything that was due was asked for, by instrument."""
        query = """SELECT instrument, max(asked_end) FROM ledger JOIN series ON series.id = ledger.series
                   WHERE name=? AND ended GROUP BY instrument"""
        return dict(self._rows(query, (name,)))

    def latest(self, name: str, instruments: Sequence[str], at: int, since: int) -> dict[str, float]:
        """The newest value of each instrument of the times from ``since`` to ``at``, both included."""
        query = f"""SELECT instrument, max(ts), value FROM series CROSS JOIN value ON value.series = series.id
                    WHERE name=? AND ts>=? AND ts<=? AND instrument IN ({",".join("?" * len(instruments))})
                    GROUP BY series.id"""
        return {who: value for who, _, value in self._rows(query, (name, since, at, *instruments))}

    def learned(self, names: Collection[str], instruments: Sequence[str], since: int) -> int | None:
        """The oldest time of which a value was stored or corrected after ``since`` (``known_at``, µs)."""
        among = [",".join("?" * len(some)) for some in (names, instruments)]
        query = f"""SELECT min(changed) FROM ledger JOIN series ON series.id = ledger.series
                    WHERE known_at>? AND name IN ({among[0]}) AND instrument IN ({among[1]})"""
        found = self._rows(query, (since, *names, *instruments))
        return found[0][0] if found else None

    def version(self) -> tuple[int, int] | None:
        """Changes whenever anybody stores values; None while there are none."""
        database = self._reader()
        return database.version() if database is not None else None

    def held(self) -> list[Held]:
        """Every kind and instrument of which there is a value."""
        query = """SELECT name, instrument, count(*), min(ts), max(ts), max(known_at),
                   (SELECT count(*) FROM superseded WHERE superseded.series = series.id)
                   FROM series JOIN value ON value.series = series.id GROUP BY series.id ORDER BY name, instrument"""
        return [Held(*row) for row in self._rows(query)]

    def history(self, name: str, instrument: str, limit: int = 50) -> list[dict[str, Any]]:
        """Lines of the ledger, oldest first."""
        names = ("run", "source", "asked_start", "asked_end", "answered_start", "answered_end", "rows", "attempts",
                 "error", "known_at")  # fmt: skip
        query = f"""SELECT {", ".join(f"ledger.{n}" for n in names)} FROM ledger JOIN series ON series.id=ledger.series
                    WHERE name=? AND instrument=? ORDER BY ledger.id DESC LIMIT ?"""
        return [dict(zip(names, row, strict=True)) for row in reversed(self._rows(query, (name, instrument, limit)))]

    def verify(self) -> list[str]:
        """Problems: SQLite's own check, values that are no numbers, beliefs that contradict, spans that overlap."""
        database = self._reader()
        if database is None:
            return []
        return [f"values.sqlite: {problem}" for problem in _problems(database)]

    # ------------------------------------------------------------

    def _frame(self, query: str, key: tuple[Any, ...], instruments: Sequence[str] | None) -> pl.DataFrame:
        if instruments is not None:
            query += f" AND instrument IN ({','.join('?' * len(instruments))})"
            key = (*key, *instruments)
        kinds = VALUES | {"ts": pl.Int64(), "known_at": pl.Int64()}
        rows = pl.DataFrame(self._rows(query, key), schema=kinds, orient="row")
        return rows.cast({"ts": VALUES["ts"], "known_at": VALUES["known_at"]})

    def _rows(self, query: str, key: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        database = self._reader()
        return database.rows(query, key) if database is not None else []

    def _reader(self) -> Database | None:
        """The database, where there is one: a lake without values has no file of them."""
        return self._open() if self._database is not None or self.path.exists() else None

    def _open(self) -> Database:
        if self._database is None:
            self._database = Database(self.path, _TABLES)
        return self._database


def _number(db: sqlite3.Connection, table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> int:
    """The number of what is called so, new or known."""
    marks, where = ",".join("?" * len(key)), " AND ".join(f"{c}=?" for c in columns)
    db.execute(f"INSERT OR IGNORE INTO {table}({','.join(columns)}) VALUES ({marks})", key)
    return int(db.execute(f"SELECT id FROM {table} WHERE {where}", key).fetchone()[0])


def _store(
    db: sqlite3.Connection, series: int, source: int, rows: list[tuple[int, float]], now: int
) -> tuple[Counts, int | None]:
    """How many of which kind, and the oldest time of which something changed."""
    if not rows:
        return Counts(), None
    query = "SELECT ts, value, source, known_at FROM value WHERE series=? AND ts>=? AND ts<=?"
    stands = {ts: rest for ts, *rest in db.execute(query, (series, rows[0][0], rows[-1][0]))}
    fresh = [(ts, value) for ts, value in rows if ts not in stands]
    other = [(ts, value, *stands[ts]) for ts, value in rows if ts in stands and stands[ts][0] != value]
    later = {ts: max(now, known + 1) for ts, _, _, _, known in other}  # known after what it supersedes
    db.executemany(
        "INSERT OR REPLACE INTO superseded VALUES (?,?,?,?,?,?)",
        [(series, ts, known, later[ts], old, by) for ts, _, old, by, known in other],
    )
    db.executemany(
        "INSERT OR REPLACE INTO value VALUES (?,?,?,?,?)",
        [(series, ts, value, source, now) for ts, value in fresh]
        + [(series, ts, value, source, later[ts]) for ts, value, *_ in other],
    )
    changed = min((ts for ts, *_ in (*fresh, *other)), default=None)
    return Counts(len(rows), len(fresh), len(rows) - len(fresh) - len(other), len(other)), changed


def _log(db: sqlite3.Connection, series: int, a: ValueAnswer, changed: int | None) -> None:
    answered = (a.answered.start, a.answered.end) if a.answered else (None, None)
    db.execute(
        """INSERT INTO ledger(run, source, series, asked_start, asked_end, answered_start, answered_end, rows, attempts,
           error, known_at, ended, changed) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)""",
        (
            a.run,
            a.source,
            series,
            a.asked.start,
            a.asked.end,
            *answered,
            a.rows,
            a.attempts,
            a.error,
            a.known_at,
            a.ended,
            changed,
        ),
    )


def _join(db: sqlite3.Connection, series: int, span: Span) -> None:
    """Add a span to those answered; spans that touch become one."""
    where, key = "series=? AND start<=? AND end>=?", (series, span.end, span.start)
    low, high = db.execute(f"SELECT min(start), max(end) FROM answered WHERE {where}", key).fetchone()
    db.execute(f"DELETE FROM answered WHERE {where}", key)
    start, end = (span.start, span.end) if low is None else (min(low, span.start), max(high, span.end))
    db.execute("INSERT INTO answered VALUES (?,?,?)", (series, start, end))


def _problems(database: Database) -> Iterator[str]:
    if problem := database.check():
        yield problem
    found = database.rows(
        "SELECT name, instrument, count(*) FROM value JOIN series ON series.id=value.series "
        "WHERE value IS NULL OR abs(value) > 1.7e308 GROUP BY series.id"
    )
    yield from (f"{count} values of {name} {instrument} are no numbers" for name, instrument, count in found)
    found = database.rows(
        "SELECT name, instrument, count(*) FROM superseded JOIN series ON series.id=superseded.series "
        "LEFT JOIN value ON value.series=superseded.series AND value.ts=superseded.ts "
        "WHERE known_to<=known_from OR value.known_at IS NULL OR value.known_at<known_to GROUP BY series.id"
    )
    yield from (f"{count} superseded values of {n} {i} contradict what stands" for n, i, count in found)
    spans = database.rows("SELECT series, start, end FROM answered ORDER BY series, start")
    if any(end <= start for _, start, end in spans) or any(a[0] == b[0] and a[2] >= b[1] for a, b in pairwise(spans)):
        yield "answered spans overlap"
