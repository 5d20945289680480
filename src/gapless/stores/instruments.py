"""What was known of instruments, and when: versions of their metadata, their lives, and the names they went by.

A version is a row that is never changed: from ``valid_from`` on, as learned at ``known_at``. Only what matters opens
one (see ``meaning``). What a source says first is taken to hold since the listing: base and quote do not change.
A name that is listed again after it was delisted is another instrument under the same name: a new life.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any

from gapless.spans import EARLIEST, LATEST, SpanSet
from gapless.stores.tail import Database

TABLES = """
CREATE TABLE IF NOT EXISTS instrument_version(
  instrument TEXT, valid_from INTEGER, known_at INTEGER, status TEXT, listed_at INTEGER, delisted_at INTEGER, how TEXT,
  metadata TEXT, PRIMARY KEY(instrument, known_at, valid_from)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS name(
  venue TEXT, ticker TEXT, start INTEGER, end INTEGER, instrument TEXT, source TEXT, known_at INTEGER,
  PRIMARY KEY(venue, ticker, start)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS name_instrument ON name(instrument);
"""
_FLEETING = re.compile(r"(^|_)(time|timestamp|updated|updated_at|volume|price|last|turnover|market_cap|count|change)$")
_COLUMNS = "instrument, valid_from, known_at, status, listed_at, delisted_at, how, metadata"


@dataclass(frozen=True, slots=True)
class Version:
    """What held of an instrument from ``valid_from`` to ``valid_to`` (None: still), as learned at ``known_at``. µs."""

    instrument: str
    valid_from: int
    known_at: int
    status: str
    listed_at: int | None
    delisted_at: int | None
    how: str
    metadata: Mapping[str, str]
    valid_to: int | None = None

    @property
    def meaning(self) -> tuple[object, ...]:
        """What two versions differ in: not times of answers, prices or volumes, nor how a number is written."""
        kept = {k: _plain(v) for k, v in self.metadata.items() if not _FLEETING.search(k)}
        return self.status, self.listed_at, self.delisted_at, tuple(sorted(kept.items()))


@dataclass(frozen=True, slots=True)
class Name:
    """A ticker by which an instrument was known in a span."""

    venue: str
    ticker: str
    start: int
    end: int
    instrument: str


def _plain(value: str) -> str:
    """``0.0100`` and ``0.01`` are one number."""
    try:
        return str(Decimal(value).normalize())
    except InvalidOperation:
        return value


class Instruments:
    """Typed access to versions and names; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def history(self, instruments: Sequence[str] | None = None) -> dict[str, list[Version]]:
        """Versions per instrument, in the order in which they were learned."""
        where = "" if instruments is None else "WHERE instrument IN (SELECT value FROM json_each(?))"
        query = f"SELECT {_COLUMNS} FROM instrument_version {where} ORDER BY instrument, known_at, valid_from"
        rows = self.database.rows(query, () if instruments is None else (json.dumps(list(instruments)),))
        found: dict[str, list[Version]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(_version(row))
        return found

    def count(self) -> int:
        """How many versions there are."""
        return int(self.database.rows("SELECT count(*) FROM instrument_version")[0][0])

    def names(self, venue: str | None = None) -> list[Name]:
        """Every ticker of every instrument, by venue, ticker and time."""
        query = "SELECT venue, ticker, start, end, instrument FROM name ORDER BY venue, ticker, start"
        return [n for row in self.database.rows(query) if (n := Name(*row)).venue == venue or venue is None]

    def store_names(self, names: Iterable[Name], *, source: str, now: int) -> int:
        """Remember names, in the place of what was known of those instruments' names; how many are new or moved."""
        names = list(names)
        with self.database.transaction() as db:
            stood: set[Name] = set()
            for instrument in {n.instrument for n in names}:
                query = "SELECT venue, ticker, start, end, instrument FROM name WHERE instrument=?"
                stood |= {Name(*row) for row in db.execute(query, (instrument,))}
                db.execute("DELETE FROM name WHERE instrument=?", (instrument,))
            rows = [(n.venue, n.ticker, n.start, n.end, n.instrument, source, now) for n in names]
            db.executemany("INSERT OR REPLACE INTO name VALUES (?,?,?,?,?,?,?)", rows)
        return len(set(names) - stood)


def valid_at(versions: Sequence[Version], at: int) -> Version:
    """What held at a time, by all we know; the first version before that."""
    ordered = timeline(versions)
    return next((v for v in reversed(ordered) if v.valid_from <= at), ordered[0])


def timeline(versions: Sequence[Version]) -> list[Version]:
    """Versions by the time they hold from, each with its end; of those from the same time, what was learned last."""
    latest = {v.valid_from: v for v in versions}
    ordered = [latest[at] for at in sorted(latest)]
    ends = [v.valid_from for v in ordered[1:]]
    return [replace(v, valid_to=end) for v, end in zip_longest(ordered, ends)]


def lives(versions: Sequence[Version]) -> SpanSet:
    """When the instrument could be traded: from listing to delisting, as often as the name was used.

    A version listed after the delisting of the one before begins another life; otherwise it tells the same life better.
    """
    found: list[tuple[int, int]] = []
    for version in versions:
        start = EARLIEST if version.listed_at is None else version.listed_at
        end = LATEST if version.delisted_at is None else version.delisted_at
        if found and start < found[-1][1]:
            found.pop()
        if start < end:
            found.append((start, end))
    return SpanSet.of(*found)


def note(db: sqlite3.Connection, names: Iterable[str], now: int) -> None:
    """Open a version for each listing that says something else than its last one. Part of storing listings."""
    asked = json.dumps(list(names))
    inside = "instrument IN (SELECT value FROM json_each(?))"
    query = f"SELECT {_COLUMNS} FROM instrument_version WHERE {inside} ORDER BY known_at, valid_from"
    last = {row[0]: _version(row) for row in db.execute(query, (asked,))}
    query = f"SELECT instrument, 0, ?, status, listed_at, delisted_at, how, metadata FROM listing WHERE {inside}"
    for row in db.execute(query, (now, asked)).fetchall():
        told, before = _version(row), last.get(row[0])
        if before is None or before.meaning != told.meaning:
            told = replace(told, valid_from=_valid_from(before, told, now), known_at=_later(before, now))
            db.execute("INSERT INTO instrument_version VALUES (?,?,?,?,?,?,?,?)", _row(told))


def _version(row: tuple[Any, ...]) -> Version:
    instrument, valid_from, known_at, status, listed_at, delisted_at, how, metadata = row
    return Version(instrument, valid_from, known_at, status, listed_at, delisted_at, how, json.loads(metadata))


def _row(v: Version) -> tuple[Any, ...]:
    return (v.instrument, v.valid_from, v.known_at, v.status, v.listed_at, v.delisted_at, v.how,
            json.dumps(dict(v.metadata), sort_keys=True))  # fmt: skip


def _later(before: Version | None, now: int) -> int:
    return now if before is None else max(now, before.known_at + 1)


def _valid_from(before: Version | None, told: Version, now: int) -> int:
    """Since when what is told now holds."""
    if before is None:
        return now if told.listed_at is None else told.listed_at
    if told.listed_at is not None and before.delisted_at is not None and told.listed_at >= before.delisted_at:
        return told.listed_at  # another life
    if told.delisted_at != before.delisted_at and told.delisted_at is not None and told.delisted_at <= now:
        return max(before.valid_from, told.delisted_at)
    corrected = replace(before, listed_at=told.listed_at, delisted_at=told.delisted_at).meaning == told.meaning
    return before.valid_from if corrected else max(now, before.valid_from + 1)
