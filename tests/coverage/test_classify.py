"""Each class on made-up series, bar by bar."""

from __future__ import annotations

import pytest

from gapless.calendars import Override, calendar
from gapless.coverage import CLASSES, REPAIRABLE, classify
from gapless.errors import UsageError
from gapless.protocols import Answer, Facts
from gapless.series import Instrument, Series
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, iso, parse_time

ALWAYS, NEW_YORK = calendar("24/7"), calendar("XNYS")
DAYS = Span.parse("2025-05-01", "2025-05-08")
MARCH = Span.parse("2025-03-03T14:30", "2025-03-28T20:00")
LATER = parse_time("2025-07-01")


def run(facts, market=ALWAYS, within=None, now=LATER, settle=0, **more):
    gaps = classify(facts, market, within=within, now=now, settle=settle, **more)
    return [(g.series.instrument.symbol, iso(g.span.start)[5:16], iso(g.span.end)[5:16], g.cls) for g in gaps]


def failure(series, asked, attempts=3, error="HTTP 503", known_at=LATER):
    return Answer("binance", series, asked, None, 0, "failed", attempts, error, "", "r1", known_at)


def test_complete_series_have_no_gaps(made):
    """Nothing missing, nothing said."""
    assert run([made(n, ALWAYS, "1m", DAYS) for n in "ABC"]) == []


def test_no_series_no_gaps():
    """No facts, or facts of a series nobody asked about, have no gaps."""
    series = Series.parse("VENUE:A", "1m")
    assert run([]) == []
    assert run([Facts(series, SpanSet.of(), SpanSet.of())]) == []


def test_nobody_asked(made):
    """Expected, absent and outside every answer: never asked, repairable, with full confidence."""
    lost = ("2025-05-03T04:00", "2025-05-03T09:00")
    answered = SpanSet.of(DAYS) - SpanSet.of(Span.parse(*lost))
    facts = [made("A", ALWAYS, "1m", DAYS, [lost], answered=answered), made("B", ALWAYS, "1m", DAYS)]
    (gap,) = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.bars, gap.repairable, gap.severity, gap.confidence) == ("never_asked", 300, True, "medium", 1)


def test_within_reaches_beyond_what_was_asked(made):
    """Asked about a wider span, classify says what lies outside every answer; by default it says nothing of it."""
    facts = [made("A", ALWAYS, "1m", DAYS)]
    wide = Span(DAYS.start - DAY, DAYS.end + HOUR)
    assert run(facts) == []
    assert run(facts, within=wide) == [
        ("A", "04-30T00:00", "05-01T00:00", "never_asked"),
        ("A", "05-08T00:00", "05-08T01:00", "never_asked"),
    ]


def test_a_failed_request_is_told_with_its_error_and_attempts(made):
    """Asked in vain: failed, with source, attempts and error; the newest failure speaks for what it covers."""
    lost = ("2025-05-03T04:00", "2025-05-03T09:00")
    hole = Span.parse(*lost)
    series = Series.parse("VENUE:A", "1m")
    failed = (failure(series, hole, 2, "time-out", 1), failure(series, Span(hole.start, hole.start + HOUR)))
    facts = [made("A", ALWAYS, "1m", DAYS, [lost], answered=SpanSet.of(DAYS) - SpanSet.of(hole), failed=failed)]
    first, second = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert [(g.cls, g.bars, g.attempts) for g in (first, second)] == [("failed", 60, 3), ("failed", 240, 2)]
    assert "binance was asked 3 times" in first.evidence[0]
    assert "HTTP 503" in first.evidence[0]
    assert "time-out" in second.evidence[0]


def test_a_series_that_only_ever_failed(made):
    """A first backfill that failed leaves failed bars over all that was asked, not silence."""
    series = Series.parse("VENUE:A", "1m")
    facts = [Facts(series, SpanSet.of(), SpanSet.of(), failed=(failure(series, DAYS),))]
    assert run(facts) == [("A", "05-01T00:00", "05-08T00:00", "failed")]


def test_bars_are_pending_until_they_are_final(made):
    """A bar waits for its close and the settle delay, and then is asked after."""
    facts = [made("A", ALWAYS, "1m", DAYS, [("2025-05-07T23:58", "2025-05-08")])]
    now = parse_time("2025-05-07T23:59:03")
    assert run(facts, now=now, settle=5_000_000) == [("A", "05-07T23:58", "05-08T00:00", "pending")]
    assert run(facts, now=now, settle=2_000_000) == [
        ("A", "05-07T23:58", "05-07T23:59", "no_trade"),
        ("A", "05-07T23:59", "05-08T00:00", "pending"),
    ]


