"""Which longer bars the stored shorter ones hold whole, and what they are. Pure.

1. A longer bar can be derived from a timeframe when every shorter bar that the calendar expects in it is there. One
   that lacks a single bar cannot, though nothing may have traded then: what is half is never made to look whole.
2. Where several timeframes can, the shortest does: what was derived from it is not folded a second time.
3. A session that begins or ends inside a shorter bar is not in those bars alone: no day of it is derived from them.
4. Neighbours become one task, across closed hours too. It costs no request.
5. Doing it, the rows that are read decide once more (``folded``): they may have changed since the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from gapless.bars import EXTRAS
from gapless.engine.plan import Task
from gapless.folds import DERIVED, LEVELS, Days, Market, fold, open_of
from gapless.series import Series
from gapless.spans import DAY, WEEK, Span, SpanSet, Timeframe

PART = 500_000  # shorter bars that are read at once
_SUMS = tuple(name for name in EXTRAS if name not in LEVELS)


def reach(span: Span, to: Timeframe) -> Span:
    """Where the shorter bars of the longer ones in ``span`` lie: a session may begin on the day before its date."""
    beyond = WEEK if to.micros >= DAY else 0
    return Span(to.floor(span.start) - beyond, to.ceil(span.end) + beyond)


def complete(base: Timeframe, to: Timeframe, held: SpanSet, market: Market, within: Span) -> SpanSet:
    """The bars of ``to`` expected inside ``within`` of which every expected bar of ``base`` is in ``held``."""
    around = reach(within, to)
    lacking = market.expected(base, around) - held
    return market.expected(to, within) - _touched(lacking, base, to, market, around)


def _touched(lacking: SpanSet, base: Timeframe, to: Timeframe, market: Market, around: Span) -> SpanSet:
    """The longer bars that a missing shorter one would be of."""
    starts, ends = lacking.starts, lacking.ends
    if base.micros < DAY <= to.micros:
        days = market.days(around)
        if not len(days.labels):
            return SpanSet.of()
        first = np.minimum(np.searchsorted(days.ends, starts, side="right"), len(days.ends) - 1)
        last = np.maximum(np.searchsorted(days.starts, ends, side="left") - 1, 0)
        astray = days.labels[_unaligned(days, base)]
        starts, ends = np.concatenate((days.labels[first], astray)), np.concatenate((days.labels[last], astray)) + 1
    size, offset = to.micros, to.offset
    return SpanSet.merge(
        (starts - offset) // size * size + offset, -((offset - ends) // size) * size + offset
    )  # outwards, to whole bars


def _unaligned(days: Days, base: Timeframe) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Step 3."""
    return np.asarray((days.starts % base.micros != 0) | (days.ends % base.micros != 0), dtype=np.bool_)


def parts(
    to: Timeframe, wanted: SpanSet, held: Mapping[Timeframe, SpanSet], market: Market
) -> Iterator[tuple[Timeframe, SpanSet]]:
    """(from which timeframe, which bars) of ``wanted`` can be derived; ``held``: the bars there are, by timeframe."""
    for base in sorted(held):
        within = wanted.hull
        if within is None:
            return
        if base < to and to.micros % base.micros == 0 and held[base]:
            found = complete(base, to, held[base], market, within) & wanted
            wanted = wanted - found
            if found:
                yield base, found


def tasks(series: Series, base: Timeframe, found: SpanSet, market: Market) -> Iterator[Task]:
    """Step 4: every bar that is expected inside a task's span is to be derived."""
    within = found.hull
    if within is not None:
        for run in SpanSet.of(within) - (market.expected(series.timeframe, within) - found):
            inside = found.clip(run).hull
            if inside is not None:
                yield Task(DERIVED + base.name, series, inside, 0)


def portions(span: Span, base: Timeframe, to: Timeframe) -> Iterator[Span]:
    """A task's span in pieces that fit in memory."""
    size = max(1, PART * base.micros // to.micros) * to.micros
    for start in range(span.start, span.end, size):
        yield Span(start, min(span.end, start + size))


def folded(rows: pl.DataFrame, base: Timeframe, to: Timeframe, market: Market, span: Span) -> pl.DataFrame:
    """The bars of ``to`` inside ``span`` that ``rows``, sorted bars of one instrument, hold whole.

    A sum of an optional column of which some bars have no value is no value.
    """
    regular = market.expected(base, reach(span, to)).mask(rows["ts"].to_physical().to_numpy())
    rows = rows.filter(pl.Series(regular, dtype=pl.Boolean))
    held = SpanSet.from_bars(rows["ts"].to_physical().to_numpy(), base)
    found = fold(rows, base, to, market, settled=held)
    whole = complete(base, to, held, market, span)
    found = found.filter(pl.Series(whole.mask(found["ts"].to_physical().to_numpy()), dtype=pl.Boolean))
    return found.with_columns(
        _where_all(rows, name, found["ts"], base, to, market) for name in _SUMS if name in rows.columns
    )


def _where_all(
    rows: pl.DataFrame, name: str, opens: pl.Series, base: Timeframe, to: Timeframe, market: Market
) -> pl.Expr:
    """The column ``name`` of the folded bars, null where one of the bars beneath has none."""
    without = rows.filter(pl.col(name).is_null())["ts"].to_physical().to_numpy()
    if not len(without) or len(without) == rows.height:
        return pl.col(name)
    half = open_of(without, base, to, market, Span(int(without[0]) - WEEK, int(without[-1]) + WEEK))
    return pl.when(pl.Series(~np.isin(opens.to_physical().to_numpy(), half))).then(pl.col(name)).alias(name)
