"""Bad input of every kind, typed at the real command line: file, row and fix are named, and nothing good is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

HEAD = "ts,open,high,low,close,volume"
GOOD = [f"2024-01-02T00:{m:02d}:00Z,10,11,9,10.5,{m + 1}" for m in range(6)]
IMPORT = ("--venue", "BINANCE", "--timeframe", "1m")


def table(shell, rows: list[str], head: str = HEAD, name: str = "AAAUSDT.csv") -> Path:
    path = shell.home / name
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


BAD_ROWS = {
    "2024-01-02T00:02:00Z,NaN,11,9,10.5,3": "not_a_number",
    "2024-01-02T00:02:00Z,inf,11,9,10.5,3": "not_a_number",
    "2024-01-02T00:02:00Z,ten,11,9,10.5,3": "not_a_number",
    "2024-01-02T00:02:00Z,,11,9,10.5,3": "not_a_number",
    "2024-01-02T00:02:00Z,-10,11,-11,10.5,3": "not_positive",
    "2024-01-02T00:02:00Z,10,11,0,10.5,3": "not_positive",
    "2024-01-02T00:02:00Z,10,11,9,10.5,-3": "bad_volume",
    "2024-01-02T00:02:00Z,10,9.5,9,10.5,3": "high_too_low",
    "2024-01-02T00:02:00Z,10,11,10.2,10.5,3": "low_too_high",
    "2024-01-02T00:02:30Z,10,11,9,10.5,3": "off_grid",
    "3000-01-02T00:02:00Z,10,11,9,10.5,3": "time_out_of_range",
    "1800-01-02T00:02:00Z,10,11,9,10.5,3": "time_out_of_range",
    "yesterday,10,11,9,10.5,3": "no_time",
}


def test_bad_rows_are_refused_alone_and_can_be_found(shell) -> None:
    """Every good row is stored; each bad one is refused for its own reason, and listed with file and row; exit 1."""
    rows = [*GOOD[:2], *BAD_ROWS, *GOOD[3:]]
    path, bad = table(shell, rows), len(BAD_ROWS)
    done = shell.here("import", path, *IMPORT, "--json", code=1)  # the bar at 00:02 is missing
    totals = done.json["totals"]
    assert (totals["read"], totals["written"], totals["quarantined"]) == (5 + bad, 5, bad)
    assert done.json["quarantined_by_reason"] == dict(Counter(BAD_ROWS.values()))
    listed = shell.here("quarantine", "--json", code=0).json
    assert [(r["source"], r["row"], r["reason"]) for r in listed] == [
        ("file:AAAUSDT.csv", n, reason) for n, reason in enumerate(BAD_ROWS.values(), 3)
    ]
    assert [g["bars"] for g in done.json["gaps"]] == [1]
    assert shell.rows().height == 5
    again = shell.here("import", path, *IMPORT, "--json", code=1).json["totals"]
    assert (again["written"], again["unchanged"], again["quarantined"]) == (0, 5, bad)
    assert len(shell.here("quarantine", "--json", code=0).json) == bad
    told = shell.here("import", path, *IMPORT, code=1).told
    assert all(reason in told for reason in BAD_ROWS.values())
    assert "gapless quarantine" in told


def test_a_refused_row_can_be_mended(shell) -> None:
    """A refused row is exported, mended, imported again: then the bar is there, and the exit code says complete."""
    path = table(shell, [*GOOD[:2], "2024-01-02T00:02:00Z,10,11,9,10.5,-3", *GOOD[3:]])
    shell.here("import", path, *IMPORT)
    shell.here("quarantine", "-o", "refused.csv", code=0)
    refused = pl.read_csv(shell.home / "refused.csv")
    mended = refused.with_columns(volume=pl.lit(3.0)).select("instrument", *HEAD.split(","))
    mended.write_csv(shell.home / "mended.csv")
    assert shell.here("import", "mended.csv", *IMPORT, "--json", code=0).json["totals"]["written"] == 1
    assert shell.rows().height == 6


WHOLE_FILES = {
    "empty.csv": "",
    "header.csv": HEAD + "\n",
    "columns.csv": "when,a,b\n2024-01-02,1,2\n",
    "binary.csv": "\x00\x01\x02\x03" * 50,
    "words.csv": "to be or not to be\nthat is the question\n",
    "broken.json": '{"a": [1,',
    "fake.parquet": "PAR1 not really PAR1",
    "fake.zip": "PK\x03\x04 not really",
}


def test_a_bad_file_is_named_with_the_fix(shell) -> None:
    """A file that holds no bars at all: an error that names it and says what to do; nothing is stored; exit 1 or 2."""
    for name, text in WHOLE_FILES.items():
        (shell.home / name).write_text(text)
        done = shell.here("import", name, *IMPORT, "--symbol", "AAAUSDT", "--json")
        assert done.code in (1, 2), name
        error = done.json["error"]
        assert name in error["message"]
        assert len(error["hint"]) > 10, name
    person = shell.here("import", name, *IMPORT, "--symbol", "AAAUSDT", code=done.code)
    assert person.err.splitlines()[-2:] == [f"gapless: {error['message']}", f"Hint: {error['hint']}"]
    assert shell.rows().height == 0


def test_one_bad_file_among_good_ones_is_told_and_the_others_are_kept(shell) -> None:
    """Of three files one is broken: the other two are stored, the broken one is named, exit 1."""
    table(shell, GOOD, name="AAAUSDT.csv")
    table(shell, GOOD, name="CCCUSDT.csv")
    (shell.home / "BBBUSDT.csv").write_text("no,bars,here\n1,2,3\n")
    done = shell.here("import", "AAAUSDT.csv", "BBBUSDT.csv", "CCCUSDT.csv", *IMPORT, "--json", code=1)
    assert done.json["totals"]["written"] == 12
    assert done.json["totals"]["failed"] == 1
    assert [e["file"] for e in done.json["errors"]] == ["BBBUSDT.csv"]
    assert "Hint" in done.json["errors"][0]["error"]


def test_unsorted_and_duplicate_rows_are_one_bar_each(shell) -> None:
    """Rows in any order and several times over: each bar once, the fullest; the surplus is counted."""
    rows = [*reversed(GOOD), GOOD[2], GOOD[2], "2024-01-02T00:03:00Z,10,12,9,11,400"]
    totals = shell.here("import", table(shell, rows), *IMPORT, "--json", code=0).json["totals"]
    assert (totals["read"], totals["written"], totals["duplicate"]) == (9, 6, 3)
    assert shell.rows()["volume"].to_list() == [1, 2, 3, 400, 5, 6]


def test_symbols_may_be_mixed_in_one_file_but_not_against_the_call(shell) -> None:
    """A symbol column decides; with --symbol of another name nothing is stored and the error names both."""
    rows = [f"{s},{r}" for r in GOOD for s in ("AAAUSDT", "BBBUSDT")]
    path = table(shell, rows, f"symbol,{HEAD}", "mixed.csv")
    assert shell.here("import", path, *IMPORT, "--symbol", "CCCUSDT", "--json").code in (1, 2)
    assert shell.rows().height == 0
    assert shell.here("import", path, *IMPORT, "--json", code=0).json["totals"]["written"] == 12
    assert shell.rows()["instrument"].unique().sort().to_list() == ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT"]


TRICKS = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    "A/../../B",
    "A\\B",
    "A;DROP TABLE ledger",
    "A' OR '1'='1",
    "%2e%2e",
]


def test_a_symbol_that_is_a_path_or_sql_touches_nothing(shell) -> None:
    """A path or SQL for a symbol: on the command line a wrong call, in a file a refused row; no file is made."""
    before = set(shell.home.parent.rglob("*"))
    rows = [f'"{trick}",{r}' for trick in TRICKS for r in GOOD[:2]] + [f"AAAUSDT,{r}" for r in GOOD]
    path = table(shell, rows, f"symbol,{HEAD}", "x.csv")
    totals = shell.here("import", path, *IMPORT, "--json").json["totals"]
    assert (totals["read"], totals["written"], totals["quarantined"]) == (len(rows), 6, 2 * len(TRICKS))
    assert {r["reason"] for r in shell.here("quarantine", "--json", code=0).json} == {"bad_symbol"}
    for trick in TRICKS[::3]:
        call = shell.here("backfill", "--symbols", f"BINANCE:{trick}", "--days", "1", "--json", code=2)
        assert call.json["error"]["hint"]
        shell.here("import", path, *IMPORT, "--symbol", trick, "--json", code=2)
    made = set(shell.home.parent.rglob("*")) - before
    assert all(p == path or p.is_relative_to(shell.lake) for p in made)


WRONG_CALLS = [
    ("import", "AAAUSDT.csv", "--venue", "NOWHERE", "--timeframe", "1m"),
    ("import", "AAAUSDT.csv", "--venue", "BINANCE", "--timeframe", "1min"),
    ("import", "AAAUSDT.csv", "--venue", "BINANCE", "--timeframe", "1m", "--tz", "Mars/Olympus"),
    ("import", "AAAUSDT.csv", "--venue", "BINANCE", "--timeframe", "1m", "--lable", "open"),
    ("import", "nothing.csv", "--venue", "BINANCE", "--timeframe", "1m"),
    ("backfill", "--symbols", "BINANCE:BTCUSDT", "--start", "3000-01-01"),
    ("backfill", "--symbols", "BINANCE:BTCUSDT", "--start", "2024-02-02", "--end", "2024-02-01"),
    ("backfill", "--symbols", "BINANCE:BTCUSDT", "--days", "-1"),
    ("bars", "BINANCE:BTCUSDT", "1m", "--start", "the day before"),
    ("why", "BINANCE:BTCUSDT", "1m", "2024-13-45"),
    ("features", "build", "--features", "x=rsy(close,14)", "--timeframes", "1m"),
    ("lake", "vacuum", "--grace", "soon"),
    ("gaps", "--class", "nonsense"),
]


def test_a_wrong_call_is_exit_2_with_a_hint_and_stores_nothing(shell) -> None:
    """A call that makes no sense: exit 2, one JSON error with message and hint, and the lake as it was."""
    shell.here("import", table(shell, GOOD), *IMPORT, code=0)
    before = shell.rows()
    for words in WRONG_CALLS:
        error = shell.here(*words, "--json", code=2).json["error"]
        assert error["message"]
        assert error["hint"], words
    assert shell.rows().equals(before)


def test_the_same_import_twice_writes_nothing_and_a_change_is_a_correction(shell) -> None:
    """Twice the same: nothing written, and said so. One value changed: corrected, both values readable by --as-of."""
    path = table(shell, GOOD)
    assert shell.here("import", path, *IMPORT, "--json", code=0).json["totals"]["written"] == 6
    totals = shell.here("import", path, *IMPORT, "--json", code=0).json["totals"]
    assert (totals["written"], totals["unchanged"], totals["corrected"]) == (0, 6, 0)
    words = (
        "bars",
        "BINANCE:AAAUSDT",
        "1m",
        "--start",
        "2024-01-02T00:02:00Z",
        "--end",
        "2024-01-02T00:03:00Z",
        "--json",
    )
    known = shell.here(*words, code=0).json[0]["known_at"]
    table(shell, [*GOOD[:2], GOOD[2].replace("10.5,3", "10.7,33"), *GOOD[3:]])
    totals = shell.here("import", path, *IMPORT, "--json", code=0).json["totals"]
    assert (totals["written"], totals["unchanged"], totals["corrected"]) == (0, 5, 1)
    new, old = shell.here(*words, code=0).json[0], shell.run(*words, "--as-of", known, code=0).json[0]
    assert (new["close"], new["volume"]) == (10.7, 33)
    assert (old["close"], old["volume"], old["known_at"]) == (10.5, 3, known)
    assert shell.here(*words, "--as-of", "2024-01-01T00:00:00Z", code=0).json == []
