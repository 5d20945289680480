"""A live feed: many streams over several connections, as one sequence of batches in which a hole is never silent.

1. The series are split over connections (``link``), each kept by one ``_Line``: opened, and when it is lost said to be
   lost, and opened again after a pause that grows with each vain attempt.
2. A connection that nears the age at which the venue ends it is replaced: the new one is subscribed first, both are
   heard for a while, then the old one goes. Nobody is told, as nothing was missed.
3. Each bar passes through the feed's ``Hearing`` into the ``Backlog``, where it waits for the consumer.
4. Once a tick the feed looks at itself by the venue's clock: series that fell behind while others moved on are stale;
   a connection all of whose series fell silent is of no use; stamps that lie before our clock or far after it say that
   the clocks differ.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp

from gapless import __version__
from gapless.engine.backlog import Said, Works
from gapless.engine.hearing import Hearing
from gapless.engine.link import Link, Manners, Tally
from gapless.engine.venue_time import VenueTime
from gapless.events import Observer, Retried, nobody
from gapless.protocols import Clock, LiveSource
from gapless.series import Series
from gapless.spans import SECOND, iso

_WINDOW = 10  # ticks over which the least lag is taken as the difference of the clocks


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How a feed behaves, in real seconds; ``grace`` and ``skew`` are real µs, of which a fast venue sees more."""

    manners: Manners = field(default_factory=Manners)
    delays: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0)  # before the first, second, … attempt to open again
    steady: float = 10.0  # a connection that lived so long starts again at the first delay
    rotation: float = 0.95  # of the venue's lifetime of a connection
    overlap: float = 5.0  # how long the old connection is heard beside the new one
    tick: float = 1.0  # between looks at itself
    grace: int = 10 * SECOND  # after a bar's close before its absence is noted
    skew: int = 2 * SECOND  # by which clocks may differ
    backlog: int = 100_000  # final bars that may wait before the sockets must


