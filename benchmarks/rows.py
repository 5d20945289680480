"""What a benchmark yields, how it is timed, and the lake the readers share."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from gapless.bars import SCHEMA
from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import MINUTE, Span, Timeframe, parse_time
from gapless.stores.lake import Lake

M1 = Timeframe.parse("1m")
START = parse_time("2025-02-01")
SHARED = Path(__file__).parents[1].parent / "shared"


@dataclass(frozen=True)
class Row:
    """One line of the table: what, the figure, against what, the ratio, and whether a stated goal is met."""

    name: str
    figure: str
    peer: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


def median(call: Callable[[], object], times: int = 5) -> float:
    """The median of several runs, in seconds."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def walk(name: str, count: int, seed: int, start: int = START) -> pl.DataFrame:
    """Valid minutes of one instrument."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count))), 2)
    return pl.DataFrame(
        {
            "instrument": pl.repeat(name, count, eager=True),
            "ts": start + np.arange(count) * MINUTE,
            "open": close,
            "high": close + 0.1,
            "low": close - 0.1,
            "close": close,
            "volume": np.round(rng.lognormal(3, 1, count), 3),
        }
    ).with_columns(pl.col("ts").cast(SCHEMA["ts"]))


def filled(path: Path, series: int, bars: int) -> Lake:
    """A complete lake of ``series`` × ``bars`` minutes, with its ledger."""
    lake = Lake(path)
    names = [f"BINANCE:S{i:04}" for i in range(series)]
    per_write = max(1, 1_000_000 // bars)
    for at in range(0, series, per_write):
        part = names[at : at + per_write]
        lake.write(M1, pl.concat([walk(n, bars, at + k) for k, n in enumerate(part)]), source="made up")
    span = Span(START, START + bars * MINUTE)
    now = lake.clock()
    lake.record(Answer("made up", Series.parse(n, "1m"), span, span, bars, "ok", 1, "", "", "", now) for n in names)
    return lake


@contextmanager
def venue(*options: str) -> Iterator[str]:
    """A simulated venue in another process; yields its URL."""
    words = [sys.executable, "-m", "gapless", "sim", "--port", "0", "--weight-limit", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        yield next(w for w in line.split() if w.startswith("http"))
    finally:
        process.terminate()
        process.wait()
