"""Backfill from an unpaced simulated venue in another process, against a ccxt loop that writes Parquet."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl

from benchmarks.rows import M1, Row, median, venue
from gapless.app import open as open_lake
from gapless.app.backfilling import fetch
from gapless.app.planning import wanted
from gapless.config import parse
from gapless.observe.progress import Silent
from gapless.series import Instrument, Series
from gapless.sources import binance
from gapless.spans import MINUTE, Span, parse_time

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")
START, DAYS = "2025-03-01", 60
BARS = len(SYMBOLS) * DAYS * 1440


def run() -> Iterator[Row]:
    """Bars a second; where the time goes; the ratio to ccxt."""
    names = ",".join(SYMBOLS)
    options = ("--symbols", names, "--delisted", "0", "--listed-late", "0")
    with venue(*options) as url, tempfile.TemporaryDirectory() as folder:
        count = iter(range(1000))
        mine = median(lambda: _gapless(Path(folder) / f"lake{next(count)}", url), 3)  # the first run warms the server
        paced = median(lambda: _ccxt(Path(folder), url, SYMBOLS[:1], limiter=True), 1) / (BARS / len(SYMBOLS))
        theirs = median(lambda: _ccxt(Path(folder), url, SYMBOLS, limiter=False), 1)
        server = _server(url)
    parsing, writing = _parse(), _write()
    rate = BARS / mine
    yield Row(f"backfill {BARS:,} bars", f"{rate:,.0f} bars/s", "", "", "≥ 150,000 bars/s", rate >= 150_000)
    yield Row("  server alone", f"{server * 1e6:.2f} µs/bar", "the whole", f"{100 * server * BARS / mine:.0f} %")
    yield Row("  parse and check", f"{parsing * 1e6:.2f} µs/bar", "the whole", f"{100 * parsing * BARS / mine:.0f} %")
    yield Row("  durable write", f"{writing * 1e6:.2f} µs/bar", "the whole", f"{100 * writing * BARS / mine:.0f} %")
    times = paced * BARS / mine
    yield Row(
        "ccxt loop, as it comes", f"{1 / paced:,.0f} bars/s", "gapless", f"{times:.1f}× slower", "≥ 5×", times >= 5
    )
    yield Row("ccxt loop, limiter off", f"{BARS / theirs:,.0f} bars/s", "gapless", f"{theirs / mine:.1f}× slower")


def _gapless(path: Path, url: str) -> None:
    lake = open_lake(path, config=parse({"sources": {"binance": {"base_url": url, "weight": 0}}}))
    end = parse_time(START) + DAYS * 1440 * MINUTE
    symbols = ",".join(f"BINANCE:{s}" for s in SYMBOLS)
    asked = wanted(lake, "backfill", symbols=symbols, timeframes="1m", start=START, end=str(_iso(end)))
    done = fetch(asked, Silent())
    assert done.document["totals"]["read"] >= 0.95 * BARS, done.document["totals"]


def _iso(ts: int) -> str:
    from gapless.spans import iso

    return iso(ts)


def _ccxt(folder: Path, url: str, symbols: Sequence[str], *, limiter: bool) -> None:
    """What people write: one symbol after the other, a page at a time, a file at the end."""
    import ccxt

    exchange: Any = ccxt.binance({"enableRateLimit": limiter, "options": {"fetchMarkets": ["spot"]}})
    exchange.urls["api"]["public"] = f"{url}/api/v3"
    exchange.load_markets()
    end = (parse_time(START) + DAYS * 1440 * MINUTE) // 1000
    for symbol in symbols:
        since, rows = parse_time(START) // 1000, []
        while since < end:
            page = exchange.fetch_ohlcv(f"{symbol[:-4]}/USDT", "1m", since, 1000)
            if not page:
                break
            rows += page
            since = page[-1][0] + 60_000
        columns = ["ts", "open", "high", "low", "close", "volume"]
        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder / f"{symbol}.parquet")


def _server(url: str) -> float:
    """Seconds a bar that the warm server needs for a page on its own."""
    import asyncio

    params = {"symbol": "BTCUSDT", "interval": "1m", "startTime": parse_time(START) // 1000, "limit": 1000}

    async def ask() -> float:
        async with aiohttp.ClientSession() as session:
            begin = time.perf_counter()
            for _ in range(50):
                async with session.get(f"{url}/api/v3/klines", params=params) as answer:
                    await answer.read()
            return (time.perf_counter() - begin) / 50_000

    return asyncio.run(ask())


def _parse() -> float:
    """Seconds a bar to decode, validate and frame a page."""
    import asyncio

    source = binance.spot()
    start = parse_time(START)
    row = '[{t},"100.01","101.00","99.00","100.50","12.345",{e},"1234.5",42,"6.1","610.0","0"]'
    rows = ",".join(
        row.format(t=(start + k * MINUTE) // 1000, e=(start + k * MINUTE) // 1000 + 59_999) for k in range(1000)
    )
    body = f"[{rows}]".encode()

    class Canned:
        async def get(self, path: str, params: object, *, weight: int) -> bytes:
            return body

    series, span = Series(Instrument("BINANCE", "BTCUSDT"), M1), Span(start, start + 1000 * MINUTE)
    return median(lambda: asyncio.run(source.fetch(Canned(), series, span)), 15) / 1000


def _write() -> float:
    """Seconds a bar of the store, for groups as the writer makes them."""
    from benchmarks.rows import walk
    from gapless.stores.lake import Lake

    frames = [walk(f"BINANCE:{s}", 43_200, k) for k, s in enumerate(SYMBOLS)]
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        begin = time.perf_counter()
        for frame in frames:
            for part in frame.iter_slices(14_400):
                lake.write(M1, part, source="bench")
        return (time.perf_counter() - begin) / sum(f.height for f in frames)
