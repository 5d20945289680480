"""Longer bars from stored shorter ones: what is folded, when, what it is called, and when it is folded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.adjust import split
from gapless.app.actions import Found, keep_actions
from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.app.reconciling import reconcile
from gapless.app.reconciling import wanted as to_reconcile
from gapless.app.runs import Run
from gapless.app.runs import running as under_way
from gapless.calendars import calendar
from gapless.config import parse
from gapless.errors import ConfigError, LakeError, UnknownName
from gapless.observe.progress import Silent
from gapless.sim import Running, SimConfig, running
from gapless.spans import HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time
from gapless.stores.maintain import verify

WORDS: dict[str, Any] = {"symbols": "BINANCE:BTCUSDT,BINANCE:ETHUSDT", "start": "2024-06-01", "end": "2024-06-03"}
SEEN = ["instrument", "ts", "open", "high", "low", "close"]
BTC, ETH = "BINANCE:BTCUSDT", "BINANCE:ETHUSDT"
HOLE = SpanSet.of((parse_time("2024-06-01T03:00"), parse_time("2024-06-01T06:00")))
NONE = SpanSet.of()
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


# ---------------------------------------------------------------- holes, and who is asked about them


@pytest.fixture(scope="module")
def holey() -> Iterator[Running]:
    """The same venue, which has nothing of three hours."""
    with running(venue(outages=HOLE)) as found:
        yield found


def with_minutes(path: Path, sim: Running, *elsewhere: str) -> Lake:
    """A lake that has every minute, and asks somebody else from now on."""
    assert go(lake_at(path, sim.url), timeframes="1m").exit_code == 0
    sources = {name: {"kind": "binance", "base_url": url} for name, url in zip("ab", elsewhere, strict=False)}
    return Lake(path / "lake", config=parse({"sources": sources, "venues": {"BINANCE": {"sources": list(sources)}}}))


def test_a_hole_that_the_venue_answered_for_is_folded_without_asking(
    tmp_path: Path, sim: Running, holey: Running
) -> None:
    """The plan says so, nothing is left over; never leaves it over; repair asks nobody."""
    lake = with_minutes(tmp_path, sim, holey.url)
    assert go(lake, timeframes="5m", derive="never").exit_code == 0
    assert len(plan(lake, timeframes="5m", derive="never")["residual"]) == 2
    found = plan(lake, timeframes="5m")
    assert (found["sources"], found["derived"], found["residual"]) == ({"derived-1m": 0}, 72, [])
    hull = HOLE.hull
    assert {(t["start"], t["end"], t["requests"]) for t in found["tasks"]} == {
        ("2024-06-01T03:00:00Z", "2024-06-01T06:00:00Z", 0)
    }
    run = go(lake, "repair", timeframes="5m")
    assert (run.document["totals"]["requests"], run.document["totals"]["written"]) == (0, 72)
    rows = lake.bars(None, "5m", provenance=True)
    ts = rows["ts"].to_physical()
    assert hull is not None
    inside = ts.is_between(hull.start, hull.end, closed="left")
    assert set(rows.filter(inside)["source"]) == {"derived-1m"}
    assert set(rows.filter(~inside)["source"]) == {"a"}
    assert plan(lake, timeframes="5m")["tasks"] == []
    assert lake.find_gaps(None, ["5m"]) == []


def test_a_further_source_is_asked_before_anything_is_folded(tmp_path: Path, sim: Running, holey: Running) -> None:
    """What the second has is its word; with first nobody is asked."""
    lake = with_minutes(tmp_path, sim, holey.url, sim.url)
    asked = plan(lake, timeframes="5m", derive="first")
    assert asked["sources"] == {"derived-1m": 0}
    run = go(lake, timeframes="5m")
    assert (sum(h["filled"] for h in run.document["handovers"]), run.document["derived"]) == (72, [])
    assert said_by(lake, "5m") == {"a", "b"}


def test_a_hole_that_is_known_is_the_next_sources_before_it_is_folded(
    tmp_path: Path, sim: Running, holey: Running
) -> None:
    """It stands in the plan with that source's name, until that one has answered for it too."""
    go(with_minutes(tmp_path, sim, holey.url), timeframes="5m", derive="never")
    lake = with_minutes(tmp_path, sim, holey.url, holey.url)
    assert {t["source"] for t in plan(lake, timeframes="5m")["tasks"]} == {"b"}
    assert {t["source"] for t in plan(lake, timeframes="5m", derive="first")["tasks"]} == {"derived-1m"}
    go(lake, timeframes="5m", derive="never")
    assert {t["source"] for t in plan(lake, timeframes="5m")["tasks"]} == {"derived-1m"}


