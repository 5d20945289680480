"""Plans: every wanted bar in one task, and no request more than it takes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.plan import TASK_PAGES, cost, plan
from gapless.series import Series
from gapless.sources.binance import spot, usdm
from gapless.spans import MINUTE, Span, SpanSet, parse_time

START = parse_time("2025-05-01")
BTC = Series.parse("BINANCE:BTCUSDT", "1m")
spans = st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 5000)), min_size=1, max_size=30).map(
    lambda pairs: SpanSet.of(*((START + a * MINUTE, START + (a + n) * MINUTE) for a, n in pairs))
)


@given(spans, st.sampled_from([spot(), usdm()]))
def test_tasks_hold_every_wanted_bar_once_and_cost_no_more_than_asking_span_by_span(wanted: SpanSet, source) -> None:
    """Merging neighbours saves requests and never adds weight; tasks never overlap."""
    made = plan([(BTC, wanted)], source)
    covered = SpanSet.of(*(task.span for task in made.tasks))
    assert not wanted - covered
    assert covered.total == sum(task.span.end - task.span.start for task in made.tasks)
    assert made.weight <= sum(cost(span.bars(BTC.timeframe), source)[1] for span in wanted)
    assert made.requests == sum(task.requests for task in made.tasks)


@given(st.integers(1, 100_000), st.sampled_from([spot(), usdm()]))
def test_the_cost_is_what_walking_with_one_bar_of_overlap_takes(bars: int, source) -> None:
    """Each page after the first brings one bar less than it holds."""
    page, got, requests = source.limits.page_bars, 0, 0
    while got < bars:
        got += page if not requests else page - 1
        requests += 1
    assert cost(bars, source)[0] == requests


def test_a_long_span_is_cut_so_that_workers_can_share_it() -> None:
    """Tasks of 64 full pages, none of which costs a request more for having been cut."""
    whole = Span(START, START + 500_000 * MINUTE)
    made = plan([(BTC, SpanSet.of(whole))], spot())
    assert [task.requests for task in made.tasks][:-1] == [TASK_PAGES] * (len(made.tasks) - 1)
    assert made.requests <= cost(500_000, spot())[0] + 1


def test_near_gaps_become_one_request_and_far_ones_do_not() -> None:
    """Two holes within a page: asked together. A page apart: asked one by one."""

    def tasks(distance: int) -> int:
        hole = (START, START + MINUTE)
        other = (START + distance * MINUTE, START + (distance + 1) * MINUTE)
        return len(plan([(BTC, SpanSet.of(hole, other))], spot()).tasks)

    assert [tasks(distance) for distance in (2, 900, 3000)] == [1, 1, 2]


def test_edges_between_bars_are_moved_to_bar_opens() -> None:
    """A span that starts within a bar wants the next one."""
    made = plan([(BTC, SpanSet.of((START + 1, START + 2 * MINUTE + 1)))], spot())
    assert [task.span for task in made.tasks] == [Span(START + MINUTE, START + 3 * MINUTE)]
    assert made.bars == 2


def test_weight_beyond_one_window_takes_time() -> None:
    """2000 go at once; what is more waits for the next minutes."""
    series = [(Series.parse(f"BINANCE:S{n}", "1m"), SpanSet.of((START, START + MINUTE))) for n in range(4000)]
    assert plan(series, spot(weight=2000)).seconds >= 180.0
    assert plan(series, spot(weight=0)).seconds < plan(series, spot(weight=0), concurrency=1).seconds


def test_the_json_shape_is_the_contract() -> None:
    """Tasks, requests, seconds, bytes and residual, times in ISO with Z."""
    residual = {"instrument": "BINANCE:BTCUSDT", "class": "venue_outage"}
    made = plan([(BTC, SpanSet.of((START, START + MINUTE)))], spot(), residual=[residual]).to_dict()
    assert {"tasks", "requests", "seconds", "bytes", "residual"} <= set(json.loads(json.dumps(made)))
    assert made["residual"] == [residual]
    assert made["tasks"] == [
        {
            "source": "binance",
            "instrument": "BINANCE:BTCUSDT",
            "timeframe": "1m",
            "start": "2025-05-01T00:00:00Z",
            "end": "2025-05-01T00:01:00Z",
            "requests": 1,
        }
    ]


def test_nothing_wanted_is_an_empty_plan() -> None:
    """No spans, no tasks, no seconds."""
    made = plan([(BTC, SpanSet.of())], spot())
    assert (made.tasks, made.requests, made.seconds) == ((), 0, 0.0)
