"""Backfills from the simulated venue, over real sockets: what is stored is the truth, or the outcome says otherwise.

Clocks of the venue stand where a test puts them; patience is short, so that faults cost milliseconds.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gapless.engine.backfill import (
    Options,
    Outcome,
    Part,
    backfill,
    clock_skew,
    fetch_listings,
    run_backfill,
    run_together,
)
from gapless.engine.fetch import Patience, wall_clock
from gapless.engine.plan import Plan, plan
from gapless.errors import Faulty, LakeFull
from gapless.events import ClockSkewed, Event, Fetched, Observer, RowsWritten, TaskDone, nobody
from gapless.protocols import Clock, Http, Listing, Page, Store
from gapless.series import Instrument, Series
from gapless.sim import Running, SimConfig, running
from gapless.sources.binance import Binance, spot, usdm
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Span, SpanSet, Timeframe, parse_time

START = parse_time("2025-05-01")
DAYS = Span(START, START + 3 * DAY)
NOW = "2025-05-04T06:00:30Z"
M1 = Timeframe.parse("1m")
QUICK = Options(patience=Patience(timeout=0.5, first_delay=0.01, longest_delay=0.05), linger=0.02, group_rows=3000)
BTC = Series.parse("BINANCE:BTCUSDT", "1m")
EVERYTHING = (
    "429:0.03,ban:1x,5xx:0.05,timeout:0.02,reset:0.05,truncate:0.05,short:0.1,empty:0.1,duplicate:0.1,disorder:0.1,"
    "micros:0.1,skew:3s"
)


def venue(**settings: object) -> SimConfig:
    """A small venue without random silence, whose clock stands at NOW."""
    usual: dict[str, object] = {
        "symbols": ("BTCUSDT", "ETHUSDT"), "start": "2025-04-01", "end": "2025-07-01", "outages": SpanSet.of(),
        "halts": {}, "listed_late": 0.0, "delisted": 0.0, "now": NOW, "speed": 0.0, "weight_limit": 0, "hold": 1.0,
        "ban": 1.0,
    }  # fmt: skip
    return SimConfig(**(usual | settings))  # type: ignore[arg-type]


def wanted(sim: Running, source: Binance, span: Span, timeframe: Timeframe = M1) -> Plan:
    names = [x.instrument.symbol for x in sim.markets[source.venue].listings()]
    return plan([(Series(Instrument(source.venue, s), timeframe), SpanSet.of(span)) for s in names], source)


def fill(
    made: Plan,
    source: Binance,
    store: Store,
    options: Options = QUICK,
    *,
    observer: Observer = nobody,
    clock: Clock = wall_clock,
) -> list[Outcome]:
    return asyncio.run(backfill(made, source, store, run="run", options=options, observer=observer, clock=clock))


def check(sim: Running, store, outcomes: Sequence[Outcome], span: Span = DAYS) -> None:
    """No bar is wrong, none is lost silently, and whatever is missing has an error to its name."""
    for outcome in outcomes:
        series = outcome.series
        truth = sim.markets[series.instrument.venue].truth(series.instrument, series.timeframe, span)
        assert store.wrong(truth, series, span) == []
        assert store.lost(truth, series) == []
        assert bool(store.missing(series, span)) == bool(outcome.errors)


def complete(sim: Running, store, outcomes: Sequence[Outcome], span: Span = DAYS) -> None:
    """All that, and nothing is missing."""
    check(sim, store, outcomes, span)
    assert [outcome.errors for outcome in outcomes] == [[]] * len(outcomes)


@pytest.mark.parametrize("market", [spot, usdm])
@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_every_bar_of_a_quiet_venue_is_stored(market: Callable[..., Binance], timeframe: str, store) -> None:
    """Both markets, a short and a longer timeframe: the store equals the truth and the plan knew the requests."""
    with running(venue()) as sim:
        source = market(sim.url, weight=0)
        made = wanted(sim, source, DAYS, Timeframe.parse(timeframe))
        outcomes = fill(made, source, store)
        complete(sim, store, outcomes)
        assert sum(outcome.counts.written for outcome in outcomes) == made.bars
        assert sim.requests == made.requests + 1  # and the time


@pytest.mark.parametrize(
    "fault",
    [
        "429:0.3", "ban:1x", "5xx:0.3", "timeout:2x", "reset:0.3", "truncate:0.3", "short:0.5", "empty:0.3",
        "duplicate:0.5", "disorder:0.5", "micros:0.5", "skew:3s", "skew:-1h",
    ],
)  # fmt: skip
def test_each_fault_alone_ends_in_the_right_bars(fault: str, store) -> None:
    """The fault really happened, and the store equals the truth all the same."""
    with running(venue(faults=fault)) as sim:
        source = spot(sim.url, weight=0)
        outcomes = fill(wanted(sim, source, DAYS), source, store)
        complete(sim, store, outcomes)
        assert sim.injected[fault.partition(":")[0]] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_faults_together_write_nothing_wrong(seed: int, store) -> None:
    """Everything at once: each bar is right, or missing with an error; a second run completes the rest."""
    with running(venue(faults=EVERYTHING, seed=seed)) as sim:
        source = spot(sim.url, weight=0)
        outcomes = fill(wanted(sim, source, DAYS), source, store)
        check(sim, store, outcomes)
        left = [(o.series, store.missing(o.series, DAYS)) for o in outcomes]
        again = fill(plan(left, source), source, store)
        check(sim, store, again)
        assert len(set(sim.injected)) >= 6


def test_a_fault_that_never_ends_is_a_listed_failure(store) -> None:
    """A venue that only ever answers 500: no bars, and a failed line with attempts and error for each task."""
    with running(venue(faults="5xx:1.0")) as sim:
        source = spot(sim.url, weight=0)
        options = replace(QUICK, patience=Patience(attempts=3, first_delay=0.01, outage=0.05))
        outcomes = fill(wanted(sim, source, DAYS), source, store, options)
    assert all(outcome.error for outcome in outcomes)
    assert [(answer.status, answer.asked) for answer in store.answers] == [("failed", DAYS)] * 2
    assert [outcome.error for outcome in outcomes] == [answer.error for answer in store.answers]
    assert not store.rows


def test_answers_without_bars_are_a_listed_failure_with_all_attempts(store) -> None:
    """A venue that answers every page with nothing: eight attempts, one failed line, no claim of emptiness."""
    with running(venue(faults="empty:1.0")) as sim:
        source = spot(sim.url, weight=0)
        outcomes = fill(plan([(BTC, SpanSet.of(DAYS))], source), source, store)
    assert [(a.status, a.asked, a.answered, a.attempts) for a in store.answers] == [("failed", DAYS, None, 8)]
    assert (outcomes[0].requests, outcomes[0].retries) == (8, 0)


@pytest.mark.parametrize("fault", ["", "skew:4s", "skew:65s", "skew:1h", "skew:-30s"])
@pytest.mark.parametrize("now", ["2025-05-04T06:00:30Z", None])
def test_a_forming_bar_is_never_stored(fault: str, now: str | None, store) -> None:
    """Asked up to tomorrow, with honest and dishonest clocks: each stored bar has its final values."""
    with running(venue(faults=fault, now=now, end="2049-01-01", speed=1.0 if now is None else 0.0)) as sim:
        source, at = spot(sim.url, weight=0), sim.clock()
        span = Span(M1.floor(at) - 3 * HOUR, M1.floor(at) + DAY)
        fill(wanted(sim, source, span), source, store)
        for series in store.rows:
            truth = sim.market.truth(series.instrument, M1, span)
            assert store.wrong(truth, series, span) == []
            assert max(store.rows[series]) + MINUTE <= sim.clock()
            if fault == "":
                assert max(store.rows[series]) >= M1.floor(at - 5 * SECOND) - MINUTE


def test_the_newest_final_bar_is_stored_once_its_time_has_come(store) -> None:
    """Runs minutes apart continue where the last one ended, and the second asks for what is new only."""
    with running(venue(start="2025-05-04")) as sim:
        source, first = spot(sim.url, weight=0), Span(parse_time("2025-05-04"), parse_time("2025-05-05"))
        fill(wanted(sim, source, first), source, store)
        assert max(store.rows[BTC]) == parse_time("2025-05-04T05:59")
        sim.clock.advance(2 * MINUTE)
        before = sim.requests
        rest = plan([(BTC, store.missing(BTC, first))], source)
        fill(rest, source, store)
        assert max(store.rows[BTC]) == parse_time("2025-05-04T06:01")
        assert sim.requests - before == 2  # the time, and one page
        assert store.wrong(sim.market.truth(BTC.instrument, M1, first), BTC, first) == []


def test_outages_are_answered_after_two_answers_agree(store) -> None:
    """A hole in the venue's own history is asked for twice, then known empty: no error, nothing missing."""
    outage = SpanSet.of((START + 5 * HOUR, START + 7 * HOUR), (START + 30 * HOUR, START + 31 * HOUR))
    with running(venue(outages=outage)) as sim:
        source = spot(sim.url, weight=0)
        made = wanted(sim, source, DAYS)
        outcomes = fill(made, source, store)
        complete(sim, store, outcomes)
        assert not store.present(BTC) & outage
        assert not outage - store.fact(BTC).answered
        assert sim.requests == made.requests + 1 + 4  # each of two holes in two series confirmed once


