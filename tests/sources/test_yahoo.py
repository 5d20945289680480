"""Yahoo: what its columns mean, the rows that are no bars, and splits put back in."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gapless.engine.fetch import Patience, opened
from gapless.errors import Faulty, Refused, Throttled, UnknownName, UsageError
from gapless.protocols import Page
from gapless.series import Instrument, Series
from gapless.sim import Running, SimConfig, running
from gapless.sources.yahoo import Yahoo, yahoo
from gapless.spans import DAY, MINUTE, SECOND, Span, Timeframe, iso, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded answers are not part of the project")
AAPL = Series.parse("XNAS:AAPL", "1m")
OPEN = parse_time("2024-06-03T13:30")
HOUR_SIZE = 60 * MINUTE
HOUR = Span(OPEN, OPEN + HOUR_SIZE)
NOW = "2024-06-06T18:00:20Z"


class Recorded:
    """An http that answers bodies in turn, the last again and again, and remembers what it was asked."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies, self.asked = list(bodies), list[tuple[str, dict[str, str | int]]]()
        self.said_at: int | None = None

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        self.asked.append((path, dict(params)))
        return self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]


def chart(rows: list[tuple[int, float | None]], *, interval: str = "1m", symbol: str = "AAPL", **extra: Any) -> bytes:
    """An answer with flat bars of volume 10 at (second, price)."""
    prices = [price for _, price in rows]
    quote = dict.fromkeys(("open", "high", "low", "close"), prices)
    volume = [None if price is None else 10 for price in prices]
    meta = {"symbol": symbol, "exchangeTimezoneName": "America/New_York", "dataGranularity": interval}
    result = {
        "meta": meta, "timestamp": [at for at, _ in rows], "indicators": {"quote": [{**quote, "volume": volume}]}
    } | extra  # fmt: skip
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


def fetch(body: bytes, series: Series = AAPL, span: Span = HOUR, source: Yahoo | None = None) -> Page:
    return asyncio.run((source or yahoo(adjusted=True)).fetch(Recorded(body), series, span))


def at(minute: int) -> int:
    return OPEN // SECOND + 60 * minute


@needs_wire
@pytest.mark.parametrize(("file", "name", "ticks"), [("AAPL_5m_1d_trimmed", "AAPL", 1), ("TNX_5m_1d", "^TNX", 0)])
def test_a_recorded_chart_is_its_bars(file: str, name: str, ticks: int) -> None:
    """Every row of the session, float for float; the price at the close that is told as a row is left out."""
    body = (WIRE / f"yahoo_v8/chart_{file}.json").read_bytes()
    result = json.loads(body)["chart"]["result"][0]
    times, quote = result["timestamp"], result["indicators"]["quote"][0]
    source = yahoo(adjusted=True, venue="YAHOO")
    span = Span(times[0] * SECOND, times[-1] * SECOND + 5 * MINUTE)
    page = fetch(body, Series(Instrument("YAHOO", name), Timeframe.parse("5m")), span, source)
    kept = len(times) - ticks
    assert page.frame["ts"].to_physical().to_list() == [t * SECOND for t in times[:kept]]
    for column in ("open", "high", "low", "close", "volume"):
        assert page.frame[column].to_list() == [float(v) for v in quote[column][:kept]]


@needs_wire
def test_observed_refusals_are_told_apart() -> None:
    """404 will not help again, 429 waits; their words are kept."""
    observed = json.loads((WIRE / "error_bodies_observed.json").read_text())
    gone = yahoo().refusal(404, {}, json.dumps(observed["yahoo_404"]["body"]).encode())
    assert isinstance(gone, Refused)
    assert "may be delisted" in str(gone)
    assert isinstance(yahoo().refusal(429, {}, observed["yahoo_429"]["body"].encode()), Throttled)
    assert isinstance(yahoo().refusal(503, {}, b"<html>"), Faulty)


