"""How many bars a page holds may depend on the timeframe: a source says so, and what is planned is what is asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from gapless.conformance.checks import what_it_says_of_pages_is_so
from gapless.conformance.subject import Asked, Subject, Told, made_bars
from gapless.engine.fetch import Patience, opened
from gapless.engine.plan import plan
from gapless.engine.prices import cost, page_bars
from gapless.engine.venue import Venue
from gapless.engine.walk import Kept, Walk
from gapless.protocols import Http, Page
from gapless.series import Series
from gapless.sim import SimConfig, running
from gapless.sources.binance import spot
from gapless.sources.bitfinex import Bitfinex, bitfinex
from gapless.sources.polygon import polygon
from gapless.sources.yahoo import yahoo
from gapless.spans import DAY, MINUTE, Span, SpanSet, Timeframe, parse_time

NOW = parse_time("2024-06-03T12:34:20Z")


@pytest.mark.parametrize(("frame", "requests"), [("5m", 2), ("1h", 3), ("4h", 3), ("1d", 1)])
def test_a_plan_of_longer_bars_asks_as_often_as_it_says(frame: str, requests: int) -> None:
    """A vendor that counts minutes sends few hours on a page; days it counts as days."""
    series, size = Series.parse("CRYPTO:BTCUSD", frame), Timeframe.parse(frame).micros
    with running(SimConfig(symbols=1, start="2022-06-01", now=NOW, speed=0.0, outages_per_month=0.0)) as sim:
        source = polygon(f"{sim.url}/polygon", venue="CRYPTO", key="sim-key", weight=0)
        bars = min(2 * page_bars(source, series.timeframe) + 100, 12_000 if frame == "5m" else 5000)
        bars = min(bars, (NOW - parse_time("2022-06-02")) // size)
        end = series.timeframe.floor(NOW)
        span = Span(end - bars * size, end)
        made = plan([(series, SpanSet.of(span))], source)
        kept = list[Kept]()

        async def keep(part: Kept) -> None:
            kept.append(part)

        async def walk() -> int:
            async with opened(source, clock=sim.clock) as http:
                walked = Walk(series, span, http, Venue(http), "run", keep)
                await walked.run()
                return walked.tally.requests

        assert (made.requests, asyncio.run(walk())) == (requests, requests)
        assert sum(part.frame.height for part in kept) == sim.markets["CRYPTO"].truth("BTCUSD", frame, span).height


@pytest.mark.parametrize("silent", [True, False])
def test_silence_is_believed_only_of_answers_that_reach_the_present(silent: bool) -> None:
    """Hours of a market that stands still, or that answers nothing for a while: pages hold but a month of them.

    Asked from further back, all answers would end alike, where the page is full: years ago.
    """
    series, span = Series.parse("CRYPTO:BTCUSD", "1h"), Span.parse("2024-06-02T20:00Z", "2024-06-03T11:00Z")
    gone = SpanSet.of(Span.parse("2024-06-03T02:00Z", "2024-06-03T14:00Z")) if silent else SpanSet.of()
    faults = "" if silent else "empty:4x"
    with running(SimConfig(symbols=1, start="2024-01-01", now=NOW, speed=0.0, outages=gone, faults=faults)) as sim:
        source = polygon(f"{sim.url}/polygon", venue="CRYPTO", key="sim-key", weight=0)
        kept = list[Kept]()

        async def keep(part: Kept) -> None:
            kept.append(part)

        async def walk() -> None:
            async with opened(source, patience=Patience(first_delay=0.001), clock=sim.clock) as http:
                await Walk(series, span, http, Venue(http), "run", keep).run()

        asyncio.run(walk())
        answered = SpanSet.of(*(answer.answered for part in kept for answer in part.answers if answer.answered))
        assert answered == SpanSet.of(span)
        assert sum(part.frame.height for part in kept) == (6 if silent else 15)


def test_all_that_yahoo_keeps_of_five_minutes_is_one_page() -> None:
    """Sixty days; of minutes a week."""
    series, end = Series.parse("XNAS:AAPL", "5m"), parse_time("2024-06-03")
    assert plan([(series, SpanSet.of(Span(end - 60 * DAY, end)))], yahoo()).requests == 1
    assert page_bars(yahoo(), Timeframe.parse("1m")) == 7 * 1440


def test_a_source_that_says_nothing_has_the_same_pages_at_any_timeframe() -> None:
    """So do sources of one file that know no ``page_of``."""
    assert {page_bars(spot(), timeframe) for timeframe in Timeframe.ALL.values()} == {1000}
    assert cost(5000, spot()) == cost(5000, spot(), Timeframe.parse("1d"))


@dataclass(slots=True)
class Boastful(Bitfinex):
    """Says fifty, and gives ten."""

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        first = Span(span.start, min(span.end, series.timeframe.ceil(span.start) + 10 * series.timeframe.micros))
        return await Bitfinex.fetch(self, http, series, first)

    def page_of(self, timeframe: Timeframe) -> int:
        return 50


def test_a_source_that_boasts_of_its_pages_is_found_out() -> None:
    """The conformance suite asks for a page, and counts."""
    series = Series.parse("BITFINEX:BTCUSD", "1m")
    truth = made_bars(series, parse_time("2024-06-03"), 80)

    def vendor(asked: Asked, now: int) -> Told:
        first, last = (int(asked.params[name]) * 1000 for name in ("start", "end"))
        rows = [
            [int(ts.timestamp() * 1000), o, c, h, low, v]
            for _, ts, o, h, low, c, v in truth.rows()
            if first <= ts.timestamp() * 1e6 <= last
        ]
        return Told(str(rows[: int(asked.params["limit"])]).encode())

    def boastful() -> Boastful:
        made = bitfinex()
        return Boastful(made.name, made.venue, made.base_url, made.limits, made.settle)

    with pytest.raises(AssertionError, match="10 bars came on a page that is said to hold 50"):
        what_it_says_of_pages_is_so(Subject(boastful, vendor, series, truth, NOW + MINUTE))
