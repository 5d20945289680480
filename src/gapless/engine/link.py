"""One websocket connection: opened, subscribed in paced batches, watched, and read until it is lost.

1. ``_subscribe``: a batch is asked for, and asked for again when no answer comes or a bad one; a batch that stays
   refused is halved until the stream that the venue does not like stands alone. That one is told as lost and asked for
   again from time to time; the others live.
2. ``_read``: every frame is a sign of life. Pings are answered; messages go to the ``Ear``, which may make us wait.
3. ``_watch``: half way into a silence we ping; when not even the pong comes, in the other half, the connection is
   half-open and lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import aiohttp

from gapless.errors import Faulty
from gapless.protocols import Confirmed, Heard, LiveSource
from gapless.series import Series

_WORST = 20  # unreadable messages in a row: this is no feed
_LARGEST = 2**22  # bytes of one message
_SILENT = "no answer"


@dataclass(frozen=True, slots=True)
class Manners:
    """How a connection is treated. Real seconds, whatever the pace of the venue's clock."""

    connect: float = 10.0  # to open it
    silence: float = 20.0  # without any frame, pong included: half-open
    confirm: float = 5.0  # for the venue's answer to a subscription
    tries: int = 3  # of one subscription
    batch: int = 100  # streams in one subscription
    later: float = 60.0  # before a stream that was refused is asked for again


@dataclass(slots=True)
class Tally:
    """What came so far. ``lag``: the venue's clock when the newest bar was heard, less its stamp, µs."""

    messages: int = 0
    finals: int = 0
    forming: int = 0
    duplicates: int = 0
    strays: int = 0  # bars of series that nobody asked for
    garbled: int = 0
    losses: int = 0
    lag: int = 0


class LostError(Exception):
    """The connection is of no more use; the message says why."""


class Ear(Protocol):
    """Who listens to a link."""

    tally: Tally

    @property
    def full(self) -> bool: ...

    async def room(self) -> None: ...

    def heard(self, bar: Heard) -> None: ...

    def garbled(self, error: Faulty) -> None: ...

    def confirmed(self, link: Link, series: tuple[Series, ...]) -> None: ...

    def refused(self, link: Link, series: Series, reason: str) -> None: ...


