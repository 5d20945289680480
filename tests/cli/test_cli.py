"""The command line keeps its contract: exit codes, JSON on stdout, errors that name the fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.sim import SimConfig, running
from gapless.spans import Span, SpanSet, Timeframe, parse_time

Call = Callable[..., Any]
CSV = "ts,open,high,low,close,volume\n2025-05-01T00:00Z,1,2,0.5,1.5,10\n2025-05-01T00:01Z,1.5,2,1,1,11\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "AAA.csv"
    path.write_text(CSV)
    return path


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["gaps"], "import or backfill something first"),
        (["import", "x.csv", "--venue", "BINANCE", "--timeframe", "1min"], "did you mean '1m'?"),
        (["import", "x.csv", "--venue", "NOWHERE", "--timeframe", "1m"], "calendar"),
        (["backfill", "--days", "1"], "--symbols"),
        (["backfill", "--symbols", "BINANCE:BTCUSDT"], "--days"),
        (["backfill", "--symbols", "BTCUSDT", "--days", "1"], "VENUE:SYMBOL"),
        (["backfill", "--symbols", "BINANCE:../x", "--days", "1"], "letters"),
        (["backfill", "--symbols", "BINANCE:A", "--days", "1", "--start", "2025-01-01"], "one of them"),
        (["plan", "--symbols", "BINANCE:A", "--start", "2025-01-02", "--end", "2025-01-01"], "--start before --end"),
        (["why", "BINANCE:A", "1m", "yesterday"], "import or backfill"),
        (["features", "explain", "rsy(close, 14)"], "rsi"),
        (["backfil"], ""),
        (["status", "--colour"], ""),
        (["sim", "--faults", "429:0.1,resett:1"], "reset"),
    ],
)
def test_wrong_calls_name_the_fix(gapless: Call, words: list[str], fix: str) -> None:
    """A wrong call leaves with 2 (a missing lake with 1), says why on stderr, and with --json on stdout."""
    said = gapless(*words)
    assert said.code == (1 if fix.startswith("import or") else 2)
    assert said.out == ""
    assert fix in said.err
    if words[0] == "sim":
        return
    machine = gapless(*words, "--json")
    assert machine.code == said.code
    assert set(machine.json["error"]) == {"type", "message", "hint"}


def test_import_gaps_status_why_and_bars(gapless: Call, table: Path) -> None:
    """The everyday verbs on a tiny file."""
    done = gapless("import", table, "--venue", "SIM", "--timeframe", "1m", "--json")
    assert (done.code, done.json["totals"]["written"]) == (0, 2)
    assert gapless("gaps", "--json").json == []
    status = gapless("status", "--json").json
    assert status["series"][0]["coverage"] == 1.0
    assert status["last_run"]["verb"] == "import"
    assert gapless("why", "SIM:AAA", "1m", "2025-05-01T00:01Z", "--json").json["class"] == "present"
    assert gapless("bars", "SIM:AAA", "1m", "-o", "-").out.count("\n") == 3
    for ending in ("parquet", "csv", "feather"):
        assert gapless("bars", "SIM:AAA", "1m", "-o", f"out.{ending}").code == 0
        assert Path(f"out.{ending}").exists()
    assert gapless("bars", "SIM:AAA", "1m", "-o", "out.xls").code == 2
    assert gapless("bars", "SIM:AAA", "1m", "--adjust", "splits").code == 2


def test_a_correction_is_told_and_both_values_can_be_read(gapless: Call, table: Path) -> None:
    """--as-of a time before the correction reads the old value."""
    first = gapless("import", table, "--venue", "SIM", "--timeframe", "1m", "--json").json
    known = json.loads((Path("lake/audit") / f"{first['run']}.json").read_text())["ended"]
    table.write_text(CSV.replace(",11\n", ",12\n"))
    second = gapless("import", table, "--venue", "SIM", "--timeframe", "1m", "--json").json
    assert (second["totals"]["corrected"], second["totals"]["unchanged"]) == (1, 1)
    now = gapless("bars", "SIM:AAA", "1m", "--json").json
    then = gapless("bars", "SIM:AAA", "1m", "--as-of", known, "--json").json
    assert [b["volume"] for b in now] == [10, 12]
    assert [b["volume"] for b in then] == [10, 11]
    story = gapless("why", "SIM:AAA", "1m", "2025-05-01T00:01Z", "--json").json
    assert [r["volume"] for r in story["revisions"]] == [11]


def test_every_run_has_its_own_document(gapless: Call, table: Path) -> None:
    """Names never repeat; the document says what was read and written."""
    for _ in range(3):
        gapless("import", table, "--venue", "SIM", "--timeframe", "1m")
    lines = gapless("audit", "--json").json
    assert len({line["run"] for line in lines}) == 3
    document = gapless("audit", lines[-1]["run"], "--json").json
    assert document["totals"]["written"] == 2
    assert gapless("audit", "nothing", "--json").code == 2


def test_backfill_plan_repair_and_again(gapless: Call) -> None:
    """A plan costs what the backfill then asks; the same call again asks nothing; --json is one document."""
    with running(SimConfig(symbols=("BTCUSDT", "ETHUSDT"), outages_per_month=0, halts_per_month=0)) as venue:
        Path("gapless.toml").write_text(
            f'[sources.binance]\nbase_url = "{venue.url}"\n[universes.two]\n'
            'symbols = ["BINANCE:BTCUSDT", "BINANCE:ETHUSDT"]\n[features]\nr = "rsi(close, 14)"\n'
        )
        words = ("--universe", "two", "--timeframes", "1m,1h", "--start", "2025-05-01", "--end", "2025-05-02")
        plan = gapless("plan", *words, "--json").json
        assert {"tasks", "requests", "seconds", "bytes", "residual"} <= set(plan)
        assert gapless("backfill", *words, "--dry-run", "--json").json["requests"] == plan["requests"]
        done = gapless("backfill", *words, "--json")
        assert (done.code, done.json["totals"]["written"]) == (0, 2 * (1440 + 24))
        asked = venue.requests
        again = gapless("backfill", *words, "--json").json
        assert (again["totals"]["written"], again["totals"]["requests"], venue.requests) == (0, 0, asked)
        assert gapless("repair", "--json").code == 0
        built = gapless("features", "build", "--timeframes", "1m", "--json").json
        assert built["sets"][0]["rows"] == 2880
        assert gapless("features", "build", "--timeframes", "1m", "--json").json["sets"][0]["rows"] == 0
        assert gapless("instruments", "show", "--json").json


def test_init_writes_a_file_that_is_valid(gapless: Call) -> None:
    """The example is the configuration it describes; it is not overwritten."""
    assert gapless("init").code == 0
    assert gapless("doctor").code == 0
    assert gapless("init").code == 2


def test_unknown_keys_are_errors_with_the_nearest_name(gapless: Call) -> None:
    """Every problem of the file is told at once."""
    Path("gapless.toml").write_text('[lake]\nulr = "x"\n[backfill]\ntimeframes = ["1min"]\n')
    said = gapless("status")
    assert said.code == 2
    assert "did you mean 'url'?" in said.err
    assert "backfill.timeframes" in said.err


def test_features_list_explain_and_prove(gapless: Call) -> None:
    """The catalogue, one definition, and a certificate."""
    names = {f["name"] for f in gapless("features", "list", "--json").json}
    assert {"sma", "ema", "rma", "rsi", "atr", "log_return", "zscore"} <= names
    told = gapless("features", "explain", "rsi(close, 14)", "--json").json
    assert told["warmup"] == 14
    certificate = gapless("prove", "sma(close, 5)", "--json")
    assert certificate.code == 0
    assert certificate.json["passed"]
    assert len(gapless("prove", "sma(close, 5)", "ema(close, 5)", "--json").json) == 2


def test_every_verb_explains_itself(gapless: Call) -> None:
    """--help of every verb prints its options."""
    for verb in ("import", "plan", "backfill", "repair", "gaps", "why", "status", "bars", "demo", "sim", "prove"):
        said = gapless(verb, "--help")
        assert said.code == 0
        assert "--" in said.out


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import gapless` and `gapless --help` load no frames, kernels, tables or sockets."""
    heavy = "{'polars', 'numba', 'pyarrow', 'deltalake', 'aiohttp', 'pandas', 'pydantic', 'numpy'}"
    for module in ("gapless", "gapless.cli"):
        script = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]", module