def test_a_hole_at_the_end_of_a_task_is_proven_by_the_bar_after_it(store) -> None:
    """The span ends within an outage that lasts on: only a bar beyond proves the absence."""
    outage = SpanSet.of((START + 60 * HOUR, START + 75 * HOUR))
    with running(venue(outages=outage)) as sim:
        source = spot(sim.url, weight=0)
        complete(sim, store, fill(wanted(sim, source, DAYS), source, store))
        assert not store.present(BTC) & outage


def test_an_outage_that_has_not_ended_stays_a_listed_failure(store) -> None:
    """Nothing later exists and the venue says it trades: the tail is not believed to be empty."""
    outage = SpanSet.of((START + 60 * HOUR, START + 200 * HOUR))
    with running(venue(outages=outage)) as sim:
        source = usdm(sim.url, weight=0)
        outcomes = fill(wanted(sim, source, DAYS), source, store, clock=sim.clock)
        check(sim, store, outcomes)
        tail = Span(START + 60 * HOUR, DAYS.end)
        for outcome in outcomes:
            assert "answered nothing new" in outcome.error
            assert tail in [answer.asked for answer in store.fact(outcome.series).failed]


@pytest.mark.parametrize("market", [spot, usdm])
def test_a_delisted_instrument_ends_without_an_error(market: Callable[..., Binance], store) -> None:
    """The venue says it is not traded, and answers that hold its last bars agree: the rest is known empty."""
    with running(venue(symbols=40, start="2025-04-25", end="2025-05-07", delisted=0.3, now="2025-05-20")) as sim:
        source = market(sim.url, weight=0)
        gone = [x for x in sim.markets[source.venue].listings() if (x.delisted_at or DAYS.end) < DAYS.end - HOUR][:2]
        assert gone
        span = Span(START - 6 * DAY, START + 10 * DAY)
        outcomes = fill(plan([(Series(x.instrument, M1), SpanSet.of(span)) for x in gone], source), source, store)
        complete(sim, store, outcomes, span)
        late = Span(START + 12 * DAY, START + 14 * DAY)  # asked apart from its history
        complete(sim, store, fill(plan([(o.series, SpanSet.of(late)) for o in outcomes], source), source, store), late)