def test_what_the_venue_answered_for_in_vain_is_not_asked_again_when_it_can_be_folded(
    tmp_path: Path, sim: Running, holey: Running
) -> None:
    """A hole of which a longer bar says that there was trading: repairable, and asked for, only while minutes lack."""
    lake = with_minutes(tmp_path, sim, holey.url)
    go(lake, timeframes="5m", derive="never")
    lake.write(BTC, "1h", sim.market.truth("BTCUSDT", "1h", Span.parse("2024-06-01", "2024-06-02")), source="vendor")
    words = {"symbols": BTC, "timeframes": "5m"}
    assert {g.cls for g in lake.find_gaps(BTC, "5m")} == {"vendor_hole"}
    assert plan(lake, derive="never", **words)["sources"] == {"a": 1}
    assert plan(lake, **words)["sources"] == {"derived-1m": 0}
    run = go(lake, "repair", **words)
    assert (run.exit_code, run.document["totals"]["requests"], said_by(lake, "5m")) == (0, 0, {"a", "derived-1m"})


def test_a_bar_that_lacks_one_minute_is_not_folded(tmp_path: Path, sim: Running) -> None:
    """Nor is the hour; the 5m bars around are, and what is left is a failure still."""
    lake = lake_at(tmp_path, NOBODY)
    minutes = sim.market.truth("BTCUSDT", "1m", Span.parse("2024-06-01", "2024-06-01T03:00"))
    lacking = parse_time("2024-06-01T01:07")
    lake.write(BTC, "1m", minutes.filter(pl.col("ts").to_physical() != lacking))
    words = {"symbols": BTC, "end": "2024-06-01T03:00", "timeframes": "5m,1h"}
    run = go(lake, **words)
    assert run.exit_code == 1
    fives, hours = (lake.bars(None, t)["ts"].to_physical().to_list() for t in ("5m", "1h"))
    start = parse_time("2024-06-01")
    assert fives == [start + n * 5 * MINUTE for n in range(36) if n != 13]
    assert hours == [start, start + 2 * HOUR]
    assert [(g.series.timeframe.name, g.bars, g.cls) for g in run.gaps] == [("5m", 1, "failed"), ("1h", 1, "failed")]
    lake.write(BTC, "1m", minutes)
    assert go(lake, "repair", **words).exit_code == 0


def test_an_hour_is_folded_of_minutes_and_of_longer_bars_where_minutes_lack(tmp_path: Path, sim: Running) -> None:
    """1m, 5m, 1h: each hour from the shortest that has all of it."""
    lake = lake_at(tmp_path, NOBODY)
    span = Span.parse("2024-06-01", "2024-06-01T03:00")
    minutes = sim.market.truth("BTCUSDT", "1m", span)
    lake.write(BTC, "1m", minutes.filter(pl.col("ts").to_physical() != parse_time("2024-06-01T01:07")))
    lake.write(BTC, "5m", sim.market.truth("BTCUSDT", "5m", span))
    assert go(lake, symbols=BTC, end="2024-06-01T03:00", timeframes="1h").exit_code == 0
    rows = lake.bars(None, "1h", provenance=True)
    assert rows["source"].to_list() == ["derived-1m", "derived-5m", "derived-1m"]
    assert rows.select(SEEN).equals(sim.market.truth("BTCUSDT", "1h", span).select(SEEN))


