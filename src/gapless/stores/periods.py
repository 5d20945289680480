"""Which file a bar belongs to.

One minute bars: a month, folded into a year once the year is over; other minutes: a year; hours and longer: one file
for the whole history. A label is the first part of a file's name: ``2025-05``, ``2025``, ``all``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import polars as pl

from gapless.spans import HOUR, MINUTE, Timeframe, to_datetime


def runs(times: pl.Series, timeframe: Timeframe, whole_years: Iterable[str] = ()) -> Iterator[tuple[str, int]]:
    """The periods that sorted bar opens fall into, and how many into each; ``whole_years`` have a file for the year.

    >>> from datetime import UTC, datetime
    >>> from gapless.bars import TS
    >>> ts = pl.Series([datetime(2024, 12, 31, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)], dtype=TS)
    >>> [list(runs(ts, Timeframe.parse(name))) for name in ("1m", "5m", "1h")]
    [[('2024-12', 1), ('2025-01', 1)], [('2024', 1), ('2025', 1)], [('all', 2)]]
    >>> list(runs(ts, Timeframe.parse("1m"), ["2024"]))
    [('2024', 1), ('2025-01', 1)]
    """
    if timeframe.micros >= HOUR:
        yield "all", len(times)
        return
    years, opens = set(whole_years), times.to_physical().to_numpy().view("M8[us]")
    months = np.arange(opens[0].astype("M8[M]"), opens[-1].astype("M8[M]") + 2)
    counts = np.diff(np.searchsorted(opens, months.astype("M8[us]")))
    labels = [_label(str(month), timeframe, years) for month in months[:-1]]
    for period, found in groupby(zip(labels, counts.tolist(), strict=True), key=lambda pair: pair[0]):
        rows = sum(count for _, count in found)
        if rows:
            yield period, rows


def _label(month: str, timeframe: Timeframe, years: set[str]) -> str:
    year = month[:4]
    return year if timeframe.micros > MINUTE or year in years else month


def sealed_year(period: str, now: int) -> str | None:
    """The year a month file may be folded into: only once that year is over."""
    year, dash, _ = period.partition("-")
    return year if dash and int(year) < to_datetime(now).year else None