@pytest.mark.parametrize("fault", ["empty:0.4", "short:0.5"])
def test_faults_cannot_fake_an_end_of_trading(fault: str, store) -> None:
    """Empty and short answers for a symbol that is halted now, as spot shows it, never become known-empty history."""
    halted = {"BTCUSDT": SpanSet.of((START + 3 * DAY, START + 9 * DAY))}
    for seed in range(4):
        with running(venue(faults=fault, halts=halted, seed=seed)) as sim:
            source = spot(sim.url, weight=0)
            outcomes = fill(plan([(BTC, SpanSet.of(DAYS))], source), source, store)
            check(sim, store, outcomes)
        store.rows.clear()
        store.answers.clear()


def test_time_before_the_listing_is_known_empty(store) -> None:
    """The first bar proves, twice, that none came before it; a span wholly before it too."""
    with running(venue(start="2025-05-02T12:00")) as sim:
        source = spot(sim.url, weight=0)
        complete(sim, store, fill(wanted(sim, source, DAYS), source, store))
        early = Span(START - 300 * DAY, START - 200 * DAY)
        complete(sim, store, fill(wanted(sim, source, early), source, store), early)
        assert min(store.rows[BTC]) >= parse_time("2025-05-02T12:00")


def test_a_bar_that_was_late_is_corrected_when_asked_again(store) -> None:
    """What the venue said too early is revised by a later answer."""
    with running(venue(faults="late:1.0")) as sim:
        source, span = spot(sim.url, weight=0), Span(parse_time("2025-05-04T05:00"), parse_time("2025-05-04T06:00"))
        fill(wanted(sim, source, span), source, store)
        truth = sim.market.truth(BTC.instrument, M1, span)
        assert store.wrong(truth, BTC, span)  # as the venue itself said
        sim.clock.advance(10 * MINUTE)
        outcome = fill(plan([(BTC, SpanSet.of(span))], source), source, store)[0]
        assert store.wrong(truth, BTC, span) == []
        assert outcome.counts.corrected > 0