def test_what_lies_between_bars_that_are_asked_for_comes_with_them_and_is_stored_once(tmp_path: Path) -> None:
    """With first, hours between two outages are the venue's, not folded and then replaced; the plan counts them so."""
    outages = SpanSet.of(*((at, at + HOUR) for at in map(parse_time, ("2024-06-01T03:00", "2024-06-01T09:00"))))
    with running(venue(outages=outages, symbols=("BTCUSDT",))) as sim:
        lake = lake_at(tmp_path, sim.url, derive="first")
        words = {"symbols": BTC, "timeframes": "1m,1h"}
        go(lake, timeframes="1m", symbols=BTC)
        found, run = plan(lake, **words), go(lake, **words)
        assert (found["requests"], found["derived"]) == (1, 48 - 7)  # and one more, for what is not there
        assert (
            run.document["totals"] | {"written": 46, "corrected": 0, "unchanged": 0, "requests": 2}
            == (run.document["totals"])
        )
        assert sum(d["bars"] for d in run.document["derived"]) == found["derived"]
        assert lake.store.revisions(Timeframe.parse("1h"), None, None).is_empty()
        rows = lake.bars(BTC, "1h", provenance=True)
        theirs = rows.filter(pl.col("source") == "binance")["ts"].dt.hour().to_list()
        assert (theirs, rows.height) == ([4, 5, 6, 7, 8], 46)
        assert plan(lake, **words)["tasks"] == []


def test_what_lies_between_is_stored_once_too_when_a_further_source_has_it(tmp_path: Path, sim: Running) -> None:
    """The first is gone: the second is asked for what cannot be folded, and what it sends by the way is not folded."""
    minutes = sim.market.truth("BTCUSDT", "1m", Span.parse("2024-06-01", "2024-06-03"))
    sources = {
        "a": {"kind": "binance", "base_url": NOBODY, "attempts": 1},
        "b": {"kind": "binance", "base_url": sim.url},
    }
    lake = Lake(tmp_path, config=parse({"sources": sources, "venues": {"BINANCE": {"sources": ["a", "b"]}}}))
    lacking = [parse_time("2024-06-01T03:10"), parse_time("2024-06-01T09:20")]
    lake.write(BTC, "1m", minutes.filter(~pl.col("ts").to_physical().is_in(lacking)))
    run = go(lake, symbols=BTC, timeframes="1h", derive="first")
    assert (run.exit_code, run.document["totals"]["corrected"], run.document["totals"]["written"]) == (0, 0, 48)
    assert sum(d["bars"] for d in run.document["derived"]) == 41
    assert sum(h["asked"] for h in run.document["handovers"]) == 2
    assert lake.store.revisions(Timeframe.parse("1h"), None, None).is_empty()


def test_what_lay_between_is_folded_after_all_where_its_source_fails(tmp_path: Path, sim: Running) -> None:
    """The plan counted on pages that never came."""
    minutes = sim.market.truth("BTCUSDT", "1m", Span.parse("2024-06-01", "2024-06-03"))
    lake = lake_at(tmp_path, NOBODY, derive="first")
    lacking = [parse_time("2024-06-01T03:10"), parse_time("2024-06-01T09:20")]
    lake.write(BTC, "1m", minutes.filter(~pl.col("ts").to_physical().is_in(lacking)))
    words = {"symbols": BTC, "timeframes": "1h"}
    assert plan(lake, **words)["derived"] == 41
    run = go(lake, **words)
    assert (run.exit_code, run.document["totals"]["written"]) == (1, 46)
    assert [(g.bars, g.cls) for g in run.gaps] == [(1, "failed"), (1, "failed")]


# ---------------------------------------------------------------- what is corrected


def higher(lake: Lake, timeframe: str, at: str) -> None:
    """Another source says of one bar that it reached much higher."""
    span = Span(parse_time(at), parse_time(at) + Timeframe.parse(timeframe).micros)
    row = lake.store.rows(Timeframe.parse(timeframe), [BTC], span).drop("source", "known_at")
    lake.write(BTC, timeframe, row.with_columns(high=pl.col("high") + 1000), source="mine")


