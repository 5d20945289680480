"""Frames in, frames out: ``compute`` over history and ``Stream`` bar by bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import InputError, SchemaViolation, UnknownName, UsageError
from gapless.features import Stream, compute, plan, run
from gapless.features.proof import random_bars
from gapless.spans import MINUTE

FEATURES = {
    "rsi14": "rsi(close, 14)",
    "atr7": "atr(7)",
    "z": "zscore(close, 20)",
    "ema": "ema(volume, 9)",
    "excess": "log_return(close, 3) - log_return(close@X:BTC, 3)",
}
COLUMNS = ("open", "high", "low", "close", "volume")
START = 1_700_000_000 * 1_000_000 // MINUTE * MINUTE


def frame(instrument: str, seed: int, count: int = 200, absent: float = 0.1) -> pl.DataFrame:
    """Random bars of one instrument, some minutes absent."""
    data = random_bars(COLUMNS, count, 3 * seed)
    bars = pl.DataFrame({"instrument": [instrument] * count, "ts": START + MINUTE * np.arange(count), **data})
    keep = np.random.default_rng(seed).random(count) >= absent
    return bars.cast({"ts": pl.Datetime("us", "UTC")}).filter(pl.Series(keep))


def universe(seed: int = 1, absent: float = 0.1) -> pl.DataFrame:
    return pl.concat([frame(name, seed + i, absent=absent) for i, name in enumerate(["X:A", "X:B", "X:BTC"])])


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal to the bit, as sets of rows."""
    by = ["instrument", "ts"]
    found, expected = found.sort(by), expected.sort(by)
    assert found.select(by).equals(expected.select(by))
    for name in FEATURES:
        assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes(), name


@given(st.integers(0, 1000), st.sets(st.integers(1, 190), max_size=3))
@settings(max_examples=15, deadline=None)
def test_live_is_history_to_the_bit(seed: int, restarts: set[int]) -> None:
    """Minute by minute, instruments missing minutes, restarted through bytes at any minute: the bits of ``compute``."""
    bars = universe(seed, absent=0.2)
    names = ["X:BTC", "X:B", "X:A"]
    stream, found = Stream(FEATURES, names), []
    for i, (_, minute) in enumerate(bars.sort("ts").group_by("ts", maintain_order=True)):
        if i in restarts:
            blob = stream.state()
            stream = Stream(FEATURES, names)
            stream.restore(blob)
        found.append(stream.step(minute))
    assert_same(pl.concat(found), compute(bars, FEATURES))


def test_columns_step_as_frames_do() -> None:
    """Arrays in any order of instruments, some without a bar: the bits and the state of ``step``."""
    names, features = ["X:BTC", "X:B", "X:A"], FEATURES | {"above": "rank(close)"}
    framed, plain = Stream(features, names), Stream(features, names)
    columns = ("close", "high", "low", "volume")
    for (ts,), bars in universe(3, absent=0.2).sort("ts").group_by("ts", maintain_order=True):
        minute = bars.sample(fraction=1.0, shuffle=True, seed=1)
        btc = minute.filter(pl.col("instrument") == "X:BTC")["close"]
        given_in = {name: minute[name].to_numpy() for name in columns}
        given_in["close@X:BTC"] = np.full(minute.height, btc.item() if len(btc) else np.nan)
        who = np.array([names.index(name) for name in minute["instrument"]])
        values, violations = plain.step_columns(round(ts.timestamp()) * 1_000_000, who, given_in)
        expected = framed.step(minute)
        assert list(values) == list(features)
        assert all(values[name].tobytes() == expected[name].to_numpy().tobytes() for name in features)
        assert violations == {}
    assert plain.state() == framed.state()


def test_columns_out_of_bounds_are_named_not_raised() -> None:
    """Positions out of bounds are returned with the values; a value a rounding over its bound is set to it."""
    from gapless.features import registry

    entry = registry.catalogue()["mean"]
    registry.LIBRARY["bounded"] = registry.describe(entry.compose, "test", name="bounded", bounds=(0.0, 50.0))
    try:
        stream = Stream({"b": "bounded(close, 1)", "c": "close * 1"}, ["X:A", "X:B", "X:C", "X:D", "X:E"])
        closes = np.array([-1.0, 50.00000001, 7.0, np.nan, 90.0])
        values, violations = stream.step_columns(0, np.array([4, 2, 0, 1, 3]), {"close": closes})
    finally:
        del registry.LIBRARY["bounded"]
    assert {name: at.tolist() for name, at in violations.items()} == {"b": [0, 4]}
    np.testing.assert_array_equal(values["b"], [-1.0, 50.0, 7.0, np.nan, 90.0])
    np.testing.assert_array_equal(values["c"], closes)


