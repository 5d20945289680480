"""yfinance, the client that most people read Yahoo with, reads the simulated one: the bars of the truth, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from gapless.adjust import adjusted, dividend, split
from gapless.bars import TS
from gapless.engine.fetch import Patience, opened
from gapless.series import Series
from gapless.sim import Running
from gapless.sources.yahoo import Yahoo, yahoo
from gapless.spans import DAY, SECOND, Span, iso, parse_time

yf = pytest.importorskip("yfinance", reason="yfinance is not installed (it is in the group 'test')")
requests = pytest.importorskip("curl_cffi.requests", reason="curl_cffi is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # yfinance's, about the next pandas
COLUMNS = ("open", "high", "low", "close", "volume")
SPLITS = {"AAPL": (("2024-05-14", 1, 4),)}
DIVIDENDS = {"AAPL": (("2024-05-10", 0.96), ("2024-05-20", 0.25))}


class Pointed(requests.Session):
    """yfinance's own session, whose every request goes to the simulated venue instead of any host of Yahoo's."""

    def __init__(self, url: str) -> None:
        super().__init__(impersonate="chrome")
        self.there, self.asked = f"{url}/yahoo", list[str]()

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        asked = urlsplit(url)
        assert asked.hostname is not None
        assert asked.hostname.endswith(".yahoo.com")
        self.asked.append(f"{asked.hostname}{asked.path}")
        return super().request(method, f"{self.there}{asked.path or '/'}", *args, **kwargs)


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path) -> Iterator[None]:
    """It remembers answers, zones and cookies beyond one venue."""
    yf.set_tz_cache_location(str(tmp_path))
    yf.data.YfData.cache_get.cache_clear()
    yf.data.YfData._instances.clear()
    yf.config.debug.hide_exceptions = False
    yield
    yf.data.YfData._instances.clear()


def theirs(sim: Running, symbol: str, interval: str, start: str, end: str, **options: Any) -> pl.DataFrame:
    """What yfinance makes of it, opens in UTC."""
    found = yf.Ticker(symbol, session=Pointed(sim.url)).history(
        interval=interval, start=start, end=end, auto_adjust=False, **options
    )
    opened_at = [int(at.timestamp() * 1_000_000) for at in found.index]
    return pl.DataFrame({"ts": opened_at, **{c: found[c.title()].to_list() for c in COLUMNS}})


def ours(sim: Running, name: str, frame: str, span: Span, *, adjusted: bool = True) -> pl.DataFrame:
    """What gapless makes of it."""
    series = Series.parse(name, frame)
    source: Yahoo = yahoo(f"{sim.url}/yahoo", venue=series.instrument.venue, adjusted=adjusted)

    async def ask() -> pl.DataFrame:
        async with opened(source, patience=Patience(attempts=1, timeout=10.0)) as http:
            return (await http.page(series, span)).frame

    return asyncio.run(ask()).select(pl.col("ts").to_physical(), *COLUMNS)


def same(a: pl.DataFrame, b: pl.DataFrame) -> None:
    """Times, prices to the bit, volumes: yfinance cuts them to whole shares."""
    assert a["ts"].to_list() == b["ts"].to_list()
    for column in COLUMNS[:4]:
        assert a[column].to_list() == b[column].to_list()
    assert a["volume"].cast(pl.Int64).to_list() == b["volume"].cast(pl.Int64).to_list()


@pytest.mark.parametrize("frame", ["1m", "5m", "15m"])
@pytest.mark.parametrize("symbol", ["AAPL", "SHY"])
def test_yfinance_reads_the_same_intraday_bars(venue: Any, symbol: str, frame: str) -> None:
    """A regular week, silent minutes left out, splits taken out: to the bit what gapless reads from the same venue."""
    with venue(splits=SPLITS) as (sim, _):
        span = Span.parse("2024-05-13T13:30", "2024-05-17T20:00")
        read = theirs(sim, symbol, frame, "2024-05-13", "2024-05-18")
        same(read, ours(sim, f"XNAS:{symbol}", frame, span))
        assert read.height > 5 * 20


def test_yfinance_reads_the_venues_truth(venue: Any) -> None:
    """Without a split the very bars of the truth, of regular hours."""
    with venue() as (sim, _):
        read = theirs(sim, "AAPL", "1m", "2024-05-13", "2024-05-14")
        truth = sim.markets["XNAS"].truth("AAPL", "1m", Span.parse("2024-05-13T13:30", "2024-05-13T20:00"))
        same(read, truth.select(pl.col("ts").to_physical(), *COLUMNS))


def test_yfinance_fetches_a_cookie_and_a_crumb_first(venue: Any) -> None:
    """Both are to be had, and no other page of Yahoo's is asked for."""
    with venue() as (sim, _):
        session = Pointed(sim.url)
        yf.Ticker("AAPL", session=session).history(interval="1d", start="2024-05-13", end="2024-05-14")
        assert list(dict.fromkeys(session.asked)) == [
            "fc.yahoo.com",
            "query1.finance.yahoo.com/v1/test/getcrumb",
            "query2.finance.yahoo.com/v8/finance/chart/AAPL",
        ]
        assert session.cookies["A3"] == "simulated"


