"""Binance's bulk archives of USD-M values: open interest a file a day, funding rates a file a month.

``data/futures/um/daily/metrics`` reaches back to September 2020 at the earliest, of most symbols to December 2021; it
has a row every five minutes, with a time in words (UTC) and other figures beside the open interest.
``data/futures/um/monthly/fundingRate`` has a row for each payment, in ms, with the jitter that REST tells too.

A day's rows are named 00:05 … 00:00 of the next day, each for the moment of its snapshot. Files of 2026-06-25 and later
name the same moments 00:00 … 23:55, by the start of the five minutes (binance-public-data, issue 491; the vendor has
not confirmed it). Read as they stand these would be known five minutes before they were: they are moved on by five.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from gapless.bars import TS
from gapless.errors import Damaged, SourceError
from gapless.protocols import Http, Limits, Offer, ValueArchive, ValuePage
from gapless.series import Instrument
from gapless.sources.binance_archive import (
    DAY_AFTER,
    MONTH_AFTER,
    ROW_BYTES,
    BinanceArchive,
    first_monday,
    months,
    unzipped,
)
from gapless.sources.reading import head, micros
from gapless.spans import DAY, MINUTE, Micros, Span, parse_time, to_datetime

PERIOD = 5 * MINUTE
METRICS = ("create_time", "symbol", "sum_open_interest")  # the first three columns, and those that are read
FUNDING = ("calc_time", "funding_interval_hours", "last_funding_rate")
STAMP = "%Y-%m-%d %H:%M:%S"
_BY_START = parse_time("2026-06-25")  # from this day's file on a row is named by the start of its five minutes
_FIRST = parse_time("2020-09-01")  # older ones are known to nobody

_Read = Callable[[str, pl.DataFrame, Instrument, Span], tuple[Micros, pl.Series]]
_Spans = Callable[[Span, int], Iterator[tuple[Span, str]]]


@dataclass(slots=True)
class ValueFiles:
    """One kind of values in an archive. Make them with ``archives_of``."""

    beside: BinanceArchive
    name: str
    base_url: str
    limits: Limits
    value: str
    folder: str  # below the archive's root; {} is the symbol
    file: str  # what stands between symbol and date in a file's name
    columns: tuple[str, str, str]
    rows: int  # in a usual file
    spans: _Spans
    moments: _Read

    def offers(self, instrument: Instrument, span: Span, now: int) -> Sequence[Offer]:
        """Files that touch ``span`` and should be there at ``now``, by time."""
        folder = f"{self.beside.root}/{self.folder}/{instrument.symbol}"
        return [
            Offer(self.name, folder, f"{instrument.symbol}-{self.file}-{date}.zip", told, self.rows * ROW_BYTES)
            for told, date in self.spans(span, now)
        ]

    async def digests(self, http: Http, offers: Sequence[Offer]) -> Mapping[str, str]:
        """As the archive of bars: the MD5 of each file that is listed."""
        return await self.beside.digests(http, offers)

    async def read(self, http: Http, instrument: Instrument, offer: Offer, digest: str | None) -> ValuePage | None:
        """The values of a file, sorted, each once; None when it is not there, Damaged when it is not what it should be.

        Rows without a value are none, and of rows of one time that disagree none is believed.
        """
        body = await self.beside.file(http, offer, digest)
        if body is None:
            return None
        frame = await asyncio.to_thread(self._frame, f"{self.name} {offer.name}", body, instrument, offer)
        return ValuePage(frame, offer.span, len(body))

    def _frame(self, where: str, body: bytes, instrument: Instrument, offer: Offer) -> pl.DataFrame:
        table = _table(where, unzipped(where, body, offer), self.columns)
        ts, texts = self.moments(where, table, instrument, offer.span)
        values = texts.str.strip_chars().cast(pl.Float64, strict=False)
        told = texts.is_not_null() & (texts.str.strip_chars() != "")
        if (told & ~values.is_finite().fill_null(False)).any():
            raise Damaged(f"{where}: a value is no number.")
        if ((ts < offer.span.start - PERIOD) | (ts >= offer.span.end)).any():
            raise Damaged(f"{where}: holds values of other times.")
        frame = pl.DataFrame([pl.Series("ts", ts).cast(TS), values.alias("value")])
        frame = frame.filter(told & pl.Series(ts >= offer.span.start))  # a first midnight is the day before's
        return frame.unique(maintain_order=True).filter(pl.len().over("ts") == 1).sort("ts")

    def used(self, headers: Mapping[str, str]) -> int | None:
        """It counts nothing."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        return self.beside.refusal(status, headers, body)


