"""What coverage needs of a calendar, and counting bars in spans without looking at bars."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from gapless.spans import DAY, Micros, Span, SpanSet, Timeframe

Floats = npt.NDArray[np.float64]


class DaysOf(Protocol):
    """Sessions as arrays: the date at 00:00 UTC, when trading starts, when it ends."""

    @property
    def labels(self) -> Micros: ...
    @property
    def starts(self) -> Micros: ...
    @property
    def ends(self) -> Micros: ...


class Market(Protocol):
    """A ``protocols.Calendar`` that also answers in spans; ``calendars.calendar`` makes them."""

    name: str
    always_open: bool

    def sessions(self, within: Span) -> SpanSet: ...

    def expected(self, timeframe: Timeframe, within: Span) -> SpanSet:
        """The union of ``[open, open + timeframe)`` of all bars that open inside ``within``."""
        ...

    def pending(self, timeframe: Timeframe, within: Span, at: int) -> SpanSet:
        """The expected bars inside ``within`` that are not final at ``at``."""
        ...

    def final_at(self, timeframe: Timeframe, ts: int) -> int: ...

    def days(self, within: Span) -> DaysOf: ...


def days_of(market: Market, timeframe: Timeframe, within: Span) -> tuple[Micros, Micros, Micros]:
    """The sessions that touch ``within``: dates, and the span of each on the grid of ``timeframe``.

    Bars of a day or more stand for sessions themselves: each is its own.
    """
    size, offset = timeframe.micros, timeframe.offset
    if size >= DAY:
        opens = _opens(market.expected(timeframe, Span(within.start, within.end)), timeframe)
        return opens, opens, opens + size
    days = market.days(within)
    starts = (days.starts - offset) // size * size + offset
    ends = -((offset - days.ends) // size) * size + offset
    keep = (ends > within.start) & (starts < within.end)
    return days.labels[keep], starts[keep], ends[keep]


def _opens(spans: SpanSet, timeframe: Timeframe) -> Micros:
    size = timeframe.micros
    parts = [np.arange(s.start, s.end, size, dtype=np.int64) for s in spans]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def whole_bars(spans: SpanSet, timeframe: Timeframe) -> SpanSet:
    """The bars that lie inside ``spans`` whole: an answer that ends in the middle of a bar does not speak for it."""
    size, offset = timeframe.micros, timeframe.offset
    starts = -((offset - spans.starts) // size) * size + offset
    return SpanSet.merge(starts, (spans.ends - offset) // size * size + offset)


def touched_bars(spans: SpanSet, timeframe: Timeframe) -> SpanSet:
    """The bars that overlap ``spans``."""
    size, offset = timeframe.micros, timeframe.offset
    starts = (spans.starts - offset) // size * size + offset
    return SpanSet.merge(starts, -((offset - spans.ends) // size) * size + offset)


def time_before(spans: SpanSet, at: Micros) -> Micros:
    """How much of ``spans`` lies before each time of ``at``, in µs."""
    if not spans:
        return np.zeros(len(at), dtype=np.int64)
    lengths = spans.ends - spans.starts
    done = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
    index = np.searchsorted(spans.starts, at, side="right")
    inside = np.clip(at - spans.starts[np.maximum(index - 1, 0)], 0, lengths[np.maximum(index - 1, 0)])
    return np.asarray(np.where(index > 0, done[np.maximum(index - 1, 0)] + inside, 0), dtype=np.int64)


def bars_between(spans: SpanSet, starts: Micros, ends: Micros, timeframe: Timeframe) -> Micros:
    """How many bars of ``spans`` (all on the grid) lie in each ``[start, end)`` (on the grid)."""
    return np.asarray((time_before(spans, ends) - time_before(spans, starts)) // timeframe.micros, dtype=np.int64)
