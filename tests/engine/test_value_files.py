"""Values older than pages reach: the files of an archive, what they prove, and what the plan says of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gapless.engine.fetch import Patience
from gapless.engine.value_files import _spoken
from gapless.engine.value_plan import plan_values
from gapless.engine.value_tasks import LEFT_OUT, TOO_OLD, ValueTask, of_archive, of_source, tasks
from gapless.engine.values import run_values
from gapless.protocols import Http, Offer, ValuePage
from gapless.series import Instrument
from gapless.sim import Running, SimConfig, running
from gapless.sources.binance import usdm
from gapless.sources.binance_archive import usdm as archive
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, parse_time
from gapless.stores.lake import Lake as Store

NOW = parse_time("2024-06-03T12:34:20Z")
BTC = Instrument("BINANCEUSDM", "BTCUSDT")
FIVE = 5 * MINUTE
OPTIONS = {"symbols": 2, "speed": 0.0, "weight_limit": 0, "delisted": 0.0, "listed_late": 0.0}


def wanted(sim: Running, store: Store, span: Span, now: int, names: tuple[str, ...] = ("open_interest",)):
    """The source, and what is missing of a span."""
    source, beside = (
        usdm(sim.url, weight=0),
        archive(f"{sim.url}/data.binance.vision", bucket=f"{sim.url}/data.binance.vision/"),
    )
    held = of_archive(beside, names)
    return source, [
        task
        for teller in of_source(source, names)
        for task in tasks(
            teller, [BTC], span, store.values.answered(teller.value), store.values.asked_until(teller.value),
            archive=held[teller.value], now=now,
        )
    ]  # fmt: skip


def stored(store: Store, name: str) -> list[tuple[int, float]]:
    rows = store.values.read(name, [str(BTC)])
    return list(zip(rows["ts"].to_physical().to_list(), rows["value"].to_list(), strict=True))


def truth(sim: Running, name: str, span: Span) -> list[tuple[int, float]]:
    return [(ts, float(text)) for ts, text in sim.values.values(name, "BTCUSDT", span)]


@pytest.mark.parametrize("now", ["2024-06-03T12:34:20Z", "2026-07-28T12:34:20Z"])
def test_files_and_pages_make_the_whole_with_the_requests_that_were_planned(tmp_path: Path, now: str) -> None:
    """A file a day up to where pages reach, pages from there; of days named by the end of the five minutes, and, from
    2026-06-25 on, by their start. A second look asks nothing."""
    at = parse_time(now)
    store, span = Store(tmp_path / "lake", clock=lambda: at), Span(at - 37 * DAY, at)
    with running(SimConfig(start=span.start - 3 * DAY, now=at, **OPTIONS)) as sim:  # type: ignore[arg-type]
        source, found = wanted(sim, store, span, at)
        planned = plan_values(found, at).to_dict()
        outcomes, _ = run_values(found, source, store.keep_values, run="r", clock=lambda: at)
        assert stored(store, "open_interest") == truth(sim, "open_interest", span)
        assert planned["requests"] == sum(o.requests for o in outcomes) == sim.requests - 1, "but for the time"
        assert planned["sources"] == {"binance-usdm": 18, "binance-usdm-archive": 9}
        assert [o.residual for o in outcomes] == [{}]
        assert wanted(sim, store, span, at)[1] == []


def test_rates_come_in_pages_where_these_are_fewer(tmp_path: Path) -> None:
    """A year of rates is two pages, not twelve files."""
    store = Store(tmp_path / "lake", clock=lambda: NOW)
    with running(SimConfig(start="2024-05-20", now=NOW, **OPTIONS)) as sim:  # type: ignore[arg-type]
        _, found = wanted(sim, store, Span(NOW - 365 * DAY, NOW), NOW, ("funding_rate",))
        assert plan_values(found, NOW).to_dict()["sources"] == {"binance-usdm": 2}


def test_what_nobody_reaches_is_planned_as_residual(tmp_path: Path) -> None:
    """Without an archive: what lies further back than pages."""
    teller = of_source(usdm(), ("open_interest",))[0]
    found = tasks(teller, [BTC], Span(NOW - 40 * DAY, NOW), {}, {}, now=NOW)
    (line,) = plan_values(found, NOW).to_dict()["residual"]  # type: ignore[misc]
    assert (line["reason"], line["start"]) == (TOO_OLD, "2024-04-24T12:34:20Z")


def test_files_come_though_nobody_answers_for_pages(tmp_path: Path) -> None:
    """The clock is asked for once, not by every task; what files hold is stored."""
    store, span = Store(tmp_path / "lake", clock=lambda: NOW), Span(NOW - 90 * DAY, NOW - 40 * DAY)
    with running(SimConfig(start=span.start - 3 * DAY, now=NOW, **OPTIONS)) as sim:  # type: ignore[arg-type]
        source, found = wanted(sim, store, span, NOW)
        source.base_url = "http://127.0.0.1:9"
        patience, retried = Patience(attempts=2, first_delay=0.01), list[object]()
        (outcome,), _ = run_values(
            found, source, store.keep_values, run="r", patience=patience, observer=retried.append, clock=lambda: NOW
        )
        assert len(found) > 1
        assert len(retried) == 1
        assert (outcome.errors, outcome.residual) == ([], {})
        assert stored(store, "open_interest") == truth(sim, "open_interest", span)


class _Torn:
    """An archive whose file has lost its afternoon, and a quarter of an hour of its morning."""

    name, base_url, value, limits = "torn", "http://nowhere", "open_interest", archive().limits

    def offers(self, instrument: Instrument, span: Span, now: int) -> list[Offer]:
        return [Offer("torn", "folder", "file.zip", Span(span.start, span.start + DAY), 0)]

    async def digests(self, http: Http, offers: object) -> dict[str, str]:
        return {"file.zip": ""}

    async def read(self, http: Http, instrument: Instrument, offer: Offer, digest: str | None) -> ValuePage:
        ts = [t for t in range(offer.span.start, offer.span.start + DAY // 2, FIVE) if t // FIVE % 100 not in (7, 8, 9)]
        frame = pl.DataFrame([pl.Series("ts", ts).cast(pl.Datetime("us", "UTC")), pl.Series("value", [1.0] * len(ts))])
        return ValuePage(frame, offer.span)

    used = refusal = None


def test_a_long_silence_of_a_file_is_not_believed(tmp_path: Path) -> None:
    """Two hours after the last value it is told that the file leaves the rest out, and the next run asks again; the
    quarter of an hour between values is believed."""
    store, start = Store(tmp_path / "lake", clock=lambda: NOW), NOW // DAY * DAY - 100 * DAY
    source, torn = usdm("http://127.0.0.1:9"), _Torn()
    teller = of_source(source, ("open_interest",))[0]
    span = Span(start, start + DAY)

    def missing() -> list[ValueTask]:
        return tasks(
            teller,
            [BTC],
            span,
            store.values.answered("open_interest"),
            {},
            archive=torn,
            pages=False,
            now=NOW,  # type: ignore[arg-type]
        )

    (outcome,), _ = run_values(
        missing(), source, store.keep_values, run="r", patience=Patience(attempts=1), clock=lambda: NOW
    )
    last = start + DAY // 2 - FIVE
    assert outcome.residual == {LEFT_OUT: SpanSet.of(Span(last + 2 * HOUR, span.end))}
    assert store.values.answered("open_interest")[str(BTC)] == SpanSet.of(Span(start, last + 2 * HOUR))
    assert [task.span.start for task in missing()] == [last + 2 * HOUR]


def test_silence_is_believed_as_long_as_a_value_speaks_of_bars() -> None:
    """An answer's values reach as far as their age, on both sides, and no further than the file."""
    ts = pl.Series("ts", [10 * HOUR, 13 * HOUR, 20 * HOUR]).cast(pl.Datetime("us", "UTC"))
    page = ValuePage(pl.DataFrame([ts, pl.Series("value", [1.0, 2.0, 3.0])]), Span(9 * HOUR, 24 * HOUR))
    assert _spoken(page, 2 * HOUR) == SpanSet.of(Span(9 * HOUR, 15 * HOUR), Span(18 * HOUR, 22 * HOUR))
