"""All rules of a timeframe over a list of instruments: features of one bar in, alerts out.

Time is bar time: the same bars give the same alerts, live, in a replay, and after a restart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gapless.alerts.alert import Alert
from gapless.alerts.conditions import BoolArray, Columns
from gapless.alerts.counts import NeverPassed, RuleCount
from gapless.alerts.rule import Rule
from gapless.alerts.watch import Watch
from gapless.errors import InputError, UnknownName, UsageError
from gapless.spans import Timeframe, iso

__all__ = ["Rule", "Rules"]
_MAGIC = b"gapless rules 1\n"
_DIGEST = 32


class Rules:
    """The step machine.

    ``groups`` maps a grouping to the group of each instrument, as ``[groups.NAME]`` of gapless.toml; a rule's spread
    names one. An instrument of a rule that is not among ``instruments`` is not watched.

    >>> import numpy as np
    >>> from gapless.alerts.conditions import Condition
    >>> hot = Rule("hot", Condition.parse("z >= 3"), cooldown=120_000_000)
    >>> rules = Rules([hot], ["X:A", "X:B"], "1m")
    >>> present = np.array([True, True])
    >>> [[a.instrument for a in rules.step(minute * 60_000_000, {"z": np.array([4.0, z])}, present)]
    ...  for minute, z in enumerate([0.0, 5.0, np.nan])]
    [['X:A'], ['X:B'], ['X:A']]
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        instruments: Sequence[str],
        timeframe: str | Timeframe,
        groups: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.timeframe = Timeframe.parse(timeframe)
        self.instruments = tuple(instruments)
        self.rules = tuple(rules)
        self.groups = groups or {}
        _check(self.rules, self.instruments, self.timeframe, self.groups)
        self._watches = self._fresh()
        self._last: int | None = None
        self.inputs: tuple[str, ...] = tuple(dict.fromkeys(name for rule in self.rules for name in rule.inputs))

    def _fresh(self) -> dict[str, Watch]:
        """Watches without memory."""
        return {
            rule.name: Watch(rule, self.instruments, self.groups[rule.spread.group] if rule.spread else {})
            for rule in self.rules
        }

    @property
    def last(self) -> int | None:
        """Time of the last bar stepped, µs since the epoch; None before the first."""
        return self._last

    def step(self, ts: int, columns: Columns, present: BoolArray) -> list[Alert]:
        """The alerts of the bars that open at ``ts``, by rule, then by instrument.

        ``columns`` holds each of ``inputs``, one value an instrument, NaN where it is missing. Instruments that are not
        ``present`` have no bar of this time and do not step. Raises, with nothing stepped, InputError for a time that
        is not later than the last, UsageError for columns that are missing or of another length.
        """
        self._check_step(ts, columns, present)
        self._last = ts
        return [alert for watch in self._watches.values() for alert in watch.step(ts, columns, present)]

    def _check_step(self, ts: int, columns: Columns, present: BoolArray) -> None:
        if self._last is not None and ts <= self._last:
            raise InputError(
                f"the bars of {iso(ts)} come after a step of {iso(self._last)}.",
                hint="step all bars of one time at once; late ones go through restore: take the state before them",
            )
        missing = [name for name in self.inputs if name not in columns]
        if missing:
            raise UsageError(f"the rules need columns that are not given: {', '.join(missing)}.")
        count = len(self.instruments)
        short = [name for name in self.inputs if len(columns[name]) != count]
        if short or len(present) != count:
            raise UsageError(
                f"{', '.join(short) or 'present'}: there must be one value for each of {count} instruments."
            )

    def release(self, rule: str, instrument: str, ts: int) -> bool:
        """A position signalled at ``ts`` did not open: where the rule's cooldown is on "opened", it is taken back.

        True when it was. Raises UnknownName for a rule or an instrument that is not watched.
        """
        watch = self._watch(rule)
        if instrument not in watch.number:
            raise UnknownName("instrument of the rules", instrument, self.instruments)
        if watch.rule.cooldown_on == "fired":
            return False
        return watch.release(instrument, ts)

    def _watch(self, rule: str) -> Watch:
        if rule not in self._watches:
            raise UnknownName("rule", rule, self._watches)
        return self._watches[rule]

    def counts(self) -> dict[str, RuleCount]:
        """What became of the bars each rule looked at."""
        return {name: watch.counter.result() for name, watch in self._watches.items()}

    def never_passing(self, least_bars: int) -> list[NeverPassed]:
        """Comparisons that did not pass once, of rules that looked at ``least_bars`` or more."""
        return [
            NeverPassed(name, part, count.looked)
            for name, count in self.counts().items()
            if count.looked >= least_bars
            for part in count.parts
            if not part.passed
        ]

    def state(self) -> bytes:
        """All memory as bytes, versioned and digested; the same whatever the order of the instruments."""
        rules = {
            name: {"version": watch.rule.version, **watch.state(self._last or 0)}
            for name, watch in self._watches.items()
        }
        body = json.dumps({"last": self._last, "rules": rules}, sort_keys=True, separators=(",", ":")).encode()
        return _MAGIC + hashlib.sha256(body).digest() + body

    def restore(self, blob: bytes) -> tuple[str, ...]:
        """Continue from ``state``. A rule whose definition has changed, and a new one, begins without memory.

        Gives the names of those. Raises UsageError, with nothing changed, when the blob is damaged or no rules' state.
        """
        found, watches = _read(blob), self._fresh()
        states = found["rules"]
        known = [n for n, w in watches.items() if n in states and states[n]["version"] == w.rule.version]
        for name in known:
            watches[name].restore(states[name])
        self._watches, self._last = watches, found["last"]
        return tuple(name for name in watches if name not in known)


def _check(
    rules: Sequence[Rule], instruments: Sequence[str], timeframe: Timeframe, groups: Mapping[str, Mapping[str, str]]
) -> None:
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names) or len(set(instruments)) < len(instruments):
        raise UsageError("a rule or an instrument stands twice.", hint="give each once")
    for rule in rules:
        if rule.timeframe != timeframe:
            raise UsageError(
                f"rule '{rule.name}' is for {rule.timeframe} bars, these are {timeframe}.", hint="one machine each"
            )
        if rule.spread and rule.spread.group not in groups:
            raise UnknownName("grouping", rule.spread.group, groups)


def _read(blob: bytes) -> dict[str, Any]:
    at = len(_MAGIC) + _DIGEST
    if not blob.startswith(_MAGIC) or hashlib.sha256(blob[at:]).digest() != blob[len(_MAGIC) : at]:
        raise UsageError("the state is damaged, or is no rules' state.", hint="replay the bars since the last good one")
    found: dict[str, Any] = json.loads(blob[at:])
    return found
