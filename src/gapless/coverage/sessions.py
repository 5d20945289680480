"""Sessions missing whole, or cut off: a hole of the vendor where others have them, a conflict where nobody has.

A run is looked at here when it takes half of a session or more and touches its start or end. For bars of a day or more
each bar is a session, also of an always-open market: an instrument that trades every day does not skip one in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gapless.coverage.grid import Market, bars_between, days_of
from gapless.coverage.lane import Lane, Why, habit
from gapless.spans import DAY, Micros, Span, SpanSet, hull, iso

_MOST = 0.5
_HABITUAL = 0.05  # share of silent bars from which silence is nothing special
_CHANCE = 0.01


@dataclass(frozen=True)
class _Days:
    """Sessions that are heavy in at least one lane, and per lane (row) and session: bars live, bars missing."""

    labels: Micros
    starts: Micros
    ends: Micros
    live: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]

    @property
    def heavy(self) -> npt.NDArray[np.bool_]:
        return (self.live > 0) & (self.lost >= _MOST * self.live)


def explain_sessions(lanes: Sequence[Lane], market: Market) -> None:
    """Explain whole and truncated sessions of all lanes of a venue."""
    if not lanes or (market.always_open and lanes[0].timeframe.micros < DAY):
        return
    days = _heavy_days(lanes, market)
    heavy = days.heavy
    for row, column in zip(*np.nonzero(heavy), strict=True):
        lane, lost, live = lanes[row], int(days.lost[row, column]), int(days.live[row, column])
        run = _edge_run(lane, Span(int(days.starts[column]), int(days.ends[column])))
        if not run or run.bars(lane.timeframe) < _MOST * live or _habitual(lane, run):
            continue
        have = int((days.live[:, column] > 0).sum() - heavy[:, column].sum())
        also = int(heavy[:, column].sum()) - 1
        day = iso(int(days.labels[column]))[:10]
        if have == 0 and also > 0:
            if not market.always_open and (days.lost[:, column] == days.live[:, column]).all():
                lane.explain(
                    SpanSet.of(run), "calendar_conflict", 1 - 0.5 ** (also + 1), _nobody(day, also + 1, market)
                )
            continue  # cut off for all at once: the venue's doing
        whole = lost == live
        lane.explain(SpanSet.of(run), "vendor_hole", 0.95 if have else 0.5, _hole(day, whole, lost, live, have))


def _heavy_days(lanes: Sequence[Lane], market: Market) -> _Days:
    timeframe = lanes[0].timeframe
    whole = hull(h for lane in lanes if (h := lane.rest.hull)) or Span(0, 0)
    labels, starts, ends = days_of(market, timeframe, whole)
    lost = np.stack([bars_between(lane.rest, starts, ends, timeframe) for lane in lanes])
    size = bars_between(market.expected(timeframe, Span(whole.start - DAY, whole.end + DAY)), starts, ends, timeframe)
    columns = np.flatnonzero((lost >= _MOST * size).any(axis=0) & (size > 0))
    starts, ends = starts[columns], ends[columns]
    live = np.stack([bars_between(lane.live, starts, ends, timeframe) for lane in lanes])
    live = np.where(live == size[columns], live, 0)  # a session asked for in part says nothing
    return _Days(labels[columns], starts, ends, live, lost[:, columns])


def _edge_run(lane: Lane, session: Span) -> Span | None:
    """The longest missing run that touches the start or the end of the session."""
    runs = [r for r in lane.rest.clip(session) if r.start == session.start or r.end == session.end]
    return max(runs, key=lambda r: r.end - r.start, default=None)


def _habitual(lane: Lane, run: Span) -> bool:
    """May this instrument be silent that long of its own accord?"""
    usual = habit(lane, lane.rest, np.array([run.start]), np.array([run.end]))
    chance = usual.runs[0] * usual.stay[0] ** (run.bars(lane.timeframe) - 1)
    return bool(usual.rate[0] >= _HABITUAL and chance >= _CHANCE)


def _nobody(day: str, count: int, market: Market) -> Why:
    return lambda _: (
        f"calendar {market.name} has a session on {day}; none of the {count} instruments asked has a bar in it",
    )


def _hole(day: str, whole: bool, lost: int, live: int, have: int) -> Why:
    what = f"the whole session of {day} is missing" if whole else f"the session of {day} is truncated"
    others = (
        f"{have} other instrument{'s' * (have > 1)} of the venue have it"
        if have
        else "no other instrument of the venue was asked for that session"
    )
    return lambda _: (f"{what}: {lost} of {live} expected bars are absent", others)
