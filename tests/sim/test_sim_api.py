"""The API: pages as Binance cuts them, the forming bar, errors in Binance's words, the paths under /sim."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import UnknownName, UsageError
from gapless.sim import SimConfig
from gapless.sim.exchange import Exchange
from gapless.sim.rules import SPOT, USDM
from gapless.sim.venue import Ask, Venue
from gapless.sim.wire import split
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Span, SpanSet, Timeframe, iso, parse_time

NOW = parse_time("2024-06-03T12:34:20Z")
OPENED = NOW // MINUTE * MINUTE  # of the forming minute
EXCHANGE = Exchange(SimConfig(symbols=8, start="2024-03-01", now=NOW, speed=0.0))


def ms(text: str) -> int:
    return parse_time(text) // 1000


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] * 1000 for row in rows]


def test_without_times_the_latest_bars_come_and_the_last_is_forming(venue: Any) -> None:
    """500 bars by default, the newest holds the present."""
    with venue() as (_, get):
        rows = get.klines()
        assert opens(rows) == [OPENED - i * MINUTE for i in range(499, -1, -1)]
        assert opens(get.klines(limit=3, interval="1d")) == [parse_time(f"2024-06-0{d}") for d in (1, 2, 3)]


def test_start_time_takes_the_first_bars_at_or_after_it(venue: Any) -> None:
    """One millisecond after an open is the next bar."""
    with venue() as (_, get):
        at = ms("2024-05-01T00:00")
        assert opens(get.klines(startTime=at, limit=2)) == [at * 1000, at * 1000 + MINUTE]
        assert opens(get.klines(startTime=at + 1, limit=1)) == [at * 1000 + MINUTE]


def test_end_time_is_inclusive_of_an_open(venue: Any) -> None:
    """A bar that opens exactly at endTime belongs; endTime alone takes the last bars up to it."""
    with venue() as (_, get):
        end = ms("2024-05-01T01:00")
        assert opens(get.klines(endTime=end, limit=2)) == [end * 1000 - MINUTE, end * 1000]
        assert opens(get.klines(endTime=end - 1, limit=1)) == [end * 1000 - MINUTE]
        assert len(get.klines(startTime=end - 600_000, endTime=end)) == 11
        assert get.klines(startTime=end + 1, endTime=end) == []


def test_a_request_before_the_listing_starts_at_it(venue: Any) -> None:
    """startTime=0 answers with the first bar there is."""
    with venue() as (sim, get):
        assert opens(get.klines(startTime=0, limit=1)) == [sim.market.listed_at("BTCUSDT")]
        assert get.klines(startTime=0, endTime=ms("2024-02-01")) == []


def test_the_future_is_not_served(venue: Any) -> None:
    """No bar opens after now, whatever is asked, and a start in the future finds nothing."""
    with venue() as (_, get):
        assert opens(get.klines(startTime=OPENED // 1000 - 60_000)) == [OPENED - MINUTE, OPENED]
        assert get.klines(startTime=OPENED // 1000 + 60_000) == []


def test_limits_are_capped_on_spot_and_refused_on_usdm(venue: Any) -> None:
    """1000 rows at most on spot; 1500 on USD-M, where more is error -1130."""
    with venue() as (_, get):
        assert len(get.klines(limit=5000)) == 1000
        assert len(get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1500).json) == 1500
        refused = get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1501)
        assert (refused.status, refused.json["code"]) == (400, -1130)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/api/v3/klines", {"interval": "1m"}, -1102),
        ("/api/v3/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/api/v3/klines", {"symbol": "NOSUCH", "interval": "1m"}, -1121),
        ("/api/v3/klines", {"symbol": "btcusdt", "interval": "1m"}, -1100),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1min"}, -1120),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "-5"}, -1100),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "many"}, -1100),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "start": "1"}, -1104),
        ("/api/v3/exchangeInfo", {"symbol": "NOSUCH"}, -1121),
        ("/api/v3/exchangeInfo", {"symbols": "x"}, -1100),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "2", "endTime": "1"}, -1023),
    ],
)
def test_wrong_parameters_get_binances_errors(venue: Any, path: str, params: dict[str, str], code: int) -> None:
    """Status 400 and the venue's code, with exactly the keys ``code`` and ``msg``."""
    with venue() as (_, get):
        got = get(path, **params)
    assert got.status == 400
    assert got.json["code"] == code
    assert list(got.json) == ["code", "msg"]


