"""Positions by hand: the way through, what is said of one, and the edges of the machine."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gapless.alerts.position import fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import inputs
from gapless.alerts.results import summary
from gapless.errors import UnknownName, UsageError
from gapless.spans import MINUTE
from paper import FLAT, ONE, A, B, flat, follow, profile, signal, told

# ---------------------------------------------------------------- the way through


def test_a_signal_waits_opens_and_closes_at_its_target() -> None:
    """Pending on bar 0, pulled back and entered at the close of bar 1, half closed at the target, half stopped."""
    made = profile(
        entry={"pullback": 1.0}, stop={"percent": 2.0}, targets=[{"percent": 3.0, "fraction": 0.5}],
        costs={"fee": 5.0, "slippage": 5.0},
    )  # fmt: skip
    bars = [(99.0, 100.5, 98.0, 100.0), (100.0, 101.0, 99.0, 100.0), (100.0, 102.0, 99.0, 101.0),
            (101.0, 104.0, 100.0, 102.0), (102.0, 102.5, 97.0, 99.0)]  # fmt: skip
    events, position = follow(made, bars)
    assert told(events) == [
        ("pending", 0, 100.0, ""), ("opened", 1, 100.0, ""), ("partial", 3, 103.0, "target_1"),
        ("closed", 4, 98.0, "stop"),
    ]  # fmt: skip
    assert (position.state, position.bars, position.reason) == ("closed", 3, "stop")
    assert (position.best, position.worst) == (104.0, 98.0)
    assert (position.mfe, position.mae) == pytest.approx((4.0, -2.0))
    assert position.pnl_gross == pytest.approx(0.5 * 3.0 - 0.5 * 2.0)
    assert position.pnl_net == pytest.approx(0.5 - 0.1 * (1 + 0.5 * 1.03 + 0.5 * 0.98))
    assert position.r == pytest.approx(position.pnl_net / 2)


def test_a_short_position_gains_where_prices_fall() -> None:
    """The lows are its favourable excursion, the highs its adverse one."""
    made = profile(targets=[{"percent": 5.0}])
    events, position = follow(made, [FLAT, (100.0, 101.0, 97.0, 98.0), (98.0, 99.0, 94.0, 96.0)], "down")
    assert told(events)[1:] == [("opened", 0, 100.0, ""), ("closed", 2, 95.0, "target_1")]
    assert (position.mfe, position.mae, position.pnl_gross) == pytest.approx((5.0, -1.0, 5.0))


# ---------------------------------------------------------------- what is said of it


def test_an_open_position_stands_at_its_last_close() -> None:
    """Half was sold at 102, the other half is counted at 99, after costs of both sides."""
    made = profile(targets=[{"percent": 2.0, "fraction": 0.5}], costs={"fee": 10.0})
    _, position = follow(made, [FLAT, (100.0, 102.0, 100.0, 101.0), flat(99.0)])
    assert (position.state, position.rest, position.last) == ("partial", 0.5, 99.0)
    assert position.pnl_gross == pytest.approx(0.5 * 2 - 0.5 * 1)
    assert position.pnl_net == pytest.approx(position.pnl_gross - 0.1 * (1 + 0.51 + 0.495))


def test_a_position_says_all_of_itself_as_json() -> None:
    """Numbers, ISO times, and null where there is nothing yet."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 4.0, "fraction": 0.5}])
    _, position = follow(made, [FLAT, (100.0, 104.0, 99.0, 103.0)])
    shown = json.loads(json.dumps(position.to_dict(), allow_nan=False))
    assert shown == {
        "id": f"{signal()[0].id}-p", "rule": "spike", "profile": "p", "instrument": A, "direction": "long",
        "state": "partial", "signalled_at": "1970-01-01T00:00:00Z", "opened_at": "1970-01-01T00:00:00Z",
        "closed_at": None, "reason": "", "blocked": "", "bars": 1, "entry": 100.0, "stop": 98.0, "exit": 104.0,
        "last": 103.0, "targets": [{"price": 104.0, "fraction": 0.5}],
        "partials": [{"ts": "1970-01-01T00:01:00Z", "price": 104.0, "fraction": 0.5, "reason": "target_1"}],
        "mfe": 4.0, "mae": -1.0, "mfe_r": 2.0, "mae_r": -0.5, "mfe_price": 104.0, "mae_price": 99.0,
        "pnl_gross": 3.5, "pnl_net": 3.5, "r": 1.75,
    }  # fmt: skip
    _, pending = follow(profile(entry={"min_wait": 1}), [FLAT])
    shown = json.loads(json.dumps(pending.to_dict(), allow_nan=False))
    assert {shown[n] for n in ("entry", "stop", "pnl_net", "mfe", "mae_price", "opened_at", "exit")} == {None}


