"""The venue's clock, estimated from what it says when asked. Call it for now; ``wait_until`` sleeps by it.

Between answers time is measured by the monotonic clock, so that a jump of this machine's wall clock changes nothing; it
is noticed, told, and answered by asking again. An estimate is the stamp of an answer as of its arrival: it runs behind
the venue by the time that answer travelled, never ahead, so that no bar is called final too early.

The rate is 1 unless the stamps prove that it is not: of a request that left at ``sent`` and came back at ``received``
all that is known is that the stamp was made in between, which bounds the rate from both sides. Only when 1 ± 5 % lies
outside those bounds does the venue's clock run at another pace (a simulated venue; its clock may even stand still), and
then the lower bound is taken, which comes close as time goes by. A stamp outside of what the bounds allow means that a
clock was set, or that this machine slept: what was said before is forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from gapless.engine.fetch import PacedHttp, wall_clock
from gapless.errors import Faulty, SourceError
from gapless.events import ClockSkewed, Observer, Retried, nobody
from gapless.protocols import Clock
from gapless.spans import SECOND

_SNAP = 0.05  # the rate is 1 unless it is certainly further away
_JUMP = 2 * SECOND  # by which wall and monotonic clock, or venue and estimate, may part
_STAMP = 1000  # µs: stamps are in milliseconds
_NOISE = 50_000  # µs by which a stamp may surprise
_DRIFT = 1e-4  # µs a µs: two quartzes
_SLICE = 0.25  # seconds of sleep before looking again: the estimate may change meanwhile


@dataclass(frozen=True, slots=True)
class Sample:
    """The venue said ``said`` (µs) some time between ``sent`` and ``received`` (µs of the monotonic clock)."""

    said: int
    sent: int
    received: int

    def rate_since(self, first: Sample) -> tuple[float, float]:
        """The least and the greatest rate at which the venue's clock may have run between two samples."""
        passed = self.said - first.said
        longest, shortest = max(1, self.received - first.sent), max(1, self.sent - first.received)
        return (passed - _STAMP) / longest, (passed + _STAMP) / shortest


