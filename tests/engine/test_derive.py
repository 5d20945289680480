"""Which longer bars shorter ones hold whole, and what they are; told again here by counting bar for bar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.bars import TS
from gapless.calendars import MarketCalendar, calendar
from gapless.engine.derive import complete, folded, parts, portions, reach, tasks
from gapless.series import Series
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Span, SpanSet, Timeframe, parse_time

M1, M5, M15, M30, H1, H4, D1, W1 = (Timeframe.ALL[n] for n in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"))
OPEN, NYSE, CME = calendar("24/7"), calendar("XNYS"), calendar("CMES")
CHANGE = Span.parse("2024-03-06", "2024-03-14")  # New York's clocks change on the 10th
HALF = Span.parse("2015-12-23", "2015-12-29")  # the 24th is a half day, the 25th none


def opens(spans: SpanSet, timeframe: Timeframe) -> list[int]:
    return [int(at) for s in spans for at in range(s.start, s.end, timeframe.micros)]


def bars(times: list[int], seed: int = 0) -> pl.DataFrame:
    """A bar at each time, no two alike; prices are whole."""
    rng = np.random.default_rng(seed)
    body = rng.integers(100, 200, (2, len(times))).astype(float)
    columns = {"open": body[0], "high": body.max(0) + 1, "low": body.min(0) - 1, "close": body[1]}
    return pl.DataFrame(
        {"instrument": ["X:A"] * len(times), "ts": times}
        | columns
        | {"volume": np.arange(1.0, len(times) + 1), "trades": rng.integers(0, 9, len(times)).astype(float)},
        schema_overrides={"ts": pl.Int64},
    ).with_columns(pl.col("ts").cast(TS))


def members(base: Timeframe, to: Timeframe, market: MarketCalendar, span: Span) -> dict[int, list[int]]:
    """For each longer bar expected in ``span``: the shorter ones expected in it, found session by session."""
    around = Span(span.start - 2 * WEEK, span.end + 2 * WEEK)
    expected = opens(market.expected(base, around), base)
    if to.micros < DAY:
        owner = {at: to.floor(at) for at in expected}
    else:
        days = list(zip(*(column.tolist() for column in market.days(around)), strict=True))
        owner = {at: to.floor(label) for label, first, last in days for at in expected if first <= at < last}
    found: dict[int, list[int]] = {at: [] for at in opens(market.expected(to, span), to)}
    for at in expected:
        if owner.get(at) in found:
            found[owner[at]].append(at)
    return found


CASES = [
    (OPEN, M1, M5, CHANGE), (OPEN, M5, H1, CHANGE), (OPEN, M30, D1, CHANGE), (OPEN, H4, W1, CHANGE),
    (NYSE, M5, M30, CHANGE), (NYSE, M30, H1, HALF), (NYSE, M15, H4, CHANGE), (NYSE, M30, D1, CHANGE),
    (NYSE, M15, D1, HALF), (NYSE, M30, W1, HALF), (CME, M30, D1, CHANGE), (CME, H1, W1, CHANGE), (CME, M30, H1, HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].name}-{c[1]}-{c[2]}")
@settings(max_examples=12)
@given(drawn=st.data())
def test_a_longer_bar_is_derived_when_every_bar_of_it_is_there_and_only_then(case, drawn: st.DataObject) -> None:
    """Over half days, overnight sessions and a change of clocks: open, high, low, close and sums of exactly those."""
    market, base, to, span = case
    owned = members(base, to, market, span)
    every = opens(market.expected(base, reach(span, to)), base)
    known = set(every)
    gone = set(drawn.draw(st.lists(st.sampled_from(every), max_size=6)))
    night = [at for at in range(span.start, span.end, base.micros) if at not in known]
    extra = set(drawn.draw(st.lists(st.sampled_from(night), max_size=6)) if night else [])
    rows = bars(sorted(known - gone | extra))
    found = folded(rows, base, to, market, span)
    whole = {at: mine for at, mine in owned.items() if not gone & set(mine)}
    assert found["ts"].to_physical().to_list() == sorted(whole)
    held = SpanSet.from_bars(rows["ts"].to_physical().to_numpy(), base)
    assert opens(complete(base, to, held, market, span), to) == sorted(whole)
    by_time = {row["ts"]: row for row in rows.with_columns(pl.col("ts").to_physical()).iter_rows(named=True)}
    for row in found.with_columns(pl.col("ts").to_physical()).iter_rows(named=True):
        mine = [by_time[at] for at in whole[row["ts"]]]
        assert (row["open"], row["close"]) == (mine[0]["open"], mine[-1]["close"])
        assert (row["high"], row["low"]) == (max(m["high"] for m in mine), min(m["low"] for m in mine))
        assert row["volume"] == sum(m["volume"] for m in mine)
        assert row["trades"] == sum(m["trades"] for m in mine)


def test_a_week_of_days_is_derived_of_its_own_days() -> None:
    """Of New York's daily bars; a holiday is not missed, a missing day is."""
    span = Span.parse("2024-01-08", "2024-01-29")
    days = opens(NYSE.expected(D1, span), D1)  # the 15th is a holiday
    assert folded(bars(days), D1, W1, NYSE, span)["ts"].to_physical().to_list() == [
        span.start + n * WEEK for n in (0, 1, 2)
    ]
    lacking = folded(bars([d for d in days if d != parse_time("2024-01-17")]), D1, W1, NYSE, span)
    assert lacking["ts"].to_physical().to_list() == [span.start, span.start + 2 * WEEK]


