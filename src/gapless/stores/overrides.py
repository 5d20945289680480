"""The log of overrides: bars where a reconciliation put one source's word in the place of another's.

Noted before the bars are written: an override without its note cannot be undone, a note without its override is seen
to have had no effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from gapless.bars import STORED
from gapless.spans import Timeframe

if TYPE_CHECKING:
    from gapless.stores.lake import Lake

TABLES = """
CREATE TABLE IF NOT EXISTS override(
  timeframe TEXT, instrument TEXT, ts INTEGER, run TEXT, known_at INTEGER, was TEXT, became TEXT,
  PRIMARY KEY(run, timeframe, instrument, ts)) WITHOUT ROWID;
"""
_KEPT = [n for n in STORED if n not in ("instrument", "ts", "known_at")]


@dataclass(frozen=True, slots=True)
class Override:
    """One bar, as it was and as it became: values by column, and ``source``."""

    timeframe: Timeframe
    instrument: str
    ts: int
    run: str
    was: Mapping[str, Any]
    became: Mapping[str, Any]


def note(lake: Lake, overrides: Iterable[Override]) -> None:
    """Keep them; durable on return."""
    now = lake.clock()
    rows = [
        (o.timeframe.name, o.instrument, o.ts, o.run, now, json.dumps(dict(o.was)), json.dumps(dict(o.became)))
        for o in overrides
    ]
    with lake.writing("note overrides"), lake.meta.database.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO override VALUES (?,?,?,?,?,?,?)", rows)


def of_run(lake: Lake, run: str) -> list[Override]:
    """What a run overrode, by series and time."""
    query = """SELECT timeframe, instrument, ts, run, was, became FROM override WHERE run=?
               ORDER BY timeframe, instrument, ts"""
    return [
        Override(Timeframe.parse(timeframe), name, ts, by, json.loads(was), json.loads(became))
        for timeframe, name, ts, by, was, became in lake.meta.database.rows(query, (run,))
    ]


def values_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a stored row an override remembers."""
    return {name: row[name] for name in _KEPT if row.get(name) is not None}


def as_bars(rows: Iterable[tuple[str, int, Mapping[str, Any]]]) -> pl.DataFrame:
    """Remembered values (instrument, ts, values) as bars, with ``source``."""
    kinds = {n: k for n, k in STORED.items() if n != "known_at"}
    table = [{"instrument": name, "ts": ts} | dict(values) for name, ts, values in rows]
    return pl.DataFrame(table, schema=kinds | {"ts": pl.Int64()}, orient="row").cast({"ts": kinds["ts"]})
