"""One series while it is being classified: what it should have, what it lacks, and what has been explained so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gapless.coverage.grid import Floats, Market, bars_between, whole_bars
from gapless.protocols import Facts
from gapless.spans import DAY, MINUTE, Micros, Span, SpanSet, Timeframe, hull

Why = Callable[[Span], tuple[str, ...]]
_LOCAL = 1440  # bars on either side that count as "around" a run
_PRIOR = 0.5  # belief, before any was seen, that a silent minute is followed by another


@dataclass(frozen=True)
class Piece:
    """Some missing bars, explained. ``why`` words the evidence of one gap."""

    spans: SpanSet
    cls: str
    confidence: float
    why: Why
    attempts: int = 0


@dataclass
class Lane:
    """One series: ``rest`` is missing and not explained yet; ``live`` is when bars were asked for and possible."""

    facts: Facts
    within: Span
    expected: SpanSet
    answered: SpanSet
    rest: SpanSet
    live: SpanSet = field(default_factory=SpanSet.of)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def timeframe(self) -> Timeframe:
        return self.facts.series.timeframe

    def look(self) -> None:
        """Say anew when bars were possible: answered for, and not out of the question. A hole was a bar once."""
        never = [s for piece in self.pieces if piece.cls != "vendor_hole" for s in piece.spans]
        self.live = (self.expected & self.answered) - SpanSet.of(*never)

    def explain(self, spans: SpanSet, cls: str, confidence: float, why: Why, attempts: int = 0) -> None:
        """Take ``spans`` out of what is missing and not explained."""
        if not self.rest or not spans:
            return
        part = self.rest & spans
        if part:
            self.pieces.append(Piece(part, cls, confidence, why, attempts))
            self.rest = SpanSet.of() if part == self.rest else self.rest - part


def open_lane(facts: Facts, market: Market, within: Span | None, grids: dict[Span, SpanSet]) -> Lane | None:
    """The lane of one series; None when nothing was ever asked or stored of it. ``grids`` is shared by all lanes."""
    span = extent(facts) if within is None else within
    if span is None or not span:
        return None
    if span not in grids:
        grids[span] = market.expected(facts.series.timeframe, span)
    expected = grids[span]
    answered = whole_bars(facts.answered, facts.series.timeframe)
    return Lane(facts, span, expected, answered, expected - facts.present)


def extent(facts: Facts) -> Span | None:
    """From the first to the last time anybody asked for, or has a bar of."""
    hulls = [s.hull for s in (facts.present, facts.answered, facts.refused)]
    return hull([h for h in hulls if h] + [a.asked for a in facts.failed])


@dataclass(frozen=True)
class Habit:
    """How an instrument is silent around each of some spans, its runs there left out.

    ``rate``: the share of silent bars. ``stay``: the chance that a silent bar is followed by another.
    """

    rate: Floats
    stay: Floats
    runs: Micros


def habit(lane: Lane, silent: SpanSet, starts: Micros, ends: Micros) -> Habit:
    """The silence habit of a lane around each ``[start, end)``, from what it did within a day's worth of bars."""
    size = lane.timeframe.micros
    reach = max(_LOCAL * size, 4 * DAY if size < DAY else 0)
    lo, hi = starts - reach, ends + reach
    live = bars_between(lane.live, lo, hi, lane.timeframe)
    quiet = bars_between(silent, lo, hi, lane.timeframe)
    runs = _runs(silent, lo, hi)
    own, own_runs = _touching(silent, starts, ends, size), _runs(silent, starts, ends)
    quiet, live, runs = (np.maximum(a - b, 0) for a, b in ((quiet, own), (live, own), (runs, own_runs)))
    rate = (quiet + 0.5) / (np.maximum(live, quiet) + 1)
    stay = (np.maximum(quiet - runs, 0) + prior(lane.timeframe)) / (quiet + 1)
    return Habit(rate, np.minimum(stay, 0.9999), runs)


def prior(timeframe: Timeframe) -> float:
    """How likely one more silent bar is, of an instrument never seen silent."""
    return float(_PRIOR ** min(timeframe.micros / MINUTE, 60))


def _runs(silent: SpanSet, lo: Micros, hi: Micros) -> Micros:
    first, last = np.searchsorted(silent.ends, lo, side="right"), np.searchsorted(silent.starts, hi, side="left")
    return np.asarray(np.maximum(last - first, 0), dtype=np.int64)


def _touching(silent: SpanSet, starts: Micros, ends: Micros, size: int) -> Micros:
    """The bars of all silent runs that touch each ``[start, end)``, whole runs."""
    done = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(silent.ends - silent.starts)))
    first = np.searchsorted(silent.ends, starts, side="right")
    last = np.maximum(np.searchsorted(silent.starts, ends, side="left"), first)
    return np.asarray((done[last] - done[first]) // size, dtype=np.int64)
