"""From open to closed: what one bar does to a position, in this order.

1. At the open: beyond the stop, all is closed at the open; beyond targets, those parts are closed at the open.
2. Inside the bar: the stop, where the bar touched it, before any target (the way inside a bar is not known, so the
   worse one is assumed); then the targets it touched, the nearest first.
3. At the close: z, flow, opposite signal, opposite z, longest hold, too little profit for the time.
4. For the next bar: the stop moves to break-even or behind the best price. It never moves away.
"""

from __future__ import annotations

import math

from gapless.alerts.position import Position
from gapless.alerts.profiles import Profile, lagged, level
from gapless.alerts.step import Row, Story

WHOLE = 1e-9  # what is left is nothing but rounding


class Bar:
    """One bar as a position sees it: ``ahead`` is its far end in the position's favour, ``against`` the other one."""

    def __init__(self, ts: int, row: Row, side: int) -> None:
        self.ts, self.row, self.side = ts, row, side
        self.open, self.close = row("open"), row("close")
        high, low = row("high"), row("low")
        self.ahead, self.against = (high, low) if side > 0 else (low, high)

    def better(self, *prices: float) -> float:
        return max(prices) if self.side > 0 else min(prices)

    def worse(self, *prices: float) -> float:
        return min(prices) if self.side > 0 else max(prices)


def hold(story: Story, profile: Profile, bar: Bar, bars: int, *, opposed: bool) -> None:
    """Say all that this bar does to an open position; ``bars`` market bars have passed since its entry."""
    _at_open(story, bar, bars)
    if story.position.live:
        _inside(story, bar, bars)
    if story.position.live:
        _at_close(story, profile, bar, bars, opposed=opposed)
    if story.position.live:
        _mark(story, profile, bar, bars)


# ---------------------------------------------------------------- inside the bar


def _at_open(story: Story, bar: Bar, bars: int) -> None:
    position = story.position
    if bar.side * (bar.open - position.stop) <= 0:
        _close(story, bar, bar.open, position.stopped_by, bars, worst=bar.worse(position.worst, bar.open))
        return
    for number, _ in _reached(position, bar, bar.open):
        _take(story, bar, bar.open, number, bars, against=bar.open)


def _inside(story: Story, bar: Bar, bars: int) -> None:
    position = story.position
    if bar.side * (bar.against - position.stop) <= 0:
        best, worst = bar.better(position.best, bar.open), bar.worse(position.worst, position.stop)
        _close(story, bar, position.stop, position.stopped_by, bars, best=best, worst=worst)
        return
    for number, price in _reached(position, bar, bar.ahead):
        _take(story, bar, price, number, bars, against=bar.against)


def _reached(position: Position, bar: Bar, price: float) -> list[tuple[int, float]]:
    """The targets still open that ``price`` has reached: their numbers from 1, and their prices."""
    taken = sum(fill.reason.startswith("target") for fill in position.fills)
    left = list(enumerate(position.targets, start=1))[taken:]
    return [(number, target) for number, (target, _) in left if bar.side * (price - target) >= 0]


def _take(story: Story, bar: Bar, price: float, number: int, bars: int, *, against: float) -> None:
    """Close the part of one target. The last part ends the position, and the bar counts against it in full."""
    position = story.position
    if not position.live:
        return
    fraction, reason = position.targets[number - 1][1], f"target_{number}"
    if position.rest - fraction > WHOLE:
        story.say(bar.ts, "partial", price, reason, fraction)
        return
    best, worst = bar.better(position.best, price), bar.worse(position.worst, against)
    _close(story, bar, price, reason, bars, best=best, worst=worst)


def _close(story: Story, bar: Bar, price: float, reason: str, bars: int, **excursions: float) -> None:
    story.say(bar.ts, "closed", price, reason, story.position.rest, {"bars": float(bars), **excursions})


# ---------------------------------------------------------------- at the close


