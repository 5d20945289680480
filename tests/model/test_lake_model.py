"""Whatever is done to a lake in whatever order, it says what a dictionary would say."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gapless.bars import STORED
from gapless.series import Instrument
from gapless.spans import DAY, Span, SpanSet, Timeframe, parse_time
from gapless.stores import fold, lake
from gapless.stores.lake import Lake
from gapless.stores.maintain import compact, vacuum, verify

NAMES = ("XNAS:BRK-B", "INDEX:^GSPC", "FX:EURUSD=X", "SIM:ÄÖ_1")
NOW = parse_time("2026-07-20")  # after every slot, of weekly bars too
# Bars are drawn near the places where files change: months, years, the epoch, before it, and the newest bar.
ANCHORS = tuple(map(parse_time, ("1950-01-02", "1970-01-01", "2023-12-25", "2024-01-01", "2024-03-04", "2026-05-25")))
VALID, BAD = ("ok",), ("nan", "high", "negative", "volume", "off_grid", "future", "nameless", "year_40000")


class Clock:
    """A clock that a test sets; every look moves it a microsecond."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now


@dataclass(frozen=True)
class Row:
    """One row to be written. ``slot`` counts bars from an anchor; optional values may be None."""

    name: str
    anchor: int
    slot: int
    close: int
    volume: int
    trades: int | None
    rate: int | None
    kind: str = "ok"

    def ts(self, timeframe: Timeframe) -> int:
        return timeframe.floor(ANCHORS[self.anchor]) + self.slot * timeframe.micros


def rows(kinds: Sequence[str] = VALID + BAD) -> st.SearchStrategy[Row]:
    kind = st.one_of(st.just("ok"), st.just("ok"), st.sampled_from(list(kinds)))
    optional = st.one_of(st.none(), st.integers(1, 2))
    return st.builds(
        Row, st.sampled_from(NAMES), st.integers(0, len(ANCHORS) - 1), st.integers(-3, 4), st.integers(2, 3),
        st.integers(0, 1), optional, optional, kind,
    )  # fmt: skip


def table(written: Sequence[Row], timeframe: Timeframe, extras: Sequence[str]) -> pl.DataFrame:
    """The rows as a frame, in their order, with the optional columns called ``extras`` only."""
    data: dict[str, list[Any]] = {n: [] for n in ("instrument", "ts", "open", "high", "low", "close", "volume")}
    for row in written:
        ts = row.ts(timeframe)
        ts += {"off_grid": 1, "future": 100 * 365 * 86_400_000_000, "year_40000": 10**18}.get(row.kind, 0)
        low = {"negative": -1.0}.get(row.kind, 1.0)
        line = (
            None if row.kind == "nameless" else row.name, ts, 2.0, 1.5 if row.kind == "high" else 9.0, low,
            math.nan if row.kind == "nan" else float(row.close), -1.0 if row.kind == "volume" else float(row.volume),
        )  # fmt: skip
        for name, value in zip(data, line, strict=True):
            data[name].append(value)
    optional = {"trades": [r.trades for r in written], "funding_rate": [r.rate for r in written]}
    data |= {n: [None if v is None else float(v) for v in optional[n]] for n in extras}
    kinds = {n: STORED[n] for n in data if n != "ts"} | {"ts": pl.Int64()}
    return pl.DataFrame(data, schema={n: kinds[n] for n in data}).with_columns(pl.col("ts").cast(STORED["ts"]))


Key = tuple[str, int]
Values = tuple[float, float, float | None, float | None]  # close, volume, trades, funding rate


