"""Entries by hand: every trigger, everything that ends a signal, every filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gapless.alerts.position import fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
from gapless.spans import MINUTE
from paper import FLAT, ONE, A, B, Bar, flat, follow, profile, signal, told

# ---------------------------------------------------------------- triggers


def entered_at(made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any) -> int | None:
    """The bar at whose close it was entered, None when it was not."""
    _, position = follow(made, bars, direction, **features)
    return None if position.opened_at is None else position.opened_at // MINUTE


def test_without_a_trigger_a_signal_is_entered_at_its_own_close() -> None:
    """Entry price and time are those of the signal's bar, and that bar no longer moves the position."""
    events, position = follow(profile(stop={"percent": 1.0}), [(100.0, 120.0, 80.0, 110.0)])
    assert told(events) == [("pending", 0, 110.0, ""), ("opened", 0, 110.0, "")]
    assert (position.best, position.worst, position.bars) == (110.0, 110.0, 0)


@pytest.mark.parametrize(
    ("direction", "peak", "short_of", "enough"), [("up", 104.0, 103.1, 103.0), ("down", 96.0, 96.9, 97.0)]
)
def test_a_pull_back_is_counted_from_the_best_price_since_the_signal(
    direction: str, peak: float, short_of: float, enough: float
) -> None:
    """1 % of the price at the signal, from the farthest high (low) to a close."""
    bars = [FLAT, (100.0, max(100.0, peak), min(100.0, peak), peak), flat(short_of), flat(enough)]
    assert entered_at(profile(entry={"pullback": 1.0}), bars, direction) == 3


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_z_has_to_cool_down_into_the_band_with_the_signals_sign(direction: str, sign: int) -> None:
    """Above the band, of the other sign or unknown is not cooled; both ends belong to the band."""
    z = [sign * 3.1, math.nan, sign * -2.5, sign * 1.9, sign * 2.0]
    assert entered_at(profile(entry={"z_band": [2.0, 3.0]}), [FLAT] * 5, direction, z_er_15m=z) == 4
    assert (
        entered_at(profile(entry={"z_band": [2.0, 3.0]}), [FLAT] * 2, direction, z_er_15m=[sign * 3.5, sign * 3.0]) == 1
    )


@pytest.mark.parametrize(("direction", "weak", "strong"), [("up", 0.54, 0.55), ("down", 0.46, 0.45)])
def test_flow_has_to_rest_and_to_dominate(direction: str, weak: float, strong: float) -> None:
    """Its range over the bars is small enough, and the signal's side still holds its share."""
    made = profile(entry={"flow": {"bars": 3, "move": 0.1, "dominance": 0.55}})
    share = "taker_buy_share_15m"
    more = {f"max({share}, 3) - min({share}, 3)": [math.nan, 0.11, 0.1, 0.1], share: [strong, strong, weak, strong]}
    assert entered_at(made, [FLAT] * 4, direction, more=more) == 3


@pytest.mark.parametrize(("direction", "closes"), [("up", [100.0, 102.0, 102.1]), ("down", [100.0, 98.0, 97.9])])
def test_a_range_expansion_is_a_close_beyond_the_bar_before(direction: str, closes: list[float]) -> None:
    """Equal to the last high (low) is not beyond it."""
    made = profile(entry={"expansion": ["range"]})
    before = {"lag(high, 1)": [math.nan, 102.0, 102.0], "lag(low, 1)": [math.nan, 98.0, 98.0]}
    assert entered_at(made, [flat(c) for c in closes], direction, more=before) == 2


@pytest.mark.parametrize(
    ("direction", "closes"), [("up", [100.0, 99.0, 99.0, 99.5]), ("down", [100.0, 101.0, 101.0, 100.5])]
)
def test_a_return_expansion_is_a_close_nearer_to_the_signal(direction: str, closes: list[float]) -> None:
    """Close to close, in the signal's direction; an unchanged close is not."""
    before = {"lag(close, 1)": [math.nan, *closes[:-1]]}
    assert entered_at(profile(entry={"expansion": ["return"]}), [flat(c) for c in closes], direction, more=before) == 3


