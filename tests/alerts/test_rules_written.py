"""Rules in gapless.toml: what they become, and every mistake with its path."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from gapless import config
from gapless.alerts.quiet import Quiet
from gapless.alerts.rule import Rule, check_names
from gapless.alerts.throttle import Throttle
from gapless.errors import ConfigError, UsageError
from gapless.spans import HOUR, MINUTE, parse_time

FULL = """
[groups.sector]
"X:A" = "L1"

[alerts.spike]
when = "z >= 3"
timeframe = "5m"
instruments = ["X:A"]
direction = " er_15m "
for_bars = 2
cooldown = "60m"
opposite_cooldown = "15m"
cooldown_on = "opened"
levels = { CONFIRMED = 1 }
severity = { CONFIRMED = "critical" }
throttle = "5 per 10m"
quiet = ["22:00-07:00 Europe/Berlin", "12:00-13:00"]
notify = ["desk"]
opens = "default"

[alerts.spike.confirm]
oi = "oi >= 2"

[alerts.spike.spread]
group = "sector"
followers = 3
share = 0.4
severity = "info"

[alerts.plain]
when = "z >= 3"
"""


def rules(text: str = FULL) -> dict[str, Rule]:
    return {rule.name: rule for rule in config.parse(tomllib.loads(text)).rules()}


def problems(**settings: Any) -> list[str]:
    """What is said of a rule called x, a line a problem."""
    with pytest.raises(ConfigError) as caught:
        config.parse({"alerts": {"x": {"when": "z >= 3"} | settings}})
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_every_key_becomes_what_it_says() -> None:
    """Texts are read, durations are µs, and a spread without a condition takes the rule's."""
    spike = rules()["spike"]
    assert (spike.timeframe.name, spike.instruments, spike.direction, spike.for_bars) == ("5m", ("X:A",), "er_15m", 2)
    assert (spike.cooldown, spike.opposite_cooldown, spike.cooldown_on) == (HOUR, 15 * MINUTE, "opened")
    assert (spike.level(0), spike.level(1)) == ("UNCONFIRMED", "CONFIRMED")
    assert (spike.severity_of("CONFIRMED"), spike.severity_of("UNCONFIRMED")) == ("critical", "warning")
    assert spike.throttle == Throttle(5, 10 * MINUTE)
    assert [q.zone for q in spike.quiet] == ["Europe/Berlin", "UTC"]
    assert (spike.notify, spike.opens) == (("desk",), "default")
    assert spike.spread is not None
    assert (str(spike.spread.when), spike.spread.window, spike.spread.followers) == ("z >= 3", 2 * HOUR, 3)
    assert spike.inputs == ("z", "er_15m", "oi")


def test_what_is_left_out_is_the_pages_default() -> None:
    """A rule needs a condition only; without anything else it fires once an hour and instrument."""
    plain = rules()["plain"]
    assert (plain.cooldown, plain.opposite_cooldown, plain.severity, plain.spread) == (HOUR, None, "warning", None)
    assert list(rules()) == ["spike", "plain"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"when": "z >"}, "alerts.x.when: it cannot be read"),
        ({"whan": "z > 1"}, "alerts.x.whan: unknown key; did you mean 'when'?"),
        ({"timeframe": "1min"}, "alerts.x.timeframe: unknown timeframe '1min'. Hint: did you mean '1m'?"),
        ({"instruments": ["X:A", "BTC"]}, "alerts.x.instruments.1: 'BTC' names no venue"),
        ({"direction": "2"}, "alerts.x.direction: a number is no feature"),
        ({"for_bars": 0}, "alerts.x.for_bars: "),
        ({"cooldown": "1 hour"}, "alerts.x.cooldown: '1 hour' is not a duration"),
        ({"cooldown_on": "closed"}, "alerts.x.cooldown_on: "),
        ({"confirm": {"oi": "oi"}}, "alerts.x.confirm.oi: 'oi' is no condition, at column 1"),
        ({"levels": {"A": 0}}, "alerts.x.levels.A: "),
        ({"severity": "critcal"}, "alerts.x.severity: unknown severity 'critcal'. Hint: did you mean 'critical'?"),
        ({"severity": {"A": "loud"}}, "alerts.x.severity: unknown severity 'loud'"),
        ({"throttle": "5 in 10m"}, "alerts.x.throttle: '5 in 10m' is not a throttle"),
        ({"quiet": ["22-7"]}, "alerts.x.quiet.0: '22-7' is not a stretch of hours"),
        ({"spread": {"group": "s", "grup": "s"}}, "alerts.x.spread.grup: unknown key; did you mean 'group'?"),
        ({"spread": {"group": "s", "share": 1.5}}, "alerts.x.spread.share: "),
        ({"spread": {"group": "s", "when": "z"}}, "alerts.x.spread.when: 'z' is no condition"),
        ({"spread": {"group": "s", "window": "30s"}}, "alerts.x: spread.window must be at least one bar"),
        ({"opposite_cooldown": "5m"}, "alerts.x: opposite_cooldown does nothing without a direction"),
        (
            {"opposite_cooldown": "5m", "direction": "up"},
            "alerts.x: opposite_cooldown does nothing without a direction",
        ),
        ({"cooldown_on": "opened"}, 'alerts.x: cooldown_on = "opened" does nothing without opens'),
        ({"opens": "default"}, "alerts.x: opens needs a direction"),
        ({"levels": {"A": 1}}, "alerts.x: levels does nothing without confirm"),
        ({"severity": {"A": "info"}}, "alerts.x: severity by level does nothing without confirm"),
        ({"confirm": {"a": "a > 1"}}, "alerts.x: confirm needs levels"),
        ({"confirm": {"a": "a > 1"}, "levels": {"A": 2}}, "alerts.x: levels.A must lie between 1 and the 1"),
        ({"confirm": {"a": "a > 1"}, "levels": {"A": 1, "B": 1}}, "alerts.x: two levels need the same number"),
        ({"confirm": {"a": "a > 1"}, "levels": {"UNCONFIRMED": 1}}, "alerts.x: levels.UNCONFIRMED is the name"),
        (
            {"confirm": {"a": "a > 1"}, "levels": {"FULL": 1}, "severity": {"FUL": "info"}},
            "alerts.x: unknown severity: level 'FUL'; did you mean 'FULL'?",
        ),
        ({"instruments": ["X:A", "X:A"]}, "alerts.x: an instrument stands twice"),
    ],
)
def test_a_mistake_is_told_with_its_path(settings: dict[str, Any], said: str) -> None:
    """One mistake, one line."""
    (found,) = problems(**settings)
    assert found.startswith(said)