def test_a_dated_override_closes_a_day(gapless: Call, tmp_path: Path) -> None:
    """A session the configuration calls closed is no gap, and its neighbour still is."""
    days = ["2025-01-06", "2025-01-07", "2025-01-08", "2025-01-10"]
    rows = "".join(f"{day},1,2,0.5,1.5,10\n" for day in days)
    path = tmp_path / "AAA.csv"
    path.write_text("date,open,high,low,close,volume\n" + rows)
    words = ("import", path, "--venue", "XNYS", "--timeframe", "1d", "--json")
    Path("gapless.toml").write_text("[calendars.XNYS]\noverrides = [{ date = 2025-01-10, closed = true }]\n")
    assert gapless(*words).code == 0
    why = gapless("why", "XNYS:AAA", "1d", "2025-01-10", "--json").json
    assert why["class"] in {"present", "calendar_conflict", "closed"}
    status = gapless("status", "--json").json["series"][0]
    assert status["days"]["2025-01-08"] == "complete"
    Path("gapless.toml").write_text("[calendars.XNYS]\noverrides = [{ date = 2025-01-07 }]\n")
    assert gapless("status").code == 2


def test_doctor_says_which_source_cannot_be_reached(gapless: Call) -> None:
    """A reachable source is told with its clock, an unreachable one with the reason."""
    with running(SimConfig(symbols=("BTCUSDT",))) as venue:
        Path("gapless.toml").write_text(f'[sources.binance]\nbase_url = "{venue.url}"\n')
        assert gapless("doctor").code == 0
    said = gapless("doctor", "--json")
    assert said.code == 1
    assert [f["name"] for f in said.json if f["mark"] == "✗"] == ["source binance"]


