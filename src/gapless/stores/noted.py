"""What an instrument's bars are made of, from what was noted when its files were made; only the tail is read."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gapless.bars import STORED
from gapless.segments import Piece, pieces, touched, unpack
from gapless.spans import Timeframe
from gapless.stores import parquet

if TYPE_CHECKING:
    from gapless.stores.lake import Lake


def pieces_of(lake: Lake, timeframe: Timeframe, name: str) -> list[Piece]:
    """The pieces of an instrument by time, those that rows of the tail belong to read anew."""
    directory = lake.log("bars", timeframe).directory
    tail = lake.tail.read(timeframe, "bars", STORED, instruments=[name])["ts"].to_physical().to_numpy()
    known = lake.meta.pieces(f"bars/{timeframe.name}", name)
    found: list[Piece] = []
    for file in lake.log("bars", timeframe).of(name):
        if file.path in known:
            found += unpack(known[file.path])
        else:
            found += _cut(parquet.read([directory / file.path], STORED, ["ts", "known_at"]), timeframe)
    for run in touched(found, np.sort(tail), timeframe) if len(tail) else ():
        a, b = (bisect_left(found, edge, key=attrgetter("first")) for edge in (run.start, run.end))
        found[a:b] = _cut(lake.rows(timeframe, [name], run, ["ts", "known_at"]), timeframe)
    return found


def _cut(rows: pl.DataFrame, timeframe: Timeframe) -> list[Piece]:
    return pieces(rows["ts"].to_physical().to_numpy(), rows["known_at"].to_physical().to_numpy(), timeframe)