@pytest.mark.parametrize(
    ("ts", "who", "close", "says"),
    [
        (1, [0, 0], [1.0, 2.0], "each once"),
        (1, [0, 2], [1.0, 2.0], "from 0 to 1"),
        (1, [-1], [1.0], "from 0 to 1"),
        (1, [0, 1], [1.0], "has 1 values, 2 bars step"),
        (0, [0, 1], [1.0, 2.0], "not later"),
    ],
)
def test_columns_that_do_not_fit_change_nothing(ts: int, who: list[int], close: list[float], says: str) -> None:
    """An instrument twice or unknown, a column of another length, an old bar: refused, and the state is as before."""
    stream = Stream({"m": "sma(close, 2)"}, ["X:A", "X:B"])
    stream.step_columns(0, np.array([1]), {"close": np.array([3.0])})
    before = stream.state()
    with pytest.raises(InputError, match=says):
        stream.step_columns(ts, np.array(who), {"close": np.array(close)})
    with pytest.raises(InputError, match="column close is missing"):
        stream.step_columns(9, np.array([0]), {})
    assert stream.state() == before


def test_live_continues_where_batch_ended() -> None:
    """History in one run, then live from its state: no warm-up, the same bits."""
    bars = frame("X:A", 4)
    features = {name: text for name, text in FEATURES.items() if "@" not in text}
    understood = plan(features)
    history, rest = bars.head(100), bars.slice(100)
    _, state = run(understood, {name: history[name].to_numpy() for name in understood.columns})
    stream = Stream(features, ["X:A"])
    stream.restore_one("X:A", state, history["ts"].to_physical()[-1])
    found = pl.concat([stream.step(rest.slice(i, 1)) for i in range(rest.height)])
    whole = compute(bars, features).slice(100)
    for name in features:
        assert found[name].to_numpy().tobytes() == whole[name].to_numpy().tobytes()
    _, end = run(understood, {name: bars[name].to_numpy() for name in understood.columns})
    assert stream.state_of("X:A") == end


def test_row_order_and_times_are_kept() -> None:
    """Interleaved or one after the other: rows stay where they were, with equal values for equal keys."""
    bars = universe()
    mixed = bars.sample(fraction=1.0, shuffle=True, seed=1).sort("ts", maintain_order=True)
    found = compute(mixed, FEATURES)
    assert found.select("instrument", "ts").equals(mixed.select("instrument", "ts"))
    assert found.columns == ["instrument", "ts", *FEATURES]
    assert_same(found, compute(bars, FEATURES))


def test_instruments_do_not_touch_each_other() -> None:
    """Alone or in a universe, an instrument's features are the same."""
    bars = universe()
    together = compute(bars, FEATURES).filter(pl.col("instrument") == "X:A")
    btc = bars.filter(pl.col("instrument") == "X:BTC")
    alone = compute(bars.filter(pl.col("instrument") == "X:A"), FEATURES, others={"X:BTC": btc})
    assert_same(alone, together)
    nameless = compute(bars.filter(pl.col("instrument") == "X:A").drop("instrument"), FEATURES, others={"X:BTC": btc})
    assert nameless.columns == ["ts", *FEATURES]
    assert nameless["excess"].to_numpy().tobytes() == together["excess"].to_numpy().tobytes()


def test_other_series_join_by_time() -> None:
    """Where the other series has no bar at that very time the value is missing: nothing is carried forward."""
    bars, btc = frame("X:A", 1, absent=0), frame("X:BTC", 2, absent=0.3)
    found = compute(bars, {"x": "close@X:BTC * 1"}, others={"X:BTC": btc}).join(btc, on="ts", how="left")
    assert found["x"].is_nan().sum() >= found["close"].is_null().sum() > 20
    both = found.filter(pl.col("close").is_not_null())
    assert both["x"].to_numpy().tobytes() == both["close"].to_numpy().tobytes()


