"""Replaying bars from elsewhere, and running the venue as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.errors import UsageError
from gapless.series import Instrument
from gapless.sim import Market, Replay, SimConfig, running
from gapless.spans import Span, Timeframe, parse_time

OUTAGES = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "spot_1m_2021-04_outages.parquet"
SPAN = Span.parse("2024-05-01", "2024-05-04")
MADE = Market(7, 4, "2024-04-01", "2024-07-01", listed_late=0, delisted=0)


def made_reader(instrument: Instrument, timeframe: Timeframe, span: Span) -> pl.DataFrame:
    """Three days of a made market, as a store would give them."""
    return MADE.truth(instrument.symbol, timeframe, span.intersect(SPAN))


def test_a_replay_serves_what_the_reader_reads(venue: Any) -> None:
    """Bar for bar, every timeframe, listed with the first bar; only turnover by takers is estimated."""
    with venue(reader=made_reader, symbols=("BTCUSDT", "ALGOUSDT")) as (sim, get):
        for symbol in sim.market.symbols:
            for name in ("1m", "1h", "1d"):
                rows = get.klines(symbol, name, startTime=0, limit=1000)
                truth = MADE.truth(symbol, name, SPAN).head(1000)
                assert [r[0] * 1000 for r in rows] == truth["ts"].to_physical().to_list()
                for at, column in (
                    (1, "open"),
                    (4, "close"),
                    (5, "volume"),
                    (7, "quote_volume"),
                    (9, "taker_buy_volume"),
                ):
                    assert [float(r[at]) for r in rows] == truth[column].to_list()
        assert sim.market.listed_at("BTCUSDT") == SPAN.start
        assert sim.market.truth("BTCUSDT", "1h", SPAN).equals(MADE.truth("BTCUSDT", "1h", SPAN))
        assert get("/api/v3/exchangeInfo").json["symbols"][0]["status"] == "TRADING"


def test_a_replay_forms_bars_from_its_minutes(venue: Any) -> None:
    """With the clock inside the replayed span the running bar is a part of the minute that will be."""
    with venue(reader=made_reader, symbols=("BTCUSDT",), now="2024-05-02T10:30:40") as (_, get):
        minute, hour = get.klines(limit=1)[0], get.klines(interval="1h", limit=1)[0]
        final = MADE.truth("BTCUSDT", "1m", Span.parse("2024-05-02T10:30", "2024-05-02T10:31")).row(0, named=True)
        assert minute[0] == parse_time("2024-05-02T10:30") // 1000
        assert 0 < float(minute[5]) < final["volume"]
        assert float(minute[1]) == final["open"]
        assert hour[0] == parse_time("2024-05-02T10:00") // 1000


def test_extras_that_a_store_does_not_have_are_zero() -> None:
    """Prices and volume suffice; any precision survives; a reader that gives more than asked does no harm."""
    ts = pl.Series("ts", [SPAN.start, SPAN.start + 60_000_000]).cast(pl.Datetime("us", "UTC"))
    bars = pl.DataFrame(
        {"ts": ts, "open": [0.1 + 0.2, 1 / 3], "high": [1.0, 1.0], "low": [0.1, 0.1], "close": [0.5, 0.5]}
    )
    frame = bars.with_columns(pl.Series("volume", [1e-9, 1e12]))
    replay = Replay(lambda instrument, timeframe, span: frame, ("X",))
    truth = replay.truth("X", "1m", SPAN)
    assert truth["open"].to_list() == [0.1 + 0.2, 1 / 3]
    assert truth["volume"].to_list() == [1e-9, 1e12]
    assert truth["trades"].to_list() == [0.0, 0.0]


def test_a_replay_of_nothing_knows_no_symbol(venue: Any) -> None:
    """No bars, no listing: Invalid symbol."""
    empty = MADE.truth("BTCUSDT", "1m", Span(0, 0))
    with venue(reader=lambda *_: empty, symbols=("BTCUSDT",)) as (_, get):
        assert get("/api/v3/klines", symbol="BTCUSDT", interval="1m").json["code"] == -1121


@pytest.mark.skipif(not OUTAGES.exists(), reason=f"real bars are not here: {OUTAGES}")
def test_real_bars_replay_with_their_outages(venue: Any) -> None:
    """Recorded minutes of April 2021 come back exactly, and the venue's outage of 20 April stays a hole."""
    ts = pl.col("open_time").dt.cast_time_unit("us").alias("ts")
    btc = pl.read_parquet(OUTAGES).filter(pl.col("symbol") == "BTCUSDT").with_columns(ts).sort("ts")

    def reader(instrument: Instrument, timeframe: Timeframe, span: Span) -> pl.DataFrame:
        physical = pl.col("ts").to_physical()
        return btc.filter((physical >= span.start) & (physical < span.end) & (timeframe.name == "1m"))

    with venue(reader=reader, symbols=("BTCUSDT",)) as (_, get):
        start = parse_time("2021-04-20T01:50") // 1000
        rows = get.klines(startTime=start, endTime=parse_time("2021-04-20T04:40") // 1000)
        got = {row[0] * 1000: [float(x) for x in row[1:6]] for row in rows}
        expected = btc.filter(pl.col("ts").to_physical().is_in(list(got))).select(
            "open", "high", "low", "close", "volume"
        )
        assert list(got.values()) == [list(row) for row in expected.rows()]
        assert parse_time("2021-04-20T01:59") in got
        assert parse_time("2021-04-20T02:30") not in got


PROGRAM = """
from gapless.sim import SimConfig, serve
serve(SimConfig(symbols=2, now="2024-06-03", speed=0.0), port=0, on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_a_signal_and_says_only_its_url(number: signal.Signals) -> None:
    """A process of its own: ready when it says so, ends at once and cleanly."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(url + "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3") as answer:
        assert len(json.loads(answer.read())) == 3
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_a_taken_port_is_an_error_with_a_hint() -> None:
    """Where, why, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = f"from gapless.sim import *; serve(SimConfig(symbols=2), port={port})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"UsageError: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "another --port" in done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import gapless.sim`` is free: aiohttp, numpy and polars come with the first use."""
    program = "import sys, gapless.sim; print([m for m in ('aiohttp', 'numpy', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_venues_run_side_by_side(venue: Any) -> None:
    """Each with its own port, market and counts."""
    with venue(seed=1) as (one, get_one), venue(seed=2) as (two, get_two):
        assert one.url != two.url
        assert get_one.klines(limit=1) != get_two.klines(limit=1)
        assert (one.requests, two.requests) == (1, 1)


def test_a_venue_that_cannot_be_says_why() -> None:
    """A market that makes no sense is refused before anything listens."""
    with pytest.raises(UsageError, match="these are no symbols"), running(SimConfig(symbols=("not a symbol",))):
        pass


def test_clients_that_vanish_leave_no_trace_on_stderr() -> None:
    """Faults and clients that hang up are everyday matters: the process stays silent and serves on."""
    program = PROGRAM.replace("speed=0.0", "speed=0.0, hold=0.05, faults='reset:0.5,timeout:0.3,truncate:0.2'")
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().rsplit(":", 1)[1])
    request = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000 HTTP/1.1\r\nHost: sim\r\n\r\n"
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sim/requests") as answer:
        assert json.loads(answer.read())["total"] >= 1
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
