"""Real files with known truths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gapless.bars import check_bars
from gapless.errors import InputError, UsageError
from gapless.sources.files import ReadOptions, expand, read, sniff
from gapless.spans import Timeframe, parse_time

DATA = Path(__file__).parents[2].parent / "shared" / "data"
NOW = parse_time("2027-01-01")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real market data is not beside the project")


def _read(name: str, timeframe: str, **options: object) -> pl.DataFrame:
    asked = ReadOptions(str(options.pop("venue", "BINANCE")), Timeframe.parse(timeframe), **options)  # type: ignore[arg-type]
    return pl.concat([reading.frame for reading in read(DATA / name, asked)], how="diagonal")


def _at(frame: pl.DataFrame, instrument: str, time: str) -> pl.DataFrame:
    return frame.filter(pl.col("instrument") == instrument, pl.col("ts").to_physical() == parse_time(time))


def test_perpetuals_of_may_2025_read_whole() -> None:
    """708,180 rows of 16 symbols come out clean, in file order, with nothing but venue and timeframe."""
    frame = _read("crypto/perp_1m_2025-05.parquet", "1m", venue="BINANCEUSDM")
    assert frame.height == 708_180
    assert frame["instrument"].n_unique() == 16
    assert frame["row"].to_list() == list(range(1, 708_181))
    assert frame["raw"].null_count() == frame.height
    assert check_bars(frame, Timeframe.parse("1m"), now=NOW).clean.height == 708_180


def test_a_big_parquet_file_is_read_in_batches() -> None:
    """No batch is larger than asked, and together they hold every row once, in order."""
    options = ReadOptions("BINANCEUSDM", Timeframe.parse("1m"), batch_rows=100_000)
    frames = [reading.frame for reading in read(DATA / "crypto/perp_1m_2025-05.parquet", options)]
    assert max(frame.height for frame in frames) <= 100_000
    assert pl.concat(frames).equals(_read("crypto/perp_1m_2025-05.parquet", "1m", venue="BINANCEUSDM"))


def test_forming_bar_snapshots_keep_all_rows_and_extras() -> None:
    """The table with odd column names has 15,725 rows, 32 of them surplus, and its trades and quote volume are read."""
    frame = _read("crypto/spot_BTCUSDT_1m_2021-10_duplicates.csv", "1m")
    checked = check_bars(frame, Timeframe.parse("1m"), now=NOW)
    assert (frame.height, checked.clean.height, checked.duplicates) == (15_725, 15_693, 32)
    assert set(frame["instrument"]) == {"BINANCE:BTCUSDT"}
    first = frame.row(0, named=True)
    assert (first["open"], first["trades"], first["quote_volume"], first["taker_buy_volume"]) == (
        54659.01, 1980.0, 3744747.3848163, 28.46837,
    )  # fmt: skip


@pytest.mark.parametrize("symbol", ["ALGOUSDT", "AVAXUSDT", "LINKUSDT"])
def test_monthly_archives_need_only_venue_and_timeframe(symbol: str) -> None:
    """A zip of 12 columns with header, in ms, is February 2026 without a gap."""
    frame = _read(f"crypto/archive/{symbol}-1m-2026-02.zip", "1m")
    assert frame.height == 28 * 1440
    assert set(frame["instrument"]) == {f"BINANCE:{symbol}"}
    assert frame["ts"].to_physical().diff().drop_nulls().unique().to_list() == [60_000_000]
    assert frame["ts"].to_physical()[0] == parse_time("2026-02-01")


def test_daily_archives_without_header_are_known_by_their_shape() -> None:
    """Twelve columns without a header: open time, prices, volumes and trades stand where Binance puts them."""
    frame = _read("crypto/archive/ADABTC-1m-2021-11-27.csv", "1m")
    assert frame.height == 10
    assert frame.select("open", "close", "quote_volume", "trades", "taker_buy_volume").row(0) == (
        0.00002853, 0.00002854, 1.03547608, 79.0, 19523.0,
    )  # fmt: skip
    layout = sniff(DATA / "crypto/archive/ADABTC-1m-2021-11-28.csv", ReadOptions("BINANCE", Timeframe.parse("1m")))
    assert (layout.header, layout.symbol, layout.symbol_from) == (False, "ADABTC", "the file name")
    assert "without header" in layout.describe()


def test_end_labelled_new_york_minutes_become_utc_opens() -> None:
    """The bar labelled 09:31 New York on 2019-02-11 opened at 14:30 UTC; a session has at most 390 of them."""
    frame = _read(
        "equity/us_1min_2019_end_labelled_newyork.parquet", "1m", venue="XNAS", tz="America/New_York", label="close"
    )
    assert frame.height == 43_164
    first = _at(frame, "XNAS:AAPL", "2019-02-11T14:30")
    source = pl.read_parquet(DATA / "equity/us_1min_2019_end_labelled_newyork.parquet")
    wanted = source.filter(pl.col("symbol") == "AAPL", pl.col("datetime") == "2019-02-11 09:31:00")
    assert first.select("open", "high", "low", "close").rows() == wanted.select("open", "high", "low", "close").rows()
    assert frame["ts"].dt.time().min().isoformat() == "14:30:00"  # type: ignore[union-attr]
    assert frame["ts"].dt.time().max().isoformat() == "20:59:00"  # type: ignore[union-attr]


def test_end_labelled_quarter_hours_become_utc_opens() -> None:
    """The last 15-minute bar of a New York session, labelled 16:00, opened at 20:45 UTC in winter."""
    frame = _read(
        "equity/us_15min_2019_end_labelled_newyork.parquet", "15m", venue="XNAS", tz="America/New_York", label="close"
    )
    assert frame.height == 18_518
    assert frame["ts"].to_physical()[0] == parse_time("2019-02-15T20:45")


def test_daily_labels_name_the_session_whatever_label_and_zone() -> None:
    """A date is a date: end label and New York do not move it."""
    frame = _read(
        "equity/us_daily_2019_end_labelled_newyork.parquet", "1d", venue="XNAS", tz="America/New_York", label="close"
    )
    plain = _read("equity/us_daily_2019_end_labelled_newyork.parquet", "1d", venue="XNAS")
    assert frame.equals(plain)
    assert _at(frame, "XNAS:AAPL", "2019-02-15")["close"].to_list() == [170.42]


def test_five_years_of_daily_rows_keep_their_defects_for_the_check() -> None:
    """Naive midnights are dates; the one NaN row and the five OHLC violations are refused, the rest flows."""
    frame = _read("equity/us_daily_2013_2018_unadjusted_defects.parquet", "1d", venue="XNAS")
    checked = check_bars(frame, Timeframe.parse("1d"), now=NOW)
    reasons = dict(checked.quarantined["reason"].value_counts().iter_rows())
    assert frame.height == 314_552
    assert reasons["not_a_number"] == 1
    assert checked.quarantined.height == 6
    assert frame["ts"].to_physical()[0] == parse_time("2013-02-08")


def test_extended_hours_keep_their_minutes() -> None:
    """Pre-market minutes are rows like others."""
    frame = _read("equity/us_minute_extended_hours.parquet", "1m", venue="XNAS")
    assert frame.height == 21_258
    assert frame["ts"].to_physical()[0] == parse_time("2014-06-05T08:15")


def test_sparse_and_outage_venues_read_whole() -> None:
    """Row counts of the other crypto tables are those of the files."""
    counts = {"sparse_venue_1m_2019-01": 86_011, "sparse_venue_1m_2019-02": 48_578, "spot_1m_2021-04_outages": 404_315}
    for name, rows in counts.items():
        assert _read(f"crypto/{name}.parquet", "1m").height == rows
    assert _read("crypto/spot_5m_2021-04_outages.parquet", "5m").height == 80_878


def _expect(call: Callable[[], object], kind: type[Exception], *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_tables_that_are_no_bars_are_refused() -> None:
    """Funding rates and factor files have no prices: the message lists what they have."""
    _expect(lambda: _read("crypto/perp_funding_2025-05.parquet", "1m"), InputError, "funding_rate", "--columns")
    _expect(lambda: _read("equity/factor_files/aapl.csv", "1d"), InputError, "aapl.csv", "column_1")


def test_the_wrong_timeframe_is_refused_by_name_and_by_content(tmp_path: Path) -> None:
    """A file called 1m is not read as 5m; renamed, its bars still lie a minute apart."""
    name = DATA / "crypto/spot_1m_2021-04_outages.parquet"
    _expect(lambda: _read("crypto/spot_1m_2021-04_outages.parquet", "5m"), UsageError, "--timeframe 1m")
    plain = tmp_path / "spot.parquet"
    plain.symlink_to(name)
    five = ReadOptions("BINANCE", Timeframe.parse("5m"))
    _expect(lambda: list(read(plain, five)), UsageError, "1m apart", "--timeframe 1m")
    plain.unlink()
    plain.symlink_to(DATA / "crypto/spot_5m_2021-04_outages.parquet")
    one = ReadOptions("BINANCE", Timeframe.parse("1m"))
    _expect(lambda: list(read(plain, one)), UsageError, "5m apart", "--timeframe 5m")


WIRE = DATA.parent / "wire"


def test_recorded_answers_of_vendors_are_files_too(tmp_path: Path) -> None:
    """Yahoo charts, Polygon pages and Binance klines saved as JSON; Bitfinex's order of columns must be told."""
    polygon = WIRE / "massive_polygon/v2__aggs__ticker__AAPL__range__1__day__2005-04-01__2005-04-04.json"
    days = _read(str(polygon), "1d", venue="XNAS")
    assert days.select("instrument", "close").rows() == [("XNAS:AAPL", 1.4604), ("XNAS:AAPL", 1.4675)]
    assert days["ts"].to_physical()[0] == parse_time("2005-04-01")
    yahoo = _read(str(WIRE / "yahoo_v8/chart_AAPL_5m_1d_trimmed.json"), "5m", venue="XNAS")
    assert yahoo["instrument"].unique().to_list() == ["XNAS:AAPL"]
    klines = WIRE / "binance_nautilus_lgpl/http_responses__http_spot_market_klines.json"
    assert _read(str(klines), "1m", symbol="BTCUSDT")["open"][0] == 60685.22
    bitfinex = WIRE / "bitfinex_rest_pages/BTCUSD_19-02-09T00-00-00.json"
    _expect(lambda: _read(str(bitfinex), "1m", symbol="BTCUSD"), InputError, "column_1")
    order = ("ts", "open", "close", "high", "low", "volume")
    columns = {name: f"column_{i}" for i, name in enumerate(order, 1)}
    page = _read(str(bitfinex), "1m", venue="BITFINEX", symbol="BTCUSD", columns=columns)
    assert check_bars(page, Timeframe.parse("1m"), now=NOW).quarantined.height == 0


def test_a_directory_names_its_tables() -> None:
    """Directories are searched, patterns matched, each file once."""
    archive = DATA / "crypto/archive"
    assert len(expand([archive, str(archive / "*.zip")])) == 5
    _expect(lambda: expand([archive / "ALGOUSDT-1m-2026-03.zip"]), UsageError, "did you mean")
    _expect(lambda: expand([archive / "*.parquet"]), UsageError, "nothing matches")
