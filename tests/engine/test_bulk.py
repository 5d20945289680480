"""Files of an archive in place of pages: what is planned, and what is stored when files are missing or damaged."""

from __future__ import annotations

import asyncio
import zipfile
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.backfill import Options, Outcome, backfill
from gapless.engine.bulk import FILES, picked
from gapless.engine.fetch import Patience
from gapless.engine.plan import Plan, plan
from gapless.events import Event, Fetched, RowsWritten
from gapless.protocols import Archive, Source
from gapless.series import Instrument, Series
from gapless.sim import Running, SimConfig, running
from gapless.sources import binance, binance_archive
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time

M1 = Timeframe.parse("1m")
BTC = Series.parse("BINANCE:BTCUSDT", "1m")
NOW = "2025-02-20T06:00:30Z"
SPAN = Span.parse("2024-12-20T10:00", "2025-02-20T05:00")
QUICK = Options(patience=Patience(timeout=10.0, first_delay=0.01, longest_delay=0.05), linger=0.02)
MARKETS = pytest.mark.parametrize(
    ("source", "archive"), [(binance.spot, binance_archive.spot), (binance.usdm, binance_archive.usdm)]
)


def planned(
    span: Span, now: str, source: Source | None = None, archive: Archive | None = None, symbols: int = 1
) -> tuple[Plan, Plan]:
    """With files, and without."""
    source, archive = source or binance.spot(), archive or binance_archive.spot()
    series = [Series(Instrument(source.venue, f"S{n}USDT"), M1) for n in range(symbols)]
    wanted = [(one, SpanSet.of(span)) for one in series]
    offers = {one: archive.offers(one, span, parse_time(now)) for one in series}
    return plan(wanted, source, offers=offers), plan(wanted, source)


# ---------------------------------------------------------------- planning


@pytest.mark.parametrize(
    ("source", "archive", "ratio"), [(binance.spot, binance_archive.spot, 27), (binance.usdm, binance_archive.usdm, 18)]
)
@pytest.mark.parametrize("now", ["2025-01-08T00:00", "2025-01-31T12:00", "2025-02-03T18:00", "2025-02-20T06:00"])
def test_five_years_of_fifty_symbols_take_a_fraction_of_the_requests(source, archive, ratio: int, now: str) -> None:
    """All but the tail by files, whatever day of the month it is; the tail is not longer than two days.

    Pages of USD-M hold half as many bars again as those of spot, files a month in either.
    """
    span = Span(parse_time(now) - 5 * 365 * DAY, parse_time(now))
    with_files, pages = planned(span, now, source(), archive(), symbols=50)
    assert pages.requests >= ratio * with_files.requests
    assert with_files.bars == pages.bars
    left = [task.span for task in with_files.tasks if not task.files]
    assert max(part.end - part.start for part in left) <= 2 * DAY
    assert with_files.weight < pages.weight / 100
    assert with_files.seconds < pages.seconds / 4
    assert with_files.bytes < pages.bytes / 4
    assert set(with_files.sources) == {source().name, archive().name}
    assert sum(with_files.sources.values()) == with_files.requests


spans = st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 80_000)), min_size=1, max_size=8).map(
    lambda pairs: SpanSet.of(*((SPAN.start + a * MINUTE, SPAN.start + (a + n) * MINUTE) for a, n in pairs))
)


@given(spans)
def test_files_and_pages_together_hold_every_wanted_bar(wanted: SpanSet) -> None:
    """What a file holds is not asked for by pages too; no task reaches beyond what is wanted but to join neighbours."""
    hull = wanted.hull
    assert hull is not None
    offers = binance_archive.spot().offers(BTC, hull, parse_time("2026-01-01"))
    made = plan([(BTC, wanted)], binance.spot(), offers={BTC: offers})
    files = SpanSet.of(*(offer.span for task in made.tasks for offer in task.files))
    pages = SpanSet.of(*(task.span for task in made.tasks if not task.files))
    assert not wanted - files - pages
    assert all(not SpanSet.of(task.span) - SpanSet.of(hull) for task in made.tasks)
    alone = plan([(BTC, wanted)], binance.spot())
    assert made.requests <= alone.requests + sum(1 for task in made.tasks if task.files)
    assert made.weight <= alone.weight


def test_a_few_bars_are_never_worth_a_file() -> None:
    """A page is smaller than a month; a month with very many holes is worth it again."""
    month = Span.parse("2024-12-01", "2025-01-01")
    offers = binance_archive.spot().offers(BTC, month, parse_time("2025-06-01"))

    def tasks(*holes: int, length: int = 1) -> int:
        edges = [(month.start + at * MINUTE, month.start + (at + length) * MINUTE) for at in holes]
        return len(picked(BTC, SpanSet.of(*edges), offers, binance.spot()))

    assert tasks(5) == tasks(5, 9000) == tasks(0, length=3000) == 0
    assert tasks(0, length=20_000) == tasks(*range(0, 44_640, 1500)) == 1


