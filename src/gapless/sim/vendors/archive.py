"""Binance's bulk archives over the venue's truth: zips of months and days, their checksums, and the bucket's list.

As the real ones: spot files have no header and change to µs with 2025, futures files have a header and stay in ms; a
month appears with the first Monday after it, a day six hours after its end. Faults by file: ``zip_missing`` (not there
though it should be), ``zip_damaged`` (other bytes than listed).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from aiohttp import web

from gapless.sim.blocks import truth_block
from gapless.sim.exchange import Exchange
from gapless.sim.rules import APIS, Api
from gapless.spans import DAY, HOUR, Span, Timeframe, parse_time, to_datetime

ROOTS = {"BINANCE": "data/spot", "BINANCEUSDM": "data/futures/um"}
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    b"ignore\n"
)
_MICROS_FROM = parse_time("2025-01-01")
_KEPT = 16  # zips in memory; of all others the digest is remembered, and they are made again
_KEYS = 1000  # in one answer of the bucket
_FORMS = {"monthly": "%Y-%m", "daily": "%Y-%m-%d"}


def add_archive(app: web.Application, exchange: Exchange) -> None:
    """The files below ``/data/``, and the bucket's list at ``/data.binance.vision``."""
    shelves = {ROOTS[api.venue]: Shelf(exchange, api) for api in APIS}
    for root, shelf in shelves.items():
        path = f"/{root}/{{kind:monthly|daily}}/klines/{{symbol}}/{{timeframe}}/{{file}}"
        app.router.add_get(path, partial(_file, exchange, shelf))
    app.router.add_get("/data.binance.vision", partial(_listing, exchange, shelves))


