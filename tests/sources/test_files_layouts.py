"""The layouts vendors and libraries write, each as small as it can be, and random bars through all of them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.errors import GaplessError, InputError
from gapless.sources import files_text
from gapless.sources.files import ReadOptions, read, sniff
from gapless.spans import DAY, MINUTE, Timeframe, iso, parse_time, to_datetime

T0 = parse_time("2025-05-01")
PRICES = ("open", "high", "low", "close", "volume")


def _options(timeframe: str = "1m", venue: str = "BINANCE", **more: object) -> ReadOptions:
    return ReadOptions(venue, Timeframe.parse(timeframe), **more)  # type: ignore[arg-type]


def _save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _frame(path: Path, timeframe: str = "1m", **more: object) -> pl.DataFrame:
    return pl.concat([r.frame for r in read(path, _options(timeframe, **more))], how="diagonal")


def _times(path: Path, timeframe: str = "1m", **more: object) -> list[str | None]:
    return [t and iso(t)[:16] for t in _frame(path, timeframe, **more)["ts"].to_physical().to_list()]


def _notes(path: Path, timeframe: str = "1m", **more: object) -> str:
    return " | ".join(next(iter(read(path, _options(timeframe, **more)))).notes)


ZONED: list[tuple[str, Literal["ns", "us", "ms"]]] = [("America/New_York", "ns"), ("UTC", "ms"), ("Asia/Kolkata", "us")]


# ---------------------------------------------------------------- vendors


def test_freqtrade_json_and_feather(tmp_path: Path) -> None:
    """Arrays in ms named BTC_USDT-5m.json, and the same as Feather with a `date` column, futures too."""
    rows = [[T0 // 1000 + i * 300_000, 10.0, 12.0, 9.0, 11.0, 1.5] for i in range(3)]
    frame = _frame(_save(tmp_path, "BTC_USDT-5m.json", json.dumps(rows)), "5m")
    assert frame["instrument"].unique().to_list() == ["BINANCE:BTCUSDT"]
    table = pl.DataFrame(rows, schema=["date", *PRICES], orient="row")
    table = table.with_columns(pl.col("date").cast(pl.Int64).cast(pl.Datetime("ms", "UTC")))
    table.write_ipc(tmp_path / "BTC_USDT_USDT-5m-futures.feather", compression="lz4")
    assert _frame(tmp_path / "BTC_USDT_USDT-5m-futures.feather", "5m").equals(frame)
    assert "pair BTC_USDT" in _notes(tmp_path / "BTC_USDT_USDT-5m-futures.feather", "5m")


def test_yahoo_csv_keeps_the_raw_close(tmp_path: Path) -> None:
    """Date, Open … Adj Close: the close as traded is read, the adjusted one is left out and said so."""
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,187.15,188.44,183.89,185.64,184.53,82488700\n"
    path = _save(tmp_path, "AAPL.csv", text)
    frame = _frame(path, "1d", venue="XNAS")
    assert frame.select("instrument", *PRICES).row(0) == ("XNAS:AAPL", 187.15, 188.44, 183.89, 185.64, 82488700.0)
    assert "Adj Close" in _notes(path, "1d")


def test_yfinance_header_of_three_lines(tmp_path: Path) -> None:
    """Price/Ticker/Date on three lines name the columns, the symbol and the time; two tickers are refused."""
    head = "Price,Close,High,Low,Open,Volume\nTicker,SPY,SPY,SPY,SPY,SPY\nDate,,,,,\n"
    path = _save(tmp_path, "download.csv", head + "2024-01-02,472.65,473.67,470.49,472.16,123623700\n")
    frame = _frame(path, "1d", venue="XNAS")
    assert frame.select("instrument", "row", *PRICES).row(0) == (
        "XNAS:SPY", 1, 472.16, 473.67, 470.49, 472.65, 123623700.0,
    )  # fmt: skip
    two = _save(tmp_path, "two.csv", head.replace("SPY,SPY,", "SPY,QQQ,", 1) + "2024-01-02,1,1,1,1,1\n")
    with pytest.raises(InputError, match="QQQ, SPY"):
        _frame(two, "1d")


@pytest.mark.parametrize(
    ("cells", "tz", "want"),
    [
        (["2024-01-02 00:00:00-05:00", "2024-07-02 00:00:00-04:00"], None, ["2024-01-02", "2024-07-02"]),
        (["2024-01-02 00:00:00+09:00", "2024-01-03 00:00:00+09:00"], None, ["2024-01-02", "2024-01-03"]),
        (["1704205800", "1704292200"], None, ["2024-01-02", "2024-01-03"]),  # 14:30Z, Yahoo
        (["1704171600000", "1704258000000"], "America/New_York", ["2024-01-02", "2024-01-03"]),  # 05:00Z, Polygon
        (["1704153600000", "1704240000000"], "America/New_York", ["2024-01-02", "2024-01-03"]),  # UTC midnights
        (["1704121200", "1704207600"], "Asia/Tokyo", ["2024-01-02", "2024-01-03"]),  # 15:00Z: midnight in Tokyo
        (["20240102", "20240103"], "America/New_York", ["2024-01-02", "2024-01-03"]),
        (["02-Jan-24", "03-Jan-24"], None, ["2024-01-02", "2024-01-03"]),
        (["1/2/2024 12:00:00 AM", "1/16/2024 12:00:00 AM"], "America/New_York", ["2024-01-02", "2024-01-16"]),
        (["Jan 02, 2024", "Jan 03, 2024"], None, ["2024-01-02", "2024-01-03"]),
        (["2024-01-02 16:00", "2024-01-03 13:00"], "America/New_York", ["2024-01-02", "2024-01-03"]),
    ],
)
@pytest.mark.parametrize("label", [None, "close"])
def test_daily_bars_get_the_session_date(
    tmp_path: Path, cells: list[str], tz: str | None, want: list[str], label: str | None
) -> None:
    """However a vendor writes a day, the bar opens at 00:00 UTC of the session's date, whatever the label."""
    rows = "".join(f'"{cell}",10,12,9,11,1\n' for cell in cells)
    path = _save(tmp_path, "AAPL.csv", "timestamp,open,high,low,close,volume\n" + rows)
    assert _times(path, "1d", tz=tz, label=label) == [f"{day}T00:00" for day in want]


