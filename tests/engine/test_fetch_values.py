"""Fetching values at times: every value of the venue, nothing twice, and nothing believed absent too soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.engine.fetch import Patience
from gapless.engine.value_tasks import TOO_OLD, ValueTask, of_source, tasks
from gapless.engine.values import run_values
from gapless.errors import LakeFull
from gapless.protocols import Limits, Source, ValuePage
from gapless.series import Instrument
from gapless.sim import Running, SimConfig, running
from gapless.sources.binance import spot, usdm
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, parse_time
from gapless.stores.lake import Lake as Store
from gapless.values import AGES

NOW = parse_time("2024-06-03T12:34:20Z")
PATIENCE = Patience(attempts=8, timeout=5.0, first_delay=0.01, longest_delay=0.05)
BTC = Instrument("BINANCEUSDM", "BTCUSDT")


@pytest.fixture
def venue() -> Iterator[Callable[..., Running]]:
    """A simulated venue whose clock stands still."""
    under_way = []

    def make(**options: Any) -> Running:
        usual: dict[str, Any] = {
            "symbols": 4,
            "start": "2023-06-01",
            "now": NOW,
            "speed": 0.0,
            "weight_limit": 0,
            "delisted": 0.0,
            "listed_late": 0.0,
        }
        context = running(SimConfig(**(usual | options)))
        under_way.append(context)
        return context.__enter__()

    yield make
    for context in under_way:
        context.__exit__(None, None, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "lake", clock=lambda: NOW)


def fetch(sim: Running, store: Store, span: Span, names: tuple[str, ...] = tuple(AGES), symbols: tuple[str, ...] = ()):
    """One run over what is missing; its outcomes."""
    source = usdm(sim.url, weight=0)
    who = [Instrument("BINANCEUSDM", s) for s in symbols or sim.market.symbols]
    wanted = [
        task
        for teller in of_source(source, names)
        for task in tasks(
            teller, who, span, store.values.answered(teller.value), store.values.asked_until(teller.value)
        )
    ]
    outcomes, stopped = run_values(wanted, source, store.keep_values, run="r", patience=PATIENCE, clock=lambda: NOW)
    assert not stopped
    return outcomes


def stored(store: Store, name: str, symbol: str) -> list[tuple[int, float]]:
    rows = store.values.read(name, [f"BINANCEUSDM:{symbol}"])
    return list(zip(rows["ts"].to_physical().to_list(), rows["value"].to_list(), strict=True))


def truth(sim: Running, name: str, symbol: str, span: Span) -> list[tuple[int, float]]:
    return [(ts, float(text)) for ts, text in sim.values.values(name, symbol, span)]


def whole(sim: Running, store: Store, span: Span) -> None:
    """Assert that the store holds every value that the venue could be asked for."""
    for name in AGES:
        start = span.start if name == "funding_rate" else max(span.start, parse_time("2024-05-04T12:45"))
        for symbol in sim.market.symbols:
            assert stored(store, name, symbol) == truth(sim, name, symbol, Span(start, span.end)), (name, symbol)


def test_every_value_comes_once_and_a_second_look_asks_nothing(venue: Callable[..., Running], store: Store) -> None:
    """A year of rates and thirty days of open interest; what lies further back is said to be out of reach."""
    sim, span = venue(), Span(parse_time("2023-07-01"), NOW)
    outcomes = fetch(sim, store, span)
    whole(sim, store, span)
    assert not [o.errors for o in outcomes if o.errors]
    back = {o.name: o.residual for o in outcomes}
    assert back["funding_rate"] == {}
    assert back["open_interest"] == {TOO_OLD: SpanSet.of(Span(span.start, parse_time("2024-05-04T12:45")))}
    requests = sim.requests
    assert requests == 1 + 18 * 4 + sum(-(-len(stored(store, "funding_rate", s)) // 1000) for s in sim.market.symbols)
    again = fetch(sim, store, Span(parse_time("2024-05-05"), NOW))
    assert (again, sim.requests) == ([], requests)


def test_as_time_goes_on_only_what_is_new_is_asked(venue: Callable[..., Running], store: Store) -> None:
    """An hour later: one page of open interest for each symbol, in which the newest value known is seen again."""
    sim, span = venue(), Span(parse_time("2024-06-01"), NOW)
    fetch(sim, store, span)
    before, later = sim.requests, Span(span.start, NOW + HOUR)
    sim.clock.advance(HOUR)
    outcomes = fetch(sim, store, later, ("open_interest",))
    assert [(o.requests, o.counts.written, o.counts.unchanged) for o in outcomes] == [(1, 12, 1)] * 4
    assert sim.requests == before + 4 + 1
    assert fetch(sim, store, later, ("open_interest",)) == []


@pytest.mark.parametrize(
    "faults",
    ["short:0.4", "empty:1x,short:0.1", "duplicate:0.5,disorder:0.5", "reset:0.05,truncate:0.05,5xx:0.05,429:1x"],
)
def test_through_faults_the_end_is_the_truth(venue: Callable[..., Running], store: Store, faults: str) -> None:
    """Short pages are gone on from, an empty one is asked for again, the rest is retried: then all is there.

    What lies within the age of the newest value is not claimed; the next look asks for it.
    """
    sim, span = venue(faults=faults, seed=11), Span(parse_time("2023-07-01"), NOW - DAY)
    outcomes = fetch(sim, store, span)
    assert sim.injected
    assert not [o.errors for o in outcomes if o.errors]
    sim.exchange.plan_faults("")
    for _ in range(2):
        fetch(sim, store, span)
    whole(sim, store, span)
    for name in AGES:
        for symbol in sim.market.symbols:
            held = {ts for ts, _ in stored(store, name, symbol)}
            claimed = store.values.answered(name)[f"BINANCEUSDM:{symbol}"]
            lost = [ts for ts, _ in truth(sim, name, symbol, span) if claimed.contains(ts) and ts not in held]
            assert not lost, "an answer is claimed for a value that is not there"


def test_what_has_ended_is_believed_when_it_was_asked_for_twice(venue: Callable[..., Running], store: Store) -> None:
    """A delisted symbol has no values after its end: two answers without any prove it; then nobody asks."""
    sim = venue(symbols=30, delisted=0.5)
    gone = next(x for x in sim.markets["BINANCEUSDM"].listings() if x.delisted_at and x.delisted_at < NOW - 60 * DAY)
    symbol, span = gone.instrument.symbol, Span(parse_time("2023-07-01"), NOW - 30 * DAY)
    (outcome,) = fetch(sim, store, span, ("funding_rate",), (symbol,))
    assert outcome.requests == 2
    assert store.values.answered("funding_rate")[f"BINANCEUSDM:{symbol}"] == SpanSet.of(span)
    assert stored(store, "funding_rate", symbol) == truth(sim, "funding_rate", symbol, span)
    assert fetch(sim, store, span, ("funding_rate",), (symbol,)) == []


def test_a_symbol_that_is_refused_fails_and_the_others_go_on(venue: Callable[..., Running], store: Store) -> None:
    """A line of the ledger keeps the reason, nothing is claimed, and the next run asks again."""
    sim, span = venue(), Span(parse_time("2024-06-01"), NOW)
    outcomes = fetch(sim, store, span, ("funding_rate",), ("BTCUSDT", "NOSUCH"))
    errors = {o.instrument.symbol: o.errors for o in outcomes}
    assert errors["BTCUSDT"] == []
    assert "Invalid symbol" in errors["NOSUCH"][0]
    assert "Invalid symbol" in store.values.history("funding_rate", "BINANCEUSDM:NOSUCH")[-1]["error"]
    assert "BINANCEUSDM:NOSUCH" not in store.values.answered("funding_rate")
    assert [o.instrument.symbol for o in fetch(sim, store, span, ("funding_rate",), ("NOSUCH",))] == ["NOSUCH"]


def test_a_store_that_cannot_write_ends_the_run(venue: Callable[..., Running]) -> None:
    """What cannot be kept is not asked for: the error comes out as it is."""
    sim = venue()
    source = usdm(sim.url, weight=0)
    teller, _ = of_source(source, tuple(AGES))

    def keep(*_: object) -> Any:
        raise LakeFull("no space left.")

    with pytest.raises(LakeFull):
        run_values([ValueTask(teller, BTC, Span(NOW - DAY, NOW))], source, keep, run="r", patience=PATIENCE)


def test_each_kind_keeps_to_its_own_limit() -> None:
    """500 and 1000 requests in five minutes, apart from the weight of the minute; a source without a limit has none."""
    funding, interest = of_source(usdm(), tuple(AGES))
    assert (funding.limits.weight, interest.limits.weight) == (500, 1000)
    assert {x.limits.window for x in (funding, interest)} == {300.0}
    assert [x.limits.weight for x in of_source(usdm(weight=0), tuple(AGES))] == [0, 0]
    assert of_source(spot(), tuple(AGES)) == []


class _Odd:
    """A source of values that answers what it was told to."""

    name, base_url, value, path, every, reach = "odd", "", "funding_rate", "/x", HOUR, None
    limits = Limits(10, 0, 60.0, 1)

    def __init__(self, beside: Source, stamps: list[int], covered: Span | None = None) -> None:
        self.beside, self.stamps, self.covered, self.base_url = beside, stamps, covered, beside.base_url

    async def fetch(self, http: Any, instrument: Instrument, span: Span) -> ValuePage:
        ts = pl.Series("ts", self.stamps, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        frame = pl.DataFrame([ts, pl.Series("value", [0.5] * len(self.stamps))])
        return ValuePage(frame, self.covered or span)

    def used(self, headers: Any) -> int | None:
        return None

    def refusal(self, status: int, headers: Any, body: bytes) -> Any:
        return self.beside.refusal(status, headers, body)


@pytest.mark.parametrize(
    ("stamps", "covered"),
    [
        ([NOW + DAY], None),
        ([NOW - 2 * DAY], None),
        ([NOW - HOUR, NOW - HOUR], None),
        ([NOW - MINUTE, NOW - HOUR], None),
        ([], Span(NOW - 2 * DAY, NOW)),
    ],
)
def test_an_answer_that_was_not_asked_for_is_never_stored(
    venue: Callable[..., Running], store: Store, stamps: list[int], covered: Span | None
) -> None:
    """Values of other times, out of order or twice, or a claim of another span: a fault at receipt."""
    sim = venue()
    source = usdm(sim.url, weight=0)
    odd = _Odd(source, stamps, covered)
    (outcome,), _ = run_values(
        [ValueTask(odd, BTC, Span(NOW - DAY, NOW))], source, store.keep_values, run="r",
        patience=Patience(attempts=2, first_delay=0.01), clock=lambda: NOW,
    )  # fmt: skip
    assert len(outcome.errors) == 1
    assert not store.values.read("funding_rate").height
