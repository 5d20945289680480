"""Splits and dividends, dated: when they take effect, when we learned of them, and what we believed before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from gapless.adjust import Action, same
from gapless.stores.tail import Database

TABLES = """
CREATE TABLE IF NOT EXISTS action(
  instrument TEXT, kind TEXT, ex INTEGER, known_at INTEGER, known_to INTEGER, factor TEXT, value REAL, close REAL,
  source TEXT, PRIMARY KEY(instrument, kind, ex, known_at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS action_told(instrument TEXT, source TEXT, PRIMARY KEY(instrument, source)) WITHOUT ROWID;
"""
_COLUMNS = "instrument, kind, ex, factor, value, close, source, known_at"


class Actions:
    """Typed access to the table of actions; every method is one transaction.

    Where two sources tell one action with a rounding between them, what was told first stands.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def store(self, actions: Iterable[Action], *, now: int, whole: Iterable[tuple[str, str]] = ()) -> dict[str, int]:
        """Remember actions; how many are written, corrected, unchanged and withdrawn.

        What is known already changes nothing; another value supersedes what stood. ``whole``: (instrument, source) of
        which this is all there is, so that what the same source said before and says no more is withdrawn.
        """
        counts = dict.fromkeys(("written", "corrected", "unchanged", "withdrawn"), 0)
        told: set[tuple[str, str, int]] = set()
        with self.database.transaction() as db:
            for action in actions:
                told.add((action.instrument, action.kind, action.ex))
                counts[_keep(db, action, now)] += 1
            for instrument, source in whole:
                db.execute("INSERT OR IGNORE INTO action_told VALUES (?,?)", (instrument, source))
                counts["withdrawn"] += _withdraw(db, instrument, source, told, now)
        return counts

    def of(self, instruments: Sequence[str] | None, *, as_of: int | None = None) -> list[Action]:
        """The actions that stand, or stood in our eyes at ``as_of``, by instrument and ex-date."""
        chosen = None if instruments is None else json.dumps(list(instruments))
        query = f"""SELECT {_COLUMNS} FROM action WHERE coalesce(known_to > ?1, known_to IS NULL)
                    AND known_at <= coalesce(?1, known_at)
                    {"" if chosen is None else "AND instrument IN (SELECT value FROM json_each(?2))"}
                    ORDER BY instrument, ex, kind"""
        return [_action(row) for row in self.database.rows(query, (as_of, chosen)[: 1 if chosen is None else 2])]

    def instruments(self) -> list[str]:
        """Instruments of which any action was ever known, or a source has told that there is none."""
        query = "SELECT instrument FROM action UNION SELECT instrument FROM action_told ORDER BY 1"
        return [row[0] for row in self.database.rows(query)]


def _action(row: tuple[Any, ...]) -> Action:
    instrument, kind, ex, factor, value, close, source, known_at = row
    return Action(instrument, kind, ex, Fraction(factor), value, close, source, known_at)


def _keep(db: sqlite3.Connection, action: Action, now: int) -> str:
    key = (action.instrument, action.kind, action.ex)
    of_day = "instrument=? AND kind=? AND ex=?"
    where = f"{of_day} AND known_to IS NULL"
    found = db.execute(f"SELECT {_COLUMNS} FROM action WHERE {where}", key).fetchone()
    ended = db.execute(f"SELECT coalesce(max(known_to), 0) FROM action WHERE {of_day}", key).fetchone()[0]
    known_at = max(action.known_at or now, ended)  # what was withdrawn, and is said again, was not known between
    if found is not None:
        stands = _action(found)
        if stands.factor == action.factor or (stands.source != action.source and same(stands, action)):
            return "unchanged"
        known_at = max(now, stands.known_at + 1)
        db.execute(f"UPDATE action SET known_to=? WHERE {where}", (known_at, *key))
    values = (*key, known_at, None, str(action.factor), action.value, action.close, action.source)
    db.execute("INSERT OR REPLACE INTO action VALUES (?,?,?,?,?,?,?,?,?)", values)
    return "written" if found is None else "corrected"


def _withdraw(db: sqlite3.Connection, instrument: str, source: str, told: set[tuple[str, str, int]], now: int) -> int:
    query = "SELECT kind, ex FROM action WHERE instrument=? AND source=? AND known_to IS NULL"
    gone = [(k, ex) for k, ex in db.execute(query, (instrument, source)) if (instrument, k, ex) not in told]
    for kind, ex in gone:
        db.execute(
            "UPDATE action SET known_to=? WHERE instrument=? AND kind=? AND ex=? AND known_to IS NULL",
            (now, instrument, kind, ex),
        )
    return len(gone)
