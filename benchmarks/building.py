"""From bars in the lake to features durable in the lake: three ratings, all votes, averages, oscillators, two z-scores.

Where the time goes is measured part by part on one series; the parts do not overlap there, in a build they do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import M1, START, Row, median, walk
from gapless import features as gf
from gapless.app import open as open_lake
from gapless.engine.build import build
from gapless.features.frames import numbers, times
from gapless.series import Instrument
from gapless.spans import DAY, MINUTE
from gapless.stores import parquet

BTC = "BINANCE:S0000"
AVERAGES = {f"{kind}{n}": f"{kind}(close, {n})" for kind in ("sma", "ema") for n in (10, 20, 30, 50, 100, 200)}
FEATURES = AVERAGES | {
    "hma9": "hma(close, 9)", "vwma20": "vwma(close, 20)", "ichimoku": "ichimoku_base()",
    "rsi": "rsi(close, 14)", "k": "stoch_k()", "d": "stoch_d()", "cci": "cci(close, 20)", "adx": "adx()",
    "ao": "ao()", "mom": "mom(close, 10)", "macd": "macd()", "macd_signal": "macd_signal()", "srsi": "stochrsi_k()",
    "wpr": "wpr(14)", "bull": "bull_power()", "bear": "bear_power()", "uo": "uo()",
    "ma": "recommend_ma()", "other": "recommend_other()", "all": "recommend_all()",
    "atr": "atr(14)", "r1": "log_return(close, 1)", "r15": "log_return(close, 15)",
    "vol": "std(log_return(close, 1), 20)",
    "beta": f"beta(log_return(close, 1), log_return(close@{BTC}, 1), 240)",
    "excess": f"log_return(close, 15) - log_return(close@{BTC}, 15)",
    "z_return": "zscore(log_return(close, 15), 720)", "z_volume": "zscore(volume, 720)",
}  # fmt: skip
SERIES, BARS = 8, 90_000


def run() -> Iterator[Row]:
    """The whole, its parts, and what a day more and a correction cost."""
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(Path(folder) / "lake")
        names = [f"BINANCE:S{i:04}" for i in range(SERIES)]
        for k, name in enumerate(names):
            lake.store.write(M1, walk(name, BARS, k), source="made up")
        chosen = [Instrument.parse(n) for n in names]
        build(lake.store, FEATURES, chosen[:1], M1)  # compiles
        whole = _build(lake, chosen[1:]) / (SERIES - 1) / BARS
        yield Row(f"build {len(FEATURES)} columns, durable", f"{1 / whole / 1e6:.2f} M bars/s", "two cores")
        yield from _parts(lake, whole)
        again = _build(lake, chosen)
        yield Row("  the same again", f"{again * 1e3:.0f} ms", "first build", f"{again / (whole * BARS * SERIES):.1%}")
        yield from _changes(lake, names, whole * BARS * SERIES)


def _build(lake: Any, chosen: list[Instrument]) -> float:
    begin = time.perf_counter()
    build(lake.store, FEATURES, chosen, M1)
    return time.perf_counter() - begin


def _parts(lake: Any, whole: float) -> Iterator[Row]:
    """One series on one core: read, compute, check, encode and sync."""
    understood = gf.plan(FEATURES)
    rows = lake.store.rows(M1, ["BINANCE:S0001"], None)
    columns = {c: numbers(rows, c) for c in understood.inputs}
    columns |= {f"{c}@{o}": columns[c] for c, o in understood.others}
    values, _ = gf.run(understood, columns)
    frame = rows.select("instrument", "ts").with_columns(**values)
    directory = Path(tempfile.mkdtemp())
    parts = {
        "read": median(lambda: lake.store.rows(M1, ["BINANCE:S0001"], None), 3),
        "compute": median(lambda: gf.run(understood, columns), 3),
        "check": median(lambda: gf.gate(values, understood.bounds, times(rows)), 3),
        "encode and sync": median(lambda: parquet.stage(directory, frame, period="x", timeframe=M1, feature=True), 3),
    }
    total = sum(parts.values())
    for name, seconds in parts.items():
        yield Row(f"  {name}, one core", f"{seconds / BARS * 1e9:.0f} ns/bar", "the parts", f"{seconds / total:.0%}")


def _changes(lake: Any, names: list[str], whole: float) -> Iterator[Row]:
    chosen = [Instrument.parse(n) for n in names]
    for k, name in enumerate(names):
        lake.store.write(M1, walk(name, 1440, 50 + k, START + BARS * MINUTE), source="made up")
    day = _build(lake, chosen)
    yield Row(
        "  one day more of each", f"{day * 1e3:.0f} ms", f"the build of {BARS // 1440} days", f"{day / whole:.1%}"
    )
    at = START + BARS * MINUTE - 30 * DAY
    one = lake.bars(names[3], "1m", start=at, end=at + MINUTE)
    lake.write(names[3], "1m", one.with_columns(one["volume"] + 1))
    late = _build(lake, chosen)
    yield Row("  one bar of one series corrected", f"{late * 1e3:.0f} ms", "the whole build", f"{late / whole:.1%}")
