"""Sources beside Binance in a lake: backfilled to the last bar, without their keys; and those that packages bring."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gapless as gl
from gapless.app import markets, vendors
from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.bars import TS
from gapless.config import parse
from gapless.errors import UnknownName, UsageError
from gapless.observe.progress import Silent
from gapless.sim import Running, SimConfig, running
from gapless.sources.bitfinex import bitfinex
from gapless.spans import HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time

KEY = "a-key-nobody-should-see"
NOW = "2024-06-03T15:34:20Z"


@pytest.fixture(scope="module")
def sim() -> Iterator[Running]:
    config = SimConfig(symbols=4, start="2024-03-01", now=NOW, speed=0.0, weight_limit=0, keys=(KEY,), listed_late=0.0)
    with running(config) as found:
        yield found


def lake(tmp_path: Path, sim: Running) -> Lake:
    """A lake whose clock stands with the venue's."""
    opened = gl.open(tmp_path / "lake")
    polygon = {"base_url": f"{sim.url}/polygon", "key": KEY, "weight": 0}
    names = ("polygon", "polygon-xnys", "polygon-crypto")
    bitfinex = {"base_url": f"{sim.url}/bitfinex", "weight": 0}
    opened.config = parse({"sources": {"bitfinex": bitfinex, **dict.fromkeys(names, polygon)}})
    opened.store.clock = lambda: parse_time(NOW)
    return opened


@pytest.mark.parametrize(
    ("name", "frame", "span"),
    [
        ("BITFINEX:ALGOUSD", "1m", ("2024-05-30", "2024-06-01")),
        ("BITFINEX:BTCUSD", "1h", ("2024-05-01", "2024-06-01")),
        ("XNAS:AAPL", "1m", ("2024-05-28", "2024-06-01")),
        ("XNYS:IBM", "1d", ("2024-04-01", "2024-06-01")),
        ("CRYPTO:ALGOUSD", "5m", ("2024-05-25", "2024-06-01")),
    ],
)
def test_a_backfill_of_each_vendor_is_the_truth(
    tmp_path: Path, sim: Running, name: str, frame: str, span: tuple[str, str]
) -> None:
    """Every bar that was expected, with its values; nothing left to repair; the key in no file of the lake."""
    at = lake(tmp_path, sim)
    run = fetch(wanted(at, "backfill", symbols=name, timeframes=frame, start=span[0], end=span[1]), Silent())
    assert (run.gaps, run.document["totals"]["failed"]) == ([], 0)
    truth = sim.markets[name.partition(":")[0]].truth(name, frame, Span.parse(*span))
    stored = at.bars([name], frame, start=span[0], end=span[1])
    told = stored.join(truth, on="ts", how="semi").select("ts", "open", "high", "low", "close", "volume")
    assert stored.height > 20
    assert told.equals(truth.join(stored, on="ts", how="semi").select(told.columns))
    assert told.height == stored.height
    held = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if KEY.encode() in path.read_bytes()]


def test_bars_of_a_vendor_with_a_delay_are_pending_until_it_has_passed(tmp_path: Path, sim: Running) -> None:
    """A quarter of an hour of a session under way is not missing: its vendor is as late; told so, it is."""
    at = lake(tmp_path, sim)
    words = {"symbols": "XNAS:AAPL", "timeframes": "1m", "start": "2024-06-03T13:30"}
    run = fetch(wanted(at, "backfill", **words), Silent())
    assert (run.exit_code, run.gaps) == (0, [])
    assert at.bars("XNAS:AAPL", "1m")["ts"].max() == pl.Series([parse_time("2024-06-03T15:18")]).cast(TS)[0]
    asked = {"start": "2024-06-03T13:30", "end": NOW}
    assert at.gaps("XNAS:AAPL", "1m", **asked).select("class", "bars").rows() == [("pending", 16)]
    at.config = parse({"sources": {"polygon": {"settle": "2m"}}})
    assert at.gaps("XNAS:AAPL", "1m", **asked).select("class", "bars").rows() == [("never_asked", 13), ("pending", 3)]


def test_what_became_final_during_a_run_is_the_next_ones(tmp_path: Path, sim: Running) -> None:
    """A run that takes five minutes is complete when it has what was final when it was called."""
    at = lake(tmp_path, sim)
    slow = wanted(at, "backfill", symbols="XNAS:AAPL,BITFINEX:BTCUSD", timeframes="1m", start="2024-06-03T15:00")
    at.store.clock = lambda: parse_time(NOW) + 5 * MINUTE
    run = fetch(slow, Silent())
    assert (run.exit_code, run.gaps) == (0, [])
    again = wanted(at, "plan", symbols="XNAS:AAPL,BITFINEX:BTCUSD", timeframes="1m", start="2024-06-03T15:00")
    assert {str(t.series.instrument) for _, p in make_plan(again).parts for t in p.tasks} == {
        "XNAS:AAPL",
        "BITFINEX:BTCUSD",
    }


