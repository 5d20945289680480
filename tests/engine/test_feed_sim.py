"""A feed of the simulated venue, which follows Binance's protocol and fails as real venues do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import polars as pl
import pytest

from gapless.engine.backlog import Said
from gapless.engine.feed import Feed, FeedOptions
from gapless.engine.link import Manners
from gapless.events import Connected, Disconnected, Event, Skipped
from gapless.protocols import Heard
from gapless.series import Series
from gapless.sim import Running, SimConfig, running
from gapless.sources.binance_live import BinanceLive, spot_live, usdm_live
from gapless.spans import MINUTE, SECOND, Span, SpanSet, parse_time

NOW = parse_time("2025-05-01T00:00:30")
NAMES = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
SPEED = 240.0
OPTIONS = FeedOptions(
    Manners(silence=0.3, confirm=0.3, batch=2, later=0.3), delays=(0.01, 0.05), overlap=0.1, tick=0.05,
    grace=40 * SECOND, skew=120 * SECOND,
)  # fmt: skip
PATIENT = replace(OPTIONS, manners=Manners(batch=2), grace=3600 * SECOND)  # a stalled machine is no silent venue


def venue(**options: object) -> SimConfig:
    usual: dict[str, object] = {
        "symbols": NAMES, "start": "2025-04-01", "outages": SpanSet.of(), "halts": {}, "listed_late": 0.0,
        "delisted": 0.0, "now": NOW, "speed": SPEED, "seed": 3,
    }  # fmt: skip
    return SimConfig(**(usual | options))  # type: ignore[arg-type]


def series(source: BinanceLive) -> list[Series]:
    return [Series.parse(f"{source.venue}:{name}", "1m") for name in NAMES]


def listen(
    sim: Running,
    source: BinanceLive,
    minutes: int,
    events: list[Event],
    options: FeedOptions = OPTIONS,
    *,
    least: int = 0,
    faults: Collection[str] = (),
) -> list[Said]:
    """All that is said in so many minutes of the market, until so many final bars and these faults have come."""

    async def script() -> list[Said]:
        said: list[Said] = []
        until = sim.clock() + minutes * MINUTE
        feed = Feed(source, series(source), clock=sim.clock, observer=events.append, options=options)
        async with feed, asyncio.timeout(120):
            async for batch in feed.batches():
                said += batch
                finals = sum(isinstance(word, Heard) and word.final for word in said)
                if sim.clock() > until and finals > least and set(faults) <= sim.injected.keys():
                    break
        return said

    return asyncio.run(script())


def told(said: list[Said], one: Series, events: Sequence[Event] = ()) -> tuple[dict[int, tuple[float, ...]], SpanSet]:
    """The last word on each final bar of a series, and the spans that were told as holes, in batches or as events."""
    bars: dict[int, tuple[float, ...]] = {}
    holes = [(e.span.start, e.span.end) for e in events if isinstance(e, Skipped) and e.series == one]
    since = None
    for word in said:
        if isinstance(word, Heard):
            if word.final and word.instrument == str(one.instrument):
                bars[word.ts] = word.values
        elif one in word.series:
            if isinstance(word, Disconnected):
                since = word.since
            elif since is not None:
                holes.append((one.timeframe.floor(since), word.at))
                since = None
    return bars, SpanSet.of(*holes)


def truth(sim: Running, one: Series, span: Span) -> dict[int, tuple[float, ...]]:
    frame = sim.markets[one.instrument.venue].truth(one.instrument, one.timeframe, span)
    names = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]
    return {row[0]: row[1:] for row in frame.select(pl.col("ts").to_physical(), *names).rows()}


@pytest.mark.parametrize(("venue_name", "make"), [("BINANCE", spot_live), ("BINANCEUSDM", usdm_live)])
def test_an_honest_venue_is_heard_bar_for_bar(venue_name: str, make: Callable[[str], BinanceLive]) -> None:
    """Some minutes of both markets: every final bar once, equal to the truth; forming ones between; nothing lost."""
    with running(venue(updates=4)) as sim:
        source = make(sim.ws_urls[venue_name])
        events: list[Event] = []
        said = listen(sim, source, 5, events, PATIENT)
        for one in series(source):
            bars, holes = told(said, one, events)
            assert bars == truth(sim, one, Span(min(bars), max(bars) + MINUTE))
            assert len(bars) >= 4
            assert not holes
        assert Counter(type(word).__name__ for word in said).keys() == {"Connected", "Heard"}
        assert any(isinstance(word, Heard) and not word.final for word in said)


def test_the_last_word_on_each_bar_is_true_whatever_the_order() -> None:
    """Late, corrected, repeated and reordered bars and garbage between them: what was said last is the truth."""
    faults = "ws_late:0.1,ws_corrected:0.2,ws_dup:0.2,ws_reorder:0.2,ws_garbage:0.1"
    with running(venue(faults=faults)) as sim:
        source = usdm_live(sim.ws_urls["BINANCEUSDM"])
        events: list[Event] = []
        said = listen(sim, source, 9, events, faults=("ws_corrected", "ws_reorder"))
        settled = sim.clock() - 4 * MINUTE
        for one in series(source):
            bars, holes = told(said, one, events)
            true = truth(sim, one, Span(min(bars), settled))
            assert {ts: bars[ts] for ts in bars if ts < settled} == {ts: true[ts] for ts in bars if ts < settled}
            assert all(ts in bars or holes.contains(ts) for ts in true)
        assert {"ws_corrected", "ws_reorder"} <= sim.injected.keys()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_no_hole_is_silent(seed: int) -> None:
    """Drops, half-open sockets, bursts, silences, refusals, bars that never come: what is missing was told."""
    faults = (
        "ws_missing:0.1,ws_late:0.05,ws_dup:0.1,ws_reorder:0.1,ws_garbage:0.05,ws_drop:0.1,ws_halfopen:0.05,"
        "ws_burst:0.05,ws_silence:0.05,ws_refuse:0.2"
    )
    with running(venue(faults=faults, seed=seed, lifetime=2.0)) as sim:
        source = replace(spot_live(sim.ws_urls["BINANCE"]), streams_per_connection=2, lifetime=2.0)
        events: list[Event] = []
        said = listen(sim, source, 11, events, least=40, faults=("ws_drop", "ws_missing"))
        for one in series(source):
            bars, holes = told(said, one, events)
            first = next((w.at for w in said if isinstance(w, Connected) and one in w.series), None)
            if first is None or not bars:
                continue
            true = truth(sim, one, Span(one.timeframe.ceil(first), max(bars)))
            assert [ts for ts in true if ts not in bars and not holes.contains(ts)] == []
        assert sum(len(told(said, one)[0]) for one in series(source)) > 20
        assert {"ws_drop", "ws_missing"} <= sim.injected.keys()