def test_nulls_are_no_bars() -> None:
    """A minute without a trade comes as nulls in every column, and is left out; a part of a row is not hidden."""
    page = fetch(chart([(at(0), 1.5), (at(1), None), (at(2), 2.5)]))
    assert [(t - OPEN) // MINUTE for t in page.frame["ts"].to_physical()] == [0, 2]
    torn = json.loads(chart([(at(0), 1.5), (at(1), 2.0)]))
    torn["chart"]["result"][0]["indicators"]["quote"][0]["close"][0] = None
    assert fetch(json.dumps(torn).encode()).frame["close"].to_list() == [None, 2.0]


@pytest.mark.parametrize("tick", [at(3) + 17, at(2), at(2) + 60 - 1])
def test_the_latest_tick_is_no_bar(tick: int) -> None:
    """The last row off the grid, or the last minute a second time."""
    page = fetch(chart([(at(1), 1.5), (at(2), 2.0), (tick, 9.0)]))
    assert page.frame["close"].to_list() == [1.5, 2.0]


def test_a_day_is_labelled_with_its_session() -> None:
    """Stamped 09:30 in New York, or with the second of the latest tick: 00:00 UTC of the date, once, as told last."""
    series = Series.parse("XNAS:AAPL", "1d")
    rows = [(at(0) + 86_400 * day, 1.5 + day) for day in range(3)]
    body = chart([*rows, (rows[-1][0] + 7777, 9.0)], interval="1d")
    page = fetch(body, series, Span.parse("2024-06-03", "2024-06-06"))
    assert [iso(t) for t in page.frame["ts"].to_physical()] == [f"2024-06-0{d}T00:00:00Z" for d in (3, 4, 5)]
    assert page.frame["close"].to_list() == [1.5, 2.5, 9.0]
    part = fetch(body, series, Span.parse("2024-06-04", "2024-06-05"))
    assert part.frame["close"].to_list() == [2.5]


def test_of_two_rows_of_a_day_with_one_stamp_none_is_chosen() -> None:
    """Only a later stamp tells which row is newer."""
    body = chart([(at(0), 1.5), (at(0), 9.0)], interval="1d")
    with pytest.raises(Faulty, match="disagree"):
        fetch(body, Series.parse("XNAS:AAPL", "1d"), Span.parse("2024-06-03", "2024-06-06"))


def test_a_midnight_by_another_offset_is_the_day_that_it_begins() -> None:
    """São Paulo's days have been stamped 23:00 the evening before; the tick of an evening is of its own day."""
    midnight = parse_time("2022-01-04T02:00") // SECOND  # 23:00 of the 3rd
    body = json.loads(chart([(midnight, 1.5), (midnight + 86_400, 2.5)], interval="1d"))
    body["chart"]["result"][0]["meta"] |= {"exchangeTimezoneName": "America/Sao_Paulo"}
    series, span = Series.parse("YAHOO:AAPL", "1d"), Span.parse("2022-01-01", "2022-01-09")
    source = yahoo(adjusted=True, venue="YAHOO")
    page = fetch(json.dumps(body).encode(), series, span, source)
    assert [iso(t)[:10] for t in page.frame["ts"].to_physical()] == ["2022-01-04", "2022-01-05"]
    body["chart"]["result"][0]["meta"]["regularMarketTime"] = midnight + 86_400
    page = fetch(json.dumps(body).encode(), series, span, source)
    assert page.frame["close"].to_list() == [2.5]


@pytest.mark.parametrize("extended", [False, True])
def test_what_opens_outside_told_hours_is_left_out(extended: bool) -> None:
    """From the open up to an early close; a day whose hours are not told is read whole."""
    hours = [[{"start": at(0), "end": at(2)}]]
    told = {"pre": [], "regular": hours, "post": []} if extended else hours
    body = json.loads(chart([(at(-1), 1.0), (at(0), 1.5), (at(1), 2.0), (at(2), 2.5), (at(24 * 60), 3.0)]))
    body["chart"]["result"][0]["meta"]["tradingPeriods"] = told
    page = fetch(json.dumps(body).encode(), span=Span(OPEN - HOUR_SIZE, OPEN + 2 * DAY))
    assert [(t - OPEN) // MINUTE for t in page.frame["ts"].to_physical()] == [0, 1, 24 * 60]


def test_hours_sent_as_half_hours_are_a_fault() -> None:
    """Yahoo has done so: every other half hour would be missed without a word."""
    series, span = Series.parse("XNAS:AAPL", "30m"), Span(OPEN, OPEN + DAY)
    with pytest.raises(Faulty, match="half an hour apart"):
        fetch(chart([(at(60 * n), 1.0) for n in range(6)], interval="30m"), series, span)
    assert fetch(chart([(at(30 * n), 1.0) for n in range(6)], interval="30m"), series, span).frame.height == 6


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (chart([(at(0), 1.0)], symbol="MSFT"), "answered with MSFT"),
        (chart([(at(0), 1.0)], interval="1d"), "answered with bars of 1d"),
        (chart([(at(-30), 1.0)]), "outside the asked span"),
        (chart([(at(0), 1.0)], timestamp=[]), "not as many"),
        (b'{"chart": {"result": []}}', "0 results"),
        (b"Edge: Too Many Requests", "Too Many Requests"),
    ],
)
def test_an_answer_that_cannot_be_true_is_a_fault(body: bytes, words: str) -> None:
    """Another instrument, another interval, other times, columns of unlike length, no JSON."""
    with pytest.raises(Faulty, match=words):
        fetch(body)


def test_no_data_is_an_empty_page() -> None:
    """Yahoo leaves the times out where it has none: that proves nothing."""
    meta = {"symbol": "AAPL", "exchangeTimezoneName": "America/New_York", "dataGranularity": "1m"}
    body = json.dumps({"chart": {"result": [{"meta": meta, "indicators": {"quote": [{}]}}], "error": None}}).encode()
    page = fetch(body)
    assert (page.frame.height, bool(page.covered)) == (0, False)


def test_hours_beside_the_grid_and_unknown_timeframes_are_refused() -> None:
    """Hours of stocks open at half past; there are no bars of four hours."""
    with pytest.raises(Refused, match="beside the full 1h"):
        fetch(
            chart([(at(0), 1.0), (at(60), 1.0)], interval="1h"), Series.parse("XNAS:AAPL", "1h"), Span(OPEN, OPEN + DAY)
        )
    with pytest.raises(Refused, match="no bars of 4h"):
        fetch(b"", Series.parse("XNAS:AAPL", "4h"), Span(OPEN, OPEN + DAY))
    with pytest.raises(UnknownName):
        yahoo(venue="BINANCE")


