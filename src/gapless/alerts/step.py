"""What one step of one position works with: the bar, and the story so far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gapless.alerts.position import Kind, Position, PositionEvent, follow
from gapless.errors import UsageError

Columns = Mapping[str, npt.NDArray[np.float64]]
Data = Mapping[str, float | str]
_NOTHING: Data = {}


class Row:
    """One instrument's values of one bar, by expression.

    >>> Row({"close": np.array([1.0, 2.0])}, 1)("close")
    2.0
    """

    def __init__(self, columns: Columns, lane: int) -> None:
        self._columns = columns
        self._lane = lane

    def __call__(self, name: str) -> float:
        try:
            return float(self._columns[name][self._lane])
        except KeyError:
            raise UsageError(f"the column '{name}' is missing.", hint="give every column that inputs() names") from None


class Story:
    """A position, and the events of it that this step has said; each counts as soon as it is said."""

    def __init__(self, position: Position | None = None) -> None:
        self._position = position
        self.events: list[PositionEvent] = []

    @property
    def position(self) -> Position:
        assert self._position is not None, "the first event makes the position"
        return self._position

    def begin(self, event: PositionEvent) -> None:
        """The first event."""
        self.events.append(event)
        self._position = follow(None, event)

    def say(
        self, ts: int, kind: Kind, price: float, reason: str = "", fraction: float = 0.0, data: Data = _NOTHING
    ) -> None:
        """One event more."""
        before = self.position
        event = PositionEvent(before.id, before.number + 1, before.instrument, ts, kind, price, fraction, reason, data)
        self.events.append(event)
        self._position = follow(before, event)
