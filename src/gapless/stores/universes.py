"""Selections of universes, dated: who belonged, by what, and when it was found out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gapless.stores.tail import Database

TABLES = """
CREATE TABLE IF NOT EXISTS selection(
  universe TEXT, at INTEGER, known_at INTEGER, definition TEXT, members TEXT, document TEXT,
  PRIMARY KEY(universe, at, known_at)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One selection: as of which time (``at``), found out when (``known_at``), by which definition."""

    at: int
    known_at: int
    definition: str
    members: tuple[str, ...]
    document: Mapping[str, Any]


class Selections:
    """Typed access to the table of selections; nothing in it is changed or taken out."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def store(self, universe: str, stored: Stored) -> None:
        values = (universe, stored.at, stored.known_at, stored.definition, json.dumps(list(stored.members)),
                  json.dumps(dict(stored.document)))  # fmt: skip
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO selection VALUES (?,?,?,?,?,?)", values)

    def latest(self, universe: str, *, at: int, definition: str | None = None) -> Stored | None:
        """The newest selection as of a time that is not after ``at``; of equals the one found out last."""
        query = """SELECT at, known_at, definition, members, document FROM selection WHERE universe=?1 AND at<=?2
                   AND definition=coalesce(?3, definition) ORDER BY at DESC, known_at DESC LIMIT 1"""
        rows = self.database.rows(query, (universe, at, definition))
        if not rows:
            return None
        when, known_at, digest, members, document = rows[0]
        return Stored(when, known_at, digest, tuple(json.loads(members)), json.loads(document))

    def dates(self, universe: str) -> list[int]:
        """The times as of which there are selections."""
        query = "SELECT DISTINCT at FROM selection WHERE universe=? ORDER BY at"
        return [row[0] for row in self.database.rows(query, (universe,))]
