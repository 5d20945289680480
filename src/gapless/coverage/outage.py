"""Outages of a venue: stretches in which its live instruments are silent together, and not by chance.

1. Sweep over all instruments: how many are live (listed, asked, answered, final) and how many of those are silent.
2. A candidate is a stretch in which nearly all live ones are silent.
3. Its chance: each instrument's own habit around it, this run left out, as a two-state chain: silent now (rate),
   silent still (stay); multiplied over the instruments, and by the number of places where it might have happened.
4. What is improbable is an outage. A silent run that touches it gives it the joint part and short edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gapless.coverage.grid import Floats, bars_between
from gapless.coverage.lane import Lane, Why, habit
from gapless.spans import Micros, Span, SpanSet

_PRESENT_SHARE = 0.1  # of the live instruments, how many may still print during an outage
_LOG_CHANCE = np.log(1e-6)
_TOLD = 4  # joint silences named in one piece of evidence
_EDGE = 2  # bars by which an instrument may stop earlier or come back later than the others
_COVER = 0.9  # of a candidate that an instrument must miss to be called silent in it


@dataclass(frozen=True)
class Outages:
    """Stretches with how many instruments were live and silent, and the log10 of the chance of that."""

    starts: Micros
    ends: Micros
    live: Micros
    silent: Micros
    chance: Floats

    @property
    def spans(self) -> SpanSet:
        return SpanSet.merge(self.starts, self.ends)


def find_outages(lanes: Sequence[Lane]) -> Outages:
    """The outages of a venue, from all its lanes at one timeframe."""
    starts, ends = _candidates(lanes)
    if not len(starts):
        return Outages(starts, ends, starts, starts, np.empty(0))
    live, silent, score = _score(lanes, starts, ends)
    found = (score < _LOG_CHANCE) & (live >= 2)
    return Outages(starts[found], ends[found], live[found], silent[found], score[found] / np.log(10))


def _candidates(lanes: Sequence[Lane]) -> tuple[Micros, Micros]:
    """Stretches in which nearly all live instruments are silent."""
    times, live, silent = levels(lanes)
    if not len(times):
        return times, times
    hit = (live >= 2) & (silent >= np.ceil(live * (1 - _PRESENT_SHARE)))
    merged = SpanSet.merge(times[:-1][hit[:-1]], times[1:][hit[:-1]])
    return merged.starts, merged.ends


def levels(lanes: Sequence[Lane]) -> tuple[Micros, Micros, Micros]:
    """Times, and from each time on: how many lanes are live, how many silent."""
    shared = Counter(lane.live for lane in lanes)
    parts: list[tuple[Micros, int, int]] = []
    for live, count in shared.items():
        parts += [(live.starts, count, 0), (live.ends, -count, 0)]
    for lane in lanes:
        parts += [(lane.rest.starts, 0, 1), (lane.rest.ends, 0, -1)]
    if not parts:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    edges = np.concatenate([p[0] for p in parts])
    sizes = [len(p[0]) for p in parts]
    live_steps, silent_steps = (np.repeat(np.array([p[i] for p in parts], dtype=np.int64), sizes) for i in (1, 2))
    times, place = np.unique(edges, return_inverse=True)
    return times, _level(place, live_steps, len(times)), _level(place, silent_steps, len(times))


def _level(place: npt.NDArray[np.intp], steps: Micros, size: int) -> Micros:
    total = np.bincount(place, weights=steps, minlength=size)
    return np.asarray(np.cumsum(np.rint(total).astype(np.int64)), dtype=np.int64)


def _score(lanes: Sequence[Lane], starts: Micros, ends: Micros) -> tuple[Micros, Micros, Floats]:
    """For each candidate: instruments live, silent, and the log of the chance that they are silent together."""
    live, silent = np.zeros(len(starts), dtype=np.int64), np.zeros(len(starts), dtype=np.int64)
    score = np.zeros(len(starts))
    for lane in lanes:
        bars = bars_between(lane.live, starts, ends, lane.timeframe)
        quiet = bars_between(lane.rest, starts, ends, lane.timeframe)
        is_silent = (bars > 0) & (quiet >= _COVER * bars)
        usual = habit(lane, lane.rest, starts, ends)
        chance = np.log(usual.rate) + np.maximum(quiet - 1, 0) * np.log(usual.stay)
        live += bars > 0
        silent += is_silent
        score += np.where(is_silent, chance, 0.0)
    places = max((lane.live.bars(lane.timeframe) for lane in lanes), default=1)
    return live, silent, score + _log_choose(live, silent) + np.log(max(places, 1))


def _log_choose(n: Micros, k: Micros) -> Floats:
    """log C(n, k), by the entropy bound: enough for n − k of a few."""
    awake = np.maximum(n - k, 0)
    return np.asarray(np.where(awake > 0, awake * np.log(np.maximum(n, 1) * np.e / np.maximum(awake, 1)), 0.0))


def give(lanes: Sequence[Lane], outages: Outages) -> None:
    """Explain the silence inside outages, with edges of up to two bars; what is left is each instrument's own."""
    joint = outages.spans
    if not joint:
        return
    why = _wording(outages)
    for lane in lanes:
        spans = _with_edges(lane.rest, joint, _EDGE * lane.timeframe.micros)
        lane.explain(spans, "venue_outage", 0.95 if outages.live.min() > 2 else 0.8, why)


def _with_edges(silent: SpanSet, joint: SpanSet, edge: int) -> SpanSet:
    """The joint part of each silent run, and what is left of the run before or after where that is short."""
    inside = silent & joint
    left = silent - joint
    before = np.isin(left.ends, inside.starts) | np.isin(left.starts, inside.ends)
    short = before & (left.ends - left.starts <= edge)
    return inside | SpanSet(left.starts[short], left.ends[short])


def _wording(outages: Outages) -> Why:
    def why(span: Span) -> tuple[str, ...]:
        first = int(np.searchsorted(outages.ends, span.start, side="right"))
        last = int(np.searchsorted(outages.starts, span.end, side="left"))
        touched = range(first, last) if first < last else range(min(first, last), min(first, last) + 1)
        chance = min(float(outages.chance[at]) for at in touched)
        told = tuple(_told(outages, at) for at in touched[:_TOLD])
        more = (f"and {len(touched) - _TOLD} more such silences",) if len(touched) > _TOLD else ()
        return (*told, *more, f"by their own habits the chance of that is 1e{min(-6, round(chance))}")

    return why


def _told(outages: Outages, at: int) -> str:
    joint = Span(int(outages.starts[at]), int(outages.ends[at]))
    return f"{outages.silent[at]} of {outages.live[at]} live instruments of the venue are silent together {joint}"