def test_all_mistakes_are_told_at_once() -> None:
    """Those of one rule, and those of settings that do not go together."""
    assert len(problems(when="z", cooldown="x", quiet=["1"], throttle="2", spread={"share": 2.0})) == 6
    (together,) = problems(opposite_cooldown="1m", opens="p", levels={"A": 1})
    assert together.count(";") == 2


def test_a_rules_name_is_a_word() -> None:
    """It stands in commands and file names."""
    with pytest.raises(ConfigError, match="rule '9 lives': its name must be letters"):
        config.parse({"alerts": {"9 lives": {"when": "z > 1"}}})


def test_names_that_are_not_there_are_found_together() -> None:
    """Channels, profiles and groupings, with the nearest that is."""
    with pytest.raises(ConfigError) as caught:
        check_names(rules().values(), groups=["sectors"], channels=["desks"], profiles=["calm"])
    assert [line.strip() for line in caught.value.message.splitlines()[1:]] == [
        "alerts.spike.notify: unknown channel 'desk'; did you mean 'desks'?",
        "alerts.spike.opens: unknown position profile 'default'",
        "alerts.spike.spread.group: unknown grouping 'sector'; did you mean 'sectors'?",
    ]
    check_names(rules().values(), groups=["sector"], channels=["desk"], profiles=["default"])


@pytest.mark.parametrize(
    ("hours", "moment", "inside"),
    [
        ("22:00-07:00", "2025-01-01T22:00", True),
        ("22:00-07:00", "2025-01-01T06:59:59", True),
        ("22:00-07:00", "2025-01-01T07:00", False),
        ("09:00-17:00", "2025-01-01T08:59", False),
        ("09:00-17:00", "2025-01-01T09:00", True),
        ("09:00-17:00", "2025-01-01T17:00", False),
        ("22:00-00:00", "2025-01-01T23:59", True),
        ("22:00-00:00", "2025-01-01T00:00", False),
        # Clocks in Berlin go from 02:00 to 03:00 on 2025-03-30, at 01:00 UTC.
        ("02:30-03:30 Europe/Berlin", "2025-03-30T00:59", False),
        ("02:30-03:30 Europe/Berlin", "2025-03-30T01:00", True),
        ("02:30-03:30 Europe/Berlin", "2025-03-30T01:30", False),
    ],
)
def test_quiet_hours_are_of_the_wall_clock(hours: str, moment: str, inside: bool) -> None:
    """The start is inside, the end is not; over midnight and over a change of clocks."""
    assert Quiet.parse(hours).holds(parse_time(moment)) is inside


@pytest.mark.parametrize(
    "text", ["", "22:00", "25:00-07:00", "22:00-22:00", "22:00-07:00 Mars/Olympus", "22:00-07:00 ../x"]
)
def test_hours_that_are_none(text: str) -> None:
    """Unknown zones, times that do not exist, and stretches without an end."""
    with pytest.raises(UsageError):
        Quiet.parse(text)


@pytest.mark.parametrize("text", ["", "5", "0 per 10m", "5 per 0m", "-5 per 10m", "5 per ten"])
def test_throttles_that_are_none(text: str) -> None:
    """At least one, in a window."""
    with pytest.raises(UsageError):
        Throttle.parse(text)


def test_the_version_is_of_what_a_firing_is() -> None:
    """How it is told and how often does not make another rule; its condition, direction, patience and spread do."""
    base = rules()["spike"].version
    for old, new, same in (
        ('cooldown = "60m"', 'cooldown = "90m"', True),
        ('when = "z >= 3"\ntimeframe', 'when = "z >= 2"\ntimeframe', False),
        ('throttle = "5 per 10m"', "", True),
        ("for_bars = 2", "for_bars = 3", False),
        ('direction = " er_15m "', 'direction = "er_15m"', True),
        ("followers = 3", "followers = 2", False),
        ('oi = "oi >= 2"', 'oi = "oi >= 3"', False),
    ):
        assert re.search(re.escape(old), FULL)
        assert (rules(FULL.replace(old, new, 1))["spike"].version == base) is same, new
