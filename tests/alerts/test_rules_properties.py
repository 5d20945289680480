"""What holds of rules whatever the bars: restarts, order, the future, cooldowns, and a second opinion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.alerts.alert import Alert
from gapless.alerts.conditions import Condition
from gapless.alerts.quiet import Quiet
from gapless.alerts.rule import Rule, Spread
from gapless.alerts.rules import Rules
from gapless.alerts.throttle import Throttle
from gapless.errors import UsageError
from gapless.spans import MINUTE

NAN = float("nan")
NAMES = ["X:A", "X:B", "X:C", "X:D"]
GROUPS = {"sector": {"X:A": "L1", "X:B": "L1", "X:C": "L1", "X:D": "L2"}}
WHEN, FOLLOWS = Condition.parse("z >= 2 and not (v < 1)"), Condition.parse("z >= 1")


@dataclass(frozen=True)
class Panel:
    """Rows by minute, columns by instrument; z is NaN at random, and bars are absent at random."""

    z: tuple[tuple[float, ...], ...]
    v: tuple[tuple[float, ...], ...]
    d: tuple[tuple[float, ...], ...]
    present: tuple[tuple[bool, ...], ...]

    def __len__(self) -> int:
        return len(self.z)


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    """Lively ones: drawn value by value, nearly every panel would be without a firing."""
    minutes, rng = draw(st.integers(1, 24)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def table(values: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, rng.choice(values, (minutes, len(NAMES))).tolist()))

    z, v, d = table([0, 1, 1, 2, 2, 3, NAN]), table([0, 1, 1, 1, 1, NAN]), table([-1, 0, 1, 1, 1, 1, NAN])
    return Panel(z, v, d, tuple(tuple(x > 0 for x in row) for row in table([0, 1, 1, 1, 1])))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    signed = draw(st.booleans())
    share = draw(st.sampled_from([0.0, 0.5, 1.0]))
    spread = Spread("sector", draw(st.integers(1, 6)) * MINUTE, FOLLOWS, draw(st.integers(1, 2)), share)
    return Rule(
        "r", WHEN, direction="d" if signed else draw(st.sampled_from(["", "up"])), for_bars=draw(st.integers(1, 3)),
        cooldown=draw(st.integers(0, 6)) * MINUTE,
        opposite_cooldown=draw(st.none() | st.integers(0, 6).map(lambda n: n * MINUTE)) if signed else None,
        confirm={"v": Condition.parse("v > 0")}, levels={"YES": 1},
        spread=draw(st.sampled_from([spread, spread, None])),
        throttle=draw(st.none() | st.just(Throttle(2, 3 * MINUTE))),
        quiet=draw(st.just(()) | st.just((Quiet.parse("00:02-00:05 UTC"),))),
    )  # fmt: skip


def machine(rule: Rule, names: Sequence[str] = NAMES) -> Rules:
    return Rules([rule, Rule("second", FOLLOWS, for_bars=2, cooldown=2 * MINUTE)], names, "1m", GROUPS)


def step(rules: Rules, panel: Panel, minute: int) -> list[Alert]:
    """One minute, in the machine's own order of instruments."""
    order = [NAMES.index(name) for name in rules.instruments]
    columns = {n: np.array([getattr(panel, n)[minute][i] for i in order]) for n in ("z", "v", "d")}
    return rules.step(minute * MINUTE, columns, np.array([panel.present[minute][i] for i in order]))


def run(rules: Rules, panel: Panel) -> list[Alert]:
    return [alert for minute in range(len(panel)) for alert in step(rules, panel, minute)]


@given(rules(), panels())
@settings(deadline=None)
def test_a_restart_at_any_step_changes_nothing(rule: Rule, panel: Panel) -> None:
    """A new machine from the state's bytes before each step gives the same alerts, counts and bytes."""
    whole, found = machine(rule), []
    expected = run(whole, panel)
    state = machine(rule).state()
    for minute in range(len(panel)):
        again = machine(rule)
        assert again.restore(state) == ()
        found += step(again, panel, minute)
        state = again.state()
    assert found == expected
    assert state == whole.state()
    assert again.counts() == whole.counts()