def test_no_bars_and_one_bar() -> None:
    """Empty frames give empty results with the right columns; a single bar gives one row, not yet known."""
    bars = universe()
    empty = compute(bars.clear(), FEATURES | {"c": "close + 0"})
    assert empty.schema == {"instrument": pl.String, "ts": pl.Datetime("us", "UTC")} | dict.fromkeys(
        [*FEATURES, "c"], pl.Float64
    )
    one = compute(bars.head(1), {"rsi14": "rsi(close, 14)", "c": "close + 0"})
    assert one["rsi14"].is_nan().all()
    assert one["c"].item() == bars["close"][0]
    assert Stream(FEATURES, ["X:A", "X:B"]).step(bars.clear()).height == 0


def test_nulls_and_whole_numbers() -> None:
    """Null is missing, whole numbers are numbers, and missing comes out as NaN, not null."""
    bars = frame("X:A", 1, count=5, absent=0).with_columns(close=pl.Series([1, 2, None, 4, 5]))
    found = compute(bars, {"s": "sma(close, 2)"})["s"]
    assert found.null_count() == 0
    np.testing.assert_array_equal(found.to_numpy(), [np.nan, 1.5, np.nan, np.nan, 4.5])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda b: b.reverse(), "stands after"),
        (lambda b: pl.concat([b.head(3), b.slice(2)]), "stands twice"),
        (lambda b: b.drop("ts"), "column ts is missing"),
        (lambda b: b.drop("close"), "column close is missing"),
        (lambda b: b.with_columns(ts=pl.col("ts").to_physical()), "not a time"),
        (lambda b: b.with_columns(close=pl.lit("x")), "not a number"),
        (lambda b: b.with_columns(ts=pl.lit(None, dtype=pl.Datetime("us", "UTC"))), "ts is missing"),
        (lambda b: b.with_columns(instrument=pl.lit(None, dtype=pl.String)), "instrument is missing"),
    ],
)
def test_frames_that_are_not_bars_are_refused(spoil, says: str) -> None:
    """Unsorted, doubled, missing or mistyped: the message names the column or the bar."""
    with pytest.raises(InputError, match=says):
        compute(spoil(frame("X:A", 1)), {"x": "rsi(close)"})


def test_missing_and_needless_other_series() -> None:
    """A series that is read must be there; one that nobody reads is an error, not a shrug."""
    bars = frame("X:A", 1)
    with pytest.raises(InputError, match="X:BTC are missing"):
        compute(bars, FEATURES)
    with pytest.raises(InputError, match="read by no feature"):
        compute(bars, {"x": "close - open"}, others={"X:BTC": bars})


def test_impossible_values_name_instrument_and_rows() -> None:
    """A value outside its bounds stops the computation; feature, instrument, time and value are named."""
    from gapless.features import registry

    entry = registry.catalogue()["mean"]
    registry.LIBRARY["bounded"] = registry.describe(entry.compose, "test", name="bounded", bounds=(0.0, 50.0))
    try:
        with pytest.raises(SchemaViolation, match=r"X:A: b leaves its bounds \[0.0, 50.0\] on \d+ rows: 2023-11-14T"):
            compute(frame("X:A", 1), {"b": "bounded(close, 3)"})
    finally:
        del registry.LIBRARY["bounded"]


