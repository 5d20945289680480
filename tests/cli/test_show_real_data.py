"""Real files, imported and explained by the commands a user types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]
OUTAGES = {
    ("2021-04-20T02:00:00Z", "2021-04-20T04:30:00Z"),
    ("2021-04-25T04:01:00Z", "2021-04-25T08:45:00Z"),
    ("2021-04-25T04:02:00Z", "2021-04-25T08:45:00Z"),
}


def by_class(gaps: list[dict[str, Any]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for gap in gaps:
        counts[gap["class"]] += gap["bars"]
    return counts


def test_importing_perpetuals_twice(gapless: Call, data: Path) -> None:
    """708,180 bars are written once; the second import finds them all unchanged; nothing is missing."""
    words = ("import", data / "crypto/perp_1m_2025-05.parquet", "--venue", "BINANCEUSDM", "--timeframe", "1m", "--json")
    first, second = gapless(*words), gapless(*words)
    assert (first.code, second.code) == (0, 0)
    assert first.json["totals"]["written"] == 708_180
    totals = second.json["totals"]
    assert (totals["written"], totals["unchanged"], totals["corrected"]) == (0, 708_180, 0)
    assert gapless("gaps", "--json").json == []
    assert gapless("lake", "verify", "--json").json == {"problems": []}


def test_outages_and_a_listing_of_a_real_venue(gapless: Call, data: Path) -> None:
    """Both outages are venue_outage for every listed symbol, one symbol is before_listing, nothing else is missing."""
    said = gapless("import", data / "crypto/spot_1m_2021-04_outages.parquet", "--venue", "BINANCE", "--timeframe", "1m")
    assert said.code == 0
    gaps = gapless("gaps", "--json").json
    assert set(by_class(gaps)) == {"venue_outage", "before_listing"}
    outages = Counter(g["instrument"] for g in gaps if g["class"] == "venue_outage")
    assert len(outages) == 19
    assert set(outages.values()) == {2}
    assert {(g["start"], g["end"]) for g in gaps if g["class"] == "venue_outage"} == OUTAGES
    (listing,) = [g for g in gaps if g["class"] == "before_listing"]
    assert (listing["instrument"], listing["end"]) == ("BINANCE:BAKEUSDT", "2021-04-30T12:00:00Z")
    story = gapless("why", "BINANCE:BTCUSDT", "1m", "2021-04-25T05:00Z", "--json").json
    assert story["class"] == "venue_outage"
    assert story["evidence"]
    assert story["history"][0]["source"].startswith("file:")
    assert gapless("why", "BINANCE:BTCUSDT", "1m", "2021-04-25T03:00Z", "--json").json["class"] == "present"


def test_a_venue_that_omits_silent_minutes(gapless: Call, data: Path) -> None:
    """The listed outages are venue_outage, the weeks between the files never_asked, the rest no_trade."""
    for month in ("01", "02"):
        path = data / f"crypto/sparse_venue_1m_2019-{month}.parquet"
        assert gapless("import", path, "--venue", "BITFINEX", "--timeframe", "1m").code == 0
    said = gapless("gaps", "--json")
    assert said.code == 1
    assert set(by_class(said.json)) == {"venue_outage", "never_asked", "no_trade"}
    between = {(g["start"], g["end"]) for g in said.json if g["class"] == "never_asked"}
    assert between == {("2019-01-12T00:00:00Z", "2019-02-05T00:00:00Z")}
    listed = ["2019-01-03T16:30", "2019-01-07T11:00", "2019-01-07T13:40", "2019-01-07T16:20", "2019-02-09T09:00"]
    for time in [*listed, "2019-02-09T10:25"]:
        assert gapless("why", "BITFINEX:BTCUSD", "1m", time, "--json").json["class"] == "venue_outage", time


def test_snapshots_of_forming_bars(gapless: Call, data: Path) -> None:
    """Of several rows of one minute the most complete is the bar; the surplus is reported as duplicate."""
    path = data / "crypto/spot_BTCUSDT_1m_2021-10_duplicates.csv"
    said = gapless("import", path, "--venue", "BINANCE", "--timeframe", "1m", "--json")
    totals = said.json["totals"]
    assert (totals["read"], totals["written"], totals["duplicate"]) == (15_725, 15_693, 32)


def test_vendor_archives_need_no_flags(gapless: Call, data: Path) -> None:
    """Zip or bare, with a header or without: the symbol and the layout are found."""
    said = gapless("import", data / "crypto/archive", "--venue", "BINANCE", "--timeframe", "1m", "--json")
    assert said.code == 0
    written = {s["instrument"]: s["written"] for s in said.json["series"]}
    assert written["BINANCE:LINKUSDT"] == 40_320
    assert set(written) == {f"BINANCE:{s}" for s in ("ADABTC", "ALGOUSDT", "AVAXUSDT", "LINKUSDT")}


def test_selected_days_with_extended_hours(gapless: Call, data: Path) -> None:
    """A half day ends early, silent minutes are no_trade, a truncated day is a hole, other days were never asked."""
    path = data / "equity/us_minute_extended_hours.parquet"
    said = gapless("import", path, "--venue", "XNAS", "--timeframe", "1m", "--json")
    assert said.code == 1
    assert [(g["instrument"], g["bars"], g["class"]) for g in said.json["gaps"]] == [("XNAS:TWX", 384, "vendor_hole")]
    gaps = gapless("gaps", "--json").json
    assert set(by_class(gaps)) == {"no_trade", "never_asked", "vendor_hole"}
    assert not [g for g in gaps if g["instrument"] == "XNAS:GOOG" and g["class"] != "no_trade"]
    after = gapless("why", "XNAS:GOOG", "1m", "2015-12-24T18:30Z", "--json").json
    assert after["class"] in {"closed", "present"}
    marked = gapless("bars", "XNAS:GOOG", "1m", "--start", "2015-12-24", "--end", "2015-12-25", "--json").json
    assert Counter(b["session"] for b in marked) == {"regular": 210, "extended": 17}


def test_local_time_labelled_by_the_end(gapless: Call, data: Path) -> None:
    """09:31 in New York names the bar that opened at 14:30 UTC; holidays are no gaps."""
    for name, timeframe in (("1min", "1m"), ("15min", "15m"), ("daily", "1d")):
        path = data / f"equity/us_{name}_2019_end_labelled_newyork.parquet"
        words = ("--venue", "XNYS", "--timeframe", timeframe, "--tz", "America/New_York", "--label", "close")
        assert gapless("import", path, *words).code == 0
    first = gapless("bars", "XNYS:AAPL", "1m", "--end", "2019-02-11T14:31Z", "--json").json
    assert [b["ts"] for b in first] == ["2019-02-11T14:30:00Z"]
    assert set(by_class(gapless("gaps", "--json").json)) == {"no_trade", "before_listing"}
    status = gapless("status", "--timeframes", "15m", "--json").json
    days = next(s["days"] for s in status["series"] if s["instrument"] == "XNYS:AAPL")
    assert days["2019-01-21"] == "closed"
    assert days["2019-01-18"] == "complete"


def test_daily_defects_are_refused_and_missing_sessions_listed(gapless: Call, data: Path) -> None:
    """Six bad rows wait in quarantine with their reasons; interior missing sessions are holes."""
    path = data / "equity/us_daily_2013_2018_unadjusted_defects.parquet"
    said = gapless("import", path, "--venue", "XNYS", "--timeframe", "1d", "--json")
    assert said.code == 1
    assert said.json["totals"]["quarantined"] == 6
    refused = gapless("quarantine", "--json").json
    assert Counter(r["reason"] for r in refused) == {"low_too_high": 4, "high_too_low": 1, "not_a_number": 1}
    holes = gapless("gaps", "--class", "vendor_hole", "--json").json
    missing = {g["instrument"] for g in holes if "whole session" in g["evidence"][0]}
    assert missing == {"XNYS:BMY", "XNYS:ICE", "XNYS:ORCL"}
    assert len(holes) == 15