class VenueTime:
    """A ``Clock`` of the venue. Give it samples by ``sync`` or ``keep``; before the first one it is the wall clock.

    ``rate``: the venue's seconds in a real one.
    """

    def __init__(
        self,
        source: str = "",
        *,
        observer: Observer = nobody,
        wall: Clock = wall_clock,
        monotonic: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.source, self.observer, self.rate = source, observer, 1.0
        self._bounds = (1.0, 1.0)  # of the rate
        self._wall, self._nanos, self._sleep = wall, monotonic, sleep
        self._samples: deque[Sample] = deque(maxlen=64)
        self._parted = self._wall() - self._now()  # wall minus monotonic: constant unless the wall clock jumps
        self._anchor: tuple[int, int] = (self._now(), self._wall())  # monotonic and venue, at one moment
        self._told = 0

    def __call__(self) -> int:
        """Now at the venue, µs."""
        at, said = self._anchor
        return said + int((self._now() - at) * self.rate)

    @property
    def known(self) -> bool:
        """Has the venue said what time it is?"""
        return bool(self._samples)

    def seconds_until(self, micros: int) -> float:
        """Real seconds until the venue's clock shows ``micros``; infinite when it stands still."""
        left = micros - self()
        if left <= 0:
            return 0.0
        return left / self.rate / SECOND if self.rate > 0 else float("inf")

    async def wait_until(self, micros: int) -> None:
        """Sleep until the venue's clock shows ``micros``, whatever is learned of that clock meanwhile."""
        while (seconds := self.seconds_until(micros)) > 0:
            await self._sleep(min(seconds, _SLICE))

    # ---- learning

    async def sync(self, http: PacedHttp) -> None:
        """Ask the venue once. Raises SourceError."""
        self.notice_jump()
        sent = self._now()
        said = await http.source.server_time(http)
        self.learn(Sample(said, sent, self._now()))

    async def settle(self, http: PacedHttp, apart: float = 0.2, tries: int = 10) -> None:
        """Learn three answers, so that the rate is known before anything relies on it. Raises SourceError."""
        learned = 0
        for attempt in range(1, tries + 1):
            try:
                await self.sync(http)
                learned += 1
            except Faulty:
                if attempt == tries:
                    raise
            if learned == 3:
                return
            await self._sleep(apart)

    async def keep(self, http: PacedHttp, every: float = 60.0) -> None:
        """Ask again and again, until cancelled; more often at first, and at once when the wall clock jumped."""
        pause = min(0.5, every)
        while True:
            try:
                await self.sync(http)
            except SourceError as error:
                self.observer(Retried(self.source, f"the time: {error.message}", pause, 1))
            await self._restless(pause)
            pause = min(every, pause * 2)

    async def _restless(self, seconds: float) -> None:
        """Sleep, but no longer than until a jump of the wall clock."""
        until = self._now() + int(seconds * SECOND)
        while (left := until - self._now()) > 0 and not self.notice_jump():
            await self._sleep(min(1.0, left / SECOND))

    def learn(self, sample: Sample) -> None:
        """Take one answer into account."""
        if len(self._samples) > 1 and self._contradicted(sample):
            self._samples.clear()
        self._samples.append(sample)
        self._measure_rate()
        best = min(self._samples, key=lambda s: self._doubt(s, sample.received))
        self._anchor = (best.received, best.said)
        self._tell_skew()

    def notice_jump(self) -> bool:
        """Has the wall clock been set since the last look? An event says where it stands now."""
        parted = self._wall() - self._now()
        jumped = abs(parted - self._parted) > _JUMP
        if jumped:
            self._parted = parted
            self._tell_skew(always=True)
        return jumped

    def _now(self) -> int:
        return self._nanos() // 1000

    def _doubt(self, sample: Sample, now: int) -> float:
        """By how much the estimate may be wrong if it rests on this sample, µs."""
        drift = _DRIFT if self.rate == 1.0 else self._bounds[1] - self._bounds[0]
        return (sample.received - sample.sent) * self.rate + (now - sample.received) * drift

    def _contradicted(self, sample: Sample) -> bool:
        """Is this stamp one that the last one and the bounds of the rate do not allow?"""
        last, noise = self._samples[-1], _NOISE * max(1.0, self.rate)
        low = last.said + self._bounds[0] * max(0, sample.sent - last.received) - noise
        high = last.said + self._bounds[1] * (sample.received - last.sent) + noise
        return not low <= sample.said <= high

    def _measure_rate(self) -> None:
        """From the first sample and the last; as it was while there is one only."""
        first, last = self._samples[0], self._samples[-1]
        if first is last:
            return
        least, greatest = self._bounds = last.rate_since(first)
        ordinary = least <= 1.0 + _SNAP and greatest >= 1.0 - _SNAP
        self.rate = 1.0 if ordinary else max(0.0, least)

    def _tell_skew(self, *, always: bool = False) -> None:
        """Of clocks that run at different paces the difference is no news, unless ours was set."""
        skew = self() - self._wall()
        if always or (self.rate == 1.0 and abs(skew - self._told) > _JUMP):
            self._told = skew
            self.observer(ClockSkewed(self.source, skew / SECOND))


def earliest(clocks: Iterable[VenueTime]) -> int:
    """Now at the venue furthest behind, of those that said what time it is; by this machine's clock while none has.

    By it bars are awaited: none is given up too early.
    """
    return min(_known(clocks))


def latest(clocks: Iterable[VenueTime]) -> int:
    """Now at the venue furthest ahead. By it bars are stored: none seems to come from the future."""
    return max(_known(clocks))


def _known(clocks: Iterable[VenueTime]) -> list[int]:
    found = list(clocks)
    return [clock() for clock in [c for c in found if c.known] or found]
