"""Peak memory grows neither with the number of series nor with the length of history."""

from __future__ import annotations

import os
import subprocess
import sys

import polars as pl
import pytest

from gapless.sim import Market
from gapless.spans import Span

BOUND = 1.5
MB = 1024  # ru_maxrss counts kilobytes
PROBE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(shell, *words: object) -> int:
    """Megabytes a command needs at most; it must end with 0."""
    line = [sys.executable, "-c", PROBE, sys.executable, "-m", "gapless", *map(str, words)]
    env = os.environ | {"GAPLESS_LAKE": str(shell.lake)}
    done = subprocess.run(line, env=env, cwd=shell.home, capture_output=True, text=True, check=True)
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return kilobytes // MB


@pytest.mark.slow
def test_memory_of_an_import_does_not_grow_with_the_number_of_series(shells, truth_of, market) -> None:
    """Twice 400,000 rows as 10, 100 and 1000 series, one file or a file each: the peaks stay together."""
    rows, found = 400_000, {}
    one = truth_of("2023-01-01", "2023-12-31", market.symbols[:1]).drop("instrument")
    for series in (10, 100, 1000):
        shell, each = shells(f"series{series}"), rows // series
        frames = [one.head(each).with_columns(pl.lit(f"S{n:04d}USDT").alias("symbol")) for n in range(series)]
        pl.concat(frames).write_parquet(shell.home / "all.parquet")
        (shell.home / "each").mkdir()
        for n, frame in enumerate(frames):
            frame.with_columns(pl.col("volume") + 1.0).write_csv(shell.home / "each" / f"S{n:04d}USDT.csv")
        whole = peak(shell, "import", "all.parquet", "--venue", "BINANCE", "--timeframe", "1m")
        found[series] = (whole, peak(shell, "import", "each", "--venue", "BINANCE", "--timeframe", "1m"))
    print(f"\npeak MB by series (one file, a file each): {found}")
    for n in (0, 1):
        assert max(f[n] for f in found.values()) < BOUND * found[10][n]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_history(shells) -> None:
    """One series of 3 months, 1 year and 4 years: beyond a year, the largest file, every verb needs the same memory."""
    found = {}
    calm = {"listed_late": 0, "delisted": 0, "outages_per_month": 0, "halts_per_month": 0}
    market = Market(5, 1, "2018-01-01", "2023-01-01", **calm)
    for days, end in ((90, "2018-04-01"), (365, "2019-01-01"), (1461, "2022-01-01")):
        shell = shells(f"days{days}")
        market.truth("BTCUSDT", "1m", Span.parse("2018-01-01", end)).write_parquet(shell.home / "BTCUSDT.parquet")
        text = "r=rsi(close,14);s=sma(close,20)"
        steps = {
            "import": ("import", "BTCUSDT.parquet", "--venue", "BINANCE", "--timeframe", "1m"),
            "again": ("import", "BTCUSDT.parquet", "--venue", "BINANCE", "--timeframe", "1m"),
            "compact": ("lake", "compact"),
            "build": ("features", "build", "--features", text, "--timeframes", "1m"),
            "verify": ("lake", "verify"),
            "status": ("status",),
        }
        found[days] = {name: peak(shell, *words) for name, words in steps.items()}
    print(f"\npeak MB by days: {found}")
    for step, most in found[1461].items():
        assert most < BOUND * found[365][step], step


@pytest.mark.slow
def test_memory_of_a_backfill_does_not_grow_with_the_number_of_series(shells, venue) -> None:
    """The same bars as 10, 100 and 1000 series: the peaks of the backfills stay together."""
    found = {}
    for series, end in ((10, "2024-02-10"), (100, "2024-01-05"), (1000, "2024-01-01T09:36:00Z")):
        with venue(symbols=series, start="2024-01-01", end=end, listed_late=0, delisted=0) as v:
            found[series] = peak(shells(f"series{series}"), *v.words())
    print(f"\npeak MB of a backfill by series: {found}")
    assert max(found.values()) < BOUND * found[10]
