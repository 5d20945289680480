"""Which file a bar belongs to.

One minute bars: a month, folded into a year once the year is over; other minutes: a year; hours and longer: one file
for the whole history. A label is the first part of a file's name: ``2025-05``, ``2025``, ``all``.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from gapless.spans import DAY, HOUR, MINUTE, Timeframe, to_datetime


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


def feature_periods(ts: pl.Series, timeframe: Timeframe) -> list[tuple[str, int]]:
    """The periods under which features of sorted bars are kept, each with the number of its bars.

    A series' last coarse period is kept in fine ones, so that new bars cost what is near them; those before it whole.
    Minutes: months and days; up to 4h: years and months; longer: one file for everything.
    """
    if not ts.len() or timeframe.micros >= DAY:
        return [("all", ts.len())] if ts.len() else []
    minutes = timeframe.micros == MINUTE
    (coarse, name), (fine, short) = (
        (("1mo", "%Y-%m"), ("1d", "%Y-%m-%d")) if minutes else (("1y", "%Y"), ("1mo", "%Y-%m"))
    )
    newest = int(ts.search_sorted(ts[-1:].dt.truncate(coarse)[0]))
    return [*_runs(ts[:newest], coarse, name), *_runs(ts[newest:], fine, short)]


def _runs(ts: pl.Series, every: str, name: str) -> list[tuple[str, int]]:
    runs = ts.dt.truncate(every).rle()
    return list(zip(runs.struct.field("value").dt.strftime(name), runs.struct.field("len"), strict=True))


def sealed_year(period: str, now: int) -> str | None:
    """The year a month file may be folded into: only once that year is over."""
    year, dash, _ = period.partition("-")
    return year if dash and int(year) < to_datetime(now).year else None
