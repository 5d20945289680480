"""Paper positions by hand: bars a reader can work out, a signal on the first one, and what was said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapless.alerts.alert import Alert
from gapless.alerts.position import Position, PositionEvent, fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
from gapless.spans import MINUTE, Timeframe

ONE = Timeframe.parse("1m")
A, B = "X:A", "X:B"
Bar = tuple[float, ...]  # open, high, low, close
FLAT: Bar = (100.0, 100.0, 100.0, 100.0)


def flat(price: float) -> Bar:
    return (price,) * 4


def profile(**sections: Any) -> Profile:
    """A stop 10 % away, and what a test is about."""
    return Profile.model_validate({"stop": {"percent": 10.0}, **sections})


def signal(ts: int = 0, instrument: str = A, direction: Any = "up", rule: str = "spike") -> tuple[Alert, str]:
    return Alert(rule, instrument, "1m", ts, direction=direction), "p"


def told(events: Sequence[PositionEvent]) -> list[tuple[str, int, float, str]]:
    """What happened, at which bar, at what price, and why; without the marks."""
    return [(e.kind, e.ts // MINUTE, e.price, e.reason) for e in events if e.kind != "marked"]


def follow(
    made: Profile,
    bars: Sequence[Bar | None],
    direction: str = "up",
    signals: Mapping[int, Sequence[tuple[Alert, str]]] | None = None,
    **features: Sequence[float] | Mapping[str, Sequence[float]],
) -> tuple[list[PositionEvent], Position]:
    """One instrument, a signal on bar 0; the events, and the position of that signal."""
    first = signal(direction=direction)
    machine = Positions({"p": made}, [A], ONE)
    more: dict[str, Sequence[float]] = dict(features.pop("more", {}))  # type: ignore[arg-type]
    events: list[PositionEvent] = []
    for n, bar in enumerate(bars):
        prices = dict(zip(("open", "high", "low", "close"), bar or (math.nan,) * 4, strict=True))
        values = {name: column[n] for name, column in {**features, **more}.items()}  # type: ignore[index]
        unknown = dict.fromkeys(machine.inputs, math.nan)
        columns = {name: np.array([value], dtype=float) for name, value in {**unknown, **prices, **values}.items()}
        given = (signals or {}).get(n, [first] if n == 0 else [])
        events += machine.step(n * MINUTE, columns, np.array([bar is not None]), given)
    return events, fold(e for e in events if e.position == events[0].position)
