"""Live feeds over real sockets: a small venue on the loopback speaks Binance's protocol and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import time
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
from gapless.events import ClockSkewed, Connected, Disconnected, Event, Garbled, Retried, Skipped, Stale
from gapless.protocols import Heard
from gapless.series import Series
from gapless.sources.binance_live import BinanceLive, spot_live, usdm_live
from gapless.spans import MINUTE, SECOND, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire" / "binance_cryptofeed_capture"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded messages are not part of the project")
START = parse_time("2025-05-01")
BTC, ETH, SOL = (Series.parse(f"BINANCE:{name}USDT", "1m") for name in ("BTC", "ETH", "SOL"))
MANNERS = Manners(connect=20.0, silence=20.0, confirm=20.0)
PATIENCE = 60  # seconds for what must happen, however loaded the machine is
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
    source: BinanceLive | None = None

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

    def live(self, seconds: float) -> None:
        """From now on connections live so long."""
        assert self.source is not None
        self.source.lifetime = seconds

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
        async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
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
    stage.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    stage.source = replace(source or spot_live(), url=stage.url + "/stream", requests_per_second=1000.0)
    feed = Feed(
        stage.source, series, clock=stage.clock, observer=stage.events.append, options=options, jitter=lambda: 0.0
    )
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


def test_a_dropped_connection_is_told_and_made_again() -> None:
    """What was heard, then the loss since the last stamp, then the new connection, then what it tells."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC, ETH) as (feed, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0, said=0.5))
            await taker.heard(1)
            stage.cut()
            await taker.connected(2)
            await stage.say(kline("BTCUSDT", 1))
            await taker.heard(2)
            kinds = [type(one) for one in taker.said]
            assert kinds == [Connected, Heard, Disconnected, Connected, Heard]
            assert taker.of(Disconnected)[0].since == START + MINUTE + SECOND // 2
            assert set(taker.of(Disconnected)[0].series) == {BTC, ETH} == set(feed.live)
            assert [type(e) for e in stage.told(Connected)] == [Connected] * 2
            assert feed.tally.losses == len(stage.told(Retried)) == 1

    play(script)


def test_a_half_open_connection_is_left() -> None:
    """A venue that does not even answer a ping is connected to again."""

    async def script() -> None:
        stage = Stage(pongs=False)
        options = replace(QUICK, manners=replace(MANNERS, silence=0.2))
        async with feeding(stage, BTC, options=options) as (_, taker):
            await taker.connected(2)
            assert "half-open" in taker.of(Disconnected)[0].reason

    play(script)


def test_a_quiet_connection_that_answers_pings_is_kept() -> None:
    """Pongs are a sign of life: in several times the allowed silence nothing is lost."""

    async def script() -> None:
        stage = Stage()
        options = replace(QUICK, manners=replace(MANNERS, silence=0.6))
        async with feeding(stage, BTC, options=options) as (feed, taker):
            await taker.connected()
            await asyncio.sleep(2.0)
            assert (feed.tally.losses, len(stage.sockets)) == (0, 1)

    play(script)


def test_a_process_that_was_held_up_does_not_take_its_connection_for_dead() -> None:
    """Nothing runs for twice the allowed silence, again and again: what came meanwhile is read before judging."""

    async def script() -> None:
        stage = Stage()
        options = replace(QUICK, manners=replace(MANNERS, silence=0.6))
        async with feeding(stage, BTC, options=options) as (feed, taker):
            await taker.connected()
            for _ in range(2):
                await asyncio.sleep(0.36)  # a ping is on its way
                time.sleep(1.2)
                await asyncio.sleep(0.15)
            assert feed.tally.losses == 0

    play(script)


def test_a_refused_stream_is_given_up_and_the_others_live() -> None:
    """The venue refuses whatever names ETH: that series is told as lost with the venue's words, the others connect."""

    def answer(streams: list[str], number: int) -> dict[str, object]:
        bad = any(stream.startswith("eth") for stream in streams)
        return {"error": {"code": 2, "msg": "no such stream"}, "id": number} if bad else {"result": None, "id": number}

    async def script() -> None:
        stage = Stage(answer=answer)
        async with feeding(stage, BTC, ETH, SOL) as (feed, taker):
            await taker.until(lambda: len(taker.of(Connected)) == 2 and taker.of(Disconnected))
            assert feed.live == [BTC, SOL]
            assert taker.of(Disconnected)[0].series == (ETH,)
            assert "2 no such stream" in taker.of(Disconnected)[0].reason
            assert len(stage.sockets) == 1

    play(script)


