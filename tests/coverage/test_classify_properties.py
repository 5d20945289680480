"""What holds of every classification, whatever is missing."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gapless.calendars import bar_opens, calendar
from gapless.coverage import CLASSES, classify, matrix
from gapless.protocols import Answer, Facts
from gapless.series import Instrument, Series
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time

MARKETS = [calendar("24/7"), calendar("XNYS"), calendar("CMES")]
START = parse_time("2025-03-05")
SPAN = Span(START, START + 8 * DAY)

minutes = st.integers(0, 8 * 1440)
runs = st.lists(st.tuples(minutes, st.integers(1, 1500)), max_size=5)


@st.composite
def series_facts(draw, market, size, index):
    """Any facts at all: present, answered, failed, refused and listing dates drawn without regard to one another."""

    def spans(raw):
        return SpanSet.of(*((START + a * MINUTE, START + (a + n) * MINUTE) for a, n in raw))

    holes = spans(draw(runs))
    present = market.expected(size, SPAN)
    present = SpanSet.from_bars(bar_opens(present, size)[~holes.mask(bar_opens(present, size))], size)
    series = Series(Instrument("V", f"S{index}"), size)
    failed = tuple(
        Answer("s", series, span, None, 0, "failed", 2, "HTTP 500", "", "r", START) for span in spans(draw(runs))
    )
    listed = draw(st.none() | minutes.map(lambda m: START + m * MINUTE))
    gone = draw(st.none() | minutes.map(lambda m: START + m * MINUTE))
    answered = (SpanSet.of(SPAN) - spans(draw(runs))) | present
    return Facts(series, present, answered, failed, listed, "test", gone, refused=spans(draw(runs)))


@st.composite
def venues(draw):
    market = draw(st.sampled_from(MARKETS))
    size = Timeframe.parse(draw(st.sampled_from(["5m", "1h", "1d"])))
    count = draw(st.integers(1, 4))
    facts = [draw(series_facts(market, size, i)) for i in range(count)]
    now = draw(minutes.map(lambda m: START + m * MINUTE) | st.just(START + 90 * DAY))
    within = draw(st.none() | st.just(Span(START - DAY, SPAN.end + DAY)) | st.just(Span(START + DAY, START + 3 * DAY)))
    return market, size, facts, now, within


@settings(max_examples=120, deadline=None)
@given(venues())
def test_gaps_and_present_bars_are_exactly_what_is_expected(venue):
    """Every expected missing bar lies in exactly one gap, no present bar in any, and bars are counted right."""
    market, size, facts, now, within = venue
    gaps = classify(facts, market, within=within, now=now, settle=0)
    for one in facts:
        mine = [g for g in gaps if g.series == one.series and g.bars]
        hulls = [s.hull for s in (one.present, one.answered, one.refused) if s] + [a.asked for a in one.failed]
        extent = within or Span(min(h.start for h in hulls), max(h.end for h in hulls))
        expected = market.opens(size, extent)
        held = np.zeros(len(expected), dtype=int)
        for gap in mine:
            inside = (expected >= gap.span.start) & (expected < gap.span.end)
            assert gap.bars == inside.sum()
            assert size.floor(gap.span.start) == gap.span.start
            held += inside
        assert np.array_equal(held, 1 - one.present.mask(expected).astype(int))
        assert not SpanSet.of(*(g.span for g in mine)) & one.present


@settings(max_examples=60, deadline=None)
@given(venues(), st.randoms(use_true_random=False))
def test_the_order_of_the_series_does_not_matter(venue, dice: random.Random):
    """Shuffled facts give the same gaps, sorted by series and time."""
    market, _, facts, now, within = venue
    shuffled = dice.sample(facts, len(facts))
    gaps = classify(facts, market, within=within, now=now, settle=0)
    assert classify(shuffled, market, within=within, now=now, settle=0) == gaps
    assert [(g.series, g.span.start) for g in gaps] == sorted((g.series, g.span.start) for g in gaps)


@settings(max_examples=60, deadline=None)
@given(venues())
def test_every_gap_has_a_class_and_evidence(venue):
    """Classes are known ones, confidences lie between 0 and 1, and every gap says why in plain sentences."""
    market, _, facts, now, within = venue
    for gap in classify(facts, market, within=within, now=now, settle=0):
        assert gap.cls in CLASSES
        assert 0 < gap.confidence <= 1
        assert gap.evidence
        assert all(isinstance(line, str) and line for line in gap.evidence)


@settings(max_examples=60, deadline=None)
@given(venues())
def test_the_matrix_adds_up(venue):
    """present + missing + explained = expected in every row, coverage follows, and no day disagrees with the gaps."""
    market, _, facts, now, within = venue
    gaps = classify(facts, market, within=within, now=now, settle=0)
    for row in matrix(facts, gaps, market, now=now, settle=0, within=within):
        mine = [g for g in gaps if g.series == row.series]
        out = {"pending", "before_listing", "after_delisting"}
        explained = sum(g.bars for g in mine if not g.repairable and g.cls not in out)
        assert row.present + row.missing + explained == row.expected
        assert row.missing == sum(g.bars for g in mine if g.repairable)
        assert 0 <= row.coverage <= 1
        assert (row.coverage == 1) == (row.missing == 0)
        assert ({"partial", "gap"} & set(row.days.values()) != set()) == (row.missing > 0)
        assert list(row.days) == sorted(row.days)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6 * 1440), st.integers(1, 600), st.integers(3, 8))
def test_any_outage_of_liquid_instruments_is_found_bar_by_bar(start, length, count):
    """Three or more liquid instruments silent over the same span: that span is an outage of each, to the bar."""
    market, size = MARKETS[0], Timeframe.parse("1m")
    assume(length * count >= 8)  # a few silent minutes of a few instruments may be chance
    out = Span(START + DAY + start * MINUTE, START + DAY + (start + length) * MINUTE)
    facts = [
        Facts(Series(Instrument("V", f"S{i}"), size), SpanSet.of(SPAN) - SpanSet.of(out), SpanSet.of(SPAN))
        for i in range(count)
    ]
    gaps = classify(facts, market, within=None, now=SPAN.end, settle=0)
    assert [(g.cls, g.span) for g in gaps] == [("venue_outage", out)] * count


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5 * 1440), st.integers(8, 1440), st.integers(2, 8))
def test_any_long_silence_of_one_liquid_instrument_is_a_halt(start, length, count):
    """Eight minutes or more of one alone, inside what was answered, is a halt to the bar."""
    market, size = MARKETS[0], Timeframe.parse("1m")
    halt = Span(START + DAY + start * MINUTE, START + DAY + (start + length) * MINUTE)
    facts = [
        Facts(
            Series(Instrument("V", f"S{i}"), size),
            SpanSet.of(SPAN) - (SpanSet.of(halt) if i == 0 else SpanSet.of()),
            SpanSet.of(SPAN),
        )
        for i in range(count)
    ]
    gaps = classify(facts, market, within=None, now=SPAN.end, settle=0)
    assert [(g.cls, g.span) for g in gaps] == [("halt", halt)]


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 6 * 1440), st.integers(1, 6))
def test_any_late_first_bar_is_learned_as_a_listing(start, others):
    """An hour or more of answered silence before the first bar, while others trade: not listed, to the bar."""
    market, size = MARKETS[0], Timeframe.parse("1m")
    first = START + start * MINUTE
    late = Facts(Series(Instrument("V", "LATE"), size), SpanSet.of((first, SPAN.end)), SpanSet.of(SPAN))
    rest = [Facts(Series(Instrument("V", f"S{i}"), size), SpanSet.of(SPAN), SpanSet.of(SPAN)) for i in range(others)]
    gaps = classify([late, *rest], market, within=None, now=SPAN.end, settle=0)
    assert [(g.cls, g.span) for g in gaps] == [("before_listing", Span(START, first))]
    assert gaps[0].bars * MINUTE >= HOUR
