"""What a venue's sources say decides what is expected of it: when a day is done, and whether silence is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import gapless as gl
from gapless.app import markets, vendors
from gapless.app.backfilling import fetch
from gapless.app.coverage import assess
from gapless.app.planning import make_plan, wanted
from gapless.config import Config, parse
from gapless.errors import UsageError
from gapless.observe.progress import Silent
from gapless.protocols import Limits
from gapless.sim import SimConfig, running
from gapless.sources.bitfinex import Bitfinex, bitfinex
from gapless.spans import HOUR, MINUTE, Span, Timeframe, parse_time

D1, M1 = Timeframe.parse("1d"), Timeframe.parse("1m")
DAYS = {"symbols": "XNAS:AAPL", "timeframes": "1d", "start": "2024-06-24", "end": "2024-07-04"}


@pytest.mark.parametrize(("now", "days"), [("2024-07-03T21:10:30Z", 7), ("2024-07-03T21:20:30Z", 8)])
def test_a_half_day_is_fetched_when_it_is_done_and_not_missed_before(tmp_path: Path, now: str, days: int) -> None:
    """Closed at 13:00 in New York, traded on until 17:00, told by 17:15: pending until then, complete after."""
    with running(SimConfig(symbols=1, start="2024-03-01", now=now, speed=0.0)) as sim:
        lake = gl.open(tmp_path / "lake")
        lake.config = parse({"sources": {"polygon": {"base_url": f"{sim.url}/polygon", "key": "sim-key", "weight": 0}}})
        lake.store.clock = lambda: parse_time(now)
        run = fetch(wanted(lake, "backfill", **DAYS), Silent())
        assert (run.gaps, run.document["outcome"]) == ([], "complete")
        assert lake.bars(["XNAS:AAPL"], "1d").height == days
        again = make_plan(wanted(lake, "backfill", **DAYS)).to_dict()
        assert again["requests"] == 0
        span = Span.parse(DAYS["start"], DAYS["end"])
        classes = [gap.cls for gap in assess(lake.store, lake.config, D1, within=span)]
        assert classes == ([] if days == 8 else ["pending"])


def test_days_of_stocks_settle_later_than_their_minutes() -> None:
    """As the plan's delay is configured, and the evening on top; of crypto nothing is added."""
    config = parse({"sources": {"polygon": {"settle": "35m"}}})
    assert markets.settle(config, "XNAS", M1) == 35 * MINUTE
    assert markets.settle(config, "XNAS", D1) == 4 * HOUR + 35 * MINUTE
    assert markets.settle(parse({}), "CRYPTO", D1) == markets.settle(parse({}), "CRYPTO", M1) == MINUTE


def plug(monkeypatch: pytest.MonkeyPatch, **made: Any) -> None:
    """As if packages had brought these; an error is raised where it is loaded."""

    def entry_points(*, group: str, name: str = "") -> list[EntryPoint]:
        return [EntryPoint(n, f"theirs:{n}", group) for n in made if name in ("", n)]

    def load(entry: EntryPoint) -> Any:
        if isinstance(made[entry.name], Exception):
            raise made[entry.name]
        return made[entry.name]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", load)


def talkative() -> Bitfinex:
    """Of venue ACME, with silent bars, and evenings."""
    return replace(bitfinex(), name="acme", venue="ACME", dense=True)


ACME = {"calendar": "24/7"}


@pytest.mark.parametrize(
    ("venue", "config", "dense"),
    [
        ("BINANCE", {}, True),
        ("BITFINEX", {}, False),
        ("XNAS", {}, False),
        ("ACME", {"venues": {"ACME": ACME}}, True),
        ("ACME", {"venues": {"ACME": {**ACME, "source": "acme"}}}, True),
        ("ACME", {"venues": {"ACME": {**ACME, "source": "mine"}}, "sources": {"mine": {"kind": "acme"}}}, True),
        ("ACME", {"venues": {"ACME": {**ACME, "source": "bitfinex"}}}, False),
        ("KRAKEN", {"venues": {"KRAKEN": {**ACME, "source": "ccxt-kraken"}}}, False),
        ("FILES", {"venues": {"FILES": ACME}}, False),
    ],
)
def test_whether_silence_is_told_is_asked_of_the_venues_sources(
    monkeypatch: pytest.MonkeyPatch, venue: str, config: dict[str, Any], dense: bool
) -> None:
    """Built in, brought by a package, ccxt's, or named in the configuration; of files alone nobody says."""
    plug(monkeypatch, acme=talkative, broken=ImportError("no module named theirs"))
    found: Config = parse(config)
    assert markets.dense(found, venue) is dense


FEW = Limits(2, 0, 60.0, 1)


@dataclass(frozen=True)
class Frozen:
    name: str = "frozen"
    venue: str = "ACME"
    base_url: str = "http://nowhere.example"
    limits: Limits = FEW
    settle: int = 0
    dense: bool = False
    fetch = listings = server_time = weight_of = used = refusal = None


def needy(base_url: str) -> Bitfinex:
    """Cannot be made without an address."""
    return bitfinex(base_url)


class Half(Bitfinex):
    weight_of = property()  # as if it were not there


@pytest.mark.parametrize(
    ("brought", "words"),
    [
        (Frozen, "source acme cannot be given its name"),
        (needy, r"source acme cannot be made by theirs:acme\(\): .*base_url"),
        (lambda: Half("acme", "ACME", "", FEW, 0), "is no source: it has no weight_of"),
        (AttributeError("module 'theirs' has no attribute 'acme'"), "cannot be loaded from theirs:acme"),
    ],
)
def test_what_a_package_brings_in_vain_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, brought: Any, words: str
) -> None:
    """Frozen, in need of arguments, half of a source, or not there at all."""
    plug(monkeypatch, acme=brought)
    with pytest.raises(UsageError, match=words):
        markets.source(parse({}), "acme")


def test_only_options_that_can_be_told_are_offered() -> None:
    """The parameters of a maker that are no options are not among them."""
    with pytest.raises(UsageError) as caught:
        markets.source(parse({"sources": {"binance": {"browser": True}}}), "binance")
    assert caught.value.hint == "it has: base_url, weight, concurrency"


def test_a_venue_that_only_a_package_serves_needs_no_source_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calendar must be told; a package that cannot be loaded is told by name, to whoever names it."""
    plug(monkeypatch, acme=talkative, broken=ImportError("no module named theirs"))
    config = parse({"venues": {"ACME": ACME}})
    assert markets.source_name(config, "ACME") == "acme"
    assert vendors.plugged_for("ACME") == ["acme"]
    with pytest.raises(UsageError, match="source broken cannot be loaded from theirs:broken: no module named theirs"):
        markets.source(config, "broken")
