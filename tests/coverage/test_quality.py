"""What looks wrong is flagged where it is; what is only rare is not. Known defects, and months that are clean."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.bars import TS, VALUES, check_bars
from gapless.coverage.quality import Change, Flag, find, refused, weighed
from gapless.coverage.score import PENALTY, VALIDATED, score
from gapless.series import Series
from gapless.spans import DAY, LATEST, MINUTE, Span, Timeframe, parse_time

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MINUTES, DAYS = Series.parse("BINANCE:BTCUSDT", "1m"), Series.parse("XNYS:LNT", "1d")
START = parse_time("2016-01-04")


def walk(series: Series, bars: int = 600, seed: int = 1, sigma: float = 0.01) -> pl.DataFrame:
    """A random walk that trades all the time, with steady turnover."""
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draw.normal(0, sigma, bars)))
    opened = np.concatenate(([100.0], close[:-1])) * np.exp(draw.normal(0, sigma / 5, bars))
    high = np.maximum(opened, close) * np.exp(np.abs(draw.normal(0, sigma / 3, bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(draw.normal(0, sigma / 3, bars)))
    volume = 1e6 / close * np.exp(draw.normal(0, 0.2, bars))
    ts = START + np.arange(bars) * series.timeframe.micros
    columns = dict(zip(VALUES, (opened, high, low, close, volume), strict=True))
    return pl.DataFrame({"ts": ts, **columns}).cast({"ts": TS})


def scaled(bars: pl.DataFrame, first: int, last: int | None, factor: float, *names: str) -> pl.DataFrame:
    """Some columns of the bars from ``first`` to ``last`` (not included; None: the end) times a factor."""
    row = pl.int_range(pl.len())
    inside = (row >= first) & (row < (bars.height if last is None else last))
    return bars.with_columns(pl.when(inside).then(pl.col(n) * factor).otherwise(pl.col(n)).alias(n) for n in names)


PRICES = ("open", "high", "low", "close")


def at(series: Series, bar: int, bars: int = 1) -> Span:
    size = series.timeframe.micros
    return Span(START + bar * size, START + (bar + bars) * size)


@given(st.integers(0, 10_000), st.sampled_from([0.0005, 0.01, 0.03]))
@settings(max_examples=25, deadline=None)
def test_a_plain_walk_is_not_suspicious(seed: int, sigma: float) -> None:
    """Whatever its volatility."""
    assert find(walk(DAYS, seed=seed, sigma=sigma), DAYS) == []


@given(st.integers(0, 999), st.integers(60, 550), st.integers(1, 4), st.sampled_from([10.0, 100.0, 0.01, 0.1]))
@settings(max_examples=25, deadline=None)
def test_bars_in_another_unit_are_found_where_they_are(seed: int, bar: int, bars: int, factor: float) -> None:
    """One flag, of the bars and no others, with the ratio."""
    (flag,) = find(scaled(walk(DAYS, seed=seed), bar, bar + bars, factor, *PRICES), DAYS)
    assert (flag.kind, flag.span) == ("unit", at(DAYS, bar, bars))
    assert flag.size == pytest.approx(factor, rel=0.1)
    assert flag.confidence > 0.9


def test_two_days_on_the_other_side_of_a_split_are_a_split_glitch() -> None:
    """As a real table had it on 2016-05-19 and 20: half the price for two days, then the old one again."""
    (flag,) = find(scaled(walk(DAYS), 300, 302, 0.5, *PRICES), DAYS)
    assert (flag.kind, flag.span, round(flag.size, 1)) == ("split", at(DAYS, 300, 2), 0.5)


def test_an_unexplained_split_is_a_flag_and_an_explained_one_is_none() -> None:
    """The table of actions knows the date and the ratio; another ratio explains nothing."""
    bars = scaled(scaled(walk(DAYS), 300, None, 0.5, *PRICES), 300, None, 2, "volume")
    (flag,) = find(bars, DAYS)
    assert (flag.kind, flag.span, flag.confidence) == ("split", at(DAYS, 300), 0.8)
    ex = at(DAYS, 300).start
    assert find(bars, DAYS, [Change(ex, 0.5)]) == []
    assert [f.kind for f in find(bars, DAYS, [Change(ex, 0.1)])] == ["adjusted", "split"]


def test_a_split_that_prices_do_not_show_is_told() -> None:
    """Prices that are adjusted already, or an action of the wrong instrument."""
    (flag,) = find(walk(DAYS), DAYS, [Change(at(DAYS, 300).start, 0.25)])
    assert (flag.kind, flag.span, flag.size) == ("adjusted", at(DAYS, 300), 0.25)
    assert find(walk(DAYS), DAYS, [Change(START - 90 * DAY, 0.25), Change(at(DAYS, 900).start, 0.25)]) == []


def test_a_bar_with_the_prices_of_both_sides_of_a_split_is_told() -> None:
    """As the first trade of a morning printed at the old price: the step is inside the bar, not before it."""
    bars = scaled(walk(DAYS), 300, None, 0.25, *PRICES).with_row_index()
    first, old = pl.col("index") == 300, pl.col("open") * 4
    bars = bars.with_columns(pl.when(first).then(old).otherwise(n).alias(n) for n in ("open", "high")).drop("index")
    (flag,) = find(bars, DAYS, [Change(at(DAYS, 300).start, 0.25)])
    assert (flag.kind, flag.span) == ("split", at(DAYS, 300))
    assert "holds both prices" in flag.evidence[0]


def test_a_genuine_gap_is_no_flag_and_a_silent_one_is() -> None:
    """A fifth lost overnight: with eight times the turnover it is news, with the usual one somebody's mistake."""
    fallen = scaled(walk(DAYS), 300, None, 0.8, *PRICES)
    assert find(scaled(fallen, 300, 301, 8, "volume"), DAYS) == []
    (flag,) = find(fallen, DAYS)
    assert (flag.kind, flag.span) == ("step", at(DAYS, 300))
    lone = score(DAYS, fallen["ts"].to_physical().to_numpy(), [flag])
    assert lone.validated == 1.0  # a step alone makes no bar unfit: it may be a spin-off, or a special dividend