@given(rules(), panels(), st.permutations(NAMES))
@settings(deadline=None)
def test_the_order_of_instruments_changes_nothing(rule: Rule, panel: Panel, names: list[str]) -> None:
    """The same alerts in the same order, and the same state."""
    one, other = machine(rule), machine(rule, names)
    assert run(one, panel) == run(other, panel)
    assert one.state() == other.state()
    assert one.counts() == other.counts()


@given(rules(), panels(), st.data())
@settings(deadline=None)
def test_the_future_never_changes_the_past(rule: Rule, panel: Panel, data: st.DataObject) -> None:
    """Alerts up to a minute are the same whatever rows come after it."""
    cut = data.draw(st.integers(0, len(panel) - 1))
    other = replace(panel, **{n: (*getattr(panel, n)[:cut], *getattr(panel, n)[cut:][::-1]) for n in ("z", "v", "d")})
    before = [a for a in run(machine(rule), panel) if a.ts < cut * MINUTE]
    assert [a for a in run(machine(rule), other) if a.ts < cut * MINUTE] == before


def firings(rule: Rule, panel: Panel, i: int) -> list[tuple[int, str]]:
    """A second opinion of one instrument's firings: one bar at a time, straight from the page's words."""
    found: list[tuple[int, str]] = []
    run: list[str] = []
    for minute in range(len(panel)):
        z, v, d = panel.z[minute][i], panel.v[minute][i], panel.d[minute][i]
        if not panel.present[minute][i]:
            continue
        direction = {"up": "up", "": ""}.get(rule.direction, "up" if d > 0 else "down" if d < 0 else "none")
        if not (z >= 2 and v >= 1) or direction == "none":
            run = []
            continue
        run = [*run, direction] if run and run[-1] == direction else [direction]
        if len(run) < rule.for_bars:
            continue
        wait = rule.cooldown
        if found and found[-1][1] != direction and rule.opposite_cooldown is not None:
            wait = rule.opposite_cooldown
        if not found or (minute - found[-1][0]) * MINUTE >= wait:
            found.append((minute, direction))
    return found


