"""Quality through the app: flags are kept beside the data, actions and witnesses are heard, no bar is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless import adjust
from gapless.app.lake import Lake
from gapless.app.scoring import Report, quality
from gapless.bars import TS
from gapless.config import parse
from gapless.errors import UnknownName
from gapless.series import Instrument, Series
from gapless.spans import DAY, MINUTE, Span, Timeframe, parse_time
from gapless.stores import flags

D1 = Timeframe.parse("1d")
AAPL = Series.parse("XNAS:AAPL", "1d")
START = parse_time("2020-01-06")


def days(factor: float = 1.0, first: int = 0, last: int = 0) -> pl.DataFrame:
    """200 days around 100; from ``first`` to ``last`` the prices are ``factor`` times as high."""
    draw = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, 200)))
    scale = np.ones(200)
    scale[first:last] = factor
    opened = np.concatenate(([100.0], close[:-1]))
    ts = START + np.arange(200) * DAY
    table = {"ts": ts, "open": opened * scale, "close": close * scale, "volume": 1e6 / scale}
    bars = pl.DataFrame(table).cast({"ts": TS})
    highest, lowest = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    return bars.with_columns((highest * 1.004).alias("high"), (lowest / 1.004).alias("low"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def look(lake: Lake, **words: object) -> Report:
    return quality(lake, None, [D1], **words)


def test_flags_are_kept_beside_the_data_until_the_next_look(lake: Lake) -> None:
    """Two days of half the price are a flag in the lake; bars and revisions are as they were; mended, it is gone."""
    lake.write("XNAS:AAPL", "1d", days(0.5, 100, 102))
    before = lake.bars(None, "1d", provenance=True)
    (flag,) = look(lake).flags
    assert (flag.kind, flag.span.start) == ("split", START + 100 * DAY)
    assert flags.of(lake.store, AAPL) == [flag]
    assert lake.bars(None, "1d", provenance=True).equals(before)
    assert look(lake).flags == [flag]
    lake.write("XNAS:AAPL", "1d", days(), source="better")
    assert look(lake).flags == flags.of(lake.store, AAPL) == []


def test_a_look_at_a_part_leaves_flags_of_other_times_alone(lake: Lake) -> None:
    """The flag of April stays when only June is looked at."""
    lake.write("XNAS:AAPL", "1d", days(10.0, 100, 101))
    (flag,) = look(lake).flags
    assert look(lake, span=Span(START + 150 * DAY, START + 190 * DAY)).flags == []
    assert flags.of(lake.store, AAPL) == [flag]


def test_refused_rows_are_flags_until_a_good_one_comes(lake: Lake) -> None:
    """A row with a high below its close counts against the series, until the bar is there."""
    row = pl.int_range(pl.len()) == 50
    lake.write("XNAS:AAPL", "1d", days().with_columns(pl.when(row).then(1.0).otherwise("high").alias("high")))
    report = look(lake)
    (flag,) = report.flags
    assert (flag.kind, flag.span, flag.confidence) == ("refused", Span(START + 50 * DAY, START + 51 * DAY), 1.0)
    assert flag.evidence[0].startswith("high_too_low")
    assert report.scores[0].score == pytest.approx(1 - 0.5 / 200)
    lake.write("XNAS:AAPL", "1d", days())
    assert look(lake).flags == []


def test_a_split_that_the_lake_knows_is_no_flag(lake: Lake) -> None:
    """Four for one on the hundredth day: a flag without the table of actions, none with it."""
    lake.write("XNAS:AAPL", "1d", days(0.25, 100, 200))
    assert [f.kind for f in look(lake).flags] == ["split"]
    known = adjust.split("XNAS:AAPL", START + 100 * DAY, 4)
    lake.store.meta.actions.store([known], now=lake.store.clock())
    assert look(lake).flags == []
    lake.write("XNAS:AAPL", "1d", days(), source="adjusted")
    assert [f.kind for f in look(lake).flags] == ["adjusted"]


def test_the_evening_before_an_ex_date_is_still_at_the_old_price(lake: Lake) -> None:
    """Hours after a winter's session lie after midnight UTC: the step is the next morning's, not at midnight."""
    evening, morning = parse_time("2020-01-14T00:00Z"), parse_time("2020-01-14T14:30Z")
    minutes = [*range(evening, evening + 60 * MINUTE, MINUTE), *range(morning, morning + 60 * MINUTE, MINUTE)]
    old = days().head(120).with_columns(pl.Series("ts", minutes).cast(TS))
    price = pl.when(pl.col("ts") < pl.lit(morning).cast(TS)).then(1.0).otherwise(0.25)
    lake.write("XNAS:AAPL", "1m", old.with_columns(pl.col(n) * price for n in ("open", "high", "low", "close")))
    known = adjust.split("XNAS:AAPL", parse_time("2020-01-14"), 4)
    lake.store.meta.actions.store([known], now=lake.store.clock())
    assert quality(lake, None, [Timeframe.parse("1m")]).flags == []


def test_a_witness_is_heard_about_flags(lake: Lake, tmp_path: Path) -> None:
    """A second lake that differs makes a flag certain; one that has the same bars makes it unlikely."""
    lake.write("XNAS:AAPL", "1d", days(1.25, 100, 101))
    (alone,) = look(lake).flags
    good, same = Lake(tmp_path / "good"), Lake(tmp_path / "same")
    good.write("XNAS:AAPL", "1d", days())
    same.write("XNAS:AAPL", "1d", days(1.25, 100, 101))
    (sure,) = look(lake, against=str(good.path)).flags
    (unlikely,) = look(lake, against=str(same.path)).flags
    assert (unlikely.confidence, alone.confidence, sure.confidence) == (pytest.approx(0.18), 0.9, 0.99)
    assert f"{good.path} differs by 25 % of the price" in sure.evidence


def test_the_worst_series_come_first_and_the_table_has_every_flag(lake: Lake) -> None:
    """Scores and flags as documents, and only of the instruments that were asked for."""
    lake.write("XNAS:GOOD", "1d", days())
    lake.write("XNAS:AAPL", "1d", days(10.0, 100, 101))
    report = look(lake)
    told = report.to_dict()
    assert [s["instrument"] for s in told["series"]] == ["XNAS:AAPL", "XNAS:GOOD"]
    assert told["series"][0]["flags"] == {"unit": 1}
    assert (told["series"][1]["score"], told["series"][1]["validated"]) == (1.0, 1.0)
    assert report.table.columns[:5] == ["instrument", "timeframe", "start", "end", "kind"]
    assert report.table.height == 1
    nothing = quality(lake, [Instrument.parse("XNAS:GOOD")], [D1]).table
    assert (nothing.height, nothing.schema) == (0, report.table.schema)  # who reads it need not ask
    assert report.table["start"].dtype == TS


def test_an_instrument_that_is_not_there_is_told(lake: Lake) -> None:
    """A slip of the pen is an error with the nearest name, not an empty report."""
    lake.write("XNAS:AAPL", "1d", days())
    with pytest.raises(UnknownName, match="did you mean 'XNAS:AAPL'"):
        quality(lake, [Instrument.parse("XNAS:AAPLE")], [D1])


def test_a_witness_that_cannot_be_asked_is_an_exit_code(tmp_path: Path) -> None:
    """The flags stand as they are, and the call does not end as if all had gone well."""
    soon = {"kind": "binance", "base_url": "http://127.0.0.1:9", "attempts": 1, "patience": "1s"}
    lake = Lake(tmp_path / "lake", config=parse({"sources": {"mirror": soon}}))
    lake.write("BINANCE:BTCUSDT", "1d", days(10.0, 100, 101))
    report = look(lake, against="mirror")
    assert (report.exit_code, [f.kind for f in report.flags]) == (1, ["unit"])
