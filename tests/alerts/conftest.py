"""Positions bar by bar: one instrument, a signal on the first bar, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from gapless.alerts.alert import Alert
from gapless.alerts.position import Position, PositionEvent, fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile
from gapless.spans import MINUTE

Bar = tuple[float, ...]  # open, high, low, close


def follow(
    made: Profile,
    bars: Sequence[Bar | None],
    direction: str = "up",
    signals: Mapping[int, Sequence[tuple[Alert, str]]] | None = None,
    **features: Sequence[float] | Mapping[str, Sequence[float]],
) -> tuple[list[PositionEvent], Position]:
    """One instrument, a signal on bar 0; the events, and the position of that signal."""
    first = (Alert("spike", "X:A", "1m", 0, direction=direction), "p")  # type: ignore[arg-type]
    machine = Positions({"p": made}, ["X:A"], "1m")
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


@pytest.fixture
def run() -> Callable[..., Any]:
    """``run(profile, bars, direction, signals, **features)``: the events, and the position of the first signal."""
    return follow
