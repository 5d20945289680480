"""Crypto and stocks in one call, of vendors of which one dies: what a user sees, and what the lake holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from gapless.sim import Running, SimConfig, running
from gapless.spans import Span, Timeframe

NOW, SPAN = "2024-06-03T12:34:20Z", ("2024-05-01", "2024-06-03")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
QUIET = {"outages-per-month": 0, "halts-per-month": 0, "listed-late": 0, "delisted": 0, "weight-limit": 0, "speed": 0}
STOCKS = ("XNAS:AAPL", "XNAS:MSFT")
SEEN = ["instrument", "ts", "open", "high", "low", "close", "volume"]


@pytest.fixture
def mirror() -> Iterator[Running]:
    """The venue that lives; the one that dies has the same market."""
    options: dict[str, Any] = {name.replace("-", "_"): value for name, value in QUIET.items()}
    with running(SimConfig(symbols=SYMBOLS, start="2024-01-01", now=NOW, seed=3, **options)) as sim:
        yield sim


def asked(port: int) -> int:
    """How many requests a venue has had; -1 while it is not there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/sim/requests", timeout=5) as answer:
            return int(json.load(answer)["total"])
    except OSError:
        return -1


def wait_for(port: int, requests: int) -> None:
    deadline = time.monotonic() + 900
    while asked(port) < requests:
        assert time.monotonic() < deadline, "the venue was never asked"
        time.sleep(0.002)


def test_a_vendor_is_killed_half_way_and_the_call_is_complete(shell, mirror: Running) -> None:
    """Every bar is the truth's, each says whose it is, and plan, status, gaps and audit tell the same story."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word for name, value in QUIET.items() for word in (f"--{name}", value)]
    venue = shell.start(
        "sim",
        "--port",
        port,
        "--symbols",
        ",".join(SYMBOLS),
        "--start",
        "2024-01-01",
        "--now",
        NOW,
        "--seed",
        3,
        *words,
    )
    (shell.home / "gapless.toml").write_text(
        f'[sources.binance]\nbase_url = "http://127.0.0.1:{port}"\narchive = "none"\nattempts = 2\n'
        f'[sources.mirror]\nkind = "binance"\nbase_url = "{mirror.url}"\narchive = "none"\n'
        f'[sources.polygon]\nbase_url = "{mirror.url}/polygon"\nkey = "sim-key"\nweight = 0\n'
        '[venues.BINANCE]\nsources = ["binance", "mirror"]\n'
        f"[universes.mixed]\nsymbols = {json.dumps([*(f'BINANCE:{s}' for s in SYMBOLS), *STOCKS])}\n"
    )
    call = ("--universe", "mixed", "--timeframes", "1m", "--start", SPAN[0], "--end", SPAN[1])
    planned = shell.here("plan", *call, "--json", code=0).json
    assert {t["source"] for t in planned["tasks"]} == {"binance", "polygon"}
    wait_for(port, 0)
    run = shell.start("backfill", *call, "--max-concurrent", 2, "--json")
    wait_for(port, 20)
    os.killpg(venue.pid, signal.SIGKILL)
    done = shell.end(run, code=0).json
    venue.communicate()

    assert done["gaps"] == []
    assert {e["made_good_by"] for e in done["errors"]} == {"mirror"}
    assert {(h["from"], h["to"]) for h in done["handovers"]} == {("binance", "mirror")}
    rows = stored(shell)
    expected = pl.concat([truth(mirror, name) for name in sorted([*(f"BINANCE:{s}" for s in SYMBOLS), *STOCKS])])
    assert rows.drop("source").equals(expected.join(rows, on=["instrument", "ts"], how="semi"))
    crypto = rows.filter(pl.col("instrument").str.starts_with("BINANCE:"))
    assert crypto.height == expected.filter(pl.col("instrument").str.starts_with("BINANCE:")).height
    assert set(crypto["source"]) == {"binance", "mirror"}
    assert set(rows["source"]) == {"binance", "mirror", "polygon"}

    assert {s["coverage"] for s in shell.here("status", "--json", code=0).json["series"]} == {1.0}
    assert not [g for g in shell.here("gaps", "--json", code=0).json if g["class"] not in ("no_trade", "pending")]
    told = " ".join(shell.here("audit", done["run"]).out.split())
    assert "mirror was asked for" in told
    assert "made good by mirror" in told
    assert shell.here("plan", *call, "--json", code=0).json["requests"] == 0


def stored(shell) -> pl.DataFrame:
    with shell.store() as store:
        return store.rows(Timeframe.parse("1m"), None, None).select(*SEEN, "source")


def truth(sim: Running, name: str) -> pl.DataFrame:
    rows = sim.markets[name.partition(":")[0]].truth(name.partition(":")[2], "1m", Span.parse(*SPAN))
    return rows.with_columns(pl.lit(name).alias("instrument")).select(SEEN)
