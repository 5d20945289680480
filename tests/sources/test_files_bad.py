"""Bad input: each kind gets a message that names file, row and fix, and no row is lost."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from gapless.bars import SCHEMA, TRACES, check_bars
from gapless.errors import GaplessError, InputError, UnknownName, UsageError
from gapless.sources.files import Reading, ReadOptions, expand, read, sniff
from gapless.spans import MINUTE, Timeframe, parse_time

ONE = Timeframe.parse("1m")
HEADER = "open_time,open,high,low,close,volume\n"
NOW = parse_time("2027-01-01")
T0 = parse_time("2025-05-01")


def _lines(count: int, start: int = 0) -> list[str]:
    return [f"{(T0 + (start + i) * MINUTE) // 1000},10,12,9,11,{i + 1}" for i in range(count)]


def _write(folder: Path, text: str | bytes, name: str = "BTCUSDT-1m-2025-05.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _table(folder: Path, lines: Iterable[str], header: str = HEADER, name: str = "BTCUSDT-1m-2025-05.csv") -> Path:
    return _write(folder, header + "\n".join(lines) + "\n", name)


def _options(timeframe: str = "1m", **more: object) -> ReadOptions:
    return ReadOptions("BINANCE", Timeframe.parse(timeframe), **more)  # type: ignore[arg-type]


def _readings(path: Path, timeframe: str = "1m", **more: object) -> list[Reading]:
    return list(read(path, _options(timeframe, **more)))


def _frame(path: Path, timeframe: str = "1m", **more: object) -> pl.DataFrame:
    return pl.concat([reading.frame for reading in _readings(path, timeframe, **more)], how="diagonal")


def _message(path: Path, kind: type[GaplessError], timeframe: str = "1m", **more: object) -> str:
    with pytest.raises(kind) as caught:
        _readings(path, timeframe, **more)
    assert path.name in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


# ---------------------------------------------------------------- single rows


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1746057660000,abc,12,9,11,5", "not_a_number"),
        ("1746057660000,,12,9,11,5", "not_a_number"),
        ("1746057660000,NaN,12,9,11,5", "not_a_number"),
        ("1746057660000,-10,12,9,11,5", "not_positive"),
        ("1746057660000,10,12,9,11,x", "bad_volume"),
        ("1746057660000,10,12,9,11", "no_time"),
        ("1746057660000,10,12,9,11,5,6", "no_time"),
        ("1746057660000,1,234.5,12,9,11,5", "no_time"),
        ('1746057660000,"10,12,9,11,5', "no_time"),
        ("soon,10,12,9,11,5", "no_time"),
        ("0,10,12,9,11,5", "no_time"),
        ("99999999999999999999999,10,12,9,11,5", "no_time"),
        ("32503680000000,10,12,9,11,5", "time_out_of_range"),
        ("1746057661234,10,12,9,11,5", "off_grid"),
    ],
)
def test_a_bad_row_is_refused_alone_with_its_text(tmp_path: Path, line: str, reason: str) -> None:
    """The row before and the rows after flow; the bad one is refused with a reason, its number, and its text."""
    lines = _lines(30)
    lines[1] = line
    frame = _frame(_table(tmp_path, lines))
    checked = check_bars(frame, ONE, now=NOW)
    assert frame.height == 30
    assert checked.clean.height == 29
    assert checked.quarantined.select("row", "reason").rows() == [(2, reason)]
    assert frame.filter(pl.col("row") != 2)["raw"].null_count() == 29
    unreadable = frame.row(1, named=True)["raw"]
    assert unreadable in (None, line)
    if reason == "no_time" or line.startswith("1746057660000,abc"):
        assert unreadable == line


def test_a_path_in_a_symbol_is_a_refused_row(tmp_path: Path) -> None:
    """Symbols that are paths, queries or empty give rows without instrument and with their text; the others flow."""
    names = ["BTCUSDT", "../../etc/passwd", "a;drop table", "", "ETH/USDT", "BINANCE:SOLUSDT", "XNAS:AAPL", "A" * 41]
    lines = [f"{name},{line}" for name, line in zip(names, _lines(8), strict=True)]
    frame = _frame(_table(tmp_path, lines, "symbol," + HEADER, "many.csv"))
    assert frame["instrument"].to_list() == [
        "BINANCE:BTCUSDT", None, None, None, "BINANCE:ETHUSDT", "BINANCE:SOLUSDT", None, None,
    ]  # fmt: skip
    assert frame.filter(pl.col("instrument").is_null())["row"].to_list() == [2, 3, 4, 7, 8]
    assert frame["raw"][1] == lines[1]
    assert frame.filter(pl.col("instrument").is_null())["raw"].null_count() == 0
    refused = check_bars(frame, ONE, now=NOW).quarantined
    assert refused.select("row", "reason").rows() == [(row, "bad_symbol") for row in (2, 3, 4, 7, 8)]


def test_an_unreadable_optional_cell_is_told_not_refused(tmp_path: Path) -> None:
    """A trade count that is no number is left out with a note; an empty one is just absent."""
    lines = [line + more for line, more in zip(_lines(3), (",7", ",many", ","), strict=True)]
    reading = _readings(_table(tmp_path, lines, HEADER.strip() + ",trades\n"))[0]
    assert reading.frame["trades"].to_list() == [7.0, None, None]
    assert any("trades: 1 cell(s)" in note and "'many' in row 2" in note for note in reading.notes)


def test_order_and_repetition_are_kept(tmp_path: Path) -> None:
    """Rows come unsorted and doubled as they stand in the file."""
    lines = _lines(40)
    lines = [*lines[::-1], lines[3]]
    frame = _frame(_table(tmp_path, lines))
    assert frame["volume"].to_list() == [*(float(i) for i in range(40, 0, -1)), 4.0]
    checked = check_bars(frame, ONE, now=NOW)
    assert (checked.clean.height, checked.duplicates) == (40, 1)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """Blank lines anywhere, CRLF and a byte-order mark change nothing."""
    lines = _lines(4)
    text = "\ufeff\r\n" + HEADER.replace("\n", "\r\n") + "\r\n" + "\r\n\r\n".join(lines) + "\r\n\r\n"
    path = _write(tmp_path, text)
    assert _frame(path).equals(_frame(_table(tmp_path, lines, name="BTCUSDT-1m.csv")))


def test_bad_rows_deep_in_a_batched_file_keep_their_number(tmp_path: Path) -> None:
    """Row numbers run through batches, and no batch is larger than asked."""
    lines = _lines(1000)
    lines[777] = "torn"
    readings = _readings(_table(tmp_path, lines), batch_rows=64)
    assert max(r.frame.height for r in readings) <= 64
    frame = pl.concat([r.frame for r in readings])
    assert frame["row"].to_list() == list(range(1, 1001))
    assert frame.filter(pl.col("raw").is_not_null()).select("row", "raw").rows() == [(778, "torn")]


def test_a_row_that_changes_unit_is_read_by_its_own_size(tmp_path: Path) -> None:
    """A file may go over from ms to µs in its middle; seconds and ns are told apart too."""
    at = [T0 + i * MINUTE for i in range(4)]
    cells = [str(at[0] // 1000), str(at[1]), str(at[2] * 1000), str(at[3] // 1_000_000)]
    frame = _frame(_table(tmp_path, [f"{cell},10,12,9,11,1" for cell in cells]))
    assert frame["ts"].to_physical().to_list() == at


def test_local_times_that_do_not_exist_or_are_not_unique_are_refused(tmp_path: Path) -> None:
    """The hour left out in spring and the hour repeated in autumn name no single moment; the others convert."""
    times = ["2019-03-10 01:59", "2019-03-10 02:30", "2019-03-10 03:00", "2019-11-03 01:30", "2019-11-03 02:00"]
    frame = _frame(_table(tmp_path, [f"{t},10,12,9,11,1" for t in times]), tz="America/New_York")
    assert [t and t.strftime("%m-%d %H:%M") for t in frame["ts"].to_list()] == [
        "03-10 06:59", None, "03-10 07:00", None, "11-03 07:00",
    ]  # fmt: skip
    assert frame.filter(pl.col("raw").is_not_null())["row"].to_list() == [2, 4]


# ---------------------------------------------------------------- whole files


def test_empty_files_are_refused(tmp_path: Path) -> None:
    """Nothing, white space, a header without rows, an empty list, an empty zip: each is named."""
    assert "empty" in _message(_write(tmp_path, ""), InputError)
    assert "empty" in _message(_write(tmp_path, " \n\n"), InputError)
    assert "no rows" in _message(_write(tmp_path, HEADER), InputError)
    assert "no rows" in _message(_write(tmp_path, "[]", "BTCUSDT-1m.json"), InputError)
    with zipfile.ZipFile(tmp_path / "BTCUSDT-1m.zip", "w"):
        pass
    assert "empty" in _message(tmp_path / "BTCUSDT-1m.zip", InputError)
    pl.DataFrame(
        schema={"ts": pl.Datetime("us", "UTC")} | dict.fromkeys(HEADER.strip().split(",")[1:], pl.Float64)
    ).write_parquet(tmp_path / "A.parquet")
    assert "no rows" in _message(tmp_path / "A.parquet", InputError)


def test_missing_columns_are_named_with_what_is_there(tmp_path: Path) -> None:
    """No time, no high, no volume: the message lists the columns and how to map them."""
    lines = _lines(2)
    for gone, word in (("open_time", "a time"), ("high", "high"), ("volume", "volume")):
        said = _message(_table(tmp_path, lines, HEADER.replace(gone, "colour")), InputError)
        assert f"no column for {word}" in said
        assert "colour" in said
        assert "--columns" in said


def test_a_mapping_must_name_real_columns(tmp_path: Path) -> None:
    """Unknown names on either side of a mapping get the nearest one."""
    path = _table(tmp_path, _lines(2), HEADER.replace("open,", "first px,"))
    assert _frame(path, columns={"open": "first px"})["open"].to_list() == [10.0, 10.0]
    assert "did you mean 'first px'" in _message(path, InputError, columns={"open": "first p"})
    with pytest.raises(UnknownName, match="did you mean 'open'"):
        _readings(path, columns={"opn": "first px"})


def test_times_that_are_none_are_refused(tmp_path: Path) -> None:
    """Row numbers, words and dates without hours cannot label minutes."""
    assert "too small" in _message(_table(tmp_path, [f"{i},10,12,9,11,1" for i in (1, 2, 3)]), InputError)
    assert "not a time" in _message(_table(tmp_path, ["monday,10,12,9,11,1"]), InputError)
    assert "--timeframe 1d" in _message(_table(tmp_path, ["2025-05-01,10,12,9,11,1"]), InputError)
    assert "--timeframe 1d" in _message(_table(tmp_path, ["20250501,10,12,9,11,1"]), InputError)


def test_a_date_that_reads_two_ways_is_asked_about(tmp_path: Path) -> None:
    """01/02/2025 is refused until a day above 12 or the caller decides."""
    path = _table(tmp_path, ["01/02/2025,10,12,9,11,1", "03/02/2025,10,12,9,11,1"], name="AAPL.csv")
    assert "--time-format" in _message(path, InputError, "1d")
    february = _frame(path, "1d", time_format="%d/%m/%Y")["ts"].to_physical().to_list()
    assert february == [parse_time("2025-02-01"), parse_time("2025-02-03")]
    decided = _table(tmp_path, ["01/02/2025,10,12,9,11,1", "01/13/2025,10,12,9,11,1"], name="AAPL.csv")
    assert _frame(decided, "1d")["ts"].to_physical().to_list() == [parse_time("2025-01-02"), parse_time("2025-01-13")]
    assert "does not fit" in _message(path, UsageError, "1d", time_format="%Y")


def test_a_symbol_must_come_from_somewhere(tmp_path: Path) -> None:
    """Without a column, a telling file name or --symbol there is no series; a path is never a symbol."""
    path = _table(tmp_path, _lines(2), name="prices.csv")
    assert "--symbol" in _message(path, UsageError)
    assert _frame(path, symbol="BTCUSDT")["instrument"].unique().to_list() == ["BINANCE:BTCUSDT"]
    with pytest.raises(UsageError, match="not a symbol"):
        _options(symbol="../../etc")
    with pytest.raises(UsageError, match="not a venue"):
        ReadOptions("../x", ONE)


def test_mixed_symbols_contradict_a_given_symbol(tmp_path: Path) -> None:
    """--symbol over a column that says otherwise names the first such row."""
    lines = [f"{name},{line}" for name, line in zip(["BTCUSDT", "", "ETHUSDT"], _lines(3), strict=True)]
    path = _table(tmp_path, lines, "symbol," + HEADER, "many.csv")
    assert "row 3 is of symbol 'ETHUSDT'" in _message(path, UsageError, symbol="BTCUSDT")


def test_a_label_must_agree_with_the_columns_name(tmp_path: Path) -> None:
    """open_time is no close, close_time no open; said explicitly, the caller is believed."""
    path = _table(tmp_path, _lines(2))
    assert "--label" in _message(path, UsageError, label="close")
    assert _frame(path, label="close", columns={"ts": "open_time"})["ts"].to_physical()[1] == T0
    ends = _table(tmp_path, [f"{(T0 + MINUTE) // 1000 - 1},10,12,9,11,1"], HEADER.replace("open_time", "close_time"))
    assert "--label close" in _message(ends, UsageError)
    assert _frame(ends, label="close")["ts"].to_physical().to_list() == [T0]


def test_options_are_checked_by_name() -> None:
    """Unknown zones, formats and labels are refused with the nearest that exists."""
    with pytest.raises(UnknownName, match="did you mean 'America/New_York'"):
        _options(tz="America/NewYork")
    with pytest.raises(UnknownName, match="did you mean 'parquet'"):
        _options(format="parket")
    with pytest.raises(UsageError, match="'end' is not a label"):
        _options(label="end")
    with pytest.raises(UsageError, match="batch_rows"):
        _options(batch_rows=0)


def test_the_file_name_states_the_timeframe(tmp_path: Path) -> None:
    """A 5m or 1-month name is refused for 1m with the fix."""
    assert "--timeframe 5m" in _message(_table(tmp_path, _lines(2), name="BTC_USDT-5m.csv"), UsageError)
    assert "1mo" in _message(_table(tmp_path, _lines(2), name="BTC_USDT-1M.csv"), UsageError)


def test_bars_of_another_timeframe_are_refused_by_their_distance(tmp_path: Path) -> None:
    """Minutes are no 5-minute bars, weeks no days, months no days, whatever the file is called."""
    minutes = _table(tmp_path, _lines(60), name="BTCUSDT.csv")
    assert "--timeframe 1m" in _message(minutes, UsageError, "5m")
    for days, word in ((7, "--timeframe 1w"), (31, "31 days apart")):
        rows = [f"{(T0 + (i - 60) * days * 1440 * MINUTE) // 1000},10,12,9,11,1" for i in range(40)]
        assert word in _message(_table(tmp_path, rows, name="BTCUSDT.csv"), UsageError, "1d")


def test_intraday_times_are_no_days(tmp_path: Path) -> None:
    """Four bars of one day asked for as daily bars would fall upon one another: refused."""
    path = _table(tmp_path, [f"2025-05-01 09:3{i},10,12,9,11,1" for i in range(4)], name="AAPL.csv")
    assert "several times a day" in _message(path, UsageError, "1d")


def test_columns_by_position_must_behave_like_prices(tmp_path: Path) -> None:
    """Six columns in another order (open, close, high, low) are refused; five are not guessed at."""
    rows = [f"{(T0 + i * MINUTE) // 1000},10,11,12,9,1" for i in range(5)]
    assert "not open, high, low, close" in _message(_table(tmp_path, rows, ""), InputError)
    names = ("ts", "open", "close", "high", "low", "volume")
    mapped = {name: f"column_{i}" for i, name in enumerate(names, 1)}
    assert _frame(_table(tmp_path, rows, ""), columns=mapped).select("high", "low", "close").row(0) == (12.0, 9.0, 11.0)
    five = _message(_table(tmp_path, [row.rpartition(",")[0] for row in rows], ""), InputError)
    assert "column_5" in five


def test_foreign_and_damaged_bytes_are_named(tmp_path: Path) -> None:
    """UTF-16, Latin-1, NULs, xz, Excel, half a Parquet file, half a gzip, half a zip: the message says which."""
    text = HEADER + "\n".join(_lines(50)) + "\n"
    assert "UTF-8" in _message(_write(tmp_path, text.encode("utf-16")), InputError)
    latin = text.encode() + b"1746057600000,10,12,9,11,\xe9\n"
    assert "row 51" in _message(_write(tmp_path, latin), InputError).replace("row 52", "row 51")
    assert "xz" in _message(_write(tmp_path, b"\xfd7zXZ\0\0\0"), InputError)
    assert "no separator" in _message(_write(tmp_path, "hello\nworld\n"), InputError)
    assert "CR alone" in _message(_write(tmp_path, text.replace("\n", "\r")), InputError)
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("[Content_Types].xml", "<x/>")
    assert "Excel" in _message(tmp_path / "book.xlsx", InputError)
    assert "damaged" in _message(_write(tmp_path, gzip.compress(text.encode())[:-20], "BTCUSDT-1m.csv.gz"), InputError)
    with zipfile.ZipFile(tmp_path / "BTCUSDT-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-1m.csv", text)
    whole = (tmp_path / "BTCUSDT-1m.zip").read_bytes()
    assert "damaged" in _message(_write(tmp_path, whole[: len(whole) // 2], "BTCUSDT-1m.zip"), InputError)
    pl.DataFrame({"ts": [1] * 1000}).write_parquet(tmp_path / "A.parquet")
    half = (tmp_path / "A.parquet").read_bytes()[:-40]
    assert "cannot be read" in _message(_write(tmp_path, half, "A.parquet"), InputError)
    assert "cannot be read" in _message(_write(tmp_path, b"ARROW1\0\0garbage", "A.feather"), InputError)


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    """A zip may hold several tables and other things; members with a path are read, never written anywhere."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.md", "hello")
        archive.writestr("../../BTCUSDT-1m-2025-05.csv", HEADER + "\n".join(_lines(3)))
        archive.writestr("__MACOSX/._x.csv", "junk")
        archive.writestr("deep/ETHUSDT-1m-2025-05.csv", HEADER + "\n".join(_lines(2)))
    readings = _readings(tmp_path / "all.zip")
    assert [set(r.frame["instrument"]) for r in readings] == [{"BINANCE:BTCUSDT"}, {"BINANCE:ETHUSDT"}]
    assert readings[1].path.endswith("all.zip!deep/ETHUSDT-1m-2025-05.csv")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["all.zip"]
    assert not list(tmp_path.parent.glob("BTCUSDT*"))
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.md", "hello")
    assert "no table" in _message(tmp_path / "none.zip", InputError)


