"""Binance's websocket: what its messages mean, recorded ones and broken ones."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import Faulty
from gapless.protocols import Confirmed, Heard, LiveSource
from gapless.series import Series
from gapless.sources.binance_live import spot_live, usdm_live
from gapless.spans import MINUTE, Timeframe, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
CAPTURES = WIRE / "binance_cryptofeed_capture"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded messages are not part of the project")
START = parse_time("2025-05-01")
VALUES = ("o", "h", "l", "c", "v", "q", "n", "V")


def bar(event: dict[str, Any], venue: str) -> Heard:
    """What a decoded event says, read field by field."""
    k = event["k"]
    values = tuple(float(k[name]) for name in VALUES)
    return Heard(f"{venue}:{k['s']}", k["i"], k["t"] * 1000, values, k["x"], event["E"] * 1000)


def event(**changes: Any) -> dict[str, Any]:
    """A bar of BTCUSDT as the venue words it; ``changes`` are of the bar itself."""
    opened = START // 1000
    k = {
        "t": opened, "T": opened + 59_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "1.5", "c": "2.5",
        "h": "3.0", "l": "1.0", "v": "10.5", "n": 4, "x": True, "q": "20.25", "V": "5.5", "Q": "10.0", "B": "0",
    }  # fmt: skip
    return {"e": "kline", "E": opened + 60_003, "s": "BTCUSDT", "k": k | changes}


def captured(name: str) -> list[str]:
    """The messages of a recording, without the times at which they came."""
    with gzip.open(CAPTURES / name, "rt") as file:
        return [line.rstrip("\n").split(": ", 1)[1] for line in file if line[:1].isdigit()]


@needs_wire
def test_every_recorded_bar_is_read_as_it_stands() -> None:
    """115 messages of five of the venue's sites: each is the bar it holds, final or not, nearest doubles, µs."""
    text = (CAPTURES / "kline_lines.jsonl").read_text()
    lines = [json.loads(line)["line"].split(": ", 1)[1] for line in text.splitlines()]
    source = usdm_live()
    found = [source.read(line.encode()) for line in lines]
    assert found == [bar(json.loads(line)["data"], "BINANCEUSDM") for line in lines]
    assert len(found) == 115
    assert sum(one.final for one in found if isinstance(one, Heard)) == 9


@needs_wire
@pytest.mark.parametrize("name", sorted(p.name for p in CAPTURES.glob("*.ws.*.gz")) if WIRE.exists() else [])
def test_everything_else_recorded_is_none_of_our_concern(name: str) -> None:
    """Depth, trades, tickers between the bars of a whole recording are passed over without a fault."""
    messages = captured(name)
    bars = [m for m in messages if '"e":"kline"' in m]
    found = [spot_live().read(m) for m in messages]
    assert sum(isinstance(one, Heard) for one in found) == len(bars) > 0
    assert all(one is None for one, m in zip(found, messages, strict=True) if '"e":"kline"' not in m)


@needs_wire
def test_a_bare_message_reads_like_a_wrapped_one() -> None:
    """The documented example of a single stream, bare and wrapped."""
    text = (WIRE / "binance_nautilus_lgpl/rust_futures__market_data_json__kline_stream_closed.json").read_text()
    bare = json.loads(text)
    wrapped = json.dumps({"stream": "btcusdt@kline_1m", "data": bare})
    assert usdm_live().read(text) == usdm_live().read(wrapped) == bar(bare, "BINANCEUSDM")


