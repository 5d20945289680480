"""Features that compare instruments, read from a lake: computed when read, in any window, known together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gapless as gl
from gapless.app.building import build_features
from gapless.app.runs import running
from gapless.config import parse
from gapless.engine import across
from gapless.errors import ConfigError, UnknownName, UsageError
from gapless.spans import DAY, HOUR, MINUTE, SpanSet, iso, parse_time

START = parse_time("2025-01-31")  # over the end of a month, so that files end inside
NAMES = [f"BINANCE:{letter}USDT" for letter in "ABCD"]
GROUPS = {"sector": dict(zip(NAMES, ["x", "x", "y", "y"], strict=True))}
FINITE = {
    "m": "mom(close, 60)",
    "r": "rank(m)",
    "z": "zscore(rank(log_return(close, 15)), 20) - 0.5",
    "d": "demean(log_return(close, 1), by='sector')",
    "n": "rank(mean(rank(mean(close, 30)), 30))",
    "b": "rank(close - close@BINANCE:AUSDT)",
}
DECAYING = {"e": "ema(rank(close), 10)", "plain": "rsi(close, 14)"}


def bars(seed: int, count: int, step: int = MINUTE, absent: float = 0.05) -> pl.DataFrame:
    """A walk with holes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 1e-3, count).cumsum())
    ts = START + step * np.arange(count)
    walk = {"ts": ts, "open": close, "high": close, "low": close, "close": close, "volume": rng.random(count)}
    return pl.DataFrame(walk).cast({"ts": pl.Datetime("us", "UTC")}).filter(pl.Series(rng.random(count) >= absent))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> gl.Lake:
    found = gl.open(tmp_path_factory.mktemp("across") / "lake", config=parse({"groups": GROUPS}))
    for i, name in enumerate(NAMES):
        found.write(name, "1m", bars(i, 4000 if i else 1500))  # the first ends early
    return found


def assert_same(found: pl.DataFrame, expected: pl.DataFrame, names: list[str]) -> None:
    assert found.select("instrument", "ts").equals(expected.select("instrument", "ts"))
    for name in names:
        assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes(), name


def test_reading_is_computing(lake: gl.Lake) -> None:
    """The rows of a lake are those of ``compute`` over its bars, coverage too, with the configured groups."""
    features = FINITE | DECAYING
    found = lake.features(None, "1m", features, coverage=True)
    expected = gl.compute(lake.bars(None, "1m"), features, groups=GROUPS, coverage=True)
    seen = [f"{name}_coverage" for name in features if name not in ("m", "plain")]
    assert found.columns == ["instrument", "ts", "available_at", *features, *seen]
    assert_same(found, expected, [*features, *seen])


def test_the_windows_of_the_walk_do_not_show(lake: gl.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """In windows of 250 minutes, states carried on, the bits are those of one window."""
    features = FINITE | DECAYING
    whole = lake.features(None, "1m", features)
    monkeypatch.setattr(across, "_WINDOW_ROWS", 1000)
    assert_same(lake.features(None, "1m", features), whole, list(features))


@pytest.mark.parametrize("features", [FINITE, DECAYING, FINITE | DECAYING], ids=["finite", "decaying", "both"])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (1440, 1500), (1490, 1700), (3000, 3001), (3990, 9000)])
def test_a_query_is_a_cut_of_the_whole(lake: gl.Lake, features: dict[str, str], start: int, end: int) -> None:
    """Whatever the span asked for, the same bits: values do not depend on where a query begins or ends."""
    begin, stop = START + start * MINUTE, START + end * MINUTE
    whole = lake.features(None, "1m", features)
    inside = whole.filter(pl.col("ts").to_physical().is_between(begin, stop, closed="left"))
    assert_same(lake.features(None, "1m", features, start=begin, end=stop), inside, list(features))