def minute(ts: int, **closes: float) -> pl.DataFrame:
    names = [f"X:{name}" for name in closes]
    times = pl.Series("ts", [START + ts * MINUTE] * len(names), dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame({"instrument": names, "ts": times, "close": list(closes.values())})


def test_a_symbol_without_a_bar_does_not_step() -> None:
    """Its rows are its own bars: the mean of two is of its last two, however many minutes lie between."""
    stream = Stream({"m": "sma(close, 2)"}, ["X:A", "X:B"])
    stream.step(minute(0, A=1.0, B=10.0))
    stream.step(minute(1, A=2.0))
    found = stream.step(minute(2, B=20.0, A=4.0))
    assert dict(zip(found["instrument"], found["m"], strict=True)) == {"X:A": 3.0, "X:B": 15.0}


def test_a_refused_step_changes_nothing() -> None:
    """Two times in one step, an instrument twice, an old bar, a stranger: refused, and the state is as before."""
    stream = Stream({"m": "sma(close, 2)"}, ["X:A"])
    stream.step(minute(5, A=1.0))
    before = stream.state()
    for bad, error in (
        (pl.concat([minute(6, A=1.0), minute(7, A=1.0)]), InputError),
        (pl.concat([minute(6, A=1.0), minute(6, A=2.0)]), InputError),
        (minute(5, A=1.0), InputError),
        (minute(4, A=1.0), InputError),
        (minute(6, A=1.0, C=1.0), UnknownName),
        (minute(6, A=1.0).drop("close"), InputError),
    ):
        with pytest.raises(error):
            stream.step(bad)
    assert stream.state() == before
    assert stream.last("X:A") == START + 5 * MINUTE


def test_foreign_states_are_refused_whole() -> None:
    """A damaged state, one of other features or of other instruments changes nothing."""
    stream = Stream({"m": "sma(close, 2)"}, ["X:A"])
    stream.step(minute(0, A=1.0))
    before = stream.state()
    others = Stream({"m": "sma(close, 2)"}, ["X:A", "X:B"])
    for blob in (b"", before[:-1], before + b"x", Stream({"m": "sma(close, 3)"}, ["X:A"]).state(), others.state()):
        with pytest.raises(UsageError):
            stream.restore(blob)
    assert stream.state() == before
    others.restore(before)  # an instrument more starts afresh
    assert others.step(minute(1, A=3.0, B=5.0))["m"].to_list()[0] == 2.0


def test_instruments_of_a_stream_are_checked() -> None:
    """None, one twice, or a name that is no instrument."""
    for names in ([], ["X:A", "X:A"], ["a"]):
        with pytest.raises(UsageError):
            Stream({"m": "sma(close, 2)"}, names)


SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "perp_1m_2025-05.parquet"


@pytest.mark.skipif(not SHARED.exists(), reason="the real bars are not beside the project")
def test_real_bars_live_and_batch() -> None:
    """Two days of real perpetuals, minute by minute and at once."""
    bars = pl.read_parquet(SHARED)
    symbol = next(name for name in ("instrument", "symbol") if name in bars.columns)
    time = next(name for name in bars.columns if bars[name].dtype == pl.Datetime)
    bars = bars.select(
        instrument=pl.lit("BINANCEUSDM:") + pl.col(symbol).str.replace_all(r"[^A-Z0-9]", ""),
        ts=pl.col(time).cast(pl.Datetime("us", "UTC")),
        **{name: pl.col(name).cast(pl.Float64) for name in COLUMNS},
    ).sort("ts", "instrument")
    bars = bars.filter(pl.col("ts") < pl.col("ts").min() + pl.duration(hours=12))
    features = {name: text.replace("X:BTC", "BINANCEUSDM:BTCUSDT") for name, text in FEATURES.items()}
    names = bars["instrument"].unique(maintain_order=True).to_list()
    if "BINANCEUSDM:BTCUSDT" not in names:
        features["excess"] = features["excess"].replace("BINANCEUSDM:BTCUSDT", names[0])
    stream = Stream(features, names)
    live = pl.concat([stream.step(part) for _, part in bars.group_by("ts", maintain_order=True)])
    assert_same(live, compute(bars, features))
    assert live["rsi14"].is_between(0, 100).sum() > 0.9 * live.height


def test_a_stream_goes_back_to_a_snapshot() -> None:
    """After a revert the same bars give the same bits, sorted windows and holes included."""
    chance = np.random.default_rng(4)
    features = {"z": "robust_zscore(close, 9)", "m": "median(lag(volume, 2), 5, 2)", "e": "ema(close, 4)"}
    stream = Stream(features, ["X:A", "X:B"])
    bars = [
        {name: np.where(chance.random(2) < 0.1, np.nan, chance.normal(10, 1, 2)) for name in stream.plan.columns}
        for _ in range(40)
    ]
    who = [np.flatnonzero(chance.random(2) < 0.9) for _ in bars]

    def go(first: int) -> list[np.ndarray]:
        found = []
        for k in range(first, 40):
            values, _ = stream.step_columns(k, who[k], {n: v[who[k]] for n, v in bars[k].items()})
            found += list(values.values())
        return found

    for k in range(20):
        stream.step_columns(k, who[k], {n: v[who[k]] for n, v in bars[k].items()})
    kept = stream.snapshot()
    once = go(20)
    stream.revert(kept)
    again = go(20)
    assert [a.tobytes() for a in once] == [a.tobytes() for a in again]
    with pytest.raises(UsageError, match="another stream"):
        Stream({"e": "ema(close, 4)"}, ["X:A", "X:B"]).revert(kept)
