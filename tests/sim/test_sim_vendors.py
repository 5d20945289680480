"""Vendors beside Binance: others' clients read them, stocks trade in sessions, and faults have the vendor's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gapless.calendars import calendar
from gapless.sim import Running
from gapless.spans import DAY, MINUTE, Span, Timeframe, parse_time

SPLITS = {"AAPL": (("2024-05-14", 1, 4),)}
DIVIDENDS = {"AAPL": (("2024-05-10", 0.96), ("2024-06-10", 0.25), ("2024-09-10", 0.25))}
WEEK = Span(parse_time("2024-05-13T04:00Z"), parse_time("2024-05-18T04:00Z"))
HEAD = "/polygon/v2/aggs/ticker"


def polygon(get: Any, path: str, **params: object) -> Any:
    return get(path, apiKey="sim-key", **params).json


def test_the_vendors_client_reads_the_same_bars(venue: Any) -> None:
    """Massive's own client, over several pages, as traded and adjusted: what the truth is, to the bit."""
    massive = pytest.importorskip("massive", reason="massive is not installed (it is in the group 'test')")
    with venue(splits=SPLITS, dividends=DIVIDENDS) as (sim, _):
        client = massive.RESTClient("sim-key", base=f"{sim.url}/polygon")
        truth = sim.markets["XNAS"].truth("AAPL", "1m", WEEK)
        raw = list(client.list_aggs("AAPL", 1, "minute", "2024-05-13", "2024-05-17", adjusted=False, limit=1000))
        assert [(b.timestamp * 1000, b.open, b.close, b.volume) for b in raw] == [
            (row["ts"].timestamp() * 1_000_000, row["open"], row["close"], row["volume"])
            for row in truth.iter_rows(named=True)
        ]
        adjusted = list(client.list_aggs("AAPL", 1, "minute", "2024-05-13", "2024-05-17", limit=1000))
        before = parse_time("2024-05-14") // 1000
        assert [b.close for b in adjusted] == [b.close / (4 if b.timestamp < before else 1) for b in raw]
        assert [(s.execution_date, s.split_to) for s in client.list_splits("AAPL")] == [("2024-05-14", 4)]
        told = [(d.ex_dividend_date, d.cash_amount) for d in client.list_dividends("AAPL", order="asc", limit=1)]
        assert told == list(DIVIDENDS["AAPL"][:2])  # the third is not announced yet
        assert {t.ticker for t in client.list_tickers(market="stocks", exchange="XNAS", limit=2)} == set(
            sim.markets["XNAS"].symbols
        )