def test_a_quiet_end_of_a_venue_that_omits_silent_minutes(tmp_path: Path) -> None:
    """Nothing traded for the last forty minutes: the run is complete, and what traded later comes with the next one."""
    now = parse_time(NOW)
    halts = {"ALGOUSD": SpanSet.of((now - 40 * MINUTE, now + HOUR))}
    config = SimConfig(
        symbols=4, start="2024-05-01", now=NOW, speed=0.0, weight_limit=0, listed_late=0.0, halts=halts,
        outages_per_month=0.0,
    )  # fmt: skip
    with running(config) as sim:
        at = lake(tmp_path, sim)
        words = {"symbols": "BITFINEX:ALGOUSD", "timeframes": "1m", "start": "2024-06-03T10:00"}
        run = fetch(wanted(at, "backfill", **words), Silent())
        assert (run.exit_code, run.gaps, run.document["totals"]["failed"]) == (0, [], 0)
        before = at.bars("BITFINEX:ALGOUSD", "1m")["ts"].max()
        sim.clock.advance(3 * HOUR)
        at.store.clock = sim.clock
        run = fetch(wanted(at, "backfill", **words), Silent())
        assert run.exit_code == 0
        after = at.bars("BITFINEX:ALGOUSD", "1m")
        assert after["ts"].max() > before
        truth = sim.markets["BITFINEX"].truth(
            "BITFINEX:ALGOUSD", "1m", Span(parse_time("2024-06-03T10:00"), sim.clock())
        )
        assert after["ts"].to_list() == truth["ts"].to_list()[: after.height]


def test_a_wrong_key_is_told_and_not_shown(tmp_path: Path, sim: Running) -> None:
    """The tasks fail with the vendor's words and the fix; the key is in none of them."""
    at = lake(tmp_path, sim)
    at.config = parse({"sources": {"polygon": {"base_url": f"{sim.url}/polygon", "key": "wr0ng-key", "weight": 0}}})
    run = fetch(
        wanted(at, "backfill", symbols="XNAS:AAPL", timeframes="1d", start="2024-05-01", end="2024-05-08"), Silent()
    )
    told = str(run.document)
    assert run.document["totals"]["failed"] > 0
    assert "wr0ng-key" not in told
    assert "wr0ng-key" not in repr(at.config) + str(at.config.model_dump())
    assert not [p for p in (tmp_path / "lake").rglob("*") if p.is_file() and b"wr0ng-key" in p.read_bytes()]


def test_an_option_a_source_has_not_is_an_error() -> None:
    """A key for a source without one does nothing, so it is refused."""
    with pytest.raises(UsageError, match="binance has no option key"):
        markets.source(parse({"sources": {"binance": {"key": "x"}}}), "binance")


def test_settle_can_be_told() -> None:
    """A plan with delayed data has its bars later."""
    made = markets.source(parse({"sources": {"polygon": {"settle": "35m", "key": "x"}}}), "polygon")
    assert made.settle == 35 * 60 * 1_000_000


class Odd:
    name = "odd"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if packages had brought these."""
    brought = {"third": "tests_third:make", "held": "tests_third:held", "odd": "tests_third:Odd"}
    made = {"third": bitfinex, "held": bitfinex(), "odd": Odd}

    def entry_points(*, group: str, name: str = "") -> list[Any]:
        assert group == "gapless.sources"
        return [EntryPoint(n, v, group) for n, v in brought.items() if name in ("", n)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: made[self.name])


@pytest.mark.usefixtures("installed")
def test_a_source_of_another_package_is_found_by_name() -> None:
    """A maker gets the configured options; a made one is taken as it is; both get their configured name."""
    config = parse({"sources": {"mine": {"kind": "third", "weight": 7}}})
    assert (markets.source(config, "mine").name, markets.source(config, "mine").limits.weight) == ("mine", 7)
    assert markets.source(config, "held").venue == "BITFINEX"
    assert vendors.plugged_names() == ["held", "odd", "third"]


@pytest.mark.usefixtures("installed")
def test_what_is_no_source_is_told_with_what_it_lacks() -> None:
    """And a name that nobody brings is unknown, with those that are there."""
    with pytest.raises(UsageError, match=r"tests_third:Odd is no source: it has no venue, base_url"):
        markets.source(parse({}), "odd")
    with pytest.raises(UnknownName, match="did you mean 'third'"):
        markets.source(parse({}), "thirt")


@pytest.mark.usefixtures("installed")
def test_options_of_a_source_that_is_made_already_are_errors() -> None:
    """There is nothing to hand them to."""
    with pytest.raises(UsageError, match="held has no option weight"):
        markets.source(parse({"sources": {"held": {"weight": 3}}}), "held")


def test_bars_of_polygon_are_of_polygon(tmp_path: Path, sim: Running) -> None:
    """The source column names the section that was asked."""
    at = lake(tmp_path, sim)
    fetch(wanted(at, "backfill", symbols="XNAS:SHY", timeframes="1d", start="2024-05-01", end="2024-05-08"), Silent())
    held = at.store.bars(None, Timeframe.parse("1d"), None, as_of=None)
    assert held.get_column("source").unique().to_list() == ["polygon"]
