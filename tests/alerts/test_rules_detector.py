"""The futures detector's rule, as the page about alerts has it, on bars worked out by hand."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from gapless import config
from gapless.alerts.alert import Alert
from gapless.alerts.rules import Rules
from gapless.features.expr import parse as parse_feature
from gapless.spans import HOUR, MINUTE

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
QUIET_BAR = {"z": 0.5, "v": 0.2, "t": 0.5, "er": 0.001, "oi": 0.1, "f": 0.0001, "n": 0.3}
COLUMNS = {
    "z": "abs(z_er_15m)", "v": "z_vol_15m", "t": "taker_buy_share_15m", "er": "er_15m",
    "oi": "robust_zscore(oi_delta_1h, 720)", "f": "abs(funding_rate)", "n": "robust_zscore(trades, 720)",
}  # fmt: skip
UP = {"z": 3.0, "v": 3.0, "t": 0.65, "er": 0.02}
DOWN = {"z": 4.0, "v": 5.0, "t": 0.30, "er": -0.02}
Bars = dict[int, dict[str, dict[str, float]]]


def detector() -> Rules:
    read = config.parse(tomllib.loads(BLOCKS[0]))
    return Rules(read.rules(), list(read.groups["sector"]), "1m", read.groups)


def play(bars: Bars) -> list[Alert]:
    """Four hours; ``bars`` by minute and symbol say what is not quiet."""
    rules = detector()
    found: list[Alert] = []
    for minute in range(240):
        rows = [QUIET_BAR | bars.get(minute, {}).get(n[12:-4], {}) for n in rules.instruments]
        columns = {text: np.array([row[short] for row in rows]) for short, text in COLUMNS.items()}
        found += rules.step(minute * MINUTE, columns, np.ones(len(rows), dtype=np.bool_))
    return found


def told(alerts: list[Alert]) -> list[tuple[int, str, str, str]]:
    return [(a.ts // MINUTE, a.kind, a.instrument[12:-4], a.direction) for a in alerts]


def test_the_page_runs() -> None:
    """Its toml is a configuration, its prompts answer as they say, and its features exist."""
    assert len(BLOCKS) == 1
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0
    assert sorted(detector().inputs) == sorted(COLUMNS.values())
    for text in detector().inputs:
        assert str(parse_feature(text))


@pytest.mark.parametrize(
    ("bar", "fires"),
    [
        (UP, "up"),
        (DOWN, "down"),
        (UP | {"er": -0.02}, "down"),  # the taker's side need not agree with the direction
        (UP | {"z": 2.999}, ""),
        (UP | {"v": 2.999}, ""),
        (UP | {"t": 0.649}, ""),
        (UP | {"t": 0.35}, "up"),
        (UP | {"t": 0.351}, ""),
        (UP | {"v": -5.0}, ""),  # volume counts upwards only
        (UP | {"z": float("nan")}, ""),
        (UP | {"t": float("nan")}, ""),
        (UP | {"er": float("nan")}, ""),
    ],
)
def test_the_initiator(bar: dict[str, float], fires: str) -> None:
    """|z of excess return| ≥ 3, z of volume ≥ 3, and one side takes 65 % or more; the edges are inside."""
    assert [a.direction for a in play({10: {"SOL": bar}})] == ([fires] if fires else [])


@pytest.mark.parametrize(
    ("confirming", "level", "severity"),
    [
        ({}, "UNCONFIRMED", "info"),
        ({"oi": 2.0}, "PARTIAL", "warning"),
        ({"oi": -9.0, "f": 0.001}, "PARTIAL", "warning"),
        ({"oi": 2.0, "f": 0.001}, "CONFIRMED", "critical"),
        ({"oi": 2.0, "f": 0.001, "n": 2.0}, "CONFIRMED", "critical"),
        ({"oi": float("nan"), "f": float("nan"), "n": float("nan")}, "UNCONFIRMED", "info"),
    ],
)
def test_the_confirmation(confirming: dict[str, float], level: str, severity: str) -> None:
    """Two are CONFIRMED, one PARTIAL, none or nothing known UNCONFIRMED; it fires in every case."""
    (alert,) = play({10: {"SOL": UP | confirming}})
    assert (alert.level, alert.severity) == (level, severity)
    assert not any(value != value for value in alert.evidence.values())


def test_the_cooldowns() -> None:
    """An hour for the same direction, a quarter for the other, for each symbol."""
    bars: Bars = {0: {"SOL": UP}, 14: {"SOL": DOWN}, 15: {"SOL": DOWN, "SUI": UP}, 74: {"SOL": DOWN}, 75: {"SOL": DOWN}}
    assert told(play(bars)) == [
        (0, "fired", "SOL", "up"),
        (15, "fired", "SOL", "down"),
        (15, "fired", "SUI", "up"),
        (75, "fired", "SOL", "down"),
    ]


FOLLOWS = {"z": 2.0, "v": 2.0, "er": 0.01}


def test_the_diffusion() -> None:
    """Two of the four other members, 40 % and more, follow up within 120 minutes."""
    alerts = play({0: {"SOL": UP}, 60: {"APT": FOLLOWS}, 120: {"SUI": FOLLOWS}})
    assert told(alerts) == [(0, "fired", "SOL", "up"), (120, "spread", "SOL", "up")]
    assert [m[12:-4] for m in alerts[1].members] == ["SOL", "APT", "SUI"]
    assert dict(alerts[1].evidence) == {"followers": 2, "others": 4, "share": 0.5}


@pytest.mark.parametrize(
    "second",
    [
        {121: {"SUI": FOLLOWS}},
        {9: {"SUI": FOLLOWS | {"er": -0.01}}},
        {9: {"SUI": FOLLOWS | {"v": 1.9}}},
        {9: {"APT": FOLLOWS}},
    ],
)
def test_what_is_no_diffusion(second: Bars) -> None:
    """Too late, the other way, without volume, or the same member again."""
    assert [a.kind for a in play({0: {"SOL": UP}, 3: {"APT": FOLLOWS}} | second)] == ["fired"]


def test_a_rule_whose_part_never_passes_is_named() -> None:
    """What blocked everything for two days once: the counters say which part it was."""
    rules = detector()
    count = len(rules.instruments)
    hot = {COLUMNS[k]: np.full(count, v) for k, v in (QUIET_BAR | UP | {"v": 0.0}).items()}
    for minute in range(2 * HOUR // MINUTE):
        assert rules.step(minute * MINUTE, hot, np.ones(count, dtype=np.bool_)) == []
    never = {(n.part.place, n.part.text) for n in rules.never_passing(600)}
    assert ("when", "z_vol_15m >= 3") in never
    assert ("when", "abs(z_er_15m) >= 3") not in never
    assert rules.never_passing(601) == []