class Link:
    """One connection for some series, started once.

    ``answered`` is set when every subscription has its answer; ``live`` are the series that were confirmed. ``quiet``:
    it stands in for another one, so that nobody need be told that it is there. ``said_at``: the venue's newest stamp.
    """

    def __init__(
        self, source: LiveSource, series: Sequence[Series], ear: Ear, manners: Manners, *, quiet: bool = False
    ) -> None:
        self.source, self.series, self.ear, self.manners, self.quiet = source, tuple(series), ear, manners, quiet
        self.answered = asyncio.Event()
        self.live: list[Series] = []
        self.said_at = 0
        self._numbers: Iterator[int] = count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._refused: set[Series] = set()
        self._error = ""
        self._bad = 0
        self._began = self._touched = self._send_at = time.monotonic()
        self._holding = False
        self._ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self, session: aiohttp.ClientSession) -> None:
        """Go: ``task`` ends when the connection is lost."""
        self.task = asyncio.create_task(self._run(session))

    async def stop(self) -> None:
        """Hang up."""
        await _cancelled([self.task])

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    def end(self) -> str:
        """Why it was lost, once it is. A defect is raised."""
        error = self.task.exception()
        if error is not None and not isinstance(error, LostError):
            raise error
        return str(error)

    def lose(self, reason: str) -> None:
        """End it: somebody who sees more than this connection says that it is of no use."""
        if not self._ending.done():
            self._ending.set_result(reason)

    async def _run(self, session: aiohttp.ClientSession) -> None:
        """Until lost: raises LostError."""
        socket = await self._opened(session)
        tasks = [asyncio.create_task(work(socket)) for work in (self._read, self._subscribe, self._watch)]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in ended:
                task.result()
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(f"{type(error).__name__}: {error}") from error
        finally:
            await _cancelled(tasks)
            await socket.close()

    async def _opened(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self.manners.connect):
                closing = aiohttp.ClientWSTimeout(ws_close=1.0)
                return await session.ws_connect(self.source.url, autoping=False, max_msg_size=_LARGEST, timeout=closing)
        except TimeoutError as error:
            raise LostError(f"no connection within {self.manners.connect:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(f"no connection: {type(error).__name__}: {error}") from error

    # ---- step 1

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        size = self.manners.batch
        for at in range(0, len(self.series), size):
            await self._ask(socket, self.series[at : at + size])
        if not self.live:
            raise LostError(f"every subscription was refused: {self._error}")
        self.answered.set()
        while self._refused:
            await asyncio.sleep(self.manners.later)
            for series in sorted(self._refused):
                await self._ask(socket, (series,))

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse, batch: tuple[Series, ...]) -> None:
        self._error = await self._answer(socket, batch)
        half = len(batch) // 2
        if not self._error:
            self._refused.difference_update(batch)
            self.live += batch
            self.ear.confirmed(self, batch)
        elif half:
            await self._ask(socket, batch[:half])
            await self._ask(socket, batch[half:])
        elif batch[0] not in self._refused:
            self._refused.add(batch[0])
            self.ear.refused(self, batch[0], f"refused: {self._error}")

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, batch: tuple[Series, ...]) -> str:
        """What the venue has against this subscription; nothing when it is confirmed."""
        streams = [self.source.stream(series) for series in batch]
        error = ""
        for _ in range(self.manners.tries):
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            number = next(self._numbers)
            self._asked = {number: answer}
            await self._paced()
            await socket.send_str(self.source.subscribe(streams, number))
            await asyncio.wait({answer}, timeout=self.manners.confirm)
            error = answer.result() if answer.done() else _SILENT
            if not error:
                return ""
        if error is _SILENT:
            raise LostError(f"no answer to a subscription, asked {self.manners.tries} times")
        return error

    async def _paced(self) -> None:
        now = time.monotonic()
        self._send_at = max(now, self._send_at)
        wait, self._send_at = self._send_at - now, self._send_at + 1.0 / self.source.requests_per_second
        await asyncio.sleep(wait)

    # ---- step 2

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            message = await socket.receive()
            self._touched = time.monotonic()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._told(message.data)
                if self.ear.full:
                    await self._held()
            elif message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                raise LostError(_closed(socket, message))

    def _told(self, text: str | bytes) -> None:
        self.ear.tally.messages += 1
        try:
            found = self.source.read(text)
        except Faulty as error:
            self._bad += 1
            self.ear.garbled(error)
            if self._bad >= _WORST:
                raise LostError(f"{_WORST} unreadable messages in a row, the last: {error.message}") from error
            return
        self._bad = 0
        if isinstance(found, Heard):
            self.said_at = max(self.said_at, found.said_at)
            self.ear.heard(found)
        elif found is not None:
            self._confirmed(found)

    def _confirmed(self, answer: Confirmed) -> None:
        """Only one request ever waits, so that a complaint that names none is about that one."""
        waiting = self._asked.get(answer.number) or (next(iter(self._asked.values()), None) if answer.error else None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.error)

    async def _held(self) -> None:
        """The consumer is behind: leave the rest in the socket until it has caught up."""
        self._holding = True
        await self.ear.room()
        self._holding = False
        self._touched = time.monotonic()

    # ---- step 3

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        silence, pinged, overdue = self.manners.silence, 0.0, False
        while True:
            await asyncio.wait({self._ending}, timeout=silence / 8)
            if self._ending.done():
                raise LostError(self._ending.result())
            now = time.monotonic()
            if self._holding or now - self._touched < silence / 2:
                overdue = False
            elif pinged <= self._touched:
                pinged, overdue = now, False
                await socket.ping()
            elif now - pinged < silence / 2:
                continue
            elif overdue:  # seen twice: after the process was held up what has come is read first
                raise LostError(f"half-open: nothing for {silence:g} s, not even the answer to a ping")
            else:
                overdue = True


def _closed(socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.ERROR:
        return f"broken: {socket.exception() or message.data}"
    words = f", {message.extra}" if message.extra else ""
    return f"closed by the venue (code {socket.close_code}{words})"


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
