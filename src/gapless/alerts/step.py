"""What one step of one position works with: the bar, and the story so far."""

from __future__ import annotations

from collections.abc import Mapping

from gapless.alerts.conditions import Columns, Condition
from gapless.alerts.position import Kind, Position, PositionEvent, follow

Data = Mapping[str, float | str]
_NOTHING: Data = {}


class Row:
    """One instrument's values of one bar, by expression.

    >>> import numpy as np
    >>> Row({"close": np.array([1.0, 2.0])}, 1)("close")
    2.0
    """

    def __init__(self, columns: Columns, lane: int) -> None:
        self._columns = columns
        self._lane = lane

    def __call__(self, name: str) -> float:
        return float(self._columns[name][self._lane])

    def holds(self, condition: Condition) -> bool:
        """Is it known to be true?"""
        lane = slice(self._lane, self._lane + 1)
        return bool(condition.evaluate({name: self._columns[name][lane] for name in condition.inputs})[0])


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