@dataclass
class Model:
    """Every value of every key, oldest first, with the time it was learned."""

    versions: dict[Key, list[tuple[int, Values]]] = field(default_factory=dict)

    def write(self, written: Sequence[Row], timeframe: Timeframe, extras: Sequence[str]) -> tuple[dict[str, int], Any]:
        """What the report must count, and a function that takes the write in once its time is known."""
        counts = dict.fromkeys(("read", "written", "unchanged", "corrected", "duplicate", "quarantined"), 0)
        counts["read"] = len(written)
        counts["quarantined"] = sum(r.kind != "ok" for r in written)
        best: dict[Key, tuple[tuple[float, float, int], Values]] = {}
        for at, row in enumerate(written):
            if row.kind == "ok":
                trades = float(row.trades) if row.trades is not None and "trades" in extras else None
                rate = float(row.rate) if row.rate is not None and "funding_rate" in extras else None
                rank = (-1.0 if trades is None else trades, float(row.volume), at)
                key = (row.name, row.ts(timeframe))
                found = (rank, (float(row.close), float(row.volume), trades, rate))
                best[key] = max(best.get(key, found), found, key=lambda pair: pair[0])
        counts["duplicate"] = counts["read"] - counts["quarantined"] - len(best)
        changed: dict[Key, Values] = {}
        for key, (_, new) in best.items():
            old = self.versions[key][-1][1] if key in self.versions else None
            merged = (
                new
                if old is None
                else (*new[:2], *(o if n is None else n for n, o in zip(new[2:], old[2:], strict=True)))
            )
            what = "written" if old is None else "unchanged" if merged == old else "corrected"
            counts[what] += 1
            if what != "unchanged":
                changed[key] = merged  # type: ignore[assignment]

        def take(known_at: int) -> None:
            for key, value in changed.items():
                self.versions.setdefault(key, []).append((known_at, value))

        return counts, take

    def latest(self, keys: Iterable[Key]) -> int:
        """When the newest of these values was learned; 0 for none."""
        return max((self.versions[k][-1][0] for k in keys if k in self.versions), default=0)

    def at(self, time: int | None) -> dict[Key, Values]:
        """The values as known at a time (None: now)."""
        found = {}
        for key, history in self.versions.items():
            known = [v for t, v in history if time is None or t <= time]
            if known:
                found[key] = known[-1]
        return found


def content(frame: pl.DataFrame) -> dict[Key, Values]:
    """A frame of bars as the model speaks."""
    names = ("instrument", "ts", "close", "volume", "trades", "funding_rate")
    lines = frame.with_columns(pl.col("ts").to_physical()).select(names).rows()
    assert len({line[:2] for line in lines}) == len(lines), "a key stands twice"
    return {(name, ts): (close, volume, trades, rate) for name, ts, close, volume, trades, rate in lines}


