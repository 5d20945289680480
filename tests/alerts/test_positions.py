"""Positions by hand: every trigger, filter and exit on bars a reader can work out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gapless.alerts.alert import Alert
from gapless.alerts.position import Position, PositionEvent, fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
from gapless.alerts.results import summary
from gapless.errors import UnknownName, UsageError
from gapless.spans import MINUTE, Timeframe

ONE = Timeframe.parse("1m")
A, B = "X:A", "X:B"
Bar = tuple[float, ...]  # open, high, low, close


def profile(**sections: Any) -> Profile:
    """A stop 10 % away, and what a test is about."""
    return Profile.model_validate({"stop": {"percent": 10.0}, **sections})


def signal(ts: int = 0, instrument: str = A, direction: Any = "up", rule: str = "spike") -> tuple[Alert, str]:
    return Alert(rule, instrument, "1m", ts, direction=direction), "p"


def run(
    made: Profile,
    bars: Sequence[Bar | None],
    direction: str = "up",
    signals: Mapping[int, Sequence[tuple[Alert, str]]] | None = None,
    **features: Sequence[float] | Mapping[str, Sequence[float]],
) -> tuple[list[PositionEvent], Position]:
    """One instrument, a signal on bar 0; the events, and the position of that signal."""
    machine = Positions({"p": made}, [A], "1m")
    more: dict[str, Sequence[float]] = dict(features.pop("more", {}))  # type: ignore[arg-type]
    events: list[PositionEvent] = []
    for n, bar in enumerate(bars):
        prices = dict(zip(("open", "high", "low", "close"), bar or (math.nan,) * 4, strict=True))
        values = {name: column[n] for name, column in {**features, **more}.items()}  # type: ignore[index]
        unknown = dict.fromkeys(machine.inputs, math.nan)
        columns = {name: np.array([value], dtype=float) for name, value in {**unknown, **prices, **values}.items()}
        given = (signals or {}).get(n, [signal(direction=direction)] if n == 0 else [])
        events += machine.step(n * MINUTE, columns, np.array([bar is not None]), given)
    first = events[0].position
    return events, fold(e for e in events if e.position == first)


def told(events: Sequence[PositionEvent]) -> list[tuple[str, int, float, str]]:
    """What happened, at which bar, at what price, and why; without the marks."""
    return [(e.kind, e.ts // MINUTE, e.price, e.reason) for e in events if e.kind != "marked"]


FLAT: Bar = (100.0, 100.0, 100.0, 100.0)


def flat(price: float) -> Bar:
    return (price,) * 4


# ---------------------------------------------------------------- the way through


def test_a_signal_waits_opens_and_closes_at_its_target() -> None:
    """Pending on bar 0, pulled back and entered at the close of bar 1, half closed at the target, half stopped."""
    made = profile(
        entry={"pullback": 1.0}, stop={"percent": 2.0}, targets=[{"percent": 3.0, "fraction": 0.5}],
        costs={"fee": 5.0, "slippage": 5.0},
    )  # fmt: skip
    bars = [(99.0, 100.5, 98.0, 100.0), (100.0, 101.0, 99.0, 100.0), (100.0, 102.0, 99.0, 101.0),
            (101.0, 104.0, 100.0, 102.0), (102.0, 102.5, 97.0, 99.0)]  # fmt: skip
    events, position = run(made, bars)
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
    events, position = run(made, [FLAT, (100.0, 101.0, 97.0, 98.0), (98.0, 99.0, 94.0, 96.0)], "down")
    assert told(events)[1:] == [("opened", 0, 100.0, ""), ("closed", 2, 95.0, "target_1")]
    assert (position.mfe, position.mae, position.pnl_gross) == pytest.approx((5.0, -1.0, 5.0))


# ---------------------------------------------------------------- triggers


def entered_at(made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any) -> int | None:
    """The bar at whose close it was entered, None when it was not."""
    _, position = run(made, bars, direction, **features)
    return None if position.opened_at is None else position.opened_at // MINUTE


def test_without_a_trigger_a_signal_is_entered_at_its_own_close() -> None:
    """Entry price and time are those of the signal's bar, and that bar no longer moves the position."""
    events, position = run(profile(stop={"percent": 1.0}), [(100.0, 120.0, 80.0, 110.0)])
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
    events, position = run(made, [FLAT] * 4, z_er_15m=[4.0, 4.0, 4.0, 1.5])
    assert told(events)[1:] == [("expired", 3, 100.0, "max_wait")]
    assert (position.state, position.opened_at, position.pnl_net) == (
        "expired",
        None,
        pytest.approx(math.nan, nan_ok=True),
    )