@pytest.mark.parametrize(
    ("direction", "shares"), [("up", [0.5, 0.6, 0.6, 0.7, 0.8]), ("down", [0.5, 0.4, 0.4, 0.3, 0.2])]
)
def test_a_flow_expansion_is_a_share_that_grows_bar_after_bar(direction: str, shares: list[float]) -> None:
    """Each of the bars adds to the one before it; with a bar missing from the past nothing is known."""
    name = "taker_buy_share_15m"
    more = {name: shares, f"lag({name}, 1)": [math.nan, *shares[:-1]], f"lag({name}, 2)": [math.nan] * 2 + shares[:-2]}
    assert entered_at(profile(entry={"expansion": ["flow"]}), [FLAT] * 5, direction, more=more) == 4


def test_all_triggers_have_to_hold_at_once_or_any_of_them() -> None:
    """Pulled back on bar 1, cooled on bar 2, both on bar 3."""
    bars, z = [FLAT, flat(99.0), FLAT, flat(99.0)], [4.0, 4.0, 2.0, 2.0]
    both = {"pullback": 1.0, "z_band": [1.0, 3.0]}
    assert entered_at(profile(entry=both), bars, z_er_15m=z) == 3
    assert entered_at(profile(entry={**both, "need": "any"}), bars, z_er_15m=z) == 1


def test_a_signal_is_not_entered_before_its_least_wait() -> None:
    """However soon it triggers."""
    assert entered_at(profile(entry={"min_wait": 2}), [FLAT] * 4) == 2


def test_a_signal_may_be_entered_on_its_last_bar_and_expires_on_the_next() -> None:
    """max_wait bars after the signal are its time."""
    made, z = profile(entry={"z_band": [1.0, 2.0], "max_wait": 2}), [4.0, 4.0, 1.5, 1.5]
    assert entered_at(made, [FLAT] * 4, z_er_15m=z) == 2
    events, position = follow(made, [FLAT] * 4, z_er_15m=[4.0, 4.0, 4.0, 1.5])
    assert told(events)[1:] == [("expired", 3, 100.0, "max_wait")]
    assert (position.state, position.opened_at, position.pnl_net) == (
        "expired",
        None,
        pytest.approx(math.nan, nan_ok=True),
    )


# ---------------------------------------------------------------- invalidation


def ended(made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any) -> tuple[int, str]:
    """When and why a signal was over before it was entered."""
    events, position = follow(made, bars, direction, **features)
    assert position.state == "invalidated"
    return events[-1].ts // MINUTE, position.reason


NEVER = {"z_band": [100.0, 101.0], "max_wait": 50}


@pytest.mark.parametrize(("direction", "sign"), [("up", 1.0), ("down", -1.0)])
def test_a_flip_of_z_and_a_faint_z_end_a_signal(direction: str, sign: float) -> None:
    """A changed sign, or less than the floor; neither unknown nor exactly at the bound, and not on the signal's bar."""
    z = [sign * -1, math.nan, 0.0, sign * -0.1]
    assert ended(profile(entry=NEVER, invalidation={"flip": True}), [FLAT] * 4, direction, z_er_15m=z) == (
        3,
        "flip",
    )
    z = [sign * 1, math.nan, sign * 1.8, sign * 1.7]
    made = profile(entry=NEVER, invalidation={"z_floor": 1.8})
    assert ended(made, [FLAT] * 4, direction, z_er_15m=z) == (3, "z_floor")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_dominance_lost_for_some_bars_ends_a_signal(direction: str) -> None:
    """Bars up to the signal's own do not count: on bar 1 only one bar has passed."""
    made = profile(entry=NEVER, invalidation={"dominance": {"below": 0.5, "bars": 2}})
    share = "taker_buy_share_15m"
    best = [0.25, 0.25, 0.5, 0.375]
    column = best if direction == "up" else [1 - x for x in best]
    more = {share: column, f"max({share}, 2)": column, f"min({share}, 2)": column}
    z = [0.0] * 4
    assert ended(made, [FLAT] * 4, direction, z_er_15m=z, more=more) == (3, "dominance")
    column[2] = column[3]
    assert ended(made, [FLAT] * 4, direction, z_er_15m=z, more=more) == (2, "dominance")


