"""Venues come when they can: each is waited for, then heard, in a task of its own, so that none holds up another.

1. A venue is asked for the time until it has said it. Each vain try is told, and the second one as degraded health,
   which lasts until it has said by REST what it is asked for (``mend``); the pauses grow. One that refuses before
   anything began (a key, a country) will refuse for ever: an error.
2. Then its clock is kept and its feed is opened. The venue is *here* from then on, and *arrived* once its feed speaks
   of every series, or has had its time to.
3. What the feed says goes to ``take``, until the feed is closed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from gapless.engine.backlog import Said
from gapless.engine.fetch import PacedHttp, opened
from gapless.engine.health import Health
from gapless.engine.mend import Side
from gapless.errors import Refused, SourceError
from gapless.events import Observer, Retried

_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0)  # real seconds before the first, second, … time it is asked again
_TIMEOUT = 10.0  # seconds at most for one answer, so that whoever waits is soon told


@dataclass(frozen=True, slots=True)
class Ears:
    """Where it goes: what feeds say in order (``take`` may make them wait), and what else happens there."""

    take: Callable[[Side, list[Said]], Awaitable[None]]
    heard: Observer  # of feeds
    observer: Observer  # of all other requests


class Arrivals:
    """See the module's text. ``seconds``: how long a feed, and any venue but the first, is waited for at the start."""

    def __init__(self, sides: Sequence[Side], health: Health, ears: Ears, seconds: float) -> None:
        self.sides, self.health, self.ears, self.seconds = sides, health, ears, seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._new: list[Side] = []
        self._arrived: set[int] = set()
        self._leaving = False

    def begin(self) -> None:
        """Go to every venue."""
        self._tasks = [asyncio.create_task(self._attend(side)) for side in self.sides]

    async def gather(self, stop: asyncio.Event) -> None:
        """Wait for all venues; once one has arrived no longer than ``seconds``. Raises Refused, or a defect."""
        deadline = float("inf")
        while not stop.is_set() and len(self._arrived) < len(self.sides) and time.monotonic() < deadline:
            self.check()
            if self._arrived and deadline == float("inf"):
                deadline = time.monotonic() + self.seconds
            await asyncio.sleep(0.05)
        for side in self.sides:
            if id(side) not in self._arrived and not stop.is_set():
                self.health.degraded(f"source {side.source.name}", f"waiting for {side.source.name}", side.clock())

    @property
    def anyone(self) -> bool:
        """Has a venue arrived?"""
        return bool(self._arrived)

    def newcomers(self) -> list[Side]:
        """Who arrived since this was asked last."""
        found, self._new = self._new, []
        return found

    def check(self) -> None:
        """Raise what ended the attention to a venue."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def close(self) -> None:
        """Leave every venue; what its feed has said goes to ``take`` before this returns."""
        self._leaving = True
        for side, task in zip(self.sides, self._tasks, strict=True):
            if side.feed is not None:
                await side.feed.close()
            else:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Break off what has not come to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ one venue

    async def _attend(self, side: Side) -> None:
        await self._reach(side)
        patience = side.healer.options.patience
        async with opened(side.source, patience=patience, observer=self.ears.observer, clock=side.clock) as http:
            keeping = asyncio.create_task(side.clock.keep(http))
            try:
                await self._listen(side, http)
            finally:
                keeping.cancel()

    async def _reach(self, side: Side) -> None:
        """Step 1."""
        patience = side.healer.options.patience
        brief = replace(patience, attempts=1, timeout=min(_TIMEOUT, patience.timeout))
        vain = 0
        async with opened(side.source, patience=brief, observer=self.ears.observer, clock=side.clock) as http:
            while True:
                try:
                    await side.clock.sync(http)
                    await side.clock.settle(http)
                    break
                except SourceError as error:
                    if isinstance(error, Refused) and not self.health.started:
                        raise
                    reason = error.message.removesuffix(" (attempt 1 of 1)")
                vain += 1
                await self._pause(side, reason, vain)

    async def _pause(self, side: Side, reason: str, vain: int) -> None:
        delay = _DELAYS[min(vain, len(_DELAYS)) - 1] * random.uniform(0.5, 1.0)
        name = side.source.name
        self.ears.observer(Retried(name, f"waiting for it: {reason}", delay, vain))
        if vain > 1:
            self.health.degraded(f"source {name}", f"waiting for {name}: {reason}", side.clock())
        await asyncio.sleep(delay)

    async def _listen(self, side: Side, http: PacedHttp) -> None:
        """Steps 2 and 3."""
        feed = side.listen(http, self.ears.heard)
        async with feed:
            side.feed = feed
            await self._connected(side)
            self._arrived.add(id(side))
            self._new.append(side)
            async for batch in feed.batches():
                await self.ears.take(side, batch)

    async def _connected(self, side: Side) -> None:
        deadline = time.monotonic() + self.seconds
        while not self._leaving and time.monotonic() < deadline and not side.live >= set(side.series):
            await asyncio.sleep(0.05)
