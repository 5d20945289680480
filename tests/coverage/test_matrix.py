"""The completeness matrix."""

from __future__ import annotations

import pytest

from gapless.calendars import calendar
from gapless.coverage import classify, matrix
from gapless.protocols import Answer, Facts
from gapless.series import Series
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, iso, parse_time

ALWAYS, NEW_YORK = calendar("24/7"), calendar("XNYS")
DAYS = Span.parse("2025-05-01", "2025-05-08")


def rows(facts, market=ALWAYS, now=DAYS.end, within=None):
    gaps = classify(facts, market, within=within, now=now, settle=0)
    return matrix(facts, gaps, market, now=now, settle=0, within=within)


def test_only_repairable_gaps_count_against_completeness(made):
    """An outage lowers nothing; a day nobody asked for does."""
    out = ("2025-05-03T04:00", "2025-05-03T05:00")
    unasked = ("2025-05-05", "2025-05-06")
    answered = SpanSet.of(DAYS) - SpanSet.of(Span.parse(*unasked))
    facts = [made(n, ALWAYS, "1m", DAYS, [out]) for n in "ABC"]
    facts.append(made("D", ALWAYS, "1m", DAYS, [out, unasked], answered=answered))
    *whole, holed = rows(facts)
    assert [r.coverage for r in whole] == [1.0] * 3
    assert whole[0].expected - whole[0].present == 60
    assert (holed.missing, holed.coverage) == (1440, holed.present / (holed.present + 1440))


def test_the_states_of_days(made):
    """complete, partial, gap, empty and closed, each by its rule; an outage leaves a day complete."""
    span = Span.parse("2025-03-03", "2025-03-15")
    lost = [("2025-03-03", "2025-03-05"), ("2025-03-06T15:00", "2025-03-06T17:00"), ("2025-03-11", "2025-03-12")]
    unasked = SpanSet.of(*(Span.parse(a, b) for a, b in lost[1:]))
    one = made("A", NEW_YORK, "1m", span, lost, answered=SpanSet.of(span) - unasked)
    (row, other) = rows([one, made("B", NEW_YORK, "1m", span)], NEW_YORK, now=span.end)
    assert row.days == {
        "2025-03-03": "empty", "2025-03-04": "empty", "2025-03-05": "complete", "2025-03-06": "partial",
        "2025-03-07": "complete", "2025-03-08": "closed", "2025-03-09": "closed", "2025-03-10": "complete",
        "2025-03-11": "gap", "2025-03-12": "complete", "2025-03-13": "complete", "2025-03-14": "complete",
    }  # fmt: skip
    assert set(other.days.values()) == {"complete", "closed"}
    assert row.expected == 8 * 390  # ten sessions less the two before it was listed


def test_the_row_has_the_contracted_keys(made):
    """to_dict carries the keys of status, times in ISO, None for a series without bars."""
    series = Series.parse("VENUE:Z", "1m")
    failed = (Answer("s", series, DAYS, None, 0, "failed", 1, "HTTP 500", "", "r", 0),)
    full, never = rows([made("A", ALWAYS, "1m", DAYS), Facts(series, SpanSet.of(), SpanSet.of(), failed)])
    keys = {"instrument", "timeframe", "first", "last", "expected", "present", "coverage", "fresh", "days"}
    assert keys <= full.to_dict().keys()
    assert (full.to_dict()["first"], full.to_dict()["last"]) == ("2025-05-01T00:00:00Z", "2025-05-07T23:59:00Z")
    assert (never.to_dict()["first"], never.coverage, never.fresh) == (None, 0.0, "missing")
    assert set(never.days.values()) == {"gap"}


def test_hours_outside_the_session_are_counted_apart(made):
    """Evening bars are in neither expected nor present."""
    span = Span.parse("2025-03-03", "2025-03-08")
    one = made("A", NEW_YORK, "1m", span)
    evening = SpanSet.of(Span.parse("2025-03-04T21:00", "2025-03-04T22:00"))
    (row,) = rows([Facts(one.series, one.present | evening, one.answered)], NEW_YORK, now=span.end)
    assert (row.expected, row.present, row.outside, row.coverage) == (5 * 390, 5 * 390, 60, 1.0)


@pytest.mark.parametrize(
    ("behind", "fresh"), [(0, "fresh"), (59, "fresh"), (61, "aging"), (23 * 60, "aging"), (25 * 60, "stale")]
)
def test_freshness_by_the_clock(made, behind, fresh):
    """Fresh within an hour of what could be known, aging within a day, then stale."""
    (row,) = rows([made("A", ALWAYS, "1m", DAYS)], now=DAYS.end + behind * MINUTE)
    assert row.fresh == fresh


def test_freshness_knows_weekends(made):
    """On Sunday the bars of Friday are fresh; on Monday evening they are not."""
    span = Span.parse("2025-03-03", "2025-03-08")
    daily = made("A", NEW_YORK, "1d", span)
    for now, fresh in (("2025-03-09T12:00", "fresh"), ("2025-03-10T15:00", "fresh"), ("2025-03-20T15:00", "stale")):
        (row,) = rows([daily], NEW_YORK, now=parse_time(now))
        assert row.fresh == fresh, now


def test_silence_that_was_answered_is_fresh(made):
    """An illiquid instrument without a bar for hours is fresh when the source was asked just now."""
    lost = [("2025-05-07T18:00", "2025-05-08")]
    (row, _) = rows([made("A", ALWAYS, "1m", DAYS, lost), made("B", ALWAYS, "1m", DAYS)])
    assert row.fresh == "fresh"


def test_weekly_bars_have_one_cell_a_week(made):
    """A weekly series has a cell for each Monday."""
    span = Span.parse("2025-03-03", "2025-03-31")
    (row,) = rows([made("A", NEW_YORK, "1w", span)], NEW_YORK, now=span.end)
    assert row.days == dict.fromkeys(["2025-03-03", "2025-03-10", "2025-03-17", "2025-03-24"], "complete")


def test_overnight_sessions_belong_to_their_date(made):
    """The evening before counts to the session of the next date, as the exchange counts it."""
    market = calendar("CMES")
    span = Span.parse("2025-03-03T23:00", "2025-03-04T22:00")
    (row,) = rows([made("A", market, "1m", span)], market, now=span.end)
    assert row.days == {"2025-03-04": "complete"}


def test_the_span_asked_about_bounds_the_row(made):
    """With within, nothing outside it is expected, present or shown."""
    within = Span(DAYS.start + DAY, DAYS.start + 2 * DAY + HOUR)
    (row,) = rows([made("A", ALWAYS, "1m", DAYS)], within=within)
    assert (row.expected, row.present, row.outside) == (25 * 60, 25 * 60, 0)
    assert list(row.days) == ["2025-05-02", "2025-05-03"]
    assert iso(row.first) == "2025-05-01T00:00:00Z"
