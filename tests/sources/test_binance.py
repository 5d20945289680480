"""Binance: what its answers mean, row by row and error by error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import Faulty, Refused, Throttled
from gapless.series import Series
from gapless.sources.binance import Binance, spot, usdm
from gapless.spans import MINUTE, Span, parse_time
from recorded import Recorded

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded answers are not part of the project")
BTC = Series.parse("BINANCE:BTCUSDT", "1m")
START = parse_time("2025-05-01")
HOUR = Span(START, START + 60 * MINUTE)


def row(minute: int, close: str = "2.0", *, micros: bool = False) -> list[object]:
    opened = START // 1000 + minute * 60_000
    times = (opened * 1000, opened * 1000 + 59_999_999) if micros else (opened, opened + 59_999)
    return [times[0], "1.5", "3.0", "1.0", close, "10.5", times[1], "20.25", 4, "5.5", "10.0", "0"]


def fetch(rows: object, span: Span = HOUR, source: Binance | None = None) -> pl.DataFrame:
    body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    return asyncio.run((source or spot()).fetch(Recorded(body), BTC, span)).frame


def opens(frame: pl.DataFrame) -> list[int]:
    return [(ts - START) // MINUTE for ts in frame.get_column("ts").to_physical()]


@needs_wire
def test_recorded_spot_klines_decode_exactly() -> None:
    """Every recorded row becomes a bar whose values are the decimals of the text, nearest double."""
    body = (WIRE / "binance_nautilus_lgpl/http_responses__http_spot_market_klines.json").read_bytes()
    rows = json.loads(body)
    frame = fetch(body, Span(rows[0][0] * 1000, rows[-1][0] * 1000 + MINUTE))
    expected = [(r[0] * 1000, *map(float, r[1:6]), float(r[7]), float(r[8]), float(r[9])) for r in rows]
    assert frame.drop("instrument").with_columns(pl.col("ts").to_physical()).rows() == expected
    assert frame.get_column("instrument").unique().to_list() == ["BINANCE:BTCUSDT"]


@needs_wire
def test_recorded_weekly_futures_row_that_closes_elsewhere_is_refused_as_a_minute() -> None:
    """A row that closes a week after its open is no one-minute bar."""
    body = (WIRE / "binance_nautilus_lgpl/http_responses__http_futures_market_klines.json").read_bytes()
    with pytest.raises(Faulty, match="does not close within 1m"):
        fetch(body, Span(0, START), usdm())


@needs_wire
def test_recorded_exchange_infos_list_their_symbols() -> None:
    """Spot says no dates; USD-M says since when, and a delivery in 2100 means never."""
    for source, name in ((spot(), "spot"), (usdm(), "futures")):
        body = (WIRE / f"binance_nautilus_lgpl/http_responses__http_{name}_market_exchange_info.json").read_bytes()
        listings = asyncio.run(source.listings(Recorded(body)))
        assert [x.instrument.symbol for x in listings] == [x["symbol"] for x in json.loads(body)["symbols"]]
        assert {x.status for x in listings} == {"trading"}
        assert all(x.metadata["tick"] and x.metadata["step"] for x in listings)
        assert [x.listed_at for x in listings][:1] == [None if name == "spot" else 1569398400000_000]
        ends = {x.instrument.symbol: x.delisted_at for x in listings if x.delisted_at is not None}
        assert ends == ({} if name == "spot" else {"BTCUSDT_220325": 1648195200000_000})


@needs_wire
def test_recorded_server_time_is_microseconds() -> None:
    """serverTime comes in ms and is given in µs."""
    body = (WIRE / "binance_nautilus_lgpl/http_responses__http_spot_market_time.json").read_bytes()
    assert asyncio.run(spot().server_time(Recorded(body))) == 1633835466289_000


@needs_wire
def test_observed_ban_and_weight_bodies_are_throttled() -> None:
    """418 names the end of the ban; 429 does not."""
    observed = json.loads((WIRE / "error_bodies_observed.json").read_text())
    ban = spot().refusal(418, {}, json.dumps(observed["binance_418_ban"]["body"]).encode())
    assert isinstance(ban, Throttled)
    assert (ban.banned, ban.retry_at) == (True, 1785050129644_000)
    slow = spot().refusal(429, {}, json.dumps(observed["binance_429_weight"]["body"]).encode())
    assert isinstance(slow, Throttled)
    assert (slow.banned, slow.retry_at) == (False, None)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', Refused, "no such symbol"),
        (400, b'{"code":-1120,"msg":"Invalid interval."}', Refused, "check base_url"),
        (400, b'{"code":-1003,"msg":"Too many requests."}', Throttled, "-1003"),
        (403, b"<html>WAF</html>", Refused, "firewall"),
        (451, b'{"code":0,"msg":"Service unavailable from a restricted location"}', Refused, "does not serve"),
        (404, b"", Refused, "nothing"),
        (302, b"", Refused, "302"),
        (500, b'{"code":-1001,"msg":"Internal error"}', Faulty, "-1001"),
        (502, b"<html>\n<h1>502 Bad Gateway</h1></html>", Faulty, "502 Bad Gateway"),
        (503, b"\xff\xfe", Faulty, "503"),
        (400, b'{"code":-1000,"msg":"An unknown error"}', Faulty, "-1000"),
    ],
)
def test_each_refusal_says_whether_asking_again_helps(status: int, body: bytes, kind: type, words: str) -> None:
    """Status and code decide; the message quotes what was said and the hint names the fix."""
    error = spot().refusal(status, {}, body)
    assert type(error) is kind
    assert words in str(error)


def test_a_request_asks_for_whole_milliseconds_with_an_inclusive_end() -> None:
    """endTime is the last millisecond inside the span, and limit no more than the span can hold."""
    http = Recorded(b"[]")
    asyncio.run(spot().fetch(http, BTC, HOUR))
    asyncio.run(usdm().fetch(http, BTC, Span(START, START + 5000 * MINUTE)))
    ms = START // 1000
    asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": ms, "endTime": ms + 3_599_999, "limit": 60}
    assert http.asked[0] == ("/api/v3/klines", asked, 2)
    assert (http.asked[1][0], http.asked[1][1]["limit"], http.asked[1][2]) == ("/fapi/v1/klines", 1500, 10)


def test_a_page_proves_no_more_than_up_to_the_close_of_its_last_bar() -> None:
    """Short and empty answers leave their tails unproven."""
    page = asyncio.run(spot().fetch(Recorded(json.dumps([row(3), row(5)]).encode()), BTC, HOUR))
    assert page.covered == Span(START, START + 6 * MINUTE)
    assert asyncio.run(spot().fetch(Recorded(b"[]"), BTC, HOUR)).covered == Span(START, START)


def test_an_empty_span_asks_nothing() -> None:
    """No bar opens inside: no request."""
    http = Recorded(b"[]")
    page = asyncio.run(spot().fetch(http, BTC, Span(START + 1, START + 2)))
    assert (http.asked, page.covered) == ([], Span(START + 1, START + 1))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[[1746057600000,", "cannot be read"),
        (b"<html>", "it begins '<html>'"),
        (b'{"code":-1,"msg":"x"}', "cannot be read"),
        (json.dumps([row(1)[:11]]).encode(), "cannot be read"),
        (json.dumps([[*row(1), "more"]]).encode(), "cannot be read"),
        (json.dumps([row(1, "abc")]).encode(), "cannot be read"),
        (json.dumps([row(1, "")]).encode(), "cannot be read"),
        (json.dumps([[True, *row(1)[1:]]]).encode(), "cannot be read"),
        (json.dumps([[-5, *row(1)[1:]]]).encode(), "cannot be read"),
        (json.dumps([[10**18, *row(1)[1:]]]).encode(), "cannot be read"),
        (json.dumps([row(60)]).encode(), "outside the asked span"),
        (json.dumps([row(-1), row(0)]).encode(), "outside the asked span"),
        (json.dumps([row(1), row(1, "2.5")]).encode(), "two rows of one time disagree"),
        (json.dumps([[*row(1)[:6], row(2)[6], *row(1)[7:]]]).encode(), "does not close within"),
    ],
)
def test_an_answer_that_cannot_be_true_is_faulty(body: bytes, words: str) -> None:
    """Wrong shape, wrong span, or rows that contradict each other: nothing of the page is used."""
    with pytest.raises(Faulty, match=words):
        fetch(body)


@given(st.data())
def test_order_repetition_and_unit_of_rows_do_not_matter(data: st.DataObject) -> None:
    """Any order, any rows twice, any mixture of ms and µs gives the bars of the orderly page."""
    minutes = data.draw(st.lists(st.integers(0, 59), unique=True, min_size=1))
    shown = data.draw(st.permutations(minutes + data.draw(st.lists(st.sampled_from(minutes)))))
    rows = [row(minute, f"{1 + minute / 60:.8f}", micros=data.draw(st.booleans())) for minute in shown]
    frame = fetch(rows)
    assert opens(frame) == sorted(minutes)
    assert frame.get_column("close").to_list() == [float(f"{1 + minute / 60:.8f}") for minute in sorted(minutes)]


def test_used_weight_is_read_from_the_header_or_not_at_all() -> None:
    """A missing or odd header is no statement."""
    assert spot().used({"X-MBX-USED-WEIGHT-1M": "123"}) == 123
    assert spot().used({}) is None
    assert spot().used({"X-MBX-USED-WEIGHT-1M": "lots"}) is None


def test_symbols_that_cannot_be_named_are_not_listed() -> None:
    """A name outside the whitelist is left out; the others come through, with their end."""
    symbols = [
        {"symbol": "../etc"},
        {"symbol": "BTCUSDT_250627", "status": "TRADING", "deliveryDate": 1750993200000},
        {"symbol": "OLDUSDT", "status": "BREAK"},
    ]
    listings = asyncio.run(usdm().listings(Recorded(json.dumps({"symbols": symbols}).encode())))
    assert [(x.instrument.symbol, x.status, x.delisted_at) for x in listings] == [
        ("BTCUSDT_250627", "trading", 1750993200000_000),
        ("OLDUSDT", "break", None),
    ]
