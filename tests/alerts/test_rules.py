"""Rules over a few bars, with the answers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gapless.alerts.alert import Alert
from gapless.alerts.conditions import Condition
from gapless.alerts.quiet import Quiet
from gapless.alerts.rule import Rule, Spread
from gapless.alerts.rules import Rules
from gapless.alerts.throttle import Throttle
from gapless.errors import ConfigError, InputError, UnknownName, UsageError
from gapless.spans import MINUTE, Timeframe, parse_time

NAN = float("nan")
ABSENT = None
Values = Sequence[float | None]


def rule(when: str = "z >= 3", **settings: Any) -> Rule:
    return Rule("r", Condition.parse(when), **settings)


def play(rules: Rules, start: int = 0, **columns: Sequence[Values]) -> list[Alert]:
    """Step minute by minute; a column is a row a minute, a value an instrument, None for one without a bar."""
    alerts: list[Alert] = []
    for minute, rows in enumerate(zip(*columns.values(), strict=True)):
        present = np.array([value is not ABSENT for value in rows[0]])
        given = {n: np.array([NAN if v is None else v for v in row]) for n, row in zip(columns, rows, strict=True)}
        alerts += rules.step((start + minute) * MINUTE, given, present)
    return alerts


def one(what: Rule, start: int = 0, **columns: Values) -> list[Alert]:
    """The alerts of one instrument; a column is a value a minute."""
    return play(Rules([what], ["X:A"], "1m"), start, **{name: [[v] for v in row] for name, row in columns.items()})


def minutes(alerts: Sequence[Alert]) -> list[int]:
    return [alert.ts // MINUTE for alert in alerts]


def test_it_fires_while_it_holds_and_never_on_a_missing_value() -> None:
    """Without a cooldown each bar whose condition is known to hold is one alert."""
    assert minutes(one(rule(), z=[2.9, 3.0, NAN, 4.0])) == [1, 3]


def test_the_evidence_is_the_values_it_looked_at() -> None:
    """Each input's value at that bar; a missing one is left out."""
    found = one(rule("z >= 3 or v >= 3", direction="er"), z=[3.5], v=[NAN], er=[-0.01])
    assert [(a.direction, dict(a.evidence)) for a in found] == [("down", {"z": 3.5, "er": -0.01})]


@pytest.mark.parametrize(("minute", "fires"), [(59, False), (60, True)])
def test_a_cooldown_is_over_after_its_whole_length(minute: int, fires: bool) -> None:
    """60 minutes after a firing the next may come, not one bar before."""
    z = [3.0] + [0.0] * (minute - 1) + [3.0]
    assert minutes(one(rule(cooldown=60 * MINUTE), z=z)) == [0, minute] * fires + [0] * (not fires)


def test_a_condition_that_keeps_holding_fires_when_the_cooldown_is_over() -> None:
    """The firing is what starts a cooldown, not the end of the condition."""
    assert minutes(one(rule(cooldown=3 * MINUTE), z=[3.0] * 8)) == [0, 3, 6]