def test_a_price_that_is_undone_is_a_spike_and_a_traded_one_is_hardly() -> None:
    """A day a quarter higher than both neighbours."""
    odd = scaled(walk(DAYS), 300, 301, 1.25, *PRICES)
    (quiet,) = find(odd, DAYS)
    (loud,) = find(scaled(odd, 300, 301, 9, "volume"), DAYS)
    assert (quiet.kind, quiet.span, quiet.confidence, loud.confidence) == ("spike", at(DAYS, 300), 0.9, 0.3)


@pytest.mark.parametrize(("name", "factor"), [("high", 1.5), ("low", 0.3)])
def test_a_lone_high_or_low_is_a_spike(name: str, factor: float) -> None:
    """Only one price of one bar is far from everything around it."""
    (flag,) = find(scaled(walk(MINUTES, sigma=0.001), 300, 301, factor, name), MINUTES)
    assert (flag.kind, flag.span) == ("spike", at(MINUTES, 300))
    assert flag.size == pytest.approx(factor, rel=0.02)


def test_what_is_wrong_with_a_bar_in_two_ways_is_one_flag_of_a_kind() -> None:
    """A high and a low that nobody traded at: one spike, which says both, for the lake keeps one of a kind and span."""
    (flag,) = find(scaled(scaled(walk(DAYS), 300, 301, 3.0, "high"), 300, 301, 0.2, "low"), DAYS)
    assert (flag.kind, flag.span, len(flag.evidence)) == ("spike", at(DAYS, 300), 2)


def test_a_frozen_feed_is_stale_and_silence_is_not() -> None:
    """The same bar with volume ten times is; ten flat bars without volume are an instrument nobody trades."""
    bars = walk(MINUTES, sigma=0.001)
    held = bars.with_columns(pl.col(n).gather(pl.int_range(pl.len()).clip(0, 300)) for n in VALUES).slice(0, 310)
    frozen = pl.concat([held, bars.slice(310).with_columns(pl.col(n) * held[n][-1] / bars[n][309] for n in PRICES)])
    (flag,) = find(frozen, MINUTES)
    assert (flag.kind, flag.span, flag.size) == ("stale", at(MINUTES, 300, 10), 10)
    flat = [pl.when(pl.int_range(pl.len()).is_between(301, 309)).then(frozen["close"][300]).otherwise(n).alias(n)
            for n in PRICES]  # fmt: skip
    silent = scaled(frozen.with_columns(flat), 301, 310, 0.0, "volume")
    assert find(silent, MINUTES) == []


def test_volume_that_does_not_go_with_the_price_is_flagged() -> None:
    """Two hundred times the usual while the price stands still; and a price that moves without any."""
    bars = walk(MINUTES, sigma=0.001)
    (loud,) = find(scaled(bars, 300, 301, 200, "volume"), MINUTES)
    assert (loud.kind, loud.span) == ("volume", at(MINUTES, 300))
    moved = scaled(scaled(bars, 300, 301, 0.0, "volume"), 300, 301, 1.01, "high")
    (silent,) = find(moved, MINUTES)
    assert (silent.kind, silent.span) == ("volume", at(MINUTES, 300))


def test_an_index_that_has_no_volume_is_not_suspicious() -> None:
    """A price without volume is odd among others with it, and nothing where no bar has any."""
    assert find(walk(DAYS).with_columns(pl.lit(0.0).alias("volume")), DAYS) == []


@pytest.mark.parametrize("bars", [0, 1, 2, 3])
def test_hardly_any_bars_are_no_reason_to_suspect_them(bars: int) -> None:
    """Nothing fails on a series that has just begun."""
    assert find(walk(DAYS, bars=max(bars, 1)).head(bars), DAYS) == []


def test_nothing_is_read_but_the_bars() -> None:
    """The bars that are looked at are as they were."""
    bars = scaled(walk(DAYS), 300, 302, 0.5, *PRICES)
    before = bars.clone()
    find(bars, DAYS)
    assert bars.equals(before)


