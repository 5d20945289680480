"""One rule at work: what it remembers of each instrument, and what it says at each bar.

A bar of one time, for all instruments at once:
 1. ``looked``: the rule's instruments that have this bar. The others do not step.
 2. The condition holds, and the direction is known where the rule has one; else the run of bars is over.
 3. As many such bars in a row, in one direction, as ``for_bars`` asks.
 4. The cooldown since the instrument's last firing is over.
 5. What is left fires: its cooldown begins, whoever is told; then earlier firings take followers.
 6. By instrument: quiet hours and the throttle say who is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.alerts.alert import Alert, Direction
from gapless.alerts.conditions import BoolArray, Columns
from gapless.alerts.counts import Counter
from gapless.alerts.rule import Rule, Spread
from gapless.alerts.spread import Told, Wave, Waves

Signs = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
NEVER = -(2**62)  # earlier than any time by more than any cooldown, without overflow
_WORDS: dict[int, Direction] = {1: "up", -1: "down", 0: ""}
_SIGNS = {word: sign for sign, word in _WORDS.items()}


def _count(mask: BoolArray) -> int:
    return int(np.count_nonzero(mask))


class Watch:
    """The step machine of one rule over a fixed list of instruments."""

    def __init__(self, rule: Rule, instruments: Sequence[str], labels: Mapping[str, str]) -> None:
        count = len(instruments)
        self.rule = rule
        self.instruments = instruments
        self.number = {name: i for i, name in enumerate(instruments)}
        self.counter = Counter(rule)
        self.run: Ints = np.zeros(count, dtype=np.int64)  # bars in a row
        self.run_sign: Signs = np.zeros(count, dtype=np.int8)
        self.last: Ints = np.full((2, count), NEVER, dtype=np.int64)  # the last firing, and the one before it
        self.last_sign: Signs = np.zeros((2, count), dtype=np.int8)
        self.told: list[int] = []  # times of the throttle's window
        mine = set(rule.instruments or instruments)
        grouped = {name: labels[name] for name in instruments if name in labels and name in mine}
        self.waves = Waves(rule.spread, grouped) if rule.spread else None
        self._mine: BoolArray = np.array([name in mine for name in instruments], dtype=np.bool_)
        self._shown = rule.evidence
        self._opposite = rule.cooldown if rule.opposite_cooldown is None else rule.opposite_cooldown

    def step(self, ts: int, columns: Columns, present: BoolArray) -> list[Alert]:
        """The alerts of one bar time, by instrument."""
        counter = self.counter
        counter.looked = looked = present & self._mine
        counter.add("looked", _count(looked))
        signs = self._signs(columns)
        passed = counter.evaluate("when", self.rule.when, columns)
        confirmed = {n: counter.evaluate(f"confirm.{n}", c, columns) for n, c in self.rule.confirm.items()}
        fired = self._fired(ts, passed, signs, looked)
        alerts = [self._alert(ts, i, signs, confirmed, columns) for i in fired]
        self._remember(ts, fired, signs)
        alerts += self._spreads(ts, columns, signs, alerts)
        alerts.sort(key=lambda alert: (alert.instrument, alert.kind))
        return [self._muted(alert) for alert in alerts]

    def _signs(self, columns: Columns) -> Signs:
        """+1 up, -1 down; 0 where the direction is not known, and of rules without one."""
        text = self.rule.direction
        if text in _SIGNS:
            return np.full(len(self.instruments), _SIGNS[text], dtype=np.int8)
        values = columns[text]
        return (values > 0).astype(np.int8) - (values < 0).astype(np.int8)

    def _fired(self, ts: int, passed: BoolArray, signs: Signs, looked: BoolArray) -> list[int]:
        counter = self.counter
        counter.add("passed", _count(passed))
        directed = passed & (signs != 0) if self.rule.directed else passed
        counter.add("undirected", _count(passed) - _count(directed))
        ready = self._patient(directed, signs, looked)
        counter.add("waiting", _count(directed) - _count(ready))
        found = np.flatnonzero(ready)
        if not len(found):
            return []
        wait = np.where(self.last_sign[0, found] == signs[found], self.rule.cooldown, self._opposite)
        fired = found[ts - self.last[0, found] >= wait]
        counter.add("cooling", len(found) - len(fired))
        counter.add("fired", len(fired))
        return sorted(fired.tolist(), key=self.instruments.__getitem__)

    def _patient(self, directed: BoolArray, signs: Signs, looked: BoolArray) -> BoolArray:
        """Where the run is long enough; a run is of one direction."""
        if self.rule.for_bars == 1:
            return directed
        grown = np.where(directed, np.where(self.run_sign == signs, self.run + 1, 1), 0)
        self.run = np.where(looked, grown, self.run)
        self.run_sign = np.where(looked, np.where(directed, signs, 0), self.run_sign).astype(np.int8)
        ready: BoolArray = directed & (self.run >= self.rule.for_bars)
        return ready

    def _remember(self, ts: int, fired: list[int], signs: Signs) -> None:
        if fired:
            self.last[1, fired], self.last[0, fired] = self.last[0, fired], ts
            self.last_sign[1, fired], self.last_sign[0, fired] = self.last_sign[0, fired], signs[fired]

    def release(self, instrument: str, ts: int) -> bool:
        """Take back the cooldown of the firing at ``ts``; that of the firing before it holds again."""
        i = self.number[instrument]
        newest, older = bool(self.last[0, i] == ts), bool(self.last[1, i] == ts)
        if newest:
            self.last[0, i], self.last_sign[0, i] = self.last[1, i], self.last_sign[1, i]
        if newest or older:
            self.last[1, i], self.last_sign[1, i] = NEVER, 0
        return newest or older

    def _alert(self, ts: int, i: int, signs: Signs, confirmed: Mapping[str, BoolArray], columns: Columns) -> Alert:
        rule = self.rule
        level = rule.level(sum(bool(passed[i]) for passed in confirmed.values()))
        return Alert(
            rule.name, self.instruments[i], rule.timeframe.name, ts, direction=_WORDS[int(signs[i])], level=level,
            severity=rule.severity_of(level), evidence=dict(self._evidence(i, confirmed, columns)),
        )  # fmt: skip

    def _evidence(self, i: int, confirmed: Mapping[str, BoolArray], columns: Columns) -> Iterable[tuple[str, float]]:
        """Values that are known; of each confirmation ``confirm.NAME`` 1 or 0, or ``unknown.NAME`` 1."""
        values = ((name, float(columns[name][i])) for name in self._shown)
        yield from ((name, value) for name, value in values if value == value)
        for name, passed in confirmed.items():
            known = any(columns[text][i] == columns[text][i] for text in self.rule.confirm[name].inputs)
            yield (f"confirm.{name}", float(passed[i])) if known else (f"unknown.{name}", 1.0)

    def _spreads(self, ts: int, columns: Columns, signs: Signs, fired: list[Alert]) -> list[Alert]:
        """Alerts of earlier firings that have enough followers now; then this bar's firings begin to wait."""
        spread, waves = self.rule.spread, self.waves
        if spread is None or waves is None:
            return []
        holds = self.counter.evaluate("spread", spread.when, columns)
        told = waves.follow(ts, self._named(holds, signs) if waves.open else ())
        self.counter.add("spread", len(told))
        waves.begin(ts, ((a.instrument, a.direction) for a in fired), told)
        return [self._spread_alert(ts, one, spread) for one in told]

    def _named(self, mask: BoolArray, signs: Signs) -> list[tuple[str, Direction]]:
        """The instruments of a mask, by name, with their directions."""
        return sorted((self.instruments[i], _WORDS[int(signs[i])]) for i in np.flatnonzero(mask).tolist())

    def _spread_alert(self, ts: int, told: Told, spread: Spread) -> Alert:
        count = len(told.followers)
        return Alert(
            self.rule.name, told.instrument, self.rule.timeframe.name, ts, kind="spread", direction=told.direction,
            severity=spread.severity or self.rule.severity_of(""), members=(told.instrument, *told.followers),
            evidence={"followers": float(count), "others": float(told.others), "share": count / told.others},
        )  # fmt: skip

    def _muted(self, alert: Alert) -> Alert:
        """The alert as it is kept: with the reason when nobody is to be told."""
        reason = self._why_not(alert)
        if not reason:
            return alert
        self.counter.add("quiet" if reason == "quiet hours" else reason, 1)
        return replace(alert, muted=reason)

    def _why_not(self, alert: Alert) -> str:
        close = alert.ts + self.rule.timeframe.micros
        if alert.severity != "critical" and any(hours.holds(close) for hours in self.rule.quiet):
            return "quiet hours"
        if self.rule.throttle is None:
            return ""
        if not self.rule.throttle.lets_pass(self.told, alert.ts):
            return "throttled"
        self.told.append(alert.ts)
        return ""

    def state(self, now: int) -> dict[str, Any]:
        """What a restart needs, by instrument name; cooldowns that are over are left out."""
        wait = max(self.rule.cooldown, self._opposite)
        last = np.where(now - self.last >= wait, NEVER, self.last)
        kept = np.flatnonzero((last != NEVER).any(axis=0) | (self.run > 0))
        rows = {
            self.instruments[i]: [
                int(self.run[i]), int(self.run_sign[i]), *last[:, i].tolist(),
                *np.where(last[:, i] == NEVER, 0, self.last_sign[:, i]).tolist(),
            ]
            for i in kept.tolist()
        }  # fmt: skip
        waves = [[w.ts, w.label, w.direction, w.firsts, list(w.followers)] for w in self._open()]
        return {"rows": rows, "told": self.told, "waves": waves, "counts": self.counter.state()}

    def _open(self) -> list[Wave]:
        return self.waves.open if self.waves else []

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; instruments that are not watched any more are forgotten."""
        for name, row in state["rows"].items():
            if name in self.number:
                i = self.number[name]
                self.run[i], self.run_sign[i] = row[:2]
                self.last[:, i], self.last_sign[:, i] = row[2:4], row[4:6]
        self.told = list(state["told"])
        self.counter.restore(state["counts"])
        if self.waves:
            waves = (self._kept(*wave) for wave in state["waves"])
            self.waves.open = [wave for wave in waves if wave.firsts]

    def _kept(self, ts: int, label: str, direction: Direction, firsts: list[str], followers: list[str]) -> Wave:
        """A wave with those that are still watched and in its group."""
        labels = self.waves.labels if self.waves else {}
        firsts, followers = ([n for n in names if labels.get(n) == label] for names in (firsts, followers))
        return Wave(ts, label, direction, firsts, dict.fromkeys(followers))