def test_daily_ends_on_a_weekend_belong_to_the_day_before(tmp_path: Path) -> None:
    """An around-the-clock market labelled by close: Saturday 00:00 is the end of Friday, and a note says so."""
    rows = "".join(f"{(T0 + i * DAY) // 1000},10,12,9,11,1\n" for i in range(1, 8))
    path = _save(tmp_path, "BTCUSDT.csv", "timestamp,open,high,low,close,volume\n" + rows)
    assert _times(path, "1d", label="close")[0] == "2025-05-01T00:00"
    assert "day before" in _notes(path, "1d", label="close")
    assert _times(path, "1d")[0] == "2025-05-02T00:00"


def test_weeks_labelled_by_their_last_day_go_back_to_monday(tmp_path: Path) -> None:
    """A week called by its Friday opens on its Monday when labels are closes; open labels stay as written."""
    text = "date,open,high,low,close,volume\n2024-01-05,10,12,9,11,1\n2024-01-11,10,12,9,11,1\n"
    path = _save(tmp_path, "AAPL.csv", text)
    assert _times(path, "1w", label="close") == ["2024-01-01T00:00", "2024-01-08T00:00"]
    assert _times(path, "1w") == ["2024-01-05T00:00", "2024-01-11T00:00"]


def test_date_and_time_in_two_columns(tmp_path: Path) -> None:
    """MetaTrader and Stooq write date and time apart; daily tables need only the date."""
    metatrader = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    path = _save(tmp_path, "EURUSD_1m.csv", metatrader + "2025.05.01\t09:31:00\t10\t12\t9\t11\t5\t0\t1\n")
    assert _times(path) == ["2025-05-01T09:31"]
    stooq = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    path = _save(tmp_path, "aapl.us.txt", stooq + "AAPL.US,5,20250501,093500,10,12,9,11,5,0\n")
    assert _times(path, "5m") == ["2025-05-01T09:35"]
    assert _frame(path, "5m").select("instrument", "open_interest").row(0) == ("BINANCE:AAPL.US", 0.0)
    path = _save(tmp_path, "aapl.us.txt", stooq + "AAPL.US,D,20250501,000000,10,12,9,11,5,0\n")
    assert _times(path, "1d") == ["2025-05-01T00:00"]


