"""Whatever happens to the bars, features read from the lake are those computed from all stored bars, bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gapless.bars import STORED
from gapless.engine import build
from gapless.engine.parts import parts
from gapless.features import compute
from gapless.features import plan as understand
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, LATEST, Span, Timeframe, parse_time
from gapless.stores import lake as module
from gapless.stores.lake import Lake
from gapless.stores.maintain import compact, vacuum, verify

NAMES = ("SIM:AAA", "SIM:BBB", "SIM:REF")
SETS = (
    {"twice": "close * 2"},
    {"mean": "sma(close, 3)", "back": "lag(volume, 2)"},
    {"ema": "ema(close, 3)", "rsi": "rsi(close, 2)", "trend": "atr(2)"},
    {"ref": "close@SIM:REF", "excess": "log_return(close, 1) - log_return(close@SIM:REF, 1)"},
    {"smooth": "ema(close@SIM:REF, 2)", "calm": "rma(volume, 2)"},
    {"smooth": "ema(close@SIM:REF, 3)", "calm": "rma(volume, 2)"},  # another definition under the same names
    {"trades": "sma(trades, 2)"},
    {"average": "sma(close, 3)", "ema": "ema(close, 3)", "up": "close > open"},  # of others' columns, one renamed
    {"mean": "sma(close, 3)", "back": "lag(volume, 2)", "up": "close > open", "sum": "obv()"},
)
NOW = parse_time("2026-06-01")
EDGES = tuple(
    map(parse_time, ("1969-12-31T23:58", "2023-11-30T23:57", "2023-12-31T23:57", "2026-05-28T23:56", "2026-05-30"))
)
SLOTS = st.tuples(st.integers(0, len(EDGES) - 1), st.integers(0, 7))


def equal_bits(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """The same rows and the same bits, whatever kind of NaN."""
    if one.columns != other.columns or one.height != other.height or one.schema != other.schema:
        return False
    return all(
        a.to_numpy().tobytes() == b.to_numpy().tobytes() if a.dtype == pl.Float64 else a.equals(b)
        for a, b in zip(one, other, strict=True)
    )


class FeatureMachine(RuleBasedStateMachine):
    """Bars come, change and come late; features are built, read, and built again."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        patch = self.open.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(module, "DIRECT_ROWS", 9)
        self.root = Path(tempfile.mkdtemp())
        self.open.callback(shutil.rmtree, self.root)
        self.lake = Lake(self.root, clock=lambda: NOW)
        self.clean: dict[tuple[int, str], int] = {}

    @initialize(name=st.sampled_from(["1m", "1m", "5m", "1h"]))
    def begin(self, name: str) -> None:
        self.timeframe = Timeframe.parse(name)

    def teardown(self) -> None:
        self.open.close()

    def write(self, name: str, slots: list[tuple[int, int]], close: float, trades: bool) -> None:
        ts = [self.timeframe.floor(EDGES[e]) + k * self.timeframe.micros for e, k in slots]
        price = [close + 0.1 * k for k in range(len(ts))]
        frame = pl.DataFrame(
            {
                "instrument": [name] * len(ts), "ts": ts, "open": price, "high": [p + 1 for p in price],
                "low": [p - 1 for p in price], "close": price, "volume": [1.0 + k % 3 for k in range(len(ts))],
            }
        ).with_columns(pl.col("ts").cast(STORED["ts"]))  # fmt: skip
        report = self.lake.write(
            self.timeframe, frame.with_columns(trades=pl.lit(3.0)) if trades else frame, source="t"
        )
        if report.total.written + report.total.corrected:
            self.clean.clear()

    # ------------------------------------------------------------ steps

    @rule(
        name=st.sampled_from(NAMES), slots=st.lists(SLOTS, min_size=1, max_size=14, unique=True),
        close=st.sampled_from([10.0, 11.0, 12.5]), trades=st.booleans(),
    )  # fmt: skip
    def bars_come(self, name: str, slots: list[tuple[int, int]], close: float, trades: bool) -> None:
        """New bars, late bars, corrected bars: one to fourteen of any places."""
        self.write(name, slots, close, trades)

    @rule()
    def compact(self) -> None:
        """Where rows lie is nothing to features: what was built stands."""
        compact(self.lake)
        vacuum(self.lake, grace=-LATEST)

    @rule()
    def reopen(self) -> None:
        self.lake.close()
        self.lake = Lake(self.root, clock=lambda: NOW)

    @rule(which=st.integers(0, len(SETS) - 1), data=st.data())
    def build(self, which: int, data: st.DataObject) -> None:
        """A build without a change since the last keeps every segment; what is stored is what a batch computes."""
        known = sorted(self.lake.present(self.timeframe))
        if not known:
            return
        names = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
        report = build.build(self.lake, SETS[which], [Instrument.parse(n) for n in names], self.timeframe)
        assert report.errors == {}
        for name in names:
            series = Series(Instrument.parse(name), self.timeframe)
            held = parts(self.lake, understand(SETS[which]), self.timeframe)
            assert {part.name: [*part.columns] for part in held} == report.sets
            segments = sum(len(self.lake.segments(part.name, series)) for part in held)
            if (which, name) in self.clean:
                assert (report.rows[series], report.skipped[series]) == (0, segments)
            self.clean[which, name] = segments
            wanted = self.computed(which, name)
            for part in held:
                stored = self.lake.read_features(part.name, self.timeframe, name, None, part.plan.schema)
                columns = [pl.col(column).alias(wish) for wish, column in part.columns.items()]
                assert equal_bits(
                    stored.select("instrument", "ts", *columns), wanted.select("instrument", "ts", *part.columns)
                )

    @rule(
        which=st.integers(0, len(SETS) - 1), names=st.one_of(st.none(), st.lists(st.sampled_from(NAMES), unique=True)),
        span=st.one_of(
            st.none(), st.tuples(SLOTS, SLOTS, st.integers(-1, 1)),
            st.sampled_from([Span(EARLIEST, EARLIEST + 1), Span(LATEST - 1, LATEST), Span(0, 0)]),
        ),
    )  # fmt: skip
    def read(self, which: int, names: list[str] | None, span: object) -> None:
        """Any instruments, any span: built, half built or not built, with the same bits."""
        if isinstance(span, tuple):
            (a, b), (c, d), nudge = span
            first = self.timeframe.floor(EDGES[a]) + b * self.timeframe.micros + nudge
            last = self.timeframe.floor(EDGES[c]) + d * self.timeframe.micros + nudge
            span = Span(min(first, last), max(first, last))
        assert span is None or isinstance(span, Span)
        chosen = None if names is None else [Instrument.parse(n) for n in names]
        got = build.read(self.lake, SETS[which], chosen, self.timeframe, span)
        asked = sorted(self.lake.present(self.timeframe)) if names is None else sorted(names)
        parts = [self.computed(which, n) for n in asked]
        wanted = pl.concat(parts) if parts else got.clear()
        if span is not None:
            wanted = wanted.filter(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))
        assert equal_bits(got, wanted), (got, wanted)

    def computed(self, which: int, name: str) -> pl.DataFrame:
        """The features of all stored bars in one pass."""
        bars = self.lake.bars([Instrument.parse(name)], self.timeframe)
        needed = sorted({other for _, other in understand(SETS[which]).others} - {name})
        others = {n: self.lake.bars([Instrument.parse(n)], self.timeframe) for n in needed}
        return compute(bars, SETS[which], others=others)

    @invariant()
    def is_whole(self) -> None:
        assert verify(self.lake) == []


def check(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        FeatureMachine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip


def test_features_in_the_lake_are_features_of_the_lake() -> None:
    """Built, partly built or computed now, of any span: the bits of one pass over all stored bars."""
    check(25, 12)


@pytest.mark.slow
def test_features_in_the_lake_are_features_of_the_lake_for_long() -> None:
    """The same, with more examples and longer lives."""
    check(150, 30)
