"""When the next request may go: weight per window, pauses that hold for everybody, and the circuit breaker.

Pure arithmetic over times in seconds; nothing here waits, asks a clock or opens a socket.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

# Requests sent a window apart may arrive closer together than that, so the last of the allowance is left unused.
HEADROOM = 0.95


@dataclass(slots=True)
class Window:
    """How much weight went out within the last ``seconds``, against ``allowance`` (0: no limit).

    Whatever way the venue lays its own window, it never holds more than the last window of this length does.

    >>> window = Window(allowance=10, seconds=60.0)
    >>> [window.wait(4, at) for at in (0.0, 1.0, 2.0)]  # 9.5 may be spent: the third must wait for the first to age
    [0.0, 0.0, 58.0]
    """

    allowance: int
    seconds: float
    spent: int = 0
    _sent: deque[tuple[float, int]] = field(default_factory=deque)

    def wait(self, weight: int, now: float) -> float:
        """0.0 and the weight is booked; or how long to wait before asking again."""
        self._forget(now)
        room = max(weight, self.allowance * HEADROOM)  # one request heavier than the window goes alone
        if not self.allowance or self.spent + weight <= room:
            self._book(weight, now)
            return 0.0
        over, freed = self.spent + weight - room, 0
        for sent, was in self._sent:
            freed += was
            if freed >= over:
                return sent + self.seconds - now
        return self.seconds

    def heed(self, used: int, now: float) -> None:
        """The venue counted ``used``: what it saw beyond our own requests was spent by somebody at this address."""
        self._forget(now)
        if self.allowance and used > self.spent:
            self._book(used - self.spent, now)

    @property
    def sent(self) -> tuple[tuple[float, int], ...]:
        """What went out when, within the window."""
        return tuple(self._sent)

    def _book(self, weight: int, now: float) -> None:
        if self.allowance:
            self._sent.append((now, weight))
            self.spent += weight

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0][0] <= now - self.seconds:
            self.spent -= self._sent.popleft()[1]


@dataclass(slots=True)
class Breaker:
    """Opens after ``threshold`` faults in a row, lets one probe through per cool-down, closes when one succeeds.

    ``since``: the first fault of the row.

    >>> breaker = Breaker(threshold=2, cooldown=5.0)
    >>> breaker.failed(0.0), breaker.failed(0.0), breaker.state, breaker.wait(1.0), breaker.wait(5.0), breaker.wait(5.0)
    (0.0, 5.0, 'open', 4.0, 0.0, 5.0)
    """

    threshold: int = 10
    cooldown: float = 5.0
    longest: float = 60.0
    faults: int = 0
    since: float = 0.0
    state: Literal["closed", "open", "half-open"] = "closed"
    _until: float = 0.0
    _cooling: float = 0.0

    def wait(self, now: float) -> float:
        """0.0: go (while half-open, only the caller that is told so goes); else how long to wait."""
        if self.state == "closed":
            return 0.0
        if now < self._until:
            return self._until - now
        # The probe goes now. Should it never report, the next caller becomes the probe a cool-down later.
        self.state, self._until = "half-open", now + self._cooling
        return 0.0

    def succeeded(self) -> None:
        """A usable answer came: the row of faults is over."""
        self.faults, self.state, self._cooling = 0, "closed", 0.0

    def failed(self, now: float) -> float:
        """Count a fault; the cool-down if that opened the circuit, else 0.0."""
        self.since = self.since if self.faults else now
        self.faults += 1
        if self.state == "open" or (self.state == "closed" and self.faults < self.threshold):
            return 0.0
        self._cooling = min(self.longest, self._cooling * 2 or self.cooldown)
        self.state, self._until = "open", now + self._cooling
        return self._cooling


@dataclass(slots=True)
class Pause:
    """The source asked everybody to wait until a time."""

    until: float = float("-inf")
    reason: str = ""

    def wait(self, now: float) -> float:
        return max(0.0, self.until - now)

    def extend(self, seconds: float, now: float, reason: str) -> bool:
        """Wait ``seconds`` from now on; False when everybody is waiting that long already."""
        if now + seconds <= self.until:
            return False
        self.until, self.reason = now + seconds, reason
        return True