def test_a_day_is_not_derived_of_bars_in_which_a_session_begins() -> None:
    """New York opens at half past: its hours hold more than its day; Chicago's overnight session begins on the hour."""
    for market, expected in ((NYSE, 0), (CME, 5), (OPEN, 7)):
        week = Span.parse("2024-01-08", "2024-01-15")
        held = market.expected(H1, reach(week, D1))
        assert complete(H1, D1, held, market, week).bars(D1) == expected, market.name


def test_a_bar_that_may_go_on_is_not_derived() -> None:
    """The half day's last hour ends at 18:00; with its last minute missing neither the hour nor the day is there."""
    day = Span.parse("2015-12-24", "2015-12-25")
    minutes = opens(NYSE.expected(M1, day), M1)
    assert len(minutes) == 210
    assert folded(bars(minutes), M1, D1, NYSE, day).height == 1
    assert folded(bars(minutes[:-1]), M1, D1, NYSE, day).height == 0
    assert (
        folded(bars(minutes[:-1]), M1, H1, NYSE, day)["ts"].to_physical().to_list()
        == opens(NYSE.expected(H1, day), H1)[:-1]
    )


def test_the_shortest_complete_timeframe_is_taken() -> None:
    """An hour of minutes where all are there, of 5m bars where a minute lacks, of none where a 5m bar lacks too."""
    start = parse_time("2024-06-01")
    held = {
        M5: SpanSet.of((start, start + 3 * HOUR - 5 * MINUTE)),
        M1: SpanSet.of((start, start + HOUR), (start + HOUR + MINUTE, start + 3 * HOUR - 5 * MINUTE)),
        H4: SpanSet.of((start, start + 4 * HOUR)),
    }
    wanted = SpanSet.of((start, start + 3 * HOUR))
    first, second = SpanSet.of((start, start + HOUR)), SpanSet.of((start + HOUR, start + 2 * HOUR))
    assert list(parts(H1, wanted, held, OPEN)) == [(M1, first), (M5, second)]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_tasks_hold_what_was_found_and_no_other_expected_bar(chosen: list[int]) -> None:
    """Across nights and weekends too, where nothing is expected between."""
    series, all_bars = Series.parse("XNAS:AAPL", "5m"), opens(NYSE.expected(M5, CHANGE), M5)
    at = np.array(sorted({all_bars[n] for n in chosen}), dtype=np.int64)
    found = SpanSet.from_bars(at, M5)
    made = list(tasks(series, M1, found, NYSE))
    covered = SpanSet.of(*(task.span for task in made))
    assert (covered & NYSE.expected(M5, CHANGE)) == found
    assert {(task.source, task.requests) for task in made} == {("derived-1m", 0)}
    assert len(made) == 1 + sum(all_bars.index(b) - all_bars.index(a) > 1 for a, b in pairwise(at.tolist()))


def test_a_sum_of_which_one_bar_has_no_value_has_none() -> None:
    """Half a count of trades would look like a quiet bar; what lies outside the session does not matter."""
    span = Span.parse("2024-03-06", "2024-03-07")
    minutes = opens(NYSE.expected(M1, span), M1)
    rows = bars([minutes[0] - HOUR, *minutes]).with_row_index()
    known = rows.with_columns(trades=pl.when(pl.col("index").is_in([0, 7]).not_()).then("trades")).drop("index")
    found = folded(known, M1, M5, NYSE, span)
    assert found["trades"].is_null().arg_true().to_list() == [1]
    assert found["volume"].null_count() == 0
    assert folded(known.with_columns(trades=None), M1, M5, NYSE, span)["trades"].null_count() == 78


@given(st.integers(1, 9000), st.sampled_from([(M1, M5), (M1, D1), (H4, W1), (M30, H1)]))
def test_portions_are_the_span(count: int, pair: tuple[Timeframe, Timeframe]) -> None:
    """Cut between longer bars, nothing twice, nothing left."""
    base, to = pair
    start = to.floor(parse_time("2000-01-05"))
    made = list(portions(Span(start, start + count * to.micros), base, to))
    assert SpanSet.of(*made) == SpanSet.of((start, start + count * to.micros))
    assert all((p.start - start) % to.micros == 0 and p for p in made)