def test_the_forming_bar_grows_until_it_is_final() -> None:
    """Through a minute: open fixed, high and trades never fall, low never rises; after the close it is the truth."""
    exchange = Exchange(SimConfig(symbols=2, start="2024-03-01", now="2024-06-03T12:34:00Z", speed=0.0))
    minute = parse_time("2024-06-03T12:34")
    params = {"symbol": "BTCUSDT", "interval": "5m", "limit": "1"}
    seen = []
    for _ in range(12):
        body = exchange.handle(SPOT, "klines", params, "a").reply.body
        seen.append(_floats(body))
        exchange.clock.advance(5 * SECOND)
    for before, after in pairwise(seen):
        assert after[0] == before[0] == minute // (5 * MINUTE) * 5 * MINUTE // 1000
        assert after[1] == before[1]
        assert after[2] >= before[2]
        assert after[3] <= before[3]
        assert all(after[i] >= before[i] for i in (5, 7, 8, 9))
    assert seen[0][5] < seen[-1][5]
    exchange.clock.advance(0)
    final = (
        exchange.truths["BINANCE"].truth("BTCUSDT", "5m", Span(minute - 4 * MINUTE, minute + MINUTE)).row(0, named=True)
    )
    served = _floats(exchange.handle(SPOT, "klines", {**params, "startTime": str(int(seen[0][0]))}, "a").reply.body)
    assert served[1:6] == [final[k] for k in ("open", "high", "low", "close", "volume")]


def _floats(body: bytes) -> list[float]:
    return [float(x) for x in json.loads(body)[-1]]