def test_a_line_lost_from_a_file_of_a_dense_venue_is_a_hole(gapless: Call, tmp_path: Path) -> None:
    """Binance sends silent minutes too: one that a file lacks is repairable, until the venue says it has none."""
    start = "2025-05-01"
    halt = {"BTCUSDT": SpanSet.of((parse_time(f"{start}T03:00"), parse_time(f"{start}T03:20")))}
    quiet = {"outages_per_month": 0, "halts": halt, "delisted": 0, "listed_late": 0}
    with running(SimConfig(symbols=("BTCUSDT", "ETHUSDT"), **quiet)) as venue:  # type: ignore[arg-type]
        truth = venue.market.truth("BTCUSDT", Timeframe.parse("1m"), Span.parse(start, "2025-05-02"))
        lacking = truth.drop("instrument").with_row_index().filter(~pl.col("index").is_in([7, 600, 601]))
        lacking.drop("index").write_parquet(tmp_path / "BTCUSDT.parquet")
        said = gapless("import", tmp_path / "BTCUSDT.parquet", "--venue", "BINANCE", "--timeframe", "1m", "--json")
        assert said.code == 1
        assert sorted(g["bars"] for g in said.json["gaps"]) == [1, 2, 20]
        assert {g["class"] for g in said.json["gaps"]} == {"vendor_hole"}
        done = gapless("repair", "--base-url", venue.url, "--json")
        assert (done.code, done.json["totals"]["written"]) == (0, 3)
        left = gapless("gaps", "--json").json
        assert [(g["class"], g["bars"]) for g in left] == [("halt", 20)]