def test_a_subscription_that_nobody_answers_is_asked_again_on_a_new_connection() -> None:
    """Two tries on each connection, then another one; the third connection is answered."""

    async def script() -> None:
        stage = Stage()
        stage.answer = lambda _, number: {"result": None, "id": number} if len(stage.sockets) > 2 else None
        options = replace(QUICK, manners=replace(MANNERS, confirm=0.3, tries=2))
        async with feeding(stage, BTC, options=options) as (_, taker):
            await taker.connected()
            assert len(stage.asked) == 5
            assert [event.attempt for event in stage.told(Retried)] == [1, 2]
            assert taker.of(Disconnected) == []  # it had never been connected

    play(script)


def test_streams_are_asked_for_in_batches_over_several_connections() -> None:
    """Seven series, four a connection, two a message: no message and no connection holds more."""

    async def script() -> None:
        stage = Stage()
        series = [Series.parse(f"BINANCE:S{n}USDT", "1m") for n in range(7)]
        options = replace(QUICK, manners=replace(MANNERS, batch=2))
        narrow = replace(spot_live(), streams_per_connection=4)
        async with feeding(stage, *series, options=options, source=narrow) as (feed, taker):
            await taker.connected(4)
            assert sorted(feed.live) == series
            assert sorted(map(len, stage.asked)) == [1, 2, 2, 2]
            assert len(stage.sockets) == 2

    play(script)


def test_garbage_is_told_and_survived() -> None:
    """A message that cannot be read is an event; the bar after it is heard on the same connection."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC) as (feed, taker):
            await taker.connected()
            await stage.say("<html>", '{"e":"kline","E":1}', '{"e":"trade","p":"1.0"}', kline("BTCUSDT", 0))
            await taker.heard(1)
            assert feed.tally.garbled == len(stage.told(Garbled)) == 2
            assert "'<html>'" in stage.told(Garbled)[0].reason
            assert feed.tally.losses == 0

    play(script)


def test_a_connection_of_nothing_but_garbage_is_left() -> None:
    """Twenty unreadable messages in a row end it."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC) as (_, taker):
            await taker.connected()
            await stage.say(*["?"] * 20)
            await taker.connected(2)
            assert "20 unreadable messages" in taker.of(Disconnected)[0].reason

    play(script)


def test_a_slow_consumer_loses_no_final_bar() -> None:
    """Of a burst that nobody takes every final bar waits, in order, and of forming ones the newest of each series."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC, ETH) as (feed, taker):
            await taker.connected()
            for minute in range(200):
                await stage.say(kline("BTCUSDT", minute, 1.0, final=False), kline("BTCUSDT", minute))
                await stage.say(kline("ETHUSDT", 0, 1.0 + minute, final=False))
            await eventually(lambda: feed.tally.messages == 601)
            assert feed.backlog == 201
            await taker.heard(201)
            assert taker.closes() == [*(("BTC", n, 2.0) for n in range(200)), ("ETH", 0, 200.0)]
            assert feed.coalesced == 399

    play(script)


def test_a_full_backlog_holds_the_socket_and_drops_nothing() -> None:
    """With room for ten bars the rest stays with the venue until the consumer comes; then all arrive in order."""

    async def script() -> None:
        stage = Stage()
        options = replace(QUICK, backlog=10, manners=replace(MANNERS, silence=0.4))
        async with feeding(stage, BTC, options=options) as (feed, taker):
            await taker.connected()
            await stage.say(*(kline("BTCUSDT", minute) for minute in range(100)))
            await eventually(lambda: feed.backlog == 10)
            await asyncio.sleep(1.0)  # held for longer than a silence may last, which is nobody's fault
            assert (feed.backlog, feed.tally.losses) == (10, 0)
            await taker.heard(100)
            assert taker.closes() == [("BTC", minute, 2.0) for minute in range(100)]

    play(script)


def test_a_connection_is_replaced_before_the_venue_ends_it() -> None:
    """Bars of both connections are heard once each, nothing is told as lost, and one connection is left."""

    async def script() -> None:
        stage = Stage()
        options = replace(QUICK, overlap=1.5, rotation=1.0)
        async with feeding(stage, BTC, options=options, source=replace(spot_live(), lifetime=0.5)) as (feed, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0), to=0)
            await eventually(lambda: len(stage.asked) == 2)
            stage.live(3600.0)
            await stage.say(kline("BTCUSDT", 1), to=0)
            await stage.say(kline("BTCUSDT", 1), kline("BTCUSDT", 2), to=1)
            await eventually(lambda: stage.sockets[0].closed)
            await stage.say(kline("BTCUSDT", 3), to=1)
            await taker.heard(4)
            assert [bar[1] for bar in taker.closes()] == [0, 1, 2, 3]
            assert feed.tally.duplicates == 1
            assert taker.of(Disconnected) == stage.told(Skipped) == []
            assert len(taker.of(Connected)) == 1

    play(script)


def test_a_connection_lost_while_it_is_replaced_is_told() -> None:
    """The old one breaks before it was let go: the loss is told, and that the new one is there."""

    async def script() -> None:
        stage = Stage()
        options = replace(QUICK, overlap=30.0, rotation=1.0)
        async with feeding(stage, BTC, options=options, source=replace(spot_live(), lifetime=0.3)) as (feed, taker):
            await taker.connected()
            await eventually(lambda: len(stage.asked) == 2)
            stage.live(3600.0)
            stage.cut(0)
            await taker.connected(2)
            assert [type(one) for one in taker.said] == [Connected, Disconnected, Connected]
            assert feed.live == [BTC]

    play(script)


def test_a_connection_that_cannot_be_replaced_stays() -> None:
    """The venue answers no subscription on new connections: the old one is heard on, and another try is made."""

    async def script() -> None:
        stage = Stage()
        stage.answer = lambda _, number: {"result": None, "id": number} if len(stage.asked) == 1 else None
        manners = replace(MANNERS, confirm=0.5, tries=1)
        options = replace(QUICK, rotation=1.0, manners=manners)
        async with feeding(stage, BTC, options=options, source=replace(spot_live(), lifetime=0.1)) as (feed, taker):
            await taker.connected()
            await eventually(lambda: len(stage.told(Retried)) >= 2)
            await stage.say(kline("BTCUSDT", 0), to=0)
            await taker.heard(1)
            assert (feed.live, taker.of(Disconnected)) == ([BTC], [])

    play(script)


def test_a_series_that_falls_behind_is_stale_until_it_speaks() -> None:
    """ETH is silent past its minute and the grace while BTC moves on: one event; its next bar ends it."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC, ETH) as (feed, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0), kline("ETHUSDT", 0))
            await stage.say(kline("BTCUSDT", 1), kline("BTCUSDT", 2, final=False))
            await taker.heard(4)
            stage.now = START + 2 * MINUTE + 11 * SECOND
            await eventually(lambda: stage.told(Stale))
            await asyncio.sleep(0.1)
            assert [(e.series, e.since) for e in stage.told(Stale)] == [(ETH, START + 2 * MINUTE)]
            assert feed.stale == [ETH]
            await stage.say(kline("ETHUSDT", 1))
            await eventually(lambda: not feed.stale)

    play(script)


