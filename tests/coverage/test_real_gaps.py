"""Every gap of the real tables, against what is known of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import reduce

import pytest

from gapless.calendars import calendar
from gapless.coverage import classify
from gapless.spans import MINUTE, Span, SpanSet, Timeframe, iso, parse_time

ALWAYS, NEW_YORK = calendar("24/7"), calendar("XNYS")
NOW = parse_time("2025-07-01")


def found(facts, market):
    return classify(facts, market, within=None, now=NOW, settle=0)


def short(gap):
    return gap.series.instrument.symbol, iso(gap.span.start)[:16], iso(gap.span.end)[:16], gap.cls


@pytest.mark.parametrize("size", ["1m", "5m"])
def test_spot_outages_and_the_late_listing_are_all_there_is(table, imported, size):
    """April 2021: two outages of the venue for all 19 listed symbols, BAKEUSDT listed on the 30th, and nothing else."""
    facts = imported([table(f"crypto/spot_{size}_2021-04_outages.parquet", "BINANCE", size)], size, ALWAYS)
    gaps = found(facts, ALWAYS)
    assert [short(g) for g in gaps if g.cls == "before_listing"] == [
        ("BAKEUSDT", "2021-04-17T00:00", "2021-04-30T12:00", "before_listing")
    ]
    outages = defaultdict(set)
    for gap in gaps:
        if gap.cls == "venue_outage":
            outages[iso(gap.span.start)[:16], iso(gap.span.end)[:16]].add(gap.series.instrument.symbol)
    listed = {f.series.instrument.symbol for f in facts} - {"BAKEUSDT"}
    first, *second = sorted(outages)
    assert first == ("2021-04-20T02:00", "2021-04-20T04:30")
    assert outages[first] == listed
    starts = {"1m": {"2021-04-25T04:01", "2021-04-25T04:02"}, "5m": {"2021-04-25T04:05"}}
    assert {start for start, _ in second} <= starts[size]
    assert {end for _, end in second} == {"2021-04-25T08:45"}
    assert set().union(*(outages[key] for key in second)) == listed
    assert sum(len(outages[key]) for key in second) == 19
    assert len(gaps) == 39
    assert all(g.severity == "medium" and g.confidence >= 0.9 for g in gaps if g.cls == "venue_outage")


@pytest.fixture(scope="module")
def sparse(table, imported):
    tables = [table(f"crypto/sparse_venue_1m_2019-{m}.parquet", "BITFINEX", "1m") for m in ("01", "02")]
    facts = imported(tables, "1m", ALWAYS)
    return facts, found(facts, ALWAYS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2019-01-03T16:24", "2019-01-03T16:53"),
        ("2019-01-07T10:00", "2019-01-07T13:18"),
        ("2019-01-07T13:18", "2019-01-07T13:59"),
        ("2019-01-07T16:00", "2019-01-07T16:40"),
        ("2019-02-09T07:43", "2019-02-09T10:14"),
        ("2019-02-09T10:17", "2019-02-09T10:35"),
    ],
)
def test_outages_of_the_sparse_venue(sparse, before, after):
    """Between the last bar before and the first bar after, all seven are silent and the venue was out."""
    facts, gaps = sparse
    joint = SpanSet.of((parse_time(before) + MINUTE, parse_time(after)))
    for one in facts:
        mine = SpanSet.of(*(g.span for g in gaps if g.series == one.series and g.cls == "venue_outage"))
        assert not joint - mine
    shared = reduce(SpanSet.__and__, (ALWAYS.expected(Timeframe.parse("1m"), joint.hull) - f.present for f in facts))
    assert shared == joint


def test_all_other_silence_of_the_sparse_venue_is_no_trade(sparse):
    """Outages stay inside the three known days, short joint silences are not outages, the rest is no trade."""
    facts, gaps = sparse
    assert {g.cls for g in gaps} == {"no_trade", "venue_outage", "never_asked"}
    known = SpanSet.of(
        Span.parse("2019-01-03T16:20", "2019-01-03T17:20"),
        Span.parse("2019-01-07T10:00", "2019-01-07T18:00"),
        Span.parse("2019-02-09T07:40", "2019-02-09T10:40"),
    )
    assert not SpanSet.of(*(g.span for g in gaps if g.cls == "venue_outage")) - known
    silence = reduce(SpanSet.__and__, (SpanSet.of(*f.answered) - f.present for f in facts)) - known
    assert {s.bars(Timeframe.parse("1m")) for s in silence} == {1}  # lone minutes: chance, and no outage


def test_between_two_files_nobody_asked(sparse):
    """The weeks between the January and the February file are one never_asked gap of each symbol, and repairable."""
    facts, gaps = sparse
    unasked = [g for g in gaps if g.cls == "never_asked"]
    assert {short(g)[1:3] for g in unasked} == {("2019-01-12T00:00", "2019-02-05T00:00")}
    assert len(unasked) == len(facts) == 7
    assert [g for g in gaps if g.repairable] == unasked
    assert all(g.severity == "critical" and g.bars == 24 * 1440 for g in unasked)


@pytest.mark.parametrize(("file", "size"), [("perp_1m_2025-05", "1m"), ("perp_5m_2025-03", "5m")])
def test_perpetuals_have_no_gaps(table, imported, file, size):
    """Each symbol is whole between its first and last bar; ragged starts of a rolling download are no gaps."""
    assert found(imported([table(f"crypto/{file}.parquet", "BINANCEUSDM", size)], size, ALWAYS), ALWAYS) == []


@pytest.fixture(scope="module")
def extended(table):
    return table("equity/us_minute_extended_hours.parquet", "XNAS", "1m")


@pytest.fixture(scope="module")
def selected_days(extended, imported):
    return imported([extended], "1m", NEW_YORK)


def test_selected_days_of_us_equities(selected_days):
    """Silent minutes are no trade, TWX's last day is truncated, what lies between the days was never asked."""
    gaps = found(selected_days, NEW_YORK)
    others = [short(g) for g in gaps if g.cls != "no_trade"]
    assert others == [
        ("SPY", "2013-10-14T13:30", "2023-08-02T20:00", "never_asked"),
        ("TWX", "2014-06-10T13:30", "2014-06-20T20:00", "never_asked"),
        ("TWX", "2014-06-23T13:36", "2014-06-23T20:00", "vendor_hole"),
    ]
    hole = next(g for g in gaps if g.cls == "vendor_hole")
    assert "truncated" in hole.evidence[0]
    assert hole.bars == 384
    silent = Counter()
    for gap in gaps:
        if gap.cls == "no_trade":
            silent[gap.series.instrument.symbol] += gap.bars
    assert silent["SHY"] == (390 - 333) + (390 - 313)
    assert silent["GOOG"] == 8  # all of them on 2015-12-28: the half day has its 210 minutes
    assert sum(silent.values()) == 148


