"""The ledger lines and tables a group of pages becomes."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gapless.bars import is_sorted_unique
from gapless.engine.walk import Kept, digest_of
from gapless.engine.writer import _joined, _table
from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import MINUTE, Span, SpanSet, parse_time

START = parse_time("2025-05-01")
NAMES = ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT")


def line(name: str, start: int, end: int, *, failed: bool = False) -> Answer:
    span = Span(START + start * MINUTE, START + end * MINUTE)
    status = "failed" if failed else "ok"
    return Answer(
        "binance", Series.parse(name, "1m"), span, None if failed else span, end - start, status, 1, "", "ff", "r", end
    )


def page(name: str, start: int, end: int, close: float = 1.0, *, revises: bool = False) -> Kept:
    ts = [START + minute * MINUTE for minute in range(start, end)]
    frame = pl.DataFrame({"instrument": [name] * len(ts), "ts": ts, "close": [close] * len(ts)}).with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC"))
    )
    return Kept(Series.parse(name, "1m"), frame, (), revises)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5), st.booleans()), max_size=30))
def test_joining_ledger_lines_changes_neither_what_is_answered_nor_the_sums(steps: list[tuple[str, int, bool]]) -> None:
    """Pages of interleaved series, some failed: spans, rows and attempts add up; failures stay apart."""
    at, lines = dict.fromkeys(NAMES, 0), []
    for name, length, failed in steps:
        lines.append(line(name, at[name], at[name] + length, failed=failed))
        at[name] += length
    joined = _joined(lines)
    for name in NAMES:
        mine = [x for x in lines if str(x.series.instrument) == name]
        after = [x for x in joined if str(x.series.instrument) == name]
        assert SpanSet.of(*(x.answered for x in mine if x.answered)) == SpanSet.of(
            *(x.answered for x in after if x.answered)
        )
        assert [x for x in mine if x.status == "failed"] == [x for x in after if x.status == "failed"]
        for field in ("rows", "attempts"):
            assert sum(getattr(x, field) for x in mine) == sum(getattr(x, field) for x in after)


def test_pages_that_follow_each_other_become_one_line() -> None:
    """A hundred pages of one task are one line of the ledger, known when the last one was."""
    lines = [line(NAMES[0], n, n + 1) for n in range(100)]
    (joined,) = _joined(lines)
    assert joined.answered == Span(START, START + 100 * MINUTE)
    assert joined.known_at == 100
    assert len(joined.digest) == 16


def test_a_group_is_handed_over_in_order() -> None:
    """Interleaved pages come out by instrument and time, so that the store need not sort."""
    pages = [page(NAMES[1], 0, 3), page(NAMES[0], 0, 2), page(NAMES[1], 3, 5), page(NAMES[0], 2, 4)]
    assert is_sorted_unique(_table(pages))
    assert _table(pages).height == 9


def test_the_later_of_two_answers_for_a_bar_stands_whatever_its_volume() -> None:
    """A page that revises its overlap wins over the page before it, in one group."""
    table = _table([page(NAMES[0], 0, 3, 2.0), page(NAMES[0], 2, 5, 1.0, revises=True)])
    assert table.get_column("close").to_list() == [2.0, 2.0, 1.0, 1.0, 1.0]


def test_the_digest_follows_the_values() -> None:
    """Equal rows, equal digest; one other price, another."""
    frame = pl.DataFrame({"ts": [START]}).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
    frame = frame.with_columns(**{name: pl.lit(1.5) for name in ("open", "high", "low", "close", "volume")})
    assert digest_of(frame) == digest_of(frame.clone())
    assert digest_of(frame) != digest_of(frame.with_columns(close=pl.lit(1.6)))


def test_answers_joined_keep_the_widest_ask() -> None:
    """What was asked is the hull of both requests."""
    first, then = line(NAMES[0], 0, 2), line(NAMES[0], 2, 4)
    then = replace(then, asked=Span(START + MINUTE, START + 9 * MINUTE))
    assert _joined([first, then])[0].asked == Span(START, START + 9 * MINUTE)
