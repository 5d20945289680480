"""The verbs about instruments, universes and corporate actions, through the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.sim import SimConfig, running

CALM = SimConfig(symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"), outages_per_month=0, halts_per_month=0)


@pytest.fixture(scope="module")
def venue() -> Iterator[str]:
    with running(CALM) as found:
        yield found.url


def test_the_verbs_of_instruments(gapless: Callable[..., Any], venue: str) -> None:
    """sync and show, of all and of one, now and as of a time; an unknown one names the nearest."""
    done = gapless("instruments", "sync", "--source", "binance", "--base-url", venue, "--json").json
    assert (done["instruments"], done["versions"]) == (3, 3)
    (row,) = gapless("instruments", "show", "BINANCE:BTCUSDT", "--json").json
    assert (row["status"], row["metadata"]["quote"], row["valid_to"]) == ("trading", "USDT", None)
    assert "BINANCE:ETHUSDT" in gapless("instruments", "show").out
    assert gapless("instruments", "show", "BINANCE:ETHUSDT", "--as-of", "2020-01-01").code == 0
    assert gapless("instruments", "show", "BINANCE:BTCUSD", "--json").json["error"]["type"] == "UnknownName"


def test_the_verbs_of_corporate_actions(gapless: Callable[..., Any]) -> None:
    """Import, show, and bars adjusted; a time for actions without an adjustment is a wrong call."""
    Path("bars.csv").write_text(
        "ts,open,high,low,close,volume\n2014-06-06,700,700,700,700,1\n2014-06-09,100,100,100,100,7\n"
    )
    Path("splits.csv").write_text("ticker,ex_date,ratio\nAAPL,2014-06-09,7\n")
    assert (
        gapless("import", "bars.csv", "--venue", "XNAS", "--timeframe", "1d", "--symbol", "AAPL", "--tz", "UTC").code
        < 2
    )
    done = gapless("actions", "import", "splits.csv", "--venue", "XNAS", "--json").json
    assert (done["written"], done["notes"]) == (1, [])
    assert gapless("actions", "show", "--json").json[0]["ex"] == "2014-06-09"
    assert "7 for 1" in gapless("actions", "show", "--symbols", "XNAS:AAPL").out
    rows = gapless("bars", "XNAS:AAPL", "1d", "--adjust", "splits", "--json").json
    assert [(r["close"], r["volume"]) for r in rows] == [(pytest.approx(100), pytest.approx(7)), (100, 7)]
    assert gapless("bars", "XNAS:AAPL", "1d", "--adjust-as-of", "2020-01-01").code == 2


def test_import_by_the_tickers_of_the_time(gapless: Callable[..., Any]) -> None:
    """Rows of one ticker over a rename go to two instruments; of a time at which nobody had it is said how many."""
    lines = [f"{day},1,1,1,1,1" for day in ("2014-04-01", "2014-04-02", "2014-04-03")]
    Path("GOOG.csv").write_text("\n".join(["ts,open,high,low,close,volume", *lines, ""]))
    Path("googl.csv").write_text("20040819,goog,Q\n20140402,goog,Q\n20501231,googl,Q\n")
    words = ("import", "GOOG.csv", "--venue", "XNAS", "--timeframe", "1d", "--symbol", "GOOG", "--tz", "UTC")
    assert gapless(*words, "--tickers", "then").code == 2
    assert gapless("instruments", "import", "googl.csv", "--venue", "XNAS", "--json").json["names"] == 2
    done = gapless(*words, "--tickers", "then", "--json").json
    assert {s["instrument"]: s["written"] for s in done["series"]} == {"XNAS:GOOGL": 2, "XNAS:GOOG": 1}
    assert "1 rows of XNAS:GOOG are of times at which no instrument went by it" in done["notes"]


def test_a_declared_universe_from_nothing_to_bars(gapless: Callable[..., Any], venue: str) -> None:
    """sync, select, show, then plan and backfill of its members only; measures once there are bars."""
    Path("gapless.toml").write_text(
        f'[sources.binance]\nbase_url = "{venue}"\n'
        '[universes.some]\nquote = ["USDT"]\nstatus = ["trading"]\nexclude = ["ETH*"]\n'
        '[universes.list]\nsymbols = ["BINANCE:BTCUSDT"]\n'
        '[universes.best]\nquote = ["USDT"]\nrank = "median(quote_volume, 24) @ 1h"\ntop = 1\n'
    )
    words = ("--timeframes", "1h", "--start", "2025-05-01", "--end", "2025-05-05")
    assert gapless("instruments", "sync", "--source", "binance").code == 0
    assert gapless("universe", "show", "some").code == 2
    assert gapless("universe", "show", "list", "--json").json["members"] == ["BINANCE:BTCUSDT"]
    assert "rank: too few 1h bars of any candidate" in gapless("universe", "select", "best").out
    chosen = gapless("universe", "select", "some", "--json").json
    assert chosen["members"] == ["BINANCE:BTCUSDT", "BINANCE:SOLUSDT"]
    tests = {c["instrument"]: c["tests"] for c in chosen["candidates"]}
    assert tests["BINANCE:ETHUSDT"]["exclude"] == {"passed": False, "value": "ETH*"}
    assert gapless("universe", "show", "some", "--json").json == chosen
    assert {t["instrument"] for t in gapless("plan", "--universe", "some", *words, "--json").json["tasks"]} == set(
        chosen["members"]
    )
    assert gapless("backfill", "--universe", "some", *words).code == 0
    best = gapless("universe", "select", "best", "--as-of", "2025-05-04", "--json").json
    assert len(best["members"]) == 1
    assert best["at"] == "2025-05-04T00:00:00Z"
    table = gapless("universe", "select", "best", "--as-of", "2025-05-04", "--every").out
    assert "1 members of 3 candidates" in table or "1 member of 3 candidates" in table
    assert "nothing has a fresh bar at this time" in gapless("universe", "select", "best").out
    assert "by the first test that failed: traded " in gapless("universe", "select", "best").out
    assert gapless("universe", "select", "bst", "--json").json["error"]["type"] == "UnknownName"


@pytest.mark.parametrize(
    "words",
    [
        ("actions", "import", "nothing.csv", "--venue", "XNAS"),
        ("actions", "import", "empty.csv", "--venue", "XNAS"),
        ("instruments", "import", "empty.csv", "--venue", "XNAS"),
        ("instruments", "import", "empty.csv", "--venue", "NOWHERE"),
        ("instruments", "sync"),
        ("instruments", "sync", "--source", "nobody"),
        ("instruments", "sync", "--file", "empty.csv"),
        ("universe", "select", "any"),
    ],
)
def test_a_wrong_call_leaves_no_lake_behind(gapless: Callable[..., Any], words: tuple[str, ...]) -> None:
    """Whatever is wrong is told before a lake is made for it."""
    Path("empty.csv").write_text("")
    said = gapless(*words, "--json")
    assert said.code in (1, 2)
    assert said.json["error"]["hint"]
    assert not Path("lake").exists()


def test_a_source_without_corporate_actions_says_so(gapless: Callable[..., Any], venue: str) -> None:
    """Binance has none to tell; and the call must say of what."""
    Path("gapless.toml").write_text(f'[sources.binance]\nbase_url = "{venue}"\n')
    gapless("instruments", "sync", "--source", "binance")
    said = gapless("actions", "sync", "--symbols", "BINANCE:BTCUSDT", "--json")
    assert (said.code, said.json["error"]["message"]) == (2, "source binance knows no corporate actions.")
    assert gapless("actions", "sync", "--source", "binance").code == 2
