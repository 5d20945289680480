"""Fills are a read policy: nothing synthetic is ever stored."""

from __future__ import annotations

import polars as pl

from gapless.app.markets import market
from gapless.bars import PRICES, TS
from gapless.config import Config
from gapless.series import Instrument
from gapless.spans import Span, Timeframe


def flat(frame: pl.DataFrame, timeframe: Timeframe, config: Config) -> pl.DataFrame:
    """Add missing expected bars between each instrument's first and last: flat at the previous close, volume 0."""
    parts = [_flat_one(part, timeframe, config) for part in frame.partition_by("instrument", maintain_order=True)]
    return pl.concat(parts) if parts else frame.with_columns(pl.lit(False).alias("filled"))


def _flat_one(frame: pl.DataFrame, timeframe: Timeframe, config: Config) -> pl.DataFrame:
    name = str(frame["instrument"][0])
    ts = frame["ts"].to_physical()
    grid = market(config, Instrument.parse(name).venue).opens(timeframe, Span(int(ts[0]), int(ts[-1]) + 1))
    wanted = pl.DataFrame({"ts": pl.Series(grid).cast(TS)})
    marked = frame.with_columns(pl.lit(False).alias("filled"))
    both = wanted.join(marked, on="ts", how="full", coalesce=True).sort("ts")
    both = both.with_columns(pl.col("filled").fill_null(True), pl.lit(name).alias("instrument"))
    close = pl.col("close").forward_fill()
    filled = both.with_columns(
        *(pl.when("filled").then(close).otherwise(p).alias(p) for p in PRICES),
        pl.when("filled").then(0.0).otherwise("volume").alias("volume"),
    )
    return filled.select([*frame.columns, "filled"])


def mark_sessions(frame: pl.DataFrame, timeframe: Timeframe, config: Config) -> pl.DataFrame:
    """Add ``session``: regular, or extended for bars that no regular session of the calendar expects."""
    parts = []
    for part in frame.partition_by("instrument", maintain_order=True):
        ts = part["ts"].to_physical().to_numpy()
        calendar = market(config, Instrument.parse(str(part["instrument"][0])).venue)
        regular = calendar.expected(timeframe, Span(int(ts[0]), int(ts[-1]) + 1)).mask(ts)
        kind = pl.when(pl.Series(regular)).then(pl.lit("regular")).otherwise(pl.lit("extended"))
        parts.append(part.with_columns(kind.alias("session")))
    return pl.concat(parts) if parts else frame.with_columns(pl.lit("").alias("session"))
