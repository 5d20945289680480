"""Longer bars made of shorter ones are what the venue itself says, and never half-made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.bars import SCHEMA
from gapless.calendars import calendar
from gapless.errors import UsageError
from gapless.folds import fold
from gapless.sim.market import Market as SimMarket
from gapless.spans import HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time

SHARED = Path(__file__).parents[1].parent / "shared"
M1 = Timeframe.parse("1m")
OPEN = calendar("24/7")


def minutes(start: str, count: int, seed: int = 0) -> pl.DataFrame:
    """A walk of one-minute bars."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.normal(0, 1, count).cumsum() * 0.01
    frame = pl.DataFrame(
        {
            "instrument": ["X:A"] * count,
            "ts": parse_time(start) + np.arange(count) * MINUTE,
            "open": close,
            "high": close + rng.random(count),
            "low": close - rng.random(count),
            "close": close + 0.01,
            "volume": rng.random(count),
        }
    )
    return frame.with_columns(pl.col("ts").cast(SCHEMA["ts"]))


@pytest.mark.parametrize("name", ["5m", "15m", "1h", "4h", "1d", "1w"])
def test_folds_equal_the_venues_own_longer_bars(name: str) -> None:
    """The simulated venue serves longer bars that it made itself: ours are the same to the bit."""
    market = SimMarket(3, ("BTCUSDT",), parse_time("2025-01-01"), None, outages_per_month=0, halts_per_month=0)
    span, to = Span.parse("2025-03-03", "2025-03-17"), Timeframe.parse(name)
    mine = fold(market.truth("BTCUSDT", M1, span), M1, to, OPEN)
    theirs = market.truth("BTCUSDT", to, span)
    columns = ["ts", "open", "high", "low", "close", "trades"]
    assert mine.height == theirs.height > 0
    assert mine.select(columns).equals(theirs.select(columns))
    assert np.allclose(mine["volume"], theirs["volume"], rtol=1e-12)


def test_a_bar_whose_end_is_unknown_is_left_out() -> None:
    """Sixty minutes less one give no hour; a minute known not to exist does not stand in the way."""
    bars = minutes("2025-01-01", 119)
    hours = fold(bars, M1, Timeframe.parse("1h"), OPEN)
    assert hours["ts"].to_physical().to_list() == [parse_time("2025-01-01")]
    hole = bars.filter(pl.int_range(pl.len()) != 30)
    start = parse_time("2025-01-01")
    assert fold(hole, M1, Timeframe.parse("1h"), OPEN, settled=SpanSet.of((start, start + HOUR))).height == 1
    lacks = SpanSet.of((start, start + 30 * MINUTE), (start + 31 * MINUTE, start + HOUR))
    assert fold(hole, M1, Timeframe.parse("1h"), OPEN, settled=lacks).height == 0


def test_a_session_is_one_day_under_its_date_without_extended_hours() -> None:
    """New York, a half day: 210 regular minutes, the bars around them left out."""
    bars = minutes("2015-12-24T09:00", 60 * 12)
    days = fold(bars, M1, Timeframe.parse("1d"), calendar("XNYS"))
    assert days["ts"].to_physical().to_list() == [parse_time("2015-12-24")]
    hours = Span.parse("2015-12-24T14:30", "2015-12-24T18:00")
    regular = bars.filter(pl.col("ts").to_physical().is_between(hours.start, hours.end, closed="left"))
    assert days["volume"].item() == pytest.approx(regular["volume"].sum())
    assert days["open"].item() == regular["open"][0]


def test_an_overnight_session_belongs_to_the_date_it_ends_on() -> None:
    """Chicago futures open on the evening before: the day's bar begins there."""
    market = calendar("CMES")
    bars = minutes("2024-03-05T22:00", 60 * 30)
    days = fold(bars, M1, Timeframe.parse("1d"), market)
    assert parse_time("2024-03-06") in days["ts"].to_physical().to_list()


