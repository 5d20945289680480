"""Bars that came after their bar time was given out; they gather for a moment, to be decided again all at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gapless.engine.track import Track
from gapless.protocols import Heard
from gapless.spans import Timeframe

GATHER = 0.25  # seconds


class Late:
    """What waits, by timeframe; of a bar said again the last word stands."""

    def __init__(self) -> None:
        self._waiting: dict[Timeframe, dict[tuple[str, int], Heard]] = {}
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def due(self) -> bool:
        """Has the oldest of them waited long enough?"""
        return bool(self._waiting) and time.monotonic() - self._since >= GATHER

    def note(self, track: Track, bars: Sequence[Heard]) -> None:
        """Keep those that are not as they were decided; and any word on one that waits, which it may take back."""
        differing = {(bar.instrument, bar.ts) for bar in track.differing(bars)}
        waiting = self._waiting.get(track.timeframe, {})
        for bar in bars:
            key = bar.instrument, bar.ts
            if key in differing or key in waiting:
                waiting[key] = bar
        if waiting:
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting[track.timeframe] = waiting

    def take(self) -> dict[Timeframe, list[Heard]]:
        """All of it; nothing waits any more."""
        taken = {timeframe: list(bars.values()) for timeframe, bars in self._waiting.items()}
        self._waiting = {}
        return taken
