"""Live feeds over real sockets: a small venue on the loopback speaks Binance's protocol and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from gapless.engine.backlog import Said
from gapless.engine.feed import Feed, FeedOptions
from gapless.engine.link import Manners
from gapless.events import Connected, Event
from gapless.protocols import Heard
from gapless.series import Series
from gapless.sources.binance_live import BinanceLive, spot_live, usdm_live
from gapless.spans import MINUTE, SECOND, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire" / "binance_cryptofeed_capture"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded messages are not part of the project")
START = parse_time("2025-05-01")
BTC, ETH, SOL = (Series.parse(f"BINANCE:{name}USDT", "1m") for name in ("BTC", "ETH", "SOL"))
MANNERS = Manners(connect=2.0, silence=10.0, confirm=2.0)
QUICK = FeedOptions(MANNERS, delays=(0.01, 0.02), steady=0.0, overlap=0.1, tick=0.02)
Answer = Callable[[list[str], int], dict[str, object] | None]


def kline(symbol: str, minute: int, close: float = 2.0, *, final: bool = True, said: float = 0.0) -> str:
    """A message as the venue sends it; ``said`` are seconds after the bar's close."""
    opened = START // 1000 + minute * 60_000
    event = opened + 60_000 + int(said * 1000)
    bar = {
        "t": opened, "T": opened + 59_999, "s": symbol, "i": "1m", "f": 1, "L": 2, "o": "1.5", "c": str(close),
        "h": "9.0", "l": "1.0", "v": "10.5", "n": 4, "x": final, "q": "20.25", "V": "5.5", "Q": "10", "B": "0",
    }  # fmt: skip
    data = {"e": "kline", "E": event, "s": symbol, "k": bar}
    return json.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data})


@dataclass
class Stage:
    """The venue: who is connected, what was asked, how it answers; and what the feed's observer was told."""

    url: str = ""
    answer: Answer = lambda streams, number: {"result": None, "id": number}
    pongs: bool = True
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    now: int = START

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=self.pongs, timeout=0.2)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._answered(socket, json.loads(message.data))
        return socket

    async def _answered(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        self.asked.append(asked["params"])
        answer = self.answer(asked["params"], asked["id"])
        if answer is not None:
            await socket.send_str(json.dumps(answer))

    async def say(self, *messages: str, to: int = -1) -> None:
        for message in messages:
            await self.sockets[to].send_str(message)

    def cut(self, which: int = -1) -> None:
        """The connection breaks, without a word."""
        transport = self.sockets[which]._req.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()

    def clock(self) -> int:
        return self.now

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Taker:
    """A consumer: everything said so far, and waiting for more."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.said, self.batches = feed, list[Said](), feed.batches()

    async def until(self, enough: Callable[[], object]) -> None:
        """Take batches until enough has come."""
        async with asyncio.timeout(10):
            while not enough():
                self.said += await anext(self.batches)

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.said if isinstance(one, kind)]

    async def heard(self, count: int) -> None:
        await self.until(lambda: len(self.of(Heard)) >= count)

    async def connected(self, count: int = 1) -> None:
        await self.until(lambda: len(self.of(Connected)) >= count)

    def closes(self) -> list[tuple[str, int, float]]:
        return [(bar.instrument[8:11], (bar.ts - START) // MINUTE, bar.values[3]) for bar in self.of(Heard)]


async def eventually(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def feeding(
    stage: Stage, *series: Series, options: FeedOptions = QUICK, source: BinanceLive | None = None
) -> AsyncIterator[tuple[Feed, Taker]]:
    app = web.Application()
    app.router.add_get("/stream", stage.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.url = f"http://127.0.0.1:{runner.addresses[0][1]}/stream"
    speaks = replace(source or spot_live(), url=stage.url, requests_per_second=1000.0)
    feed = Feed(speaks, series, clock=stage.clock, observer=stage.events.append, options=options, jitter=lambda: 0.0)
    try:
        async with feed:
            yield feed, Taker(feed)
    finally:
        await runner.cleanup()


def play(script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await script()

    asyncio.run(main())


@needs_wire
def test_recorded_messages_arrive_as_bars() -> None:
    """Every recorded bar of the series asked for is heard, the last final one once though it came twice."""
    lines = [json.loads(line) for line in (WIRE / "kline_lines.jsonl").read_text().splitlines()]
    texts = [one["line"].split(": ", 1)[1] for one in lines if one["capture"] == "BINANCE_FUTURES.ws.1.0"]
    mine = [text for text in texts if '"s":"KEEPUSDT"' not in text]
    finals = [text for text in mine if '"x":true' in text]
    asked = [Series.parse(f"BINANCEUSDM:{n}USDT", "1m") for n in ("CTK", "AKRO", "SUSHI")]

    async def script() -> None:
        stage = Stage(now=1626992742 * SECOND)
        async with feeding(stage, *asked, source=usdm_live()) as (feed, taker):
            await taker.connected()
            await stage.say(*texts, finals[-1])
            await eventually(lambda: feed.tally.messages == 1 + len(texts) + 1)
            await taker.heard(len(finals))
            assert (feed.tally.finals, feed.tally.duplicates) == (len(finals), 1)
            assert feed.tally.forming == len(mine) - len(finals)
            assert feed.tally.strays == len(texts) - len(mine)
            assert [bar for bar in taker.of(Heard) if bar.final] == [usdm_live().read(text) for text in finals]

    play(script)