def test_the_summary_counts_what_was_won_lost_and_kept_out() -> None:
    """Two winners, one loser, one open, one expired behind a filter, by hand."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 3.0}])
    won = follow(made, [FLAT, flat(103.0)])[1]
    lost = follow(made, [FLAT, flat(98.0)])[1]
    held = follow(made, [FLAT, flat(101.0)])[1]
    kept_out = follow(profile(entry={"max_wait": 0}, filters={"require": ["trades > 9"]}), [FLAT, FLAT], trades=[1, 1])[
        1
    ]
    found = summary([won, replace(won, instrument=B), lost, held, replace(kept_out, profile="strict")])
    assert found["all"] == {
        "positions": 3, "won": 2, "lost": 1, "win_rate": pytest.approx(2 / 3), "average_win": 3.0, "average_loss": -2.0,
        "profit_factor": 3.0, "expectancy": pytest.approx(4 / 3), "expectancy_r": pytest.approx(2 / 3), "total": 4.0,
        "mfe": 2.0, "mae": pytest.approx(-2 / 3), "bars": 1.0,
    }  # fmt: skip
    assert {name: r["positions"] for name, r in found["by_instrument"].items()} == {A: 2, B: 1}
    assert {name: r["total"] for name, r in found["by_reason"].items()} == {"stop": -2.0, "target_1": 6.0}
    assert found["open"] == {"pending": 0, "positions": 1, "pnl_net": pytest.approx(1.0)}
    assert (found["refused"], found["blocked"]) == ({"max_wait": 1}, {"trades > 9": 1})
    assert found["never_opened"] == ["strict"]
    even = summary([follow(profile(exits={"max_bars": 1}), [FLAT, FLAT])[1]])["all"]
    assert (even["positions"], even["won"], even["lost"], even["win_rate"], even["profit_factor"]) == (
        1,
        0,
        0,
        0.0,
        None,
    )
    nothing = summary([])["all"]
    assert (nothing["positions"], nothing["win_rate"], nothing["profit_factor"], nothing["total"]) == (
        0,
        None,
        None,
        0.0,
    )


# ---------------------------------------------------------------- the edges of the machine


def test_a_bar_is_stepped_once() -> None:
    """The same bar again, or an earlier one, does nothing: not even twice the same exit."""
    machine = Positions({"p": profile()}, [A], ONE)
    columns = {n: np.array([100.0]) for n in ("open", "high", "low", "close")}
    first = machine.step(MINUTE, columns, np.array([True]), [signal(MINUTE)])
    assert [e.kind for e in first] == ["pending", "opened"]
    assert machine.step(MINUTE, columns, np.array([True]), [signal(MINUTE, rule="other")]) == []
    assert machine.step(0, columns, np.array([True])) == []


def test_the_same_signal_twice_is_one_position() -> None:
    """A repeated alert of one bar changes nothing, whether it is followed or refused."""
    columns, here = {n: np.array([100.0]) for n in ("open", "high", "low", "close")}, np.array([True])
    machine = Positions({"p": profile(several=True)}, [A], ONE)
    assert [e.kind for e in machine.step(0, columns, here, [signal(), signal()])] == ["pending", "opened"]
    machine = Positions({"p": profile()}, [A], ONE)
    assert len(machine.step(0, columns, here, [signal(direction=""), signal(direction="")])) == 2


def test_a_position_whose_profile_is_gone_cannot_be_taken_up() -> None:
    """How it would be closed is not known; the machine stays as it was."""
    events, _ = follow(profile(), [FLAT])
    machine = Positions({"q": profile()}, [A], ONE)
    with pytest.raises(UnknownName, match="unknown profile 'p'"):
        machine.restore(events)
    assert machine.live == []


def test_events_that_do_not_follow_one_another_are_refused() -> None:
    """Without the first one, in the wrong order, one of them twice, or none at all."""
    events, _ = follow(profile(), [FLAT, FLAT])
    for wrong in (events[1:], [events[0], events[2], events[1]], [*events, events[-1]], []):
        with pytest.raises(UsageError, match=r"does not follow|no events"):
            fold(wrong)


def test_a_bar_with_a_missing_price_is_no_bar() -> None:
    """A stop is not missed for ever: the next bar with prices finds it."""
    made = profile(stop={"percent": 2.0})
    _, position = follow(made, [FLAT, (100.0, 100.0, math.nan, 100.0), flat(97.0)])
    assert (position.closed_at, position.exit, position.reason) == (2 * MINUTE, 97.0, "stop")


def test_what_cannot_be_followed_is_refused_with_what_to_do() -> None:
    """A signal without its bar, an unknown profile, a missing column, a benchmark nobody steps."""
    machine = Positions({"p": profile()}, [A], ONE)
    columns = {n: np.array([100.0]) for n in ("open", "high", "low", "close")}
    with pytest.raises(UsageError, match="has no bar in the step of 1970-01-01T00:01:00Z"):
        machine.step(MINUTE, columns, np.array([True]), [signal(0)])
    with pytest.raises(UnknownName, match="unknown profile 'q'"):
        machine.step(0, columns, np.array([True]), [signal(), (signal(rule="other")[0], "q")])
    with pytest.raises(UsageError, match="not given: open"):
        machine.step(0, {}, np.array([True]))
    with pytest.raises(UsageError, match="present: there must be one value for each of 1 instruments"):
        machine.step(0, columns, np.array([True, True]))
    with pytest.raises(UsageError, match=r"\['close'\]: there must be one value"):
        machine.step(0, columns | {"close": np.array([])}, np.array([True]))
    assert (machine.last, machine.live) == (None, [])  # nothing was stepped
    with pytest.raises(UnknownName, match="benchmark of the profile 'p'"):
        Positions({"p": profile(filters={"benchmark": B, "benchmark_require": ["z < 3"]})}, [A], ONE)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"stop": {}}, "say either atr or percent"),
        ({"stop": {"atr": 1.0, "percent": 1.0}}, "say either atr or percent"),
        ({"stop": {"percent": 1.0, "at_least": 2.0, "at_most": 1.0}}, "at_least lies above at_most"),
        ({"targets": [{"percent": 1.0, "fraction": 0.6}, {"percent": 2.0, "fraction": 0.6}]}, "more than 1"),
        ({"filters": {"min_profit": 1.0}}, "min_profit needs targets"),
        ({"filters": {"benchmark": A}}, "go together"),
        ({"filters": {"require": ["trades >"]}}, "cannot be read"),
        ({"filters": {"benchmark": "A", "benchmark_require": ["z > 1"]}}, "names no venue"),
        ({"entry": {"min_wait": 3, "max_wait": 2}}, "nothing would ever be entered"),
        ({"entry": {"z_band": [3.0, 2.0]}}, "the smaller one first"),
        ({"exits": {"z": {"below": 1.0, "partial_at": 0.5}}}, "nothing is ever partly closed"),
        ({"exits": {"z": {"below": 1.0, "full_at": 0.5, "partial_at": 0.5}}}, "nothing is ever partly closed"),
        ({"stop": {"percent": 1.0, "trail": {"percent": 1.0, "activate": 1.0, "tighten_at": 2.0}}}, "go together"),
        ({"z": "abs("}, "cannot be read"),
        ({"stops": {}}, "Extra inputs"),
    ],
)  # fmt: skip
def test_a_profile_that_makes_no_sense_is_an_error(sections: dict[str, Any], said: str) -> None:
    """Each names what is wrong; an unknown key is an error too."""
    with pytest.raises(ValueError, match=said):
        profile(**sections)


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({}, []),
        ({"entry": {"z_band": [0.0, 1.0]}}, ["z_er_15m"]),
        ({"invalidation": {"flip": True}}, ["z_er_15m"]),
        ({"invalidation": {"z_floor": 1.0}}, ["z_er_15m"]),
        ({"exits": {"z": {"below": 1.0}}, "z": "er_15m"}, ["er_15m"]),
        ({"exits": {"opposite_z": 1.0}}, ["z_er_15m"]),
        ({"entry": {"expansion": ["flow"]}, "flow": "share"}, ["share", "lag(share, 1)", "lag(share, 2)"]),
        ({"entry": {"expansion": ["return"]}}, ["lag(close, 1)"]),
        ({"entry": {"flow": {"move": 0.1}}, "flow": "share"}, ["share", "max(share, 3) - min(share, 3)"]),
        ({"invalidation": {"dominance": {"below": 0.5}}, "flow": "share"}, ["max(share, 2)", "min(share, 2)"]),
        ({"exits": {"flow": {"change": 0.1, "bars": 5}}, "flow": "share"}, ["share", "lag(share, 5)"]),
        ({"stop": {"percent": 1.0, "trail": {"activate": 1.0, "atr": 1.0}}}, ["atr(10)"]),
        ({"stop": {"atr": 1.0}, "atr": "atr(14)"}, ["atr(14)"]),
        ({"filters": {"require": ["rsi(close, 14) < 70 and trades > 1"]}}, ["rsi(close, 14)", "trades"]),
    ],
)  # fmt: skip
def test_a_profile_asks_for_what_it_looks_at_and_no_more(sections: dict[str, Any], wanted: list[str]) -> None:
    """Bars first, each expression once."""
    assert list(inputs(profile(**sections))) == ["open", "high", "low", "close", *wanted]
