"""Funding rates and open interest of the simulated USD-M market: pages, limits and errors as the venue's."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from gapless.errors import UnknownName
from gapless.sim import Running, SimConfig, running
from gapless.sim.value_desk import FUNDING, INTEREST
from gapless.spans import DAY, HOUR, MINUTE, Span, parse_time

NOW = parse_time("2024-06-03T12:34:20Z")


@pytest.fixture
def sim() -> Any:
    options = {"symbols": 4, "start": "2023-06-01", "now": NOW, "speed": 0.0, "listed_late": 0.0, "delisted": 0.0}
    with running(SimConfig(**options)) as venue:  # type: ignore[arg-type]
        yield venue


def ask(sim: Running, path: str, **params: object) -> tuple[int, Any]:
    """Status and body of a request."""
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    try:
        with urlopen(f"{sim.url}{path}?{urlencode(params)}") as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_rates_come_from_the_start_in_order_and_carry_jitter(sim: Running) -> None:
    """100 unless asked otherwise, 1000 at most, the first ones of the span; both ends belong to it."""
    start = parse_time("2023-07-01") // 1000
    _, rows = ask(sim, FUNDING, symbol="BTCUSDT", startTime=start)
    assert len(rows) == 100
    times = [row["fundingTime"] for row in rows]
    assert times == sorted(times)
    assert any(t % (3600 * 1000) for t in times)
    assert all(t % (3600 * 1000) < 16 for t in times)
    _, one = ask(sim, FUNDING, symbol="BTCUSDT", startTime=times[3], endTime=times[3])
    assert one == [rows[3]]
    _, latest = ask(sim, FUNDING, symbol="BTCUSDT", limit=2)
    told = sim.values.values("funding_rate", "BTCUSDT", Span(NOW - DAY, NOW))[-2:]
    assert [(row["fundingTime"] * 1000, row["fundingRate"]) for row in latest] == told
    every = {round((b - a) / 3600_000, 3) for a, b in pairwise(times)}
    assert {round(hours) for hours in every} in ({1}, {4}, {8})


def test_open_interest_keeps_the_last_values_of_a_long_span_and_thirty_days(sim: Running) -> None:
    """500 at most, the newest of the span; further back than thirty days the venue refuses; longer periods thin out."""
    start = (NOW - 29 * DAY) // 1000
    _, rows = ask(sim, INTEREST, symbol="BTCUSDT", period="5m", startTime=start, endTime=NOW // 1000, limit=500)
    assert len(rows) == 500
    assert rows[-1]["timestamp"] == parse_time("2024-06-03T12:30") // 1000
    _, hours = ask(sim, INTEREST, symbol="BTCUSDT", period="1h", startTime=(NOW - 3 * HOUR) // 1000)
    assert [row["timestamp"] * 1000 for row in hours] == [parse_time(f"2024-06-03T{h}:00") for h in (10, 11, 12)]
    by_time = {row["timestamp"]: row["sumOpenInterest"] for row in rows}
    assert hours[0]["sumOpenInterest"] == by_time[hours[0]["timestamp"]]
    status, body = ask(sim, INTEREST, symbol="BTCUSDT", period="5m", startTime=(NOW - 31 * DAY) // 1000)
    assert (status, body["code"]) == (400, -1130)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        (FUNDING, {}, -1102),
        (FUNDING, {"symbol": "NOSUCH"}, -1121),
        (FUNDING, {"symbol": "BTCUSDT", "limit": 1001}, -1130),
        (FUNDING, {"symbol": "BTCUSDT", "limit": "x"}, -1100),
        (FUNDING, {"symbol": "BTCUSDT", "startTime": 2, "endTime": 1}, -1023),
        (FUNDING, {"symbol": "BTCUSDT", "startTime": "soon"}, -1100),
        (INTEREST, {"symbol": "BTCUSDT"}, -1102),
        (INTEREST, {"symbol": "BTCUSDT", "period": "1m"}, -1130),
        (INTEREST, {"symbol": "BTCUSDT", "period": "5m", "limit": 501}, -1130),
    ],
)
def test_wrong_calls_are_refused_in_the_venues_words(sim: Running, path: str, params: Any, code: int) -> None:
    """400 with the code."""
    status, body = ask(sim, path, **params)
    assert (status, body["code"]) == (400, code)


def test_each_path_has_a_limit_of_its_own() -> None:
    """Over the requests of five minutes the answer is 429; the other path and the bars are not touched."""
    options = {"symbols": 2, "start": "2024-01-01", "now": NOW, "speed": 0.0, "weight_limit": 5, "listed_late": 0.0}
    with running(SimConfig(**options)) as sim:  # type: ignore[arg-type]
        answers = [ask(sim, FUNDING, symbol="BTCUSDT")[0] for _ in range(7)]
        assert sorted(answers) == [200] * 5 + [429] * 2
        assert ask(sim, INTEREST, symbol="BTCUSDT", period="5m")[0] == 200
        assert ask(sim, "/fapi/v1/time")[0] == 200


def test_a_revised_value_is_served_and_an_unknown_kind_is_told(sim: Running) -> None:
    """What a test puts in the place of a value is what the venue says from then on."""
    at = NOW // (5 * MINUTE) * 5 * MINUTE
    sim.values.revised["open_interest", "BTCUSDT", at] = "1.5"
    _, rows = ask(sim, INTEREST, symbol="BTCUSDT", period="5m", limit=1)
    assert (rows[0]["timestamp"] * 1000, rows[0]["sumOpenInterest"]) == (at, "1.5")
    with pytest.raises(UnknownName, match="open_interest"):
        sim.values.values("interest", "BTCUSDT", Span(NOW - DAY, NOW))


@pytest.mark.slow
def test_ccxt_reads_the_same_values(sim: Running) -> None:
    """A client that others wrote for the real venue."""
    ccxt = pytest.importorskip("ccxt.async_support", reason="ccxt is not installed (it is in the group 'bench')")

    async def read() -> tuple[list[Any], list[Any]]:
        client = ccxt.binance({"options": {"defaultType": "linear", "fetchMarkets": {"types": ["linear"]}}})
        client.has["fetchCurrencies"] = False
        client.urls["api"] |= {"fapiPublic": f"{sim.url}/fapi/v1", "fapiData": f"{sim.url}/futures/data"}
        try:
            await client.load_markets()
            since = (NOW - 2 * DAY) // 1000
            rates = await client.fetch_funding_rate_history("BTC/USDT:USDT", since, 100)
            interest = await client.fetch_open_interest_history("BTC/USDT:USDT", "5m", since, 100)
            return rates, interest
        finally:
            await client.close()

    rates, interest = asyncio.run(read())
    span = Span(NOW - 2 * DAY, NOW)
    told = [(ts // 1000, float(text)) for ts, text in sim.values.values("funding_rate", "BTCUSDT", span)]
    assert [(row["timestamp"], row["fundingRate"]) for row in rates] == told
    told = [(ts // 1000, float(text)) for ts, text in sim.values.values("open_interest", "BTCUSDT", span)][:100]
    assert [(row["timestamp"], row["openInterestAmount"]) for row in interest] == told