def test_a_run_of_files_is_cut_so_that_workers_can_share_it() -> None:
    """At most FILES a task, none with a hole between its files, months and days apart; a folder is listed once."""
    made, _ = planned(Span.parse("2020-01-15", "2025-02-20"), NOW)
    files = [task for task in made.tasks if task.files]
    assert max(len(task.files) for task in files if "/monthly/" in task.files[0].folder) == FILES
    lists = {}
    for task in files:
        lists[task.files[0].folder] = lists.get(task.files[0].folder, 0) + task.requests - len(task.files)
        assert len({offer.folder for offer in task.files}) == 1
        assert SpanSet.of(*(offer.span for offer in task.files)).hull is not None
        assert len(SpanSet.of(*(offer.span for offer in task.files))) == 1
    assert set(lists.values()) == {1}


def test_the_days_of_a_month_are_one_task() -> None:
    """They end in one file of the lake, which is then written once; the next month's are another task."""
    made, _ = planned(Span.parse("2024-11-01", "2025-02-03"), "2025-02-03T18:00")
    days = [task for task in made.tasks if task.files and "/daily/" in task.files[0].folder]
    assert [task.span for task in days] == [
        Span.parse("2025-01-01", "2025-02-01"), Span.parse("2025-02-01", "2025-02-03")
    ]  # fmt: skip


def test_files_alone_leave_the_rest_unasked() -> None:
    """``pages`` False: no task of the venue itself."""
    offers = binance_archive.spot().offers(BTC, SPAN, parse_time(NOW))
    made = plan([(BTC, SpanSet.of(SPAN))], binance.spot(), offers={BTC: offers}, pages=False)
    assert set(made.sources) == {"binance-archive"}
    assert made.bars < SPAN.bars(M1)


# ---------------------------------------------------------------- carrying out


def venue(**settings: object) -> SimConfig:
    usual: dict[str, object] = {
        "symbols": ("BTCUSDT", "ETHUSDT"), "start": "2024-12-01", "end": "2025-07-01", "outages_per_month": 2.0,
        "halts_per_month": 1.0, "listed_late": 0.0, "delisted": 0.0, "now": NOW, "speed": 0.0, "weight_limit": 0,
        "hold": 1.0, "ban": 1.0,
    }  # fmt: skip
    return SimConfig(**(usual | settings))  # type: ignore[arg-type]


def beside(sim: Running, make: Callable[..., Archive] = binance_archive.spot) -> Archive:
    bucket = f"{sim.url}/data.binance.vision"
    return make(bucket, bucket=f"{bucket}/")


def fill(
    sim: Running, store, source: Source, archive: Archive, *, pages: bool = True, stop: asyncio.Event | None = None,
    observer: Callable[[Event], None] = lambda event: None,
) -> tuple[Plan, list[Outcome]]:  # fmt: skip
    series = [Series(x.instrument, M1) for x in sim.markets[source.venue].listings()]
    offers = {one: archive.offers(one, SPAN, sim.clock()) for one in series}
    made = plan([(one, SpanSet.of(SPAN)) for one in series], source, offers=offers, pages=pages)
    work = backfill(made, source, store, run="run", archive=archive, options=QUICK, stop=stop, observer=observer)
    return made, asyncio.run(work)


def check(sim: Running, store, outcomes: list[Outcome]) -> None:
    """The store equals the truth, and no task has an error."""
    for outcome in outcomes:
        truth = sim.markets[outcome.series.instrument.venue].truth(outcome.series.instrument, M1, SPAN)
        assert store.wrong(truth, outcome.series, SPAN) == []
        assert store.lost(truth, outcome.series) == []
        assert not store.missing(outcome.series, SPAN)
        assert (outcome.errors, outcome.undone) == ([], [])


@MARKETS
def test_months_days_and_tail_make_the_whole(source, archive, store) -> None:
    """The truth, with few requests: the files, a list a folder, the tail, and one for each hole that a file has."""
    with running(venue()) as sim:
        made, outcomes = fill(sim, store, source(sim.url), beside(sim, archive))
        check(sim, store, outcomes)
        names = Counter(answer.source for answer in store.answers)
        assert set(names) == {source().name, archive().name}
        holes = sum(len(SpanSet.of(SPAN) - store.present(outcome.series)) for outcome in outcomes)
        assert made.requests <= sim.requests <= made.requests + holes + 2