def test_an_overlapping_bar_that_changed_between_pages_is_replaced(store) -> None:
    """Pages overlap by one bar; when it comes again with other values the later answer stands, and is counted."""
    now = parse_time(NOW)
    span = Span(M1.floor(now) - 1002 * MINUTE, M1.floor(now))
    with running(venue(faults="late:1.0")) as sim:
        source = spot(sim.url, weight=0)

        def between_pages(event: Event) -> None:
            if isinstance(event, Fetched) and event.rows == 1000:
                sim.clock.advance(10 * MINUTE)

        outcome = fill(plan([(BTC, SpanSet.of(span))], source), source, store, observer=between_pages)[0]
        truth = sim.market.truth(BTC.instrument, M1, span)
        seam = span.start + 999 * MINUTE
        assert outcome.differences == 1
        assert seam in store.rows[BTC]
        assert seam not in store.wrong(truth, BTC, span)


def test_an_unknown_symbol_fails_with_the_fix_and_others_go_on(store) -> None:
    """The ledger has the refusal; the other series is complete."""
    nope = Series.parse("BINANCE:NOPEUSDT", "1m")
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        outcomes = fill(plan([(nope, SpanSet.of(DAYS)), (BTC, SpanSet.of(DAYS))], source), source, store)
        by_series = {outcome.series: outcome for outcome in outcomes}
        assert "no such symbol; gapless instruments show" in by_series[nope].error
        assert store.fact(nope).failed[0].asked == DAYS
        complete(sim, store, [by_series[BTC]])


def test_a_second_run_over_what_is_known_asks_nothing(store) -> None:
    """What is answered is not wanted again, so the plan is empty and the venue hears nothing."""
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        fill(wanted(sim, source, DAYS), source, store)
        before = sim.requests
        left = plan([(series, store.missing(series, DAYS)) for series in store.rows], source)
        assert fill(left, source, store) == []
        assert sim.requests == before


def test_a_stop_keeps_the_pages_that_came_and_names_what_is_undone(store) -> None:
    """Stopped in the middle: every fetched page is stored and in the ledger; a second run completes the rest."""
    fetched: list[int] = []

    async def stopped(sim: Running, source: Binance) -> list[Outcome]:
        stop = asyncio.Event()

        def count(event: Event) -> None:
            fetched.extend([event.rows] if isinstance(event, Fetched) else [])
            if len(fetched) == 3:
                stop.set()

        made = wanted(sim, source, DAYS)
        options = replace(QUICK, concurrency=1)
        return await backfill(made, source, store, run="run", stop=stop, options=options, observer=count)

    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        outcomes = asyncio.run(stopped(sim, source))
        assert len(store.rows[BTC]) == 1000 + 999 + 999
        assert not store.present(BTC) - store.fact(BTC).answered
        undone = {outcome.series: SpanSet.of(*outcome.undone) for outcome in outcomes}
        assert [undone[s] == store.missing(s, DAYS) for s in undone] == [True, True]
        complete(sim, store, fill(plan(undone.items(), source), source, store))