def test_json_that_holds_no_bars_is_refused(tmp_path: Path) -> None:
    """Broken JSON, a scalar, an error body: named with what was seen."""
    for text in ("[[1746057600000,10,12,9", '{"code":-1121,"msg":"Invalid symbol."}', "[1,2,3]", '{"a":'):
        _message(_write(tmp_path, text, "BTCUSDT-1m.json"), InputError)


def test_a_bad_json_row_is_refused_alone(tmp_path: Path) -> None:
    """A row of another shape keeps its text; NaN, which Python writes and JSON forbids, is a number that is none."""
    rows: list[object] = [[(T0 + i * MINUTE) // 1000, 10, 12, 9, 11, 1] for i in range(5)]
    rows[1], rows[2] = [1, 2], [(T0 + 2 * MINUTE) // 1000, float("nan"), 12, 9, 11, 1]
    for name, text in (
        ("BTC_USDT-1m.json", json.dumps(rows)),
        ("BTC_USDT-1m.jsonl", "\n".join(json.dumps(row) for row in rows if row != rows[2]) + "\n{broken\n"),
    ):
        frame = _frame(_write(tmp_path, text, name))
        checked = check_bars(frame, ONE, now=NOW)
        assert checked.quarantined.height == 2
        assert checked.clean.height == frame.height - 2
        assert "[1,2]" in frame["raw"][1].replace(" ", "")


def test_a_format_insisted_on_must_be_right(tmp_path: Path) -> None:
    """--format json over a CSV file is an error, --format csv is not."""
    path = _table(tmp_path, _lines(2))
    assert "this is csv" in _message(path, UsageError, format="json")
    assert _frame(path, format="csv").height == 2


def test_missing_paths_are_named(tmp_path: Path) -> None:
    """A missing file, an empty directory, a pattern without match, nothing at all."""
    for paths in ([tmp_path / "no.csv"], [tmp_path], [tmp_path / "*.csv"], []):
        with pytest.raises(UsageError):
            expand(paths)
    with pytest.raises(UsageError, match=r"no\.csv"):
        _readings(tmp_path / "no.csv")
    with pytest.raises(UsageError, match="directory"):
        _readings(tmp_path)


def test_every_frame_has_the_schema(tmp_path: Path) -> None:
    """Columns, order and types are those of bars.py, with the traces."""
    frame = _frame(_table(tmp_path, _lines(2)))
    assert dict(frame.schema) == {k: v for k, v in (SCHEMA | TRACES).items() if k in frame.columns}
    assert sniff(tmp_path / "BTCUSDT-1m-2025-05.csv", _options()).columns["ts"] == "open_time"