def test_real_minutes_against_the_venues_own_five_minutes() -> None:
    """Of two weeks of twenty symbols, all but the known 0.15 % agree (the venue disagrees with itself there)."""
    path = SHARED / "data/crypto/spot_1m_2021-04_outages.parquet"
    if not path.exists():
        pytest.skip(f"needs real bars at {path}")
    name, to = "ADAUSDT", Timeframe.parse("5m")

    def read(file: Path) -> pl.DataFrame:
        rows = pl.read_parquet(file).filter(pl.col("symbol") == name).sort("open_time")
        return rows.rename({"open_time": "ts", "symbol": "instrument"}).with_columns(pl.col("ts").cast(SCHEMA["ts"]))

    ones, fives = read(path), read(path.with_name("spot_5m_2021-04_outages.parquet"))
    settled = SpanSet.of((int(ones["ts"].to_physical()[0]), int(ones["ts"].to_physical()[-1]) + MINUTE))
    both = fold(ones, M1, to, OPEN, settled=settled).join(fives, on="ts", suffix="_theirs")
    same = both.select(pl.all_horizontal(pl.col(c) == pl.col(f"{c}_theirs") for c in ("open", "high", "low", "close")))
    assert both.height >= fives.height - 5
    assert same.to_series().mean() > 0.995  # type: ignore[operator]


def test_what_does_not_divide_is_refused() -> None:
    """A day is not made of days."""
    with pytest.raises(UsageError, match="cannot be made"):
        fold(minutes("2025-01-01", 5), Timeframe.parse("1h"), Timeframe.parse("5m"), OPEN)


def test_nothing_folds_to_nothing() -> None:
    """No bars, or only bars outside hours, give no bars."""
    assert fold(minutes("2025-01-01", 5).clear(), M1, Timeframe.parse("5m"), OPEN).height == 0
    night = minutes("2025-01-04T03:00", 60)
    assert fold(night, M1, Timeframe.parse("1h"), calendar("XNYS")).height == 0


def test_a_week_of_daily_bars_is_of_its_own_days() -> None:
    """New York opens hours after the date by which its daily bar is labelled: Monday is of this week all the same."""
    market, d1, w1 = calendar("XNYS"), Timeframe.parse("1d"), Timeframe.parse("1w")
    span = Span.parse("2024-01-08", "2024-01-27")  # Monday 15 January was a holiday
    days = np.concatenate([np.arange(s.start, s.end, d1.micros) for s in market.expected(d1, span)])
    bars = minutes("2024-01-08", len(days)).with_columns(pl.Series("ts", days).cast(SCHEMA["ts"]))
    weeks = fold(bars, d1, w1, market)
    assert weeks["ts"].to_physical().to_list() == [parse_time(f"2024-01-{day:02}") for day in (8, 15, 22)]
    assert weeks["open"].to_list() == [bars["open"][0], bars["open"][5], bars["open"][9]]
    assert weeks["close"].to_list() == [bars["close"][4], bars["close"][8], bars["close"][13]]


def test_an_hour_in_which_a_session_begins_is_of_that_session() -> None:
    """The hour of 14:00 holds the first half hour of New York's winter session, and opens its day."""
    market, h1, d1 = calendar("XNYS"), Timeframe.parse("1h"), Timeframe.parse("1d")
    opens = np.concatenate(
        [np.arange(s.start, s.end, HOUR) for s in market.expected(h1, Span.parse("2024-01-08", "2024-01-10"))]
    )
    bars = minutes("2024-01-08", len(opens)).with_columns(pl.Series("ts", opens).cast(SCHEMA["ts"]))
    days = fold(bars, h1, d1, market)
    assert days["ts"].to_physical().to_list() == [parse_time("2024-01-08"), parse_time("2024-01-09")]
    assert days["open"].to_list() == [bars["open"][0], bars["open"][7]]
