"""Span sets against the plainest model there is: a Python set of minutes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import UnknownName, UsageError
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Span, SpanSet, Timeframe, hull, iso, parse_duration, parse_time

pairs = st.lists(st.tuples(st.integers(-20, 60), st.integers(0, 12)), max_size=12)
frames = st.sampled_from(sorted(Timeframe.ALL.values()))
moments = st.integers(-4_000_000_000, 4_000_000_000).map(lambda s: s * 1_000_000 + 7)


def made(raw: list[tuple[int, int]]) -> SpanSet:
    return SpanSet.of(*((a, a + n) for a, n in raw))


def points(raw: list[tuple[int, int]]) -> set[int]:
    return {t for a, n in raw for t in range(a, a + n)}


def members(spans: SpanSet) -> set[int]:
    return {t for s in spans for t in range(s.start, s.end)}


def canonical(spans: SpanSet) -> bool:
    """Sorted, none empty, none touching."""
    return bool((spans.ends > spans.starts).all() and (spans.starts[1:] > spans.ends[:-1]).all())


@given(pairs, pairs)
def test_union_intersection_and_difference_are_those_of_sets(a, b):
    """|, & and − hold exactly the points that sets of points would hold, in canonical form."""
    for got, want in (
        (made(a) | made(b), points(a) | points(b)),
        (made(a) & made(b), points(a) & points(b)),
        (made(a) - made(b), points(a) - points(b)),
    ):
        assert members(got) == want
        assert canonical(got)


@given(pairs, pairs, pairs)
def test_difference_distributes(a, b, c):
    """a − (b ∪ c) is (a − b) ∩ (a − c), and equal sets compare and hash equal."""
    left, right = made(a) - (made(b) | made(c)), (made(a) - made(b)) & (made(a) - made(c))
    assert left == right
    assert hash(left) == hash(right)


@given(pairs, st.integers(-20, 60), st.integers(0, 40))
def test_clip_and_complement_split_a_span(a, start, length):
    """Inside any span, a set and its complement share nothing and fill it."""
    within = Span(start, start + length)
    inside, outside = made(a).clip(within), made(a).complement(within)
    assert not inside & outside
    assert members(inside | outside) == set(range(start, start + length))
    assert members(inside) == points(a) & set(range(start, start + length))


@given(pairs)
def test_contains_mask_total_and_hull_agree_with_the_points(a):
    """Membership of one and of many times, the covered time and the hull are those of the points."""
    spans, model = made(a), points(a)
    times = np.arange(-25, 80, dtype=np.int64)
    assert [spans.contains(int(t)) for t in times] == [t in model for t in times.tolist()]
    assert spans.mask(times).tolist() == [t in model for t in times.tolist()]
    assert spans.total == len(model)
    assert spans.hull == (Span(min(model), max(model) + 1) if model else None)
    assert bool(spans) == bool(model)


@given(pairs)
def test_stored_bytes_read_back(a):
    """A span set survives being stored."""
    assert SpanSet.frombytes(made(a).tobytes()) == made(a)


@given(st.sets(st.integers(-50, 50), max_size=40), frames)
def test_bars_become_runs_and_count_back(slots, frame):
    """from_bars covers exactly the bars given; bars counts them again."""
    ts = np.array(sorted(slots), dtype=np.int64) * frame.micros + frame.offset
    spans = SpanSet.from_bars(ts, frame)
    assert spans.bars(frame) == len(slots)
    assert spans == SpanSet.of(*((int(t), int(t) + frame.micros) for t in ts))


@given(st.lists(st.tuples(moments, st.integers(0, 40 * DAY)), max_size=4), frames)
def test_bars_counts_opens_in_any_span(raw, frame):
    """How many bars open inside is the same for one span and for a set, whatever the alignment."""
    spans = SpanSet.of(*((a, a + n) for a, n in raw))
    assert spans.bars(frame) == sum(s.bars(frame) for s in spans)


@given(moments, frames)
def test_floor_and_ceil_bracket_a_time_on_the_grid(ts, frame):
    """floor ≤ ts < floor + one bar; ceil is the first open at or after ts; both lie on the grid."""
    low, high = frame.floor(ts), frame.ceil(ts)
    assert low <= ts < low + frame.micros
    assert high - frame.micros < ts <= high
    assert (low - frame.offset) % frame.micros == (high - frame.offset) % frame.micros == 0


def test_the_empty_set_is_neutral():
    """Union with nothing changes nothing, intersection with nothing is nothing."""
    some, none = SpanSet.of((0, 5)), SpanSet.of()
    assert some | none == some == some - none
    assert not some & none
    assert not none - some
    assert none.hull is None
    assert none.bars(Timeframe.parse("1m")) == 0
    assert SpanSet.frombytes(none.tobytes()) == none


def test_touching_spans_are_one():
    """[0, 5) and [5, 9) are [0, 9): half-open spans leave no seam."""
    assert SpanSet.of((0, 5), (5, 9)) == SpanSet.of((0, 9))
    assert not SpanSet.of((0, 5)) & SpanSet.of((5, 9))


def test_weeks_open_on_monday():
    """The weekly grid starts on Mondays, also before the epoch."""
    week = Timeframe.parse("1w")
    assert iso(week.floor(parse_time("1969-12-31"))) == "1969-12-29T00:00:00Z"
    assert week.ceil(parse_time("2025-05-05")) == parse_time("2025-05-05")
    assert Span.parse("2025-05-05", "2025-05-12").bars(week) == 1


def test_intersect_of_apart_spans_is_empty():
    """Two spans apart meet in an empty span, not in a negative one."""
    met = Span(0, 5).intersect(Span(7, 9))
    assert not met
    assert met.end >= met.start
    assert Span(0, 5).intersect(Span(3, 9)) == Span(3, 5)


def test_hull_of_nothing_is_none():
    """Empty spans have no part in a hull."""
    assert hull([]) is None
    assert hull([Span(5, 5)]) is None
    assert hull([Span(5, 6), Span(1, 2)]) == Span(1, 6)


@pytest.mark.parametrize(
    ("text", "micros"), [("90s", 90_000_000), ("1.5h", 90 * MINUTE), ("2w", 2 * WEEK), ("1h", HOUR), ("250ms", 250_000)]
)
def test_durations(text, micros):
    """A duration is a number and a unit."""
    assert parse_duration(text) == micros


@pytest.mark.parametrize("text", ["", "5", "h", "-5m", "5 minutes"])
def test_bad_durations_say_how(text):
    """What is no duration is refused with an example."""
    with pytest.raises(UsageError, match="30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "2025-05-01T25:00", "20250501", ""])
def test_bad_times_say_how(text):
    """What is no time is refused, with the form that is."""
    with pytest.raises(UsageError, match="ISO-8601"):
        parse_time(text)


def test_a_span_may_not_end_before_it_starts():
    """Reversed bounds are a mistake of the caller, not an empty span."""
    with pytest.raises(UsageError, match="lies before"):
        Span.parse("2025-05-02", "2025-05-01")


def test_an_unknown_timeframe_names_the_nearest():
    """1min is answered with 1m."""
    with pytest.raises(UnknownName, match="did you mean '1m'"):
        Timeframe.parse("1min")
