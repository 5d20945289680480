"""``gapless values import``: what files hold is stored once, what is none is told, and wrong calls leave no lake."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gapless as gl
from gapless.spans import MINUTE, iso, parse_time

T = parse_time("2025-05-01")
METRICS = "create_time,symbol,sum_open_interest,sum_open_interest_value\n"
BTC = "BINANCEUSDM:BTCUSDT"


@pytest.fixture
def run(gapless: Callable[..., Any]) -> Callable[..., Any]:
    """``gapless values import …`` in an empty directory; its document or its error, after the code it must have."""

    def call(*words: object, code: int = 0) -> Any:
        said = gapless("values", "import", *words, "--venue", "BINANCEUSDM", "--json")
        assert said.code == code, said
        return said.json if said.out else said.err

    return call


def stored(name: str, symbol: str = "BTCUSDT") -> list[tuple[str, float]]:
    frame = gl.open("lake").values(name, f"BINANCEUSDM:{symbol}")
    return [(iso(ts), value) for ts, value in zip(frame["ts"].to_physical(), frame["value"], strict=True)]


def zipped(path: Path, text: str) -> Path:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(path.with_suffix(".csv").name, text)
    path.write_bytes(sink.getvalue())
    return path


def test_the_archives_formats_are_known_by_their_content(run: Callable[..., Any], tmp_path: Path) -> None:
    """A day of open interest by its columns, at the moments of its snapshots; a month of rates, whose symbol only the
    file's name says. The same files again change nothing, and nothing is claimed of what is not in them."""
    rows = "".join(f"2026-07-01 {h:02}:00:00,BTCUSDT,{h}.5,1\n" for h in range(3))
    day = zipped(tmp_path / "BTCUSDT-metrics-2026-07-01.zip", METRICS + rows)
    text = f"calc_time,funding_interval_hours,last_funding_rate\n{T // 1000 + 2},8,0.0001\n"
    month = zipped(tmp_path / "ETHUSDT-fundingRate-2025-05.zip", text)
    first = run(day, month)
    assert first["totals"]["written"] == 4
    assert stored("open_interest")[0] == ("2026-07-01T00:05:00Z", 0.5)
    assert stored("funding_rate", "ETHUSDT") == [("2025-05-01T00:00:00.002000Z", 0.0001)]
    again = run(day, month)
    assert (again["totals"]["written"], again["totals"]["unchanged"]) == (0, 4)
    assert gl.open("lake").store.values.answered("open_interest") == {}


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "zip"])
def test_a_table_of_times_and_values_comes_from_any_container(
    run: Callable[..., Any], tmp_path: Path, ending: str
) -> None:
    """Columns by their names, or mapped; times in any way that bars' times are read."""
    frame = pl.DataFrame({"When": [T // 1000, T // 1000 + 300_000], "Contracts": [1.5, 2.5]})
    path = tmp_path / f"oi.{ending}"
    if ending == "zip":
        zipped(path, frame.write_csv())
    else:
        {"csv": frame.write_csv, "parquet": frame.write_parquet, "feather": frame.write_ipc}[ending](path)
    words = ("--name", "open_interest", "--symbol", "BTCUSDT", "--columns", "ts=When,value=Contracts")
    assert run(path, *words)["totals"]["written"] == 2
    assert stored("open_interest") == [("2025-05-01T00:00:00Z", 1.5), ("2025-05-01T00:05:00Z", 2.5)]


def test_bad_rows_are_told_with_file_row_and_reason(run: Callable[..., Any], tmp_path: Path) -> None:
    """And kept in the quarantine with their text; the others are stored. Of two values of one time neither is."""
    path = tmp_path / "rates.csv"
    path.write_text(
        "time,symbol,funding_rate\n"
        "2025-05-01T00:00:00Z,BTCUSDT,0.0001\n"
        "2025-05-01T00:00:00Z,BTCUSDT,0.0001\n"
        "soon,BTCUSDT,0.0002\n"
        "2025-05-01T08:00:00Z,BTCUSDT,much\n"
        "2025-05-01T16:00:00Z,../etc,0.0003\n"
        "2025-05-02T00:00:00Z,BTCUSDT,0.0004\n"
        "2025-05-02T00:00:00Z,BTCUSDT,0.0005\n"
        "2025-05-02T08:00:00Z,BTCUSDT,inf\n"
        "2025-05-02T16:00:00Z,BTCUSDT,0.0006\n"
    )
    done = run(path)
    assert stored("funding_rate") == [("2025-05-01T00:00:00Z", 0.0001), ("2025-05-02T16:00:00Z", 0.0006)]
    told = {(line["row"], line["reason"]) for line in done["refused"]}
    assert told == {
        (3, "no_time"), (4, "no_value"), (5, "bad_symbol"), (6, "two_values"), (7, "two_values"),
        (8, "no_value"),
    }  # fmt: skip
    assert {line["file"] for line in done["refused"]} == {str(path)}
    totals = done["totals"]
    assert (totals["read"], totals["written"], totals["duplicate"], totals["quarantined"]) == (9, 2, 1, 6)
    kept = gl.open("lake").quarantine()
    assert kept.filter(pl.col("reason") == "no_time")["raw"].to_list() == ["soon,BTCUSDT,0.0002"]
    run(path)
    assert gl.open("lake").quarantine().height == kept.height, "once each"


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("time,value\n2025-05-01,1\n", ("--symbol", "A"), "--name"),
        ("time,funding_rate\n2025-05-01T00:00Z,1\n", (), "--symbol"),
        ("when,funding_rate\n2025-05-01T00:00Z,1\n", ("--symbol", "A"), "--columns ts=COLUMN"),
        ("time,funding_rate\n2025-05-01T00:00Z,1\n", ("--symbol", "A", "--name", "fundingrate"), "funding_rate"),
        ("time,funding_rate\n2025-05-01T00:00Z,1\n", ("--symbol", "A", "--columns", "close=x"), "value"),
        ("time,symbol,funding_rate\n2025-05-01T00:00Z,B,1\n", ("--symbol", "A"), "is of symbol 'B'"),
        ("time,funding_rate,open_interest\n2025-05-01T00:00Z,1,2\n", ("--symbol", "A"), "--name"),
    ],
)
def test_a_call_that_cannot_be_understood_names_the_fix(
    run: Callable[..., Any], tmp_path: Path, text: str, words: tuple[str, ...], hint: str
) -> None:
    """And leaves no lake behind."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    assert hint in str(run(path, *words, code=1 if "COLUMN" in hint else 2))
    assert not (tmp_path / "lake").exists()


def test_one_bad_file_does_not_stop_the_others(run: Callable[..., Any], tmp_path: Path) -> None:
    """It is an error of the run, which ends incomplete."""
    (tmp_path / "a.csv").write_text("nothing here\n")
    (tmp_path / "BTCUSDT-fundingRate-2025-05.csv").write_text(
        f"calc_time,funding_interval_hours,last_funding_rate\n{(T + MINUTE) // 1000},8,0.1\n"
    )
    done = run(tmp_path / "a.csv", tmp_path / "BTCUSDT-fundingRate-2025-05.csv", code=1)
    assert (done["outcome"], done["totals"]["written"], len(done["errors"])) == ("incomplete", 1, 1)


def test_real_rates_come_in_as_they_stand(run: Callable[..., Any], data: Path) -> None:
    """A month of a venue's rates, of all symbols in one table: value for value."""
    path = data / "crypto" / "perp_funding_2025-05.parquet"
    if not path.exists():
        pytest.skip("the real market data is not here")
    table = pl.read_parquet(path)
    done = run(path)
    assert (done["totals"]["written"], done["totals"]["quarantined"]) == (table.height, 0)
    for symbol in ("ADAUSDT", "BTCUSDT"):
        rows = table.filter(pl.col("symbol") == symbol).sort("date")
        assert stored("funding_rate", symbol) == list(
            zip((iso(ts) for ts in rows["date"].dt.epoch("us")), rows["funding_rate"], strict=True)
        )
