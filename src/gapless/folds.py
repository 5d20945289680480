"""Longer bars from shorter ones: open first, high most, low least, close last, volumes added. Pure.

1. Only bars that the calendar expects take part: what trades outside regular hours is not folded in.
2. A bar inside the day collects by the clock (the grid of its timeframe); a daily bar collects one session, overnight
   sessions included, under the session's date; a weekly bar the sessions of its week, under its Monday.
3. A longer bar exists only when it is settled: every shorter bar it is expected to hold is either there or known not
   to exist. A bar whose end nobody has asked for yet is left out, never shown half-made.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

from gapless.bars import EXTRAS, TS
from gapless.errors import UsageError
from gapless.spans import DAY, WEEK, Micros, Span, SpanSet, Timeframe

DERIVED = "derived-"  # a stored bar that no source said, folded from stored bars: this, and their timeframe
FOLDING = b"2"  # another one makes stale what was built of bars that were folded otherwise
LEVELS = ("open_interest", "funding_rate")  # not flows: the last one known stands


class Days(Protocol):
    """The sessions of a calendar, by time."""

    @property
    def labels(self) -> Micros: ...
    @property
    def starts(self) -> Micros: ...
    @property
    def ends(self) -> Micros: ...


class Market(Protocol):
    """What a fold asks of a calendar."""

    def expected(self, timeframe: Timeframe, within: Span) -> SpanSet: ...

    def days(self, within: Span) -> Days: ...


def fold(
    bars: pl.DataFrame, base: Timeframe, to: Timeframe, market: Market, *, settled: SpanSet | None = None
) -> pl.DataFrame:
    """Bars of ``to`` from sorted bars of one instrument at ``base``; the same columns, ``ts`` the longer bar's open.

    ``settled``: where the shorter bars are complete, present or known not to exist (None: from the first bar to the end
    of the last). Raises UsageError for a timeframe that is not a multiple of the base.
    """
    if to.micros <= base.micros or to.micros % base.micros:
        raise UsageError(f"{to} bars cannot be made of {base} bars.", hint="fold a shorter timeframe that divides it")
    if not bars.height:
        return bars
    ts = bars["ts"].to_physical().to_numpy()
    whole = Span(to.floor(int(ts[0])) - WEEK, int(ts[-1]) + base.micros + WEEK)
    regular = market.expected(base, whole).mask(ts)
    bars, ts = bars.filter(pl.Series(regular)), ts[regular]
    if not len(ts):
        return bars
    opens = open_of(ts, base, to, market, whole)
    folded = _aggregate(bars.with_columns(pl.Series("_open", opens)))
    known = settled if settled is not None else SpanSet.of((int(ts[0]), int(ts[-1]) + base.micros))
    return folded.filter(pl.Series(_settled(folded["ts"].to_physical().to_numpy(), base, to, market, whole, known)))


def open_of(ts: Micros, base: Timeframe, to: Timeframe, market: Market, within: Span) -> Micros:
    """For each open of a bar of ``base``: the label of the longer bar that holds it.

    A bar in which a session begins (New York's first hour opens at 14:00, trading at 14:30) is of that session.
    """
    if to.micros < DAY or base.micros >= DAY:  # the label of a daily bar is its session's date already
        dates = ts
    else:
        days = market.days(within)
        dates = days.labels[np.minimum(np.searchsorted(days.ends, ts, side="right"), len(days.ends) - 1)]
    return np.asarray((dates - to.offset) // to.micros * to.micros + to.offset, dtype=np.int64)


def _aggregate(bars: pl.DataFrame) -> pl.DataFrame:
    sums = [n for n in ("volume", *EXTRAS) if n in bars.columns and n not in LEVELS]
    folded = bars.group_by("_open", maintain_order=True).agg(
        *(pl.col(n).first() for n in ("instrument", "open") if n in bars.columns),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        *(pl.when(pl.col(n).is_not_null().any()).then(pl.col(n).sum()).alias(n) for n in sums),
        *(pl.col(n).drop_nulls().last() for n in LEVELS if n in bars.columns),
        *(pl.col(n).max() for n in ("known_at",) if n in bars.columns),  # a bar is known when all of it is
        *(pl.col(n).last() for n in ("source",) if n in bars.columns),
    )
    names = [n for n in bars.columns if n == "ts" or (n in folded.columns and n != "_open")]
    return folded.with_columns(pl.col("_open").cast(TS).alias("ts")).select(names)


def _settled(
    opens: Micros, base: Timeframe, to: Timeframe, market: Market, within: Span, known: SpanSet
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which longer bars have no expected shorter bar outside ``known``."""
    missing = market.expected(base, within) - known
    if not missing:
        return np.ones(len(opens), dtype=np.bool_)
    lacks = np.concatenate([np.arange(s.start, s.end, base.micros, dtype=np.int64) for s in _near(missing, opens, to)])
    held_by = open_of(lacks, base, to, market, within) if len(lacks) else lacks
    return ~np.isin(opens, held_by)


def _near(missing: SpanSet, opens: Micros, to: Timeframe) -> list[Span]:
    """The missing stretches that can touch one of the bars (a session may begin on the evening before its date)."""
    reach = Span(int(opens[0]) - DAY, int(opens[-1]) + to.micros + DAY)
    return list(missing.clip(reach)) or [Span(0, 0)]
