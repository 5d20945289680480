"""Binance's bulk archives: which files there should be, and what a file must be to be believed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import Faulty, Refused, Throttled
from gapless.protocols import Offer, Page
from gapless.series import Series
from gapless.sources import binance_archive
from gapless.sources.binance_archive import BinanceArchive, spot, usdm
from gapless.spans import DAY, MINUTE, Span, SpanSet, Timeframe, iso, parse_time

ZIPS = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "archive"
needs_zips = pytest.mark.skipif(not ZIPS.exists(), reason="real archives are not part of the project")
M1 = Timeframe.parse("1m")
BTC = Series.parse("BINANCE:BTCUSDT", "1m")
JANUARY = Span.parse("2025-01-01", "2025-02-01")
START = JANUARY.start


@dataclass
class Bucket:
    """An http over files in memory; anything else is refused in the archive's words."""

    archive: BinanceArchive
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str | int]]] = field(default_factory=list)
    said_at: int | None = None

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        self.asked.append((path, dict(params)))
        if path not in self.files:
            raise self.archive.refusal(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        return self.files[path]


def packed(text: str | bytes, name: str = "BTCUSDT-1m-2025-01.csv", *more: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
        for member in (name, *more):
            made.writestr(member, text)
    return sink.getvalue()


def row(minute: int, close: str = "2.0", *, micros: bool = False, start: int = START) -> str:
    opened = start // 1000 + minute * 60_000
    times = (f"{opened}000", f"{opened + 59_999}999") if micros else (str(opened), str(opened + 59_999))
    return f"{times[0]},1.5,3.0,1.0,{close},10.5,{times[1]},20.25,4,5.5,10.0,0"


def january(archive: BinanceArchive | None = None) -> Offer:
    (offer,) = (archive or spot()).offers(BTC, JANUARY, parse_time("2025-06-01"))
    return offer


def read(body: bytes, *, digest: str | None = "", checksum: str | bytes | None = None) -> Page:
    """What is made of a zip; ``digest`` empty: its own MD5."""
    archive, offer = spot(), january()
    bucket = Bucket(archive, {f"/{offer.folder}/{offer.name}": body})
    if checksum is not None:
        text = checksum if isinstance(checksum, bytes) else f"{checksum}  {offer.name}\n".encode()
        bucket.files[f"/{offer.folder}/{offer.name}.CHECKSUM"] = text
    if digest == "":
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return asyncio.run(archive.read(bucket, BTC, offer, digest))


def minutes(page: Page) -> list[int]:
    return [(ts - START) // MINUTE for ts in page.frame.get_column("ts").to_physical()]


# ---------------------------------------------------------------- real files


@needs_zips
@pytest.mark.parametrize("symbol", ["ALGOUSDT", "AVAXUSDT", "LINKUSDT"])
def test_a_real_month_is_every_minute_with_the_values_of_its_text(symbol: str) -> None:
    """28 days without a hole; each value is the decimal of the file, nearest double; the hash is its checksum."""
    series = Series.parse(f"BINANCEUSDM:{symbol}", "1m")
    archive, month = usdm(), Span.parse("2026-02-01", "2026-03-01")
    (offer,) = archive.offers(series, month, parse_time("2026-04-01"))
    path, body = f"/{offer.folder}/{offer.name}", (ZIPS / offer.name).read_bytes()
    assert path == f"/data/futures/um/monthly/klines/{symbol}/1m/{symbol}-1m-2026-02.zip"
    checksum = f"{hashlib.sha256(body).hexdigest()}  {offer.name}\n".encode()
    page = asyncio.run(archive.read(Bucket(archive, {path: body, f"{path}.CHECKSUM": checksum}), series, offer, None))
    assert page.covered == month
    assert page.bytes == len(body)
    with zipfile.ZipFile(io.BytesIO(body)) as found:
        lines = [line.split(",") for line in found.read(found.namelist()[0]).decode().splitlines()[1:]]
    expected = [(int(c[0]) * 1000, *map(float, c[1:6]), float(c[7]), float(c[8]), float(c[9])) for c in lines]
    assert page.frame.drop("instrument").with_columns(pl.col("ts").to_physical()).rows() == expected
    assert SpanSet.from_bars(page.frame["ts"].to_physical().to_numpy(), M1) == SpanSet.of(month)
    assert page.frame["instrument"].unique().to_list() == [str(series.instrument)]


@needs_zips
@pytest.mark.parametrize("day", ["2021-11-27", "2021-11-28"])
def test_a_real_day_without_header_is_read(day: str) -> None:
    """Older files have no header; the same twelve columns."""
    series = Series.parse("BINANCE:ADABTC", "1m")
    text = (ZIPS / f"ADABTC-1m-{day}.csv").read_bytes()
    (offer,) = spot().offers(series, Span(parse_time(day), parse_time(day) + DAY), parse_time(day) + 2 * DAY)
    assert offer.folder == "data/spot/daily/klines/ADABTC/1m"
    body = packed(text, offer.name.replace(".zip", ".csv"))
    bucket = Bucket(spot(), {f"/{offer.folder}/{offer.name}": body})
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    page = asyncio.run(spot().read(bucket, series, offer, digest))
    assert page.frame["close"].to_list() == [float(line.split(",")[4]) for line in text.decode().splitlines()]
    assert iso(int(page.frame["ts"].to_physical()[0])) == f"{day}T00:00:00Z"


# ---------------------------------------------------------------- which files


@given(st.integers(0, 900), st.integers(1, 900), st.integers(0, 2000), st.sampled_from(["1m", "15m", "4h", "1d"]))
def test_offers_never_overlap_and_are_never_of_the_future(first: int, days: int, age: int, timeframe: str) -> None:
    """Whole months and days, by time, each over before it is offered; with time enough, nothing of the past is left."""
    begin = parse_time("2022-03-05") + first * DAY + 7 * MINUTE
    span, now = Span(begin, begin + days * DAY), begin + age * DAY
    offers = spot().offers(Series.parse("BINANCE:BTCUSDT", timeframe), span, now)
    assert all(a.span.end <= b.span.start for a, b in pairwise(offers))
    assert all(offer.span.end < now and offer.span.intersect(span) for offer in offers)
    old = Span(span.start, max(span.start, min(span.end, now - 2 * DAY)))
    assert not SpanSet.of(old) - SpanSet.of(*(offer.span for offer in offers))


def test_a_month_is_offered_from_its_first_monday_on_and_its_days_before() -> None:
    """January 2025 ends on a Friday: its file is there on Monday, 3 February; until then its days are."""

    def names(now: str) -> list[str]:
        return [offer.name[11:-4] for offer in spot().offers(BTC, JANUARY, parse_time(now))]

    assert names("2025-02-04T00:00") == ["2025-01"]
    assert names("2025-02-03T00:00") == [f"2025-01-{day:02}" for day in range(1, 32)]
    assert names("2025-01-03T12:00") == ["2025-01-01", "2025-01-02"]
    assert names("2025-01-03T11:59") == ["2025-01-01"]


def test_weeks_are_not_offered() -> None:
    """A week lies in two months."""
    assert spot().offers(Series.parse("BINANCE:BTCUSDT", "1w"), JANUARY, parse_time("2025-06-01")) == []


def listed(*keys: tuple[str, str], more: bool = False) -> bytes:
    entries = "".join(f"<Contents><Key>{key}</Key><ETag>&quot;{tag}&quot;</ETag></Contents>" for key, tag in keys)
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{entries}</ListBucketResult>"
    ).encode()


def test_the_list_tells_which_offers_are_there_and_their_digests() -> None:
    """Names that were not offered are left out, and so are offers that the bucket does not have."""
    archive = spot()
    offers = archive.offers(BTC, Span.parse("2024-11-01", "2025-02-01"), parse_time("2025-06-01"))
    folder = offers[0].folder
    keys = [
        (f"{folder}/BTCUSDT-1m-{m}{e}", m) for m in ("2024-12", "2025-01", "2025-02") for e in (".zip", ".zip.CHECKSUM")
    ]
    bucket = Bucket(archive, {archive.bucket: listed(*keys, more=True)})
    assert asyncio.run(archive.digests(bucket, offers)) == {
        "BTCUSDT-1m-2024-12.zip": "2024-12",
        "BTCUSDT-1m-2025-01.zip": "2025-01",
    }
    assert bucket.asked == [
        (archive.bucket, {"prefix": f"{folder}/", "marker": f"{folder}/BTCUSDT-1m-2024-11", "max-keys": 6})
    ]


def test_a_list_that_is_cut_short_is_asked_on_from_its_last_key() -> None:
    """Until the last offer is passed, or the bucket says that there is no more."""
    archive, offers = spot(), spot().offers(BTC, Span.parse("2024-12-01", "2025-02-01"), parse_time("2025-06-01"))
    folder = offers[0].folder
    pages = [
        listed((f"{folder}/BTCUSDT-1m-2024-12.zip", "a"), more=True),
        listed((f"{folder}/BTCUSDT-1m-2025-01.zip", "b")),
    ]

    class Paged(Bucket):
        async def get(self, path: str, params: Mapping[str, str | int], **_: object) -> bytes:
            self.asked.append((path, dict(params)))
            return pages[len(self.asked) - 1]

    bucket = Paged(archive)
    assert asyncio.run(archive.digests(bucket, offers)) == {offers[0].name: "a", offers[1].name: "b"}
    assert bucket.asked[1][1]["marker"] == f"{folder}/BTCUSDT-1m-2024-12.zip"


def test_a_list_that_cannot_be_read_is_a_fault() -> None:
    """HTML in place of the list, with its head in the message."""
    archive = spot()
    bucket = Bucket(archive, {archive.bucket: b"<html><body>maintenance"})
    with pytest.raises(Faulty, match="maintenance"):
        asyncio.run(archive.digests(bucket, [january()]))


# ---------------------------------------------------------------- what is believed


def test_times_are_read_by_their_own_magnitude() -> None:
    """Milliseconds and microseconds in one file, with and without header: the same bars."""
    header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,x,ignore\n"
    for head in ("", header):
        page = read(packed(head + row(0) + "\n" + row(1, micros=True) + "\n"))
        assert minutes(page) == [0, 1]
        assert page.covered == JANUARY


def test_rows_out_of_order_or_twice_are_put_right() -> None:
    """As pages are: sorted, each once."""
    assert minutes(read(packed("\n".join([row(2), row(0), row(0), row(1)])))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join([row(0), row(0, "2.5")]), "two rows of one time disagree"),
        (row(0, start=START - DAY), "bars of other times"),
        (row(0).replace("2.0", ""), "values are missing"),
        (row(0).replace("2.0", "abc"), "cannot be read"),
        ("1,2,3\n", "cannot be read"),
        (row(0).replace(str(START // 1000 + 59_999), str(START // 1000 + 119_999)), "does not close within 1m"),
        ("<html>no such thing</html>\n<p>", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_true_is_a_fault(text: str, words: str) -> None:
    """None of it is kept; the venue is asked instead."""
    with pytest.raises(Faulty, match=words):
        read(packed(text))


def test_a_file_of_another_instrument_is_a_fault() -> None:
    """The member's name says whose bars they are."""
    with pytest.raises(Faulty, match="ETHUSDT"):
        read(packed(row(0), "ETHUSDT-1m-2025-01.csv"))


@pytest.mark.parametrize("body", [b"", b"PK", packed("x", "a.csv", "b.csv"), packed(row(0))[:-30]])
def test_what_is_no_zip_of_one_table_is_a_fault(body: bytes) -> None:
    """Cut, empty, or with two members."""
    with pytest.raises(Faulty, match="no archive of one table"):
        read(body)


def test_a_zip_that_would_unpack_to_far_more_than_a_month_is_a_fault() -> None:
    """Looked at before it is unpacked."""
    with pytest.raises(Faulty, match="would unpack to"):
        read(packed(b"0" * 20_000_000))


def test_a_flipped_byte_is_found_by_the_zips_own_checksum_too() -> None:
    """Even where the digests would agree."""
    body = bytearray(packed("\n".join(row(m) for m in range(100))))
    body[120] ^= 1
    with pytest.raises(Faulty):
        read(bytes(body))


MONTH = packed("\n".join(row(m) for m in range(100)))


@pytest.mark.parametrize("backend", [zlib, binance_archive.inflate], ids=["zlib", "the faster one"])
@given(st.integers(0, len(MONTH) - 1), st.integers(1, 255))
def test_whatever_byte_is_wrong_no_wrong_bar_is_read(backend: Any, at: int, change: int) -> None:
    """Without the digest's help: a fault, or the very bars."""
    body = bytearray(MONTH)
    body[at] ^= change
    with mock.patch.object(binance_archive, "inflate", backend):
        try:
            frame = read(bytes(body)).frame
        except Faulty:
            return
        assert frame.equals(read(MONTH).frame)


def test_a_member_that_is_longer_than_the_zip_says_is_a_fault() -> None:
    """It is unpacked no further than that."""
    body = bytearray(MONTH)
    at = body.rindex(b"PK\x01\x02") + 24  # the length in the directory
    body[at : at + 4] = (200).to_bytes(4, "little")
    with pytest.raises(Faulty, match="not those it was made of"):
        read(bytes(body))


def test_a_member_that_is_not_packed_is_read() -> None:
    """A zip may hold its table as it is."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as made:
        made.writestr("BTCUSDT-1m-2025-01.csv", "\n".join(row(m) for m in range(100)))
    assert read(sink.getvalue()).frame.equals(read(MONTH).frame)


def test_a_digest_that_differs_is_decided_by_the_checksum() -> None:
    """An ETag is not always the MD5: then the file's SHA-256 speaks, and without that nothing is believed."""
    body = packed(row(0))
    right = hashlib.sha256(body).hexdigest()
    for digest in (None, "0" * 32, "abc-2"):
        assert minutes(read(body, digest=digest, checksum=right)) == [0]
        with pytest.raises(Faulty, match="differs from its checksum"):
            read(body, digest=digest, checksum="0" * 64)
        with pytest.raises(Faulty, match="no checksum"):
            read(body, digest=digest)
    with pytest.raises(Faulty, match="differs"):
        read(body, digest=None, checksum=b"")


def test_a_file_that_is_not_there_is_an_empty_page() -> None:
    """No error: it covers nothing, so that its bars are asked of the venue."""
    archive, offer = spot(), january()
    page = asyncio.run(archive.read(Bucket(archive), BTC, offer, "x"))
    assert (page.frame.height, bool(page.covered)) == (0, False)


def test_refusals_are_mapped() -> None:
    """404 is no fault, 429 waits, 5xx is tried again, anything else is refused."""
    archive = spot()
    assert isinstance(archive.refusal(404, {}, b""), Refused)
    assert isinstance(archive.refusal(403, {}, b""), Refused)
    assert isinstance(archive.refusal(429, {}, b""), Throttled)
    assert isinstance(archive.refusal(503, {}, b"<Code>SlowDown</Code>"), Faulty)