@contextmanager
def small_lakes() -> Iterator[None]:
    """Thresholds so low that a few rows go through the tail, straight to files, and through folds in batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake, "DIRECT_ROWS", 9)
        patch.setattr(lake, "FOLD_ROWS", 40)
        patch.setattr(fold, "FOLD_BATCH", 12)
        yield


class CrashedError(Exception):
    """Stands for the end of a process."""


def crash(*_: object, **__: object) -> None:
    raise CrashedError


class LakeMachine(RuleBasedStateMachine):
    """Steps a lake and the model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.open.enter_context(small_lakes())
        self.root = Path(tempfile.mkdtemp())
        self.open.callback(shutil.rmtree, self.root)
        self.clock, self.model = Clock(), Model()

    @initialize(name=st.sampled_from(["1m", "1m", "15m", "1h", "1d", "1w"]))
    def begin(self, name: str) -> None:
        self.timeframe = Timeframe.parse(name)
        self.lake, self.other = Lake(self.root, clock=self.clock), Lake(self.root, clock=self.clock)

    def teardown(self) -> None:
        self.open.close()

    # ------------------------------------------------------------ steps

    @rule(
        written=st.lists(rows(), max_size=16),
        extras=st.sampled_from([(), ("trades",), ("trades", "funding_rate"), ("funding_rate",)]),
    )
    def write(self, written: list[Row], extras: tuple[str, ...]) -> None:
        """The report counts what the model counts; what was learned is later than what it replaces."""
        counts, take = self.model.write(written, self.timeframe, extras)
        frame = table(written, self.timeframe, extras)
        report = self.lake.write(self.timeframe, frame, source="test")
        total = report.total
        assert {name: getattr(total, name) for name in counts} == counts
        assert sum(report.reasons.values()) == counts["quarantined"]
        take(self.learned(written))

    def learned(self, written: Sequence[Row]) -> int:
        """known_at of the write just done; 0 when it changed nothing."""
        keys = {(r.name, r.ts(self.timeframe)) for r in written if r.kind == "ok"}
        stored = self.lake.bars(None, self.timeframe).with_columns(pl.col("ts", "known_at").to_physical())
        times = {k[:2]: k[2] for k in stored.select("instrument", "ts", "known_at").rows() if k[:2] in keys}
        new = {t for key, t in times.items() if t > self.model.latest([key])}
        assert len(new) <= 1
        return max(new, default=0)

    @rule(written=st.lists(rows(["ok"]), min_size=12, max_size=16, unique_by=lambda r: (r.name, r.anchor, r.slot)))
    def crash_before_files(self, written: list[Row]) -> None:
        """Values noted as superseded by a write that never came change nothing."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.lake.folder, "upsert", crash)
            _, take = self.model.write(written, self.timeframe, ())
            try:
                self.lake.write(self.timeframe, table(written, self.timeframe, ()), source="test")
            except CrashedError:
                self.reopen()
            else:  # too few changes to go straight to files
                take(self.learned(written))

    @rule()
    def crash_before_drop(self) -> None:
        """A fold that was committed, and whose chunks still stand, changes nothing."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.lake.tail, "drop", crash)
            try:
                compact(self.lake)
            except CrashedError:
                self.reopen()

    @rule()
    def fold(self) -> None:
        with self.lake.writing("fold"):
            self.lake.folder.fold(self.timeframe)
        assert self.lake.tail.rows(self.timeframe) == 0

    @rule()
    def compact(self) -> None:
        compact(self.lake)
        if self.timeframe.name == "1m":
            months = [f.period for f in self.lake.log("bars", self.timeframe).live() if "-" in f.period]
            assert all(m.startswith("2026") for m in months)

    @rule()
    def vacuum(self) -> None:
        vacuum(self.lake, grace=-100 * 365 * DAY)
        log = self.lake.log("bars", self.timeframe)
        assert {p.name for p in log.directory.glob("*.parquet")} == {f.path for f in log.live()}

    @rule()
    def reopen(self) -> None:
        self.lake.close()
        self.lake = Lake(self.root, clock=self.clock)

    @rule()
    def lose_the_index(self) -> None:
        with self.lake.meta.database.transaction() as db:
            db.execute("DELETE FROM file")
        self.reopen()

    @rule(back=st.integers(1, 3 * DAY))
    def clock_steps_back(self, back: int) -> None:
        self.clock.now -= back

    @rule(time=st.integers(1, 3 * DAY))
    def time_passes(self, time: int) -> None:
        self.clock.now += time

    @rule(
        names=st.one_of(st.none(), st.lists(st.sampled_from(NAMES), unique=True, max_size=3)),
        where=st.one_of(st.none(), st.tuples(st.integers(0, len(ANCHORS) - 1), st.integers(-4, 4), st.integers(0, 6))),
        version=st.one_of(st.none(), st.integers(0, 100)), nudge=st.integers(-1, 0),
    )  # fmt: skip
    def read(self, names: list[str] | None, where: Any, version: int | None, nudge: int) -> None:
        """Any instruments, any span, as known at any time at which something was learned, or just before."""
        span = None
        if where is not None:
            start = Row("", where[0], where[1], 0, 0, None, None).ts(self.timeframe) - 7
            span = Span(start, start + where[2] * self.timeframe.micros + 7)
        times = sorted({t for history in self.model.versions.values() for t, _ in history})
        as_of = times[version % len(times)] + nudge if times and version is not None else None
        chosen = None if names is None else [Instrument.parse(n) for n in names]
        wanted = {
            (name, ts): value
            for (name, ts), value in self.model.at(as_of).items()
            if (names is None or name in names) and (span is None or span.start <= ts < span.end)
        }
        for reader in (self.lake, self.other):
            assert content(reader.bars(chosen, self.timeframe, span, as_of=as_of)) == wanted

    # ------------------------------------------------------------ what always holds

    @invariant()
    def says_what_the_model_says(self) -> None:
        if not hasattr(self, "timeframe"):
            return
        wanted = self.model.at(None)
        present: dict[str, list[int]] = {}
        for name, ts in sorted(wanted):
            present.setdefault(name, []).append(ts)
        spans = {n: SpanSet.from_bars(np.array(t, dtype=np.int64), self.timeframe) for n, t in present.items()}
        for reader in (self.lake, self.other):
            assert content(reader.bars(None, self.timeframe)) == wanted
            assert reader.present(self.timeframe) == spans

    @invariant()
    def is_whole(self) -> None:
        """Nothing is damaged, and one file holds one instrument and one period."""
        if not hasattr(self, "timeframe"):
            return
        assert verify(self.lake) == []
        live = self.lake.log("bars", self.timeframe).live()
        assert len({(f.instrument, f.period) for f in live}) == len(live)


def check(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LakeMachine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip


def test_a_lake_is_a_dictionary_with_a_memory() -> None:
    """Values, versions, presence and counts equal the model's after every step; nothing is ever damaged."""
    check(12, 14)


@pytest.mark.slow
def test_a_lake_is_a_dictionary_with_a_memory_for_long() -> None:
    """The same, with more examples and longer lives."""
    check(80, 40)