def test_polygon_answers_and_flat_files(tmp_path: Path) -> None:
    """Rows under `results` with one-letter names and the ticker beside them; flat files with window_start in ns."""
    row = {"v": 1.0, "vw": 10.5, "o": 10, "c": 11, "h": 12, "l": 9, "t": T0 // 1000, "n": 7}
    path = _save(tmp_path, "page.json", json.dumps({"ticker": "AAPL", "results": [row], "status": "OK"}))
    frame = _frame(path, venue="XNAS")
    assert frame.select("instrument", *PRICES, "trades").row(0) == ("XNAS:AAPL", 10.0, 12.0, 9.0, 11.0, 1.0, 7.0)
    text = f"ticker,volume,open,close,high,low,window_start,transactions\nAAPL,1,10,11,12,9,{T0 * 1000},7\n"
    packed = _save(tmp_path, "2025-05-01.csv.gz", gzip.compress(text.encode()))
    assert _frame(packed, venue="XNAS").equals(frame.select(_frame(packed, venue="XNAS").columns))


def test_numbered_columns_and_json_documents(tmp_path: Path) -> None:
    """Alpha Vantage numbers its columns; documents of columns, split tables and pandas' default are read."""
    text = "timestamp,1. open,2. high,3. low,4. close,5. volume\n2025-05-01 00:00:00,10,12,9,11,1\n"
    want = _frame(_save(tmp_path, "AAPL.csv", text))
    cells = {"open": 10, "high": 12, "low": 9, "close": 11, "volume": 1}
    documents = {
        "columns": {"t": [T0 // 1_000_000]} | {name[0]: [value] for name, value in cells.items()},
        "split": {"columns": ["time", *cells], "index": [0], "data": [[T0 // 1000, *cells.values()]]},
        "pandas": {name: {str(T0 // 1000): value} for name, value in cells.items()},
        "records": [{"date": iso(T0)} | cells],
    }
    for document in documents.values():
        assert _frame(_save(tmp_path, "AAPL.json", json.dumps(document))).equals(want)


def test_websocket_records_tell_open_from_close_time(tmp_path: Path) -> None:
    """t and T, v and V differ by case alone: the lower-case ones are the bar's."""
    row = {"t": T0 // 1000, "T": T0 // 1000 + 59_999, "o": "10", "h": "12", "l": "9", "c": "11", "v": "1", "V": "0.5"}
    frame = _frame(_save(tmp_path, "BTCUSDT.jsonl", json.dumps(row) + "\n"))
    assert frame.select("ts", "volume").row(0) == (to_datetime(T0), 1.0)


def test_european_tables(tmp_path: Path) -> None:
    """Semicolons with decimal commas are fractions; where 1,234 might be either, the file is refused."""
    head = "Datum und Zeit;open;high;low;close;volume\n"
    path = _save(tmp_path, "SAP.csv", head + "01.05.2025 09:30;1.210,5;1.212,25;1.209,0;1.211,5;100\n")
    frame = _frame(path, columns={"ts": "Datum und Zeit"}, tz="Europe/Berlin")
    assert frame.select("ts", "open").row(0) == (to_datetime(parse_time("2025-05-01T07:30")), 1210.5)
    doubtful = _save(tmp_path, "SAP.csv", head + "01.05.2025 09:30;1,210;1,212;1,209;1,211;100\n")
    with pytest.raises(InputError, match="thousand or a fraction"):
        _frame(doubtful, columns={"ts": "Datum und Zeit"})


def test_thousands_spaces_and_quotes(tmp_path: Path) -> None:
    """Quoted cells, commas between thousands and blanks around cells are read as the numbers they are."""
    head = '"Date","Open","High","Low","Close","Volume"\n'
    text = head + '"2025-05-01 00:00","1,210.5",1212, 1209 ,"1,211","24,626,814"\n'
    assert _frame(_save(tmp_path, "AAPL.csv", text)).select("open", "low", "volume").row(0) == (
        1210.5, 1209.0, 24626814.0,
    )  # fmt: skip


def test_a_preamble_is_skipped_and_said(tmp_path: Path) -> None:
    """A line of advertisement before the header is no header."""
    text = "https://example.org/free-data\nunix,date,symbol,open,high,low,close,volume\n"
    path = _save(tmp_path, "x.csv", text + f"{T0 // 1_000_000},2025-05-01 00:00:00,BTC/USDT,10,12,9,11,1\n")
    assert _frame(path).select("instrument", "row").row(0) == ("BINANCE:BTCUSDT", 1)
    assert "before the header skipped" in _notes(path)


def test_pandas_indexes_are_times(tmp_path: Path) -> None:
    """The unnamed index of a saved data frame is its time, in CSV and in Parquet."""
    cells = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}
    text = "," + ",".join(cells) + "\n2025-05-01 00:00:00+00:00," + ",".join(map(str, cells.values())) + "\n"
    frame = _frame(_save(tmp_path, "AAPL.csv", text))
    table = pl.DataFrame(cells | {"__index_level_0__": to_datetime(T0)})
    table.write_parquet(tmp_path / "AAPL.parquet")
    assert _frame(tmp_path / "AAPL.parquet").equals(frame)
    assert frame["ts"].to_physical().to_list() == [T0]


def test_zones_of_columns_win_over_nothing(tmp_path: Path) -> None:
    """An aware column needs no zone and says so; a naive one is UTC unless told."""
    base = pl.DataFrame({"time": [to_datetime(T0)], "open": [1], "high": [1], "low": [1], "close": [1], "volume": [1]})
    for zone, unit in ZONED:
        base.with_columns(pl.col("time").dt.convert_time_zone(zone).dt.cast_time_unit(unit)).write_parquet(
            tmp_path / "A.parquet"
        )  # type: ignore[arg-type]
        assert _times(tmp_path / "A.parquet") == ["2025-05-01T00:00"]
        assert "not used" in _notes(tmp_path / "A.parquet", tz="Europe/Berlin")
    base.with_columns(pl.col("time").dt.replace_time_zone(None)).write_parquet(tmp_path / "A.parquet")
    assert _times(tmp_path / "A.parquet") == ["2025-05-01T00:00"]
    assert "taken as UTC" in _notes(tmp_path / "A.parquet")
    assert _times(tmp_path / "A.parquet", tz="Europe/Berlin") == ["2025-04-30T22:00"]


def test_values_out_of_any_range_are_refused_not_fatal(tmp_path: Path) -> None:
    """A datetime in the year 292,000,000 becomes a missing time; nothing aborts."""
    far = pl.Series("time", [T0 // 1000, 2**62, -(2**62)]).cast(pl.Datetime("ms", "UTC"))
    prices = {name: [1.0, 1.0, 1.0] for name in PRICES}
    pl.DataFrame([far, *(pl.Series(k, v) for k, v in prices.items())]).write_parquet(tmp_path / "A.parquet")
    assert _frame(tmp_path / "A.parquet")["ts"].null_count() == 2


def test_categories_decimals_and_integers_are_read(tmp_path: Path) -> None:
    """Column types other than text and float are cast, nested ones ignored."""
    table = pl.DataFrame(
        {
            "symbol": pl.Series(["BTCUSDT", None], dtype=pl.Categorical),
            "date": pl.Series([to_datetime(T0), to_datetime(T0 + MINUTE)]),
            **{name: pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)) for name in PRICES[:4]},
            "volume": [1, 2],
            "levels": [[1], [2]],
        }
    )
    table.write_parquet(tmp_path / "x.parquet")
    frame = _frame(tmp_path / "x.parquet")
    assert frame["instrument"].to_list() == ["BINANCE:BTCUSDT", None]
    assert frame["open"].to_list() == [1.5, 2.5]
    assert json.loads(frame["raw"][1])["symbol"] is None


def test_sniff_says_what_a_file_is(tmp_path: Path) -> None:
    """The description names format, time, symbol and columns, each with where it is from."""
    path = _save(tmp_path, "BTCUSDT-1m-2025-05.csv", f"{T0 // 1000},10,12,9,11,1,{T0 // 1000 + 59999},10,7,1,1,0\n")
    said = sniff(path, _options()).describe()
    for word in ("csv", "without header", "open_time", "BTCUSDT (from the file name)", "trades = count", "12 columns"):
        assert word in said


# ---------------------------------------------------------------- round trips

_price = st.floats(min_value=1e-8, max_value=1e9, allow_nan=False)
_bars = st.lists(st.tuples(_price, _price, _price, _price, st.floats(0, 1e12)), min_size=1, max_size=15)


def _csv(table: pl.DataFrame, separator: str = ",", header: bool = True) -> bytes:
    return table.write_csv(separator=separator, include_header=header).encode()


def _zip(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _binary(table: pl.DataFrame, how: str) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer) if how == "parquet" else table.write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


def _records(table: pl.DataFrame) -> bytes:
    return json.dumps(table.rows(named=True), default=str).encode()


WRITERS: dict[str, tuple[str, Callable[[pl.DataFrame], bytes]]] = {
    "csv": ("BTCUSDT.csv", _csv),
    "tsv": ("BTCUSDT.tsv", lambda t: _csv(t, "\t")),
    "gzip": ("BTCUSDT.csv.gz", lambda t: gzip.compress(_csv(t, "|"))),
    "zip": ("BTCUSDT.zip", lambda t: _zip("BTCUSDT.csv", _csv(t))),
    "parquet": ("BTCUSDT.parquet", lambda t: _binary(t, "parquet")),
    "zipped parquet": ("BTCUSDT.zip", lambda t: _zip("BTCUSDT.parquet", _binary(t, "parquet"))),
    "feather": ("BTCUSDT.feather", lambda t: _binary(t, "feather")),
    "arrays": ("BTCUSDT.json", lambda t: json.dumps(t.rows(), default=str).encode()),
    "records": ("BTCUSDT.json", _records),
    "lines": ("BTCUSDT.jsonl", lambda t: b"\n".join(json.dumps(r, default=str).encode() for r in t.rows(named=True))),
}
TIMES: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "s": lambda ts: ts // 1_000_000,
    "ms": lambda ts: ts // 1000,
    "us": lambda ts: ts,
    "ns": lambda ts: ts * 1000,
    "float s": lambda ts: ts / 1_000_000,
    "naive text": lambda ts: ts.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S"),
    "iso": lambda ts: ts.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    "offset": lambda ts: (ts + 330 * MINUTE).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S+05:30"),
    "day first": lambda ts: ts.cast(pl.Datetime("us")).dt.strftime("%d.%m.%Y %H:%M"),
}


def _ordered(bar: tuple[float, ...]) -> tuple[float, ...]:
    a, b, c, d, volume = bar
    low, one, two, high = sorted((a, b, c, d))
    return one, high, low, two, volume


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bars=_bars, form=st.sampled_from(sorted(TIMES)), first=st.integers(0, 40_000_000), chunk=st.sampled_from([1, 7, 64])
)
def test_random_bars_come_back_as_they_were(
    tmp_path: Path, writer: str, bars: list[tuple[float, ...]], form: str, first: int, chunk: int
) -> None:
    """Whatever the container, the way times are written and the batch size: same bars, same order, no note lost."""
    start = parse_time("1975-01-01") + first * MINUTE
    ts = [start + i * MINUTE for i in range(len(bars))]
    table = pl.DataFrame([_ordered(bar) for bar in bars], schema=dict.fromkeys(PRICES, pl.Float64), orient="row")
    table = table.insert_column(0, pl.Series("timestamp", ts)).with_columns(TIMES[form](pl.col("timestamp")))
    name, write = WRITERS[writer]
    frame = _frame(_save(tmp_path, name, write(table)), batch_rows=chunk)
    assert frame["ts"].to_physical().to_list() == ts
    assert frame.select(PRICES).equals(table.select(PRICES))
    assert frame["row"].to_list() == list(range(1, len(bars) + 1))
    assert frame["raw"].null_count() == frame.height


@pytest.mark.parametrize("writer", ["csv", "gzip", "zip", "arrays", "records", "lines"])
@pytest.mark.parametrize("chunk", [150, 151, 157, 211, 1000])
def test_where_the_bytes_are_cut_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, chunk: int
) -> None:
    """Text is read in pieces that end anywhere; rows, order and numbers are those of a single piece."""
    ts = [T0 // 1000 + i * 60_000 for i in range(200)]
    table = pl.DataFrame({"timestamp": ts, **{name: [i + 1.5 for i in range(200)] for name in PRICES}})
    name, write = WRITERS[writer]
    path = _save(tmp_path, name, write(table))
    whole = _frame(path)
    monkeypatch.setattr(files_text, "CHUNK", chunk)
    batches = [r.frame for r in read(path, _options())]
    assert len(batches) > 2
    assert pl.concat(batches).equals(whole)
    assert whole.height == 200


def test_rows_before_a_damage_are_read_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated download is not held in memory: its good part comes first, then the error names the file."""
    monkeypatch.setattr(files_text, "CHUNK", 2000)
    ts = [T0 // 1000 + i * 60_000 for i in range(5000)]
    table = pl.DataFrame({"timestamp": ts, **{name: [i + 1.5 for i in range(5000)] for name in PRICES}})
    path = _save(tmp_path, "BTCUSDT.csv.gz", gzip.compress(_csv(table))[:-2000])
    seen: list[int] = []
    with pytest.raises(InputError, match=r"BTCUSDT\.csv\.gz: the archive is damaged"):
        seen.extend(reading.frame.height for reading in read(path, _options()))
    assert 1000 < sum(seen) < 5000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300), st.text(max_size=300), st.text('0123456789.,;"\n[]{}: eE-', max_size=300)
    )
)
def test_no_bytes_break_the_reader(tmp_path: Path, content: bytes | str) -> None:
    """Any content either reads as rows in the schema or is refused with a message that names the file."""
    path = _save(tmp_path, "BTCUSDT.csv", content if isinstance(content, bytes) else content.encode())
    frame, refusal = None, ""
    try:
        frame = _frame(path)
    except GaplessError as error:
        refusal = str(error)
    assert (frame is not None and frame.height > 0) or "BTCUSDT.csv" in refusal


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=4), keep=st.booleans())
def test_damaged_files_are_read_or_refused(
    tmp_path: Path, writer: str, cuts: list[tuple[float, bytes]], keep: bool
) -> None:
    """Bytes changed anywhere in a good file: rows or a message, never another kind of error."""
    table = pl.DataFrame({"timestamp": [T0 // 1000 + i * 60_000 for i in range(40)], **dict.fromkeys(PRICES, 1.5)})
    name, write = WRITERS[writer]
    content = write(table)
    for share, patch in cuts:
        at = int(share * len(content))
        content = content[:at] + patch + (content[at + len(patch) :] if keep else b"")
    path = _save(tmp_path, name, content)
    try:
        frame = _frame(path)
    except GaplessError as error:
        assert name in str(error)  # noqa: PT017 - whether it is raised depends on the example
    else:
        assert frame.height <= 41 + len(cuts)