def test_what_is_corrected_beneath_is_derived_again(tmp_path: Path, sim: Running) -> None:
    """The next run that derives notices; the old values stay readable; nothing else is touched, and it ends there."""
    lake = lake_at(tmp_path, sim.url, derive="first")
    words = {"timeframes": "1m,5m,1h"}
    go(lake, **words)
    before, known = lake.bars(BTC, "5m"), lake.store.clock()
    higher(lake, "1m", "2024-06-01T10:07")
    assert plan(lake, derive="never", **words)["tasks"] == []
    found = [(t["timeframe"], t["start"]) for t in plan(lake, **words)["tasks"]]
    assert found == [("5m", "2024-06-01T10:05:00Z"), ("1h", "2024-06-01T10:00:00Z")]
    run = go(lake, "repair", derive="gaps", **words)
    total = run.document["totals"]
    assert (total["corrected"], total["written"], total["requests"]) == (2, 0, 0)
    minute = lake.bars(BTC, "1m", start="2024-06-01T10:07", end="2024-06-01T10:08")["high"].item()
    for bars, at in (("5m", "2024-06-01T10:05"), ("1h", "2024-06-01T10:00")):
        end = parse_time(at) + Timeframe.parse(bars).micros
        assert lake.bars(BTC, bars, start=at, end=end)["high"].item() == minute
    assert lake.bars(BTC, "5m", as_of=known).equals(before)
    assert plan(lake, **words)["tasks"] == []
    assert go(lake, **words).document["derived"] == []


def test_a_source_takes_the_place_of_what_was_derived_and_never_the_reverse(tmp_path: Path, sim: Running) -> None:
    """The same values or others: the row is the source's from then on, whatever happens beneath it."""
    lake = lake_at(tmp_path, sim.url, derive="first")
    go(lake, timeframes="1m,5m")
    span = Span.parse("2024-06-01", "2024-06-01T01:00")
    report = lake.write(BTC, "5m", sim.market.truth("BTCUSDT", "5m", span), source="vendor")
    assert (report.corrected, report.unchanged) == (12, 0)
    higher(lake, "1m", "2024-06-01T00:07")
    higher(lake, "1m", "2024-06-01T02:07")
    run = go(lake, timeframes="5m")
    assert [(d["start"], d["bars"]) for d in run.document["derived"]] == [("2024-06-01T02:05:00Z", 1)]
    rows = lake.bars(BTC, "5m", start="2024-06-01", end="2024-06-01T01:00", provenance=True)
    assert set(rows["source"]) == {"vendor"}
    again = rows.drop("source", "known_at").with_columns(close=pl.col("close") * 2, high=pl.col("high") * 2)
    assert lake.store.write(Timeframe.parse("5m"), again, source="derived-1m").unchanged == 12
    assert lake.bars(BTC, "5m", start="2024-06-01", end="2024-06-01T01:00", provenance=True).equals(rows)
    assert verify(lake.store) == []


@pytest.mark.parametrize("dies", ["write", "record"])
def test_a_crash_before_the_ledger_knows_hides_no_correction(
    tmp_path: Path, sim: Running, monkeypatch, dies: str
) -> None:
    """Bars without their line, or a line to come without its bars: what is corrected beneath is derived again."""
    go(lake_at(tmp_path, sim.url), timeframes="1m")
    for attempt in range(2):  # derived for the first time, then anew
        lake = lake_at(tmp_path, sim.url, derive="first")
        with monkeypatch.context() as broken:
            broken.setattr(lake.store, dies, _dies)
            with pytest.raises(LakeError, match="died"):
                go(lake, timeframes="5m")
        lake = lake_at(tmp_path, sim.url, derive="first")
        higher(lake, "1m", f"2024-06-01T10:0{6 + attempt}")
        go(lake, timeframes="5m")
        fives, ones = (
            lake.bars(BTC, t, start="2024-06-01T10:05", end="2024-06-01T10:10")["high"] for t in ("5m", "1m")
        )
        assert fives.item() == ones.max()
        assert plan(lake, timeframes="5m")["tasks"] == []
        higher(lake, "1m", "2024-06-01T12:00")
        assert [t["start"] for t in plan(lake, timeframes="5m")["tasks"]] == ["2024-06-01T12:00:00Z"]