# ---------------------------------------------------------------- invalidation


def ended(made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any) -> tuple[int, str]:
    """When and why a signal was over before it was entered."""
    events, position = run(made, bars, direction, **features)
    assert position.state == "invalidated"
    return events[-1].ts // MINUTE, position.reason


NEVER = {"z_band": [100.0, 101.0], "max_wait": 50}


@pytest.mark.parametrize(("direction", "sign"), [("up", 1.0), ("down", -1.0)])
def test_a_flip_of_z_and_a_faint_z_end_a_signal(direction: str, sign: float) -> None:
    """A changed sign, or less than the floor; neither unknown nor exactly at the bound, and not on the signal's bar."""
    z = [sign * -1, math.nan, 0.0, sign * -0.1]
    assert ended(profile(entry=NEVER, invalidation={"flip": True}), [FLAT] * 4, direction, z_er_15m=z) == (3, "flip")
    z = [sign * 1, math.nan, sign * 1.8, sign * 1.7]
    made = profile(entry=NEVER, invalidation={"z_floor": 1.8})
    assert ended(made, [FLAT] * 4, direction, z_er_15m=z) == (3, "z_floor")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_dominance_lost_for_some_bars_ends_a_signal(direction: str) -> None:
    """Bars up to the signal's own do not count: on bar 1 only one bar has passed."""
    made = profile(entry=NEVER, invalidation={"dominance": {"below": 0.52, "bars": 2}})
    share = "taker_buy_share_15m"
    best = [0.5, 0.5, 0.52, 0.51]
    column = best if direction == "up" else [1 - x for x in best]
    more = {share: column, f"max({share}, 2)": column, f"min({share}, 2)": column}
    z = [0.0] * 4
    assert ended(made, [FLAT] * 4, direction, z_er_15m=z, more=more) == (3, "dominance")


@pytest.mark.parametrize(("direction", "closes"), [("up", [98.0, 97.9]), ("down", [102.0, 102.1])])
def test_a_close_beyond_the_far_end_of_the_signals_bar_ends_it(direction: str, closes: list[float]) -> None:
    """The low of a signal upwards, the high of one downwards; touching it is not beyond."""
    made = profile(entry=NEVER, invalidation={"structure": True})
    bars = [(100.0, 102.0, 98.0, 100.0), *(flat(c) for c in closes)]
    assert ended(made, bars, direction, z_er_15m=[0.0] * 3) == (2, "structure")


def test_invalidation_comes_before_expiry_and_both_before_entry() -> None:
    """On the bar after its time a flipped signal is invalid; on a bar that would trigger too."""
    made = profile(entry={"z_band": [0.5, 9.0], "min_wait": 1, "max_wait": 1}, invalidation={"flip": True})
    events, _ = run(made, [FLAT, None, FLAT], z_er_15m=[4.0, 4.0, -1.0])
    assert told(events)[-1] == ("invalidated", 2, 100.0, "flip")
    made = profile(entry={"pullback": 1.0}, invalidation={"structure": True})
    events, _ = run(made, [FLAT, flat(99.0)])
    assert told(events)[-1] == ("invalidated", 1, 99.0, "structure")


def test_a_signal_without_a_direction_and_one_too_many_of_an_instrument_are_refused() -> None:
    """Each leaves a record of its own that says why."""
    events, position = run(profile(), [FLAT], "")
    assert (told(events)[-1], position.live) == (("invalidated", 0, 100.0, "no_direction"), False)
    twice = {0: [signal()], 1: [signal(MINUTE, rule="other")]}
    events, _ = run(profile(), [FLAT, FLAT], signals=twice)
    assert told(events)[-1] == ("invalidated", 1, 100.0, "busy")
    events, _ = run(profile(several=True), [FLAT, FLAT], signals=twice)
    assert told(events)[-1] == ("opened", 1, 100.0, "")


