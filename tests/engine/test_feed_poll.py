"""Polling as a live feed, from the simulated venue: its clock runs fast, or stands where the test puts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import polars as pl

from gapless.engine.backlog import Said
from gapless.engine.fetch import Patience, opened
from gapless.engine.poll import Poll, PollOptions
from gapless.engine.venue_time import VenueTime
from gapless.events import Connected, Disconnected, Event
from gapless.protocols import Heard
from gapless.series import Series
from gapless.sim import Running, SimConfig, running
from gapless.sources.binance import spot
from gapless.spans import MINUTE, SECOND, Span, SpanSet, Timeframe, parse_time

NOW = parse_time("2025-05-01T00:00:30")
M1 = Timeframe.parse("1m")
BTC, ETH = (Series.parse(f"BINANCE:{name}USDT", "1m") for name in ("BTC", "ETH"))
PATIENCE = Patience(attempts=2, timeout=30.0, first_delay=0.01, longest_delay=0.02)
QUICK = PollOptions(again=0.05, longest=0.05)


def venue(**options: object) -> SimConfig:
    usual: dict[str, object] = {
        "symbols": ("BTCUSDT", "ETHUSDT"), "start": "2025-04-01", "outages": SpanSet.of(), "halts": {},
        "listed_late": 0.0, "delisted": 0.0, "now": NOW, "weight_limit": 0,
    }  # fmt: skip
    return SimConfig(**(usual | options))  # type: ignore[arg-type]


class Taker:
    """A consumer: everything said so far."""

    def __init__(self, poll: Poll) -> None:
        self.poll, self.said, self.batches = poll, list[Said](), poll.batches()

    async def until(self, enough: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not enough():
                self.said += await anext(self.batches)

    def bars(self, series: Series) -> list[Heard]:
        return [b for b in self.said if isinstance(b, Heard) and b.instrument == str(series.instrument)]

    def news(self) -> list[str]:
        return [type(one).__name__ for one in self.said if not isinstance(one, Heard)]


@asynccontextmanager
async def polling(
    sim: Running, *series: Series, options: PollOptions = QUICK, events: list[Event] | None = None
) -> AsyncIterator[Taker]:
    """A poll of the venue whose clock is asked often."""
    time = VenueTime("binance")
    observer = (events if events is not None else []).append
    source = spot(sim.url)
    async with opened(source, patience=PATIENCE) as http, opened(source, patience=PATIENCE) as asking:
        await time.settle(asking, apart=0.05)
        keeping = asyncio.create_task(time.keep(asking, every=0.05))
        async with Poll(http, series, clock=time, observer=observer, options=options) as poll:
            yield Taker(poll)
        keeping.cancel()


def true_bars(sim: Running, series: Series, span: Span) -> list[tuple[object, ...]]:
    frame = sim.market.truth(series.instrument, series.timeframe, span)
    names = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]
    return frame.select(pl.col("ts").to_physical(), *names).rows()


def check(sim: Running, taker: Taker, series: Series) -> None:
    """What was told last of each bar is the truth, without a hole."""
    last = {bar.ts: bar.values for bar in taker.bars(series)}
    times = sorted(last)
    truth = true_bars(sim, series, Span(times[0], times[-1] + MINUTE))
    assert [(ts, *last[ts]) for ts in times] == truth


def test_every_bar_is_told_soon_after_its_close_and_no_earlier() -> None:
    """Some minutes at a high speed: each bar of both series once, in order, and as it is when it has settled."""

    async def script(sim: Running) -> None:
        async with polling(sim, BTC, ETH) as taker:
            await taker.until(lambda: len(taker.bars(BTC)) >= 6 and len(taker.bars(ETH)) >= 6)
            assert taker.news() == ["Connected"]
            for series in (BTC, ETH):
                check(sim, taker, series)
                bars = taker.bars(series)
                assert bars[0].ts >= M1.floor(NOW)
                assert [b.ts for b in bars] == sorted({b.ts for b in bars})
                assert all(b.final and b.said_at >= b.ts + MINUTE + 5 * SECOND for b in bars)

    with running(venue(speed=240.0)) as sim:
        asyncio.run(script(sim))


def test_faults_of_the_venue_cost_no_bar() -> None:
    """Errors, resets, short, empty and disordered pages: every bar is told, and is the truth."""

    async def script(sim: Running) -> None:
        async with polling(sim, BTC, ETH) as taker:
            await taker.until(lambda: len(taker.bars(BTC)) >= 8 and len(taker.bars(ETH)) >= 8)
            for series in (BTC, ETH):
                check(sim, taker, series)

    faults = "5xx:0.1,reset:0.05,truncate:0.05,empty:0.1,short:0.1,duplicate:0.1,disorder:0.1"
    with running(venue(speed=240.0, faults=faults)) as sim:
        asyncio.run(script(sim))


def test_a_venue_that_is_down_is_told_once_and_nothing_is_missed_afterwards() -> None:
    """Every answer fails for some minutes: lost once, connected again, and every bar that was missed is told."""

    async def script(sim: Running) -> None:
        events: list[Event] = []
        async with polling(sim, BTC, options=PollOptions(again=0.3), events=events) as taker:
            await taker.until(lambda: len(taker.bars(BTC)) >= 2)
            sim.exchange.plan_faults("5xx:1.0")
            await taker.until(lambda: "Disconnected" in taker.news())
            assert taker.poll.live == []
            sim.exchange.plan_faults("")
            await taker.until(lambda: len(taker.news()) == 3 and len(taker.bars(BTC)) >= 5)
            check(sim, taker, BTC)
            assert taker.news() == [type(e).__name__ for e in events] == ["Connected", "Disconnected", "Connected"]
            assert taker.poll.live == [BTC]

    with running(venue(speed=240.0)) as sim:
        asyncio.run(script(sim))


def test_what_is_out_of_reach_is_told_as_lost() -> None:
    """A clock that jumps further than the reach: lost from the first bar not had, connected from the first one told."""

    async def script(sim: Running) -> None:
        async with polling(sim, BTC, options=PollOptions(reach=5, again=0.05)) as taker:
            await taker.until(lambda: len(taker.bars(BTC)) >= 1)
            expected = taker.bars(BTC)[-1].ts + MINUTE
            sim.clock.advance(60 * MINUTE)
            await taker.until(lambda: len(taker.news()) >= 3 and len(taker.bars(BTC)) >= 5)
            lost = next(one for one in taker.said if isinstance(one, Disconnected))
            back = [one for one in taker.said if isinstance(one, Connected)][1]
            assert lost.since >= expected
            assert back.at == next(b.ts for b in taker.bars(BTC) if b.ts > lost.since)
            assert back.at > lost.since

    with running(venue(speed=60.0)) as sim:
        asyncio.run(script(sim))


def test_a_series_without_bars_is_not_lost_and_not_asked_for_ever_faster() -> None:
    """A halted symbol stays connected past the reach, its neighbour's bars come, and requests stay within bounds."""

    async def script(sim: Running) -> None:
        options = PollOptions(reach=3, again=0.02, longest=0.4)
        async with polling(sim, BTC, ETH, options=options) as taker:
            await taker.until(lambda: len(taker.bars(BTC)) >= 6)
            assert taker.news() == ["Connected"]
            assert (taker.bars(ETH), taker.poll.stale) == ([], [ETH])
            assert taker.poll.tally.messages < 6 * 2 + 6 * 8

    halt = SpanSet.of(Span(NOW - MINUTE, NOW + 600 * MINUTE))
    with running(venue(speed=60.0, halts={"ETHUSDT": halt})) as sim:  # three bars of reach are three seconds
        asyncio.run(script(sim))