@pytest.mark.parametrize(("direction", "closes"), [("up", [98.0, 97.9]), ("down", [102.0, 102.1])])
def test_a_close_beyond_the_far_end_of_the_signals_bar_ends_it(direction: str, closes: list[float]) -> None:
    """The low of a signal upwards, the high of one downwards; touching it is not beyond."""
    made = profile(entry=NEVER, invalidation={"structure": True})
    bars = [(100.0, 102.0, 98.0, 100.0), *(flat(c) for c in closes)]
    assert ended(made, bars, direction, z_er_15m=[0.0] * 3) == (2, "structure")


def test_invalidation_comes_before_expiry_and_both_before_entry() -> None:
    """On the bar after its time a flipped signal is invalid; on a bar that would trigger too."""
    made = profile(entry={"z_band": [0.5, 9.0], "min_wait": 1, "max_wait": 1}, invalidation={"flip": True})
    events, _ = follow(made, [FLAT, None, FLAT], z_er_15m=[4.0, 4.0, -1.0])
    assert told(events)[-1] == ("invalidated", 2, 100.0, "flip")
    made = profile(entry={"pullback": 1.0}, invalidation={"structure": True})
    events, _ = follow(made, [FLAT, flat(99.0)])
    assert told(events)[-1] == ("invalidated", 1, 99.0, "structure")


def test_a_signal_without_a_direction_and_one_too_many_of_an_instrument_are_refused() -> None:
    """Each leaves a record of its own that says why."""
    events, position = follow(profile(), [FLAT], "")
    assert (told(events)[-1], position.live) == (("invalidated", 0, 100.0, "no_direction"), False)
    twice = {0: [signal()], 1: [signal(MINUTE, rule="other")]}
    events, _ = follow(profile(), [FLAT, FLAT], signals=twice)
    assert told(events)[-1] == ("invalidated", 1, 100.0, "busy")
    events, _ = follow(profile(several=True), [FLAT, FLAT], signals=twice)
    assert told(events)[-1] == ("opened", 1, 100.0, "")


# ---------------------------------------------------------------- filters


def stopped_by(made: Profile, **features: Any) -> str:
    """The filter in the way of an entry at 100."""
    _, position = follow(made, [FLAT], **features)
    assert position.opened == (position.blocked == "")
    return position.blocked


def test_reward_over_risk_is_that_of_the_average_target() -> None:
    """Targets of 1 and 3 %, a quarter and three quarters: 2.5 % over a stop that is clamped to 1.25 % is 2."""
    made = {
        "stop": {"percent": 1.0, "at_least": 1.25},
        "targets": [{"percent": 1.0, "fraction": 0.25}, {"percent": 3.0, "fraction": 0.75}],
    }
    assert stopped_by(profile(**made, filters={"min_reward_risk": 2.0})) == ""
    assert stopped_by(profile(**made, filters={"min_reward_risk": 2.01})) == "min_reward_risk"


def test_a_profile_that_could_never_open_anything_is_an_error() -> None:
    """Stop and targets fix the ratio: the old system blocked every trade for two days in silence."""
    with pytest.raises(ValueError, match=r"always 0\.333, under 0\.8: nothing would ever be opened"):
        profile(stop={"atr": 1.5}, targets=[{"atr": 0.5}], filters={"min_reward_risk": 0.8})


def test_a_clamp_may_make_up_for_a_far_stop() -> None:
    """A target of half the stop is twice what the clamp leaves of it: that profile is no error."""
    made = profile(stop={"percent": 1.0, "at_most": 0.25}, targets=[{"percent": 0.5}], filters={"min_reward_risk": 2.0})
    machine, columns = (
        Positions({"p": made}, [A], ONE),
        {n: np.array([100.0]) for n in ("open", "high", "low", "close")},
    )
    assert machine.step(0, columns, np.array([True]), [signal()])[-1].kind == "opened"


