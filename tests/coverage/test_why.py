"""Why one bar is there, or is not."""

from __future__ import annotations

import pytest

from gapless.calendars import calendar
from gapless.coverage import classify
from gapless.coverage.why import why
from gapless.protocols import Facts
from gapless.spans import Span, SpanSet, parse_time

ALWAYS, NEW_YORK = calendar("24/7"), calendar("XNYS")
DAYS = Span.parse("2025-05-01", "2025-05-08")
NOW = parse_time("2025-05-08T06:00:30")


@pytest.fixture
def ask():
    def answer(facts, ts, market=ALWAYS):
        gaps = classify(facts, market, within=None, now=NOW, settle=0)
        return why(facts[0], gaps, market, parse_time(ts), now=NOW, settle=0)

    return answer


def test_a_missing_bar_is_told_with_its_gap(made, ask):
    """Class, evidence, confidence and severity of the gap around the bar, and how far it reaches."""
    facts = [made(n, ALWAYS, "1m", DAYS, [("2025-05-03T04:00", "2025-05-03T06:30")]) for n in "ABC"]
    said = ask(facts, "2025-05-03T05:00")
    assert (said["instrument"], said["timeframe"], said["ts"]) == ("VENUE:A", "1m", "2025-05-03T05:00:00Z")
    assert (said["class"], said["severity"]) == ("venue_outage", "medium")
    assert said["gap"] == {"start": "2025-05-03T04:00:00Z", "end": "2025-05-03T06:30:00Z", "bars": 150}
    assert "3 of 3 live instruments" in said["evidence"][0]


def test_a_bar_that_is_there_is_present(made, ask):
    """A stored bar answers present; one that may still be corrected says so."""
    one = made("A", ALWAYS, "1m", DAYS, provisional=SpanSet.of(Span.parse("2025-05-07T23:00", "2025-05-08")))
    assert ask([one], "2025-05-03T05:00")["evidence"] == ["the bar is stored"]
    assert "corrected" in ask([one], "2025-05-07T23:30")["evidence"][1]


def test_a_closed_time_names_the_sessions_around_it(made, ask):
    """Christmas is closed, between the half day before and the Monday after."""
    facts = [made("A", NEW_YORK, "1m", Span.parse("2015-12-01", "2016-01-01"))]
    said = ask(facts, "2015-12-25T15:00", NEW_YORK)
    assert said["class"] == "closed"
    assert said["evidence"][1] == "the session before it was 2015-12-24T14:30:00Z → 2015-12-24T18:00:00Z"
    assert said["evidence"][2] == "the session after it is 2015-12-28T14:30:00Z → 2015-12-28T21:00:00Z"
    assert ask(facts, "2015-12-24T18:00", NEW_YORK)["class"] == "closed"
    daily = [made("A", NEW_YORK, "1d", Span.parse("2015-12-01", "2016-01-01"))]
    assert ask(daily, "2015-12-25", NEW_YORK)["class"] == "closed"
    assert ask(daily, "2015-12-24", NEW_YORK)["class"] == "present"


def test_an_hour_bar_with_a_part_of_a_session_is_not_closed(made, ask):
    """The bar of 14:00 overlaps the session that opens at 14:30."""
    facts = [made("A", NEW_YORK, "1h", Span.parse("2015-12-01", "2016-01-01"))]
    assert ask(facts, "2015-12-23T14:00", NEW_YORK)["class"] == "present"
    assert ask(facts, "2015-12-23T13:00", NEW_YORK)["class"] == "closed"


def test_a_time_off_the_grid_names_the_bar_that_holds_it(made, ask):
    """No minute bar opens at half past a minute."""
    said = ask([made("A", ALWAYS, "1m", DAYS)], "2025-05-03T05:00:30")
    assert said["class"] == "off_grid"
    assert "2025-05-03T05:00:00Z" in said["evidence"][1]


def test_times_outside_all_that_was_asked(made, ask):
    """Later than the last answer: pending or never asked; before a learned listing: not listed yet."""
    late = [("2025-05-01", "2025-05-03")]
    facts = [made("A", ALWAYS, "1m", DAYS, late), made("B", ALWAYS, "1m", DAYS)]
    assert ask(facts, "2025-05-08T06:00")["class"] == "pending"
    assert ask(facts, "2025-05-08T05:59")["class"] == "never_asked"
    assert ask(facts, "2025-04-01")["class"] == "before_listing"
    assert ask(facts[1:], "2025-04-01")["class"] == "never_asked"


def test_bars_outside_hours_are_present_and_said_to_be(made, ask):
    """An evening bar is stored outside the calendar's hours; one on a Saturday contradicts the calendar."""
    one = made("A", NEW_YORK, "1m", Span.parse("2025-03-03", "2025-03-15"))
    evening = Span.parse("2025-03-04T21:05", "2025-03-04T21:06")
    saturday = Span.parse("2025-03-08T15:00", "2025-03-08T15:01")
    facts = [Facts(one.series, one.present | SpanSet.of(evening, saturday), one.answered)]
    assert ask(facts, "2025-03-04T21:05", NEW_YORK)["evidence"][1] == "it lies outside the calendar's hours"
    said = ask(facts, "2025-03-08T15:00", NEW_YORK)
    assert said["class"] == "present"
    assert "calendar XNYS says closed" in said["evidence"][1]
