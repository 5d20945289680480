"""Binance's bulk archives over the venue's truth: zips of months and days, their checksums, and the bucket's list.

As the real ones: spot files have no header and change to µs with 2025, futures files have a header and stay in ms; a
month appears with the first Monday after it, a day six hours after its end. Beside the bars of futures lie their open
interest, a file a day, and their funding rates, a file a month. Faults by file: ``zip_missing`` (not there though it
should be), ``zip_damaged`` (other bytes than listed).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from gapless.sim.blocks import truth_block
from gapless.sim.exchange import Exchange
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.rules import APIS, Api
from gapless.sim.vendors.desk import Call
from gapless.spans import DAY, HOUR, MINUTE, Span, Timeframe, parse_time, to_datetime

ROOTS = {"BINANCE": "data/spot", "BINANCEUSDM": "data/futures/um"}
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    b"ignore\n"
)
_METRICS = (
    b"create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    b"sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)
_RATES = b"calc_time,funding_interval_hours,last_funding_rate\n"
INTEREST, FUNDING = "metrics", "fundingRate"
_KINDS = {INTEREST: "daily", FUNDING: "monthly"}
BY_START = parse_time("2026-06-25")
_FIVE = 5 * MINUTE
_MICROS_FROM = parse_time("2025-01-01")
_XML = "application/xml"
_KEPT = 16  # zips in memory; of all others the digest is remembered, and they are made again
_KEYS = 1000  # in one answer of the bucket
_FORMS = {"monthly": "%Y-%m", "daily": "%Y-%m-%d"}


class ArchiveDesk:
    """The bucket: files below ``/data/``, and what there is of them at ``/``."""

    root = "/data.binance.vision"
    limit = 0

    def __init__(self, exchange: Exchange) -> None:
        self.shelves: dict[tuple[str, str], Shelf] = {
            (ROOTS[api.venue], "klines"): BarShelf(exchange, api) for api in APIS
        }
        for kind in (INTEREST, FUNDING):
            self.shelves[ROOTS["BINANCEUSDM"], kind] = ValueShelf(exchange, "BINANCEUSDM")

    def answer(self, call: Call) -> Reply:
        """A zip, a checksum, or the bucket's list; raises Refusal (404) for what is not there."""
        return self._listing(call.params) if call.path == "/" else self._file(call.path)

    def slow_down(self, status: int, wait: int) -> Reply:
        """S3's words."""
        return Reply(status, _error("SlowDown"), {"Retry-After": str(wait)}, _XML)

    def unwell(self, which: int) -> Reply:
        """S3 knows two ways."""
        return Reply(*((500, _error("InternalError")), (503, _error("ServiceUnavailable")))[which % 2], {}, _XML)

    def _file(self, path: str) -> Reply:
        shelf, kind, symbol, what, file = self._place(path.strip("/"))
        found = shelf.find(symbol, what, kind, file) if shelf and kind in _FORMS else None
        if found is None:
            raise Refusal(Reply(404, _error("NoSuchKey"), {}, _XML))
        return Reply(200, found, {}, "application/zip")

    def _listing(self, params: Mapping[str, str]) -> Reply:
        """What the bucket has below ``prefix`` (a whole folder), after ``marker``; at most ``max-keys``."""
        folder, most = params.get("prefix", "").rstrip("/"), min(_KEYS, int(params.get("max-keys", _KEYS)))
        shelf, kind, symbol, what, _ = self._place(f"{folder}/")
        keys: list[str] = []
        if shelf and kind in _FORMS and shelf.has(symbol, what):
            keys = shelf.listed(symbol, what, kind, folder, params.get("marker", ""), most)
        more = "true" if len(keys) > most else "false"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{more}</IsTruncated>{''.join(keys[:most])}</ListBucketResult>"
        )
        return Reply(200, body.encode(), {}, _XML)

    def _place(self, key: str) -> tuple[Shelf | None, str, str, str, str]:
        """The parts of ``data/spot/monthly/klines/BTCUSDT/1m/file``; no shelf for what is none."""
        for (root, what), shelf in self.shelves.items():
            market, _, rest = key.partition(f"/{what}/")
            parts = rest.split("/")
            if market.rpartition("/")[0] == root and len(parts) == 2 + (what == "klines"):
                return shelf, market.rpartition("/")[2], parts[0], parts[1] if what == "klines" else what, parts[-1]
        return None, "", "", "", ""


