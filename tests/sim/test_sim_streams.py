"""The venue's websockets over a real socket: the messages are the venue's, and final bars are what REST says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gapless.errors import UsageError
from gapless.sim import SimConfig
from gapless.sim.run import ws_urls
from gapless.spans import MINUTE, SpanSet, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire" / "binance_cryptofeed_capture"
QUIET = {"outages_per_month": 0, "halts_per_month": 0}
Talk = Callable[[aiohttp.ClientWebSocketResponse], Coroutine[None, None, Any]]


def talk(url: str, to: Talk, **options: Any) -> Any:
    """Connect, talk, hang up."""

    async def go() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, timeout=SHORT, **options) as ws:
            return await to(ws)

    return asyncio.run(go())


SHORT = aiohttp.ClientWSTimeout(ws_close=0.2)  # type: ignore[attr-defined,unused-ignore]


async def say(ws: aiohttp.ClientWebSocketResponse, method: str, *params: object, number: object = 1) -> Any:
    """A command, and its answer (what streams say meanwhile is dropped)."""
    await ws.send_json({"method": method, "params": list(params), "id": number})
    while True:
        answer = json.loads(await ws.receive_str(timeout=10))
        if "e" not in answer and "stream" not in answer:
            return answer


async def hear(ws: aiohttp.ClientWebSocketResponse, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Messages until there are enough."""
    got: list[Any] = []
    while not enough(got):
        got.append(json.loads(await ws.receive_str(timeout=20)))
    return got


def finals(messages: Iterable[Any]) -> list[Any]:
    """The bars that are settled."""
    return [m["k"] for m in (m.get("data", m) for m in messages) if m.get("e") == "kline" and m["k"]["x"]]


def as_row(bar: Any) -> list[Any]:
    """A bar of a stream in the order of REST."""
    return [bar[key] for key in "tohlcvTqnVQB"]


