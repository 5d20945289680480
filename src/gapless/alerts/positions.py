"""Paper positions: signals followed to their exit, bar by bar, as events.

1. Nothing is asked of an instrument without a live position.
2. A bar first acts on open positions (``exits.hold``), the oldest signal first.
3. Then on pending ones: invalidated, else expired, else entered at its close when triggered and nothing is in the way.
4. Then new signals begin: pending, and entered at this very close when the profile waits for nothing.

No order is ever placed: these are positions on paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from gapless.alerts.alert import Alert
from gapless.alerts.conditions import BoolArray, Columns
from gapless.alerts.entries import Levels, blocked, invalid, levels, triggered
from gapless.alerts.exits import Bar, hold
from gapless.alerts.position import Position, PositionEvent, fold
from gapless.alerts.profiles import BARS, Profile, inputs, level
from gapless.alerts.step import Row, Story
from gapless.errors import UnknownName, UsageError
from gapless.spans import Timeframe, iso

Elapsed = Callable[[str, int, int], int]
_SIDES = {"up": 1, "down": -1}


@dataclass(frozen=True, slots=True)
class _Now:
    """What one step was given."""

    ts: int
    columns: Columns
    present: BoolArray
    signals: Sequence[tuple[Alert, str]]

    def opposes(self, position: Position) -> bool:
        """Does a signal of this bar say the contrary?"""
        return any(
            alert.instrument == position.instrument and _SIDES.get(alert.direction) == -position.side
            for alert, _ in self.signals
        )


class Positions:
    """The state machine of all positions of one timeframe.

    ``elapsed(instrument, start, end)`` counts the market's bars in ``[start, end)``, by its calendar; without it the
    market is always open. Each profile is a book of its own: adding one changes nothing in another.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        instruments: Sequence[str],
        timeframe: str | Timeframe,
        elapsed: Elapsed | None = None,
    ) -> None:
        micros = Timeframe.parse(timeframe).micros
        self._profiles = dict(profiles)
        self._lanes = {name: lane for lane, name in enumerate(instruments)}
        self._elapsed = elapsed or (lambda _, start, end: (end - start) // micros)
        self._live: dict[str, Position] = {}
        self._last: int | None = None
        every = (text for profile in self._profiles.values() for text in inputs(profile))
        self.inputs: tuple[str, ...] = tuple(dict.fromkeys((*BARS, *every)))
        for name, profile in self._profiles.items():
            benchmark = profile.filters.benchmark
            if benchmark is not None and benchmark not in self._lanes:
                raise UnknownName(f"benchmark of the profile '{name}'", benchmark, self._lanes)

    @property
    def last(self) -> int | None:
        """Time of the last bar stepped, µs since the epoch; None before the first."""
        return self._last

    @property
    def live(self) -> list[Position]:
        """Pending and open positions, the oldest signal first."""
        return sorted(self._live.values(), key=attrgetter("signalled_at", "id"))

    def restore(self, events: Iterable[PositionEvent], last: int | None = None) -> None:
        """Be as the machine that said these events was after them, whatever this one did before.

        ``events`` are all, or the ``compact`` ones, of the live positions, in any order; those of positions that are
        over do no harm. ``last`` is the bar stepped last, where that is known; it and earlier ones will not be stepped
        again. Raises UnknownName, with nothing changed, for a live position whose profile is not there any more.
        """
        ordered = sorted(events, key=attrgetter("position", "number"))
        found = [fold(group) for _, group in groupby(ordered, key=attrgetter("position"))]
        live = {position.id: position for position in found if position.live}
        for position in live.values():
            self._profile(position.profile)
        self._live = live
        self._last = max((t for t in (last, *(e.ts for e in ordered)) if t is not None), default=None)

    def step(
        self,
        ts: int,
        columns: Columns,
        present: BoolArray,
        signals: Sequence[tuple[Alert, str]] = (),
    ) -> list[PositionEvent]:
        """What the bars that opened at ``ts`` do; a bar stepped before, and any earlier one, does nothing.

        ``columns`` holds each of ``inputs``, one value an instrument, NaN where it is missing. Instruments that are not
        ``present`` have no bar of this time and do not step. ``signals`` are alerts of this very bar, each with the
        profile to follow it; neither their order nor that of the instruments matters. Raises, with nothing stepped,
        UsageError for columns that are missing or of another length and for signals without their bar, UnknownName for
        a profile.
        """
        if self._last is not None and ts <= self._last:
            return []
        self._check(ts, columns, present, signals)
        self._last = ts
        once = {(alert.instrument, alert.id, profile): (alert, profile) for alert, profile in signals}
        fresh = [once[key] for key in sorted(once)]
        now = _Now(ts, columns, present, fresh)
        stories: list[Story] = []
        for pending in (False, True):
            for position in self.live:
                if (position.state == "pending") == pending and self._is_there(position.instrument, columns, present):
                    stories.append(self._advance(position, now))
        stories += [self._begin(alert, profile, now) for alert, profile in fresh]
        return [event for story in stories for event in story.events]

    # ------------------------------------------------------------ one position

    def _advance(self, position: Position, now: _Now) -> Story:
        """One bar of a live position."""
        story, profile = Story(position), self._profile(position.profile)
        bar = Bar(now.ts, Row(now.columns, self._lanes[position.instrument]), position.side)
        bars = self._elapsed(position.instrument, position.since, now.ts)
        if position.opened:
            hold(story, profile, bar, bars, opposed=now.opposes(position))
        else:
            self._wait(story, profile, bar, bars, now)
        self._keep(story)
        return story

    def _wait(self, story: Story, profile: Profile, bar: Bar, waited: int, now: _Now) -> None:
        """One bar of a pending signal."""
        reason = invalid(story.position, profile, bar.row, waited)
        if reason:
            story.say(bar.ts, "invalidated", bar.close, reason, data={"bars": float(waited)})
        elif waited > profile.entry.max_wait:
            story.say(bar.ts, "expired", bar.close, "max_wait", data={"bars": float(waited)})
        else:
            self._try(story, profile, bar, waited, now)

    def _try(self, story: Story, profile: Profile, bar: Bar, waited: int, now: _Now) -> None:
        """Enter if this is the bar, else say what was seen of it."""
        position, why = story.position, ""
        best = bar.better(position.best, bar.ahead)
        if waited >= profile.entry.min_wait and triggered(position, profile, bar.row, best):
            found = levels(profile, bar.row)
            why = blocked(profile, found, bar.row, self._benchmark(profile, now)) or self._full(position.profile)
            if not why:
                story.say(bar.ts, "opened", found.entry, fraction=1.0, data=_opening(position.side, profile, found))
                return
        if waited or why:  # the signal's own bar is in the first event already
            seen: dict[str, float | str] = {"best": best, "bars": float(waited), "blocked": why or position.blocked}
            story.say(bar.ts, "marked", bar.close, data=seen)

    def _begin(self, alert: Alert, name: str, now: _Now) -> Story:
        """A new signal."""
        profile, story, side = self._profile(name), Story(), _SIDES.get(alert.direction, 0)
        bar = Bar(now.ts, Row(now.columns, self._lanes[alert.instrument]), side)
        busy = not profile.several and any(
            p.instrument == alert.instrument and p.profile == name for p in self._live.values()
        )
        story.begin(_signal(alert, name, bar))
        if side == 0 or busy:
            story.say(bar.ts, "invalidated", bar.close, "busy" if side else "no_direction")
        else:
            self._try(story, profile, bar, 0, now)
        self._keep(story)
        return story

    def _keep(self, story: Story) -> None:
        position = story.position
        if position.live:
            self._live[position.id] = position
        else:
            self._live.pop(position.id, None)

    # ------------------------------------------------------------ what it looks up

    def _check(self, ts: int, columns: Columns, present: BoolArray, signals: Sequence[tuple[Alert, str]]) -> None:
        missing = [name for name in self.inputs if name not in columns]
        if missing:
            raise UsageError(f"positions need columns that are not given: {', '.join(missing)}.")
        short = [name for name in self.inputs if len(columns[name]) != len(self._lanes)]
        if short or len(present) != len(self._lanes):
            raise UsageError(
                f"{short or 'present'}: there must be one value for each of {len(self._lanes)} instruments."
            )
        for alert, profile in signals:
            self._profile(profile)
            if alert.ts != ts or not self._is_there(alert.instrument, columns, present):
                raise UsageError(
                    f"the signal of {alert.instrument} at {iso(alert.ts)} has no bar in the step of {iso(ts)}.",
                    hint="give signals together with the bars that made them",
                )

    def _profile(self, name: str) -> Profile:
        if name not in self._profiles:
            raise UnknownName("profile", name, self._profiles)
        return self._profiles[name]

    def _is_there(self, instrument: str, columns: Columns, present: BoolArray) -> bool:
        """Has the instrument a bar with prices now?"""
        lane = self._lanes.get(instrument)
        return lane is not None and bool(present[lane]) and all(math.isfinite(columns[n][lane]) for n in BARS)

    def _benchmark(self, profile: Profile, now: _Now) -> Row | None:
        """The benchmark's values; None, which passes nothing, where it has no bar."""
        name = profile.filters.benchmark
        there = name is not None and self._is_there(name, now.columns, now.present)
        return Row(now.columns, self._lanes[name]) if name is not None and there else None

    def _full(self, name: str) -> str:
        most = self._profiles[name].max_open
        opened = sum(p.profile == name and p.opened for p in self._live.values())
        return "max_open" if most is not None and opened >= most else ""


def _signal(alert: Alert, profile: str, bar: Bar) -> PositionEvent:
    told: dict[str, float | str] = {
        "rule": alert.rule, "profile": profile, "side": float(bar.side), "high": bar.row("high"), "low": bar.row("low"),
        "best": bar.ahead,
    }  # fmt: skip
    return PositionEvent(f"{alert.id}-{profile}", 1, alert.instrument, bar.ts, "pending", bar.close, data=told)


def _opening(side: int, profile: Profile, found: Levels) -> dict[str, float | str]:
    """All that the position will need of its profile's numbers, so that its events say it alone."""
    told: dict[str, float | str] = {
        "stop": level(found.entry - side * found.risk), "stopped_by": found.stopped_by, "risk": found.risk,
        "cost": profile.cost, "targets": float(len(found.targets)),
    }  # fmt: skip
    for number, (distance, fraction) in enumerate(found.targets, start=1):
        told |= {f"target_{number}": level(found.entry + side * distance), f"fraction_{number}": fraction}
    return told | ({} if math.isnan(found.atr) else {"atr": found.atr})
