"""When answered spans are to be asked for again: vendors revise bars for days, and ever less.

A bar that was heard before it was a day old is due one day after its close, one that was younger than three days three
days after, one younger than thirty thirty. Each new answer, whatever made it, sets the bars it speaks for to their next
date; after the last there is none. (The first hour is ``provisional``: such bars are asked again without being told.)

Kept as spans that are due together, a 24th of the way at most before the last of them is: some 70 lines a series at
most, however many bars.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import pairwise

from gapless.protocols import Answer
from gapless.spans import DAY, Span, Timeframe

AFTER = (DAY, 3 * DAY, 30 * DAY)  # a bar's close
_TOGETHER = 24  # spans are due together by this part of the wait

TABLES = """
CREATE TABLE IF NOT EXISTS recheck(
  timeframe TEXT, instrument TEXT, due_at INTEGER, start INTEGER, end INTEGER,
  PRIMARY KEY(timeframe, instrument, due_at, start)) WITHOUT ROWID;
"""
DUE = "SELECT instrument, start, end FROM recheck WHERE timeframe=? AND due_at<=?"
_MINE = "timeframe=? AND instrument=?"


def note(db: sqlite3.Connection, answer: Answer) -> None:
    """An answer came: what it speaks for is due when it says so, and not before."""
    if answer.answered is None:
        return
    key = (answer.series.timeframe.name, str(answer.series.instrument))
    _cut(db, key, answer.answered)
    for due_at, span in _due(answer.answered, answer.series.timeframe, answer.known_at):
        _join(db, key, due_at, span)


def _due(span: Span, timeframe: Timeframe, known_at: int) -> Iterator[tuple[int, Span]]:
    """(when, which part): by the age of bars when the answer came, in portions that are due together."""
    for youngest, wait in pairwise((0, *AFTER)):
        size = max(wait // _TOGETHER, timeframe.micros)
        end = min(span.end, timeframe.floor(known_at - youngest)) if youngest else span.end
        start = max(span.start, timeframe.floor(known_at - wait))
        while start < end:
            edge = min(end, timeframe.ceil((start // size + 1) * size))
            yield timeframe.ceil((start // size + 1) * size) + wait, Span(start, edge)
            start = edge


def _cut(db: sqlite3.Connection, key: tuple[str, str], span: Span) -> None:
    where = f"{_MINE} AND start<? AND end>?"
    touched = db.execute(
        f"SELECT due_at, start, end FROM recheck WHERE {where}", (*key, span.end, span.start)
    ).fetchall()
    if touched:
        db.execute(f"DELETE FROM recheck WHERE {where}", (*key, span.end, span.start))
    for due_at, start, end in touched:
        for part in (Span(start, min(end, span.start)), Span(max(start, span.end), end)):
            if part:
                _insert(db, key, due_at, part)


def _join(db: sqlite3.Connection, key: tuple[str, str], due_at: int, span: Span) -> None:
    """Spans that are due together and touch are one."""
    where = f"{_MINE} AND due_at=? AND start<=? AND end>=?"
    values = (*key, due_at, span.end, span.start)
    low, high = db.execute(f"SELECT min(start), max(end) FROM recheck WHERE {where}", values).fetchone()
    if low is not None:
        db.execute(f"DELETE FROM recheck WHERE {where}", values)
        span = Span(min(low, span.start), max(high, span.end))
    _insert(db, key, due_at, span)


def _insert(db: sqlite3.Connection, key: tuple[str, str], due_at: int, span: Span) -> None:
    db.execute("INSERT OR REPLACE INTO recheck VALUES (?,?,?,?,?)", (*key, due_at, span.start, span.end))
