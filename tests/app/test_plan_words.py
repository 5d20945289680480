"""What a call may ask for: spans that are none, that reach too far or have not come, names that name nobody, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.config import parse
from gapless.errors import ConfigError, UsageError
from gapless.observe.progress import Silent
from gapless.protocols import Answer
from gapless.series import Series
from gapless.sim import SimConfig, running
from gapless.spans import DAY, EARLIEST, Span, iso

WORDS: dict[str, Any] = {"symbols": "BINANCE:BTCUSDT", "timeframes": "1d"}
SPAN = {"start": "2024-06-01", "end": "2024-06-03"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"days": float("nan")}, "no span"),
        ({"days": -1.0}, "no span"),
        ({"start": "2024-06-01", "end": "2024-06-01"}, "no span"),
        ({"start": "2090-01-01"}, "has not come"),
        ({"start": "2090-01-01", "end": "2091-01-01"}, "has not come"),
        (SPAN | {"symbols": " , "}, "names none"),
        (SPAN | {"timeframes": ","}, "names none"),
        (SPAN | {"timeframes": ""}, "names none"),
        (SPAN | {"max_concurrent": 0}, "asks nobody"),
        (SPAN | {"max_concurrent": -4}, "asks nobody"),
    ],
)
def test_a_call_that_means_nothing_is_told_so(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    """Not taken for a plan without tasks, nor for everything there is."""
    with pytest.raises(UsageError, match=said):
        wanted(Lake(tmp_path), "plan", **WORDS | words)


@pytest.mark.parametrize("words", [{"days": 1e9}, {"days": float("inf")}, {"start": "1900-01-01"}])
def test_a_span_may_reach_back_to_the_beginning(tmp_path: Path, words: dict[str, Any]) -> None:
    """Also of a series that was asked for already, for later times: what comes before is asked for."""
    lake = Lake(tmp_path, config=parse({"sources": {"binance": {"archive": "none"}}}))
    asked, series = Span.parse("2024-06-01", "2024-06-03"), Series.parse("BINANCE:BTCUSDT", "1d")
    lake.store.record([Answer("binance", series, asked, asked, 0, "ok", 1, "", "", "r", lake.store.clock())])
    tasks = make_plan(wanted(lake, "plan", **WORDS | words)).to_dict()["tasks"]
    assert tasks[0]["start"] == iso(EARLIEST + DAY)


@pytest.mark.parametrize("archive", ["none", None])
def test_what_was_asked_for_before_a_listing_hides_nothing_that_came_after(tmp_path: Path, archive: str | None) -> None:
    """Answers without bars speak of their own time: what lies between them and the first bar known is asked for."""
    config = SimConfig(symbols=("BTCUSDT",), start="2024-05-01", now="2024-06-03T12:00Z", speed=0.0, weight_limit=0)
    with running(config) as sim:
        section = {"base_url": sim.url} | ({"archive": archive} if archive else {})
        lake = Lake(tmp_path, config=parse({"sources": {"binance": section}}))

        def went(verb: str, start: str, end: str) -> list[tuple[str, str]]:
            words = {"symbols": "BINANCE:BTCUSDT", "timeframes": "1h", "start": start, "end": end}
            if verb == "backfill":
                assert fetch(wanted(lake, verb, **words), Silent()).exit_code == 0
            tasks = make_plan(wanted(lake, "plan", **words)).to_dict()["tasks"]
            return [(t["start"][:10], t["end"][:10]) for t in tasks]  # type: ignore[index]

        words = {"symbols": "BINANCE:BTCUSDT", "timeframes": "1h", "start": "2024-03-01", "end": "2024-06-01"}
        assert make_plan(wanted(lake, "plan", **words)).to_dict()["unlisted"] == ["BINANCE:BTCUSDT"]
        assert went("backfill", "2024-03-01", "2024-04-01") == []
        assert went("plan", "2024-03-01", "2024-06-01") == [("2024-04-01", "2024-06-01")]
        assert went("plan", "2024-02-01", "2024-03-15") == [("2024-02-01", "2024-03-01")]
        assert went("backfill", "2024-05-20", "2024-06-01") == []
        assert went("plan", "2024-02-01", "2024-06-01") == [("2024-04-01", "2024-05-20")]
        assert went("backfill", "2024-02-01", "2024-06-01") == []
        assert lake.bars(None, "1h").height == 31 * 24
        assert make_plan(wanted(lake, "plan", **words | {"end": "2024-06-02"})).to_dict()["unlisted"] == []
        assert lake.find_gaps(None, start="2024-05-02", end="2024-05-02") == []


def test_the_same_instrument_and_timeframe_twice_are_one(tmp_path: Path) -> None:
    """They cost what they cost once."""
    words = {"symbols": "BINANCE:BTCUSDT, BINANCE:BTCUSDT", "timeframes": "1d,1d"} | SPAN
    assert len(make_plan(wanted(Lake(tmp_path), "plan", **words)).to_dict()["tasks"]) == 1


def test_a_key_that_is_missing_is_told_before_anybody_is_asked(tmp_path: Path, monkeypatch) -> None:
    """With the source that needs it; the other vendors of the call are not asked either, and nothing is half done."""
    monkeypatch.delenv("MASSIVE_API_KEY", raising=False)
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    with running(SimConfig(symbols=("BTCUSDT",), start="2024-05-01", now="2024-06-03T12:00Z", speed=0.0)) as sim:
        sources = {"binance": {"base_url": sim.url}, "polygon": {"base_url": f"{sim.url}/polygon"}}
        lake = Lake(tmp_path, config=parse({"sources": sources}))
        words = WORDS | {"start": "2024-05-28", "end": "2024-06-01", "symbols": "BINANCE:BTCUSDT,XNAS:AAPL"}
        with pytest.raises(ConfigError, match="polygon: a key is needed"):
            fetch(wanted(lake, "backfill", **words), Silent())
        assert (sim.requests, lake.bars(None, "1d").height) == (0, 0)
        assert str(lake.status()["last_run"]["outcome"]).startswith("failed: polygon")
        assert fetch(wanted(lake, "backfill", **WORDS | SPAN), Silent()).exit_code == 0