def test_an_answer_that_ends_inside_a_bar_does_not_speak_for_it(made):
    """Answered up to 12:00:30: the bar of 12:00 was forming then and was never asked for since."""
    cut = parse_time("2025-05-03T12:00:30")
    facts = [made("A", ALWAYS, "1m", Span(DAYS.start, cut - 30_000_000), answered=SpanSet.of((DAYS.start, cut)))]
    assert run(facts) == [("A", "05-03T12:00", "05-03T12:01", "never_asked")]


def test_a_known_listing_explains_what_lies_before(made):
    """Before listed_at and from delisted_at on nothing is expected; the evidence says who says so."""
    lost = [("2025-05-01", "2025-05-03T09:30"), ("2025-05-06T12:00", "2025-05-08")]
    facts = [
        made(
            "A", ALWAYS, "1m", DAYS, lost, listed_at=parse_time("2025-05-03T09:30"), listed_by="exchange info",
            delisted_at=parse_time("2025-05-06T12:00"),
        )
    ]  # fmt: skip
    assert run(facts) == [
        ("A", "05-01T00:00", "05-03T09:30", "before_listing"),
        ("A", "05-06T12:00", "05-08T00:00", "after_delisting"),
    ]
    gap = classify(facts, ALWAYS, within=None, now=LATER, settle=0)[0]
    assert gap.evidence == ("listed at 2025-05-03T09:30:00Z (exchange info)",)
    assert gap.severity == "low"


def test_a_listing_is_learned_from_an_answer_that_began_earlier(made):
    """The first bar ever answered is the listing, with less confidence; also for time that nobody asked about."""
    facts = [
        made("A", ALWAYS, "1m", DAYS, [("2025-05-01", "2025-05-03T09:30")]),
        *(made(n, ALWAYS, "1m", DAYS) for n in "BC"),
    ]
    wide = Span(DAYS.start - DAY, DAYS.end)
    gaps = [g for g in classify(facts, ALWAYS, within=wide, now=LATER, settle=0) if g.series == facts[0].series]
    assert [(g.cls, g.span) for g in gaps] == [("before_listing", Span.parse("2025-04-30", "2025-05-03T09:30"))]
    assert gaps[0].confidence < 0.9
    assert "2025-05-03T09:30:00Z" in gaps[0].evidence[0]


def test_a_few_silent_minutes_at_the_start_are_no_listing(made):
    """An illiquid instrument that is silent in the first minutes asked for was listed all the same."""
    lost = [(f"2025-05-{d:02}T{h:02}:00", f"2025-05-{d:02}T{h:02}:03") for d in range(1, 8) for h in range(24)]
    facts = [made("A", ALWAYS, "1m", DAYS, lost), made("B", ALWAYS, "1m", DAYS)]
    assert {g[3] for g in run(facts)} == {"no_trade"}


def test_a_venue_outage_is_the_same_for_all(made):
    """All instruments silent together: an outage for each, edges of a bar or two included."""
    out = ("2025-05-03T04:00", "2025-05-03T04:45")
    late = ("2025-05-03T04:02", "2025-05-03T04:46")
    facts = [made(n, ALWAYS, "1m", DAYS, [late if n == "C" else out]) for n in "ABCD"]
    assert run(facts) == [
        (n, "05-03T04:02" if n == "C" else "05-03T04:00", "05-03T04:46" if n == "C" else "05-03T04:45", "venue_outage")
        for n in "ABCD"
    ]


def test_a_single_minute_is_an_outage_when_twenty_liquid_instruments_miss_it(made):
    """The chance, not the length, decides."""
    out = ("2025-05-03T04:00", "2025-05-03T04:01")
    facts = [made(f"S{i}", ALWAYS, "1m", DAYS, [out]) for i in range(20)]
    assert {g[3] for g in run(facts)} == {"venue_outage"}


def test_a_halt_is_one_instrument_alone(made):
    """One silent for an hour while nine liquid ones trade: a halt, and nobody's fault."""
    hour = [("2025-05-03T04:00", "2025-05-03T05:00")]
    facts = [made(f"S{i}", ALWAYS, "1m", DAYS, hour if i == 4 else ()) for i in range(10)]
    (gap,) = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.bars, gap.repairable) == ("halt", 60, False)
    assert "0% of the 9 other live instruments are silent too" in gap.evidence


def test_an_instrument_without_company_halts_with_little_confidence(made):
    """With one instrument only, an outage cannot be told from a halt, and the evidence says so."""
    (gap,) = classify(
        [made("A", ALWAYS, "1m", DAYS, [("2025-05-03T04:00", "2025-05-03T05:00")])],
        ALWAYS, within=None, now=LATER, settle=0,
    )  # fmt: skip
    assert gap.cls == "halt"
    assert gap.confidence < 0.5
    assert "cannot be told" in gap.evidence[1]


