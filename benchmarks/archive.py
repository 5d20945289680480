"""A vendor's zips to a committed lake: real months, under several names, in groups as a backfill writes them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmarks.rows import M1, SHARED, Row
from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.sources.binance_archive import BinanceArchive, usdm
from gapless.spans import Span, parse_time
from gapless.stores.lake import Lake

MONTH = Span.parse("2026-02-01", "2026-03-01")
FOLDER = SHARED / "data/crypto/archive"
REPEATS = 3
NAMES = 12  # of each file
GROUP = 4  # files in one write: about the 200,000 rows of a backfill


def run() -> Iterator[Row]:
    """Bars a second of processor time, all threads counted; and where it goes."""
    if not FOLDER.exists():
        yield Row("archive", "needs data/crypto/archive, which is not here")
        return
    bodies = dict(_renamed(p, k) for k in range(NAMES) for p in sorted(FOLDER.glob("*.zip")))
    rates = sorted(_ingest(bodies) for _ in range(REPEATS))
    whole, reading, bars = rates[REPEATS // 2]
    rate = bars / whole
    yield Row(
        f"archive: {bars:,} bars, zip to lake", f"{rate / 1e6:.2f} M bars/s/core", "", "", "≥ 1.0 M bars/s/core",
        rate >= 1e6,
    )  # fmt: skip
    yield Row("  unzip, read and check", f"{reading / bars * 1e6:.2f} µs/bar", "the whole", f"{reading / whole:.0%}")
    yield Row("  durable write and ledger", f"{(whole - reading) / bars * 1e6:.2f} µs/bar")


def _ingest(bodies: Mapping[str, _Body]) -> tuple[float, float, int]:
    """Processor seconds, those of reading, and bars: each file in a write of its own, then its ledger line."""
    archive = usdm()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        begin, reading, bars = time.process_time(), 0.0, 0
        for group in _grouped(list(bodies.items())):
            at = time.process_time()
            series = [Series(Instrument("BINANCEUSDM", symbol), M1) for symbol, _ in group]
            frames = asyncio.run(_read(archive, series, [body for _, body in group]))
            reading += time.process_time() - at
            lake.write(M1, pl.concat(frames), source=archive.name)
            lake.record(_answer(archive, one, frame.height) for one, frame in zip(series, frames, strict=True))
            bars += sum(frame.height for frame in frames)
        whole = time.process_time() - begin
        lake.close()
    return whole, reading, bars


def _renamed(path: Path, number: int) -> tuple[str, _Body]:
    """A real month, as if it were another symbol's."""
    symbol, sink = f"{chr(65 + number)}{path.name.partition('-')[0]}", io.BytesIO()
    with zipfile.ZipFile(path) as found, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{symbol}-1m-2026-02.csv", found.read(found.namelist()[0]))
    return symbol, _Body(sink.getvalue(), hashlib.md5(sink.getvalue(), usedforsecurity=False).hexdigest())


def _grouped(items: Sequence[tuple[str, _Body]]) -> Iterator[Sequence[tuple[str, _Body]]]:
    ordered = sorted(items)
    for at in range(0, len(ordered), GROUP):
        yield ordered[at : at + GROUP]


class _Body(NamedTuple):
    """One file, as it would come, and what the bucket's list says of it."""

    zipped: bytes
    digest: str
    said_at: int | None = None

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        return self.zipped


async def _read(archive: BinanceArchive, series: Sequence[Series], bodies: Sequence[_Body]) -> list[pl.DataFrame]:
    offers = [archive.offers(one, MONTH, parse_time("2026-06-01"))[0] for one in series]
    asked = zip(series, offers, bodies, strict=True)
    return [(await archive.read(body, one, offer, body.digest)).frame for one, offer, body in asked]


def _answer(archive: BinanceArchive, series: Series, rows: int) -> Answer:
    return Answer(archive.name, series, MONTH, MONTH, rows, "ok", 1, "", "", "", parse_time("2026-06-01"))