def test_stocks_trade_in_sessions(venue: Any) -> None:
    """Minutes lie inside extended hours of session days; a day holds its minutes, under its session's date."""
    with venue() as (sim, _):
        truth, span = sim.markets["XNAS"], Span.parse("2024-03-25", "2024-04-02")
        hours = calendar("XNYS", extended=True).sessions(span)
        minutes = truth.truth("AAPL", "1m", span)
        opens = minutes["ts"].to_physical().to_numpy()
        assert minutes.height > 1000
        assert hours.mask(opens).all()
        days = truth.truth("AAPL", "1d", span)
        assert [str(d)[:10] for d in days["ts"]] == [
            "2024-03-25",
            "2024-03-26",
            "2024-03-27",
            "2024-03-28",
            "2024-04-01",
        ]
        last = next(s for s in hours if s.start // DAY * DAY == parse_time("2024-03-28"))
        inside = minutes.filter((minutes["ts"].to_physical() >= last.start) & (minutes["ts"].to_physical() < last.end))
        assert days["volume"][3] == pytest.approx(inside["volume"].sum())
        assert (days["open"][3], days["close"][3]) == (inside["open"][0], inside["close"][-1])
        assert (days["high"][3], days["low"][3]) == (inside["high"].max(), inside["low"].min())


def test_before_a_split_prices_are_those_of_the_day(venue: Any) -> None:
    """Four new shares for one: the close before is four times as high, and turnover does not jump."""
    with venue(splits=SPLITS) as (sim, _):
        days = sim.markets["XNAS"].truth("AAPL", "1d", Span.parse("2024-05-10", "2024-05-16"))
        before, after = days["close"][1], days["open"][2]
        assert 3.5 < before / after < 4.5


@pytest.mark.parametrize("limit", [7, 100, 50_000])
def test_a_limit_counts_the_minutes_that_bars_are_made_of(venue: Any, limit: int) -> None:
    """Hours made of ``limit`` minutes, whole ones only; following next_url gives each of them once."""
    with venue() as (sim, get):
        path: str | None = f"{HEAD}/X:BTCUSD/range/5/minute/2024-05-14/2024-05-14"
        params: dict[str, object] = {"limit": limit, "adjusted": "false"}
        bars: list[Any] = []
        while path:
            body = polygon(get, path, **params)
            bars += body.get("results", [])
            assert body["resultsCount"] <= max(limit // 5, 1)
            tail = body.get("next_url", "").partition("api.massive.com")[2]
            path = f"/polygon{tail.partition('?')[0]}" if tail else None
        truth = sim.markets["CRYPTO"].truth("BTCUSD", "5m", Span.parse("2024-05-14", "2024-05-15"))
        assert [b["t"] * 1000 for b in bars] == truth["ts"].to_physical().to_list()
        assert [b["v"] for b in bars] == truth["volume"].to_list()


def test_without_a_known_key_nothing_is_answered(venue: Any) -> None:
    """401 in the vendor's words; the header and the parameter open it alike."""
    with venue() as (_, get):
        path = f"{HEAD}/SHY/range/1/day/2024-05-13/2024-05-17"
        assert (get(path).status, get(path).json["error"]) == (401, "API Key was not provided")
        assert get(path, apiKey="guess").json["error"] == "Unknown API Key"
        assert get(path, apiKey="sim-key").json["resultsCount"] == 5


def test_faults_have_the_vendors_words(venue: Any) -> None:
    """A 429 of each is its own; the Date header tells the venue's clock."""
    with venue(faults="429:2x") as (_, get):
        assert get("/bitfinex/v2/platform/status").body == b'["error",11010,"ratelimit: error"]'
        assert "maximum requests per minute" in get("/polygon/v1/marketstatus/now", apiKey="sim-key").json["error"]
        answer = get("/bitfinex/v2/platform/status")
        assert (answer.body, answer.headers["Date"]) == (b"[1]", "Mon, 03 Jun 2024 12:34:20 GMT")


def test_bitfinex_leaves_silent_minutes_out(venue: Any) -> None:
    """Without ``sort`` the newest come first; what nobody traded is not there; a wrong symbol is status 500."""
    with venue() as (sim, get):
        path = "/bitfinex/v2/candles/trade:1m:t%s/hist"
        start = parse_time("2024-05-14")
        params = {"start": start // 1000, "end": start // 1000 + 3_599_999, "limit": 100}
        rows = get(path % "ALGOUSD", sort=1, **params).json
        truth = sim.markets["BITFINEX"].truth("ALGOUSD", "1m", Span(start, start + 60 * MINUTE))
        assert [r[0] * 1000 for r in rows] == truth["ts"].to_physical().to_list()
        assert len(rows) < 60
        assert get(path % "ALGOUSD", **params).json == rows[::-1]
        wrong = get(path % "NOTHING", **params)
        assert (wrong.status, json.loads(wrong.body)) == (500, ["error", 10020, "symbol: invalid"])


def test_a_forming_bar_comes_last(venue: Any) -> None:
    """The bar that holds the present is sent too, by both."""
    with venue() as (sim, get):
        sim: Running
        minute = Timeframe.parse("1m").floor(sim.clock()) // 1000
        rows = get("/bitfinex/v2/candles/trade:1m:tBTCUSD/hist", limit=2).json
        assert rows[0][0] == minute
        day = polygon(get, f"{HEAD}/X:BTCUSD/range/1/minute/{minute - 120_000}/{minute}")
        assert day["results"][-1]["t"] == minute
