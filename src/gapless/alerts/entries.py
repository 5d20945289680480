"""From pending to open: what ends a signal, what triggers an entry, what stands in its way, and its levels.

A comparison with NaN is false, and every rule here is written so that false is the careful answer: an unknown value
invalidates nothing, triggers nothing, and passes no filter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from gapless.alerts.position import Position
from gapless.alerts.profiles import Entry, Profile, average, condition, lagged, reaches, span_of
from gapless.alerts.step import Row


def held(share: float, side: int) -> float:
    """The share of the flow on the position's side.

    >>> held(0.75, 1), held(0.75, -1)
    (0.75, 0.25)
    """
    return share if side > 0 else 1 - share


# ---------------------------------------------------------------- invalidation


def invalid(position: Position, profile: Profile, row: Row, waited: int) -> str:
    """Why the signal is over, or an empty text; checked in this order on every bar after the signal's."""
    ends, side = profile.invalidation, position.side
    z = side * row(profile.z) if ends.flip or ends.z_floor else math.nan
    if ends.flip and z < 0:
        return "flip"
    if ends.z_floor is not None and z < ends.z_floor:
        return "z_floor"
    if _dominance_lost(profile, row, side, waited):
        return "dominance"
    far_end = position.signal[1] if side > 0 else position.signal[0]
    return "structure" if ends.structure and side * (row("close") - far_end) < 0 else ""


def _dominance_lost(profile: Profile, row: Row, side: int, waited: int) -> bool:
    """The best share of the side in the last bars, none of them the signal's or before it, is too small."""
    rule = profile.invalidation.dominance
    if rule is None or waited < rule.bars:
        return False
    extreme = "max" if side > 0 else "min"
    return held(row(f"{extreme}({profile.flow}, {rule.bars})"), side) < rule.below


# ---------------------------------------------------------------- triggers


def triggered(position: Position, profile: Profile, row: Row, best: float) -> bool:
    """Is this the bar to enter at? ``best`` is the best price from the signal's bar to this one."""
    entry = profile.entry
    found = [rule(position, profile, row, best) for name, rule in _TRIGGERS.items() if getattr(entry, name)]
    return not found or (all(found) if entry.need == "all" else any(found))


def _pullback(position: Position, profile: Profile, row: Row, best: float) -> bool:
    back = position.side * (best - row("close"))
    return back >= position.signal[2] * (profile.entry.pullback or 0.0) / 100


def _cooled(position: Position, profile: Profile, row: Row, best: float) -> bool:
    low, high = profile.entry.z_band or (math.nan, math.nan)
    return low <= position.side * row(profile.z) <= high


def _flow_rests(position: Position, profile: Profile, row: Row, best: float) -> bool:
    rule = profile.entry.flow
    if rule is None or not row(span_of(profile.flow, rule.bars)) <= rule.move:
        return False
    return rule.dominance is None or held(row(profile.flow), position.side) >= rule.dominance


def _expands(position: Position, profile: Profile, row: Row, best: float) -> bool:
    kinds, side = profile.entry.expansion, position.side
    if "range" in kinds and side * (row("close") - row(lagged("high" if side > 0 else "low", 1))) > 0:
        return True
    if "return" in kinds and side * (row("close") - row(lagged("close", 1))) > 0:
        return True
    return "flow" in kinds and _flow_grows(profile.flow, profile.entry, row, side)


def _flow_grows(flow: str, entry: Entry, row: Row, side: int) -> bool:
    shares = [row(flow), *(row(lagged(flow, n + 1)) for n in range(entry.expansion_bars))]
    return all(side * (later - earlier) > 0 for later, earlier in pairwise(shares))


_TRIGGERS = {"pullback": _pullback, "z_band": _cooled, "flow": _flow_rests, "expansion": _expands}


# ---------------------------------------------------------------- levels and filters


@dataclass(frozen=True, slots=True)
class Levels:
    """What an entry would open with: distances from the entry price. ``targets``: distance and fraction, nearest first.

    ``atr`` is nan where the profile does not need it.
    """

    entry: float
    atr: float
    risk: float
    stopped_by: str
    targets: tuple[tuple[float, float], ...]

    @property
    def reward(self) -> float:
        """The average distance of the targets, by their fractions."""
        return average(list(self.targets))


def levels(profile: Profile, row: Row) -> Levels:
    """Stop and targets for an entry at this bar's close."""
    entry, stop = row("close"), profile.stop
    atr = row(profile.atr) if profile.needs_atr else math.nan
    risk, by = stop.of(entry, atr), "stop"
    if stop.at_least is not None and risk < entry * stop.at_least / 100:
        risk = entry * stop.at_least / 100
    if stop.at_most is not None and risk > entry * stop.at_most / 100:
        risk = entry * stop.at_most / 100
    if stop.max_loss is not None and risk > entry * stop.max_loss / 100:
        risk, by = entry * stop.max_loss / 100, "max_loss"
    targets = sorted((t.of(entry, atr), t.fraction) for t in profile.targets)
    return Levels(entry, atr, risk, by, tuple(targets))


def blocked(profile: Profile, found: Levels, row: Row, benchmark: Row | None) -> str:
    """The first filter that does not pass, or an empty text."""
    filters, entry = profile.filters, found.entry
    if not (found.risk > 0 and all(distance > 0 for distance, _ in found.targets)):
        return "no_atr"
    if filters.min_reward_risk is not None and not reaches(found.reward / found.risk, filters.min_reward_risk):
        return "min_reward_risk"
    if filters.min_atr is not None and not reaches(found.atr / entry * 100, filters.min_atr):
        return "min_atr"
    profit = (found.reward / entry - 2 * profile.cost) * 100
    if filters.min_profit is not None and not reaches(profit, filters.min_profit):
        return "min_profit"
    wanted = [(text, row) for text in filters.require] + [(text, benchmark) for text in filters.benchmark_require]
    return next((text for text, where in wanted if where is None or not where.holds(condition(text))), "")