class Shelf:
    """The archive of one API."""

    def __init__(self, exchange: Exchange, api: Api) -> None:
        self.exchange, self.api = exchange, api
        self.truth = exchange.truths[api.venue]
        self.zipped: Callable[[str, Timeframe, str, Span], bytes] = lru_cache(_KEPT)(self._zipped)
        self.digests: dict[tuple[str, Timeframe, str], str] = {}

    def names(self, symbol: str, timeframe: Timeframe, kind: str) -> Iterator[tuple[str, Span]]:
        """Files that are there by now, by name."""
        listed, now = self.truth.listed(symbol), self.exchange.clock()
        at = listed.start // DAY * DAY if kind == "daily" else _month(listed.start)
        while at < min(now, listed.end):
            span = Span(at, at + DAY if kind == "daily" else _month(at + 32 * DAY))
            if _appears(span, kind) <= now:
                yield f"{symbol}-{timeframe}-{to_datetime(at).strftime(_FORMS[kind])}", span
            at = span.end

    def find(self, symbol: str, timeframe: str, kind: str, file: str) -> bytes | None:
        """The zip, or its checksum; None when there is no such file."""
        name, _, ending = file.partition(".")
        if symbol not in self.truth.symbols or timeframe not in Timeframe.ALL or ending not in ("zip", "zip.CHECKSUM"):
            return None
        bars = Timeframe.ALL[timeframe]
        span = dict(self.names(symbol, bars, kind)).get(name)
        if span is None or self._missing(name):
            return None
        body = self.zipped(symbol, bars, name, span)
        if ending == "zip":
            return self._damaged(name, body)
        return f"{hashlib.sha256(body).hexdigest()}  {name}.zip\n".encode()

    def listed(self, symbol: str, timeframe: Timeframe, kind: str, folder: str, marker: str, most: int) -> list[str]:
        """Entries of the bucket's list after ``marker``, up to one more than ``most``."""
        entries: list[str] = []
        for name, span in self.names(symbol, timeframe, kind):
            if len(entries) > most:
                break
            zipped = f"{folder}/{name}.zip"
            if zipped > marker:
                digest = self._digest(symbol, timeframe, name, span)
                entries += [_entry(zipped, digest), _entry(f"{zipped}.CHECKSUM", "")]
        return entries

    def _digest(self, symbol: str, timeframe: Timeframe, name: str, span: Span) -> str:
        key = (symbol, timeframe, name)
        if key not in self.digests:
            body = self.zipped(symbol, timeframe, name, span)
            self.digests[key] = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self.digests[key]

    def _missing(self, name: str) -> bool:
        gone = self.exchange.faults.due("zip_missing", self.api.venue, name)
        if gone:
            self.exchange.faults.happened("zip_missing")
        return gone

    def _damaged(self, name: str, body: bytes) -> bytes:
        if not self.exchange.faults.due("zip_damaged", self.api.venue, name):
            return body
        self.exchange.faults.happened("zip_damaged")
        return body[: len(body) // 2] + b"\0" + body[len(body) // 2 + 1 :]

    def _zipped(self, symbol: str, timeframe: Timeframe, name: str, span: Span) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:  # stored: deflating costs four times all the rest
            member = zipfile.ZipInfo(f"{name}.csv")  # without a date, so that the same file has the same bytes
            archive.writestr(member, self._table(symbol, timeframe, span))
        return sink.getvalue()

    def _table(self, symbol: str, timeframe: Timeframe, span: Span) -> bytes:
        block = truth_block(self.truth, symbol, timeframe, span)
        text = self.exchange.venues[self.api].print(block, timeframe).text
        plain = text.replace(b'"', b"").replace(b"],", b"\n").replace(b"[", b"")
        if not self.api.spot:
            return _HEADER + plain
        return plain if span.start < _MICROS_FROM else b"".join(map(_in_micros, plain.splitlines()))


def _in_micros(line: bytes) -> bytes:
    cells = line.split(b",")
    cells[0], cells[6] = cells[0] + b"000", cells[6] + b"999"
    return b",".join(cells) + b"\n"


async def _file(exchange: Exchange, shelf: Shelf, request: web.Request) -> web.Response:
    words = [request.match_info[name] for name in ("symbol", "timeframe", "kind", "file")]
    found = await asyncio.to_thread(shelf.find, *words)
    exchange.requests[f"archive file {200 if found else 404}"] += 1
    if found is None:
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml")
    return web.Response(body=found, content_type="application/zip")


async def _listing(exchange: Exchange, shelves: dict[str, Shelf], request: web.Request) -> web.Response:
    """What the bucket has below ``prefix`` (a whole folder), after ``marker``; at most ``max-keys``."""
    exchange.requests["archive list 200"] += 1
    root, _, rest = request.query.get("prefix", "").partition("/klines/")
    market, _, kind = root.rpartition("/")
    symbol, _, timeframe = rest.rstrip("/").partition("/")
    most = min(_KEYS, int(request.query.get("max-keys", _KEYS)))
    shelf, keys = shelves.get(market), list[str]()
    if shelf and kind in _FORMS and symbol in shelf.truth.symbols and timeframe in Timeframe.ALL:
        listed = partial(shelf.listed, symbol, Timeframe.ALL[timeframe], kind)
        keys = await asyncio.to_thread(
            listed, f"{root}/klines/{symbol}/{timeframe}", request.query.get("marker", ""), most
        )
    more = "true" if len(keys) > most else "false"
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{more}</IsTruncated>{''.join(keys[:most])}</ListBucketResult>"
    )
    return web.Response(text=body, content_type="application/xml")


def _entry(key: str, digest: str) -> str:
    return f"<Contents><Key>{key}</Key><ETag>&quot;{digest}&quot;</ETag></Contents>"


def _month(at: int) -> int:
    """The start of the month that holds ``at``."""
    return parse_time(to_datetime(at).strftime("%Y-%m-01"))


def _appears(span: Span, kind: str) -> int:
    if kind == "daily":
        return span.end + 6 * HOUR
    return span.end + -to_datetime(span.end).weekday() % 7 * DAY + 6 * HOUR
