"""Which file a bar belongs to.

One minute bars: a month, folded into a year once the year is over; other minutes: a year; hours and longer: one file
for the whole history. A label is the first part of a file's name: ``2025-05``, ``2025``, ``all``.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from gapless.spans import HOUR, MINUTE, Timeframe, to_datetime


def label(timeframe: Timeframe, whole_years: Iterable[str]) -> pl.Expr:
    """The period of each row; ``whole_years`` already have a file for the year."""
    ts = pl.col("ts")
    if timeframe.micros >= HOUR:
        return pl.lit("all")
    year = ts.dt.strftime("%Y")
    if timeframe.micros > MINUTE:
        return year
    years = list(whole_years)
    month = ts.dt.strftime("%Y-%m")
    return pl.when(year.is_in(years)).then(year).otherwise(month) if years else month


def sealed_year(period: str, now: int) -> str | None:
    """The year a month file may be folded into: only once that year is over."""
    year, dash, _ = period.partition("-")
    return year if dash and int(year) < to_datetime(now).year else None