def test_days_across_a_change_of_clocks_have_the_sessions_dates(venue: Any) -> None:
    """Opens an hour earlier by UTC from one Monday on; splits and dividends on their ex-dates, in shares of today."""
    with venue(start="2024-03-01", splits=SPLITS, dividends=DIVIDENDS) as (sim, _):
        span = Span.parse("2024-03-04", "2024-05-24")
        read = theirs(sim, "AAPL", "1d", "2024-03-04", "2024-05-24")
        labels = [parse_time(iso(ts)[:10]) for ts in read["ts"]]  # midnight in New York
        same(read.with_columns(ts=pl.Series(labels)), ours(sim, "XNAS:AAPL", "1d", span))
        assert len({ts % DAY for ts in read["ts"]}) == 2
        ticker = yf.Ticker("AAPL", session=Pointed(sim.url))
        assert {str(at)[:10]: value for at, value in ticker.splits.items()} == {"2024-05-14": 4.0}
        assert {str(at)[:10]: value for at, value in ticker.dividends.items()} == {
            "2024-05-10": 0.24,
            "2024-05-20": 0.25,
        }


def test_prices_adjusted_by_yfinance_are_those_adjusted_by_gapless(venue: Any) -> None:
    """Its ``Adj Close`` is the close as traded with the same splits and dividends taken out."""
    with venue(splits=SPLITS, dividends=DIVIDENDS) as (sim, _):
        span = Span.parse("2024-05-06", "2024-05-24")
        told = yf.Ticker("AAPL", session=Pointed(sim.url)).history(
            start="2024-05-06", end="2024-05-24", auto_adjust=False
        )
        traded = ours(sim, "XNAS:AAPL", "1d", span, adjusted=False)
        closes = {iso(row["ts"])[:10]: row["close"] for row in traded.iter_rows(named=True)}
        actions = [split("XNAS:AAPL", parse_time("2024-05-14"), 4)] + [
            dividend("XNAS:AAPL", parse_time(day), cash, close=closes[before])
            for (day, cash), before in zip(DIVIDENDS["AAPL"], ("2024-05-09", "2024-05-17"), strict=True)
        ]
        mended = adjusted(traded.with_columns(pl.col("ts").cast(TS)), actions, lambda ex: ex)
        assert mended["close"].to_list() == pytest.approx(told["Adj Close"].to_list(), rel=1e-12)


def test_after_an_early_close_nothing_is_read(venue: Any) -> None:
    """2024-07-03 ends at 13:00 in New York: what Yahoo sends after it is left out by both."""
    with venue(now="2024-07-05T18:00:20Z") as (sim, get):
        start, end = parse_time("2024-07-03T13:30"), parse_time("2024-07-03T17:00")
        path, asked = "/yahoo/v8/finance/chart/AAPL", {"period1": start // SECOND, "period2": start // SECOND + 86_400}
        sent = get(path, interval="5m", **asked).json["chart"]["result"][0]["timestamp"]
        read = theirs(sim, "AAPL", "5m", "2024-07-03", "2024-07-04")
        same(read, ours(sim, "XNAS:AAPL", "5m", Span(start, start + DAY)))
        assert max(sent) * SECOND > end > read["ts"].max()


def test_the_present_is_no_bar_of_its_own(venue: Any) -> None:
    """The latest tick of an open session makes no row; today, told twice, is one day: what it was told last."""
    with venue(now="2024-05-17T18:00:20Z") as (sim, _):
        now, minute = parse_time("2024-05-17T18:00:20Z"), parse_time("2024-05-17T18:00")
        read = theirs(sim, "AAPL", "1m", "2024-05-17", "2024-05-18")
        mine = ours(sim, "XNAS:AAPL", "1m", Span.parse("2024-05-17T13:30", "2024-05-17T20:00"))
        same(read.filter(pl.col("ts") < minute), mine.filter(pl.col("ts") < minute))
        assert max(read["ts"].max(), mine["ts"].max()) < now
        days = theirs(sim, "AAPL", "1d", "2024-05-13", "2024-05-18")
        labels = [parse_time(iso(ts)[:10]) for ts in days["ts"]]
        same(
            days.with_columns(ts=pl.Series(labels)),
            ours(sim, "XNAS:AAPL", "1d", Span.parse("2024-05-13", "2024-05-18")),
        )
