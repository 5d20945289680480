"""Why each missing bar is missing.

For all series of one venue and timeframe together, because an outage shows only across instruments:

1. expected − present, per series                                          (lane.open_lane)
2. not final yet                                        → pending          (settle)
3. known to be not listed, or gone                      → before_listing, after_delisting
4. a row came and was refused                           → vendor_hole
5. answers began before the first bar ever              → before_listing   (silence.learn_listings)
6. nobody answered for it                               → failed, or never_asked
7. answered, and absent: somebody else says it traded   → vendor_hole
8. whole or cut sessions                                → vendor_hole, calendar_conflict   (sessions)
9. silent together with the venue                       → venue_outage     (outage)
10. the rest is the instrument's own silence            → halt, no_trade   (silence)

Every missing bar ends in exactly one gap, and no bar that is present in any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from gapless.coverage.gap import Gap, join
from gapless.coverage.grid import Market, bars_between, touched_bars
from gapless.coverage.lane import Lane, Piece, Why, open_lane
from gapless.coverage.outage import find_outages, give
from gapless.coverage.sessions import explain_sessions
from gapless.coverage.silence import explain_silence, learn_listings
from gapless.errors import UsageError
from gapless.protocols import Answer, Facts
from gapless.series import Instrument
from gapless.spans import DAY, HOUR, Span, SpanSet, iso

Traded = Callable[[Instrument, Span], "tuple[str, SpanSet] | None"]
_AROUND = 8 * HOUR  # data this close to a session is trading outside regular hours; further off it is a conflict


def nobody_knows(_: Instrument, __: Span) -> tuple[str, SpanSet] | None:
    """No other witness of trading."""
    return None


def classify(
    facts: Sequence[Facts],
    market: Market,
    *,
    within: Span | None,
    now: int,
    settle: int,
    traded: Traded = nobody_knows,
    dense: bool = False,
) -> list[Gap]:
    """The gaps of all series of one venue and timeframe, sorted by series and time.

    ``within`` None: each series over the hull of what was asked of it or is present; nothing is claimed of the time
    beyond. A bar is pending until ``settle`` µs after its close (``now`` in µs). ``traded(instrument, span)`` may name
    a witness (a longer bar, another source) and the spans in which it saw trading. ``dense``: the venue sends a bar for
    silent minutes too, so that one which only a file leaves out is a hole.
    """
    _same_venue(facts)
    grids: dict[Span, SpanSet] = {}
    opened = [open_lane(f, market, within, grids) for f in sorted(facts, key=lambda f: f.series)]
    lanes = [lane for lane in opened if lane]
    if any(lane.rest for lane in lanes):
        _explain(lanes, market, now - settle, traded, dense)
    return [gap for lane in lanes for gap in _gaps(lane, market)]


def _same_venue(facts: Sequence[Facts]) -> None:
    for a, b in pairwise(facts):
        one, other = a.series, b.series
        if (one.instrument.venue, one.timeframe) != (other.instrument.venue, other.timeframe):
            raise UsageError(
                f"{one} and {other} were classified together.", hint="classify one venue and timeframe at a time"
            )


def _explain(lanes: Sequence[Lane], market: Market, at: int, traded: Traded, dense: bool) -> None:
    for lane in lanes:
        _settle(lane, market, at)
    learn_listings([lane for lane in lanes if lane.live])
    for lane in lanes:
        if lane.rest:
            _unanswered(lane)
            _witnessed(lane, traded)
        lane.look()
    explain_sessions(lanes, market)
    give(lanes, find_outages(lanes))
    explain_silence(lanes, dense=dense)


def _settle(lane: Lane, market: Market, at: int) -> None:
    """What the clock, the listing dates and the quarantine explain."""
    facts, timeframe = lane.facts, lane.timeframe
    if lane.rest:
        pending = market.pending(timeframe, lane.within, at)
        lane.explain(
            pending, "pending", 1.0, lambda s: (f"not final before {iso(market.final_at(timeframe, s.start))}",)
        )
        _known_listing(lane)
        refused = touched_bars(facts.refused, timeframe)
        lane.explain(refused, "vendor_hole", 0.9, _saying("rows came and were quarantined"))
    lane.look()


def _known_listing(lane: Lane) -> None:
    facts, timeframe, within = lane.facts, lane.timeframe, lane.within
    if facts.listed_at is not None:
        text = f"listed at {iso(facts.listed_at)}" + (f" ({facts.listed_by})" if facts.listed_by else "")
        before = SpanSet.of((within.start, timeframe.floor(facts.listed_at)))
        lane.explain(before, "before_listing", 0.99, lambda _: (text,))
    if facts.delisted_at is not None:
        gone = f"delisted at {iso(facts.delisted_at)}"
        after = SpanSet.of((timeframe.ceil(facts.delisted_at), within.end + timeframe.micros))
        lane.explain(after, "after_delisting", 0.99, lambda _: (gone,))


def _unanswered(lane: Lane) -> None:
    for answer in sorted(lane.facts.failed, key=lambda a: a.known_at, reverse=True):
        asked = Span(lane.timeframe.ceil(answer.asked.start), lane.timeframe.ceil(answer.asked.end))
        lane.explain(SpanSet.of(asked) - lane.answered, "failed", 1.0, _failure(answer), answer.attempts)
    lane.explain(lane.rest - lane.answered, "never_asked", 1.0, _saying("no source was ever asked for this"))


def _failure(answer: Answer) -> Why:
    times = "once" if answer.attempts == 1 else f"{answer.attempts} times"
    reason = answer.error or "no reason given"
    return _saying(f"{answer.source} was asked {times}, last at {iso(answer.known_at)}: {reason}")


def _saying(text: str) -> Why:
    return lambda _: (text,)


def _witnessed(lane: Lane, traded: Traded) -> None:
    if traded is nobody_knows:
        return
    for run in lane.rest:
        testimony = traded(lane.facts.series.instrument, run)
        if testimony:
            who, spans = testimony
            lane.explain(touched_bars(spans, lane.timeframe), "vendor_hole", 0.95, _saying(f"{who} saw trading here"))


def _gaps(lane: Lane, market: Market) -> list[Gap]:
    found = [gap for piece in lane.pieces for gap in _of_piece(lane, piece)]
    found += _conflicts(lane, market)
    if len(found) < 2:
        return found
    found.sort(key=lambda gap: gap.span.start)
    ends, starts = (np.array([getattr(g.span, side) for g in found], dtype=np.int64) for side in ("end", "start"))
    edges = ends[:-1], np.maximum(starts[1:], ends[:-1])
    apart = [bars_between(spans, *edges, lane.timeframe) > 0 for spans in (lane.expected, lane.facts.present)]
    return join(found, ~(apart[0] | apart[1]))


def _of_piece(lane: Lane, piece: Piece) -> list[Gap]:
    size, series = lane.timeframe.micros, lane.facts.series
    return [
        Gap(series, span, (span.end - span.start) // size, piece.cls, piece.confidence, piece.why(span), piece.attempts)
        for span in piece.spans
    ]


def _conflicts(lane: Lane, market: Market) -> list[Gap]:
    """Data where the calendar says closed. Hours around a session are trading too, only not the regular one."""
    extra = lane.facts.present.clip(lane.within) - lane.expected
    if not extra:
        return []
    if lane.timeframe.micros < DAY:
        near = market.sessions(Span(lane.within.start - _AROUND, lane.within.end + _AROUND))
        extra = extra - SpanSet.merge(near.starts - _AROUND, near.ends + _AROUND)
    why = f"where calendar {market.name} says closed"
    size, series = lane.timeframe.micros, lane.facts.series
    return [
        Gap(series, span, 0, "calendar_conflict", 0.8, (f"{(span.end - span.start) // size} bars {why}",))
        for span in extra
    ]