def archives_of(beside: BinanceArchive) -> tuple[ValueArchive, ...]:
    """Funding rates and open interest, at the address of an archive of bars and named as it is."""
    where = beside, beside.name, beside.base_url, beside.limits
    return (
        ValueFiles(
            *where, "funding_rate", "monthly/fundingRate", "fundingRate", FUNDING, 250, _payments, _payment_moments
        ),
        ValueFiles(
            *where, "open_interest", "daily/metrics", "metrics", METRICS, 288, _snapshots, _snapshot_moments
        ),
    )  # fmt: skip


def by_start(stamps: Micros, day: int) -> bool:
    """Are the rows of a day's file named by the start of their five minutes?

    Its own first and last row tell; where both are left out, the day does.

    >>> import numpy as np
    >>> day = parse_time("2024-05-01")
    >>> by_start(np.array([day + PERIOD, day + DAY]), day), by_start(np.array([day, day + DAY - PERIOD]), day)
    (False, True)
    """
    starts, ends = bool((stamps < day + PERIOD).any()), bool((stamps >= day + DAY).any())
    return starts if starts != ends else not starts and day >= _BY_START


def snapshots_of(stamps: Micros) -> Micros:
    """The moments of a table's rows, of one day or of many: each day named as the archive named it then.

    >>> import numpy as np
    >>> late = parse_time("2026-07-01")
    >>> [str(to_datetime(t)) for t in snapshots_of(np.array([late - 90 * DAY, late])).tolist()]
    ['2026-04-02 00:00:00+00:00', '2026-07-01 00:05:00+00:00']
    """
    day = int(stamps.min()) // DAY * DAY
    if int(stamps.max()) <= day + DAY:
        return stamps + PERIOD * by_start(stamps, day)
    return stamps + PERIOD * (stamps > _BY_START)


def _payments(span: Span, now: int) -> Iterator[tuple[Span, str]]:
    """Months that should be there, and their date in the file's name."""
    for month in months(span):
        if first_monday(month.end) + MONTH_AFTER <= now:
            yield month, to_datetime(month.start).strftime("%Y-%m")


def _snapshots(span: Span, now: int) -> Iterator[tuple[Span, str]]:
    """Days that should be there: from five past midnight to the next midnight, that one included."""
    start = max(span.start - PERIOD, _FIRST) // DAY * DAY
    for at in range(start, min(span.end - PERIOD, now - DAY_AFTER - DAY + 1), DAY):
        yield Span(at + PERIOD, at + DAY + PERIOD), to_datetime(at).strftime("%Y-%m-%d")


def _payment_moments(where: str, table: pl.DataFrame, instrument: Instrument, span: Span) -> tuple[Micros, pl.Series]:
    when = table["calc_time"].str.strip_chars().cast(pl.Int64, strict=False)
    if when.null_count():
        raise Damaged(f"{where}: a time cannot be read.")
    return micros(when.to_list()), table["last_funding_rate"]


def _snapshot_moments(where: str, table: pl.DataFrame, instrument: Instrument, span: Span) -> tuple[Micros, pl.Series]:
    others = set(table["symbol"].unique().to_list()) - {instrument.symbol}
    if others:
        raise Damaged(f"{where}: holds values of {sorted(map(str, others))[:3]}.")
    when = table["create_time"].str.strip_chars().str.strptime(pl.Datetime("us"), STAMP, strict=False)
    if when.null_count():
        raise Damaged(f"{where}: a time cannot be read.")
    stamps, day = when.to_physical().to_numpy(), span.start - PERIOD
    return stamps + PERIOD * by_start(stamps, day), table["sum_open_interest"]


def _table(where: str, text: bytes, columns: tuple[str, str, str]) -> pl.DataFrame:
    """The rows as text, under their names; without a header the first columns have them."""
    named = not text[:1].isdigit()
    try:
        table = pl.read_csv(text, has_header=named, infer_schema=False, quote_char=None)
    except pl.exceptions.PolarsError as error:
        raise Damaged(f"{where}: cannot be read: {str(error).splitlines()[0]}; it begins {head(text)}.") from error
    if not named and table.width >= len(columns):
        table = table.rename(dict(zip(table.columns, columns, strict=False)))
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise Damaged(f"{where}: has no column {missing[0]}; it begins {head(text)}.")
    return table.select(columns)