def _dies(*_: Any, **__: Any) -> None:
    raise LakeError("died.", hint="")


def test_verify_asks_the_source_for_what_was_only_derived(tmp_path: Path, sim: Running) -> None:
    """Once: what a source has answered for is not asked again because of it."""
    lake = lake_at(tmp_path, sim.url, derive="first")
    go(lake, timeframes="1m,5m")
    assert plan(lake, timeframes="5m")["tasks"] == []
    found = plan(lake, timeframes="5m", verify=True)
    assert (found["sources"], found["bars"]) == ({"binance": 2}, 2 * 576)
    go(lake, timeframes="5m", verify=True)
    assert said_by(lake, "5m") == {"binance"}
    assert plan(lake, timeframes="5m", verify=True)["tasks"] == []


# ---------------------------------------------------------------- what it is not


def test_a_derived_bar_is_no_witness_and_no_answer(tmp_path: Path, sim: Running) -> None:
    """Not in reconcile with its own minutes, not as asked or confirmed, not against a minute that is missing."""
    lake = lake_at(tmp_path, sim.url, derive="first")
    go(lake, timeframes="1m,5m")
    fives = next(f for f in lake.store.facts(Timeframe.parse("5m")) if str(f.series.instrument) == BTC)
    assert (fives.present.bars(fives.series.timeframe), fives.answered, fives.confirmed) == (576, NONE, NONE)
    assert lake.store.meta.due(Timeframe.parse("5m"), parse_time("2090-01-01")) == {}
    higher(lake, "1m", "2024-06-01T10:07")
    with under_way(lake.store, "reconcile") as run:
        found = reconcile(to_reconcile(lake, ["1m"]), run)
    assert sum(s.compared for _, s in found.summaries) == 0


def test_a_longer_bar_that_was_derived_is_no_evidence_of_trading(tmp_path: Path, holey: Running, sim: Running) -> None:
    """Minutes that are missing are a hole because a source's 5m bars saw trading, not because of folded ones."""
    fives, hull = sim.market.truth("BTCUSDT", "5m", Span.parse("2024-06-01", "2024-06-02")), HOLE.hull
    assert hull is not None
    for source, cls in (("vendor", "vendor_hole"), ("derived-1m", "venue_outage")):
        lake = lake_at(tmp_path / source, holey.url)
        go(lake, timeframes="1m")
        lake.store.write(Timeframe.parse("5m"), fives, source=source)
        assert lake.why(BTC, "1m", hull.start)["class"] == cls


def test_why_and_the_ledger_say_what_it_was_folded_from(tmp_path: Path, sim: Running) -> None:
    """The row, the sentence and the line of history; then the source's, with the derived one before it."""
    lake = lake_at(tmp_path, sim.url, derive="first")
    go(lake, timeframes="1m,5m")
    answer = lake.why(BTC, "5m", "2024-06-01T10:05")
    assert answer["bar"]["source"] == "derived-1m"
    assert "folded from stored 1m bars: no source has said it" in answer["evidence"]
    assert [(h["source"], h["status"], h["rows"]) for h in answer["history"]] == [("derived-1m", "ok", 576)]
    go(lake, timeframes="5m", verify=True)
    answer = lake.why(BTC, "5m", "2024-06-01T10:05")
    assert [r["source"] for r in answer["revisions"]] == ["derived-1m"]
    assert [h["source"] for h in answer["history"]] == ["derived-1m", "binance"]
    assert not any("folded" in line for line in answer["evidence"])


# ---------------------------------------------------------------- sessions


