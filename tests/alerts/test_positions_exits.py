"""Exits by hand: every stop, target and reason to leave, on bars a reader can work out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
from gapless.spans import MINUTE
from paper import FLAT, ONE, A, Bar, flat, follow, profile, signal, told

# ---------------------------------------------------------------- stops and targets


def closed(
    made: Profile, bars: Sequence[Bar | None], direction: str = "up", **features: Any
) -> list[tuple[int, float, str]]:
    """The fills of a position entered at 100 on bar 0."""
    _, position = follow(made, [FLAT, *bars], direction, **features)
    return [(f.ts // MINUTE, f.price, f.reason) for f in position.fills]


def test_a_bar_that_touches_stop_and_target_is_stopped() -> None:
    """The way inside a bar is not known: the worse one is taken."""
    made = profile(stop={"percent": 2.0}, targets=[{"percent": 2.0}])
    assert closed(made, [(100.0, 102.0, 98.0, 101.0)]) == [(1, 98.0, "stop")]
    assert closed(made, [(100.0, 102.0, 98.0, 101.0)], "down") == [(1, 102.0, "stop")]


def test_a_gap_through_the_stop_is_filled_at_the_open() -> None:
    """Not at the stop, which nobody traded at; what came after the open is not its excursion."""
    made = profile(stop={"percent": 2.0})
    _, position = follow(made, [FLAT, (95.0, 99.0, 90.0, 98.0)])
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
    _, position = follow(made, [FLAT, (100.0, 104.0, 99.0, 102.0)])
    assert (position.state, position.reason, position.rest) == ("closed", "target_3", 0.0)
    assert (position.best, position.worst) == (103.0, 99.0)  # what came after the last target is not known to be seen
    assert position.pnl_gross == pytest.approx(0.3 * 1 + 0.3 * 2 + 0.4 * 3)


def test_a_stop_is_clamped_and_capped() -> None:
    """1.5 ATR, never nearer than 0.5 %, never farther than 3 %, and a loss of 2 % ends it in any case."""
    stop = {"atr": 1.5, "at_least": 0.5, "at_most": 3.0}
    for atr, level in ((0.1, 99.5), (1.0, 98.5), (5.0, 97.0)):
        _, position = follow(profile(stop=stop), [FLAT], more={"atr(10)": [atr]})
        assert (position.stop, position.risk, position.stopped_by) == (level, 100 - level, "stop")
    _, position = follow(profile(stop={**stop, "max_loss": 2.0}), [FLAT], more={"atr(10)": [5.0]})
    assert (position.stop, position.risk, position.stopped_by) == (98.0, 2.0, "max_loss")


def test_the_stop_moves_to_break_even_for_the_bar_after() -> None:
    """After a partial, or once far enough ahead; the bar that moved it is not stopped by it."""
    after = profile(
        stop={"percent": 5.0, "break_even_after_partial": True}, targets=[{"percent": 2.0, "fraction": 0.5}]
    )
    bars = [(100.0, 102.0, 99.0, 101.0), (101.0, 101.0, 99.5, 100.5)]
    assert closed(after, bars) == [(1, 102.0, "target_1"), (2, 100.0, "break_even")]
    ahead = profile(stop={"percent": 5.0, "break_even_at": 2.0})
    events, _ = follow(ahead, [FLAT, bars[0], flat(101.0)])
    assert [e.price for e in events if e.kind == "moved"] == [100.0]  # once
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
    events, position = follow(made, bars, direction, more=atr)
    moved = [(e.ts // MINUTE, sign * (e.price - 100), e.reason) for e in events if e.kind == "moved"]
    assert moved == [(2, 1.0, "trailing"), (5, 2.5, "trailing")]
    assert (position.fills[0].price, position.reason) == (bars[-1][0], "trailing")  # the next bar opened beyond it


def test_a_trailing_stop_begins_exactly_where_it_says() -> None:
    """1 % ahead is far enough."""
    made = profile(stop={"percent": 5.0, "trail": {"activate": 1.0, "percent": 0.5}})
    machine = Positions({"p": made}, [A], ONE)
    prices = [100.0, 100.9, 101.0]
    events = [e for n, close in enumerate(prices) for e in machine.step(
        n * MINUTE, dict.fromkeys(machine.inputs, np.array([close])), np.array([True]), [signal()] if n == 0 else []
    )]  # fmt: skip
    assert [(e.ts // MINUTE, e.price) for e in events if e.kind == "moved"] == [(2, 100.5)]


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
    _, position = follow(made, [FLAT, *at(0.5, 0.5, 1.0)], direction, z_er_15m=z)
    assert [(f.fraction, f.reason) for f in position.fills] == [(0.6, "z"), (pytest.approx(0.4), "z")]
    assert closed(made, at(1.0), direction, z_er_15m=[sign * 3.0, sign * 0.8]) == []
    assert closed(made, at(1.0), direction, z_er_15m=[sign * 3.0, math.nan]) == []
    _, position = follow(made, [FLAT, *at(0.0)], direction, z_er_15m=z)
    assert [f.fraction for f in position.fills] == [0.6]
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
    events, _ = follow(profile(exits={"opposite": True}), [FLAT, flat(101.0)], signals=turn)
    assert told(events)[2:] == [("closed", 1, 101.0, "opposite"), ("pending", 1, 101.0, ""), ("opened", 1, 101.0, "")]
    events, _ = follow(profile(), [FLAT, flat(101.0)], signals=turn)
    assert told(events)[-1][-1] == "busy"


def test_a_signal_of_another_instrument_closes_nothing() -> None:
    """Opposite is what the same instrument says."""
    machine = Positions({"p": profile(exits={"opposite": True})}, ["X:A", "X:B"], ONE)
    columns, here = dict.fromkeys(machine.inputs, np.array([100.0, 100.0])), np.array([True, True])
    machine.step(0, columns, here, [signal()])
    events = machine.step(MINUTE, columns, here, [signal(MINUTE, "X:B", "down")])
    assert [(e.instrument, e.kind) for e in events] == [("X:A", "marked"), ("X:B", "pending"), ("X:B", "opened")]


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
        _, position = follow(
            profile(exits=every, several=True), [FLAT, FLAT], signals=turn, z_er_15m=[3.0, -1.0], more=more
        )
        reasons.append(position.reason)
        del every[name]
    assert reasons == ["z", "flow", "opposite", "opposite_z", "max_bars", "stale"]
    part = {"z": {"below": 0.5, "full_at": 5.0, "partial_at": 0.0}, "max_bars": 1}
    assert closed(profile(exits=part), [FLAT], z_er_15m=[3.0, 0.0]) == [(1, 100.0, "max_bars")]