class Feed:
    """A venue's websocket as one sequence of batches.

    ``async with Feed(…) as feed`` connects; then ``async for batch in feed.batches()``. ``clock`` is the venue's.
    A batch holds final bars, ``Connected`` and ``Disconnected`` in the order in which they came, then the newest word
    on each forming bar. All that is heard waits for the consumer, so that history can be caught up with after
    ``Connected``. A bar that was due and stayed out is told to the observer: ``Skipped``.
    """

    def __init__(
        self,
        source: LiveSource,
        series: Sequence[Series],
        *,
        clock: Clock,
        observer: Observer = nobody,
        options: FeedOptions | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock, self.options = clock, options or FeedOptions()
        asked, size = list(dict.fromkeys(series)), source.streams_per_connection
        self._hearing = Hearing(source.name, asked, clock, observer, self.options.backlog)
        self._lines = [
            _Line(source, asked[at : at + size], self._hearing, self.options, jitter)
            for at in range(0, len(asked), size)
        ]
        self._works = Works(self._hearing.backlog)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Feed:
        self._session = session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": f"gapless/{__version__}"},
        )
        self._works.begin(*(line.keep(session) for line in self._lines), self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def batches(self) -> AsyncIterator[list[Said]]:
        """Everything heard since the last batch, as soon as there is anything; ends after ``close``."""
        return self._hearing.backlog.batches()

    async def close(self) -> None:
        """Leave the venue. What was read from the sockets can still be taken from ``batches``."""
        await self._works.end()
        if self._session is not None:
            await self._session.close()

    @property
    def tally(self) -> Tally:
        """What came so far."""
        return self._hearing.tally

    @property
    def backlog(self) -> int:
        """How much waits for the consumer."""
        return len(self._hearing.backlog)

    @property
    def coalesced(self) -> int:
        """How many words on forming bars were replaced by newer ones before the consumer came for them."""
        return self._hearing.backlog.coalesced

    @property
    def live(self) -> list[Series]:
        """The series that a connection tells of now."""
        return [series for line in self._lines for series in line.live]

    @property
    def stale(self) -> list[Series]:
        """The series that are behind while others moved on."""
        return self._hearing.heads.stale()

    async def _look(self) -> None:
        """Step 4."""
        for looks in itertools.count(1):
            await asyncio.sleep(self.options.tick)
            by = self.clock() - self._there(self.options.grace)
            self._hearing.tell_stale(by)
            for line in self._lines:
                if self._hearing.heads.mute(line.live, by):
                    line.lose(f"no bar of any of its {len(line.live)} series for too long; it is {iso(by)} there")
            if looks % _WINDOW == 0:
                self._hearing.compare_clocks(self._there(self.options.skew))

    def _there(self, real: int) -> int:
        """So much real time as the venue's clock shows it."""
        rate = self.clock.rate if isinstance(self.clock, VenueTime) else 1.0
        return int(real * max(1.0, rate))


class _Line:
    """The connection for some series, for as long as the feed lasts."""

    def __init__(
        self,
        source: LiveSource,
        series: Sequence[Series],
        hearing: Hearing,
        options: FeedOptions,
        jitter: Callable[[], float],
    ) -> None:
        self.source, self.series, self.hearing, self.options, self.jitter = source, series, hearing, options, jitter
        self._links: list[Link] = []  # the one that is used; while it is replaced, the next one too
        self._vain = 0

    @property
    def live(self) -> list[Series]:
        """What is heard now."""
        return self._links[0].live if self._links else []

    def lose(self, reason: str) -> None:
        """Give the connection up."""
        self._links[0].lose(reason)

    async def keep(self, session: aiohttp.ClientSession) -> None:
        """Steps 1 and 2, until cancelled."""
        try:
            while True:
                if not self._links:
                    self._open(session, quiet=False)
                if await self._ended(self._aging()):
                    await self._lost()
                else:
                    await self._replaced(session)
        finally:
            for link in self._links:
                await link.stop()

    def _open(self, session: aiohttp.ClientSession, *, quiet: bool) -> Link:
        link = Link(self.source, self.series, self.hearing, self.options.manners, quiet=quiet)
        link.start(session)
        self._links.append(link)
        return link

    def _aging(self) -> float:
        """Seconds until the connection should be replaced; not all connections in one moment."""
        span = self.source.lifetime * self.options.rotation
        return max(0.0, span * (1.0 - self.jitter() / 20) - self._links[0].age)

    async def _ended(self, within: float) -> bool:
        ended, _ = await asyncio.wait({self._links[0].task}, timeout=within)
        return bool(ended)

    async def _replaced(self, session: aiohttp.ClientSession) -> None:
        """Open the next connection before the present one goes."""
        old, new = self._links[0], self._open(session, quiet=True)
        answered = asyncio.create_task(new.answered.wait())
        await asyncio.wait({answered, old.task, new.task}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        if new.answered.is_set():
            await asyncio.wait({old.task, new.task}, timeout=self.options.overlap, return_when="FIRST_COMPLETED")
        if new.task.done():
            self._links.pop()
            self._vain += 1
            await self._pause(new.end())
        elif old.task.done():
            await self._lost()
            new.quiet = False
            if new.live:
                self.hearing.connected(new.live)
        else:
            new.quiet = False
            self._links.pop(0)
            await old.stop()

    async def _lost(self) -> None:
        """Say so, and wait before the next attempt."""
        link = self._links.pop(0)
        reason = link.end()
        self._say_lost(link, reason)
        self._vain = 1 if link.live and link.age >= self.options.steady else self._vain + 1
        if not self._links:
            await self._pause(reason)

    def _say_lost(self, link: Link, reason: str) -> None:
        self.hearing.tally.losses += 1
        if link.live:
            self.hearing.disconnected(link.live, link.said_at, reason)

    async def _pause(self, reason: str) -> None:
        delays = self.options.delays
        delay = delays[min(self._vain, len(delays)) - 1] * (1.0 - self.jitter() / 2)
        self.hearing.observer(Retried(self.source.name, reason, delay, self._vain))
        await asyncio.sleep(delay)