# ---------------------------------------------------------------- filters


def stopped_by(made: Profile, **features: Any) -> str:
    """The filter in the way of an entry at 100."""
    _, position = run(made, [FLAT], **features)
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
    """They are read where the benchmark stands; where it has no value there is no entry."""
    made = profile(filters={"benchmark": B, "benchmark_require": ["z < 3"]})
    opened = []
    for z in ([9.0, 2.0], [0.0, 3.0], [0.0, math.nan]):
        machine = Positions({"p": made}, [A, B], ONE)
        columns = {n: np.array([100.0, 50.0]) for n in ("open", "high", "low", "close")} | {"z": np.array(z)}
        opened.append(machine.step(0, columns, np.array([True, True]), [signal()])[-1].kind == "opened")
    assert opened == [True, False, False]


def test_a_blocked_signal_stays_pending_and_says_what_stood_in_its_way() -> None:
    """It is entered on a later bar that passes, or expires with the filter's name."""
    made = profile(entry={"max_wait": 2}, filters={"require": ["trades >= 50"]})
    events, position = run(made, [FLAT] * 3, trades=[1, 1, 50])
    assert (told(events)[-1], position.blocked) == (("opened", 2, 100.0, ""), "")
    _, position = run(made, [FLAT] * 4, trades=[1, 1, 1, 1])
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


# ---------------------------------------------------------------- stops and targets