def _excursions(position: Position, bar: Bar) -> dict[str, float]:
    return {"best": bar.better(position.best, bar.ahead), "worst": bar.worse(position.worst, bar.against)}


def _at_close(story: Story, profile: Profile, bar: Bar, bars: int, *, opposed: bool) -> None:
    position = story.position
    reason, fraction = _came_back(position, profile, bar)
    if fraction < 1:
        later = _ended(position, profile, bar, bars, opposed=opposed)
        if not later and fraction > 0:
            story.say(bar.ts, "partial", bar.close, reason, position.rest * fraction)
        reason = later
    if reason:
        _close(story, bar, bar.close, reason, bars, **_excursions(position, bar))


def _came_back(position: Position, profile: Profile, bar: Bar) -> tuple[str, float]:
    """The z exit: its name, and the part of what is left that it closes."""
    rule = profile.exits.z
    if rule is None or not bar.side * bar.row(profile.z) < rule.below:
        return "", 0.0
    gain = position.gain(bar.close)
    if rule.full_at is None or gain >= rule.full_at:
        return "z", 1.0
    once = all(fill.reason != "z" for fill in position.fills)
    return ("z", rule.partial) if rule.partial_at is not None and gain >= rule.partial_at and once else ("", 0.0)


def _ended(position: Position, profile: Profile, bar: Bar, bars: int, *, opposed: bool) -> str:
    """Why the rest is closed at this bar's close, or an empty text."""
    exits = profile.exits
    if _flow_turned(profile, bar):
        return "flow"
    if exits.opposite and opposed:
        return "opposite"
    if exits.opposite_z is not None and bar.side * bar.row(profile.z) <= -exits.opposite_z:
        return "opposite_z"
    if exits.max_bars is not None and bars >= exits.max_bars:
        return "max_bars"
    stale = exits.stale
    if stale is None or bars < stale.bars:
        return ""
    return "stale" if bar.side * (bar.close - position.entry) < stale.of(position.entry, position.atr) else ""


def _flow_turned(profile: Profile, bar: Bar) -> bool:
    rule = profile.exits.flow
    if rule is None:
        return False
    return bar.side * (bar.row(profile.flow) - bar.row(lagged(profile.flow, rule.bars))) <= -rule.change


# ---------------------------------------------------------------- for the next bar


def _mark(story: Story, profile: Profile, bar: Bar, bars: int) -> None:
    seen = _excursions(story.position, bar)
    stop, reason = _next_stop(story.position, profile, bar, seen["best"])
    if reason:
        story.say(bar.ts, "moved", stop, reason)
    story.say(bar.ts, "marked", bar.close, data={"bars": float(bars), **seen})


def _next_stop(position: Position, profile: Profile, bar: Bar, best: float) -> tuple[float, str]:
    """The nearest of break-even and trailing stop and its name; an empty name where it would not come nearer."""
    found = [
        (_break_even(position, profile, best), "break_even"),
        (_trailing(position, profile, bar, best), "trailing"),
    ]
    nearer = [(stop, name) for stop, name in found if bar.side * (stop - position.stop) > 0]
    return max(nearer, key=lambda pair: bar.side * pair[0]) if nearer else (position.stop, "")


def _break_even(position: Position, profile: Profile, best: float) -> float:
    rule = profile.stop
    due = rule.break_even_after_partial and bool(position.fills)
    due = due or (rule.break_even_at is not None and position.gain(best) >= rule.break_even_at)
    return position.entry if due else math.nan


def _trailing(position: Position, profile: Profile, bar: Bar, best: float) -> float:
    """The level behind the best price; nan before its time, and where it needs an ATR that is not known now."""
    rule = profile.stop.trail
    if rule is None or position.gain(best) < rule.activate:
        return math.nan
    distance = rule.of(position.entry, bar.row(profile.atr) if rule.atr is not None else math.nan)
    if rule.tighten_at is not None and position.gain(best) >= rule.tighten_at:
        distance *= rule.tighten
    return level(best - bar.side * distance)
