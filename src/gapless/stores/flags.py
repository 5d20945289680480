"""Flags beside the data: what a look at quality found suspicious, until the next look at the same span."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gapless.coverage.quality import Flag
from gapless.series import Series
from gapless.spans import Span

if TYPE_CHECKING:
    from gapless.stores.lake import Lake

TABLES = """
CREATE TABLE IF NOT EXISTS flag(
  timeframe TEXT, instrument TEXT, start INTEGER, end INTEGER, kind TEXT, size REAL, evidence TEXT, confidence REAL,
  known_at INTEGER, PRIMARY KEY(timeframe, instrument, start, end, kind)) WITHOUT ROWID;
"""
_MINE = "timeframe=? AND instrument=?"


def keep(lake: Lake, found: Sequence[tuple[Series, Span, Sequence[Flag]]]) -> None:
    """Of each series: the flags of a span take the place of those it had; one that stays keeps its date."""
    now = lake.clock()
    with lake.writing("keep flags"), lake.meta.database.transaction() as db:
        for series, span, flags in found:
            key = (series.timeframe.name, str(series.instrument))
            where = f"{_MINE} AND start<? AND end>?"
            inside = (*key, span.end, span.start)
            rows = db.execute(f"SELECT start, end, kind, known_at FROM flag WHERE {where}", inside)
            known = {(start, end, kind): at for start, end, kind, at in rows}
            db.execute(f"DELETE FROM flag WHERE {where}", inside)
            db.executemany(
                "INSERT OR REPLACE INTO flag VALUES (?,?,?,?,?,?,?,?,?)",
                [
                    (*key, f.span.start, f.span.end, f.kind, f.size, json.dumps(f.evidence), f.confidence,
                     known.get((f.span.start, f.span.end, f.kind), now))
                    for f in flags
                ],
            )  # fmt: skip


def of(lake: Lake, series: Series) -> list[Flag]:
    """The flags of a series, by time."""
    query = f"SELECT start, end, kind, size, evidence, confidence FROM flag WHERE {_MINE} ORDER BY start, end, kind"
    rows = lake.meta.database.rows(query, (series.timeframe.name, str(series.instrument)))
    return [Flag(series, Span(a, b), kind, size, tuple(json.loads(why)), sure) for a, b, kind, size, why, sure in rows]
