"""The completeness matrix: one row a series, one cell a day.

What counts. *expected*: bars the calendar says exist inside the series' extent, less those not final yet, before the
listing or after the delisting. *present*: those of them that are stored (hours outside the session do not count).
*coverage* = present / (present + missing bars that are repairable): a silent minute or an outage of the venue is no
lack of ours. It is 1 where nothing is expected.

A day is ``complete`` (every expected bar is there or explained), ``partial`` (some are there, some repairable ones are
not), ``gap`` (none there, repairable), ``empty`` (none there, all explained), or ``closed`` (no session).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.coverage.gap import REPAIRABLE, Gap
from gapless.coverage.grid import Market, bars_between, days_of
from gapless.coverage.lane import extent
from gapless.protocols import Facts
from gapless.series import Series
from gapless.spans import DAY, HOUR, WEEK, Micros, Span, SpanSet, Timeframe, iso

_UNEXPECTED = frozenset({"pending", "before_listing", "after_delisting"})
_STATES = np.array(["complete", "partial", "gap", "empty"])


@dataclass(frozen=True, slots=True)
class Row:
    """How complete one series is. ``first`` and ``last`` are bar opens in µs, None while nothing is stored."""

    series: Series
    first: int | None
    last: int | None
    expected: int
    present: int
    outside: int  # bars outside the calendar's hours
    missing: int  # repairable
    fresh: str
    days: dict[str, str] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """The share, 0 to 1, of what could be there that is there."""
        return self.present / (self.present + self.missing) if self.missing else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The row of ``gapless status --json``."""
        return {
            "instrument": str(self.series.instrument),
            "timeframe": str(self.series.timeframe),
            "first": None if self.first is None else iso(self.first),
            "last": None if self.last is None else iso(self.last),
            "expected": self.expected,
            "present": self.present,
            "missing": self.missing,
            "outside": self.outside,
            "coverage": self.coverage,
            "fresh": self.fresh,
            "days": self.days,
        }


def matrix(
    facts: Sequence[Facts],
    gaps: Sequence[Gap],
    market: Market,
    *,
    now: int,
    settle: int,
    within: Span | None = None,
) -> list[Row]:
    """One row a series, sorted, from what ``classify`` found with the same arguments. O(gaps + days)."""
    lacks: dict[Series, list[Gap]] = {}
    for gap in gaps:
        lacks.setdefault(gap.series, []).append(gap)
    calendars: dict[Span, _Days] = {}
    newest: dict[Timeframe, int] = {}
    rows = []
    for one in sorted(facts, key=lambda f: f.series):
        span, timeframe = within or extent(one), one.series.timeframe
        if not span:
            continue
        if span not in calendars:
            calendars[span] = _Days.of(market, timeframe, span)
        if timeframe not in newest:
            newest[timeframe] = _newest_final(market, timeframe, now - settle)
        rows.append(_row(one, lacks.get(one.series, []), calendars[span], newest[timeframe]))
    return rows


@dataclass(frozen=True)
class _Days:
    """The days of one extent: every date, and which of them are sessions (their spans on the grid)."""

    span: Span
    expected: SpanSet
    dates: list[str]
    sessions: npt.NDArray[np.intp]  # places of sessions among the dates
    starts: Micros
    ends: Micros

    @classmethod
    def of(cls, market: Market, timeframe: Timeframe, span: Span) -> _Days:
        labels, starts, ends = days_of(market, timeframe, span)
        dates = labels if timeframe.micros > DAY else _dates(market, span, labels)
        names = dates.astype("datetime64[us]").astype("datetime64[D]").astype(str).tolist()
        return cls(span, market.expected(timeframe, span), names, np.searchsorted(dates, labels), starts, ends)

    @functools.cached_property
    def whole(self) -> dict[str, str]:
        """The cells of a series that lacks nothing: the same for all such series."""
        cells = np.full(len(self.dates), "closed", dtype="U8")
        cells[self.sessions] = "complete"
        return dict(zip(self.dates, cells.tolist(), strict=True))


def _dates(market: Market, span: Span, labels: Micros) -> Micros:
    """The dates of ``span``: those of its sessions (``labels``), and those without any session."""
    first = min([span.start // DAY * DAY, *labels[:1]])
    dates = np.arange(first, max([span.end, *(labels[-1:] + 1)]), DAY, dtype=np.int64)
    elsewhere = market.days(Span(first, int(dates[-1]) + DAY)).labels  # a session of that date may lie outside the span
    return dates[np.isin(dates, labels) | ~np.isin(dates, elsewhere)]


def _row(facts: Facts, gaps: Sequence[Gap], days: _Days, newest: int) -> Row:
    timeframe, present = facts.series.timeframe, facts.present
    stored = days.expected if present == days.expected else present & days.expected
    repairable = SpanSet.of(*(gap.span for gap in gaps if gap.cls in REPAIRABLE))
    lacking = (repairable & days.expected) - present
    never = sum(gap.bars for gap in gaps if gap.cls in _UNEXPECTED)
    held, inside = present.hull, stored.bars(timeframe)
    return Row(
        facts.series,
        held.start if held else None,
        held.end - timeframe.micros if held else None,
        days.expected.bars(timeframe) - never,
        inside,
        present.clip(days.span).bars(timeframe) - inside,
        lacking.bars(timeframe),
        _fresh(facts, newest),
        days.whole.copy() if stored is days.expected else _states(stored, lacking, days, timeframe),
    )


def _states(stored: SpanSet, lacking: SpanSet, days: _Days, timeframe: Timeframe) -> dict[str, str]:
    have = bars_between(stored, days.starts, days.ends, timeframe) > 0
    lack = bars_between(lacking, days.starts, days.ends, timeframe) > 0
    code = np.where(have, np.where(lack, 1, 0), np.where(lack, 2, 3))
    cells = np.full(len(days.dates), "closed", dtype="U8")
    cells[days.sessions] = _STATES[code]
    return dict(zip(days.dates, cells.tolist(), strict=True))


def _newest_final(market: Market, timeframe: Timeframe, at: int) -> int:
    """The end of the newest expected bar that is final."""
    recent = Span(at - 4 * WEEK, at + timeframe.micros)
    final = market.expected(timeframe, recent) - market.pending(timeframe, recent, at)
    return final.hull.end if final.hull else at


def _fresh(facts: Facts, newest: int) -> str:
    """fresh (an hour or one bar behind what could be known), aging (a day or three bars), stale, or missing."""
    if not facts.present:
        return "missing"
    if facts.delisted_at is not None:
        newest = min(newest, facts.delisted_at)
    known = max(int(s.ends[-1]) for s in (facts.present, facts.answered) if s)
    behind, size = newest - known, facts.series.timeframe.micros
    return "fresh" if behind <= max(HOUR, size) else "aging" if behind <= max(DAY, 3 * size) else "stale"