def test_isolated_silent_minutes_are_no_trade(made):
    """A lone silent minute of a liquid instrument is no halt."""
    facts = [made(n, ALWAYS, "1m", DAYS, [("2025-05-03T04:00", "2025-05-03T04:01")] if n == "A" else ()) for n in "ABC"]
    assert run(facts) == [("A", "05-03T04:00", "05-03T04:01", "no_trade")]


@pytest.mark.parametrize(("minutes", "cls"), [(2, "no_trade"), (6, "no_trade"), (8, "halt"), (30, "halt")])
def test_from_when_on_silence_is_a_halt(made, minutes, cls):
    """Of an instrument never seen silent, six minutes may be chance (1 in 64); eight are not (1 in 256)."""
    lost = [("2025-05-03T04:00", f"2025-05-03T04:{minutes:02}")]
    facts = [made(n, ALWAYS, "1m", DAYS, lost if n == "A" else ()) for n in "ABC"]
    assert {g[3] for g in run(facts)} == {cls}


def test_habitual_silence_is_no_trade_and_an_outage_stands_out_of_it(silent_minutes):
    """Seven instruments silent by habit: all of it no trade, but for the half hour that a venue was out."""
    out = Span.parse("2025-05-03T04:00", "2025-05-03T04:30")
    habits = [(0.02, 0.3), (0.05, 0.4), (0.1, 0.4), (0.25, 0.5), (0.4, 0.6), (0.5, 0.7), (0.02, 0.2)]
    facts = [
        Facts(Series.parse(f"VENUE:S{i}", "1m"), silent_minutes(i, DAYS, *habit) - SpanSet.of(out), SpanSet.of(DAYS))
        for i, habit in enumerate(habits)
    ]
    gaps = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert {g.cls for g in gaps} == {"no_trade", "venue_outage"}
    outages = [g.span for g in gaps if g.cls == "venue_outage"]
    assert len(outages) == 7
    wide = Span(out.start - 2 * MINUTE, out.end + 2 * MINUTE)  # the edges may take two silent bars along
    assert all(not SpanSet.of(out) - SpanSet.of(s) and not SpanSet.of(s) - SpanSet.of(wide) for s in outages)


def test_a_longer_bar_with_volume_proves_a_hole(made):
    """A witness that saw trading turns silence into a hole, in the spans it names and no further."""
    lost = ("2025-05-03T04:00", "2025-05-03T05:00")
    facts = [made("A", ALWAYS, "1m", DAYS, [lost])]
    hour = Span.parse("2025-05-03T04:00", "2025-05-03T04:30")
    gaps = run(facts, traded=lambda _, span: ("5m bars", SpanSet.of(hour.intersect(span))))
    assert gaps == [("A", "05-03T04:00", "05-03T04:30", "vendor_hole"), ("A", "05-03T04:30", "05-03T05:00", "halt")]


def test_refused_rows_are_holes(made):
    """A bar whose row was quarantined is not silence: the vendor has to be asked again."""
    bar = ("2025-05-03T04:00", "2025-05-03T04:01")
    facts = [made("A", ALWAYS, "1m", DAYS, [bar], refused=SpanSet.of(Span.parse(*bar)))]
    (gap,) = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.evidence) == ("vendor_hole", ("rows came and were quarantined",))


def test_a_session_others_have_is_a_hole(made):
    """A whole session missing while others have it: vendor hole, one gap a session, with the numbers."""
    lost = [("2025-03-11", "2025-03-12")]
    facts = [made(n, NEW_YORK, "1m", MARCH, lost if n == "A" else ()) for n in "ABC"]
    (gap,) = classify(facts, NEW_YORK, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.bars, gap.severity) == ("vendor_hole", 390, "high")
    assert gap.evidence == (
        "the whole session of 2025-03-11 is missing: 390 of 390 expected bars are absent",
        "2 other instruments of the venue have it",
    )


def test_a_session_nobody_has_is_a_conflict_with_the_calendar(made):
    """A whole session absent for every instrument asked: the calendar is doubted, not the vendor."""
    facts = [made(n, NEW_YORK, "1m", MARCH, [("2025-03-11", "2025-03-12")]) for n in "ABC"]
    gaps = classify(facts, NEW_YORK, within=None, now=LATER, settle=0)
    assert [(g.cls, g.bars) for g in gaps] == [("calendar_conflict", 390)] * 3
    closed = calendar("XNYS", overrides=[Override("2025-03-11", closed=True)])
    assert run(facts, closed) == []


def test_a_session_cut_off_at_its_end_is_truncated(made):
    """Most of a session missing at its end is a hole, and so called, also without anybody to compare with."""
    facts = [made("A", NEW_YORK, "1m", MARCH, [("2025-03-11T13:36", "2025-03-12")])]
    (gap,) = classify(facts, NEW_YORK, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.bars) == ("vendor_hole", 384)
    assert "truncated" in gap.evidence[0]
    assert gap.confidence <= 0.5


