"""Faults of the websockets: what each does to the messages, on a clock walked by hand, and to the connection itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp

from gapless.sim import Running, SimConfig
from gapless.sim.broadcast import Broadcast
from gapless.sim.clock import VenueClock
from gapless.sim.exchange import Exchange
from gapless.sim.faults import BARS, NAMES, SOCKET
from gapless.sim.rules import SPOT, USDM
from gapless.spans import MINUTE, SECOND, Span, parse_time

NOW = parse_time("2024-06-03T12:34:20Z")
FIRST = parse_time("2024-06-03T12:34")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
SHORT = aiohttp.ClientWSTimeout(ws_close=0.2)  # type: ignore[attr-defined,unused-ignore]
GONE = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


class Walked(VenueClock):
    """A clock that goes only when told to, without a jump."""

    def walk(self, micros: int) -> None:
        start, jumps = self._at
        self._at = (start + micros, jumps)


class Heard:
    """What came: when, and what it says; ``None`` for what is no JSON."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.all: list[tuple[int, Any]] = []

    def hear(self, frames: list[bytes]) -> None:
        for frame in frames:
            try:
                self.all.append((self.exchange.clock(), json.loads(frame)))
            except ValueError:
                self.all.append((self.exchange.clock(), None))

    def finals(self, symbol: str) -> list[Any]:
        return [m["k"] for _, m in self.all if m and m["s"] == symbol and m["k"]["x"]]

    def minutes(self, symbol: str) -> list[int]:
        """Of the final bars, in order of arrival, counted from the first."""
        return [(bar["t"] * 1000 - FIRST) // MINUTE for bar in self.finals(symbol)]


def walk(minutes: int, *, symbols: tuple[str, ...] = SYMBOLS, number: int = 1, **options: Any) -> Heard:
    """``minutes`` of one connection, a second at a time."""
    usual = {"start": "2024-03-01", "outages_per_month": 0, "halts_per_month": 0, "listed_late": 0, "delisted": 0}
    exchange = Exchange(SimConfig(**{**usual, "symbols": symbols, "updates": 0, **options}))
    exchange.clock = clock = Walked(NOW, speed=0)
    broadcast, heard = Broadcast(exchange, SPOT, number), Heard(exchange)
    broadcast.follow([f"{symbol.lower()}@kline_1m" for symbol in symbols])
    for _ in range(60 * minutes):
        clock.walk(SECOND)
        heard.hear(broadcast.take())
    return heard


def true(heard: Heard | Running, bar: Any) -> bool:
    """Whether a bar says what the venue will always say."""
    at = bar["t"] * 1000
    row = heard.exchange.truths["BINANCE"].truth(bar["s"], "1m", Span(at, at + MINUTE)).row(0, named=True)
    return [float(bar[k]) for k in "ohlcv"] == [row[k] for k in ("open", "high", "low", "close", "volume")]


def test_without_faults_every_bar_comes_once_in_order() -> None:
    """The plain feed: nothing is counted, everything is true."""
    heard = walk(10)
    for symbol in SYMBOLS:
        assert heard.minutes(symbol) == list(range(10))
        assert all(true(heard, bar) for bar in heard.finals(symbol))
    assert not heard.exchange.faults.injected


def test_missing_bars_never_come() -> None:
    """The first two bars that could, and no others."""
    heard = walk(6, symbols=("BTCUSDT",), faults="ws_missing:2x")
    assert heard.minutes("BTCUSDT") == [2, 3, 4, 5]
    assert heard.exchange.faults.injected == {"ws_missing": 2}


def test_late_bars_come_after_later_ones() -> None:
    """Every bar comes once and is true, seconds to more than a minute late; some are overtaken."""
    heard = walk(20, faults="ws_late:0.3")
    overtaken = 0
    for symbol in SYMBOLS:
        minutes = heard.minutes(symbol)
        assert sorted(minutes[:-2]) == sorted(set(minutes[:-2]))
        assert set(range(17)) <= set(minutes)
        assert all(true(heard, bar) for bar in heard.finals(symbol))
        overtaken += minutes != sorted(minutes)
    waits = sorted(at - m["k"]["T"] * 1000 for at, m in heard.all)
    assert overtaken
    assert 60 * SECOND < waits[-1] < 80 * SECOND
    assert sum(wait > 2 * SECOND for wait in waits) <= heard.exchange.faults.injected["ws_late"] < len(waits) / 2


def test_corrected_bars_come_twice_the_second_time_true() -> None:
    """Both are final; the first has less volume, the second is what REST says from the start."""
    heard = walk(4, symbols=("BTCUSDT",), faults="ws_corrected:1x")
    assert heard.minutes("BTCUSDT") == [0, 0, 1, 2, 3]
    first, second, *_ = heard.finals("BTCUSDT")
    assert not true(heard, first)
    assert true(heard, second)
    assert float(first["v"]) < float(second["v"])
    assert heard.exchange.faults.injected == {"ws_corrected": 1}


def test_the_last_word_on_a_bar_is_true() -> None:
    """With every fault of bars together, what came last of each bar is the truth."""
    heard = walk(60, faults=",".join(f"{name}:0.3" for name in BARS), updates=1)
    last = {(bar["s"], bar["t"]): bar for symbol in SYMBOLS for bar in heard.finals(symbol)}
    newest = (NOW + 58 * MINUTE) // 1000  # a correction may be on its way
    assert all(true(heard, bar) for (_, opened), bar in last.items() if opened < newest)
    assert set(heard.exchange.faults.injected) == set(BARS)


def test_doubled_messages_come_twice_the_same() -> None:
    """To the letter."""
    heard = walk(3, symbols=("BTCUSDT",), faults="ws_dup:1x")
    assert heard.minutes("BTCUSDT") == [0, 0, 1, 2]
    assert heard.all[0] == heard.all[1]
    assert heard.exchange.faults.injected == {"ws_dup": 1}


def test_reordered_messages_change_places_with_the_next() -> None:
    """The final bar comes after an update of the bar that follows it; said earlier, heard later."""
    heard = walk(4, symbols=("BTCUSDT",), faults="ws_reorder:1x", updates=2)
    said = [m["E"] for _, m in heard.all]
    behind = [at for at in range(1, len(said)) if said[at] < said[at - 1]]
    assert len(behind) == 1
    assert heard.all[behind[0]][1]["k"]["x"]
    assert heard.minutes("BTCUSDT") == [0, 1, 2, 3]
    assert heard.exchange.faults.injected == {"ws_reorder": 1}


def test_garbage_is_cut_json_and_its_bar_is_lost() -> None:
    """Three messages that cannot be read, three bars that never come."""
    heard = walk(5, symbols=("BTCUSDT",), faults="ws_garbage:3x")
    assert [m for _, m in heard.all[:3]] == [None] * 3
    assert heard.minutes("BTCUSDT") == [3, 4]


def test_a_burst_holds_everything_back_and_loses_nothing() -> None:
    """Every bar comes once, in order; some come many at a time, long after they were said."""
    heard = walk(30, faults="ws_burst:0.5")
    for symbol in SYMBOLS:
        assert heard.minutes(symbol)[:27] == list(range(27))
    said = [m["E"] for _, m in heard.all]
    assert said == sorted(said)
    at_once = Counter(at for at, _ in heard.all)
    assert max(at_once.values()) >= 2 * len(SYMBOLS)
    assert max(at - m["E"] * 1000 for at, m in heard.all) > 30 * SECOND
    assert heard.exchange.faults.injected["ws_burst"] >= 5


def test_silence_is_of_one_symbol_or_of_all() -> None:
    """Minutes in which one symbol is absent and minutes in which all are; what was not sent never comes."""
    heard = walk(120, faults="ws_silence:0.1")
    told = {symbol: set(heard.minutes(symbol)) for symbol in SYMBOLS}
    absent = Counter(sum(minute not in told[symbol] for symbol in SYMBOLS) for minute in range(120))
    assert absent[0] > 30
    assert absent[1] > 0
    assert absent[3] > 0
    assert all(len(told[symbol]) == len(heard.minutes(symbol)) for symbol in SYMBOLS)
    assert 2 <= heard.exchange.faults.injected["ws_silence"] <= 24


def test_the_same_seed_gives_the_same_stream() -> None:
    """To the letter and the second, with all faults; another seed or connection meets others."""
    faults = ",".join(f"{name}:0.1" for name in (*BARS, "ws_burst", "ws_silence"))
    assert walk(20, faults=faults).all == walk(20, faults=faults).all
    assert walk(20, faults=faults, seed=8).all != walk(20, faults=faults).all
    assert walk(20, faults="ws_silence:0.1", number=2).all != walk(20, faults="ws_silence:0.1").all


def test_what_becomes_of_a_bar_does_not_depend_on_the_connection() -> None:
    """Reconnecting changes nothing about which bars go missing: runs can be repeated."""
    one, two = (walk(30, faults="ws_missing:0.2", number=number) for number in (1, 2))
    assert one.all == two.all
    assert one.exchange.faults.injected["ws_missing"] > 5


def test_promised_messages_survive_a_jump_of_the_clock() -> None:
    """A correction that is due after the jump still comes; bars in between do not."""
    exchange = Exchange(
        SimConfig(symbols=("BTCUSDT",), start="2024-03-01", now=NOW, speed=0, updates=0, faults="ws_corrected:1x")
    )
    broadcast, heard = Broadcast(exchange, SPOT, 1), Heard(exchange)
    broadcast.follow(["btcusdt@kline_1m"])
    for step in (41 * SECOND, 10 * MINUTE):
        exchange.clock.advance(step)
        heard.hear(broadcast.take())
    assert heard.minutes("BTCUSDT") == [0, 0, 10]
    assert true(heard, heard.finals("BTCUSDT")[1])


# ---------------------------------------------------------------- of the connection, over a real socket


def connect(sim: Running, to: Callable[[aiohttp.ClientWebSocketResponse], Any], api: str = "BINANCE") -> Any:
    """Subscribe to three symbols by address, and do something."""

    async def go() -> Any:
        names = "/".join(f"{symbol.lower()}@kline_1m" for symbol in SYMBOLS)
        url = f"{sim.ws_urls[api]}/ws/{names}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, timeout=SHORT, autoping=False) as ws:
            return await to(ws)

    return asyncio.run(go())


async def until_gone(ws: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """The last message."""
    while (message := await ws.receive(timeout=20)).type not in GONE:
        pass
    return message


async def until_silent(ws: aiohttp.ClientWebSocketResponse) -> list[aiohttp.WSMessage]:
    """All messages until none comes for longer than two minutes of the venue."""
    got = []
    with suppress(TimeoutError):
        while True:
            got.append(await ws.receive(timeout=0.6))
    return got


def test_a_drop_cuts_the_connection_without_goodbye(venue: Any) -> None:
    """No close frame; the next connection is served."""
    with venue(symbols=SYMBOLS, speed=240.0, faults="ws_drop:1x") as (sim, _):

        async def listen(ws: aiohttp.ClientWebSocketResponse) -> Any:
            message = await until_gone(ws)
            return message.type, ws.close_code

        kind, code = connect(sim, listen)
        assert kind != aiohttp.WSMsgType.CLOSE
        assert code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        assert connect(sim, lambda ws: ws.receive(timeout=20)).type == aiohttp.WSMsgType.TEXT
        assert sim.injected == {"ws_drop": 1}


def test_a_half_open_connection_says_nothing_more(venue: Any) -> None:
    """No message, no pong, no answer, not even to a close frame; other connections are served."""
    with venue(symbols=SYMBOLS, speed=240.0, faults="ws_halfopen:1x") as (sim, _):

        async def listen(ws: aiohttp.ClientWebSocketResponse) -> Any:
            while not sim.injected["ws_halfopen"]:
                await asyncio.sleep(0.01)
            await ws.ping()
            await ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            got = await until_silent(ws)
            alive = not ws.closed
            await ws.close()
            return got, alive, ws.close_code

        got, alive, code = connect(sim, listen)
        assert alive
        assert all('"e":"kline"' in message.data for message in got)  # what was under way
        assert code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE  # nobody answered the goodbye
        assert connect(sim, lambda ws: ws.receive(timeout=20)).type == aiohttp.WSMsgType.TEXT


def test_a_refused_subscription_gets_an_error_or_nothing(venue: Any) -> None:
    """Nothing is subscribed then; asked again it is."""
    with venue(symbols=SYMBOLS, faults="ws_refuse:8x") as (sim, _):

        async def ask(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            answers = []
            for number in range(1, 9):
                await ws.send_json({"method": "SUBSCRIBE", "params": [f"s{number}"], "id": number})
            await ws.send_json({"method": "SUBSCRIBE", "params": ["t"], "id": 9})
            while not answers or answers[-1].get("id") != 9:
                answers.append(json.loads(await ws.receive_str(timeout=20)))
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 10})
            return [*answers, json.loads(await ws.receive_str(timeout=20))["result"][-1]]

        *refused, confirmed, last = connect(sim, ask, "BINANCEUSDM")
        assert 0 < len(refused) < 8
        assert {answer["error"]["code"] for answer in refused} == {-1000}
        assert confirmed == {"result": None, "id": 9}
        assert last == "t"
        assert sim.injected == {"ws_refuse": 8}


def test_with_all_faults_a_client_that_reconnects_and_asks_rest_has_the_truth(venue: Any) -> None:
    """Half an hour of everything at once: what was heard last is true but where a correction was lost; REST has all."""
    faults = ",".join([f"{name}:0.15" for name in BARS] + [f"{name}:1x" for name in (*SOCKET, "ws_refuse")])
    options = {"symbols": SYMBOLS, "speed": 480.0, "faults": faults, "updates": 1}
    with venue(**options, outages_per_month=0, halts_per_month=0) as (sim, get):
        bars: dict[tuple[str, int], Any] = {}
        end = NOW + 30 * MINUTE
        asyncio.run(listen_whatever_comes(sim, bars, end))
        wrong = [bar for bar in bars.values() if not true(sim, bar)]
        assert len(bars) > 30
        assert len(wrong) <= sim.injected["ws_corrected"]
        assert set(sim.injected) == {*BARS, *SOCKET, "ws_refuse"}
        for symbol in SYMBOLS:
            rows = get.klines(symbol, startTime=FIRST // 1000, limit=30)
            truth = sim.market.truth(symbol, "1m", Span(FIRST, FIRST + 30 * MINUTE))
            assert [float(row[4]) for row in rows] == truth["close"].to_list()


async def listen_whatever_comes(sim: Running, bars: dict[tuple[str, int], Any], end: int) -> None:
    """Reconnect whenever the connection ends or is silent for three minutes of the venue."""
    names = [f"{symbol.lower()}@kline_1m" for symbol in SYMBOLS]
    async with aiohttp.ClientSession() as session:
        while sim.clock() < end:
            async with session.ws_connect(sim.ws_urls["BINANCE"] + "/ws", timeout=SHORT) as ws:
                await ws.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
                while sim.clock() < end:
                    try:
                        message = await ws.receive(timeout=0.4)
                    except TimeoutError:
                        break
                    if message.type in GONE:
                        break
                    keep(message.data, bars)


def keep(text: str, bars: dict[tuple[str, int], Any]) -> None:
    """Final bars; the later word counts."""
    try:
        said = json.loads(text)
    except ValueError:
        return
    if said.get("e") == "kline" and said["k"]["x"]:
        bars[said["s"], said["k"]["t"]] = said["k"]


def test_every_stream_fault_is_tested_here() -> None:
    """A new one needs a test: each name occurs in this file as a fault text."""
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    streams = [name for name in NAMES if name.startswith("ws_")]
    assert sorted(streams) == sorted((*BARS, *SOCKET, "ws_refuse"))
    assert [name for name in streams if f'faults="{name}:' not in text] == []
    assert USDM.sockets.messages > 9  # the test of refusals says more than spot allows