def test_the_least_atr_is_in_percent_of_the_price() -> None:
    """0.3 of 100 passes 0.3 %."""
    made = profile(stop={"atr": 1.5}, filters={"min_atr": 0.3})
    assert [stopped_by(made, more={"atr(10)": [x]}) for x in (0.3, 0.29)] == ["", "min_atr"]


def test_without_an_atr_nothing_that_needs_one_is_opened() -> None:
    """NaN and 0 are no distance; a later bar that knows it may still enter."""
    made = profile(stop={"atr": 1.5})
    assert [stopped_by(made, more={"atr(10)": [x]}) for x in (math.nan, 0.0)] == ["no_atr", "no_atr"]
    assert entered_at(made, [FLAT] * 2, more={"atr(10)": [math.nan, 1.0]}) == 1


def test_the_least_profit_is_what_the_costs_leave_of_the_average_target() -> None:
    """A target of 0.5 %, 10 basis points on each side: 0.3 % is left."""
    made = {"targets": [{"percent": 0.5}], "costs": {"fee": 4.0, "slippage": 6.0}}
    assert stopped_by(profile(**made, filters={"min_profit": 0.29})) == ""
    assert stopped_by(profile(**made, filters={"min_profit": 0.31})) == "min_profit"


def test_conditions_of_the_instrument_have_to_hold() -> None:
    """Trades, notional or beta in a bar; the first that fails is named, an unknown one fails."""
    made = profile(filters={"require": ["trades >= 50", "0.1 <= abs(beta_1h) <= 3"]})
    found = [
        stopped_by(made, more={"trades": [t], "abs(beta_1h)": [b]})
        for t, b in ((50, 1), (49, 1), (50, 4), (math.nan, 1))
    ]
    assert found == ["", "trades >= 50", "0.1 <= abs(beta_1h) <= 3", "trades >= 50"]


def test_conditions_of_the_benchmark_have_to_hold() -> None:
    """They are read where the benchmark stands; where it has no value, or no bar, there is no entry."""
    made = profile(filters={"benchmark": B, "benchmark_require": ["z < 3"]})
    opened = []
    for z, there in (([9.0, 2.0], True), ([0.0, 3.0], True), ([0.0, math.nan], True), ([0.0, 2.0], False)):
        machine = Positions({"p": made}, [A, B], ONE)
        columns = {n: np.array([100.0, 50.0]) for n in ("open", "high", "low", "close")} | {"z": np.array(z)}
        opened.append(machine.step(0, columns, np.array([True, there]), [signal()])[-1].kind == "opened")
    assert opened == [True, False, False, False]


def test_a_blocked_signal_stays_pending_and_says_what_stood_in_its_way() -> None:
    """It is entered on a later bar that passes, or expires with the filter's name."""
    made = profile(entry={"max_wait": 2}, filters={"require": ["trades >= 50"]})
    events, position = follow(made, [FLAT] * 3, trades=[1, 1, 50])
    assert (told(events)[-1], position.blocked) == (("opened", 2, 100.0, ""), "")
    _, position = follow(made, [FLAT] * 4, trades=[1, 1, 1, 1])
    assert (position.state, position.reason, position.blocked) == ("expired", "max_wait", "trades >= 50")


def test_no_more_positions_are_opened_than_the_profile_allows() -> None:
    """Two signals of one bar: the second waits until the first is closed, and enters at that very bar's close."""
    machine = Positions({"p": profile(max_open=1, exits={"max_bars": 1})}, [A, B], ONE)
    columns, here = {n: np.array([100.0, 50.0]) for n in ("open", "high", "low", "close")}, np.array([True, True])
    events = machine.step(0, columns, here, [signal(instrument=B), signal(instrument=A)])
    assert [(e.instrument, e.kind) for e in events] == [(A, "pending"), (A, "opened"), (B, "pending"), (B, "marked")]
    assert fold(e for e in events if e.instrument == B).blocked == "max_open"
    later = machine.step(MINUTE, columns, here)
    assert [(e.instrument, e.kind) for e in later] == [(A, "closed"), (B, "opened")]
