"""When a channel may be used: the rate it allows, and the wait after it failed."""

from __future__ import annotations

from collections import deque

from gapless.alerts.throttle import Throttle
from gapless.notify.outbox import LONGEST


class Pace:
    """Of one channel. All times in µs; a clock that is set back ends every wait rather than stretching it.

    >>> pace = Pace(Throttle(2, window=100), backoff=10)
    >>> pace.use(0), pace.room(50), pace.use(50), pace.room(99), pace.room(100)
    (None, 1, None, 0, 1)
    """

    def __init__(self, rate: Throttle, backoff: int) -> None:
        self._rate, self._backoff = rate, backoff
        self._used: deque[int] = deque(maxlen=rate.count)
        self._until = 0
        self.failures = 0  # one after the other, of the channel itself

    def room(self, now: int) -> int:
        """How many messages may go out now."""
        if now < self._until <= now + LONGEST:
            return 0
        return self._rate.count - sum(now - self._rate.window < at <= now for at in self._used)

    def use(self, now: int) -> None:
        """One message goes out."""
        self._used.append(now)

    def wait(self, attempts: int) -> int:
        """How long to wait after so many failed tries: each twice as long as the one before."""
        return min(self._backoff << min(attempts - 1, 40), LONGEST)

    def succeeded(self) -> None:
        """The channel works."""
        self.failures, self._until = 0, 0

    def failed(self, now: int) -> None:
        """The channel does not work: nothing goes out before the wait is over."""
        self.failures += 1
        self._until = now + self.wait(self.failures)