def test_a_connection_whose_series_all_fell_silent_is_left() -> None:
    """Pings are answered but no bar came in two minutes of the venue's time: the subscriptions are made anew."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC, ETH) as (_, taker):
            await taker.connected()
            stage.now = START + 2 * MINUTE + 11 * SECOND
            await taker.connected(2)
            assert "no bar of any of its 2 series" in taker.of(Disconnected)[0].reason
            assert stage.told(Stale) == []

    play(script)


def test_a_bar_that_was_left_out_is_told() -> None:
    """Final bars 0 and 3 without 1 and 2 between them: one event with that span."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC) as (_, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0), kline("BTCUSDT", 3), kline("BTCUSDT", 1))
            await taker.heard(3)
            assert [(e.span.start, e.span.end) for e in stage.told(Skipped)] == [(START + MINUTE, START + 3 * MINUTE)]

    play(script)


def test_clocks_that_differ_are_told_once() -> None:
    """Stamps an hour ahead of what is held for the venue's clock: one event, and one more when it is over."""

    async def script() -> None:
        stage = Stage(now=START + MINUTE - 3600 * SECOND)
        async with feeding(stage, BTC) as (_, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0, 1.0))
            await eventually(lambda: len(stage.told(ClockSkewed)) == 1)
            stage.now = START + MINUTE
            await stage.say(kline("BTCUSDT", 0, 2.0))
            await eventually(lambda: len(stage.told(ClockSkewed)) == 2)
            assert [event.seconds for event in stage.told(ClockSkewed)] == [3600.0, 0.0]

    play(script)


def test_closing_leaves_what_was_heard_to_be_taken() -> None:
    """After close the batches give what waits, and end."""

    async def script() -> None:
        stage = Stage()
        async with feeding(stage, BTC) as (feed, taker):
            await taker.connected()
            await stage.say(kline("BTCUSDT", 0))
            await eventually(lambda: feed.tally.finals)
            await feed.close()
            rest = [one async for batch in taker.batches for one in batch]
            assert [type(one) for one in rest] == [Heard]

    play(script)


def test_a_defect_reaches_the_consumer() -> None:
    """An observer that fails ends the batches with its error, after what was heard."""

    class Broken(list[Event]):
        def append(self, event: Event) -> None:
            raise ZeroDivisionError

    async def script() -> None:
        stage = Stage(events=Broken())
        async with feeding(stage, BTC) as (_, taker):
            await taker.until(lambda: False)

    with pytest.raises(ZeroDivisionError):
        play(script)