@pytest.mark.parametrize(
    "faults",
    [
        "zip_missing:3x", "zip_missing:1.0", "zip_damaged:0.2", "zip_damaged:1.0", "5xx:0.2", "reset:0.2",
        "truncate:0.2", pytest.param("429:0.2", marks=pytest.mark.slow), "timeout:1x",
        "zip_missing:0.2,zip_damaged:0.2,5xx:0.1,truncate:0.1,reset:0.1",
    ],
)  # fmt: skip
def test_what_the_archive_fails_to_give_the_venue_gives(faults: str, store) -> None:
    """Every bar is stored once and right; the ledger says who said what, and which file was no good."""
    with running(venue(faults=faults)) as sim:
        _, outcomes = fill(sim, store, binance.spot(sim.url), beside(sim))
        check(sim, store, outcomes)
        assert sim.injected[faults.partition(":")[0]] > 0
        failed = [answer for answer in store.answers if answer.status == "failed"]
        if faults == "zip_damaged:1.0":
            assert {answer.source for answer in store.answers if answer.status == "ok"} == {"binance"}
            assert {answer.source for answer in failed} == {"binance-archive"}
        if faults == "zip_missing:1.0":
            assert {answer.source for answer in store.answers} == {"binance"}
            assert not failed


def test_an_archive_that_cannot_be_reached_costs_no_bar(store) -> None:
    """Nobody listens there: the list and the files fail, the venue is asked for everything."""
    with running(venue(symbols=("BTCUSDT",))) as sim:
        lost = binance_archive.spot("http://127.0.0.1:9", bucket="http://127.0.0.1:9/")
        _, outcomes = fill(sim, store, binance.spot(sim.url), lost)
        check(sim, store, outcomes)


def test_files_alone_store_what_they_hold_and_claim_no_more(store) -> None:
    """The tail stays never asked, and so do the bars that the files leave out."""
    with running(venue()) as sim:
        _, outcomes = fill(sim, store, binance.spot(sim.url), beside(sim), pages=False)
        for outcome in outcomes:
            truth = sim.market.truth(outcome.series.instrument, M1, SPAN)
            assert store.wrong(truth, outcome.series, SPAN) == []
            fact = store.fact(outcome.series)
            assert fact.answered == fact.present
            assert fact.present.hull == Span(SPAN.start, parse_time("2025-02-19"))
        assert {answer.source for answer in store.answers} == {"binance-archive"}


def test_small_files_are_stored_together(store) -> None:
    """Two months and eighteen days of a symbol are three writes at most, not one a file."""
    seen: list[Event] = []
    with running(venue(symbols=("BTCUSDT",))) as sim:
        _, outcomes = fill(sim, store, binance.spot(sim.url), beside(sim), pages=False, observer=seen.append)
    for outcome in outcomes:
        files = [e for e in seen if isinstance(e, Fetched) and e.series == outcome.series]
        writes = [e.written for e in seen if isinstance(e, RowsWritten) and e.series == outcome.series]
        assert len(files) == 20
        assert len(writes) <= 3
        assert sum(writes) == outcome.counts.written


@pytest.mark.parametrize("files", [2, 9])
def test_a_stop_in_the_middle_leaves_whole_files_and_names_the_rest(store, files: int) -> None:
    """What came is kept, and in the ledger; what was not come to is undone, and nothing is in both."""
    stop = asyncio.Event()

    def after_some(event: Event) -> None:
        seen.append(event)
        if sum(isinstance(e, Fetched) for e in seen) == files:
            stop.set()

    seen: list[Event] = []
    with running(venue(symbols=("BTCUSDT",))) as sim:
        _, (outcome,) = fill(sim, store, binance.spot(sim.url), beside(sim), stop=stop, observer=after_some)
        fact, undone = store.fact(outcome.series), SpanSet.of(*outcome.undone)
        assert undone
        assert not undone & fact.answered
        assert not SPAN_OF - undone - fact.answered
        assert all(SpanSet.of(e.span) & fact.answered for e in seen if isinstance(e, Fetched))
        assert outcome.errors == []


SPAN_OF = SpanSet.of(SPAN)


def test_a_hole_of_the_archive_is_filled_by_the_venue(store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive leaves out an hour that the venue has: it comes from the venue, and says so."""
    hole = Span.parse("2025-01-10T03:00", "2025-01-10T04:00")

    def table(text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        return b"".join(line for line in lines if not hole.start <= int(line[:16]) < hole.end)

    with running(venue(symbols=("BTCUSDT",))) as sim:
        real = zipfile.ZipFile.writestr

        def write(self: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
            real(self, member, table(data) if member.filename == "BTCUSDT-1m-2025-01.csv" else data)

        monkeypatch.setattr(zipfile.ZipFile, "writestr", write)
        _, outcomes = fill(sim, store, binance.spot(sim.url), beside(sim))
        check(sim, store, outcomes)
        inside = SpanSet.of(hole)
        said = {answer.source for answer in store.answers if answer.answered and inside & SpanSet.of(answer.answered)}
        assert said == {"binance"}
        assert hole.end - hole.start == HOUR
