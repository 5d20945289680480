"""What a feed heard and its consumer has not taken yet: nothing final is dropped, what still changes is not kept twice.

Final bars, and news of the connection, wait in the order in which they came. Of a bar that is forming only the newest
word waits, and none once it is final. When ``limit`` ordered things wait, ``room`` makes the reader of the socket wait
too: the venue then keeps what it has to say, or hangs up, and either way no final bar is lost in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine

from gapless.events import Connected, Disconnected
from gapless.protocols import Heard

News = Connected | Disconnected
Said = Heard | News


class Backlog:
    """Filled by a feed, emptied by one consumer. ``coalesced``: how many words on forming bars newer ones replaced."""

    def __init__(self, limit: int = 100_000) -> None:
        self.limit, self.coalesced = limit, 0
        self._ordered: list[Said] = []
        self._forming: dict[tuple[str, str], Heard] = {}
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._ordered) + len(self._forming)

    @property
    def full(self) -> bool:
        """Should whoever fills it wait for ``room``?"""
        return len(self._ordered) >= self.limit

    def put(self, bar: Heard) -> None:
        """One bar, as heard."""
        key = bar.instrument, bar.timeframe
        waiting = self._forming.get(key)
        if bar.final:
            self._ordered.append(bar)
            if waiting is not None and waiting.ts <= bar.ts:
                del self._forming[key]
                self.coalesced += 1
        elif waiting is None or waiting.ts <= bar.ts:
            self._forming[key] = bar
            self.coalesced += waiting is not None
        self._filled.set()

    def tell(self, news: News) -> None:
        """News of the connection, in its place among the final bars."""
        self._ordered.append(news)
        self._filled.set()

    async def room(self) -> None:
        """Wait until the consumer has taken what waits, if that is too much."""
        while self.full and not self._closed:
            self._emptied.clear()
            await self._emptied.wait()

    async def batches(self) -> AsyncIterator[list[Said]]:
        """All that waits, again and again, until closed and empty; then raises what ``fail`` was given."""
        while True:
            await self._filled.wait()
            batch = self._take()
            if batch:
                yield batch
            elif self._error is not None:
                raise self._error
            elif self._closed:
                return

    def _take(self) -> list[Said]:
        batch = [*self._ordered, *self._forming.values()]
        self._ordered.clear()
        self._forming.clear()
        self._emptied.set()
        if not self._closed:
            self._filled.clear()
        return batch

    def close(self) -> None:
        """Nothing more will come; what waits can still be taken."""
        self._closed = True
        self._filled.set()
        self._emptied.set()

    def fail(self, error: BaseException) -> None:
        """The feed broke: the consumer is told after it has taken what waits."""
        self._error = error
        self.close()


class Works:
    """What fills a backlog while a feed is open: tasks. A defect in one of them is told to the consumer."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, *works: Coroutine[None, None, None]) -> None:
        """Go."""
        self._tasks += [asyncio.create_task(self._guarded(work)) for work in works]

    async def end(self) -> None:
        """Break all off; what was put into the backlog can still be taken."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.backlog.close()

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the task boundary: the consumer is told
            self.backlog.fail(error)
