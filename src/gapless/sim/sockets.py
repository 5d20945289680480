"""Websockets of the venue: commands in, messages out, pings, limits and the end of a connection's life.

Each connection has two tasks: the handler hears the client, ``_send`` sends what is due by the venue's clock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import product

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from gapless.sim.broadcast import Broadcast
from gapless.sim.chance import draw
from gapless.sim.exchange import Exchange
from gapless.sim.rules import APIS, Api
from gapless.sim.subscriptions import Command, Declined, Subscriptions, read
from gapless.spans import SECOND

_LONGEST_SLEEP, _SHORTEST_SLEEP = 0.02, 0.002  # real seconds: the clock may be moved; what is due within goes together
_LINGER = 30.0  # how long a half-open connection outlives the client's goodbye
_GONE = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


def add_sockets(app: web.Application, exchange: Exchange) -> None:
    """``/ws``, ``/ws/<stream>`` and ``/stream?streams=…`` of each API."""
    app[OPEN] = set()
    for api in APIS:
        for prefix, path in product(api.sockets.prefixes, ("/ws", "/ws/{streams:.+}", "/stream")):
            app.router.add_get(prefix + path, partial(_connect, exchange, api))
    app.on_shutdown.append(_abort_all)


def open_sockets(app: web.Application) -> list[dict[str, object]]:
    """Every connection there is: its venue, number, streams and messages sent."""
    sockets = app[OPEN]
    return [
        {"venue": s.api.venue, "number": s.number, "streams": len(s.subscriptions.names), "sent": s.sent}
        for s in sorted(sockets, key=lambda s: (s.api.venue, s.number))
    ]


async def _connect(exchange: Exchange, api: Api, request: web.Request) -> web.StreamResponse:
    combined = request.path.endswith("/stream")
    names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
    ws = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, timeout=1.0)
    if not ws.can_prepare(request):
        return web.Response(status=HTTPStatus.BAD_REQUEST, text="this path speaks websocket")
    await ws.prepare(request)
    socket = Socket(exchange, api, ws, request, Subscriptions(_limit(exchange, api), combined))
    request.app[OPEN].add(socket)
    try:
        await socket.run([name for name in names.split("/") if name])
    finally:
        request.app[OPEN].discard(socket)
    return ws


def _limit(exchange: Exchange, api: Api) -> int:
    return exchange.config.stream_limit or api.sockets.streams


async def _abort_all(app: web.Application) -> None:
    sockets = app[OPEN]
    for socket in tuple(sockets):
        socket.abort()


class Socket:
    """One connection."""

    def __init__(
        self, exchange: Exchange, api: Api, ws: web.WebSocketResponse, request: web.Request, subscribed: Subscriptions
    ) -> None:
        self.exchange, self.api, self.subscriptions = exchange, api, subscribed
        self.number, self.sent = exchange.connected(api), 0
        self._ws, self._request = ws, request
        self._broadcast = Broadcast(exchange, api, self.number)
        self._life = _Life(exchange, api)
        self._heard: deque[float] = deque(maxlen=api.sockets.messages)
        self._asked = 0

    async def run(self, names: list[str]) -> None:
        """Until either side ends it."""
        sender = asyncio.create_task(self._send())
        sender.add_done_callback(self._sent_all)
        try:
            await self._begin(names)
            while not self._ws.closed:
                message = await self._ws.receive()
                if message.type in _GONE:
                    break
                if self._broadcast.over is None:
                    await self._hear(message)
            await self._part()
        except ConnectionError:
            pass  # the client has gone first
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sender

    def _sent_all(self, sender: asyncio.Task[None]) -> None:
        """A sender that failed must not leave a client waiting; ``run`` raises why."""
        if not sender.cancelled() and sender.exception() is not None:
            self.abort()

    def abort(self) -> None:
        """Gone without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    # ---------------------------------------------------------------- what the client says

    async def _begin(self, names: list[str]) -> None:
        """Streams asked for by the address."""
        try:
            if names:
                self.subscriptions.obey(Command("SUBSCRIBE", list(names), None))
        except Declined as declined:
            await self._close(WSCloseCode.POLICY_VIOLATION, declined.text)
        self._follow()

    async def _hear(self, message: WSMessage) -> None:
        now = time.monotonic()
        if len(self._heard) == self._heard.maxlen and now - self._heard[0] < 1:
            await self._close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
            return
        self._heard.append(now)
        if message.type == WSMsgType.PING:
            await self._ws.pong(message.data)
        elif message.type == WSMsgType.PONG:
            self._life.answered()
        elif message.type == WSMsgType.TEXT:
            answer = self._answer(message.data)
            if answer and not self._ws.closed:
                await self._ws.send_frame(answer, WSMsgType.TEXT)

    def _answer(self, text: str) -> bytes:
        """Empty when the venue does not answer."""
        try:
            command = read(text)
            if command.method == "SUBSCRIBE" and self._refused():
                return self._refuse(command)
            answer = self.subscriptions.obey(command)
        except Declined as declined:
            return declined.answer
        self._follow()
        return answer

    def _refused(self) -> bool:
        self._asked += 1
        refused = self.exchange.faults.due("ws_refuse", self.api.venue, self.number, self._asked)
        if refused:
            self.exchange.faults.happened("ws_refuse")
        return refused

    def _refuse(self, command: Command) -> bytes:
        """An error, or nothing at all."""
        if draw(self.exchange.config.seed, "refuse", self.api.venue, self.number, self._asked) < 0.5:
            return b""
        return Declined(-1000, "An unknown error occurred while processing the request.", command.number).answer

    def _follow(self) -> None:
        self._broadcast.combined = self.subscriptions.combined
        self._broadcast.follow(self.subscriptions.names)

    # ---------------------------------------------------------------- what it is sent

    async def _send(self) -> None:
        while not self._ws.closed:
            for frame in self._broadcast.take():
                await self._ws.send_frame(frame, WSMsgType.TEXT)
                self.sent += 1
            if self._broadcast.over is not None:
                return self.abort() if self._broadcast.over == "ws_drop" else None
            await self._keep_alive()
            await asyncio.sleep(self._pause())
        return None

    def _pause(self) -> float:
        clock = self.exchange.clock
        if not clock.speed:
            return _LONGEST_SLEEP
        wait = (self._broadcast.next_at() - clock()) / (SECOND * clock.speed)
        return min(_LONGEST_SLEEP, max(_SHORTEST_SLEEP, wait))

    async def _keep_alive(self) -> None:
        due = self._life.due()
        if due == "ping":
            await self._ws.ping(str(self.exchange.clock() // 1000).encode())
        elif due == "lost":
            self.abort()
        elif due == "old":
            await self._close(WSCloseCode.GOING_AWAY, "")

    # ---------------------------------------------------------------- the end

    async def _close(self, code: int, text: str) -> None:
        await self._ws.close(code=code, message=text.encode())

    async def _part(self) -> None:
        """Answer the client's goodbye; a half-open connection does not even do that."""
        if self._broadcast.over is None:
            await self._close(WSCloseCode.OK, "")
            return
        deadline = time.monotonic() + _LINGER
        while time.monotonic() < deadline and self._request.transport is not None:
            await asyncio.sleep(_LONGEST_SLEEP)
        self.abort()


class _Life:
    """When to ping, and when a connection has lived long enough. Real seconds: it is about the connection."""

    def __init__(self, exchange: Exchange, api: Api) -> None:
        self._ping_every = exchange.config.ping_every or api.sockets.ping_every
        self._pong_within = exchange.config.pong_within or api.sockets.pong_within
        self._end = time.monotonic() + exchange.config.lifetime
        self._pinged = time.monotonic()
        self._waiting_since: float | None = None

    def answered(self) -> None:
        """A pong has come."""
        self._waiting_since = None

    def due(self) -> str | None:
        """``ping``, ``lost`` (no pong in time), ``old`` (past its life), or None."""
        now = time.monotonic()
        if now >= self._end:
            return "old"
        if self._waiting_since is not None and now - self._waiting_since > self._pong_within:
            return "lost"
        if now - self._pinged < self._ping_every:
            return None
        self._pinged = now
        self._waiting_since = self._waiting_since or now
        return "ping"


OPEN: web.AppKey[set[Socket]] = web.AppKey("open", set[Socket])