def test_a_stop_does_not_wait_for_a_hanging_request_beyond_its_grace(store) -> None:
    """A request that hangs is left after the grace; nothing of it is recorded."""

    async def stopped(source: Binance, made: Plan) -> list[Outcome]:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        options = replace(QUICK, patience=Patience(timeout=60.0), grace=0.1)
        return await asyncio.wait_for(backfill(made, source, store, run="r", stop=stop, options=options), 10.0)

    with running(venue(faults="timeout:1.0", hold=30.0)) as sim:
        source = spot(sim.url, weight=0)
        outcomes = asyncio.run(stopped(source, wanted(sim, source, DAYS)))
        assert [outcome.undone for outcome in outcomes] == [[DAYS], [DAYS]]
        assert store.answers == []


def test_a_store_that_is_full_ends_the_run_with_its_error(store) -> None:
    """The error is raised, and the ledger claims nothing that was not stored."""
    store.fail = LakeFull("no space left.", hint="free some")
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        with pytest.raises(LakeFull, match="no space left"):
            fill(wanted(sim, source, DAYS), source, store)
    assert store.answers == []


def test_any_error_of_the_store_ends_the_run(store) -> None:
    """An unforeseen one is not swallowed either."""
    store.fail = OSError(errno.EIO, "input/output error")
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        with pytest.raises(OSError, match="input/output"):
            fill(wanted(sim, source, DAYS), source, store)


def test_a_slow_store_holds_back_the_fetching(store) -> None:
    """While a write stands still, no more than the group being written and one waiting are fetched."""
    store.gate.clear()
    span, rows = Span(START - 25 * DAY, START), []

    async def main(sim: Running, source: Binance) -> int:
        stop, options = asyncio.Event(), replace(QUICK, group_rows=5000, concurrency=2)
        job = asyncio.create_task(
            backfill(wanted(sim, source, span), source, store, run="r", stop=stop, options=options,
                     observer=lambda e: rows.append(e.rows) if isinstance(e, Fetched) else None)
        )  # fmt: skip
        held = -1
        while held != len(rows) or not rows:
            held = len(rows)
            await asyncio.sleep(0.3)
        store.gate.set()
        await job
        return sum(rows[:held])

    with running(venue(start="2025-03-01")) as sim:
        source = spot(sim.url, weight=0)
        held = asyncio.run(main(sim, source))
        assert held <= 2 * (5000 + 2 * 1000) + 2 * 1000
        assert sum(map(len, store.rows.values())) == 2 * 25 * 1440


def test_events_tell_what_happened(store) -> None:
    """Pages, rows and task ends add up to what is stored; a skewed clock is said."""
    events: list[Event] = []
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        fill(wanted(sim, source, DAYS), source, store, observer=events.append)
    written = sum(event.written for event in events if isinstance(event, RowsWritten))
    assert written == sum(map(len, store.rows.values())) == 2 * 3 * 1440
    assert [event.error for event in events if isinstance(event, TaskDone)] == ["", ""]
    assert any(isinstance(event, ClockSkewed) and event.seconds < 0 for event in events)


def test_callers_without_a_loop_can_backfill_list_and_ask_the_time(store) -> None:
    """The synchronous entrances give the same answers."""
    with running(venue(now=None, end="2049-01-01", faults="skew:90s")) as sim:
        source = spot(sim.url, weight=0)
        outcomes, interrupted = run_backfill(wanted(sim, source, DAYS), source, store, run="r", options=QUICK)
        complete(sim, store, outcomes)
        assert not interrupted
        assert [x.instrument.symbol for x in fetch_listings(source)] == ["BTCUSDT", "ETHUSDT"]
        assert 89.0 < clock_skew(source) < 90.1


class Behind:
    """A source that answers nothing before another one is done."""

    def __init__(self, source: Binance, done: threading.Event) -> None:
        self.source, self.done = source, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        for _ in range(3000):
            if self.done.is_set():
                return await self.source.fetch(http, series, span)
            await asyncio.sleep(0.01)
        raise AssertionError("the other source did not go on")