def test_splits_are_put_back_in_and_asked_for_once() -> None:
    """Four for one, later: four times the price, a quarter of the volume; the second page does not ask again."""
    split = {"splits": {"1": {"date": (OPEN + 30 * DAY) // SECOND, "numerator": 4.0, "denominator": 1.0}}}
    http = Recorded(chart([(at(0), 1.0)], interval="3mo", events=split), chart([(at(0), 25.5)]))
    source = yahoo()
    for _ in range(2):
        page = asyncio.run(source.fetch(http, AAPL, HOUR))
        assert (page.frame["close"].to_list(), page.frame["volume"].to_list()) == ([102.0], [2.5])
    assert [params.get("events") for _, params in http.asked] == ["div,split", None, None]


# ---------------------------------------------------------------- the simulated one


def venue(**options: object) -> SimConfig:
    return SimConfig(symbols=1, start="2024-01-01", now=NOW, speed=0.0, **options)  # type: ignore[arg-type]


def page_of(sim: Running, series: Series, span: Span, source: Yahoo | None = None) -> Page:
    made = source or yahoo(f"{sim.url}/yahoo", venue=series.instrument.venue)

    async def ask() -> Page:
        async with opened(made, patience=Patience(attempts=1, timeout=10.0)) as http:
            return await http.page(series, span)

    return asyncio.run(ask())


@pytest.mark.parametrize("name", ["XNAS:AAPL", "XNYS:TWX", "XNAS:SHY"])
@pytest.mark.parametrize("frame", ["1m", "15m"])
def test_bars_of_the_simulated_one_are_the_truth_of_regular_hours(name: str, frame: str) -> None:
    """As traded, though a split came later and the answer has it taken out."""
    symbol = name.partition(":")[2]
    session = Span(OPEN, parse_time("2024-06-03T20:00"))
    with running(venue(splits={symbol: (("2024-06-05", 1, 4),)})) as sim:
        series = Series.parse(name, frame)
        page = page_of(sim, series, session)
        truth = sim.markets[series.instrument.venue].truth(symbol, frame, session)
        assert page.frame["ts"].to_list() == truth["ts"].to_list()
        for column in ("open", "high", "low", "close", "volume"):
            assert page.frame[column].to_list() == pytest.approx(truth[column].to_list(), rel=1e-12)
        left = page_of(sim, series, session, yahoo(f"{sim.url}/yahoo", venue=series.instrument.venue, adjusted=True))
        assert left.frame["close"].to_list() == pytest.approx([c / 4 for c in truth["close"]], rel=1e-12)


def test_what_is_too_old_is_refused_with_the_way_out() -> None:
    """Minutes are kept for a month."""
    with running(venue()) as sim, pytest.raises(Refused, match="30 days"):
        page_of(sim, AAPL, Span.parse("2024-04-01T13:30", "2024-04-01T20:00"))


def test_the_open_session_ends_with_its_forming_minute() -> None:
    """The tick is left out; the minute that is forming is not: the engine leaves it for later."""
    with running(venue()) as sim:
        page = page_of(sim, AAPL, Span.parse("2024-06-06T17:55", "2024-06-06T18:30"))
        assert iso(int(page.frame["ts"].to_physical()[-1])) == "2024-06-06T18:00:00Z"


@pytest.mark.parametrize("frame", ["1m", "1d"])
def test_as_a_browser_it_reads_the_same_bars(frame: str) -> None:
    """Another client under the same source: pages, clock and refusals are the same."""
    pytest.importorskip("curl_cffi", reason="curl_cffi is not installed (it comes with yfinance in the group 'test')")
    span = Span(OPEN, OPEN + 90 * MINUTE) if frame == "1m" else Span.parse("2024-05-20", "2024-06-05")
    with running(venue()) as sim:
        series = Series.parse("XNAS:AAPL", frame)
        browser = yahoo(f"{sim.url}/yahoo", browser=True)
        page = page_of(sim, series, span, browser)
        assert page.frame.equals(page_of(sim, series, span).frame)
        assert page.frame.height > 10
        with pytest.raises(Refused, match="may be delisted"):
            page_of(sim, Series.parse("XNAS:NONE", "1d"), Span.parse("2024-05-20", "2024-06-05"), browser)
    with running(venue(faults="429:1x")) as sim, pytest.raises(Throttled):
        page_of(sim, series, span, yahoo(f"{sim.url}/yahoo", browser=True))
    with pytest.raises(Faulty, match="connect"):
        page_of(sim, series, span, yahoo(f"{sim.url}/yahoo", browser=True))


def test_as_a_browser_it_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, with what to install."""
    monkeypatch.setitem(sys.modules, "curl_cffi.requests", None)
    with pytest.raises(UsageError, match=r"gapless\[yahoo\]"):
        yahoo(browser=True).session(1.0, 1)
    assert yahoo().session(1.0, 1) is None
