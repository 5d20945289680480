"""A vendor's zips to a committed lake: real months, under several names, in groups as a backfill writes them; and the
same through the whole engine, by HTTP from a process of its own, months and days mixed, against a bare read."""

from __future__ import annotations

import asyncio
import hashlib
import io
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import polars as pl

from benchmarks.depot import FEBRUARY, FOLDER, NOW, depot, names, span_of
from benchmarks.rows import M1, Row
from gapless.engine.backfill import run_backfill
from gapless.engine.plan import Plan, plan
from gapless.protocols import Answer, Offer
from gapless.series import Instrument, Series
from gapless.sources import binance
from gapless.sources.binance_archive import BinanceArchive, usdm
from gapless.spans import Span, SpanSet, parse_time
from gapless.stores.lake import Lake

REPEATS = 3
NAMES = 12  # of each file
GROUP = 4  # files in one write: about the 200,000 rows of a backfill
MONTHS, SYMBOLS = 12, 5  # through the engine, with the days of one month more: a greater part than in five years


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
    with depot(MONTHS) as url:
        yield from _engine(url)


# ---------------------------------------------------------------- the whole engine


def _engine(url: str) -> Iterator[Row]:
    """In turns with a bare read: the machine is not the same from one minute to the next."""
    for what, span, goal in (
        (f"{MONTHS} months and 28 days", span_of(MONTHS), "≥ 1.0 M bars/s/core"), ("days alone", FEBRUARY, "")
    ):  # fmt: skip
        made, archive = _planned(url, span)
        bodies = [_body(url, offer) for task in made.tasks for offer in task.files]
        found = [(_run(made, url, archive), _bare(bodies) / made.bars) for _ in range(REPEATS)]
        spent, ratio = (statistics.median(x) for x in zip(*((a, a / b) for a, b in found), strict=True))
        yield Row(
            f"engine by HTTP: {made.bars:,} bars, {what}", f"{1 / spent:.2f} M bars/s/core",
            "unzip and pl.read_csv", f"{ratio:.2f}× the time", goal, spent <= 1 if goal else None,
        )  # fmt: skip


def _planned(url: str, span: Span) -> tuple[Plan, BinanceArchive]:
    archive = usdm(url, bucket=f"{url}/")
    series = [Series(Instrument("BINANCEUSDM", symbol), M1) for symbol in names(SYMBOLS)]
    offers = {one: archive.offers(one, span, NOW) for one in series}
    wanted = [(one, SpanSet.of(span)) for one in series]
    return plan(wanted, binance.usdm(url), offers=offers, pages=False), archive


def _run(made: Plan, url: str, archive: BinanceArchive) -> float:
    """Processor time of all threads of this process, µs a bar."""
    with tempfile.TemporaryDirectory() as folder:
        lake, begin = Lake(Path(folder) / "lake"), time.process_time()
        outcomes, _ = run_backfill(made, binance.usdm(url), lake, run="bench", archive=archive)
        spent = time.process_time() - begin
        lake.close()
    assert sum(outcome.counts.written for outcome in outcomes) == made.bars
    return spent / made.bars * 1e6


def _body(url: str, offer: Offer) -> bytes:
    with urlopen(f"{url}/{offer.folder}/{offer.name}") as answer:
        found: bytes = answer.read()
    return found


def _bare(bodies: Sequence[bytes]) -> float:
    """The same zips, in memory, into tables that nobody checks or keeps, µs."""
    begin = time.process_time()
    for body in bodies:
        with zipfile.ZipFile(io.BytesIO(body)) as found:
            pl.read_csv(found.read(found.namelist()[0]))
    return (time.process_time() - begin) * 1e6


# ---------------------------------------------------------------- zip to lake


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
    offers = [archive.offers(one, FEBRUARY, parse_time("2026-06-01"))[0] for one in series]
    asked = zip(series, offers, bodies, strict=True)
    return [(await archive.read(body, one, offer, body.digest)).frame for one, offer, body in asked]


def _answer(archive: BinanceArchive, series: Series, rows: int) -> Answer:
    return Answer(archive.name, series, FEBRUARY, FEBRUARY, rows, "ok", 1, "", "", "", parse_time("2026-06-01"))
