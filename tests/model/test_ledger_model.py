"""What was asked and answered, against one cell for each bar."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time
from gapless.stores.meta import Meta

M15 = Timeframe.parse("15m")
T0 = parse_time("2025-03-01")
CELLS = 24

SPANS = st.tuples(st.integers(0, CELLS - 1), st.integers(1, 8))
ASKED = st.tuples(
    st.sampled_from(["SIM:AAA", "SIM:BBB"]), SPANS, st.sampled_from(["ok", "ok", "short", "failed"]),
    st.sampled_from(["sim", "other", "file:a.csv"]), st.integers(-2, 12),
)  # fmt: skip


def cells(spans: SpanSet) -> set[int]:
    """The bars that open inside."""
    return {k for k in range(-8, CELLS + 40) if spans.contains(T0 + k * M15.micros)}


@given(st.lists(st.lists(ASKED, min_size=1, max_size=4), max_size=10))
@settings(max_examples=60, deadline=None)
def test_the_ledger_knows_each_bar(batches: list[list[tuple[str, tuple[int, int], str, str, int]]]) -> None:
    """Answered is what was ever answered; failed is what failed and was not answered since; early is asked again."""
    answered: set[tuple[str, int]] = set()
    failed: dict[tuple[str, int], int] = {}
    early: dict[tuple[str, int], int] = {}
    with tempfile.TemporaryDirectory() as directory:
        meta, count = Meta(Path(directory) / "meta.sqlite"), 0
        for batch in batches:
            answers = []
            for name, (first, length), how, source, late in batch:
                start, end = T0 + first * M15.micros, T0 + (first + length) * M15.micros
                got = (
                    None
                    if how == "failed"
                    else Span(start, end if how == "ok" else start + (length + 1) // 2 * M15.micros)
                )
                known_at = (got.end if got else end) + late * 10 * MINUTE
                answers.append(
                    Answer(
                        source, Series.parse(name, "15m"), Span(start, end), got, 0,
                        "failed" if got is None else "ok", 1, "boom" if got is None else "", "", "r", known_at,
                    )
                )  # fmt: skip
                count += 1
                mine = {(name, k) for k in range(first, first + length)}
                if got is None:
                    failed |= dict.fromkeys(mine, known_at)
                    continue
                mine = {(name, k) for k in range(first, first + (length + 1) // 2)} if how == "short" else mine
                answered |= mine
                for cell in mine:
                    failed.pop(cell, None)
                    early.pop(cell, None)
                    if T0 + (cell[1] + 1) * M15.micros + HOUR > known_at and not source.startswith("file"):
                        early[cell] = got.end + HOUR
            meta.record(answers)
        assert {(n, k) for n, spans in meta.answered(M15).items() for k in cells(spans)} == answered
        told = meta.failures(M15)
        assert {(n, k) for n, found in told.items() for a in found for k in cells(SpanSet.of(a.asked))} == set(failed)
        assert all(a.status == "failed" and a.error == "boom" and a.attempts >= 1 for f in told.values() for a in f)
        for now in (T0, T0 + 3 * HOUR, T0 + 100 * HOUR):
            ready = {cell for cell, at in early.items() if at <= now}
            assert {(n, k) for n, spans in meta.provisional(M15, now).items() for k in cells(spans)} == ready
        lines = [meta.history(Series.parse(n, "15m"), Span(T0, T0 + 1000 * HOUR), 1000) for n in ("SIM:AAA", "SIM:BBB")]
        assert sum(map(len, lines)) == count
        meta.database.close()
