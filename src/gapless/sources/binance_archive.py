"""Binance's bulk archives: a zip a month, or a day, of each symbol and timeframe, for free and without weight.

Months appear in the first week after their end, days on the day after; what is later comes over REST. The bucket lists
what it has, with a digest of each file, so that one request a series tells which files are there; a file whose digest
does not agree, or that none was told of, is checked against its own ``.CHECKSUM`` (SHA-256). No file is believed
without one of the two.

Source: https://github.com/binance/binance-public-data (paths, checksums, µs since 2025 on spot, headers on futures).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from xml.etree import ElementTree

import numpy as np
import polars as pl

try:
    from isal import isal_zlib as inflate  # the same bytes in a third of the time
except ImportError:  # a machine it is not made for
    import zlib as inflate  # type: ignore[no-redef]

from gapless.bars import TS, empty
from gapless.errors import Damaged, Faulty, Refused, SourceError, Throttled
from gapless.protocols import Http, Limits, Offer, Page, ValueArchive
from gapless.series import Series
from gapless.sources.reading import MICROS_FROM, head
from gapless.spans import DAY, HOUR, Span, parse_time, to_datetime

ADDRESS = "https://data.binance.vision"
BUCKET = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision/"
ROW_BYTES = 32  # of a zipped minute
_ENCRYPTED = 1  # a flag of a zip's member
_LENGTHS, _HEADER = 26, 30  # in a member's header: where the lengths of its name and extra field are; its own length
_LONGEST_ROW = 400  # bytes of text; a file that would unpack to more is no archive of bars
MONTH_AFTER = DAY  # after the first Monday of the next month
DAY_AFTER = 12 * HOUR  # after the day's end

_COLUMNS: dict[str, pl.DataType] = {
    "open_time": pl.Int64(), "open": pl.Float64(), "high": pl.Float64(), "low": pl.Float64(), "close": pl.Float64(),
    "volume": pl.Float64(), "close_time": pl.Int64(), "quote_volume": pl.Float64(), "trades": pl.Float64(),
    "taker_buy_volume": pl.Float64(), "taker_buy_quote": pl.Float64(), "ignore": pl.String(),
}  # fmt: skip
_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")
_READ = [at for at, name in enumerate(_COLUMNS) if name in ("open_time", "close_time", *_VALUES)]


_NO_INFLATE = cast(type[Exception], inflate.error)
_BROKEN = (zipfile.BadZipFile, _NO_INFLATE, zlib.error, struct.error, ValueError, EOFError, RuntimeError)


class _Absent(Refused):
    """The file is not there (yet): no error, and caught here."""


def spot(base_url: str = ADDRESS, *, bucket: str = BUCKET, concurrency: int = 8) -> BinanceArchive:
    """The archive of Binance spot."""
    return BinanceArchive("binance-archive", "BINANCE", base_url, bucket, "data/spot", Limits(0, 0, 60.0, concurrency))


def usdm(base_url: str = ADDRESS, *, bucket: str = BUCKET, concurrency: int = 8) -> BinanceArchive:
    """The archive of Binance USD-M futures."""
    limits = Limits(0, 0, 60.0, concurrency)
    return BinanceArchive("binance-usdm-archive", "BINANCEUSDM", base_url, bucket, "data/futures/um", limits)


@dataclass(slots=True)
class BinanceArchive:
    """One market's archive. Make it with ``spot()`` or ``usdm()``."""

    name: str
    venue: str
    base_url: str
    bucket: str
    root: str
    limits: Limits

    def offers(self, series: Series, span: Span, now: int) -> Sequence[Offer]:
        """Months that touch ``span`` and should be there at ``now``; the days of those that are not there yet.

        >>> from gapless.spans import parse_time
        >>> year = Span.parse("2025-01-01", "2026-01-01")
        >>> [o.name for o in spot().offers(Series.parse("BINANCE:BTCUSDT", "1m"), year, parse_time("2025-02-03"))]
        ... # doctest: +ELLIPSIS
        ['BTCUSDT-1m-2025-01-01.zip', 'BTCUSDT-1m-2025-01-02.zip', ..., 'BTCUSDT-1m-2025-02-01.zip']
        """
        if series.timeframe.offset:
            return []  # a week lies in two months
        return list(self._offers(series, span.intersect(Span(span.start, max(span.start, now))), now))

    def _offers(self, series: Series, span: Span, now: int) -> Iterator[Offer]:
        for month in months(span):
            if first_monday(month.end) + MONTH_AFTER <= now:
                yield self._offer(series, month, "monthly", "%Y-%m")
                continue
            wanted = month.intersect(span)
            for at in range(wanted.start // DAY * DAY, wanted.end, DAY):
                if at + DAY + DAY_AFTER <= now:
                    yield self._offer(series, Span(at, at + DAY), "daily", "%Y-%m-%d")

    def _offer(self, series: Series, span: Span, kind: str, form: str) -> Offer:
        symbol, timeframe = series.instrument.symbol, series.timeframe
        folder = f"{self.root}/{kind}/klines/{symbol}/{timeframe}"
        name = f"{symbol}-{timeframe}-{to_datetime(span.start).strftime(form)}.zip"
        return Offer(self.name, folder, name, span, span.bars(timeframe) * ROW_BYTES)

    async def digests(self, http: Http, offers: Sequence[Offer]) -> Mapping[str, str]:
        """The MD5 of each file that the bucket lists, by name. All ``offers`` lie in one folder."""
        folder, names = offers[0].folder, sorted(offer.name for offer in offers)
        after, found = f"{folder}/{names[0].removesuffix('.zip')}", dict[str, str]()
        while after:
            params: dict[str, str | int] = {
                "prefix": f"{folder}/",
                "marker": after,
                "max-keys": 2 * len(names),
            }  # each with its checksum
            listed, after = _listing(self.name, await http.get(self.bucket, params, weight=0))
            found |= listed
            if max(found, default="") >= names[-1]:
                break
        return {name: found[name] for name in names if name in found}

    async def read(self, http: Http, series: Series, offer: Offer, digest: str | None) -> Page:
        """The bars of a file. An empty page when it is not there; Damaged when it is not what it should be.

        ``digest`` as ``digests`` told it; None, or one that differs: the file's own checksum decides.
        """
        body = await self.file(http, offer, digest)
        if body is None:
            return Page(empty(), Span(offer.span.start, offer.span.start))
        frame = await asyncio.to_thread(_frame, f"{self.name} {offer.name}", body, series, offer)
        return Page(frame, offer.span, len(body))

    async def file(self, http: Http, offer: Offer, digest: str | None) -> bytes | None:
        """The bytes of a file that are what their digest says; None when it is not there."""
        path = f"/{offer.folder}/{offer.name}"
        try:
            body = await http.get(path, {}, weight=0)
        except _Absent:
            return None
        if not digest or hashlib.md5(body, usedforsecurity=False).hexdigest() != digest:
            await self._checked(http, path, body)
        return body

    def values(self) -> Sequence[ValueArchive]:
        """The archives of values at times, of the same market."""
        from gapless.sources.binance_archive_values import archives_of

        return archives_of(self) if self.venue == "BINANCEUSDM" else ()

    async def _checked(self, http: Http, path: str, body: bytes) -> None:
        try:
            said = (await http.get(f"{path}.CHECKSUM", {}, weight=0)).split(maxsplit=1)
        except _Absent:
            raise Damaged(f"{self.name} {path}: there is no checksum to trust it by.") from None
        if not said or hashlib.sha256(body).hexdigest().encode() != said[0].lower():
            raise Damaged(f"{self.name} {path}: the file differs from its checksum.")

    def used(self, headers: Mapping[str, str]) -> int | None:
        """It counts nothing."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """404 means that there is no such file."""
        said = f"{self.name} answered {status}: {head(body)}"
        if status == 404:
            return _Absent(said)
        if status in (418, 429):
            return Throttled(said, banned=status == 418)
        return Faulty(said) if status >= 500 else Refused(said, hint="check the archive's address")


def _frame(where: str, body: bytes, series: Series, offer: Offer) -> pl.DataFrame:
    """The bars of a zip, sorted, each once; Damaged when they cannot be what its name says."""
    text = unzipped(where, body, offer)
    skip = 0 if text[:1].isdigit() else 1
    try:
        rows = pl.read_csv(text, columns=_READ, has_header=False, skip_rows=skip, schema=_COLUMNS, quote_char=None)
    except pl.exceptions.PolarsError as error:
        raise Damaged(f"{where}: cannot be read: {str(error).splitlines()[0]}; it begins {head(text)}.") from error
    opened, closed = (_micros(rows.get_column(name)) for name in ("open_time", "close_time"))
    size = series.timeframe.micros
    if any(rows.get_column(name).null_count() for name in _VALUES):
        raise Damaged(f"{where}: values are missing; it begins {head(text)}.")
    if len(opened) and (opened.min() < offer.span.start or opened.max() >= offer.span.end):
        raise Damaged(f"{where}: holds bars of other times.")
    if ((closed < opened) | (closed >= opened + size)).any():
        raise Damaged(f"{where}: a row does not close within {series.timeframe} of its open.")
    name = pl.Series("instrument", [str(series.instrument)]).new_from_index(0, rows.height)
    frame = pl.DataFrame([name, pl.Series("ts", opened).cast(TS), *(rows.get_column(n) for n in _VALUES)])
    return frame if (np.diff(opened) > 0).all() else _ordered(where, frame)


def unzipped(where: str, body: bytes, offer: Offer) -> bytes:
    """The one member of the zip, by the name it must have."""
    wanted = offer.name.removesuffix(".zip") + ".csv"
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (member,) = archive.infolist()
            if member.filename != wanted:
                raise Damaged(f"{where}: holds '{member.filename}', not '{wanted}'.")
            if member.file_size > (offer.bytes // ROW_BYTES + 2) * _LONGEST_ROW:
                raise Damaged(f"{where}: would unpack to {member.file_size:,} bytes.")
            packed = member.compress_type == zipfile.ZIP_DEFLATED and not member.flag_bits & _ENCRYPTED
            return _inflated(body, member) if packed else archive.read(member)
    except _BROKEN as error:
        raise Damaged(f"{where}: is no archive of one table: {error}.") from error


def _inflated(body: bytes, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes, as ``ZipFile.read`` gives them, at a third of its time; never more than the zip says."""
    name, extra = struct.unpack_from("<HH", body, member.header_offset + _LENGTHS)
    start = member.header_offset + _HEADER + name + extra
    machine = inflate.decompressobj(-zlib.MAX_WBITS)
    text = machine.decompress(body[start : start + member.compress_size], member.file_size + 1)
    if not machine.eof or len(text) != member.file_size or inflate.crc32(text) != member.CRC:
        raise zipfile.BadZipFile("its bytes are not those it was made of")
    return text


def _ordered(where: str, frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.unique(maintain_order=True).sort("ts")
    if not frame.get_column("ts").is_unique().all():
        raise Damaged(f"{where}: two rows of one time disagree.")
    return frame


def _micros(times: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each time by its own magnitude: the unit changed with 2025."""
    values = (times.fill_null(-1) if times.null_count() else times).to_numpy()
    return np.where(values < MICROS_FROM, values * 1000, values)


def _listing(name: str, body: bytes) -> tuple[dict[str, str], str]:
    """File name → MD5 of a bucket's list (S3's XML), and after which key it goes on; empty when it is complete."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Faulty(f"{name} listed what cannot be read: {error}; it begins {head(body)}.") from error
    found, last = dict[str, str](), ""
    for entry in root.iterfind("{*}Contents"):
        last = entry.findtext("{*}Key", "")
        if last.endswith(".zip"):
            found[last.rpartition("/")[2]] = entry.findtext("{*}ETag", "").strip('"')
    return found, last if root.findtext("{*}IsTruncated", "false") == "true" else ""


def months(span: Span) -> Iterator[Span]:
    """The months that ``span`` touches."""
    start = to_datetime(span.start).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while span and (at := parse_time(start)) < span.end:
        start = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
        yield Span(at, parse_time(start))


def first_monday(at: int) -> int:
    """The first Monday from midnight ``at`` on."""
    return at + -to_datetime(at).weekday() % 7 * DAY