def test_nothing_forms_during_an_outage() -> None:
    """While the venue is down the newest bar is the last one before it."""
    down = Span(OPENED - 10 * MINUTE, OPENED + 10 * MINUTE)
    exchange = Exchange(SimConfig(symbols=2, start="2024-03-01", now=NOW, speed=0.0, outages=SpanSet.of(down)))
    body = exchange.handle(SPOT, "klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "1"}, "a").reply.body
    assert _floats(body)[0] * 1000 == down.start - MINUTE


@settings(max_examples=60, deadline=None)
@given(
    symbol=st.sampled_from(EXCHANGE.truths["BINANCE"].symbols), name=st.sampled_from(sorted(Timeframe.ALL)),
    start=st.none() | st.integers(0, 120 * DAY), length=st.none() | st.integers(0, 30 * DAY), limit=st.integers(1, 700),
)  # fmt: skip
def test_any_page_is_a_slice_of_the_truth(
    symbol: str, name: str, start: int | None, length: int | None, limit: int
) -> None:
    """First bars from a start, last bars to an end, never more than the limit: against the truth filtered plainly."""
    truth, timeframe = EXCHANGE.truths["BINANCE"], Timeframe.parse(name)
    origin = parse_time("2024-02-20")
    low = None if start is None else origin + start
    high = None if length is None else (origin if low is None else low) + length
    everything = truth.truth(symbol, timeframe, Span(0, timeframe.floor(NOW)))["ts"].to_physical().to_list()
    forming = EXCHANGE.venues[SPOT].forming(symbol, timeframe, NOW).ts.tolist()
    inside = [t for t in everything + forming if (low is None or t >= low) and (high is None or t <= high)]
    expected = inside[:limit] if low is not None else inside[-limit:]
    page = Venue(SPOT, truth, printed_days=4).page(Ask(symbol, timeframe, low, high, limit), NOW)
    assert [int(row[1 : row.index(b",")]) * 1000 for row in split(page)] == expected


def test_walking_the_pages_gives_the_truth_bar_by_bar(venue: Any) -> None:
    """A plain client that pages from the listing on has every final bar, with the very same values."""
    with venue(symbols=("BTCUSDT", "THINUSDT"), start="2024-06-01") as (sim, get):
        for symbol in sim.market.symbols:
            rows, at = [], ms("2024-06-01")
            while page := get.klines(symbol, startTime=at, limit=1000):
                rows += page
                at = page[-1][0] + 1
            span = Span(parse_time("2024-06-01"), OPENED)
            truth = sim.market.truth(symbol, "1m", span)
            assert opens(rows[:-1]) == truth["ts"].to_physical().to_list()
            for at, column in ((1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume"), (8, "trades")):
                assert [float(row[at]) for row in rows[:-1]] == truth[column].to_list()


def test_a_symbol_is_unknown_before_its_listing_and_stays_after_its_delisting() -> None:
    """-1121 and no line in exchangeInfo before; status BREAK (spot), SETTLING with its date (USD-M), history after."""
    exchange = Exchange(SimConfig(symbols=8, start="2024-03-01", end="2024-06-01", now="2024-03-02", speed=0.0))
    late = next(x for x in exchange.truths["BINANCE"].listings() if x.listed_at > parse_time("2024-03-02"))
    gone = next(x for x in exchange.truths["BINANCE"].listings() if x.delisted_at < parse_time("2024-06-01"))
    ask = {"symbol": late.instrument.symbol, "interval": "1h"}
    assert exchange.handle(SPOT, "klines", ask, "a").reply.status == 400
    assert late.instrument.symbol not in _symbols(exchange, SPOT)
    exchange.clock.advance(85 * DAY)
    assert exchange.handle(SPOT, "klines", ask, "a").reply.status == 200
    assert _symbols(exchange, USDM)[late.instrument.symbol]["onboardDate"] == late.listed_at // 1000
    assert _symbols(exchange, SPOT)[gone.instrument.symbol]["status"] == "BREAK"
    contract = _symbols(exchange, USDM)[gone.instrument.symbol]
    assert (contract["status"], contract["deliveryDate"]) == ("SETTLING", gone.delisted_at // 1000)
    last = _floats(
        exchange.handle(SPOT, "klines", {"symbol": gone.instrument.symbol, "interval": "1m"}, "a").reply.body
    )
    assert last[0] * 1000 == gone.delisted_at - MINUTE


def _symbols(exchange: Exchange, api: Any) -> dict[str, Any]:
    body = exchange.handle(api, "exchangeInfo", {}, "a").reply.body
    return {entry["symbol"]: entry for entry in json.loads(body)["symbols"]}


def test_exchange_info_narrows_to_symbols(venue: Any) -> None:
    """``symbol=`` and ``symbols=`` pick; the tick printed is the tick traded."""
    with venue() as (sim, get):
        one = get("/api/v3/exchangeInfo", symbol="ETHUSDT").json["symbols"]
        two = get("/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]').json["symbols"]
        assert [s["symbol"] for s in one] == ["ETHUSDT"]
        assert [s["symbol"] for s in two] == ["BTCUSDT", "ETHUSDT"]
        tick = float(one[0]["filters"][0]["tickSize"])
        assert tick == 10.0 ** -sim.market.scale("ETHUSDT").price


def test_the_clock_starts_where_told_runs_and_jumps(venue: Any) -> None:
    """A standing clock tells one time; ``POST /sim/clock`` moves it ahead; a fast one runs fast."""
    with venue() as (sim, get):
        assert get("/api/v3/time").json == get("/api/v3/time").json == {"serverTime": NOW // 1000}
        assert get("/sim/clock", method="POST", advance="90s").json["now"] == iso(NOW + 90 * SECOND)
        assert sim.clock() == NOW + 90 * SECOND
        assert get("/sim/clock", method="POST", advance="soon").status == 400
    with venue(speed=3600.0) as (_, get):
        first = get("/api/v3/time").json["serverTime"]
        while get("/api/v3/time").json["serverTime"] - first < 1000:
            pass  # a tenth of the speed would hang here


def test_sim_paths_tell_the_truth(venue: Any) -> None:
    """/sim/truth equals ``market.truth`` up to the last final bar; counts, listings and outages can be read."""
    with venue() as (sim, get):
        asked = {"instrument": "BINANCE:ETHUSDT", "timeframe": "1h", "start": "2024-06-03", "end": "2024-06-04"}
        truth = sim.market.truth("ETHUSDT", "1h", Span(parse_time("2024-06-03"), NOW // HOUR * HOUR))
        got = get("/sim/truth", **asked).json
        assert got["ts"] == truth["ts"].to_physical().to_list()
        assert got["close"] == truth["close"].to_list()
        get("/api/v3/ping")
        assert get("/sim/requests").json == {"total": 1, "by_answer": {"/api/v3/ping 200": 1}}
        assert sim.requests == 1
        assert get("/sim/faults").json == {}
        listings = {x["instrument"]: x for x in get("/sim/listings").json}
        assert listings["BINANCE:BTCUSDT"] == listings["BINANCEUSDM:BTCUSDT"] | {"instrument": "BINANCE:BTCUSDT"}
        assert listings["BINANCE:BTCUSDT"]["listed_at"] == "2024-03-01T00:00:00Z"
        assert [x["delisted_at"] for x in listings.values() if x["delisted_at"]]
        outages = get("/sim/interruptions").json["BINANCE"]["outages"]
        assert outages == [[iso(s.start), iso(s.end)] for s in sim.market.outages]


@pytest.mark.parametrize("instrument", ["", "BINANCE:NOSUCH", "KRAKEN:BTCUSDT", "BTCUSDT"])
def test_sim_paths_explain_errors(venue: Any, instrument: str) -> None:
    """Status 400 with type, message and hint."""
    with venue() as (_, get):
        got = get("/sim/truth", instrument=instrument, start="2024-06-01", end="2024-06-02")
    assert got.status == 400
    assert set(got.json["error"]) == {"type", "message", "hint"}


def test_wrong_configurations_are_refused_at_once() -> None:
    """A fault, a time, a speed or a replay that cannot be is an error before anything is served."""
    with pytest.raises(UnknownName, match="did you mean 'truncate'"):
        SimConfig(faults="truncat:0.1")
    for bad in ({"now": "noon"}, {"speed": -1.0}, {"hold": 0.0}, {"reader": lambda *_: pl.DataFrame()}):
        with pytest.raises(UsageError):
            SimConfig(**bad)  # type: ignore[arg-type]