def closed(
    made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any
) -> list[tuple[int, float, str]]:
    """The fills of a position entered at 100 on bar 0."""
    _, position = run(made, [FLAT, *bars], direction, **features)
    return [(f.ts // MINUTE, f.price, f.reason) for f in position.fills]


def test_a_bar_that_touches_stop_and_target_is_stopped() -> None:
    """The way inside a bar is not known: the worse one is taken."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 2.0}])
    assert closed(made, [(100.0, 102.0, 98.0, 101.0)]) == [(1, 98.0, "stop")]
    assert closed(made, [(100.0, 102.0, 98.0, 101.0)], "down") == [(1, 102.0, "stop")]


def test_a_gap_through_the_stop_is_filled_at_the_open() -> None:
    """Not at the stop, which nobody traded at; what came after the open is not its excursion."""
    made = profile(stop={"percent": 2.0})
    _, position = run(made, [FLAT, (95.0, 99.0, 90.0, 98.0)])
    assert (position.exit, position.reason, position.mae, position.mfe) == (95.0, "stop", -5.0, 0.0)


def test_a_gap_through_targets_is_filled_at_the_open_before_the_stop_of_the_same_bar() -> None:
    """The open came first: the first two targets are filled there, and the rest is stopped at 98."""
    tiers = [{"percent": 1.0, "fraction": 0.25}, {"percent": 2.0, "fraction": 0.25}, {"percent": 4.0, "fraction": 0.5}]
    made = profile(stop={"percent": 2.0}, targets=tiers)
    assert closed(made, [(103.0, 105.0, 97.0, 98.0)]) == [
        (1, 103.0, "target_1"),
        (1, 103.0, "target_2"),
        (1, 98.0, "stop"),
    ]


def test_targets_are_filled_at_their_prices_nearest_first_and_the_last_one_closes() -> None:
    """In one bar or in several; written in any order."""
    tiers = [{"percent": 3.0, "fraction": 0.4}, {"percent": 1.0, "fraction": 0.3}, {"percent": 2.0, "fraction": 0.3}]
    made = profile(targets=tiers)
    fills = [(1, 101.0, "target_1"), (1, 102.0, "target_2"), (2, 103.0, "target_3")]
    assert closed(made, [(100.0, 102.5, 99.0, 102.0), (102.0, 103.0, 101.0, 103.0)]) == fills
    _, position = run(made, [FLAT, (100.0, 104.0, 99.0, 102.0)])
    assert (position.state, position.reason, position.rest) == ("closed", "target_3", 0.0)
    assert (position.best, position.worst) == (103.0, 99.0)  # what came after the last target is not known to be seen
    assert position.pnl_gross == pytest.approx(0.3 * 1 + 0.3 * 2 + 0.4 * 3)


def test_a_stop_is_clamped_and_capped() -> None:
    """1.5 ATR, never nearer than 0.5 %, never farther than 3 %, and a loss of 2 % ends it in any case."""
    stop = {"atr": 1.5, "at_least": 0.5, "at_most": 3.0}
    for atr, level in ((0.1, 99.5), (1.0, 98.5), (5.0, 97.0)):
        _, position = run(profile(stop=stop), [FLAT], more={"atr(10)": [atr]})
        assert (position.stop, position.risk, position.stopped_by) == (level, 100 - level, "stop")
    _, position = run(profile(stop={**stop, "max_loss": 2.0}), [FLAT], more={"atr(10)": [5.0]})
    assert (position.stop, position.risk, position.stopped_by) == (98.0, 2.0, "max_loss")


def test_the_stop_moves_to_break_even_for_the_bar_after() -> None:
    """After a partial, or once far enough ahead; the bar that moved it is not stopped by it."""
    after = profile(
        stop={"percent": 5.0, "break_even_after_partial": True}, targets=[{"percent": 2.0, "fraction": 0.5}]
    )
    bars = [(100.0, 102.0, 99.0, 101.0), (101.0, 101.0, 99.5, 100.5)]
    assert closed(after, bars) == [(1, 102.0, "target_1"), (2, 100.0, "break_even")]
    ahead = profile(stop={"percent": 5.0, "break_even_at": 2.0})
    assert closed(ahead, [(100.0, 101.9, 99.0, 101.0), bars[1]]) == []
    assert closed(ahead, bars) == [(2, 100.0, "break_even")]


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_a_trailing_stop_follows_the_best_price_and_never_turns_back(direction: str, sign: int) -> None:
    """From 1 % ahead on, 0.5 ATR behind; half that from 3 % on; an unknown ATR leaves it where it is."""
    made = profile(stop={"percent": 5.0, "trail": {"activate": 1.0, "atr": 0.5, "tighten_at": 3.0, "tighten": 0.5}})

    def bar(low: float, high: float) -> Bar:
        a, b = 100 + sign * low, 100 + sign * high
        return (100 + sign * high, max(a, b), min(a, b), 100 + sign * high)

    atr = {"atr(10)": [2.0, 2.0, 2.0, 4.0, math.nan, 2.0, 2.0]}
    bars = [FLAT, bar(0.0, 0.5), bar(0.5, 2.0), bar(1.5, 2.5), bar(1.5, 2.8), bar(1.9, 3.0), bar(2.0, 2.4)]
    events, position = run(made, bars, direction, more=atr)
    moved = [(e.ts // MINUTE, sign * (e.price - 100), e.reason) for e in events if e.kind == "moved"]
    assert moved == [(2, 1.0, "trailing"), (5, 2.5, "trailing")]
    assert (position.fills[0].price, position.reason) == (bars[-1][0], "trailing")  # the next bar opened beyond it


def test_levels_hold_without_an_atr_once_it_is_open() -> None:
    """They are numbers of the entry bar."""
    made = profile(stop={"atr": 1.0}, targets=[{"atr": 2.0}])
    assert closed(made, [(100.0, 100.0, 99.0, 99.5)], more={"atr(10)": [1.0, math.nan]}) == [(1, 99.0, "stop")]


# ---------------------------------------------------------------- exits at the close


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_z_that_came_back_closes_by_profit(direction: str, sign: int) -> None:
    """All from 1 % on; 60 % once from 0 % on; nothing at a loss; and all in any case where no profit is asked for."""
    exits = {"z": {"below": 0.8, "full_at": 1.0, "partial_at": 0.0, "partial": 0.6}}

    def at(*gains: float) -> list[Bar]:
        return [flat(100 + sign * g) for g in gains]

    z = [sign * x for x in (3.0, 0.7, 0.7, 0.7)]
    made = profile(exits=exits)
    assert closed(made, at(-0.5, 0.5, 0.5), direction, z_er_15m=z) == [(2, 100 + sign * 0.5, "z")]
    _, position = run(made, [FLAT, *at(0.5, 0.5, 1.0)], direction, z_er_15m=z)
    assert [(f.fraction, f.reason) for f in position.fills] == [(0.6, "z"), (pytest.approx(0.4), "z")]
    assert closed(made, at(1.0), direction, z_er_15m=[sign * 3.0, sign * 0.8]) == []
    assert closed(made, at(1.0), direction, z_er_15m=[sign * 3.0, math.nan]) == []
    always = profile(exits={"z": {"below": 0.8}})
    assert closed(always, at(-0.5), direction, z_er_15m=[sign * 3.0, sign * -2.0]) == [(1, 100 - sign * 0.5, "z")]


@pytest.mark.parametrize(("direction", "before", "now"), [("up", 0.75, 0.5), ("down", 0.25, 0.5)])
def test_flow_that_turned_closes(direction: str, before: float, now: float) -> None:
    """Two different bars are compared: the old system compared a bar with itself and never left."""
    made, share = profile(exits={"flow": {"bars": 3, "change": 0.25}}), "taker_buy_share_15m"
    more = {share: [before, before, now], f"lag({share}, 3)": [before] * 3}
    assert closed(made, [FLAT, FLAT], direction, more=more) == [(2, 100.0, "flow")]
    more = {share: [before, now], f"lag({share}, 3)": [before, math.nan]}
    assert closed(made, [FLAT], direction, more=more) == []


def test_an_opposite_signal_closes_and_is_followed_itself() -> None:
    """The long is closed and the short opened at the same close; without the exit the second signal finds it busy."""
    turn = {0: [signal()], 1: [signal(MINUTE, direction="down")]}
    events, _ = run(profile(exits={"opposite": True}), [FLAT, flat(101.0)], signals=turn)
    assert told(events)[2:] == [("closed", 1, 101.0, "opposite"), ("pending", 1, 101.0, ""), ("opened", 1, 101.0, "")]
    events, _ = run(profile(), [FLAT, flat(101.0)], signals=turn)
    assert told(events)[-1][-1] == "busy"


def test_z_far_on_the_other_side_closes() -> None:
    """Without any signal."""
    made = profile(exits={"opposite_z": 2.5})
    assert closed(made, [FLAT, FLAT], z_er_15m=[3.0, -2.4, -2.5]) == [(2, 100.0, "opposite_z")]
    assert closed(made, [FLAT, FLAT], "down", z_er_15m=[-3.0, 2.4, 2.5]) == [(2, 100.0, "opposite_z")]


def test_the_longest_hold_is_counted_in_market_bars() -> None:
    """Bars that the instrument lacks count, bars of a closed market do not."""
    made = profile(exits={"max_bars": 3})
    assert closed(made, [FLAT, FLAT, FLAT]) == [(3, 100.0, "max_bars")]
    assert closed(made, [FLAT, None, None, FLAT]) == [(4, 100.0, "max_bars")]
    columns = {n: np.array([100.0]) for n in ("open", "high", "low", "close")}
    machine = Positions(
        {"p": made},
        [A],
        ONE,
        elapsed=lambda _, start, end: len(
            [t for t in range(start, end, MINUTE) if t < 2 * MINUTE or t >= 600 * MINUTE]
        ),
    )
    machine.step(0, columns, np.array([True]), [signal()])
    kinds = [machine.step(t * MINUTE, columns, np.array([True]))[-1].kind for t in (1, 600, 601)]
    assert kinds == ["marked", "marked", "closed"]


def test_a_position_that_is_not_far_enough_ahead_in_time_is_closed() -> None:
    """After two bars at least half the ATR of its entry; exactly that is enough."""
    made = profile(exits={"stale": {"bars": 2, "atr": 0.5}})
    atr = {"atr(10)": [2.0, math.nan, math.nan]}
    assert closed(made, [FLAT, flat(101.0)], more=atr) == []
    assert closed(made, [FLAT, flat(100.9)], more=atr) == [(2, 100.9, "stale")]


def test_exits_of_one_close_are_taken_in_their_order() -> None:
    """All hold at once: the first one that is there gives the reason; a partial z exit does not hide the others."""
    share = "taker_buy_share_15m"
    more = {share: [0.9, 0.1], f"lag({share}, 3)": [0.9, 0.9]}
    every: dict[str, Any] = {
        "z": {"below": 0.5}, "flow": {"change": 0.1}, "opposite": True, "opposite_z": 1.0, "max_bars": 1,
        "stale": {"bars": 1, "percent": 1.0},
    }  # fmt: skip
    turn = {0: [signal()], 1: [signal(MINUTE, direction="down")]}
    reasons = []
    for name in list(every):
        _, position = run(
            profile(exits=every, several=True), [FLAT, FLAT], signals=turn, z_er_15m=[3.0, -1.0], more=more
        )
        reasons.append(position.reason)
        del every[name]
    assert reasons == ["z", "flow", "opposite", "opposite_z", "max_bars", "stale"]
    part = {"z": {"below": 0.5, "full_at": 5.0, "partial_at": 0.0}, "max_bars": 1}
    assert closed(profile(exits=part), [FLAT], z_er_15m=[3.0, 0.0]) == [(1, 100.0, "max_bars")]


# ---------------------------------------------------------------- what is said of it


def test_an_open_position_stands_at_its_last_close() -> None:
    """Half was sold at 102, the other half is counted at 99, after costs of both sides."""
    made = profile(targets=[{"percent": 2.0, "fraction": 0.5}], costs={"fee": 10.0})
    _, position = run(made, [FLAT, (100.0, 102.0, 100.0, 101.0), flat(99.0)])
    assert (position.state, position.rest, position.last) == ("partial", 0.5, 99.0)
    assert position.pnl_gross == pytest.approx(0.5 * 2 - 0.5 * 1)
    assert position.pnl_net == pytest.approx(position.pnl_gross - 0.1 * (1 + 0.51 + 0.495))


def test_a_position_says_all_of_itself_as_json() -> None:
    """Numbers, ISO times, and null where there is nothing yet."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 4.0, "fraction": 0.5}])
    _, position = run(made, [FLAT, (100.0, 104.0, 99.0, 103.0)])
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
    _, pending = run(profile(entry=NEVER), [FLAT], z_er_15m=[0.0])
    shown = json.loads(json.dumps(pending.to_dict(), allow_nan=False))
    assert {shown[n] for n in ("entry", "stop", "pnl_net", "mfe", "mae_price", "opened_at", "exit")} == {None}


def test_the_summary_counts_what_was_won_lost_and_kept_out() -> None:
    """Two winners, one loser, one open, one expired behind a filter, by hand."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 3.0}])
    won = run(made, [FLAT, flat(103.0)])[1]
    lost = run(made, [FLAT, flat(98.0)])[1]
    held = run(made, [FLAT, flat(101.0)])[1]
    kept_out = run(profile(entry={"max_wait": 0}, filters={"require": ["trades > 9"]}), [FLAT, FLAT], trades=[1, 1])[1]
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
    events, _ = run(profile(), [FLAT])
    machine = Positions({"q": profile()}, [A], ONE)
    with pytest.raises(UnknownName, match="unknown profile 'p'"):
        machine.restore(events)
    assert machine.live == []


def test_events_that_do_not_follow_one_another_are_refused() -> None:
    """Without the first one, in the wrong order, or none at all."""
    events, _ = run(profile(), [FLAT, FLAT])
    for wrong in (events[1:], [events[0], events[2], events[1]], []):
        with pytest.raises(UsageError, match=r"does not follow|no events"):
            fold(wrong)


def test_a_bar_with_a_missing_price_is_no_bar() -> None:
    """A stop is not missed for ever: the next bar with prices finds it."""
    made = profile(stop={"percent": 2.0})
    assert closed(made, [(100.0, 100.0, math.nan, 100.0), flat(97.0)]) == [(2, 97.0, "stop")]


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
        ({"stop": {"percent": 1.0, "trail": {"percent": 1.0, "activate": 1.0, "tighten_at": 2.0}}}, "go together"),
        ({"z": "abs("}, "cannot be read"),
        ({"stops": {}}, "Extra inputs"),
    ],
)  # fmt: skip
def test_a_profile_that_makes_no_sense_is_an_error(sections: dict[str, Any], said: str) -> None:
    """Each names what is wrong; an unknown key is an error too."""
    with pytest.raises(ValueError, match=said):
        profile(**sections)