@given(st.sampled_from(sorted(Timeframe.ALL)), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_any_timeframe_and_unit_of_time_is_read(name: str, final: bool, micros: bool, nth: int) -> None:
    """Every timeframe gapless has, times in ms or µs, text or bytes."""
    timeframe = Timeframe.parse(name)
    opened = timeframe.floor(START + nth * MINUTE)
    unit = 1 if micros else 1000
    said = event(t=opened // unit, T=(opened + timeframe.micros) // unit - 1, i=name, x=final)
    said["E"] = (opened + timeframe.micros) // unit
    text = json.dumps(said)
    expected = Heard("BINANCE:BTCUSDT", name, opened, (1.5, 3.0, 1.0, 2.5, 10.5, 20.25, 4.0, 5.5), final,
                     opened + timeframe.micros)  # fmt: skip
    assert spot_live().read(text) == spot_live().read(text.encode()) == expected


@pytest.mark.parametrize("interval", ["1s", "3m", "1M"])
def test_a_timeframe_that_gapless_has_not_is_passed_over(interval: str) -> None:
    """Nobody can have asked for it."""
    assert spot_live().read(json.dumps(event(i=interval))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"result":null,"id":3}', Confirmed(3)),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":4}', Confirmed(4, "2 Invalid request")),
        ('{"code":2,"msg":"Invalid request","id":4}', Confirmed(4, "2 Invalid request")),
        ('{"error":{"code":3,"msg":"Invalid JSON"}}', Confirmed(-1, "3 Invalid JSON")),
    ],
)
def test_answers_to_requests_are_told_by_number(text: str, expected: Confirmed) -> None:
    """Confirmed, refused in both wordings, and a complaint that names no request."""
    assert spot_live().read(text) == expected


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"stream":"!ticker@arr","data":[{"e":"24hrTicker","s":"BTCUSDT"}]}', '{"e":"serverShutdown","E":1}',
     '{"e":"other","k":7,"s":[1]}'],
)  # fmt: skip
def test_other_messages_are_none(text: str) -> None:
    """Whatever shape they have."""
    assert spot_live().read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "<html>503</html>", '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":17', "7", "null", "\x00\xff",
        '{"e":"kline","E":1,"s":"BTCUSDT"}', json.dumps(event(o=None)), json.dumps(event(o="dear")),
        json.dumps(event(t=-1)), json.dumps(event(s="ETHUSDT")), json.dumps(event(T=START // 1000 + 60_000)),
        json.dumps(event(x="yes")), '{"result":null,"id":"a"}',
    ],
)  # fmt: skip
def test_garbage_is_a_fault_that_shows_how_it_begins(text: str) -> None:
    """No JSON, half a message, a bar without values, impossible ones, two symbols, longer than its timeframe."""
    with pytest.raises(Faulty) as caught:
        spot_live().read(text)
    assert f"'{' '.join(text.split())[:20]}" in caught.value.message
    assert caught.value.message.startswith("binance sent ")


@given(st.binary(max_size=400))
def test_no_bytes_are_worse_than_a_fault(message: bytes) -> None:
    """Whatever comes, it is read, passed over, or a Faulty."""
    with suppress(Faulty):
        found = spot_live().read(message)
        assert found is None or isinstance(found, Confirmed)


@pytest.mark.parametrize("source", [spot_live(), usdm_live()], ids=lambda s: s.name)
def test_the_two_markets_speak_one_language(source: LiveSource) -> None:
    """Stream names, requests that can be read back, and limits below the venue's."""
    series = [
        Series.parse(f"{source.venue}:{symbol}", tf) for symbol in ("BTCUSDT", "1000PEPEUSDT") for tf in ("1m", "1w")
    ]
    streams = [source.stream(s) for s in series]
    assert streams == ["btcusdt@kline_1m", "btcusdt@kline_1w", "1000pepeusdt@kline_1m", "1000pepeusdt@kline_1w"]
    assert json.loads(source.subscribe(streams, 9)) == {"method": "SUBSCRIBE", "params": streams, "id": 9}
    assert source.requests_per_second < {"BINANCE": 5, "BINANCEUSDM": 10}[source.venue]
    assert source.url.startswith("wss://")
    assert source.url.endswith("/stream")


def test_an_address_of_ones_own_is_a_base() -> None:
    """What comes before ``/stream``, with or without a stroke at the end; bars of futures are below ``/market``."""
    assert spot_live("ws://127.0.0.1:8900/").url == "ws://127.0.0.1:8900/stream"
    for url in ("ws://127.0.0.1:8900/fapi", "ws://127.0.0.1:8900/fapi/market/"):
        assert usdm_live(url).url == "ws://127.0.0.1:8900/fapi/market/stream"
