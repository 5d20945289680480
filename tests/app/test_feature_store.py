"""Stored features under accidents: two builders at once, a crash between commit and checkpoint, files that are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from gapless.bars import STORED
from gapless.engine import build
from gapless.features import compute
from gapless.series import Instrument
from gapless.spans import DAY, MINUTE, Span, Timeframe, parse_time
from gapless.stores.lake import Lake
from gapless.stores.maintain import vacuum, verify

M1 = Timeframe.parse("1m")
AAA = Instrument.parse("SIM:AAA")
NOW = parse_time("2026-06-01")
FEATURES = {"twice": "close * 2", "mean": "sma(close, 2)"}
DAYS = ("2025-01-10", "2025-01-11", "2025-01-12")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", clock=lambda: NOW)


def write(lake: Lake, *days: str, close: float = 2.0) -> None:
    """Ten minutes of each day."""
    ts = pl.Series("ts", [parse_time(d) + k * MINUTE for d in days for k in range(10)]).cast(STORED["ts"])
    price = {n: pl.lit(close) for n in ("open", "high", "low", "close", "volume")}
    lake.write(M1, pl.DataFrame(ts).with_columns(instrument=pl.lit(str(AAA)), **price), source="t")


def check(lake: Lake) -> None:
    """What is read, and after a build what is stored, is what one pass computes."""
    wanted = compute(lake.bars([AAA], M1), FEATURES)
    assert build.read(lake, FEATURES, [AAA], M1, None).equals(wanted)
    report = build.build(lake, FEATURES, [AAA], M1)
    stored = lake.read_features(report.name, M1, str(AAA), None, {n: pl.Float64() for n in FEATURES})
    assert stored.equals(wanted)
    assert verify(lake) == []


def test_a_builder_that_looked_earlier_takes_nothing_away(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its segments replace a later builder's larger one: what that held beside them does not count as built."""
    write(lake, *DAYS)
    build.build(lake, FEATURES, [AAA], M1)
    write(lake, DAYS[0], close=3.0)
    other = Lake(lake.root, clock=lambda: NOW)
    real = lake.commit_features

    def late(*arguments: object) -> None:
        write(other, "2025-02-01")
        build.build(other, FEATURES, [AAA], M1)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lake, "commit_features", late)
    build.build(lake, FEATURES, [AAA], M1)
    monkeypatch.undo()
    check(lake)


def test_a_crash_between_the_commit_and_its_checkpoints_costs_only_work(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are computed again; nothing is missing and nothing is taken for built that is not."""
    write(lake, *DAYS)
    build.build(lake, FEATURES, [AAA], M1)
    write(lake, DAYS[1], close=3.0)
    write(lake, "2025-02-01")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lake.meta, "store_segments", crash)
    with pytest.raises(KeyboardInterrupt):
        build.build(lake, FEATURES, [AAA], M1)
    monkeypatch.undo()
    check(Lake(lake.root, clock=lambda: NOW))


def test_features_that_were_deleted_are_built_again(lake: Lake) -> None:
    """Whoever deletes the directory of features loses time, not rows."""
    write(lake, *DAYS)
    build.build(lake, FEATURES, [AAA], M1)
    lake.close()
    shutil.rmtree(lake.root / "features")
    check(Lake(lake.root, clock=lambda: NOW))


def test_a_build_that_waits_for_the_lock_keeps_its_staged_files(lake: Lake) -> None:
    """A vacuum of the usual grace while segments are staged deletes none of them."""
    write(lake, *DAYS)
    real = lake.commit_features

    def late(*arguments: object) -> None:
        vacuum(Lake(lake.root))
        real(*arguments)  # type: ignore[arg-type]

    lake.commit_features = late  # type: ignore[method-assign, assignment]
    build.build(lake, FEATURES, [AAA], M1)
    check(lake)


def test_months_and_weeks_change_places_as_time_goes_on(lake: Lake) -> None:
    """Weeks near the end, months before, whichever way bars arrive."""
    for day in ("2025-03-05", "2025-03-06", "2025-01-10", "2025-04-01", "2025-02-27", "2025-02-28", "2025-04-02"):
        write(lake, day)
        check(lake)
    for span in (("2025-02-28", 1), ("2025-03-05", 40), ("2024-01-01", 10)):
        start = parse_time(span[0])
        rows = build.read(lake, FEATURES, [AAA], M1, None).filter(
            pl.col("ts").to_physical().is_between(start, start + span[1] * DAY, closed="left")
        )
        assert build.read(lake, FEATURES, [AAA], M1, Span(start, start + span[1] * DAY)).equals(rows)