def test_a_minute_is_told_while_it_forms_and_once_when_it_is_final(venue: Any) -> None:
    """Updates are marked as such and grow; the final bar comes after its close and is the one of REST."""
    with venue(speed=60.0, updates=3, **QUIET) as (sim, get):

        async def listen(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            assert await say(ws, "SUBSCRIBE", "btcusdt@kline_1m", number=7) == {"result": None, "id": 7}
            return await hear(ws, lambda got: len(finals(got)) == 2)

        got = talk(sim.ws_urls["BINANCE"] + "/ws", listen)
        bars = finals(got)
        assert [as_row(bar) for bar in bars] == get.klines(startTime=bars[0]["t"], limit=2)
        assert all(m["E"] > m["k"]["T"] for m in got if m["k"]["x"])
        second = [m for m in got if m["k"]["t"] == bars[1]["t"]]
        assert [m["k"]["x"] for m in second] == [False, False, False, True]
        assert all(m["k"]["t"] <= m["E"] for m in second)
        volumes = [float(m["k"]["v"]) for m in second]
        assert volumes == sorted(volumes)


@pytest.mark.parametrize(
    ("capture", "api", "path"),
    [("BINANCE.ws.1.0", "BINANCE", "/ws"), ("BINANCE_FUTURES.ws.1.0", "BINANCEUSDM", "/stream")],
)
def test_messages_have_the_keys_and_types_of_captured_ones(venue: Any, capture: str, api: str, path: str) -> None:
    """Both APIs: same keys in the same order, same types, as many decimals on spot; raw streams without the wrapper."""
    if not WIRE.exists():
        pytest.skip(f"captured messages are not here: {WIRE}")
    lines = [json.loads(line) for line in (WIRE / "kline_lines.jsonl").read_text().splitlines()]
    real = next(json.loads(x["line"].partition(": ")[2]) for x in lines if x["capture"] == capture)
    with venue(speed=60.0, **QUIET) as (sim, _):

        async def listen(ws: aiohttp.ClientWebSocketResponse) -> Any:
            await say(ws, "SUBSCRIBE", "btcusdt@kline_1m")
            return (await hear(ws, lambda got: len(got) == 1))[0]

        got = talk(sim.ws_urls[api] + path, listen)
    assert shape(got) == shape(real if path == "/stream" else real["data"])
    if api == "BINANCE":
        assert len(got["k"]["o"].partition(".")[2]) == len(real["data"]["k"]["o"].partition(".")[2]) == 8


def shape(value: Any) -> Any:
    """Keys in order, and types."""
    return [(k, shape(v)) for k, v in value.items()] if isinstance(value, dict) else type(value).__name__


@pytest.mark.parametrize("silence", ["flat", "omit"])
def test_final_bars_of_a_stretch_are_what_rest_says(venue: Any, silence: str) -> None:
    """Half an hour of several symbols and intervals, an outage and a halt inside: the same bars, the same text."""
    outage = SpanSet.of((parse_time("2024-06-03T12:41"), parse_time("2024-06-03T12:44")))
    halts = {"ETHUSDT": SpanSet.of((parse_time("2024-06-03T12:50"), parse_time("2024-06-03T12:53")))}
    options = {
        "outages": outage,
        "halts": halts,
        "silence": silence,
        "symbols": 4,
        "updates": 0,
        "listed_late": 0,
        "delisted": 0,
    }
    names = ["btcusdt@kline_1m", "ethusdt@kline_1m", "algousdt@kline_1m", "btcusdt@kline_5m", "btcusdt@kline_15m"]
    with venue(speed=1200.0, now="2024-06-03T12:34:30Z", **options) as (sim, get):
        end = parse_time("2024-06-03T13:01") // 1000

        async def listen(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            return await hear(ws, lambda got: bool(got) and got[-1]["data"]["k"]["T"] >= end)

        got = finals(talk(f"{sim.ws_urls['BINANCE']}/stream?streams={'/'.join(names)}", listen))
        for name in names:
            symbol, interval = name.upper().split("@KLINE_")[0], name.split("_")[1]
            heard = [as_row(bar) for bar in got if (bar["s"], bar["i"]) == (symbol, interval) and bar["T"] < end]
            first = parse_time("2024-06-03T12:34") if interval == "1m" else parse_time("2024-06-03T12:30")
            told = get.klines(symbol, interval, startTime=first // 1000, endTime=end - 1, limit=1000)
            assert heard == [row for row in told if row[6] < end]
            assert heard


def test_commands_are_answered_as_the_venue_does(venue: Any) -> None:
    """Lists, properties, ids of any legal kind; streams that do not exist are accepted and stay silent."""
    with venue() as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> None:
            assert await say(ws, "LIST_SUBSCRIPTIONS", number="abc1") == {"result": ["btcusdt@kline_1m"], "id": "abc1"}
            assert await say(ws, "SUBSCRIBE", "nosuch@kline_1m", "btcusdt@depth", number=None) == OK
            assert await say(ws, "UNSUBSCRIBE", "btcusdt@kline_1m", number=None) == OK
            assert (await say(ws, "LIST_SUBSCRIPTIONS"))["result"] == ["nosuch@kline_1m", "btcusdt@depth"]
            assert (await say(ws, "GET_PROPERTY", "combined"))["result"] is False

        talk(sim.ws_urls["BINANCE"] + "/ws/btcusdt@kline_1m", converse)


OK = {"result": None, "id": None}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", 3, "Invalid JSON: expected value at line 1 column 2"),
        ("[]", 2, "missing field `method`"),
        ('{"method":"SUBSCRIBE","params":["a"]}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":true}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIPE","params":["a"],"id":1}', 2, "unknown variant `SUBSCRIPE`, expected one of `SUBSCRIBE`"),
        ('{"method":"SUBSCRIBE","params":"a","id":1}', 2, "Invalid request: invalid type"),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2, "Invalid request: params"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "Invalid request: params"),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property"),
        ('{"method":"GET_PROPERTY","params":[1],"id":1}', 2, "property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "too many parameters"),
        ('{"method":"SET_PROPERTY","params":["combined"],"id":1}', 1, "expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
        ('{"method":"SUBSCRIBE","params":["a","b","c","d"],"id":1}', 4, "Too many subscriptions"),
    ],
)
def test_commands_that_make_no_sense_get_the_venues_error(venue: Any, text: str, code: int, words: str) -> None:
    """A code and words, with the id where it could be read; the connection lives on."""
    with venue(symbols=1, stream_limit=3) as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> None:
            await ws.send_str(text)
            answer = json.loads(await ws.receive_str(timeout=10))
            assert answer["error"]["code"] == code
            assert words in answer["error"]["msg"]
            assert answer.get("id") == (1 if '"id":1' in text else None)
            assert (await say(ws, "LIST_SUBSCRIPTIONS"))["result"] == []

        talk(sim.ws_urls["BINANCE"] + "/ws", converse)


def test_the_wrapper_can_be_switched_on(venue: Any) -> None:
    """SET_PROPERTY combined: the same connection then wraps its messages."""
    with venue(speed=60.0, **QUIET) as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            assert await say(ws, "SET_PROPERTY", "combined", True) == {"result": None, "id": 1}
            return await hear(ws, lambda got: len(got) == 1)

        assert talk(sim.ws_urls["BINANCE"] + "/ws/btcusdt@kline_1m", converse)[0]["stream"] == "btcusdt@kline_1m"


def test_unsubscribed_streams_fall_silent(venue: Any) -> None:
    """After UNSUBSCRIBE only the other stream speaks."""
    with venue(speed=120.0, **QUIET) as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            await say(ws, "SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@kline_1m")
            await say(ws, "UNSUBSCRIBE", "btcusdt@kline_1m")
            return await hear(ws, lambda got: len(finals(got)) == 4)

        assert {m["s"] for m in talk(sim.ws_urls["BINANCE"] + "/ws", converse)} == {"ETHUSDT"}


def test_too_many_streams_in_the_address_close_the_connection(venue: Any) -> None:
    """1008, as a policy violation."""
    with venue(stream_limit=2) as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> Any:
            message = await ws.receive(timeout=10)
            return message.type, message.data

        url = sim.ws_urls["BINANCE"] + "/ws/btcusdt@kline_1m/ethusdt@kline_1m/xrpusdt@kline_1m"
        assert talk(url, converse) == (aiohttp.WSMsgType.CLOSE, 1008)


@pytest.mark.parametrize(("api", "allowed"), [("BINANCE", 5), ("BINANCEUSDM", 10)])
def test_a_client_that_talks_too_much_is_cut_off(venue: Any, api: str, allowed: int) -> None:
    """5 (spot) or 10 (USD-M) messages in a second are answered, one more ends the connection with 1008."""
    with venue() as (sim, _):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            for number in range(allowed + 1):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            return [(m.type, m.data) for m in [await ws.receive(timeout=10) for _ in range(allowed + 1)]]

        got = talk(sim.ws_urls[api] + "/ws", converse)
        assert [json.loads(data)["id"] for _, data in got[:-1]] == list(range(allowed))
        assert got[-1] == (aiohttp.WSMsgType.CLOSE, 1008)


def test_the_venue_pings_and_cuts_who_does_not_answer(venue: Any) -> None:
    """A ping carries the venue's time; with a pong the connection lives, without it goes."""
    with venue(ping_every=0.3, pong_within=0.7) as (sim, get):

        async def pinged(ws: aiohttp.ClientWebSocketResponse, answering: bool) -> list[aiohttp.WSMessage]:
            got = []
            while len(got) < 5 and not ws.closed:
                got.append(await ws.receive(timeout=10))
                if answering and got[-1].type == aiohttp.WSMsgType.PING:
                    await ws.pong(got[-1].data)
            return got

        url = sim.ws_urls["BINANCE"] + "/ws"
        kept = talk(url, partial(pinged, answering=True), autoping=False)
        cut = talk(url, partial(pinged, answering=False), autoping=False)
        assert {m.type for m in kept} == {aiohttp.WSMsgType.PING}
        assert int(kept[0].data) == get("/sim/clock").json["ts"] // 1000
        assert cut[0].type == aiohttp.WSMsgType.PING
        assert cut[-1].type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def test_a_clients_ping_gets_its_pong(venue: Any) -> None:
    """With the same payload."""
    with venue() as (sim, _):

        async def ping(ws: aiohttp.ClientWebSocketResponse) -> Any:
            await ws.ping(b"there?")
            return await ws.receive(timeout=10)

        answer = talk(sim.ws_urls["BINANCE"] + "/ws", ping, autoping=False)
        assert (answer.type, bytes(answer.data)) == (aiohttp.WSMsgType.PONG, b"there?")


def test_a_connection_ends_with_its_lifetime(venue: Any) -> None:
    """1001, going away; the next connection is welcome."""
    with venue(lifetime=0.2) as (sim, get):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> Any:
            message = await ws.receive(timeout=10)
            return message.type, message.data

        for _ in range(2):
            assert talk(sim.ws_urls["BINANCE"] + "/ws", converse) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert get("/sim/sockets").json["connected"] == {"BINANCE": 2}


def test_a_clock_that_stands_still_is_followed_when_it_is_moved(venue: Any) -> None:
    """A minute forward tells that minute; half an hour forward tells only the newest bar, REST has those between."""
    with venue(updates=0, **QUIET) as (sim, get):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
            await say(ws, "SUBSCRIBE", "btcusdt@kline_1m")
            got = []
            for step in ("1m", "30m", "1m"):
                await asyncio.to_thread(get, "/sim/clock", "POST", advance=step)
                got += await hear(ws, lambda got: len(got) == 1)
            return got

        bars = finals(talk(sim.ws_urls["BINANCE"] + "/ws", converse))
        start = parse_time("2024-06-03T12:34") // 1000
        assert [(bar["t"] - start) * 1000 // MINUTE for bar in bars] == [0, 30, 31]
        told = {row[0]: row for row in get.klines(startTime=start, limit=40)}
        assert [as_row(bar) for bar in bars] == [told[bar["t"]] for bar in bars]


def test_open_connections_can_be_looked_at(venue: Any) -> None:
    """Venue, number, streams and messages sent; gone when the client is."""
    with venue() as (sim, get):

        async def converse(ws: aiohttp.ClientWebSocketResponse) -> Any:
            await say(ws, "SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@kline_1m")
            return (await asyncio.to_thread(get, "/sim/sockets")).json["open"]

        assert talk(sim.ws_urls["BINANCEUSDM"] + "/ws", converse) == [
            {"venue": "BINANCEUSDM", "number": 1, "streams": 2, "sent": 0}
        ]
        while get("/sim/sockets").json["open"]:
            time.sleep(0.01)
        old = sim.ws_urls["BINANCEUSDM"].replace("/market", "") + "/ws"
        assert talk(old, lambda ws: say(ws, "LIST_SUBSCRIPTIONS"))["result"] == []
        assert get("/ws").status == 400  # no websocket asked for


def test_addresses_and_options_are_checked() -> None:
    """Where each venue's websockets are; options that make no feed are refused."""
    usdm = "ws://127.0.0.1:1/fapi/market"
    assert ws_urls("http://127.0.0.1:1") == {"BINANCE": "ws://127.0.0.1:1", "BINANCEUSDM": usdm}
    for wrong in ({"updates": -1}, {"stream_limit": 0}, {"ping_every": 0.0}, {"pong_within": -1.0}, {"lifetime": 0.0}):
        with pytest.raises(UsageError):
            SimConfig(**wrong)  # type: ignore[arg-type]


PROGRAM = """
from gapless.sim import SimConfig, serve
faults = "ws_halfopen:1x,ws_drop:0.2,ws_garbage:0.2"
config = SimConfig(symbols=4, start="2024-03-01", now="2024-06-03", speed=600.0, faults=faults)
serve(config, port=0, on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


def test_clients_that_vanish_and_a_venue_that_stops_leave_no_trace_on_stderr() -> None:
    """Connections that are torn, half open or idle when SIGTERM comes: the process ends at once and cleanly."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = ws_urls(process.stdout.readline().strip())["BINANCE"] + "/ws/btcusdt@kline_1m/ethusdt@kline_1m"

    async def go() -> aiohttp.WSMsgType:
        async with aiohttp.ClientSession() as session:
            transports = []
            for _ in range(8):
                ws = await session.ws_connect(url, timeout=SHORT)
                transports.append(ws._response.connection.transport)
            await asyncio.sleep(0.3)  # some minutes of the venue
            for transport in transports[:4]:
                transport.abort()
            process.terminate()
            while (message := await ws.receive(timeout=20)).type == aiohttp.WSMsgType.TEXT:
                pass
            return message.type

    assert asyncio.run(go()) != aiohttp.WSMsgType.TEXT
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
