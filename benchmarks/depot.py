"""A vendor's archive as a process of its own: real files by HTTP, in as many months and under as many names as wanted.

``python -m benchmarks.depot MONTHS`` serves February 2026 day by day, and its rows as if they were the ``MONTHS``
before it, cut or repeated to their length. It answers like the vendor's bucket: lists with digests, and zips.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from socket import socket

import polars as pl
from aiohttp import web

from benchmarks.rows import M1, SHARED
from gapless.series import Series
from gapless.sources.binance_archive import usdm
from gapless.spans import DAY, MINUTE, Span, parse_time, to_datetime

FOLDER = SHARED / "data/crypto/archive"
FEBRUARY = Span.parse("2026-02-01", "2026-03-01")
NOW = parse_time("2026-03-02T18:00")  # the days of February are there, its month is not yet
_NAME = "SYMBL{:02}"  # all of one length, so that a zip is renamed in place
_FIRST = _NAME.format(0)


def names(count: int) -> list[str]:
    """The symbols under which the real files are served."""
    return [_NAME.format(number) for number in range(count)]


def span_of(months: int) -> Span:
    """What there are files of."""
    year, month = divmod(2026 * 12 + 1 - months, 12)
    return Span(parse_time(f"{year}-{month + 1:02}-01"), FEBRUARY.end)


@contextmanager
def depot(months: int) -> Iterator[str]:
    """One that runs; yields its URL."""
    words = [sys.executable, "-m", "benchmarks.depot", str(months)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    try:
        assert process.stderr is not None
        yield process.stderr.readline().strip()
    finally:
        process.terminate()
        process.wait()


class Shelf:
    """The zips of each real symbol by file name, under the first name."""

    def __init__(self, months: int) -> None:
        offers = usdm().offers(Series.parse(f"BINANCEUSDM:{_FIRST}", "1m"), span_of(months), NOW)
        real = [_rows(path) for path in sorted(FOLDER.glob("*.zip"))]
        self.made = {o.name: [_zipped(o.name, rows, o.span) for rows in real] for o in offers}
        self.folders = {o.name: o.folder for o in offers}
        self.digest = cache(self._digest)

    def zipped(self, symbol: str, name: str) -> bytes:
        """One file, under any name."""
        found = self.made[name.replace(symbol, _FIRST)]
        return found[int(symbol[-2:]) % len(found)].replace(_FIRST.encode(), symbol.encode())

    def _digest(self, symbol: str, name: str) -> str:
        return hashlib.md5(self.zipped(symbol, name), usedforsecurity=False).hexdigest()

    def listed(self, folder: str, marker: str) -> str:
        """The bucket's list of a folder, from after ``marker``."""
        symbol = folder.split("/")[-3]
        found = (
            n.replace(_FIRST, symbol) for n, f in self.folders.items() if f"{f}/".replace(_FIRST, symbol) == folder
        )
        entries = (
            f'<Contents><Key>{folder}{name}</Key><ETag>"{self.digest(symbol, name)}"</ETag></Contents>'
            for name in sorted(found)
            if folder + name > marker
        )
        return f"<List><IsTruncated>false</IsTruncated>{''.join(entries)}</List>"


def _rows(path: Path) -> pl.DataFrame:
    with zipfile.ZipFile(path) as found:
        return pl.read_csv(found.read(found.namelist()[0]), infer_schema=False)


def _zipped(name: str, rows: pl.DataFrame, span: Span) -> bytes:
    """The values of the same days of the month, at the times of ``span``."""
    first = (to_datetime(span.start).day - 1) * DAY // MINUTE
    opened = pl.Series(range(span.start // 1000, span.end // 1000, MINUTE // 1000))
    found = pl.concat([rows, rows]).slice(first, span.bars(M1))
    timed = found.with_columns(opened.alias("open_time"), (opened + 59_999).alias("close_time"))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name.replace(".zip", ".csv"), timed.write_csv())
    return sink.getvalue()


async def _bucket(shelf: Shelf, request: web.Request) -> web.Response:
    return web.Response(text=shelf.listed(request.query["prefix"], request.query["marker"]))


async def _file(shelf: Shelf, request: web.Request) -> web.Response:
    *_, symbol, _, name = request.path.split("/")
    return web.Response(body=shelf.zipped(symbol, name), content_type="application/zip")


def main() -> None:
    """Serve until ended; the address is told on standard error."""
    shelf, app, listening = Shelf(int(sys.argv[1])), web.Application(), socket()
    app.router.add_get("/", partial(_bucket, shelf))
    app.router.add_get("/{path:.+}", partial(_file, shelf))
    listening.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    web.run_app(app, sock=listening, print=lambda _: print(url, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
