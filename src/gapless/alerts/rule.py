"""What a rule is: a condition with a direction, patience, confirmation, and whom to tell."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, get_args

from gapless.alerts.alert import Severity
from gapless.alerts.conditions import Condition
from gapless.alerts.quiet import Quiet
from gapless.alerts.throttle import Throttle
from gapless.errors import ConfigError
from gapless.spans import Timeframe

UNCONFIRMED = "UNCONFIRMED"
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_NAME = re.compile(r"^[A-Za-z][\w-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Spread:
    """How a firing spreads: others of its group follow it, in its direction, later, within a window.

    A member of the grouping's same group follows when ``when`` holds for it. Enough is at least ``followers`` of them,
    and at least ``share`` of the other members. ``severity`` empty: the rule's.
    """

    group: str
    window: int  # µs
    when: Condition
    followers: int = 2
    share: float = 0.0
    severity: Severity | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition, and what follows from its being true. Made by ``written.AlertSection`` from gapless.toml.

    ``direction`` is ``up``, ``down``, a feature whose sign says it, or empty for a rule without one. ``cooldown`` and
    ``opposite_cooldown`` are µs. ``levels`` maps a name to the least number of ``confirm`` that pass. ``severity`` is
    one word, or one for each level. Raises ConfigError with every setting that is wrong or does nothing.
    """

    name: str
    when: Condition
    timeframe: Timeframe = Timeframe.ALL["1m"]
    instruments: tuple[str, ...] = ()
    direction: str = ""
    for_bars: int = 1
    cooldown: int = 0
    opposite_cooldown: int | None = None
    cooldown_on: Literal["fired", "opened"] = "fired"
    confirm: Mapping[str, Condition] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)
    spread: Spread | None = None
    severity: Severity | Mapping[str, Severity] = "warning"
    throttle: Throttle | None = None
    quiet: tuple[Quiet, ...] = ()
    notify: tuple[str, ...] = ()
    opens: str = ""

    def __post_init__(self) -> None:
        problems = [*_out_of_bounds(self), *_idle(self), *_confirmation(self)]
        if problems:
            raise ConfigError(f"rule '{self.name}': {'; '.join(problems)}.")

    @property
    def directed(self) -> bool:
        return self.direction != ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The texts of all features it looks at."""
        followed = self.spread.when.inputs if self.spread else ()
        return tuple(dict.fromkeys((*self.evidence, *followed)))

    @property
    def evidence(self) -> tuple[str, ...]:
        """The features whose values an alert shows."""
        sign = (self.direction,) if self.direction not in ("", "up", "down") else ()
        confirming = (name for condition in self.confirm.values() for name in condition.inputs)
        return tuple(dict.fromkeys((*self.when.inputs, *sign, *confirming)))

    def level(self, confirmed: int) -> str:
        """The name of the highest level that so many confirmations reach; empty for a rule without any."""
        if not self.confirm:
            return ""
        reached = [(least, name) for name, least in self.levels.items() if confirmed >= least]
        return max(reached)[1] if reached else UNCONFIRMED

    def severity_of(self, level: str) -> Severity:
        return self.severity if isinstance(self.severity, str) else self.severity.get(level, "warning")

    @property
    def version(self) -> str:
        """A hash of all that decides what a firing is: a rule of another version starts without a memory."""
        s = self.spread
        parts = [
            self.timeframe.name, str(self.when), self.direction, self.for_bars,
            {name: str(c) for name, c in self.confirm.items()},
            [s.group, s.window, str(s.when), s.followers, s.share] if s else [],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _out_of_bounds(rule: Rule) -> list[str]:
    """Values that no rule can have."""
    checks = {
        "its name must be letters, digits, _ and -, a letter first": bool(_NAME.match(rule.name)),
        "for_bars must be at least 1": rule.for_bars >= 1,
        "cooldown must not be negative": rule.cooldown >= 0,
        "opposite_cooldown must not be negative": (rule.opposite_cooldown or 0) >= 0,
    }
    if rule.spread:
        checks |= {
            "spread.window must be at least one bar": rule.spread.window >= rule.timeframe.micros,
            "spread.followers must be at least 1": rule.spread.followers >= 1,
            "spread.share must lie between 0 and 1": 0 <= rule.spread.share <= 1,
        }
    return [problem for problem, fine in checks.items() if not fine]


def _idle(rule: Rule) -> list[str]:
    """Settings that do nothing."""
    signed = rule.direction not in ("", "up", "down")
    checks = {
        "opposite_cooldown does nothing without a direction that is a feature": rule.opposite_cooldown is None
        or signed,
        'cooldown_on = "opened" does nothing without opens': rule.cooldown_on == "fired" or bool(rule.opens),
        'cooldown_on = "opened" does nothing without cooldown': rule.cooldown_on == "fired" or rule.cooldown > 0,
        "levels does nothing without confirm": bool(rule.confirm) or not rule.levels,
        "severity by level does nothing without confirm": bool(rule.confirm) or isinstance(rule.severity, str),
        "opens needs a direction: a position is long or short": rule.directed or not rule.opens,
        "an instrument stands twice": len(set(rule.instruments)) == len(rule.instruments),
    }
    return [problem for problem, fine in checks.items() if not fine]


def _confirmation(rule: Rule) -> list[str]:
    """Levels that cannot be reached or told apart, and severities of levels that are not there."""
    problems = []
    if rule.confirm and not rule.levels:
        problems.append("confirm needs levels, for example levels = { CONFIRMED = 1 }")
    for name, least in rule.levels.items() if rule.confirm else ():
        if not 1 <= least <= len(rule.confirm):
            problems.append(f"levels.{name} must lie between 1 and the {len(rule.confirm)} of confirm")
        if name == UNCONFIRMED:
            problems.append(f"levels.{UNCONFIRMED} is the name of what reaches no level")
    if len(set(rule.levels.values())) < len(rule.levels):
        problems.append("two levels need the same number")
    if not isinstance(rule.severity, str):
        known = [*rule.levels, UNCONFIRMED]
        problems += [_unknown("severity: level", name, known) for name in rule.severity if name not in known]
    return problems


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown {kind} '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")


def check_names(
    rules: Iterable[Rule], *, groups: Collection[str], channels: Collection[str], profiles: Collection[str]
) -> None:
    """Raise ConfigError, listing all, when rules name groupings, channels or position profiles that are not there."""
    problems = []
    for rule in rules:
        wanted = [("notify", "channel", name, channels) for name in rule.notify]
        wanted += [("opens", "position profile", rule.opens, profiles)] if rule.opens else []
        wanted += [("spread.group", "grouping", rule.spread.group, groups)] if rule.spread else []
        for key, kind, name, known in wanted:
            if name not in known:
                problems.append(f"alerts.{rule.name}.{key}: {_unknown(kind, name, known)}")
    if problems:
        hint = "write it down as [notify.NAME], [positions.NAME] or [groups.NAME]"
        raise ConfigError("rules name what is not there:\n  " + "\n  ".join(problems) + "\n", hint=hint)