def test_hours_outside_the_session_are_neither_missing_nor_in_conflict(selected_days):
    """Bars before the open and after the close are kept; no gap says anything about them."""
    assert all(g.bars > 0 for g in found(selected_days, NEW_YORK))


def test_extended_hours_count_only_when_asked_for(extended, imported):
    """With the extended calendar the quiet hours are expected too; Apple's silent minutes there are no trade."""
    wide = calendar("XNYS", extended=True)
    gaps = [g for g in found(imported([extended], "1m", wide), wide) if g.series.instrument.symbol == "AAPL"]
    assert {g.cls for g in gaps} == {"no_trade"}
    before_first = 15  # 04:00 to 04:15 in New York: a table that starts in mid-session is silent on it
    assert sum(g.bars for g in gaps) == 3 * 960 - 686 - 783 - 834 - before_first


@pytest.mark.parametrize(("size", "listed_late"), [("1m", set()), ("15m", {"DFS"})])
def test_intraday_of_2019_has_silent_bars_only(table, imported, size, listed_late):
    """Weekends, Martin Luther King day and the nights are no gaps; illiquid minutes are no trade, nothing to repair."""
    label = size.replace("m", "min")
    facts = imported([table(f"equity/us_{label}_2019_end_labelled_newyork.parquet", "XNAS", size)], size, NEW_YORK)
    gaps = found(facts, NEW_YORK)
    assert {g.cls for g in gaps} - {"before_listing"} == {"no_trade"}
    assert {g.series.instrument.symbol for g in gaps if g.cls == "before_listing"} == listed_late


def test_daily_bars_of_2019_know_the_holidays(table, imported):
    """No gap on any holiday of 2018 and 2019; one symbol that began on 2018-01-18."""
    file = "equity/us_daily_2019_end_labelled_newyork.parquet"
    gaps = found(imported([table(file, "XNAS", "1d")], "1d", NEW_YORK), NEW_YORK)
    assert [short(g)[:3] for g in gaps] == [("VXXB", "2018-01-02T00:00", "2018-01-18T00:00")]


def test_interior_days_missing_from_the_daily_table_are_holes(table, imported):
    """Days that hundreds of others have are holes of the vendor; late starters were not listed; no holiday is a gap."""
    file = "equity/us_daily_2013_2018_unadjusted_defects.parquet"
    gaps = found(imported([table(file, "XNYS", "1d")], "1d", NEW_YORK), NEW_YORK)
    assert {g.cls for g in gaps} == {"vendor_hole", "before_listing"}
    holes = {(g.series.instrument.symbol, iso(g.span.start)[:10]) for g in gaps if g.cls == "vendor_hole"}
    assert holes == {
        ("BMY", "2013-04-26"), ("BMY", "2013-06-07"), ("ICE", "2013-04-26"), ("ICE", "2013-09-09"),
        ("ICE", "2013-09-10"), ("ICE", "2013-09-11"), ("ICE", "2014-06-10"), ("ORCL", "2013-07-15"),
        ("ORCL", "2013-07-16"),
    }  # fmt: skip
    assert {s for s, _ in holes} <= {"DHR", "O", "ES", "ICE", "BMY", "ORCL"}
    late = {g.series.instrument.symbol: iso(g.span.end)[:10] for g in gaps if g.cls == "before_listing"}
    assert late["GOOG"] == "2014-03-27"
    assert len(late) == 12
