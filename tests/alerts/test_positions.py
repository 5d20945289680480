"""Positions by hand: every trigger, filter and exit on bars a reader can work out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from gapless.alerts.alert import Alert
from gapless.alerts.position import Position, PositionEvent, fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
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
    machine = Positions({"p": made}, [A], ONE)
    more: dict[str, Sequence[float]] = dict(features.pop("more", {}))  # type: ignore[arg-type]
    events: list[PositionEvent] = []
    for n, bar in enumerate(bars):
        prices = dict(zip(("open", "high", "low", "close"), bar or (math.nan,) * 4, strict=True))
        values = {name: column[n] for name, column in {**features, **more}.items()}  # type: ignore[index]
        columns = {name: np.array([value], dtype=float) for name, value in {**prices, **values}.items()}
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
