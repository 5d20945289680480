"""What an instrument alone explains: not listed yet, gone, its usual silence, or a halt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gapless.coverage.grid import Floats, bars_between
from gapless.coverage.lane import Habit, Lane, Why, habit, prior
from gapless.coverage.outage import levels
from gapless.spans import DAY, HOUR, WEEK, Micros, Span, SpanSet, iso

_CHANCE = 0.01  # below this, a silence is not usual
_LIQUID = 0.05  # share of silent bars below which a stretch is liquid
_NEVER = 0.005  # share below which a silent hour is never usual
_TOGETHER = 0.5  # of the other live instruments


def learn_listings(lanes: Sequence[Lane]) -> None:
    """Silence before the first bar ever answered, where answers began earlier: the instrument was not listed yet."""
    late = [(lane, leading) for lane in lanes if (leading := _leading(lane))]
    firsts = sorted(leading.end for lane, leading in late if lane.facts.present)
    for lane, leading in late:
        if not lane.facts.present and lane.facts.listed_at is not None:
            continue
        near = 2 * lane.timeframe.micros
        together = np.searchsorted(firsts, leading.end + near, "right") - np.searchsorted(firsts, leading.end - near)
        if lane.facts.present and together > max(1, len(lanes) // 2) and leading.end - leading.start < DAY:
            continue  # all come back at once: an outage, not a listing
        if _chance(lane, *_arrays(leading))[0] < _CHANCE:
            _not_listed(lane, leading)


def _leading(lane: Lane) -> Span | None:
    """The answered silence before the first bar; all of it, when there never was a bar."""
    if not lane.rest:
        return None
    end = int(lane.facts.present.starts[0]) if lane.facts.present else lane.within.end
    if int(lane.rest.starts[0]) >= end:
        return None
    quiet = (lane.rest & lane.live).clip(Span(lane.within.start, max(end, lane.within.start)))
    return Span(int(quiet.starts[0]), end) if quiet else None


def _not_listed(lane: Lane, leading: Span) -> None:
    silent = (lane.rest & lane.live).clip(leading)
    if not lane.facts.present:  # it may as well be gone: nothing is known of other times
        lane.explain(silent, "before_listing", 0.4, lambda _: ("answers were given and none ever held a bar",))
        return
    before = SpanSet.of(Span(lane.within.start, int(silent.ends[-1])))  # what was never asked after that may exist
    bars = bars_between(lane.live, *_arrays(leading), lane.timeframe)[0]
    sure = 0.8 if leading.end - leading.start >= WEEK else 0.5  # the start of a file may be cut off too
    lane.explain(before, "before_listing", sure, lambda _: (
        f"the first bar ever answered is {iso(leading.end)}; {bars} bars before it were asked for and do not exist",
    ))  # fmt: skip


def explain_silence(lanes: Sequence[Lane], *, dense: bool = False) -> None:
    """Explain all that is left: silence that an answer vouches for."""
    quiet = [lane for lane in lanes if lane.rest]
    if not quiet:
        return
    times, live, silent = levels(lanes)
    for lane in quiet:
        _explain(lane, *_others(lane.rest, times, live, silent), dense)


def _explain(lane: Lane, others: Floats, together: Floats, dense: bool) -> None:
    starts, ends = lane.rest.starts, lane.rest.ends
    usual = habit(lane, lane.rest, starts, ends)
    chance = _tail(usual, bars_between(lane.rest, starts, ends, lane.timeframe), lane)
    odd = _odd(lane, usual, chance, ends - starts)
    gone = odd & (ends == _last_answer(lane)) & (ends - starts >= WEEK) & (others > 0)
    joint = odd & ~gone & (others >= 1.5) & (together >= _TOGETHER)
    lost = dense & ~gone & ~joint & ~lane.facts.confirmed.mask(starts)
    alone = odd & ~gone & ~joint & ~lost
    words = _Words(lane, usual, others, together)
    for chosen, cls, sure in (
        (gone, "after_delisting", 0.5),
        (joint, "venue_outage", 0.7),
        (lost, "vendor_hole", 0.6),
        (alone & (others > 0), "halt", 0.8),
        (alone & (others <= 0), "halt", 0.4),
    ):
        lane.explain(SpanSet(starts[chosen], ends[chosen]), cls, sure, words.of(cls))
    habitual = words.habit()
    for likely, sure in ((chance >= _CHANCE, 0.9), (chance < _CHANCE, 0.6)):
        lane.explain(SpanSet(starts[likely], ends[likely]), "no_trade", sure, lambda _: habitual)


def _odd(lane: Lane, usual: Habit, chance: Floats, time: Micros) -> npt.NDArray[np.bool_]:
    """Too long to be this instrument's usual silence, in a stretch where it is liquid (or too long for any)."""
    liquid = (usual.rate < _LIQUID) & (chance < _CHANCE)
    endless = (chance < _CHANCE**3) & (time >= DAY)
    never = (usual.rate < _NEVER) & (lane.timeframe.micros >= HOUR)
    return np.asarray(liquid | endless | never, dtype=np.bool_)