def test_no_source_waits_for_another(store) -> None:
    """One that gives nothing until the other is done: both are complete."""
    with running(venue()) as sim:
        quick, slow, done = spot(sim.url, weight=0), usdm(sim.url, weight=0), threading.Event()
        first, second = wanted(sim, slow, DAYS), wanted(sim, quick, DAYS)
        left = {task.series for task in second.tasks}

        def listen(event: Event) -> None:
            if isinstance(event, TaskDone):
                left.discard(event.series)
                done.set() if not left else None

        parts = [Part(first, Behind(slow, done), options=QUICK), Part(second, quick, options=QUICK)]
        outcomes, interrupted = run_together(parts, store, run="r", observer=listen)
        complete(sim, store, outcomes)
        assert {outcome.series.instrument.venue for outcome in outcomes} == {"BINANCE", "BINANCEUSDM"}
        assert not interrupted


class LateToList(Behind):
    """A source that does not say what it lists before another one is done."""

    async def listings(self, http: Http) -> Any:
        for _ in range(3000):
            if self.done.is_set():
                return await self.source.listings(http)
            await asyncio.sleep(0.01)
        raise AssertionError("the other source did not begin")


def test_no_source_waits_for_what_another_lists(store) -> None:
    """The one that is slow to list is planned anew when it did, while the other has long been carried out."""
    with running(venue()) as sim:
        quick, slow, done = spot(sim.url, weight=0), usdm(sim.url, weight=0), threading.Event()
        second, told = wanted(sim, quick, DAYS), list[str]()
        left = {task.series for task in second.tasks}

        def listen(event: Event) -> None:
            if isinstance(event, TaskDone):
                left.discard(event.series)
                done.set() if not left else None

        def learn(listed: Sequence[Listing]) -> Plan:
            told.extend(str(x.instrument) for x in listed)
            return wanted(sim, slow, DAYS)

        nothing = plan([], slow)
        parts = [Part(nothing, LateToList(slow, done), options=QUICK, learn=learn), Part(second, quick, options=QUICK)]
        outcomes, _ = run_together(parts, store, run="r", observer=listen)
        complete(sim, store, outcomes)
        assert {outcome.series.instrument.venue for outcome in outcomes} == {"BINANCE", "BINANCEUSDM"}
        assert told == ["BINANCEUSDM:BTCUSDT", "BINANCEUSDM:ETHUSDT"]


def test_a_source_that_does_not_say_what_it_lists_is_asked_for_what_was_planned(store) -> None:
    """Nothing is learned of it; its tasks tell the trouble."""

    def learn(listed: Sequence[Listing]) -> Plan:
        raise AssertionError(f"learned {listed}")

    source = spot("http://127.0.0.1:1", weight=0)
    options = replace(QUICK, patience=Patience(attempts=2, first_delay=0.01))
    made = plan([(BTC, SpanSet.of(DAYS))], source)
    outcomes, _ = run_together([Part(made, source, options=options, learn=learn)], store, run="r")
    assert "reachable" in outcomes[0].error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_early_with_what_is_done_kept(number: signal.Signals, store) -> None:
    """Ctrl-C or SIGTERM in the middle: said so, and nothing fetched is lost. Handlers are as before afterwards."""

    pages: list[Event] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Fetched):
            pages.append(event)
            if len(pages) == 1:  # once: a second one ends whoever runs this
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with running(venue()) as sim:
        source = spot(sim.url, weight=0)
        made, options = wanted(sim, source, DAYS), replace(QUICK, concurrency=1)
        outcomes, interrupted = run_backfill(made, source, store, run="r", observer=interrupt, options=options)
    assert interrupted
    assert 1000 <= len(store.rows[BTC]) < 3 * 1440
    assert SpanSet.of(*outcomes[0].undone) == store.missing(BTC, DAYS)
    assert signal.getsignal(number) == before


def test_a_source_that_is_not_there_fails_every_task(store) -> None:
    """No connection at all: each task has its error; the run ends by itself."""
    source = spot("http://127.0.0.1:1", weight=0)
    options = replace(QUICK, patience=Patience(attempts=2, first_delay=0.01))
    outcomes = fill(plan([(BTC, SpanSet.of(DAYS))], source), source, store, options)
    assert "reachable" in outcomes[0].error
    with pytest.raises(Faulty):
        clock_skew(source, patience=Patience(attempts=1))