def test_a_half_day_of_a_stock_is_derived_from_its_session(tmp_path: Path) -> None:
    """Of extended hours' minutes only the regular ones; the day before, which lacks one, stays open."""
    lake = Lake(
        tmp_path / "lake", config=parse({"sources": {"polygon": {"base_url": NOBODY, "attempts": 1, "key": "x"}}})
    )
    times = pl.concat([minutes_of(day) for day in ("2015-12-23", "2015-12-24")])
    session = calendar("XNAS").expected(Timeframe.parse("1m"), Span.parse("2015-12-24", "2015-12-25"))
    lake.write("XNAS:AAPL", "1m", times.filter(pl.col("ts") != pl.col("ts").dt.truncate("1d").dt.offset_by("15h")))
    run = go(lake, symbols="XNAS:AAPL", timeframes="1d", start="2015-12-23", end="2015-12-25")
    assert run.exit_code == 1
    lake.write("XNAS:AAPL", "1m", times.filter(pl.col("ts").dt.day() == 24))
    run = go(lake, symbols="XNAS:AAPL", timeframes="1d", start="2015-12-23", end="2015-12-25")
    found = lake.bars("XNAS:AAPL", "1d", provenance=True)
    assert found["ts"].to_physical().to_list() == [parse_time("2015-12-24")]
    regular = times.filter(pl.Series(session.mask(times["ts"].to_physical().to_numpy())))
    assert regular.height == 210
    assert found["volume"].item() == regular["volume"].sum()
    assert found["open"].item() == regular["open"][0]
    assert [g.span.start for g in run.gaps] == [parse_time("2015-12-23")]


def test_a_week_in_which_a_split_took_effect_is_not_derived(tmp_path: Path) -> None:
    """Bars are as traded: prices of before and after are not of one bar. One on a Monday does no harm."""
    lake = Lake(
        tmp_path / "lake", config=parse({"sources": {"polygon": {"base_url": NOBODY, "attempts": 1, "key": "x"}}})
    )
    days = calendar("XNAS").expected(Timeframe.parse("1d"), Span.parse("2024-06-03", "2024-06-24"))
    ts = [at for s in days for at in range(s.start, s.end, 24 * HOUR)]
    lake.write("XNAS:NVDA", "1d", flat(ts))
    actions = [split("XNAS:NVDA", parse_time(day), 10) for day in ("2024-06-03", "2024-06-12")]
    lake.store.meta.actions.store(actions, now=lake.store.clock())
    go(lake, symbols="XNAS:NVDA", timeframes="1w", start="2024-06-03", end="2024-06-24")
    weeks = lake.bars("XNAS:NVDA", "1w")["ts"].to_physical().to_list()
    assert weeks == [parse_time("2024-06-03"), parse_time("2024-06-17")]


WEEKS = {"symbols": "XNAS:NVDA", "timeframes": "1w", "start": "2024-06-03", "end": "2024-06-24"}
FIRST, SECOND, THIRD = (parse_time(day) for day in ("2024-06-03", "2024-06-10", "2024-06-17"))
W1 = Timeframe.parse("1w")


def with_weeks(path: Path, **span: str) -> Lake:
    """Three weeks of daily bars, and weekly ones that were folded of them."""
    lake = Lake(path / "lake", config=parse({"sources": {"polygon": {"base_url": NOBODY, "attempts": 1, "key": "x"}}}))
    words = WEEKS | span
    days = calendar("XNAS").expected(Timeframe.parse("1d"), Span.parse(words["start"], words["end"]))
    lake.write("XNAS:NVDA", "1d", flat([at for s in days for at in range(s.start, s.end, 24 * HOUR)]))
    assert go(lake, **words).exit_code == 0
    return lake


def weeks_of(lake: Lake, **as_of: int) -> list[int]:
    return lake.bars("XNAS:NVDA", "1w", **as_of)["ts"].to_physical().to_list()


