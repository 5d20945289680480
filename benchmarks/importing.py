"""Import of a real file, end to end: sniff, read, check, compare, write Parquet, commit durably, assess."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.rows import SHARED, Row, median
from gapless.app import open as open_lake
from gapless.app.importing import import_files
from gapless.app.runs import running
from gapless.sources.files import ReadOptions
from gapless.spans import Timeframe

FILE = SHARED / "data/crypto/perp_1m_2025-05.parquet"


def run() -> Iterator[Row]:
    """Bars a second, and the ratio to a bare polars read and write of the same rows."""
    if not FILE.exists():
        yield Row("import", f"needs {FILE.name}, which is not here")
        return
    bars = pl.read_parquet(FILE).height
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(1000))
        fresh = median(lambda: _import(Path(folder) / f"lake{next(count)}"))
        again = median(lambda: _import(Path(folder) / "lake0"))
        bare = median(lambda: pl.read_parquet(FILE).write_parquet(Path(folder) / "bare.parquet", compression="zstd"))
    rate = bars / fresh
    yield Row(
        f"import {bars:,} bars", f"{rate / 1e6:.2f} M bars/s", "polars read + write, no checks",
        f"{fresh / bare:.1f}× its time", "≥ 1.0 M bars/s", rate >= 1e6,
    )  # fmt: skip
    yield Row(
        "import the same again", f"{bars / again / 1e6:.2f} M bars/s", "first import", f"{again / fresh:.1f}× its time"
    )


def _import(path: Path) -> None:
    lake = open_lake(path)
    with running(lake.store, "import") as run:
        import_files(lake.store, lake.config, run, [FILE], ReadOptions("BINANCEUSDM", Timeframe.parse("1m")))