@given(rules(), panels())
@settings(deadline=None)
def test_the_firings_are_those_of_the_pages_words(rule: Rule, panel: Panel) -> None:
    """Condition, direction, run and cooldown: bar by bar, instrument by instrument; so a missing value never fires."""
    alerts = [a for a in run(machine(rule), panel) if a.rule == "r" and a.kind == "fired"]
    for i, name in enumerate(NAMES):
        mine = [(a.ts // MINUTE, a.direction) for a in alerts if a.instrument == name]
        assert mine == firings(rule, panel, i)


def followed(rule: Rule, panel: Panel, fired: Alert, until: int) -> list[str]:
    """Who of the group followed a firing up to a minute, from the rows, in order."""
    assert rule.spread is not None
    first = NAMES.index(fired.instrument)
    found: dict[str, None] = {}
    for minute in range(fired.ts // MINUTE + 1, min(until, (fired.ts + rule.spread.window) // MINUTE) + 1):
        for i, name in enumerate(NAMES):
            d = panel.d[minute][i]
            way = {"up": "up", "": ""}.get(rule.direction, "up" if d > 0 else "down" if d < 0 else "none")
            same_group = GROUPS["sector"][name] == GROUPS["sector"][fired.instrument] and i != first
            if same_group and panel.present[minute][i] and panel.z[minute][i] >= 1 and way == fired.direction:
                found[name] = None
    return list(found)


@given(rules().filter(lambda r: r.spread is not None), panels())
@settings(deadline=None)
def test_a_spread_has_its_followers_and_the_first_that_could_be_told_is(rule: Rule, panel: Panel) -> None:
    """Its members followed one of the first one's firings, are enough, and the group's first spread is not late."""
    assert rule.spread is not None
    alerts = [a for a in run(machine(rule), panel) if a.rule == "r"]
    fired, spreads = [a for a in alerts if a.kind == "fired"], [a for a in alerts if a.kind == "spread"]
    for alert in spreads:
        mine = [a for a in fired if (a.instrument, a.direction) == (alert.instrument, alert.direction)]
        assert list(alert.members[1:]) in [followed(rule, panel, a, alert.ts // MINUTE) for a in mine]
        assert len(alert.members) - 1 >= rule.spread.followers
        assert alert.evidence["share"] >= rule.spread.share
    once = {(a.ts, a.direction, GROUPS["sector"][a.instrument]) for a in spreads}
    assert len(once) == len({a.id for a in spreads}) == len(spreads)
    possible = [
        minute
        for minute in range(len(panel))
        for a in fired
        if GROUPS["sector"][a.instrument] == "L1"
        and len(found := followed(rule, panel, a, minute)) >= rule.spread.followers
        and len(found) / 2 >= rule.spread.share
    ]
    assert [a.ts // MINUTE for a in spreads][:1] == possible[:1]


@given(rules(), panels())
@settings(deadline=None)
def test_no_window_has_more_told_alerts_than_the_throttle(rule: Rule, panel: Panel) -> None:
    """At most two in any three minutes, and nobody is told in quiet hours."""
    alerts = [a for a in run(machine(rule), panel) if a.rule == "r" and not a.muted]
    if rule.throttle:
        for a in alerts:
            assert sum(a.ts <= b.ts < a.ts + rule.throttle.window for b in alerts) <= rule.throttle.count
    if rule.quiet:
        assert not [a for a in alerts if 2 <= a.ts // MINUTE + 1 < 5]


def test_a_changed_rule_begins_afresh_and_is_named() -> None:
    """Another condition forgets the cooldown; another cooldown, severity or throttle does not."""
    hot = Rule("r", FOLLOWS, cooldown=60 * MINUTE)
    columns, present = {"z": np.array([3.0]), "v": np.array([3.0])}, np.array([True])
    first = Rules([hot], ["X:A"], "1m")
    assert len(first.step(0, columns, present)) == 1
    for changed, fresh in (
        (replace(hot, when=WHEN), ("r",)),
        (replace(hot, name="other"), ("other",)),
        (replace(hot, severity="critical", throttle=Throttle(1, MINUTE), cooldown=30 * MINUTE), ()),
    ):
        again = Rules([changed], ["X:A"], "1m")
        assert again.restore(first.state()) == fresh
        assert len(again.step(MINUTE, columns, present)) == len(fresh)


def test_a_state_survives_a_change_of_instruments() -> None:
    """Those that stay keep their cooldown, new ones have none, those that went are forgotten."""
    hot = Rule("r", FOLLOWS, cooldown=60 * MINUTE)
    first = Rules([hot], ["X:A", "X:B"], "1m")
    assert len(first.step(0, {"z": np.array([3.0, 3.0])}, np.array([True, True]))) == 2
    again = Rules([hot], ["X:C", "X:B"], "1m")
    again.restore(first.state())
    alerts = again.step(MINUTE, {"z": np.array([3.0, 3.0])}, np.array([True, True]))
    assert [a.instrument for a in alerts] == ["X:C"]


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_state_is_refused_and_changes_nothing(at: int, flip: int) -> None:
    """Any byte that differs is found; the machine goes on as it was."""
    rules = Rules([Rule("r", FOLLOWS, cooldown=60 * MINUTE)], ["X:A"], "1m")
    rules.step(0, {"z": np.array([3.0])}, np.array([True]))
    blob = rules.state()
    bad = bytearray(blob)
    bad[at % len(bad)] ^= flip
    for wrong in (bytes(bad), blob[:-1], b""):
        with pytest.raises(UsageError, match="damaged"):
            rules.restore(wrong)
    assert rules.state() == blob
