"""``features verify`` of what live runs computed: feature rows that are still in the journal against their bars."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from gapless.app.decisions import journal
from gapless.app.desks import desk
from gapless.app.lake import Lake
from gapless.engine.build import set_name
from gapless.engine.desk import Desk
from gapless.events import Observer, Verified, nobody
from gapless.features import plan
from gapless.series import Series
from gapless.spans import SpanSet, Timeframe

_KEY = ["instrument", "ts"]


def verify_live(
    lake: Lake, sample: int, seed: int, symbols: Sequence[str] | None, *, observer: Observer = nobody
) -> list[dict[str, Any]]:
    """One line for each sampled series that a live run looks after: values looked at, and values whose bits differ.

    Rows of the present configuration's features; those of another one are none that could be computed again.
    """
    known, lines = journal(lake), list[dict[str, Any]]()
    if known is None:
        return lines
    for desk_name, fact in sorted(known.facts("desk ").items()):
        timeframe = Timeframe.parse(desk_name.removeprefix("desk "))
        table = desk(lake.config, timeframe, fact["instruments"], features=lake.config.live.features)
        features = table.duties.features
        name = set_name(plan(features)) if features else ""
        rows = known.moments(name, timeframe) if features else None
        if rows is None:
            continue
        held = sorted(set(rows["instrument"]) & set(symbols or rows["instrument"]))
        picked = held if not sample else sorted(random.Random(seed).sample(held, min(sample, len(held))))
        for line in _compared(lake, table, rows, picked) if picked else ():
            observer(Verified(Series.parse(line["instrument"], timeframe), line["values"], line["differing"]))
            lines.append({"set": name, "live": True} | line)
    return lines


def _compared(lake: Lake, table: Desk, live: pl.DataFrame, picked: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each picked instrument. Features that compare instruments compare those that had a row then."""
    features, timeframe = dict(table.duties.features), table.duties.timeframe
    crossing = any(name in features for name in table.plan.crossing)
    members = _members(live, timeframe) if crossing else None
    mine = live.filter(pl.col("instrument").is_in(picked)).select(*_KEY, *features)
    times = live["ts"].to_physical().to_numpy()
    fresh = lake.features(
        sorted(members) if members else list(picked), timeframe.name, features, members=members,
        start=int(times.min()), end=int(times.max()) + timeframe.micros,
    )  # fmt: skip
    both = mine.join(fresh, on=_KEY, how="left", suffix=" again").with_columns(
        pl.sum_horizontal(
            pl.col("available_at").is_null() | pl.col(name).ne_missing(pl.col(f"{name} again")) for name in features
        ).alias("differing")
    )
    return [
        {"instrument": name, "timeframe": timeframe.name, "features": [*features],
         "values": rows.height * len(features), "differing": int(rows["differing"].sum())}
        for name in picked
        for rows in [both.filter(pl.col("instrument") == name)]
    ]  # fmt: skip


def _members(live: pl.DataFrame, timeframe: Timeframe) -> dict[str, SpanSet]:
    """When each instrument had a row: whom the others were compared with, whatever the configuration says now."""
    return {
        str(name): SpanSet.from_bars(np.sort(rows["ts"].to_physical().to_numpy()), timeframe)
        for (name,), rows in live.group_by("instrument")
    }
