"""ccxt: its own Binance class, pointed at the simulated venue, gives the same bars as the venue has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless.engine.fetch import Patience, opened
from gapless.engine.venue import Venue
from gapless.engine.walk import Kept, Walk
from gapless.errors import Faulty, Refused, Throttled, UnknownName
from gapless.protocols import Page
from gapless.series import Instrument, Series
from gapless.sim import SimConfig, running
from gapless.sources.ccxt_any import Ccxt, ccxt, to_symbol
from gapless.spans import HOUR, MINUTE, Span, Timeframe, parse_time

library = pytest.importorskip("ccxt", reason="ccxt is not installed")
NOW = "2024-06-03T12:34:20Z"
END = parse_time("2024-06-03T12:00")
BTC = Series.parse("BINANCE:BTC-USDT", "1m")


def venue(**options: object) -> SimConfig:
    usual = {"symbols": ("BTCUSDT", "ETHUSDT"), "start": "2024-05-01", "now": NOW, "speed": 0.0, "listed_late": 0.0}
    return SimConfig(**(usual | options))  # type: ignore[arg-type]


def made(url: str, market: str = "spot") -> Ccxt:
    source = ccxt(url, exchange="binance", market=market)
    source.client.enableRateLimit = False
    return source


def page_of(source: Ccxt, series: Series, span: Span) -> Page:
    async def ask() -> Page:
        async with opened(source, patience=Patience(attempts=1)) as http:
            return await http.page(series, span)

    return asyncio.run(ask())


@pytest.mark.parametrize(("market", "name"), [("spot", "BTC-USDT"), ("swap", "BTC-USDT=USDT")])
@pytest.mark.parametrize("frame", ["1m", "1h"])
def test_a_walk_with_ccxts_binance_is_the_truth(market: str, name: str, frame: str) -> None:
    """Page by page, a day and a half of minutes or hours; the forming bar is left for later."""
    with running(venue()) as sim:
        source, series = made(sim.url, market), Series(Instrument("BINANCE", name), Timeframe.parse(frame))
        span, kept = Span(END - 36 * HOUR, END + HOUR), list[Kept]()

        async def keep(part: Kept) -> None:
            kept.append(part)

        async def walk() -> None:
            async with opened(source, clock=sim.clock) as http:
                await Walk(series, span, http, Venue(http), "run", keep).run()

        asyncio.run(walk())
        real = "BINANCE" if market == "spot" else "BINANCEUSDM"
        truth = sim.markets[real].truth("BTCUSDT", frame, Span(span.start, series.timeframe.floor(sim.clock())))
        rows = [row for part in kept for row in part.frame.drop("instrument").rows()]
        assert rows == truth.select("ts", "open", "high", "low", "close", "volume").rows()


def test_listings_are_under_the_names_that_are_asked() -> None:
    """Reversible: BTC/USDT is BTC-USDT."""
    with running(venue()) as sim:
        source = made(sim.url)

        async def ask() -> list[Any]:
            async with opened(source) as http:
                return list(await source.listings(http))

        found = [x.instrument for x in asyncio.run(ask())]
        assert sorted(to_symbol(x) for x in found) == ["BTC/USDT", "ETH/USDT"]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (library.RateLimitExceeded("slow"), Throttled),
        (library.DDoSProtection("slow"), Throttled),
        (library.BadSymbol("no"), Refused),
        (library.ExchangeNotAvailable("down"), Faulty),
        (library.RequestTimeout("late"), Faulty),
        (library.ExchangeError("what"), Faulty),
    ],
)
def test_ccxts_errors_are_the_engines(raised: Exception, kind: type[Exception]) -> None:
    """Slow down, ask again, or do not."""
    source = ccxt(exchange="binance")

    def fail(*_: object) -> None:
        raise raised

    source.client.load_markets = fail
    with pytest.raises(kind, match=str(raised)):
        asyncio.run(source.fetch(None, BTC, Span(END - HOUR, END)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [([-60, -59, -58], [-60, -59, -58]), ([-300, -61, -60, 0, 5], [-60]), ([], []), ([-60, -59, -59], [-60, -59])],
)
def test_bars_outside_what_was_asked_are_dropped(minutes: list[int], expected: list[int]) -> None:
    """An exchange that ignores ``since``, sends one bar before it, nothing, or a row twice."""
    source = ccxt(exchange="binance")
    source.client.load_markets = lambda: None
    source.client.fetch_ohlcv = lambda *_: [[(END + m * MINUTE) // 1000, 1.0, 2.0, 0.5, 1.5, 3.0] for m in minutes]
    page = asyncio.run(source.fetch(None, BTC, Span(END - HOUR, END)))  # type: ignore[arg-type]
    assert [(t - END) // MINUTE for t in page.frame["ts"].to_physical()] == expected
    assert page.covered.end == (END + (expected[-1] + 1) * MINUTE if expected else END - HOUR)


@pytest.mark.parametrize(
    ("exchange", "market", "bars"),
    [("coinbase", "spot", 300), ("binance", "spot", 1000), ("binance", "swap", 500), ("alpaca", "margin", 500)],
)
def test_pages_are_as_long_as_the_exchange_gives_them(exchange: str, market: str, bars: int) -> None:
    """One asked for more answers with an error, or with fewer: then a plan would count too few requests."""
    assert ccxt(exchange=exchange, market=market).limits.page_bars == bars


def test_wrong_names_are_told() -> None:
    """An exchange ccxt does not have; a timeframe the exchange does not have."""
    with pytest.raises(UnknownName, match="krakn"):
        ccxt(exchange="krakn")
    source = ccxt(exchange="binance")
    source.client.timeframes = {"5m": "5m"}
    with pytest.raises(Refused, match="no bars of 1m"):
        page_of(source, BTC, Span(END - HOUR, END))
