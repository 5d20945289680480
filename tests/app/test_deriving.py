"""Longer bars from stored shorter ones: what is folded, when, what it is called, and when it is folded again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.app.runs import Run
from gapless.config import parse
from gapless.observe.progress import Silent
from gapless.sim import Running, SimConfig, running

WORDS: dict[str, Any] = {"symbols": "BINANCE:BTCUSDT,BINANCE:ETHUSDT", "start": "2024-06-01", "end": "2024-06-03"}
SEEN = ["instrument", "ts", "open", "high", "low", "close"]
NOBODY = "http://127.0.0.1:9"


def venue(**options: Any) -> SimConfig:
    """The same market every time; its clock stands still."""
    usual: dict[str, Any] = {
        "symbols": ("BTCUSDT", "ETHUSDT"), "start": "2024-05-01", "now": "2024-06-03T12:34:20Z", "speed": 0.0,
        "weight_limit": 0, "outages_per_month": 0, "halts_per_month": 0, "listed_late": 0, "delisted": 0,
    }  # fmt: skip
    return SimConfig(**(usual | options))


@pytest.fixture(scope="module")
def sim() -> Iterator[Running]:
    with running(venue()) as found:
        yield found


def lake_at(path: Path, url: str, **backfill: Any) -> Lake:
    """A lake whose source is at ``url`` and is given up soon."""
    soon = {"attempts": 2, "patience": "1s", "timeout": "2s", "base_url": url}
    return Lake(path / "lake", config=parse({"sources": {"binance": soon}, "backfill": backfill}))


def go(lake: Lake, verb: str = "backfill", **words: Any) -> Run:
    return fetch(wanted(lake, verb, **WORDS | words), Silent())


def plan(lake: Lake, **words: Any) -> dict[str, Any]:
    return make_plan(wanted(lake, "plan", **WORDS | words)).to_dict()


def said_by(lake: Lake, timeframe: str) -> set[str]:
    return set(lake.bars(None, timeframe, provenance=True)["source"])


def test_first_asks_for_minutes_alone_and_what_is_folded_is_what_the_venue_says(tmp_path: Path, sim: Running) -> None:
    """1m, 5m and 1h cost what 1m costs; the plan says so; the bars are the venue's own to the bit."""
    lake, alone = lake_at(tmp_path / "a", sim.url, derive="first"), lake_at(tmp_path / "b", sim.url)
    found = plan(lake, timeframes="1m,5m,1h")
    assert found["sources"] == {"binance": 6, "derived-1m": 0}
    assert [t["timeframe"] for t in found["tasks"] if t["source"] == "derived-1m"] == ["5m", "5m", "1h", "1h"]
    assert (found["derived"], found["bars"]) == (2 * (576 + 48), 2 * (2880 + 576 + 48))
    run = go(lake, timeframes="1m,5m,1h")
    assert (run.exit_code, run.document["totals"]["requests"]) == (0, 6)
    assert sum(d["bars"] for d in run.document["derived"]) == found["derived"]
    assert go(alone, timeframes="1m,5m,1h", derive="never").document["totals"]["requests"] > 6
    for bars in ("5m", "1h"):
        assert lake.bars(None, bars).select(SEEN).equals(alone.bars(None, bars).select(SEEN))
        assert (said_by(lake, bars), said_by(alone, bars)) == ({"derived-1m"}, {"binance"})
    assert plan(lake, timeframes="1m,5m,1h")["tasks"] == []


def test_what_a_dead_source_left_open_is_folded_and_the_run_is_complete(tmp_path: Path, sim: Running) -> None:
    """By default nothing is folded before the source was asked; its failure is made good, and told."""
    assert go(lake_at(tmp_path, sim.url), timeframes="1m").exit_code == 0
    lake = lake_at(tmp_path, NOBODY)
    assert {t["source"] for t in plan(lake, timeframes="5m")["tasks"]} == {"binance"}
    run = go(lake, timeframes="5m")
    assert (run.exit_code, run.gaps) == (0, [])
    assert {e["made_good_by"] for e in run.document["errors"]} == {"derived-1m"}
    assert said_by(lake, "5m") == {"derived-1m"}
    assert pl.Series(go(lake, "repair", timeframes="5m").document["totals"].values()).sum() == 0


def test_never_leaves_the_gap(tmp_path: Path, sim: Running) -> None:
    """With never a dead source is a failed run, though the minutes are there."""
    assert go(lake_at(tmp_path, sim.url), timeframes="1m").exit_code == 0
    run = go(lake_at(tmp_path, NOBODY), timeframes="5m", derive="never")
    assert (run.exit_code, {g.cls for g in run.gaps}, run.document["derived"]) == (1, {"failed"}, [])
