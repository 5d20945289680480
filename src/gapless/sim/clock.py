"""The venue's clock: the real one, or one that starts elsewhere, runs faster, or stands still until moved."""

from __future__ import annotations

import time

from gapless.errors import UsageError
from gapless.spans import SECOND


class VenueClock:
    """Now, in µs since the epoch, as the venue sees it.

    ``start`` None follows the host's clock. ``speed`` counts venue seconds in a real second; 0 stands still.

    >>> clock = VenueClock(1_000_000, speed=0)
    >>> clock.advance(5); clock()
    1000005
    """

    def __init__(self, start: int | None = None, *, speed: float = 1.0) -> None:
        if speed < 0:
            raise UsageError(f"a clock cannot run at speed {speed}.", hint="0 stands still, 1 is real time")
        self.speed = speed
        self._real = time.monotonic_ns()
        # One attribute, so that whoever reads it while another thread moves the clock sees both or neither.
        self._at = (time.time_ns() // 1000 if start is None else start, 0)

    def __call__(self) -> int:
        """Now, by the venue."""
        return self.read()[0]

    def read(self) -> tuple[int, int]:
        """Now, and how often the clock has jumped: whoever follows it tells a jump from being slow by that."""
        start, jumps = self._at
        elapsed = (time.monotonic_ns() - self._real) / 1000
        return start + int(elapsed * self.speed), jumps

    def advance(self, micros: int) -> None:
        """Jump ahead."""
        if micros < 0:
            raise UsageError("the venue's clock cannot go back.", hint="give a positive time")
        start, jumps = self._at
        self._at = (start + micros, jumps + 1)

    def after(self, real_seconds: float) -> int:
        """The venue's time once ``real_seconds`` have passed (of real time, when the clock stands still)."""
        return self() + int(real_seconds * SECOND * (self.speed or 1.0))