def test_cooldowns_are_each_instruments_own() -> None:
    """One that fired does not silence another."""
    found = play(Rules([rule(cooldown=60 * MINUTE)], ["X:A", "X:B"], "1m"), z=[[3, 0], [3, 3], [3, 3]])
    assert [(a.ts // MINUTE, a.instrument) for a in found] == [(0, "X:A"), (1, "X:B")]


def test_the_other_direction_has_a_cooldown_of_its_own_since_the_last_firing() -> None:
    """Up at 0; down not at 14 but at 15; up not at 29 but at 30; up again not before 90."""
    what = rule("abs(z) >= 3", direction="z", cooldown=60 * MINUTE, opposite_cooldown=15 * MINUTE)
    z = {0: 3.0, 14: -3.0, 15: -3.0, 29: 3.0, 30: 3.0, 60: 3.0, 89: 3.0, 90: 3.0}
    rows = [z.get(m, 0.0) for m in range(91)]
    found = one(what, **{"abs(z)": [abs(v) for v in rows], "z": rows})
    assert [(a.ts // MINUTE, a.direction) for a in found] == [(0, "up"), (15, "down"), (30, "up"), (90, "up")]


def test_left_out_the_opposite_cooldown_is_the_cooldown() -> None:
    """A change of direction is then no excuse."""
    what = rule("v >= 1", direction="z", cooldown=5 * MINUTE)
    assert minutes(one(what, v=[1.0] * 6, z=[1.0, -1.0, -1.0, -1.0, -1.0, -1.0])) == [0, 5]


def test_without_a_known_direction_a_directed_rule_is_silent() -> None:
    """A direction of 0 or of no value is none; the words up and down need no feature."""
    what = rule("v >= 1", direction="z")
    assert [(a.ts // MINUTE, a.direction) for a in one(what, v=[1, 1, 1, 1], z=[0, NAN, 2, -2])] == [
        (2, "up"),
        (3, "down"),
    ]
    for word in ("up", "down", ""):
        assert [a.direction for a in one(rule("v >= 1", direction=word), v=[1])] == [word]


@pytest.mark.parametrize(
    ("z", "fired"),
    [
        ([3, 3, 3, 3], [2, 3]),
        ([3, 3, 0, 3, 3, 3], [5]),
        ([3, 3, NAN, 3, 3, 3], [5]),
        ([3, 3, ABSENT, 3], [3]),
        ([3, 3, -3, -3, -3], [4]),
    ],
)
def test_for_bars_asks_for_a_run_in_one_direction(z: list[float | None], fired: list[int]) -> None:
    """Three in a row: broken by a bar that fails, is unknown, or points the other way; not by one that is not there."""
    size = [None if v is None else abs(v) for v in z]
    assert minutes(one(rule("abs(z) >= 3", direction="z", for_bars=3), **{"abs(z)": size, "z": z})) == fired


def test_the_number_of_confirmations_is_the_level() -> None:
    """Two of three are CONFIRMED, one PARTIAL, none UNCONFIRMED; one without values is unknown and does not count."""
    what = rule(
        confirm={"oi": Condition.parse("oi >= 2"), "liq": Condition.parse("liq >= 2"), "f": Condition.parse("f >= 1")},
        levels={"CONFIRMED": 2, "PARTIAL": 1},
        severity={"CONFIRMED": "critical", "UNCONFIRMED": "info"},
    )
    found = one(what, z=[3] * 4, oi=[2, 2, 0, NAN], liq=[2, 0, 0, NAN], f=[1, 0, 0, 1])
    assert [(a.level, a.severity) for a in found] == [
        ("CONFIRMED", "critical"), ("PARTIAL", "warning"), ("UNCONFIRMED", "info"), ("PARTIAL", "warning"),
    ]  # fmt: skip
    assert dict(found[1].evidence) == {
        "z": 3,
        "oi": 2,
        "liq": 0,
        "f": 0,
        "confirm.oi": 1,
        "confirm.liq": 0,
        "confirm.f": 0,
    }
    assert dict(found[3].evidence) == {"z": 3, "f": 1, "unknown.oi": 1, "unknown.liq": 1, "confirm.f": 1}


def test_quiet_hours_are_of_the_bars_close_and_let_critical_pass() -> None:
    """The bar that closes at 22:00 in Berlin is inside, the one before is not; what is muted still cools down."""
    start = parse_time("2025-07-01T19:58Z") // MINUTE  # bars closing at 21:59, 22:00, 22:01 of summer time
    quiet = (Quiet.parse("22:00-07:00 Europe/Berlin"),)
    assert [a.muted for a in one(rule(quiet=quiet), start, z=[3] * 3)] == ["", "quiet hours", "quiet hours"]
    assert [a.muted for a in one(rule(quiet=quiet, severity="critical"), start, z=[3] * 3)] == [""] * 3
    assert len(one(rule(quiet=quiet, cooldown=60 * MINUTE), start + 5, z=[3] * 9)) == 1


def test_a_throttle_lets_so_many_pass_in_any_window() -> None:
    """Two in three minutes: by name inside a bar, the rest kept; the window slides; quiet ones do not use it up."""
    rules = Rules([rule(throttle=Throttle(2, 3 * MINUTE))], ["X:C", "X:A", "X:B"], "1m")
    found = play(rules, z=[[3, 3, 3], [3, 0, 0], [0, 0, 0], [3, 0, 0]])
    told = [(a.ts // MINUTE, a.instrument, a.muted) for a in found]
    assert told == [(0, "X:A", ""), (0, "X:B", ""), (0, "X:C", "throttled"), (1, "X:C", "throttled"), (3, "X:C", "")]
    hours = (Quiet.parse("00:00-00:03 UTC"),)
    found = one(rule(throttle=Throttle(1, 10 * MINUTE), quiet=hours), z=[3] * 4)
    assert [a.muted for a in found] == ["quiet hours", "quiet hours", "", "throttled"]


FOLLOW = Spread("sector", 5 * MINUTE, Condition.parse("z >= 2"), followers=2, share=0.5)
SECTOR = {"sector": {f"X:{name}": "L1" for name in "ABCDE"} | {"X:Z": "L2"}}


def spreading(spread: Spread = FOLLOW, **settings: Any) -> Rules:
    return Rules([rule("z >= 3", direction="d", spread=spread, **settings)], [*SECTOR["sector"], "X:F"], "1m", SECTOR)


def spreads(rules: Rules, z: Sequence[dict[str, float]], down: str = "") -> list[tuple[int, str, tuple[str, ...]]]:
    """Minute, first and members of each spread, from the values that are not 0; names in ``down`` go down."""
    rows = [[row.get(name[2:], 0.0) for name in rules.instruments] for row in z]
    signs = [[-1.0 if name[2:] in down else 1.0 for name in rules.instruments]] * len(z)
    found = [a for a in play(rules, z=rows, d=signs) if a.kind == "spread"]
    return [(a.ts // MINUTE, a.instrument[2:], tuple(m[2:] for m in a.members)) for a in found]


def test_enough_followers_within_the_window_are_a_spread() -> None:
    """A fires; C follows, then B: two of four others, which is half. Once told, it is not told again."""
    rules = spreading()
    assert spreads(rules, [{"A": 3}, {"C": 2}, {"C": 2}, {"B": 2}, {"D": 2}]) == [(3, "A", ("A", "C", "B"))]


def test_the_evidence_of_a_spread_is_its_share() -> None:
    """How many followed of how many others; its severity may be its own."""
    found = play(
        Rules([rule("z >= 3", spread=Spread("s", MINUTE, Condition.parse("z >= 2"), 1, 0.5, "critical"))],
              ["X:A", "X:B", "X:C"], "1m", {"s": dict.fromkeys(("X:A", "X:B", "X:C"), "g")}),
        z=[[3, 0, 0], [0, 2, 0]],
    )  # fmt: skip
    assert [(a.kind, a.severity, a.direction, dict(a.evidence)) for a in found] == [
        ("fired", "warning", "", {"z": 3}),
        ("spread", "critical", "", {"followers": 1, "others": 2, "share": 0.5}),
    ]


@pytest.mark.parametrize(
    ("z", "down", "why"),
    [
        ([{"A": 3, "B": 2, "C": 2}], "", "the same bar is not later"),
        ([{"A": 3}, {"B": 2}, {"A": 3}, {"B": 2}], "", "one follower counts once, the first is none of its own"),
        ([{"A": 3}, {"B": 2}, {"C": 2}], "C", "C goes the other way"),
        ([{"A": 3}, {"Z": 2}, {"F": 2}, {"B": 2}], "", "Z is of another group, F of none"),
        ([{"A": 3}, {"B": 2}, {}, {}, {}, {}, {"C": 2}], "", "the window is five minutes"),
        ([{"F": 3}, {"B": 2}, {"C": 2}], "", "one that is in no group begins no story"),
    ],
)
def test_what_is_no_spread(z: list[dict[str, float]], down: str, why: str) -> None:
    """Followers are others of the group, later, in the same direction, within the window, each once."""
    assert spreads(spreading(), z, down) == [], why


def test_the_window_holds_its_last_bar() -> None:
    """Five minutes after the firing still counts."""
    assert spreads(spreading(), [{"A": 3}, {"B": 2}, {}, {}, {}, {"C": 2}]) == [(5, "A", ("A", "B", "C"))]


def test_a_share_is_exact() -> None:
    """7 of 100 others are a share of 0.07, in spite of 0.07 · 100 > 7 in binary."""
    names = [f"X:S{i:03}" for i in range(101)]
    spread = Spread("s", MINUTE, Condition.parse("z >= 2"), 1, 0.07)
    rules = Rules([rule(spread=spread)], names, "1m", {"s": dict.fromkeys(names, "g")})
    found = play(rules, z=[[3.0] + [0.0] * 100, [0.0] + [2.0] * 7 + [0.0] * 93])
    assert [(a.kind, len(a.members)) for a in found] == [("fired", 0), ("spread", 8)]


def test_one_movement_is_told_once() -> None:
    """B both follows A and fires itself; when A's story is told, B's, of the same group and direction, is settled."""
    rows: list[dict[str, float]] = [{"A": 3}, {"B": 3}, {"C": 2}, {"D": 2}, {"E": 2}]
    assert spreads(spreading(), rows) == [(2, "A", ("A", "B", "C"))]
    together: list[dict[str, float]] = [{"A": 3}, {"B": 3}, {"C": 2, "D": 2}, {"C": 2, "E": 2}]
    half = Spread("sector", 5 * MINUTE, Condition.parse("z >= 2"), followers=3)
    assert spreads(spreading(half), together) == [(2, "A", ("A", "B", "C", "D"))]
    assert spreads(spreading(), [{}, {"A": 3, "B": 3}, {"C": 2, "D": 2}]) == [(2, "A", ("A", "C", "D"))]
    assert spreads(spreading(), [{"A": 3}, {"D": 3}, {}, {}, {}, {}, {"B": 2, "C": 2}]) == [(6, "D", ("D", "B", "C"))]


def test_what_fires_with_a_spread_is_part_of_it() -> None:
    """B and D follow A and fire at the same bar: what follows them is the same movement; the way down is another."""
    rows: list[dict[str, float]] = [{"A": 3}, {"B": 3, "D": 3}, {"C": 2, "E": 2}]
    assert spreads(spreading(), rows) == [(1, "A", ("A", "B", "D"))]
    rows = [{"A": 3}, {"B": 3, "D": 3, "E": 3}, {"A": 2, "C": 2}]
    assert spreads(spreading(), rows, down="ACE") == [(2, "A", ("A", "E", "C"))]


def test_a_spread_settles_the_other_direction_of_its_first() -> None:
    """A fires up, then down; its way up is told, so its way down, though followed later, is not."""
    rules = spreading()
    order = [name[2:] for name in rules.instruments]
    z = [[{"A": 3.0}, {"A": 3.0}, {"B": 2.0, "C": 2.0}, {"D": 2.0, "E": 2.0}][m].get for m in range(4)]
    signs = [[-1.0 if (m == 1 and n == "A") or n in "DE" else 1.0 for n in order] for m in range(4)]
    found = play(rules, z=[[get(n, 0.0) for n in order] for get in z], d=signs)
    assert [(a.ts // MINUTE, a.kind, a.direction) for a in found] == [
        (0, "fired", "up"), (1, "fired", "down"), (2, "spread", "up"),
    ]  # fmt: skip


def test_the_members_of_a_group_are_the_rules_instruments() -> None:
    """Of a rule for A, B and C the others are two, and one of them is the half that was asked for."""
    half = Spread("sector", 5 * MINUTE, Condition.parse("z >= 2"), followers=1, share=0.5)
    rows: list[dict[str, float]] = [{"A": 3}, {"D": 2}, {"B": 2}]
    assert spreads(spreading(half, instruments=("X:A", "X:B", "X:C")), rows) == [(2, "A", ("A", "B"))]
    assert spreads(spreading(half), rows) == [(2, "A", ("A", "D", "B"))]


def test_a_restart_with_other_groups_forgets_who_left() -> None:
    """A firing waits on over a restart; a follower that has another group by then does not count, nor does a first."""
    first = spreading()
    assert spreads(first, [{"A": 3}, {"B": 2}]) == []
    for changed, expected in (({}, 1), ({"X:B": "L2"}, 0), ({"X:A": "L2"}, 0)):
        again = Rules(first.rules, first.instruments, "1m", {"sector": SECTOR["sector"] | changed})
        again.restore(first.state())
        hot = {n: np.array([2.0 if n == "z" and i == "X:C" else 1.0 for i in first.instruments]) for n in ("z", "d")}
        assert len(again.step(2 * MINUTE, hot, np.ones(len(first.instruments), dtype=np.bool_))) == expected


def test_a_firing_inside_a_cooldown_begins_no_story() -> None:
    """Only alerts have followers."""
    rows: list[dict[str, float]] = [{"A": 3}, {}, {}, {"A": 3}, {"B": 2}, {}, {"C": 2}]
    assert spreads(spreading(cooldown=60 * MINUTE), rows) == []
    assert spreads(spreading(), rows) == [(6, "A", ("A", "B", "C"))]


def test_release_takes_a_cooldown_back_only_where_it_is_on_opened() -> None:
    """After release the instrument may fire; of a rule on fired nothing changes; a second release does nothing."""
    settings: dict[str, Any] = {"direction": "up", "opens": "default", "cooldown": 60 * MINUTE}
    for mode, expected in (("opened", [3]), ("fired", [])):
        rules = Rules([rule(cooldown_on=mode, **settings)], ["X:A"], "1m")
        assert minutes(play(rules, z=[[3], [3]])) == [0]
        assert [rules.release("r", "X:A", 0) for _ in range(2)] == [mode == "opened", False]
        assert minutes(play(rules, start=3, z=[[3], [3]])) == expected


def test_release_gives_way_to_the_firing_before() -> None:
    """Up at 0 opened; down at 15 expired and is released: up is still cooling until 60, down counts from 0 again."""
    what = rule(
        "v >= 1", direction="z", opens="p", cooldown_on="opened", cooldown=60 * MINUTE, opposite_cooldown=15 * MINUTE
    )
    rules = Rules([what], ["X:A"], "1m")
    v = [[1.0 if m in (0, 15) else 0.0] for m in range(16)]
    z = [[1.0 if m < 15 else -1.0] for m in range(16)]
    assert minutes(play(rules, v=v, z=z)) == [0, 15]
    assert rules.release("r", "X:A", 15 * MINUTE)
    assert minutes(play(rules, 16, v=[[1.0]] * 50, z=[[1.0]] * 50)) == [60]


def test_release_of_the_older_of_two_firings_leaves_the_newer() -> None:
    """Up at 0 expires after down at 1 fired: down goes on cooling; released too, nothing is left of either."""
    what = rule("v >= 1", direction="z", opens="p", cooldown_on="opened", cooldown=9 * MINUTE, opposite_cooldown=MINUTE)
    rules = Rules([what], ["X:A"], "1m")
    assert minutes(play(rules, v=[[1.0], [1.0]], z=[[1.0], [-1.0]])) == [0, 1]
    assert rules.release("r", "X:A", 0)
    assert minutes(play(rules, 2, v=[[1.0]], z=[[-1.0]])) == []
    assert rules.release("r", "X:A", MINUTE)
    assert minutes(play(rules, 3, v=[[1.0]], z=[[1.0]])) == [3]


def test_alerts_come_by_rule_then_by_instrument() -> None:
    """Neither the columns' order nor the instruments' decides."""
    rules = Rules([rule(), Rule("a", Condition.parse("z >= 1"))], ["X:C", "X:A", "X:B"], "1m")
    found = play(rules, z=[[3, 3, 1]])
    assert [(a.rule, a.instrument) for a in found] == [
        ("r", "X:A"), ("r", "X:C"), ("a", "X:A"), ("a", "X:B"), ("a", "X:C"),
    ]  # fmt: skip


def test_a_rule_for_some_instruments_looks_at_no_other() -> None:
    """Others neither fire nor count."""
    rules = Rules([rule(instruments=("X:B", "X:ELSEWHERE"))], ["X:A", "X:B"], "1m")
    assert [a.instrument for a in play(rules, z=[[3, 3], [3, ABSENT]])] == ["X:B"]
    count = rules.counts()["r"]
    assert (count.looked, count.parts[0].known, count.parts[0].passed) == (1, 1, 1)


def test_counts_say_what_became_of_every_bar() -> None:
    """Passed bars are undirected, waiting, cooling or fired; parts know how often they were known and passed."""
    what = rule("z >= 3 and (v >= 1 or w >= 1)", direction="d", for_bars=2, cooldown=2 * MINUTE)
    z, d = [3, 3, 3, 3, NAN, 3, 3, 0], [1, 1, 1, 1, 1, 1, 0, 1]
    rules = Rules([what], ["X:A"], "1m")
    found = play(rules, z=[[x] for x in z], v=[[1]] * 8, w=[[NAN]] * 8, d=[[x] for x in d])
    assert minutes(found) == [1, 3]
    count = rules.counts()["r"]
    assert (count.looked, count.passed, count.undirected, count.waiting, count.cooling, count.fired) == (
        8,
        6,
        1,
        2,
        1,
        2,
    )
    assert [(p.text, p.known, p.passed) for p in count.parts] == [("z >= 3", 7, 6), ("v >= 1", 8, 8), ("w >= 1", 0, 0)]
    assert [str(p) for p in rules.never_passing(8)] == [
        "rule 'r', when: w >= 1: of 8 bars looked at it has never been known: its features had no value"
    ]
    assert rules.never_passing(9) == []


def test_confirmations_and_followers_are_counted_too() -> None:
    """A confirmation that is false at every bar is named with its place."""
    rules = spreading(confirm={"oi": Condition.parse("oi >= 2")}, levels={"YES": 1})
    z = [[3.0] * 7]
    play(rules, z=z, d=z, oi=[[0.0] * 7])
    assert [(p.part.place, p.part.passed, p.part.known) for p in rules.never_passing(1)] == [("confirm.oi", 0, 7)]
    assert {p.place: p.passed for p in rules.counts()["r"].parts} == {"when": 7, "confirm.oi": 0, "spread": 7}


def test_a_step_goes_forward_and_has_what_it_needs() -> None:
    """A time that is not later, a missing column and a wrong length are refused, with nothing stepped."""
    rules = Rules([rule(cooldown=60 * MINUTE)], ["X:A"], "1m")
    here, hot = np.array([True]), {"z": np.array([3.0])}
    for columns, present in (({}, here), ({"z": np.array([3.0, 3.0])}, here), (hot, np.array([True, True]))):
        with pytest.raises(UsageError):
            rules.step(0, columns, present)
    assert len(rules.step(0, hot, here)) == 1
    for ts in (0, -MINUTE):
        with pytest.raises(InputError, match="come after a step of 1970"):
            rules.step(ts, hot, here)
    assert rules.last == 0


def test_a_machine_is_of_one_timeframe_and_knows_its_names() -> None:
    """Other bars, an unknown grouping, and anything twice are refused when it is made."""
    for rules, instruments in (([rule()] * 2, ["X:A"]), ([rule()], ["X:A", "X:A"])):
        with pytest.raises(UsageError, match="stands twice"):
            Rules(rules, instruments, "1m")
    with pytest.raises(UsageError, match="is for 1h bars, these are 1m"):
        Rules([rule(timeframe=Timeframe.parse("1h"))], ["X:A"], "1m")
    with pytest.raises(UnknownName, match="sectr"):
        Rules([rule(spread=Spread("sector", MINUTE, FOLLOW.when))], ["X:A"], "1m", {"sectr": {}})
    with pytest.raises(UnknownName):
        Rules([rule()], ["X:A"], "1m").release("q", "X:A", 0)
    with pytest.raises(UnknownName):
        Rules([rule()], ["X:A"], "1m").release("r", "X:B", 0)


def test_a_rule_that_cannot_be_meant_is_refused() -> None:
    """Every setting out of bounds, or without effect, is named at once."""
    with pytest.raises(ConfigError) as caught:
        Rule("2 fast", Condition.parse("z > 1"), for_bars=0, cooldown=-1, opposite_cooldown=5, levels={"A": 1})
    for said in ("its name", "for_bars", "cooldown must", "opposite_cooldown does nothing", "levels does nothing"):
        assert said in str(caught.value)
