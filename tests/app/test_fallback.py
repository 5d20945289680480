"""Two sources of one venue: what the first leaves open, the second fills, and the account says who did what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.config import Config, parse
from gapless.errors import ConfigError, UsageError
from gapless.events import Event, Fetched
from gapless.observe.progress import Silent
from gapless.sim import Running, SimConfig, running
from gapless.spans import HOUR, Span, SpanSet, Timeframe, parse_time

M1 = Timeframe.parse("1m")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NAMES = ",".join(f"BINANCE:{s}" for s in SYMBOLS)
SPAN = Span.parse("2024-05-30", "2024-06-03")
WORDS: dict[str, Any] = {"symbols": NAMES, "timeframes": "1m", "start": "2024-05-30", "end": "2024-06-03"}
SEEN = ["instrument", "ts", "open", "high", "low", "close", "volume"]


def venue(**options: Any) -> SimConfig:
    """The same market every time; its clock stands still. Options break one of its addresses."""
    usual: dict[str, Any] = {
        "symbols": SYMBOLS, "start": "2024-05-01", "now": "2024-06-03T12:34:20Z", "speed": 0.0, "weight_limit": 0,
        "outages_per_month": 0, "halts_per_month": 0, "listed_late": 0, "delisted": 0,
    }  # fmt: skip
    return SimConfig(**(usual | options))


def settings(first: str, second: str, *names: str) -> Config:
    """Two sources of kind binance that give up soon."""
    soon = {"kind": "binance", "attempts": 2, "patience": "1s", "timeout": "2s"}
    sources = {"first": soon | {"base_url": first}, "second": soon | {"base_url": second}}
    return parse({"sources": sources, "venues": {"BINANCE": {"sources": names or ("first", "second")}}})


class Watcher(Silent):
    """Calls ``then`` when the source called first has answered so many pages; counts pages by source."""

    def __init__(self, after: int, then: Any) -> None:
        self.after, self.then = after, then
        self.pages: list[str] = []

    def observe(self, event: Event) -> None:
        if isinstance(event, Fetched):
            self.pages.append(event.source)
            if len(self.pages) == self.after:
                self.then()


@pytest.fixture(scope="module")
def second() -> Iterator[Running]:
    with running(venue()) as sim:
        yield sim


def truth(sim: Running) -> pl.DataFrame:
    return pl.concat([sim.market.truth(s, M1, SPAN) for s in SYMBOLS]).select(SEEN).sort("instrument", "ts")


def test_a_first_source_that_dies_mid_run_loses_nothing(tmp_path: Path, second: Running) -> None:
    """The run ends complete: every bar is there, by two sources, each once; the account shows the hand-over."""
    with ExitStack() as stack:
        first = stack.enter_context(running(venue()))
        lake = Lake(tmp_path / "lake", config=settings(first.url, second.url))
        watcher = Watcher(5, stack.close)
        run = fetch(wanted(lake, "backfill", max_concurrent=2, **WORDS), watcher)
    assert (run.exit_code, run.document["outcome"], run.gaps) == (0, "complete", [])
    bars = lake.bars(None, "1m", provenance=True)
    assert bars.select(SEEN).equals(truth(second))
    assert set(bars["source"]) == {"first", "second"}
    assert run.document["totals"]["failed"] > 0
    assert {e["made_good_by"] for e in run.document["errors"]} == {"second"}
    handed = run.document["handovers"]
    assert {(h["from"], h["to"]) for h in handed} == {("first", "second")}
    by_second = bars.filter(pl.col("source") == "second").height
    assert sum(h["filled"] for h in handed) == sum(h["asked"] for h in handed) == by_second
    assert not any(f.failed for f in lake.store.facts(M1))
    assert fetch(wanted(lake, "backfill", **WORDS), Silent()).document["totals"]["requests"] == 0


def test_when_all_sources_fail_the_run_says_so(tmp_path: Path) -> None:
    """Nobody answers: exit code 1, each error of both stands, and every bar is a gap of class failed."""
    lake = Lake(tmp_path / "lake", config=settings("http://127.0.0.1:9", "http://127.0.0.1:9"))
    run = fetch(wanted(lake, "backfill", **WORDS | {"symbols": "BINANCE:BTCUSDT"}), Silent())
    assert (run.exit_code, run.document["outcome"]) == (1, "incomplete")
    assert not any("made_good_by" in e for e in run.document["errors"])
    assert {g.cls for g in run.gaps} == {"failed"}
    assert sum(g.bars for g in run.gaps) == SPAN.bars(M1)


def test_a_hole_of_the_first_is_filled_by_the_second_and_asked_for_once(tmp_path: Path, second: Running) -> None:
    """Three hours that the first source answered without a bar come from the second; what neither has is let be."""
    at = parse_time("2024-06-01T03:00")
    hole = SpanSet.of((at, at + 3 * HOUR))
    with running(venue(outages=hole)) as first:
        lake = Lake(tmp_path / "lake", config=settings(first.url, second.url))
        run = fetch(wanted(lake, "backfill", **WORDS), Silent())
        bars = lake.bars(None, "1m", provenance=True)
        filled = bars.filter(pl.col("source") == "second")
        assert run.exit_code == 0
        assert filled.height == 3 * 180 == sum(h["filled"] for h in run.document["handovers"])
        assert filled["ts"].to_physical().is_between(at, at + 3 * HOUR, closed="left").all()
        assert {e["error"] for e in run.document["errors"]} == set()
        assert fetch(wanted(lake, "backfill", **WORDS), Silent()).document["totals"]["requests"] == 0


def test_what_neither_source_has_is_asked_of_each_once(tmp_path: Path) -> None:
    """An outage that both saw stays a gap, and no later run asks for it again."""
    at = parse_time("2024-06-01T03:00")
    with running(venue(outages=SpanSet.of((at, at + HOUR)))) as sim:
        lake = Lake(tmp_path / "lake", config=settings(sim.url, sim.url))
        run = fetch(wanted(lake, "backfill", **WORDS), Silent())
        assert [h["filled"] for h in run.document["handovers"]] == [0, 0, 0]
        assert run.exit_code == 0
        again = fetch(wanted(lake, "repair", **WORDS), Silent())
        assert (again.exit_code, again.document["totals"]["requests"]) == (0, 0)


def test_a_plan_shows_holes_for_the_next_source(tmp_path: Path, second: Running) -> None:
    """A hole that is known before the run, of a time when there was no second source, stands in the plan with it."""
    at = parse_time("2024-06-01T03:00")
    with running(venue(outages=SpanSet.of((at, at + 3 * HOUR)))) as first:
        lake = Lake(tmp_path / "lake", config=parse({"sources": {"binance": {"base_url": first.url}}}))
        fetch(wanted(lake, "backfill", **WORDS), Silent())
        lake.config = settings(first.url, second.url, "binance", "second")
        tasks = make_plan(wanted(lake, "plan", **WORDS)).to_dict()["tasks"]
        assert [(t["source"], t["start"]) for t in tasks] == [("second", "2024-06-01T03:00:00Z")] * 3
        fetch(wanted(lake, "repair", **WORDS), Silent())
        assert lake.bars(None, "1m").select(SEEN).equals(truth(second))


def test_a_source_that_is_named_is_asked_alone(tmp_path: Path, second: Running) -> None:
    """--source means that one: its failure is the run's, no other is asked."""
    lake = Lake(tmp_path / "lake", config=settings("http://127.0.0.1:9", second.url))
    run = fetch(wanted(lake, "backfill", source="first", **WORDS | {"symbols": "BINANCE:BTCUSDT"}), Silent())
    assert (run.exit_code, run.document["handovers"]) == (1, [])


def test_sources_are_said_in_one_way() -> None:
    """Both source and sources, or one twice, is an error with its path."""
    for wrong in ({"source": "a", "sources": ["b"]}, {"sources": ["a", "a"]}):
        with pytest.raises(ConfigError, match=r"venues\.BINANCE"):
            parse({"venues": {"BINANCE": wrong}})


def test_a_source_of_another_venue_is_no_fallback(tmp_path: Path) -> None:
    """It is told before anything is asked, with the place where it stands."""
    config = {"BINANCE": {"sources": ["binance", "binance-usdm"]}}
    lake = Lake(tmp_path / "lake", config=parse({"venues": config}))
    with pytest.raises(UsageError, match=r"binance-usdm serves BINANCEUSDM.*\[venues\.BINANCE\]"):
        make_plan(wanted(lake, "plan", **WORDS))
