"""Features for people: several timeframes without look-ahead, point in time, and data sets that cannot leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gapless as gl
from gapless.bars import SCHEMA
from gapless.errors import LeakError, UsageError
from gapless.events import Verified
from gapless.series import Series
from gapless.spans import HOUR, MINUTE, parse_time

START = parse_time("2025-03-03")
NAME = "BINANCE:BTCUSDT"


def minutes(count: int, seed: int = 0) -> pl.DataFrame:
    """A walk of one-minute bars."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 1e-3, count).cumsum())
    frame = pl.DataFrame(
        {
            "ts": START + np.arange(count) * MINUTE,
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close * (1 + rng.normal(0, 1e-4, count)),
            "volume": rng.random(count) + 1,
        }
    )
    return frame.with_columns(pl.col("ts").cast(SCHEMA["ts"]))


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    found = gl.open(tmp_path / "lake")
    found.write(NAME, "1m", minutes(3000))
    return found


def test_every_row_says_when_it_could_be_known(lake: gl.Lake) -> None:
    """A minute's values are known when it closes, a New York day's when trading ends."""
    rows = lake.features(NAME, "1m", {"fast": "sma(close, 5)"})
    assert (rows["available_at"] - rows["ts"]).unique().dt.total_seconds().to_list() == [60]
    prices = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.0, "volume": 1.0}
    days = pl.DataFrame({"ts": [parse_time("2015-12-23"), parse_time("2015-12-24")]}).with_columns(
        pl.col("ts").cast(SCHEMA["ts"]), *(pl.lit(v).alias(n) for n, v in prices.items())
    )
    lake.write("XNAS:GOOG", "1d", days)
    known = lake.features("XNAS:GOOG", "1d", {"c": "close * 1"})["available_at"].dt.to_string("%m-%dT%H:%M").to_list()
    assert known == ["12-23T21:00", "12-24T18:00"]


def test_a_longer_bar_is_joined_only_after_its_close(lake: gl.Lake) -> None:
    """The value of the hour 10:00 is first seen by the minute 10:59, which closes with it; never earlier."""
    rows = lake.features(NAME, "1m", {"c": "close * 1", "hour": "close * 1 @ 1h"})
    hours = lake.features(NAME, "1h", {"h": "close * 1"})
    assert hours.height == 50
    for k in (0, 1, 599, 600, 658, 659, 660, 2999):
        seen = rows["hour"][k]
        done = (k + 1) // 60  # hours that are over when minute k closes
        assert np.isnan(seen) if not done else seen == hours["h"][done - 1], k


def test_the_future_never_changes_a_joined_row(lake: gl.Lake) -> None:
    """Bars that come later leave every earlier row as it was, longer timeframes included."""
    wanted = {"fast": "ema(close, 10)", "slow": "rsi(close, 14) @ 15m", "day": "log_return(close, 1) @ 1h"}
    before = lake.features(NAME, "1m", wanted)
    later = minutes(3600, seed=0)[3000:].with_columns(pl.col("close", "high", "open", "low") * 2)
    lake.write(NAME, "1m", later)
    after = lake.features(NAME, "1m", wanted, end=START + 3000 * MINUTE)
    assert after.equals(before, null_equal=True)


def test_built_and_computed_are_the_same_bits(lake: gl.Lake) -> None:
    """Also of folded bars, and of any part of the span."""
    wanted = {"r": "rsi(close, 14)", "h": "ema(close, 5) @ 1h"}
    fresh = lake.features(NAME, "1m", wanted)
    report = lake.build(wanted, NAME, "1m")
    assert report["rows"] == 3000
    assert report["longer"][0]["rows"] == 50
    assert lake.features(NAME, "1m", wanted).equals(fresh, null_equal=True)
    part = lake.features(NAME, "1m", wanted, start=START + 500 * MINUTE, end=START + 700 * MINUTE)
    assert part.equals(fresh[500:700], null_equal=True)
    assert lake.build(wanted, NAME, "1m")["rows"] == 0


def test_as_of_reads_what_was_known(lake: gl.Lake) -> None:
    """After a correction the old features can still be read."""
    wanted = {"r": "sma(close, 3)"}
    before = lake.features(NAME, "1m", wanted)
    known = lake.store.clock()
    one = lake.bars(NAME, "1m", start=START + 10 * MINUTE, end=START + 11 * MINUTE)
    lake.write(NAME, "1m", one.with_columns(pl.col("close", "high") * 3))
    assert not lake.features(NAME, "1m", wanted).equals(before, null_equal=True)
    assert lake.features(NAME, "1m", wanted, as_of=known).equals(before, null_equal=True)


def test_long_is_wide_turned(lake: gl.Lake) -> None:
    """One row a value."""
    long = lake.features(NAME, "1m", {"a": "sma(close, 3)", "b": "ema(close, 3)"}, layout="long")
    assert long.columns == ["instrument", "ts", "available_at", "feature", "value"]
    assert long.height == 6000


