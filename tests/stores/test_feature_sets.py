"""Feature sets over the years: weeks become months, sets that were built otherwise go, and what is read stays."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gapless.bars import STORED
from gapless.engine import build
from gapless.features import compute
from gapless.series import Instrument, Series
from gapless.spans import DAY, MINUTE, Timeframe, parse_time
from gapless.stores.lake import Lake
from gapless.stores.maintain import compact, vacuum, verify

M1 = Timeframe.parse("1m")
NAMES = ("SIM:AAA", "SIM:REF")
WHO = [Instrument.parse(name) for name in NAMES]
FEATURES = {"ema": "ema(close, 9)", "ratio": "close / close@SIM:REF", "up": "close > open"}


class Clock:
    """A time that tests set."""

    now = parse_time("2025-12-01")  # no year of bars is over: only features are joined

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(Clock, "now", Clock.now)  # put back afterwards
    return Lake(tmp_path / "lake", clock=Clock())


def write(lake: Lake, day: str, close: float = 2.0) -> None:
    """Ten minutes of both."""
    ts = pl.Series("ts", [parse_time(day) + k * MINUTE for k in range(10)]).cast(STORED["ts"])
    price = {n: pl.lit(close) for n in ("open", "high", "low", "close", "volume")}
    for name in NAMES:
        lake.write(M1, pl.DataFrame(ts).with_columns(instrument=pl.lit(name), **price), source="t")


def check(lake: Lake) -> None:
    bars = lake.bars(WHO, M1)
    assert build.read(lake, FEATURES, WHO, M1, None).equals(compute(bars, FEATURES))
    assert verify(lake) == []


def test_weeks_stay_weeks_until_they_are_joined(lake: Lake) -> None:
    """A month built week by week is joined by copying once it is old; the next build finds nothing to do."""
    days = [f"2025-{month:02}-{day:02}" for month in range(1, 6) for day in (1, 7, 8, 27)]
    for k, day in enumerate(days):
        write(lake, day, 2.0 + k % 3)
        report = build.build(lake, FEATURES, WHO, M1)
        assert all(rows <= 30 for rows in report.rows.values())  # never more than the week
    periods = [*lake.segments(report.name, Series.parse("SIM:AAA", M1))]
    assert periods == [f"2025-{month:02}-{day:02}" for month in range(1, 6) for day in (1, 8, 22)]
    assert compact(lake)["files_saved"] == 2 * 2 * len(NAMES)
    periods = [*lake.segments(report.name, Series.parse("SIM:AAA", M1))]
    assert periods == ["2025-01", "2025-02", *(f"2025-{m:02}-{d:02}" for m in (3, 4, 5) for d in (1, 8, 22))]
    again = build.build(lake, FEATURES, WHO, M1)
    assert set(again.rows.values()) == {0}
    check(lake)
    write(lake, "2025-02-09", 7.0)
    assert build.build(lake, FEATURES, WHO, M1).rows[Series.parse("SIM:REF", M1)] >= 50
    check(lake)


def test_weeks_that_do_not_follow_are_not_joined(lake: Lake) -> None:
    """A week that was built after a correction the later ones have not seen: the month waits for the next build."""
    for day in ("2025-01-01", "2025-01-08", "2025-02-01", "2025-03-01", "2025-04-01"):
        write(lake, day)
        report = build.build(lake, FEATURES, WHO, M1)
    series = Series.parse("SIM:AAA", M1)
    with lake.meta.database.transaction() as db:
        db.execute("UPDATE checkpoint SET before='other' WHERE period='2025-01-08'")
    assert compact(lake)["files_saved"] == 0
    check(lake)
    build.build(lake, FEATURES, WHO, M1)
    assert compact(lake)["files_saved"] == len(NAMES)
    assert next(iter(lake.segments(report.name, series))) == "2025-01"
    check(lake)


def test_a_set_built_otherwise_since_is_given_up_after_the_grace(lake: Lake) -> None:
    """Its directory and all memory of it go; what is read is computed, the same bits; it can be built again."""
    write(lake, "2025-01-01")
    old = build.build(lake, {"a": "ema(close, 2)"}, WHO, M1)
    other = build.build(lake, {"b": "ema(close, 3)"}, WHO, M1)
    Clock.now += DAY
    build.build(lake, {"a": "ema(close, 4)"}, WHO, M1)
    assert vacuum(lake)["sets"] == 0
    Clock.now += 8 * DAY
    assert vacuum(lake)["sets"] == 1
    assert old.name not in lake.feature_sets(M1)
    assert not (lake.root / "features" / old.name / "1m").exists()
    assert other.name in lake.feature_sets(M1)  # nobody defined b otherwise
    check(lake)
    again = build.build(lake, {"a": "ema(close, 2)"}, WHO, M1)
    assert min(again.rows.values()) == 10
    check(lake)


def test_a_set_of_which_one_column_is_needed_stays(lake: Lake) -> None:
    """Of two columns one was defined anew; the other is read from there."""
    write(lake, "2025-01-01")
    first = build.build(lake, {"a": "ema(close, 2)", "b": "ema(close, 3)"}, WHO, M1)
    Clock.now += DAY
    build.build(lake, {"a": "ema(close, 4)", "b": "ema(close, 3)"}, WHO, M1)
    Clock.now += 30 * DAY
    assert vacuum(lake)["sets"] == 0
    assert first.name in lake.feature_sets(M1)


def test_a_directory_of_no_set_is_swept_up(lake: Lake) -> None:
    """What a crash between forgetting a set and deleting its files has left."""
    write(lake, "2025-01-01")
    name = build.build(lake, FEATURES, WHO, M1).name
    lake.forget_set(name, "1m")
    vacuum(lake)
    assert not (lake.root / "features" / name / "1m").exists()
    check(lake)