def test_another_witness_speaks_for_or_against_a_flag() -> None:
    """What it has too is hardly our mistake; what it has otherwise surely is; what it has not changes nothing."""
    good = walk(DAYS)
    odd = scaled(good, 300, 301, 1.25, *PRICES)
    (flag,) = find(odd, DAYS)
    assert weighed(flag, odd, odd, "b").confidence == pytest.approx(flag.confidence * 0.2)
    against = weighed(flag, odd, good, "b")
    assert (against.confidence, against.evidence[-1]) == (0.99, "b differs by 25 % of the price")
    assert weighed(flag, odd, good.head(10), "b").confidence == flag.confidence


def test_a_score_falls_by_what_is_believed_of_each_flag() -> None:
    """Of ten bars one has a certain unit error, and one was refused; both are counted as bars."""
    ts = START + np.arange(10) * MINUTE
    unit = Flag(MINUTES, at(MINUTES, 3), "unit", 10.0, (), 1.0)
    bad = refused(MINUTES, START + 20 * MINUTE, ["not_a_number"])
    found = score(MINUTES, ts, [unit, bad])
    assert (found.bars, found.flags) == (11, {"unit": 1, "refused": 1})
    assert found.score == pytest.approx((11 - PENALTY["unit"] - PENALTY["refused"]) / 11)
    assert found.validated == pytest.approx(9 / 11)
    assert score(MINUTES, ts[:0], []).score == 1.0
    assert 1 - PENALTY["step"] * 0.5 >= VALIDATED


def _found(path: str, timeframe: str, venue: str) -> tuple[int, list[Flag], pl.DataFrame]:
    """Bars of a real table, their flags, and the rows that are no bars."""
    if not (DATA / path).exists():
        pytest.skip(f"needs real market data at {DATA}")
    table, bars = pl.read_parquet(DATA / path), Timeframe.parse(timeframe)
    ts = pl.col("open_time" if "open_time" in table.columns else "date").dt.replace_time_zone("UTC").cast(TS)
    rows = table.select(
        (venue + ":" + pl.col("symbol")).alias("instrument"), ts.alias("ts"), pl.col(*VALUES).cast(float)
    )
    checked = check_bars(rows, bars, now=LATEST)
    flags = [
        flag
        for (name,), part in checked.clean.group_by("instrument", maintain_order=True)
        for flag in find(part, Series.parse(str(name), bars))
    ]
    return checked.clean.height, flags, checked.quarantined


@pytest.mark.parametrize(
    ("path", "timeframe", "most"),
    [
        ("crypto/perp_1m_2025-05.parquet", "1m", 1),
        ("crypto/perp_5m_2025-03.parquet", "5m", 0),
        ("crypto/spot_1m_2021-04_outages.parquet", "1m", 0),
        ("crypto/spot_5m_2021-04_outages.parquet", "5m", 0),
        ("crypto/sparse_venue_1m_2019-01.parquet", "1m", 2),
        ("crypto/sparse_venue_1m_2019-02.parquet", "1m", 8),
    ],
)
def test_clean_months_give_hardly_any_flags(path: str, timeframe: str, most: int) -> None:
    """Outages, crashes and listings are no defects: of 1.3 million bars of one venue one is flagged."""
    bars, flags, bad = _found(path, timeframe, "BINANCE")
    assert bars > 40_000
    assert bad.height == 0
    assert len(flags) <= most, flags


def test_the_known_defects_of_a_daily_table_are_found() -> None:
    """Wrong highs and lows, days of another stock's price, an unadjusted split; and earnings gaps are let be."""
    bars, flags, bad = _found("equity/us_daily_2013_2018_unadjusted_defects.parquet", "1d", "XNYS")
    assert (bars, bad.height, Counter(bad["reason"])["not_a_number"]) == (314_546, 6, 1)
    found = {(f.series.instrument.symbol, str(f.span)[:10], f.kind) for f in flags}
    assert found >= {
        ("XL", "2015-08-24", "spike"),  # low 5.40 at a price of 35
        ("AME", "2013-10-29", "spike"),  # high 62.05 at 47.80
        ("HCA", "2015-08-24", "spike"),
        ("FLR", "2017-09-14", "spike"),  # a quarter up for one day, at three quarters of the usual volume
        ("MPC", "2017-09-14", "spike"),
        ("DISCA", "2014-08-07", "split"),
        ("EBAY", "2015-07-20", "step"),  # a spin-off
        ("KLAC", "2014-11-26", "step"),  # a special dividend
    }
    genuine = {("ULTA", "2013-12-06"), ("FL", "2017-08-18"), ("ILMN", "2016-10-11"), ("VRTX", "2014-06-24"),
               ("AMD", "2016-04-22"), ("PWR", "2015-10-16"), ("CTXS", "2017-02-01"), ("BBY", "2014-01-16")}  # fmt: skip
    assert not genuine & {(name, day) for name, day, _ in found}
    assert len(flags) <= 30
