"""What importing a table may claim to have answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.calendars import calendar
from gapless.coverage import asked_by_table
from gapless.series import Instrument
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, iso, parse_time

ALWAYS, NEW_YORK = calendar("24/7"), calendar("XNYS")
M1, D1 = Timeframe.parse("1m"), Timeframe.parse("1d")
A, B = Instrument("V", "A"), Instrument("V", "B")


def at(*pairs: tuple[str, str]) -> SpanSet:
    return SpanSet.of(*(Span.parse(a, b) for a, b in pairs))


def texts(spans: SpanSet) -> list[str]:
    return [f"{iso(s.start)[5:16]}/{iso(s.end)[5:16]}" for s in spans]


def test_one_instrument_answers_from_its_first_to_its_last_bar():
    """A dense table of one instrument speaks for what lies inside it, holes included, and for nothing beyond."""
    held = at(("2025-05-01", "2025-05-02T03:00"), ("2025-05-02T04:00", "2025-05-03T12:00"))
    assert texts(asked_by_table({A: held}, M1, ALWAYS)[A]) == ["05-01T00:00/05-03T12:00"]


def test_selected_days_answer_for_themselves_only():
    """Two days a month apart: each day is answered, the weeks between are not."""
    held = at(("2025-05-01", "2025-05-02"), ("2025-05-30", "2025-05-31"))
    assert texts(asked_by_table({A: held}, M1, ALWAYS)[A]) == ["05-01T00:00/05-02T00:00", "05-30T00:00/05-31T00:00"]


def test_selected_sessions_answer_to_their_close():
    """On a session market the last selected day is answered to its close, however early its bars stop."""
    held = at(("2014-06-05T13:30", "2014-06-05T20:00"), ("2014-06-23T13:30", "2014-06-23T13:36"))
    assert texts(asked_by_table({A: held}, M1, NEW_YORK)[A]) == [
        "06-05T13:30/06-05T20:00",
        "06-23T13:30/06-23T20:00",
    ]


def test_a_late_listing_in_a_panel_was_asked_for_from_the_start():
    """In a panel that starts with a day, one that reaches the end answers for the time before its first bar."""
    panel = {A: at(("2025-05-01", "2025-05-11")), B: at(("2025-05-07T12:00", "2025-05-11"))}
    assert texts(asked_by_table(panel, M1, ALWAYS)[B]) == ["05-01T00:00/05-11T00:00"]


def test_an_instrument_that_ends_early_answers_to_its_last_bar():
    """Days before the end of the table: nothing is claimed after the last bar, nor before the first own day."""
    panel = {A: at(("2025-05-01", "2025-05-11")), B: at(("2025-05-03T12:00", "2025-05-05T07:00"))}
    assert texts(asked_by_table(panel, M1, ALWAYS)[B]) == ["05-03T00:00/05-05T07:00"]


def test_silence_at_the_very_end_of_the_table_is_answered():
    """On the last day an illiquid instrument answers to the end of the table, as the others show."""
    panel = {A: at(("2025-05-01", "2025-05-03")), B: at(("2025-05-01", "2025-05-02T23:50"))}
    assert texts(asked_by_table(panel, M1, ALWAYS)[B]) == ["05-01T00:00/05-03T00:00"]


def test_a_rolling_download_claims_nothing_before_each_first_bar():
    """A table that starts in mid-day holds the last so many bars of each: ragged starts are no silence."""
    panel = {A: at(("2025-05-01T15:33", "2025-05-11")), B: at(("2025-05-01T15:37", "2025-05-11"))}
    assert texts(asked_by_table(panel, M1, ALWAYS)[B]) == ["05-01T15:37/05-11T00:00"]


def test_daily_sessions_skip_weekends():
    """A daily table of a session market is dense although it has no Saturdays."""
    held = NEW_YORK.expected(D1, Span.parse("2025-03-03", "2025-04-01"))
    assert texts(asked_by_table({A: held}, D1, NEW_YORK)[A]) == ["03-03T00:00/04-01T00:00"]


def test_tables_without_bars_claim_nothing():
    """An empty table, and an empty instrument in a full one, answer for nothing."""
    assert asked_by_table({}, M1, ALWAYS) == {}
    assert not asked_by_table({A: SpanSet.of()}, M1, ALWAYS)[A]
    both = asked_by_table({A: at(("2025-05-01", "2025-05-02")), B: SpanSet.of()}, M1, ALWAYS)
    assert not both[B]
    assert both[A]


@pytest.mark.parametrize("market", [ALWAYS, NEW_YORK], ids=["24/7", "XNYS"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20 * 1440), st.integers(1, 900)), min_size=1, max_size=8), st.booleans())
def test_claims_stay_inside_the_table_and_hold_its_regular_bars(market, runs, with_panel):
    """Whatever a table holds, all its regular bars are answered, and no claim leaves the days it touches."""
    start = parse_time("2025-03-03")
    held = SpanSet.of(*((start + a * MINUTE, start + (a + n) * MINUTE) for a, n in runs))
    panel = {A: held} | ({B: SpanSet.of(Span(start, start + 21 * DAY))} if with_panel else {})
    answer = asked_by_table(panel, M1, market)[A]
    regular = held & market.expected(M1, Span(start, start + 40 * DAY))
    assert not regular - answer
    hull = held.hull if not with_panel else Span(start, start + 22 * DAY)
    assert answer.hull.start >= hull.start - 24 * HOUR
    assert answer.hull.end <= hull.end + 24 * HOUR
