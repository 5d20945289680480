"""meta.sqlite: the ledger, the coverage index, listings, runs, refused rows, feature sets and their checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapless.folds import DERIVED
from gapless.protocols import Answer, Listing, Segment
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, HOUR, LATEST, Span, SpanSet, Timeframe
from gapless.stores import actions, derived, flags, instruments, overrides, recheck, universes
from gapless.stores.parquet import DataFile
from gapless.stores.tail import Database

_TABLES = """
CREATE TABLE IF NOT EXISTS file(
  directory TEXT, path TEXT, instrument TEXT, rows INTEGER, runs BLOB, pieces BLOB,
  PRIMARY KEY(directory, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger(
  id INTEGER PRIMARY KEY, run TEXT, source TEXT, timeframe TEXT, instrument TEXT, asked_start INTEGER,
  asked_end INTEGER, answered_start INTEGER, answered_end INTEGER, rows INTEGER, status TEXT, attempts INTEGER,
  error TEXT, digest TEXT, known_at INTEGER);
CREATE INDEX IF NOT EXISTS ledger_series ON ledger(timeframe, instrument, asked_start);
CREATE TABLE IF NOT EXISTS answered(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, PRIMARY KEY(timeframe, instrument, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confirmed(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, PRIMARY KEY(timeframe, instrument, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failure(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, source TEXT, attempts INTEGER, error TEXT, run TEXT,
  known_at INTEGER, PRIMARY KEY(timeframe, instrument, start, end, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS provisional(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, ready_at INTEGER,
  PRIMARY KEY(timeframe, instrument, start, end)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused(
  digest TEXT PRIMARY KEY, timeframe TEXT, instrument TEXT, ts INTEGER, reason TEXT, source TEXT, "row" INTEGER,
  run TEXT, known_at INTEGER, "values" TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refused_series ON refused(timeframe, instrument, ts);
CREATE TABLE IF NOT EXISTS listing(
  instrument TEXT PRIMARY KEY, status TEXT, listed_at INTEGER, delisted_at INTEGER, how TEXT, metadata TEXT,
  known_at INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run(id TEXT PRIMARY KEY, verb TEXT, started INTEGER, ended INTEGER, outcome TEXT,
  document TEXT);
CREATE TABLE IF NOT EXISTS feature_set(
  name TEXT, timeframe TEXT, feature TEXT, expression TEXT, version TEXT, PRIMARY KEY(name, timeframe, feature));
CREATE TABLE IF NOT EXISTS feature_build(
  name TEXT, timeframe TEXT, known_at INTEGER, PRIMARY KEY(name, timeframe)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoint(
  name TEXT, timeframe TEXT, instrument TEXT, period TEXT, last INTEGER, state BLOB, digest TEXT, before TEXT,
  after TEXT,
  PRIMARY KEY(name, timeframe, instrument, period)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS certificate(version TEXT PRIMARY KEY, document TEXT, known_at INTEGER);
"""
_STATES, _EVERY = 7, 12  # feature states kept of each series: the newest (over a month), and one of so many before
PROVISIONAL_WINDOW = HOUR  # a bar learned sooner than this after its close is asked once more, later


class Meta:
    """Typed access to the metadata tables; every method is one transaction."""

    def __init__(self, path: Path) -> None:
        parts = (actions, derived, flags, instruments, universes, overrides, recheck)
        beside = "".join(part.TABLES for part in parts)
        self.database = Database(path, _TABLES + beside)
        self.actions = actions.Actions(self.database)
        self.derived = derived.Derived(self.database)
        self.instruments = instruments.Instruments(self.database)
        self.selections = universes.Selections(self.database)

    # ------------------------------------------------------------ coverage index

    def index_files(self, directory: str, files: Iterable[DataFile]) -> None:
        """Remember which bars each staged file holds (harmless for files that are never committed)."""
        with self.database.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO file VALUES (?,?,?,?,?,?)",
                [(directory, f.path, f.instrument, f.rows, f.runs.tobytes(), f.pieces) for f in files],
            )

    def file_runs(self, directory: str, paths: Sequence[str]) -> dict[str, SpanSet]:
        """Bars held per file, of those of ``paths`` that the index knows."""
        query = "SELECT path, runs FROM file WHERE directory=? AND path IN (SELECT value FROM json_each(?))"
        rows = self.database.rows(query, (directory, json.dumps(list(paths))))
        return {path: SpanSet.frombytes(runs) for path, runs in rows}

    def forget_files(self, directory: str, paths: Iterable[str]) -> None:
        with self.database.transaction() as db:
            db.executemany("DELETE FROM file WHERE directory=? AND path=?", [(directory, p) for p in paths])

    # ------------------------------------------------------------ ledger

    def record(self, answers: Iterable[Answer]) -> None:
        """Append answers; merge what they prove into the answered spans; settle or note failures."""
        with self.database.transaction() as db:
            for answer in answers:
                _append(db, answer)
                if answer.status == "failed":
                    _note_failure(db, answer)
                elif answer.source.startswith(DERIVED):  # nobody was asked
                    derived.note(db, answer)
                elif answer.answered:
                    _merge_answered(db, answer)

    def answered(self, timeframe: Timeframe) -> dict[str, SpanSet]:
        """Spans for which some source spoke the whole truth, per instrument."""
        query = "SELECT instrument, start, end FROM answered WHERE timeframe=? ORDER BY instrument, start"
        return _spans_by_name(self.database.rows(query, (timeframe.name,)))

    def confirmed(self, timeframe: Timeframe) -> dict[str, SpanSet]:
        """The part of it that came from the venue itself, not from a file."""
        query = "SELECT instrument, start, end FROM confirmed WHERE timeframe=? ORDER BY instrument, start"
        return _spans_by_name(self.database.rows(query, (timeframe.name,)))

    def answered_by(self, source: str, series: Series) -> SpanSet:
        """Spans for which this source spoke the whole truth."""
        query = """SELECT answered_start, answered_end FROM ledger
                   WHERE timeframe=? AND instrument=? AND source=? AND answered_start IS NOT NULL"""
        return SpanSet.of(*self.database.rows(query, (series.timeframe.name, str(series.instrument), source)))

    def provisional(self, timeframe: Timeframe, now: int) -> dict[str, SpanSet]:
        """Spans whose bars were learned too soon and may be asked again by now."""
        query = "SELECT instrument, start, end FROM provisional WHERE timeframe=? AND ready_at<=?"
        return _spans_by_name(self.database.rows(query, (timeframe.name, now)))

    def due(self, timeframe: Timeframe, now: int) -> dict[str, SpanSet]:
        """Spans that are old enough by now to be asked for once more (see recheck.py)."""
        return _spans_by_name(self.database.rows(recheck.DUE, (timeframe.name, now)))

    def failures(self, timeframe: Timeframe) -> dict[str, list[Answer]]:
        """Requests that failed and were not answered since, per instrument."""
        query = """SELECT instrument, start, end, source, attempts, error, run, known_at FROM failure
                   WHERE timeframe=? ORDER BY instrument, start"""
        found: dict[str, list[Answer]] = {}
        for name, start, end, source, attempts, error, run, known_at in self.database.rows(query, (timeframe.name,)):
            series = Series(Instrument.parse(name), timeframe)
            answer = Answer(source, series, Span(start, end), None, 0, "failed", attempts, error, "", run, known_at)
            found.setdefault(name, []).append(answer)
        return found

    def history(self, series: Series, span: Span, limit: int = 50) -> list[dict[str, Any]]:
        """Ledger lines that touch ``span``, oldest first."""
        names = ("run", "source", "asked_start", "asked_end", "answered_start", "answered_end", "rows", "status",
                 "attempts", "error", "known_at")  # fmt: skip
        query = f"""SELECT {", ".join(names)} FROM ledger WHERE timeframe=? AND instrument=? AND asked_start<?
                    AND asked_end>? ORDER BY id DESC LIMIT ?"""
        key = (series.timeframe.name, str(series.instrument), span.end, span.start, limit)
        return [dict(zip(names, row, strict=True)) for row in reversed(self.database.rows(query, key))]

    # ------------------------------------------------------------ refused rows

    def refuse(self, timeframe: Timeframe | str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Keep refused rows once each, of bars or of a kind of values; returns how many are new."""
        names = ("digest", "instrument", "ts", "reason", "source", "row", "run", "known_at", "values")
        values = [(r["digest"], str(timeframe), *(r[n] for n in names[1:])) for r in rows]
        with self.database.transaction() as db:
            before = db.total_changes
            db.executemany("INSERT OR IGNORE INTO refused VALUES (?,?,?,?,?,?,?,?,?,?)", values)
            return int(db.total_changes - before)

    def refused(self, timeframe: Timeframe | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Refused rows, by source and row."""
        names = ("timeframe", "instrument", "ts", "reason", "source", '"row"', "run", "known_at", '"values"')
        where, key = ("WHERE timeframe=?", [timeframe.name]) if timeframe else ("", [])
        query = f'SELECT {", ".join(names)} FROM refused {where} ORDER BY source, "row", ts'
        rows = self.database.rows(query + (f" LIMIT {int(limit)}" if limit else ""), key)
        return [dict(zip((n.strip('"') for n in names), row, strict=True)) for row in rows]

    def refused_times(self, timeframe: Timeframe) -> dict[str, list[int]]:
        """Times of refused rows per instrument, where both are known and a bar could have that time."""
        query = "SELECT instrument, ts FROM refused WHERE timeframe=? AND instrument IS NOT NULL AND ts>=? AND ts<?"
        found: dict[str, list[int]] = {}
        for name, ts in self.database.rows(query, (timeframe.name, EARLIEST, LATEST)):
            found.setdefault(name, []).append(ts)
        return found

    # ------------------------------------------------------------ listings

    def listings(self) -> dict[str, tuple[int | None, int | None, str]]:
        """(listed_at, delisted_at, how we know) per instrument."""
        query = "SELECT instrument, listed_at, delisted_at, how FROM listing"
        return {name: (listed, delisted, how) for name, listed, delisted, how in self.database.rows(query)}

    def listing_rows(self) -> list[dict[str, Any]]:
        """Everything known of every instrument."""
        names = ("instrument", "status", "listed_at", "delisted_at", "how", "metadata", "known_at")
        query = f"SELECT {', '.join(names)} FROM listing ORDER BY instrument"
        return [dict(zip(names, row, strict=True)) for row in self.database.rows(query)]

    def store_listings(self, listings: Iterable[Listing], *, how: str, now: int) -> None:
        """Remember listings; a learned date never replaces one the venue itself gave.

        A source that gives no date leaves the known one alone; but what trades is not delisted. What another source
        said beyond stays. What changed of an instrument is a new version of it.
        """
        keep = "WHERE excluded.how != 'learned' OR listing.how = 'learned'"
        listings = list(listings)
        with self.database.transaction() as db:
            db.executemany(
                f"""INSERT INTO listing VALUES (?,?,?,?,?,?,?) ON CONFLICT(instrument) DO UPDATE SET
                    status=excluded.status, listed_at=coalesce(excluded.listed_at, listing.listed_at),
                    delisted_at=coalesce(excluded.delisted_at, iif(excluded.status='trading', NULL,
                    listing.delisted_at)), how=excluded.how,
                    metadata=json_patch(listing.metadata, excluded.metadata), known_at=excluded.known_at {keep}""",
                [
                    (str(x.instrument), x.status, x.listed_at, x.delisted_at, how, json.dumps(dict(x.metadata)), now)
                    for x in listings
                ],
            )
            instruments.note(db, {str(x.instrument) for x in listings}, now)

    # ------------------------------------------------------------ runs

    def start_run(self, run: str, verb: str, now: int) -> None:
        with self.database.transaction() as db:
            db.execute("INSERT INTO run VALUES (?,?,?,NULL,'running','{}')", (run, verb, now))

    def end_run(self, run: str, outcome: str, document: Mapping[str, Any], now: int) -> None:
        with self.database.transaction() as db:
            db.execute(
                "UPDATE run SET ended=?, outcome=?, document=? WHERE id=?", (now, outcome, json.dumps(document), run)
            )

    def unended(self) -> list[str]:
        """Runs that have no end."""
        return [row[0] for row in self.database.rows("SELECT id FROM run WHERE outcome='running'")]

    def run_names(self) -> list[str]:
        """Every run, however it ended."""
        return [row[0] for row in self.database.rows("SELECT id FROM run ORDER BY id")]

    def give_up(self, runs: Iterable[str], outcome: str) -> None:
        """Nobody will end these any more; one that has ended meanwhile keeps its end."""
        query = "UPDATE run SET outcome=? WHERE id=? AND outcome='running'"
        with self.database.transaction() as db:
            db.executemany(query, [(outcome, run) for run in runs])

    def heard(self, run: str) -> list[tuple[str, str, int, int, int]]:
        """What a run's lines in the ledger say: (timeframe, instrument, rows, failed, known last), by series."""
        query = """SELECT timeframe, instrument, sum(rows), sum(status='failed'), max(known_at) FROM ledger WHERE run=?
                   GROUP BY timeframe, instrument ORDER BY timeframe, instrument"""
        return self.database.rows(query, (run,))

    def runs(self, limit: int = 100) -> list[dict[str, Any]]:
        """Runs, newest first, without their documents."""
        names = ("id", "verb", "started", "ended", "outcome", "document")
        query = f"SELECT {', '.join(names)} FROM run ORDER BY started DESC, id DESC LIMIT ?"
        return [dict(zip(names, row, strict=True)) for row in self.database.rows(query, (limit,))]

    # ------------------------------------------------------------ features

    def feature_set(self, name: str, timeframe: Timeframe) -> dict[str, tuple[str, str]]:
        """(expression, version) per feature of a set, in its order; empty when it was never built."""
        query = "SELECT feature, expression, version FROM feature_set WHERE name=? AND timeframe=? ORDER BY rowid"
        return {f: (e, v) for f, e, v in self.database.rows(query, (name, timeframe.name))}

    def feature_sets(self) -> list[tuple[str, str, str, str, str]]:
        """(set, timeframe, feature, expression, version) of all that was ever built."""
        query = "SELECT name, timeframe, feature, expression, version FROM feature_set ORDER BY name, timeframe, rowid"
        return [tuple(r) for r in self.database.rows(query)]

    def store_feature_set(
        self, name: str, timeframe: Timeframe, features: Mapping[str, tuple[str, str]], now: int
    ) -> None:
        """Remember a set, and that it is built now."""
        rows = [(name, timeframe.name, f, e, v) for f, (e, v) in features.items()]
        with self.database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO feature_set VALUES (?,?,?,?,?)", rows)
            db.execute("INSERT OR REPLACE INTO feature_build VALUES (?,?,?)", (name, timeframe.name, now))

    def feature_builds(self) -> dict[tuple[str, str], int]:
        """When each set was last built, by (set, timeframe)."""
        return {(n, t): at for n, t, at in self.database.rows("SELECT name, timeframe, known_at FROM feature_build")}

    def forget_feature_set(self, name: str, timeframe: str) -> None:
        """A set is no more: not its definitions, nor what was built of it."""
        with self.database.transaction() as db:
            for table in ("feature_set", "feature_build", "checkpoint"):
                db.execute(f"DELETE FROM {table} WHERE name=? AND timeframe=?", (name, timeframe))

    def pieces(self, directory: str, instrument: str) -> dict[str, bytes]:
        """Digests of the bars of an instrument's files, by path."""
        query = "SELECT path, pieces FROM file WHERE directory=? AND instrument=?"
        return {path: blob for path, blob in self.database.rows(query, (directory, instrument)) if blob}

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        """Built segments of a series, by period, without their states."""
        query = """SELECT period, last, digest, before, after FROM checkpoint
                   WHERE name=? AND timeframe=? AND instrument=? ORDER BY last"""
        key = (name, series.timeframe.name, str(series.instrument))
        return {row[0]: Segment(*row) for row in self.database.rows(query, key)}

    def state(self, name: str, series: Series, period: str) -> bytes | None:
        """The state after a segment, where it is kept."""
        query = "SELECT state FROM checkpoint WHERE name=? AND timeframe=? AND instrument=? AND period=?"
        found = self.database.rows(query, (name, series.timeframe.name, str(series.instrument), period))
        return found[0][0] if found else None

    def store_segments(self, name: str, timeframe: Timeframe, segments: Iterable[tuple[Series, Segment, int]]) -> None:
        """Remember segments whose rows are committed (each with its first bar), in place of those of the same time."""
        with self.database.transaction() as db:
            touched = set()
            for series, segment, first in segments:
                key = (name, timeframe.name, str(series.instrument))
                where = "name=? AND timeframe=? AND instrument=? AND last>=? AND last<=?"
                db.execute(f"DELETE FROM checkpoint WHERE {where}", (*key, first, segment.last))
                values = (
                    *key,
                    segment.period,
                    segment.last,
                    segment.state,
                    segment.digest,
                    segment.before,
                    segment.after,
                )
                db.execute("INSERT OR REPLACE INTO checkpoint VALUES (?,?,?,?,?,?,?,?,?)", values)
                touched.add(key)
            for key in touched:
                _thin(db, key)

    def store_certificate(self, version: str, document: Mapping[str, Any], now: int) -> None:
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO certificate VALUES (?,?,?)", (version, json.dumps(document), now))


def _thin(db: sqlite3.Connection, key: tuple[str, str, str]) -> None:
    """States are large: the newest few are kept, and every twelfth; others are computed at need."""
    where = "name=? AND timeframe=? AND instrument=?"
    ordered = [r[0] for r in db.execute(f"SELECT period FROM checkpoint WHERE {where} ORDER BY last DESC", key)]
    spare = [p for k, p in enumerate(ordered) if k >= _STATES and (len(ordered) - k) % _EVERY]
    marks = ",".join("?" * len(spare))
    unset = f"UPDATE checkpoint SET state=NULL WHERE {where} AND period IN ({marks}) AND state IS NOT NULL"
    db.execute(unset, (*key, *spare))


def _append(db: sqlite3.Connection, a: Answer) -> None:
    answered = (a.answered.start, a.answered.end) if a.answered else (None, None)
    db.execute(
        """INSERT INTO ledger(run, source, timeframe, instrument, asked_start, asked_end, answered_start, answered_end,
           rows, status, attempts, error, digest, known_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)""",
        (a.run, a.source, a.series.timeframe.name, str(a.series.instrument), a.asked.start, a.asked.end, *answered,
         a.rows, a.status, a.attempts, a.error, a.digest, a.known_at),
    )  # fmt: skip


def _note_failure(db: sqlite3.Connection, a: Answer) -> None:
    """Only the newest failure of a span is kept, with all attempts so far."""
    key = (a.series.timeframe.name, str(a.series.instrument))
    inside = "timeframe=? AND instrument=? AND start>=? AND end<=?"
    span = (*key, a.asked.start, a.asked.end)
    earlier = db.execute(f"SELECT coalesce(max(attempts), 0) FROM failure WHERE {inside}", span).fetchone()[0]
    db.execute(f"DELETE FROM failure WHERE {inside}", span)
    values = (*span, a.source, a.attempts + earlier, a.error, a.run, a.known_at)
    db.execute("INSERT OR REPLACE INTO failure VALUES (?,?,?,?,?,?,?,?,?)", values)


def _merge_answered(db: sqlite3.Connection, a: Answer) -> None:
    assert a.answered is not None
    start, end = a.answered.start, a.answered.end
    key = (a.series.timeframe.name, str(a.series.instrument))
    _join(db, "answered", key, start, end)
    _cut(db, "failure", key, start, end)
    _cut(db, "provisional", key, start, end)
    if a.source.startswith("file"):
        return
    _join(db, "confirmed", key, start, end)
    recheck.note(db, a)
    if a.known_at < end + PROVISIONAL_WINDOW:
        soon = max(start, a.series.timeframe.floor(a.known_at - PROVISIONAL_WINDOW))  # the bar that closed after that
        db.execute("INSERT OR REPLACE INTO provisional VALUES (?,?,?,?,?)", (*key, soon, end, end + PROVISIONAL_WINDOW))


def _join(db: sqlite3.Connection, table: str, key: tuple[str, str], start: int, end: int) -> None:
    """Add [start, end) to the spans of ``table``; spans that touch become one."""
    where = "timeframe=? AND instrument=? AND start<=? AND end>=?"
    touching = db.execute(f"SELECT start, end FROM {table} WHERE {where}", (*key, end, start)).fetchall()
    db.execute(f"DELETE FROM {table} WHERE {where}", (*key, end, start))
    low, high = min([start, *(t[0] for t in touching)]), max([end, *(t[1] for t in touching)])
    db.execute(f"INSERT INTO {table} VALUES (?,?,?,?)", (*key, low, high))


def _cut(db: sqlite3.Connection, table: str, key: tuple[str, str], start: int, end: int) -> None:
    """Take [start, end) out of the spans of ``table``; what sticks out on either side stays."""
    where = "timeframe=? AND instrument=? AND start<? AND end>?"
    rows = db.execute(f"SELECT * FROM {table} WHERE {where}", (*key, end, start)).fetchall()
    if not rows:
        return
    db.execute(f"DELETE FROM {table} WHERE {where}", (*key, end, start))
    for _, _, low, high, *rest in rows:
        for a, b in ((low, start), (end, high)):
            if b > a:
                values = (*key, a, b, *rest)
                db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(values))})", values)


def _spans_by_name(rows: Iterable[tuple[Any, ...]]) -> dict[str, SpanSet]:
    found: dict[str, list[tuple[int, int]]] = {}
    for name, start, end in rows:
        found.setdefault(name, []).append((start, end))
    return {name: SpanSet.of(*pairs) for name, pairs in found.items()}