def test_a_shorter_timeframe_than_the_rows_is_refused(lake: gl.Lake) -> None:
    """Minutes cannot be joined to hours."""
    with pytest.raises(UsageError, match="shorter than the 1h rows"):
        lake.features(NAME, "1h", {"a": "sma(close, 3) @ 1m"})


def test_a_data_set_holds_the_future_only_in_its_label(lake: gl.Lake) -> None:
    """The label is the feature 15 bars later, and says when it could be known."""
    table = lake.dataset({"r": "rsi(close, 14)"}, "log_return(close, 15)", 15, instruments=NAME)
    rows = lake.features(NAME, "1m", {"x": "log_return(close, 15)"})
    assert table.height == 3000 - 15
    assert table["label"].equals(rows["x"][15:].rename("label"))
    assert ((table["label_at"] - table["available_at"]).dt.total_minutes() == 15).all()


def test_a_split_leaves_out_labels_that_reach_over_it(lake: gl.Lake) -> None:
    """Training labels end before the split, testing begins after the embargo."""
    at = START + 20 * HOUR
    table = lake.dataset({"r": "rsi(close, 14)"}, "log_return(close, 15)", 15, 30, instruments=NAME, split=at)
    train, test = (table.filter(pl.col("part") == p) for p in ("train", "test"))
    assert train["label_at"].to_physical().max() <= at
    assert test["ts"].to_physical().min() == at + 30 * MINUTE


def test_leaks_are_refused_with_the_reason(lake: gl.Lake) -> None:
    """No horizon, a table that does not say when it was known, an embargo without a split."""
    with pytest.raises(LeakError, match="learned from itself"):
        lake.dataset({"r": "rsi(close, 14)"}, "log_return(close, 1)", 0, instruments=NAME)
    other = pl.DataFrame({"ts": [START], "news": [1.0]})
    with pytest.raises(LeakError, match="when its rows were known"):
        lake.dataset({"r": "rsi(close, 14)"}, "log_return(close, 1)", 1, instruments=NAME, join=other)
    with pytest.raises(UsageError, match="needs a split"):
        lake.dataset({"r": "rsi(close, 14)"}, "log_return(close, 1)", 1, 5, instruments=NAME)


def test_a_joined_table_is_seen_only_when_it_was_known(lake: gl.Lake) -> None:
    """News of 10:00:30 is first in the row that closes at 10:01."""
    news = pl.DataFrame({"available_at": [START + 600 * MINUTE + 30_000_000], "news": [7.0]})
    news = news.with_columns(pl.col("available_at").cast(SCHEMA["ts"]))
    table = lake.dataset({"r": "sma(close, 2)"}, "log_return(close, 1)", 1, instruments=NAME, join=news)
    first = table.filter(pl.col("news").is_not_null())["ts"].to_physical().min()
    assert first == START + 600 * MINUTE


def test_verify_counts_differing_bits(lake: gl.Lake) -> None:
    """Stored rows are compared with a fresh computation; a falsified file is found."""
    from gapless.app.building import verify_features
    from gapless.stores.parquet import stage

    lake.build({"r": "rsi(close, 14)"}, NAME, "1m")
    (line,) = verify_features(lake, 0, 0, None)
    assert (line["values"], line["differing"]) == (3000, 0)
    (folder,) = (lake.path / "features").glob("*/1m")
    file = max(folder.glob("*.parquet"), key=lambda p: p.stat().st_size)
    rows = pl.read_parquet(file).with_columns(pl.col("r") + 1e-9)
    fake = stage(folder, rows, period="x", timeframe=gl.app.lake.Timeframe.parse("1m"), feature=True)  # type: ignore[attr-defined]
    (folder / fake.path).rename(file)
    heard: list[object] = []
    (line,) = verify_features(gl.open(lake.path), 0, 0, None, observer=heard.append)
    assert line["differing"] >= rows.height - 14
    assert heard == [Verified(Series.parse(NAME, "1m"), 3000, line["differing"])]


def test_pandas_and_arrow_frames_compute_the_same(lake: gl.Lake) -> None:
    """A pandas frame, with ts as a column or as its index, and an Arrow table give the bits of the polars frame."""
    bars, wanted = lake.bars(NAME, "1m"), {"r": "rsi(close, 14)"}
    expected = gl.compute(bars, wanted)
    frame = bars.to_pandas()
    for table in (frame, frame.set_index("ts"), frame.set_index("ts").rename_axis(None), bars.to_arrow()):
        assert gl.compute(table, wanted).equals(expected, null_equal=True)
    assert lake.write(NAME, "1m", frame.set_index("ts").rename_axis(None)).unchanged == 3000
