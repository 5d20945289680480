"""Bars and features with the values beside them: the rule at the open, as known, the same bits built or computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gapless as gl
from gapless.app.reading import view
from gapless.bars import SCHEMA
from gapless.engine.build import build, differing, set_name
from gapless.errors import InputError, UnknownName
from gapless.features import plan
from gapless.series import Instrument, Series
from gapless.spans import DAY, HOUR, MINUTE, Timeframe, iso, parse_time

START = parse_time("2025-05-01")
BTC, ETH = "BINANCEUSDM:BTCUSDT", "BINANCEUSDM:ETHUSDT"
M1 = Timeframe.parse("1m")
FEATURES = {"oi": "oi_delta_1h(60)", "f": "funding_rate * 1", "smooth": "ema(open_interest, 20)", "c": "sma(close, 3)"}


def minutes(count: int, seed: int = 0, start: int = START) -> pl.DataFrame:
    close = 100 + np.random.default_rng(seed).normal(0, 0.1, count).cumsum()
    frame = {"ts": start + np.arange(count) * MINUTE, "open": close, "high": close + 1, "low": close - 1}
    return pl.DataFrame(frame | {"close": close, "volume": np.ones(count)}).with_columns(
        pl.col("ts").cast(SCHEMA["ts"])
    )


def at(times: list[int], values: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"ts": times, "value": values}).with_columns(pl.col("ts").cast(SCHEMA["ts"]))


def interest(count: int, start: int = START, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return at([start + k * 5 * MINUTE for k in range(count)], (1000 + rng.normal(0, 5, count).cumsum()).tolist())


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    """Three days of two perpetuals; open interest of the first two."""
    found = gl.open(tmp_path / "lake")
    for name, seed in ((BTC, 0), (ETH, 5)):
        found.write(name, "1m", minutes(3 * 1440, seed))
        found.write_values("open_interest", name, interest(2 * 288, seed=seed))
        found.write_values(
            "funding_rate", name, at([START + k * 8 * HOUR + 3000 for k in range(9)], [k / 1e4 for k in range(9)])
        )
    return found


def test_the_change_of_open_interest_in_an_hour_of_minutes_is_that_of_the_five_minute_values(lake: gl.Lake) -> None:
    """oi_delta_1h over 1m bars is the newest 5m value at the open minus the one an hour before; NaN until there is one,
    and where the newest is older than two hours."""
    told = lake.values("open_interest", BTC)["value"].to_numpy()
    found = lake.features(BTC, "1m", {"oi": "oi_delta_1h(60)"})["oi"].to_numpy()
    expected = np.full(3 * 1440, np.nan)
    for k in range(60, 3 * 1440):
        newest, before = min(k // 5, 575), min((k - 60) // 5, 575)
        if k - 5 * newest <= 120 and k - 60 - 5 * before <= 120:
            expected[k] = told[newest] - told[before]
    assert np.isfinite(expected).sum() == 2 * 1440 - 60 + 116
    np.testing.assert_array_equal(found, expected)


def test_bars_are_read_with_what_was_known_at_their_open_and_stored_without(lake: gl.Lake) -> None:
    """The columns appear when bars are read; ``values=False`` shows the bars as they are stored: without."""
    seen = lake.bars(BTC, "1m", start=START + 8 * HOUR - MINUTE, end=START + 8 * HOUR + 2 * MINUTE)
    assert seen["funding_rate"].to_list() == [0.0, 0.0, 1e-4]
    told = lake.values("open_interest", BTC)["value"]
    assert seen["open_interest"].to_list() == [told[95], told[96], told[96]]
    stored = lake.bars(BTC, "1m", values=False)
    assert "funding_rate" not in stored.columns
    assert "open_interest" not in stored.columns
    assert lake.store.rows(M1, [BTC], None)["open_interest"].null_count() == 3 * 1440


def test_a_bar_keeps_what_it_has_itself(lake: gl.Lake) -> None:
    """A source that sends the column with its bars is believed before any value beside them."""
    own = minutes(1, start=START + DAY).with_columns(pl.lit(7.0).alias("open_interest"))
    lake.write(BTC, "1m", own)
    rows = lake.bars(BTC, "1m", start=START + DAY, end=START + DAY + 2 * MINUTE)
    assert rows["open_interest"].to_list() == [7.0, lake.values("open_interest", BTC)["value"][288]]


def test_a_longer_bar_has_what_was_known_at_its_own_open(lake: gl.Lake) -> None:
    """An hour folded from minutes has the value of the full hour, not that of its last minute."""
    rows = lake.features(BTC, "1h", {"oi": "open_interest * 1"})
    told = lake.values("open_interest", BTC)["value"]
    assert rows["oi"].to_list()[:48] == [told[12 * k] for k in range(48)]
    seen = lake.features(BTC, "1m", {"hour": "open_interest * 1 @ 1h"}, end=START + 3 * HOUR)
    assert seen["hour"][59] == told[0]
    assert np.isnan(seen["hour"][58])


def test_a_value_is_joined_as_it_was_known_then(tmp_path: Path) -> None:
    """A read as of a time uses the value that stood then, or none where none had come yet."""
    lake = gl.open(tmp_path / "lake")
    now = START + 10 * DAY
    lake.store.clock = lambda: now
    lake.write(BTC, "1m", minutes(10))
    now += DAY
    lake.write_values("open_interest", BTC, at([START], [1.0]))
    now += DAY
    lake.write_values("open_interest", BTC, at([START], [2.0]))
    read = {"oi": "open_interest * 1"}
    for since, expected in ((10 * DAY, np.nan), (11 * DAY, 1.0), (12 * DAY, 2.0)):
        rows = lake.features(BTC, "1m", read, as_of=START + since + HOUR)
        np.testing.assert_array_equal(rows["oi"].to_numpy(), np.full(10, expected))
        bars = lake.bars(BTC, "1m", as_of=START + since + HOUR)
        assert bars.height == 10
        assert ("open_interest" in bars.columns) == (since > 10 * DAY)
    assert lake.values("open_interest", BTC, as_of=START + 11 * DAY)["value"].to_list() == [1.0]


def test_a_value_that_comes_late_makes_stale_what_it_reaches_and_nothing_else(lake: gl.Lake) -> None:
    """A correction rebuilds the features that read it, from the day it reaches; others, and other series, are left."""
    store = view(lake.store, lake.config)
    apart = {"oi": "oi_delta_1h(60)"}, {"c": "sma(close, 3)"}
    names = [Instrument.parse(BTC), Instrument.parse(ETH)]
    for features in apart:
        build(store, features, names, M1)
    when = START + 2 * DAY - 5 * MINUTE
    assert lake.write_values("open_interest", BTC, at([when], [5000.0])).corrected == 1
    again = build(view(lake.store, lake.config), apart[0], names, M1)
    assert {str(s.instrument): r for s, r in again.rows.items()} == {BTC: 3 * 1440, ETH: 0}
    assert set(build(view(lake.store, lake.config), apart[1], names, M1).rows.values()) == {0}
    assert differing(view(lake.store, lake.config), apart[0], Series.parse(BTC, M1))[1] == 0


def test_values_of_the_last_month_do_not_rebuild_the_years_before(tmp_path: Path) -> None:
    """The first values that ever come make stale only the stretches they reach."""
    lake = gl.open(tmp_path / "lake")
    months = [parse_time(f"2025-0{m}-01") for m in (1, 2, 3, 4, 5)]
    for month in months:
        lake.write(BTC, "1m", minutes(600, start=month))
    features = {"now": "open_interest * 1"}
    before = build(view(lake.store, lake.config), features, None, M1)
    assert sum(before.rows.values()) == 3000
    lake.write_values("open_interest", BTC, interest(10, start=months[-1]))
    after = build(view(lake.store, lake.config), features, None, M1)
    assert sum(after.rows.values()) == 600
    rows = lake.features(BTC, "1m", features)
    assert rows["now"].is_not_nan().sum() == 50 + 115 + 1


def test_a_value_of_another_series_that_is_joined_counts_too(lake: gl.Lake) -> None:
    """What is read as column@OTHER is stale when OTHER's values change."""
    features = {"spread": f"funding_rate - funding_rate@{ETH}"}
    built = lake.build(features, BTC, "1m")
    assert built["rows"] == 3 * 1440
    assert lake.build(features, BTC, "1m")["rows"] == 0
    lake.write_values("funding_rate", ETH, at([START + 16 * HOUR + 3000], [0.5]))
    before = lake.features(BTC, "1m", features)
    assert lake.build(features, BTC, "1m")["rows"] > 0
    after = lake.features(BTC, "1m", features)
    assert after.equals(before)
    assert after["spread"][16 * 60 + 1] == 2e-4 - 0.5
    series = Series.parse(BTC, M1)
    assert lake.store.segments(set_name(plan(features)), series)
    assert differing(view(lake.store, lake.config), features, series)[1] == 0