def test_a_crypto_day_others_have_is_a_hole(made):
    """A daily bar of a liquid instrument does not vanish in silence."""
    span = Span.parse("2024-01-01", "2025-05-01")
    facts = [made(n, ALWAYS, "1d", span, [("2025-03-11", "2025-03-12")] if n == "A" else ()) for n in "ABC"]
    assert run(facts) == [("A", "03-11T00:00", "03-12T00:00", "vendor_hole")]


def test_data_on_a_holiday_is_a_conflict(made):
    """Bars on a day without session are told as a conflict of zero missing bars; bars after the close are not."""
    good = made("A", NEW_YORK, "1m", MARCH)
    saturday = Span.parse("2025-03-08T15:00", "2025-03-08T15:10")
    evening = Span.parse("2025-03-11T20:00", "2025-03-11T22:00")
    facts = [Facts(good.series, good.present | SpanSet.of(saturday, evening), good.answered)]
    (gap,) = classify(facts, NEW_YORK, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.span, gap.bars) == ("calendar_conflict", saturday, 0)
    assert "10 bars" in gap.evidence[0]


def test_holidays_and_half_days_are_no_gaps(made):
    """A year of New York, whole: nothing is missing on any holiday or after any early close."""
    span = Span.parse("2015-01-01", "2016-01-01")
    for frame in ("1m", "1h", "1d", "1w"):
        assert run([made("A", NEW_YORK, frame, span)], NEW_YORK) == []


def test_unasked_weeks_are_one_gap_over_nights_and_weekends(made):
    """Sessions nobody asked for run together across closed time: one gap, with the bars of all of them."""
    known = SpanSet.of(Span.parse("2025-03-03", "2025-03-08"), Span.parse("2025-03-24", "2025-03-29"))
    full = made("A", NEW_YORK, "1m", MARCH)
    facts = [Facts(full.series, full.present & known, known)]
    (gap,) = classify(facts, NEW_YORK, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.bars) == ("never_asked", 10 * 390)
    assert gap.span == Span.parse("2025-03-10T13:30", "2025-03-21T20:00")
    assert gap.severity == "critical"


def test_silence_until_today_may_be_a_delisting(made):
    """No bar for more than a week up to the end of what was answered, while others trade: gone, with doubt."""
    span = Span.parse("2025-05-01", "2025-05-21")
    facts = [made(n, ALWAYS, "1m", span, [("2025-05-10", "2025-05-21")] if n == "A" else ()) for n in "ABC"]
    (gap,) = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert gap.cls == "after_delisting"
    assert gap.confidence <= 0.5


def test_two_venues_are_not_compared():
    """Classifying two venues or timeframes together is refused: an outage would be read off strangers."""
    one, other = (Facts(Series.parse(name, "1m"), SpanSet.of(), SpanSet.of()) for name in ("V:A", "W:A"))
    with pytest.raises(UsageError, match="one venue and timeframe"):
        run([one, other])


def test_the_json_row_has_the_contracted_keys(made):
    """to_dict has the keys users script against, times in ISO with Z and an exclusive end."""
    facts = [made("A", ALWAYS, "1m", DAYS, [("2025-05-03T04:00", "2025-05-03T05:00")])]
    row = classify(facts, ALWAYS, within=None, now=LATER, settle=0)[0].to_dict()
    assert list(row) == [
        "instrument", "timeframe", "start", "end", "bars", "class", "severity", "confidence", "evidence", "attempts",
    ]  # fmt: skip
    assert (row["start"], row["end"]) == ("2025-05-03T04:00:00Z", "2025-05-03T05:00:00Z")
    assert row["instrument"] == "VENUE:A"


def test_the_ten_classes():
    """The classes are the ten of the design, three of them repairable."""
    assert len(CLASSES) == 10
    assert set(CLASSES) > REPAIRABLE


def test_an_outage_at_the_start_of_all_is_no_listing(made):
    """All instruments come to life in the same minute, soon after the start: the venue was out, nobody was listed."""
    facts = [made(n, ALWAYS, "1m", DAYS, [("2025-05-01", "2025-05-01T02:00")]) for n in "ABCD"]
    assert {g[3] for g in run(facts)} == {"venue_outage"}


def test_known_facts_of_an_instrument_without_bars():
    """Answered over days and never a bar: not listed, with little confidence, and not to be asked again for ever."""
    facts = [Facts(Series(Instrument("V", "A"), Timeframe.parse("1m")), SpanSet.of(), SpanSet.of(DAYS))]
    (gap,) = classify(facts, ALWAYS, within=None, now=LATER, settle=0)
    assert (gap.cls, gap.repairable) == ("before_listing", False)
    assert gap.confidence < 0.5
