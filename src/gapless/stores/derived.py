"""Which stored bars may be derived (folded from shorter ones that are stored), and as of when; see engine/derive.py.

What was derived is out of date when a bar beneath was corrected since: the values it had then are a revision, known
until a time after the one that stands here. So it is found out in the time of the corrections, not of the bars.

Spans stand here before the bars are written, and with a later time only afterwards. A crash between leaves spans
without such bars, which is harmless, or bars that are thought older than they are, which are then derived once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from gapless.folds import DERIVED
from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import Span, SpanSet, Timeframe
from gapless.stores.tail import Database

TABLES = """
CREATE TABLE IF NOT EXISTS derived(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, base TEXT, known_at INTEGER,
  PRIMARY KEY(timeframe, instrument, start)) WITHOUT ROWID;
"""
_TOUCHED = "FROM derived WHERE timeframe=? AND instrument=? AND start<? AND end>?"


class Line(NamedTuple):
    """Bars derived from ``base`` as it was known at a time (µs)."""

    instrument: str
    span: Span
    base: Timeframe
    known_at: int


class Derived:
    """The table of derived spans; those of a series do not overlap."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def of(self, timeframe: Timeframe) -> list[Line]:
        """Every span of a timeframe, by instrument and time."""
        query = (
            "SELECT instrument, start, end, base, known_at FROM derived WHERE timeframe=? ORDER BY instrument, start"
        )
        rows = self.database.rows(query, (timeframe.name,))
        return [Line(name, Span(a, b), Timeframe.parse(base), at) for name, a, b, base, at in rows]

    def expect(self, series: Series, spans: Iterable[Span], base: Timeframe, known_at: int) -> None:
        """Bars are about to be written there; what stands here already keeps its time."""
        key = (series.timeframe.name, str(series.instrument))
        with self.database.transaction() as db:
            for span in spans:
                there = db.execute(f"SELECT start, end {_TOUCHED}", (*key, span.end, span.start)).fetchall()
                for left in SpanSet.of(*there).complement(span):
                    _insert(db, key, left.start, left.end, base.name, known_at)


def note(db: sqlite3.Connection, answer: Answer) -> None:
    """Bars were derived: the span is as of then; or, where there is no answer, withdrawn."""
    span, base = answer.answered or answer.asked, answer.source.removeprefix(DERIVED)
    key = (answer.series.timeframe.name, str(answer.series.instrument))
    touched = db.execute(f"SELECT start, end, base, known_at {_TOUCHED}", (*key, span.end, span.start)).fetchall()
    db.execute(f"DELETE {_TOUCHED}", (*key, span.end, span.start))
    for start, end, *rest in touched:
        for low, high in ((start, span.start), (span.end, end)):
            if high > low:
                _insert(db, key, low, high, *rest)
    if answer.answered is not None:
        _insert(db, key, span.start, span.end, base, answer.known_at)


def _insert(db: sqlite3.Connection, key: tuple[str, str], start: int, end: int, base: str, known_at: int) -> None:
    db.execute("INSERT OR REPLACE INTO derived VALUES (?,?,?,?,?,?)", (*key, start, end, base, known_at))