def test_features_that_compare_instruments_see_values(lake: gl.Lake) -> None:
    """The instrument with the higher rate ranks higher at every time."""
    lake.write_values("funding_rate", ETH, at([START + k * 8 * HOUR + 3000 for k in range(9)], [9.0] * 9))
    rows = lake.features([BTC, ETH], "1m", {"r": "rank(funding_rate)"}, start=START + HOUR, end=START + 2 * HOUR)
    ranks = {name: part["r"].unique().to_list() for (name,), part in rows.group_by("instrument")}
    assert ranks[ETH][0] > ranks[BTC][0]


_step = st.one_of(
    st.tuples(st.just("value"), st.integers(0, 3 * 288 - 1), st.integers(0, 5)),
    st.tuples(st.just("rate"), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.just("bars"), st.integers(0, 3 * 24 - 1), st.integers(1, 90)),
    st.tuples(st.just("build"), st.just(0), st.just(0)),
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_step, min_size=3, max_size=12))
def test_built_rows_equal_a_computation_over_all_bars_and_values(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever order bars, values, corrections and builds come in: what is read is the batch over what is stored."""
    lake = gl.open(tmp_path_factory.mktemp("lake") / "lake")
    lake.write(BTC, "1m", minutes(60))
    for kind, where, what in [("build", 0, 0), ("bars", 1, 90), ("build", 0, 0), *steps]:
        if kind == "value":
            lake.write_values("open_interest", BTC, at([START + where * 5 * MINUTE], [float(what)]))
        elif kind == "rate":
            lake.write_values("funding_rate", BTC, at([START + where * 8 * HOUR + 3000], [what / 10]))
        elif kind == "bars":
            lake.write(BTC, "1m", minutes(what, what, START + where * HOUR))
        else:
            lake.build(FEATURES, BTC, "1m")
    bars = lake.bars(BTC, "1m")
    for name in ("open_interest", "funding_rate"):
        bars = bars if name in bars.columns else bars.with_columns(pl.lit(None, pl.Float64).alias(name))
    whole = gl.compute(bars, FEATURES)
    read = lake.features(BTC, "1m", FEATURES).drop("available_at")
    assert read.equals(whole.select(read.columns), null_equal=True)
    assert differing(view(lake.store, lake.config), FEATURES, Series.parse(BTC, M1))[1] == 0


def test_what_is_no_value_is_not_stored(lake: gl.Lake) -> None:
    """A time without a zone, a NaN, a time that stands twice with two values, an unknown name: told, nothing kept."""
    before = lake.values("funding_rate")
    bad = (
        at([START], [float("nan")]),
        at([START, START], [1.0, 2.0]),
        at([START], [1.0]).with_columns(pl.col("ts").dt.replace_time_zone(None)),
        at([START], [1.0]).rename({"value": "rate"}),
    )
    for frame in bad:
        with pytest.raises(InputError):
            lake.write_values("funding_rate", BTC, frame)
    with pytest.raises(UnknownName, match="funding_rate"):
        lake.write_values("funding", BTC, bad[0])
    assert lake.values("funding_rate").equals(before)
    assert lake.write_values("funding_rate", BTC, at([START, START], [0.5, 0.5])).read == 1
    assert lake.write_values("funding_rate", BTC, at([], [])).read == 0
    assert iso(START) in str(before["ts"].dt.to_string("%Y-%m-%dT%H:%M:%SZ").to_list())
