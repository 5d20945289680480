"""When answered spans are due to be asked for again."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, parse_time
from gapless.stores.meta import Meta
from gapless.stores.recheck import AFTER

BTC = Series.parse("BINANCE:BTCUSDT", "1m")
NAME = str(BTC.instrument)
START = parse_time("2024-06-01")


def answer(span: Span, at: int, series: Series = BTC, source: str = "binance") -> Answer:
    return Answer(source, series, span, span, 0, "ok", 1, "", "", "run", at)


def due(meta: Meta, at: int, series: Series = BTC) -> SpanSet:
    return meta.due(series.timeframe, at).get(str(series.instrument), SpanSet.of())


def lines(meta: Meta) -> int:
    return int(meta.database.rows("SELECT count(*) FROM recheck")[0][0])


def test_a_bar_is_due_one_three_and_thirty_days_after_its_close(tmp_path: Path) -> None:
    """An hour heard at its end, and asked for again each time it is due, comes three times more and no more."""
    meta, hour = Meta(tmp_path / "meta.sqlite"), Span(START, START + HOUR)
    meta.record([answer(hour, hour.end)])
    for wait in AFTER:
        assert not due(meta, hour.start + wait)
        late = hour.end + wait + wait // 24  # the portion is due when its last bar is
        assert due(meta, late) == SpanSet.of(hour)
        meta.record([answer(hour, late)])
        assert not due(meta, late)
    assert lines(meta) == 0


def test_what_is_old_when_it_is_first_heard_is_not_due_at_all(tmp_path: Path) -> None:
    """Of sixty days heard at once only the last thirty are ever asked for again."""
    meta, span = Meta(tmp_path / "meta.sqlite"), Span(START, START + 60 * DAY)
    meta.record([answer(span, span.end)])
    assert due(meta, span.end + 40 * DAY) == SpanSet.of(Span(span.end - 30 * DAY, span.end))
    assert lines(meta) <= 75


def test_an_answer_of_a_file_is_nobody_who_could_be_asked_again(tmp_path: Path) -> None:
    """Imports leave no date."""
    meta, span = Meta(tmp_path / "meta.sqlite"), Span(START, START + HOUR)
    meta.record([answer(span, span.end, source="file:bars.csv")])
    assert lines(meta) == 0


def test_days_are_due_as_minutes_are(tmp_path: Path) -> None:
    """A daily bar heard at its close is due a day, three and thirty days after."""
    series = Series.parse(NAME, "1d")
    meta, span = Meta(tmp_path / "meta.sqlite"), Span(START, START + DAY)
    meta.record([answer(span, span.end, series)])
    assert not due(meta, span.end + DAY - 1, series)
    assert due(meta, span.end + DAY, series) == SpanSet.of(span)


def test_a_month_of_minutes_heard_one_by_one_is_few_lines(tmp_path: Path) -> None:
    """Lines are spans that are due together, however the bars came."""
    meta = Meta(tmp_path / "meta.sqlite")
    spans = [Span(START + k * 30 * MINUTE, START + (k + 1) * 30 * MINUTE) for k in range(48 * 30)]
    meta.record([answer(s, s.end) for s in spans])
    assert lines(meta) <= 30 * 24
    assert due(meta, spans[-1].end + 2 * DAY) == SpanSet.of(Span(START, spans[-1].end))


moves = st.lists(
    st.tuples(st.integers(0, 40 * 24), st.integers(1, 72), st.integers(0, 12 * 24)), min_size=1, max_size=12
)


@settings(max_examples=12, deadline=None)
@given(moves)
def test_what_is_due_follows_from_the_last_answer_of_each_hour(tmp_path_factory, moves) -> None:
    """Against plain arithmetic, hour by hour: never too early, and late by a 24th of the wait and an hour at most."""
    meta = Meta(tmp_path_factory.mktemp("m") / "meta.sqlite")
    heard: dict[int, int] = {}
    now = START + 50 * DAY
    for first, hours, pause in moves:
        now += pause * HOUR
        span = Span(START + first * HOUR, START + (first + hours) * HOUR)
        meta.record([answer(span, now)])
        heard.update(dict.fromkeys(range(span.start, span.end, HOUR), now))
    for at in (now, now + DAY, now + 4 * DAY, now + 40 * DAY):
        found = due(meta, at)
        for hour, known in heard.items():
            # the first and the last minute of an hour may lie on either side of a wait: look at its middle
            middle = hour + HOUR // 2
            wait = next((w for w in AFTER if known - middle - MINUTE < w), None)
            inside = found.contains(middle)
            assert not (inside and (wait is None or at < middle + MINUTE + wait))
            if wait is not None and at >= hour + HOUR + wait + wait // 24 + HOUR:
                assert inside