def test_a_short_span_reads_little(lake: gl.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With finite memory only the pieces that the stages reach back to are read."""
    rows, real = [], across._window
    monkeypatch.setattr(across, "_window", lambda *a: rows.append((found := real(*a)).height) or found)
    lake.features(NAMES[1:], "1m", {"r": "rank(mom(close, 5))"}, start=START + 3900 * MINUTE)
    assert 0 < sum(rows) < 3 * 4000 * 0.7


def test_the_population_is_what_was_asked_for(lake: gl.Lake) -> None:
    """Two instruments are ranked among two; one without bars is expected, and lowers the coverage."""
    found = lake.features([*NAMES[2:], "BINANCE:NONEUSDT"], "1m", {"r": "rank(close)"}, coverage=True)
    assert set(found["r"].drop_nans()) == {0.0, 1.0}
    assert set(found["r_coverage"]) == {1 / 3, 2 / 3}
    members = dict.fromkeys(NAMES[1:], SpanSet.of((START, START + HOUR)))
    passing = lake.features(None, "1m", {"r": "rank(close)"}, members=members)
    known = passing.filter(pl.col("r").is_not_nan())
    assert set(known["instrument"]) == set(NAMES[1:])
    assert int(known["ts"].to_physical().max()) < START + HOUR


def test_comparisons_of_longer_bars(lake: gl.Lake) -> None:
    """``rank(close) @ 1h`` compares folded hours, joined when the hour is over; long rows are the same values."""
    found = lake.features(NAMES[1:], "1m", {"h": "rank(close) @ 1h", "r": "rank(close)"}, coverage=True)
    hours = lake.features(NAMES[1:], "1h", {"h": "rank(close)"})
    first = hours["ts"][0]
    minute = found.filter(pl.col("ts") == first + pl.duration(minutes=59)).select("instrument", "h")
    known = minute.join(hours.filter(pl.col("ts") == first), on="instrument")
    assert known.height > 0
    assert known["h"].equals(known["h_right"])
    assert found.filter(pl.col("ts") < first + pl.duration(minutes=59))["h"].is_nan().all()
    assert found.columns[3:] == ["h", "r", "r_coverage", "h_coverage"]
    long = lake.features(NAMES[1:], "1m", {"r": "rank(close)"}, layout="long")
    assert_same(long.rename({"value": "r"}), found, ["r"])


def test_a_row_is_known_when_all_it_is_compared_with_are(tmp_path: Path) -> None:
    """A day in New York is over before the day of a coin: what compares both is known at midnight."""
    both = gl.open(tmp_path / "both")
    day = parse_time("2015-12-23")
    for name in ("XNAS:GOOG", "BINANCE:BTCUSDT"):
        one = pl.DataFrame({"ts": [day], **{key: [1.0] for key in ("open", "high", "low", "close", "volume")}})
        both.write(name, "1d", one.cast({"ts": pl.Datetime("us", "UTC")}))
    alone = both.features(None, "1d", {"c": "close * 1"})["available_at"].to_physical().to_list()
    together = both.features(None, "1d", {"c": "rank(close)"})["available_at"].to_physical().to_list()
    assert [iso(t) for t in alone] == ["2015-12-24T00:00:00Z", "2015-12-23T21:00:00Z"]
    assert together == [day + DAY] * 2


def test_as_of_and_training_sets(lake: gl.Lake, tmp_path: Path) -> None:
    """Comparisons as they were known at a time; and as features and label of a training set."""
    found = gl.open(tmp_path / "revised")
    for i, name in enumerate(NAMES):
        found.write(name, "1m", bars(i, 200, absent=0.0))
    before = found.features(None, "1m", FINITE | {"d": "demean(close)"})
    asked = found.store.clock()
    found.write(NAMES[1], "1m", bars(9, 200, absent=0.0))
    assert not found.features(None, "1m", {"d": "demean(close)"})["d"].equals(before["d"])
    then = found.features(None, "1m", FINITE | {"d": "demean(close)"}, as_of=asked)
    assert_same(then, before, [*FINITE])
    rows = lake.dataset({"r": "rank(close)"}, "demean(log_return(close, 5))", 5, instruments=NAMES[1:])
    assert rows.height > 1000
    assert rows["label"].is_nan().sum() == 0


def test_nothing_of_it_is_built(lake: gl.Lake) -> None:
    """Building is refused with the way out, before anything is remembered."""
    with pytest.raises(UsageError, match="cannot be built") as refused:
        lake.build({"r": "rank(close)"}, None, "1m")
    assert "when it is read" in refused.value.hint
    assert list(lake.store.meta.feature_sets()) == []


def test_building_all_that_is_configured_leaves_comparisons_out(tmp_path: Path) -> None:
    """They are reported as computed when read; the others are built."""
    features = {"plain": "rsi(close, 14)", "r": "rank(plain)", "h": "rank(close) @ 1h"}
    found = gl.open(tmp_path / "lake", config=parse({"features": features}))
    for i, name in enumerate(NAMES):
        found.write(name, "1m", bars(i, 100))
    with running(found.store, "build") as run:
        report = build_features(found, run, None, None, ["1m"])
    assert report["computed_when_read"] == ["r", "h"]
    assert [one["rows"] for one in report["sets"]] == [found.bars(None, "1m").height]
    assert found.features(None, "1m", features).columns[3:] == list(features)


def test_built_features_stand_beside_comparisons(tmp_path: Path) -> None:
    """What is built is still read from its files when a comparison is asked for with it."""
    found = gl.open(tmp_path / "lake")
    for i, name in enumerate(NAMES):
        found.write(name, "1m", bars(i, 300))
    found.build({"plain": "rsi(close, 14)"}, None, "1m")
    both = {"plain": "rsi(close, 14)", "r": "rank(plain)"}
    assert_same(found.features(None, "1m", both), gl.compute(found.bars(None, "1m"), both), list(both))


def test_wrong_scopes_are_told(lake: gl.Lake) -> None:
    """Options without a comparison, an unknown grouping, and a wrong configuration."""
    with pytest.raises(UsageError, match="no feature compares"):
        lake.features(None, "1m", {"x": "sma(close, 5)"}, coverage=True)
    with pytest.raises(UnknownName, match="did you mean 'sector'"):
        lake.features(None, "1m", {"x": "rank(close, by='sectors')"})
    with pytest.raises(ConfigError, match="cannot name a grouping"):
        parse({"groups": {"my sector": {}}})
    with pytest.raises(ConfigError, match="names no venue"):
        parse({"groups": {"sector": {"BTCUSDT": "L1"}}})


def test_an_empty_lake(tmp_path: Path) -> None:
    """No bars give no rows, with every column."""
    empty = gl.open(tmp_path / "empty").features(NAMES, "1m", {"r": "rank(close)"}, coverage=True)
    assert (empty.height, empty.columns[3:]) == (0, ["r", "r_coverage"])