@pytest.mark.parametrize("how", ["told", "crashed", "folded"])
def test_a_split_that_is_learned_later_withdraws_the_week_it_is_in(tmp_path: Path, how: str) -> None:
    """At once, or by the next run where that crashed; as of then it stands; the split taken back, it is derived."""
    lake = with_weeks(tmp_path)
    if how == "folded":
        lake.store.folder.fold(W1)
    assert weeks_of(lake) == [FIRST, SECOND, THIRD]
    before, known = lake.bars("XNAS:NVDA", "1w"), lake.store.clock()
    told = {"2024-06-03": 4, "2024-06-12": 10}
    actions = [replace(split("XNAS:NVDA", parse_time(day), ratio), source="file") for day, ratio in told.items()]
    if how == "crashed":
        lake.store.meta.actions.store(actions, now=lake.store.clock())
        go(lake, "repair", **WEEKS)
    else:
        said = keep_actions(lake.store, Found(actions=actions))["notes"]
        assert said == ["XNAS:NVDA 1w of 2024-06-10 was folded across the split of 2024-06-12, and is withdrawn"]
        assert keep_actions(lake.store, Found(actions=actions))["notes"] == []
    assert weeks_of(lake) == [FIRST, THIRD]
    assert lake.bars("XNAS:NVDA", "1w", as_of=known).equals(before)
    assert lake.bars("XNAS:NVDA", "1w", adjust="splits").height == 2
    answer = lake.why("XNAS:NVDA", "1w", SECOND)
    assert answer["class"] in ("never_asked", "failed")
    assert "withdrawn" in {line["status"] for line in answer["history"]}
    assert verify(lake.store) == []
    go(lake, **WEEKS)
    assert weeks_of(lake) == [FIRST, THIRD]
    keep_actions(lake.store, Found(whole=[("XNAS:NVDA", "file")]))
    go(lake, **WEEKS)
    assert lake.bars("XNAS:NVDA", "1w").equals(before)
    assert verify(lake.store) == []


def test_the_only_week_there_is_can_be_withdrawn_and_a_sources_week_stands(tmp_path: Path) -> None:
    """A file with no row left is no file; what a source said is its word, whatever it mixes."""
    words = {"start": "2024-06-10", "end": "2024-06-17"}
    actions = [split("XNAS:NVDA", parse_time("2024-06-12"), 10)]
    lake = with_weeks(tmp_path / "a", **words)
    keep_actions(lake.store, Found(actions=actions))
    assert (weeks_of(lake), lake.store.log("bars", W1).live(), verify(lake.store)) == ([], (), [])
    lake = with_weeks(tmp_path / "b", **words)
    lake.write("XNAS:NVDA", "1w", lake.bars("XNAS:NVDA", "1w"), source="polygon")
    assert keep_actions(lake.store, Found(actions=actions))["notes"] == []
    assert weeks_of(lake) == [SECOND]


def minutes_of(day: str) -> pl.DataFrame:
    """Every minute from 09:00 to 22:00 UTC."""
    start = parse_time(day) + 9 * HOUR
    return flat([start + n * MINUTE for n in range(13 * 60)])


def flat(ts: list[int]) -> pl.DataFrame:
    values = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0}
    rows = pl.DataFrame({"ts": ts, "volume": [float(n) for n in range(len(ts))]}).with_columns(
        pl.lit(v).alias(k) for k, v in values.items()
    )
    return rows.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")), open=100.0 + pl.int_range(pl.len()) / 1000)


# ---------------------------------------------------------------- wrong words


def test_a_way_to_derive_that_is_none_is_told(tmp_path: Path) -> None:
    """On the call and in the file; and a source cannot have such a name."""
    with pytest.raises(UnknownName, match=r"'gap'.*did you mean 'gaps'"):
        plan(lake_at(tmp_path, NOBODY), timeframes="5m", derive="gap")
    with pytest.raises(ConfigError, match=r"backfill\.derive: .*'never', 'gaps' or 'first'"):
        parse({"backfill": {"derive": "always"}})
    with pytest.raises(ConfigError, match="'derived-1m' cannot name a source"):
        parse({"sources": {"derived-1m": {"kind": "binance"}}})
