"""Coverage, planning and reading of lakes that are already full."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.rows import START, Row, filled, median
from gapless.app import open as open_lake
from gapless.app.planning import make_plan, wanted
from gapless.spans import MINUTE, iso

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
_COLD = """
import sys, time
import gapless as gl
lake = gl.open(sys.argv[1])
begin = time.perf_counter()
assert lake.coverage(["1m"])["coverage"].min() == 1.0
print(time.perf_counter() - begin)
"""


def run() -> Iterator[Row]:
    """Coverage of 10 M bars, a plan of 1000 complete series, one symbol into arrays."""
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide"
        filled(wide, 200, 50_000).close()
        yield _coverage(wide)
        yield from _reading(wide, Path(folder) / "bare.parquet")
        many = Path(folder) / "many"
        filled(many, 1000, 2_000).close()
        yield _planning(many)


def _coverage(path: Path) -> Row:
    def cold() -> float:
        words = [sys.executable, "-c", _COLD, str(path)]
        return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    seconds = statistics.median(cold() for _ in range(5))
    name = "coverage of 10 M bars in 200 series, cold"
    return Row(name, f"{seconds:.3f} s", "", "", "< 0.3 s", seconds < 0.3)


def _planning(path: Path) -> Row:
    lake = open_lake(path)
    symbols = ",".join(lake.instruments("1m"))
    start, end = iso(START), iso(START + 2_000 * MINUTE)

    def plan() -> None:
        asked = wanted(lake, "plan", symbols=symbols, timeframes="1m", start=start, end=end)
        assert make_plan(asked).to_dict()["requests"] == 0

    seconds = median(plan)
    return Row("plan of 1000 complete series", f"{seconds:.3f} s", "", "", "< 1 s", seconds < 1)


def _reading(path: Path, bare: Path) -> Iterator[Row]:
    lake = open_lake(path)
    frame = lake.bars("BINANCE:S0007", "1m")
    frame.select(COLUMNS).write_parquet(bare)

    def arrays(rows: pl.DataFrame) -> list[object]:
        return [rows[c].to_numpy() for c in COLUMNS]

    mine = median(lambda: arrays(lake.bars("BINANCE:S0007", "1m")), 31)
    theirs = median(lambda: arrays(pl.read_parquet(bare)), 31)
    name, ratio = "one symbol's 50,000 bars into arrays", mine / theirs
    yield Row(name, f"{mine * 1e3:.2f} ms", "", "", "< 5 ms", mine < 5e-3)
    yield Row(
        f"  {name}",
        f"{theirs * 1e3:.2f} ms bare",
        "one bare Parquet file",
        f"{ratio:.1f}× its time",
        "≤ 3×",
        ratio <= 3,
    )
