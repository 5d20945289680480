"""How often each part of a rule passes: what never does is seen before anybody wonders why nothing fires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gapless.alerts.conditions import BoolArray, Columns, Condition
from gapless.alerts.rule import Rule


@dataclass(frozen=True, slots=True)
class PartCount:
    """One comparison: of ``known`` bars, for which it could be said, it passed ``passed``.

    ``place`` is ``when``, ``confirm.NAME`` or ``spread``.
    """

    place: str
    text: str
    known: int
    passed: int


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What became of the bars a rule looked at.

    Of ``looked``, ``passed`` fulfilled the condition. Of those, ``undirected`` had no direction, ``waiting`` were too
    few in a row, ``cooling`` fell into a cooldown, and ``fired`` are alerts; ``spread`` ones come on top. Of all alerts
    ``throttled`` and ``quiet`` were told to nobody.
    """

    looked: int
    passed: int
    undirected: int
    waiting: int
    cooling: int
    fired: int
    spread: int
    throttled: int
    quiet: int
    parts: tuple[PartCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NeverPassed:
    """A comparison that did not pass once in ``looked`` bars; ``known`` of 0: its features never had a value."""

    rule: str
    part: PartCount
    looked: int

    def __str__(self) -> str:
        if not self.part.known:
            what = "has never been known: its features had no value"
        else:
            what = f"passed none of the {self.part.known} for which it is known"
        return f"rule '{self.rule}', {self.part.place}: {self.part.text}: of {self.looked} bars looked at it {what}"


TALLIES = ("looked", "passed", "undirected", "waiting", "cooling", "fired", "spread", "throttled", "quiet")


@dataclass(slots=True)
class Counter:
    """The running counts of one rule."""

    rule: Rule
    tallies: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TALLIES, 0))
    parts: dict[str, list[int]] = field(init=False)  # known and passed, of each part of each place
    looked: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))  # of the bar at hand

    def __post_init__(self) -> None:
        self.parts = {place: [0] * (2 * len(condition.parts)) for place, condition in places(self.rule).items()}

    def evaluate(self, place: str, condition: Condition, columns: Columns) -> BoolArray:
        """Where the condition holds among the bars looked at; its parts are counted."""
        passes, counts = condition.check(columns), self.parts[place]
        for i, (part, passed) in enumerate(zip(condition.parts, passes, strict=True)):
            counts[2 * i] += int(np.count_nonzero(part.known(columns) & self.looked))
            counts[2 * i + 1] += int(np.count_nonzero(passed & self.looked))
        return condition.tree.combine(passes) & self.looked

    def add(self, tally: str, count: int) -> None:
        self.tallies[tally] += count

    def result(self) -> RuleCount:
        return RuleCount(**self.tallies, parts=tuple(self._part_counts()))

    def _part_counts(self) -> Iterable[PartCount]:
        for place, condition in places(self.rule).items():
            counts = self.parts[place]
            for i, part in enumerate(condition.parts):
                yield PartCount(place, part.text, counts[2 * i], counts[2 * i + 1])

    def state(self) -> dict[str, Any]:
        return {"tallies": self.tallies, "parts": self.parts}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.tallies = {name: int(state["tallies"][name]) for name in TALLIES}
        self.parts = {place: list(state["parts"][place]) for place in self.parts}


def places(rule: Rule) -> dict[str, Condition]:
    """The conditions of a rule by where they stand."""
    found = {"when": rule.when} | {f"confirm.{name}": condition for name, condition in rule.confirm.items()}
    return found | ({"spread": rule.spread.when} if rule.spread else {})
