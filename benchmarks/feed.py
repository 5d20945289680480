"""Live messages: how fast they are read, sorted into the backlog, and taken from a socket.

In processor time of the reading process, so that what else the machine does is left out.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.rows import SHARED, START, Row
from gapless.engine.feed import Feed
from gapless.engine.fetch import wall_clock
from gapless.engine.hearing import Hearing
from gapless.events import nobody
from gapless.protocols import Heard
from gapless.series import Series
from gapless.sources.binance_live import usdm_live

RECORDED = SHARED / "wire/binance_cryptofeed_capture/kline_lines.jsonl"
SYMBOLS, MINUTES = 1000, 50


def run() -> Iterator[Row]:
    """Messages a second on one core; the goal is the issue's."""
    messages = _messages()
    source = usdm_live()
    yield _row("read made-up messages", len(messages), _cpu(lambda: [source.read(m) for m in messages]))
    if RECORDED.exists():
        real = [json.loads(line)["line"].split(": ", 1)[1].encode() for line in RECORDED.read_text().splitlines()] * 500
        yield _row("read recorded messages", len(real), _cpu(lambda: [source.read(m) for m in real]))
    yield _row("read, check and queue", len(messages), _cpu(lambda: asyncio.run(_queue(messages))))
    yield _row("from a socket to the consumer", len(messages), statistics.median(_through() for _ in range(3)))


def _cpu(call: Callable[[], object]) -> float:
    """The median of five runs, in seconds of processor time."""
    found = []
    for _ in range(5):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return statistics.median(found)


def _row(name: str, count: int, seconds: float) -> Row:
    rate = count / seconds
    return Row(
        name, f"{rate:,.0f} messages/s", "one core", f"{1e6 / rate:.1f} µs each", "≥ 50,000 messages/s", rate >= 50_000
    )


def _series() -> list[Series]:
    return [Series.parse(f"BINANCEUSDM:S{n}USDT", "1m") for n in range(SYMBOLS)]


def _messages() -> list[bytes]:
    """A final bar of every symbol for every minute, as the venue wraps it."""
    return [
        json.dumps(_event(f"S{n}USDT", START // 1000 + minute * 60_000), separators=(",", ":")).encode()
        for minute in range(MINUTES)
        for n in range(SYMBOLS)
    ]


def _event(symbol: str, opened: int) -> dict[str, Any]:
    bar = {
        "t": opened, "T": opened + 59_999, "s": symbol, "i": "1m", "f": 23961275, "L": 23961322, "o": "1.01000",
        "c": "1.01100", "h": "1.01100", "l": "1.01000", "v": "3917", "n": 48, "x": True, "q": "3957.89900",
        "V": "1729", "Q": "1748.01900", "B": "0",
    }  # fmt: skip
    data = {"e": "kline", "E": opened + 60_007, "s": symbol, "k": bar}
    return {"stream": f"{symbol.lower()}@kline_1m", "data": data}


async def _queue(messages: list[bytes]) -> None:
    source = usdm_live()
    hearing = Hearing(source.name, _series(), wall_clock, nobody, len(messages))
    for message in messages:
        found = source.read(message)
        if isinstance(found, Heard):
            hearing.heard(found)
    assert len(hearing.backlog) == len(messages)


def _through() -> float:
    """Processor time from the first to the last bar; the venue is another process, and sends as fast as it can."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    venue = context.Process(target=_venue, args=(theirs,))
    venue.start()
    try:
        return asyncio.run(_listen(mine.recv()))
    finally:
        venue.terminate()
        venue.join()


async def _listen(url: str) -> float:
    source = replace(usdm_live(url), streams_per_connection=SYMBOLS)
    began = 0.0
    async with Feed(source, _series(), clock=wall_clock) as feed:
        async for _ in feed.batches():
            if not began and feed.tally.finals:
                began = time.process_time()
            if feed.tally.finals == SYMBOLS * MINUTES:
                break
    return time.process_time() - began


def _venue(parent: Connection) -> None:
    """Confirms every subscription, and when all series are subscribed sends everything there is."""
    from aiohttp import web

    messages = [message.decode() for message in _messages()]

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        streams = 0
        while streams < SYMBOLS:
            asked = json.loads(await socket.receive_str())
            streams += len(asked["params"])
            await socket.send_str(json.dumps({"result": None, "id": asked["id"]}))
        for message in messages:
            await socket.send_str(message)
        await socket.receive()
        return socket

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/market/stream", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        parent.send(f"ws://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.Event().wait()

    asyncio.run(main())