class Shelf(ABC):
    """The files of one venue: ``what`` they hold is a timeframe, or a kind of values."""

    def __init__(self, exchange: Exchange, venue: str) -> None:
        self.exchange, self.venue = exchange, venue
        self.truth = exchange.truths[venue]
        self.zipped: Callable[[str, str, str, Span], bytes] = lru_cache(_KEPT)(self._zipped)
        self.digests: dict[tuple[str, str, str], str] = {}

    @abstractmethod
    def has(self, symbol: str, what: str) -> bool:
        """Are there such files?"""

    @abstractmethod
    def table(self, symbol: str, what: str, span: Span) -> bytes:
        """What stands in a file."""

    def names(self, symbol: str, what: str, kind: str) -> Iterator[tuple[str, Span]]:
        """Files that are there by now, by name."""
        listed, now = self.truth.listed(symbol), self.exchange.clock()
        at = listed.start // DAY * DAY if kind == "daily" else _month(listed.start)
        while at < min(now, listed.end):
            span = Span(at, at + DAY if kind == "daily" else _month(at + 32 * DAY))
            if _appears(span, kind) <= now:
                yield f"{symbol}-{what}-{to_datetime(at).strftime(_FORMS[kind])}", span
            at = span.end

    def find(self, symbol: str, what: str, kind: str, file: str) -> bytes | None:
        """The zip, or its checksum; None when there is no such file."""
        name, _, ending = file.partition(".")
        if not self.has(symbol, what) or ending not in ("zip", "zip.CHECKSUM"):
            return None
        span = dict(self.names(symbol, what, kind)).get(name)
        if span is None or self._missing(name):
            return None
        body = self.zipped(symbol, what, name, span)
        if ending == "zip":
            return self._damaged(name, body)
        return f"{hashlib.sha256(body).hexdigest()}  {name}.zip\n".encode()

    def listed(self, symbol: str, what: str, kind: str, folder: str, marker: str, most: int) -> list[str]:
        """Entries of the bucket's list after ``marker``, up to one more than ``most``."""
        entries: list[str] = []
        for name, span in self.names(symbol, what, kind):
            if len(entries) > most:
                break
            zipped = f"{folder}/{name}.zip"
            if zipped > marker:
                digest = self._digest(symbol, what, name, span)
                entries += [_entry(zipped, digest), _entry(f"{zipped}.CHECKSUM", "")]
        return entries

    def _digest(self, symbol: str, what: str, name: str, span: Span) -> str:
        key = (symbol, what, name)
        if key not in self.digests:
            body = self.zipped(symbol, what, name, span)
            self.digests[key] = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self.digests[key]

    def _missing(self, name: str) -> bool:
        gone = self.exchange.faults.due("zip_missing", self.venue, name)
        if gone:
            self.exchange.faults.happened("zip_missing")
        return gone

    def _damaged(self, name: str, body: bytes) -> bytes:
        if not self.exchange.faults.due("zip_damaged", self.venue, name):
            return body
        self.exchange.faults.happened("zip_damaged")
        return body[: len(body) // 2] + b"\0" + body[len(body) // 2 + 1 :]

    def _zipped(self, symbol: str, what: str, name: str, span: Span) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:  # stored: deflating costs four times all the rest
            member = zipfile.ZipInfo(f"{name}.csv")  # without a date, so that the same file has the same bytes
            archive.writestr(member, self.table(symbol, what, span))
        return sink.getvalue()


class BarShelf(Shelf):
    """The bars of one API."""

    def __init__(self, exchange: Exchange, api: Api) -> None:
        super().__init__(exchange, api.venue)
        self.api = api

    def has(self, symbol: str, what: str) -> bool:
        return symbol in self.truth.symbols and what in Timeframe.ALL

    def table(self, symbol: str, what: str, span: Span) -> bytes:
        timeframe = Timeframe.ALL[what]
        block = truth_block(self.truth, symbol, timeframe, span)
        text = self.exchange.venues[self.api].print(block, timeframe).text
        plain = text.replace(b'"', b"").replace(b"],", b"\n").replace(b"[", b"")
        if not self.api.spot:
            return _HEADER + plain
        return plain if span.start < _MICROS_FROM else b"".join(map(_in_micros, plain.splitlines()))


class ValueShelf(Shelf):
    """Open interest and funding rates: what REST tells, as the bucket writes it.

    A day of open interest is named 00:05 … 00:00; from ``BY_START`` on the same moments are named 00:00 … 23:55.
    """

    def has(self, symbol: str, what: str) -> bool:
        return symbol in self.truth.symbols

    def names(self, symbol: str, what: str, kind: str) -> Iterator[tuple[str, Span]]:
        return super().names(symbol, what, kind) if kind == _KINDS[what] else iter(())

    def table(self, symbol: str, what: str, span: Span) -> bytes:
        if what == FUNDING:
            rates = self.exchange.values.values("funding_rate", symbol, span)
            return _RATES + b"".join(b"%d,8,%b\n" % (ts // 1000, text.encode()) for ts, text in rates)
        told = self.exchange.values.values("open_interest", symbol, Span(span.start + _FIVE, span.end + _FIVE))
        back = _FIVE if span.start >= BY_START else 0
        rows = (f"{to_datetime(ts - back):%Y-%m-%d %H:%M:%S},{symbol},{text},0,1,1,1,1\n" for ts, text in told)
        return _METRICS + "".join(rows).encode()


def _in_micros(line: bytes) -> bytes:
    cells = line.split(b",")
    cells[0], cells[6] = cells[0] + b"000", cells[6] + b"999"
    return b",".join(cells) + b"\n"


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


def _entry(key: str, digest: str) -> str:
    return f"<Contents><Key>{key}</Key><ETag>&quot;{digest}&quot;</ETag></Contents>"


def _month(at: int) -> int:
    """The start of the month that holds ``at``."""
    return parse_time(to_datetime(at).strftime("%Y-%m-01"))


def _appears(span: Span, kind: str) -> int:
    if kind == "daily":
        return span.end + 6 * HOUR
    return span.end + -to_datetime(span.end).weekday() % 7 * DAY + 6 * HOUR