def _tail(usual: Habit, bars: Micros, lane: Lane) -> Floats:
    """How many runs as long as this one are to be expected around it."""
    return np.asarray((usual.runs + prior(lane.timeframe)) * usual.stay ** np.maximum(bars - 1, 0), dtype=np.float64)


def _chance(lane: Lane, starts: Micros, ends: Micros) -> Floats:
    usual = habit(lane, lane.rest, starts, ends)
    return _tail(usual, bars_between(lane.rest, starts, ends, lane.timeframe), lane)


def _others(runs: SpanSet, times: Micros, live: Micros, silent: Micros) -> tuple[Floats, Floats]:
    """During each run: how many other lanes are live, and what share of those is silent (means over time)."""
    steps = np.diff(times).astype(np.float64)
    at = np.stack((np.searchsorted(times, runs.starts), np.searchsorted(times, runs.ends)))
    length = np.maximum((runs.ends - runs.starts).astype(np.float64), 1.0)
    total = [np.concatenate((np.zeros(1), np.cumsum(level[:-1] * steps))) for level in (live, silent)]
    means = [(t[at[1]] - t[at[0]]) / length - 1 for t in total]
    return means[0], np.asarray(means[1] / np.maximum(means[0], 1e-9), dtype=np.float64)


def _last_answer(lane: Lane) -> int:
    return int(lane.live.ends[-1]) if lane.live else 0


def _arrays(span: Span) -> tuple[Micros, Micros]:
    return np.array([span.start], dtype=np.int64), np.array([span.end], dtype=np.int64)


class _Words:
    """The evidence of one lane's silences."""

    def __init__(self, lane: Lane, usual: Habit, others: Floats, together: Floats) -> None:
        self.lane, self.usual, self.others, self.together = lane, usual, others, together
        self.starts = lane.rest.starts
        runs = lane.rest
        self.silent, self.live = runs.bars(lane.timeframe), lane.live.bars(lane.timeframe)
        self.longest = int((runs.ends - runs.starts).max()) // lane.timeframe.micros

    def habit(self) -> tuple[str, ...]:
        """The same for every silent minute, so that a million of them cost one sentence."""
        share = f"{self.silent / max(self.live, 1):.2%}"
        return (
            "the source answered and has no bar here",
            f"{self.silent} of {self.live} answered bars ({share}) of this instrument are silent so, "
            f"the longest run {self.longest}",
        )

    def of(self, cls: str) -> Why:
        def why(span: Span) -> tuple[str, ...]:
            at = int(np.searchsorted(self.starts, span.start))
            bars = span.bars(self.lane.timeframe)
            own = f"{bars} bars silent where {self.usual.rate[at]:.2%} of bars around are"
            return (own, self._beside(at), *_CLOSING[cls])

        return why

    def _beside(self, at: int) -> str:
        others = self.others[at]
        if others <= 0:
            return "no other instrument of the venue was asked then, so an outage cannot be told from a halt"
        return f"{self.together[at]:.0%} of the {others:.0f} other live instruments are silent too"


_CLOSING: dict[str, tuple[str, ...]] = {
    "after_delisting": ("it had no bar since, a week or more",),
    "venue_outage": (),
    "halt": (),
    "vendor_hole": ("the venue sends a bar for silent times too, and only a file left this one out",),
}
