"""Binance USD-M: funding rates and open interest, as values at times (docs/decisions/0012).

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api (fundingRate,
openInterestHist). Neither counts against the weight of the minute: each has a limit of requests of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import polars as pl

from gapless.bars import TS
from gapless.errors import Faulty, SourceError
from gapless.protocols import Http, Limits, Source, ValuePage
from gapless.series import Instrument
from gapless.sources.reading import decoded, micros
from gapless.spans import DAY, HOUR, MINUTE, Span

FUNDING_PAGE, INTEREST_PAGE = 1000, 500
FUNDING_PATH, INTEREST_PATH = "/fapi/v1/fundingRate", "/futures/data/openInterestHist"
PERIOD = 5 * MINUTE
REACH = 30 * DAY - 10 * MINUTE  # what is asked must not have grown too old on the way
_NAME = "binance-usdm"
_Time = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]


class _Funding(msgspec.Struct):
    symbol: str
    fundingRate: float  # noqa: N815 - the venue's spelling
    fundingTime: _Time  # noqa: N815


class _Interest(msgspec.Struct):
    symbol: str
    sumOpenInterest: float  # noqa: N815
    timestamp: _Time


_fundings = msgspec.json.Decoder(list[_Funding], strict=False)
_interests = msgspec.json.Decoder(list[_Interest], strict=False)


@dataclass(slots=True)
class _Beside:
    """What both have in common: the address and the errors of the source of bars, and limits of their own."""

    beside: Source
    name: str
    base_url: str
    limits: Limits

    def used(self, headers: Mapping[str, str]) -> int | None:
        """Nothing is said of this limit; the weight in the headers is another one."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        return self.beside.refusal(status, headers, body)


@dataclass(slots=True)
class FundingRates(_Beside):
    """Funding rates beside a USD-M source, back to the listing. Make it with ``values_of``."""

    value: str = "funding_rate"
    path: str = FUNDING_PATH
    every: int = HOUR  # of most symbols eight hours, of some four or one, and that changes
    reach: int | None = None

    async def fetch(self, http: Http, instrument: Instrument, span: Span) -> ValuePage:
        """The first page: ascending from the start of the span; one that is not full tells all of the span."""
        most = self.limits.page_bars
        body = await http.get(FUNDING_PATH, _params(instrument, span, most), weight=1)
        rows = decoded(_NAME, body, _fundings)
        told = [(row.symbol, row.fundingTime, row.fundingRate) for row in rows]
        found = _frame(instrument, span, told)
        full = found.height >= most
        end = int(found["ts"].to_physical()[-1]) + 1 if full else span.end
        return ValuePage(found, Span(span.start, end), len(body))


@dataclass(slots=True)
class OpenInterest(_Beside):
    """Open interest beside a USD-M source, every five minutes, thirty days back. Make it with ``values_of``."""

    value: str = "open_interest"
    path: str = INTEREST_PATH
    every: int = PERIOD
    reach: int | None = REACH

    async def fetch(self, http: Http, instrument: Instrument, span: Span) -> ValuePage:
        """The first page: of no more time than a page holds, so that whichever end a long answer keeps, none is cut."""
        most = self.limits.page_bars
        window = span.intersect(Span(span.start, span.start + most * PERIOD))
        params = _params(instrument, window, most) | {"period": "5m"}
        body = await http.get(INTEREST_PATH, params, weight=1)
        rows = decoded(_NAME, body, _interests)
        told = [(row.symbol, row.timestamp, row.sumOpenInterest) for row in rows]
        return ValuePage(_frame(instrument, window, told), window, len(body))


def values_of(source: Source) -> tuple[FundingRates, OpenInterest]:
    """What USD-M tells beside bars; a source without a limit has none here either."""
    limited = bool(source.limits.weight)
    funding = Limits(FUNDING_PAGE, 500 * limited, 300.0, 4)  # shared with fundingInfo
    interest = Limits(INTEREST_PAGE, 1000 * limited, 300.0, 4)
    return (
        FundingRates(source, source.name, source.base_url, funding),
        OpenInterest(source, source.name, source.base_url, interest),
    )


def _params(instrument: Instrument, span: Span, limit: int) -> dict[str, str | int]:
    start, end = -(-span.start // 1000), (span.end - 1) // 1000
    return {"symbol": instrument.symbol, "startTime": start, "endTime": end, "limit": limit}


def _frame(instrument: Instrument, span: Span, told: Sequence[tuple[str, int, float]]) -> pl.DataFrame:
    """``ts`` and ``value``, sorted, of (symbol, time, value) as they were told."""
    symbols = {symbol for symbol, _, _ in told}
    if symbols - {instrument.symbol}:
        raise Faulty(f"{_NAME} was asked for {instrument} and answered with {sorted(symbols)[:3]}.")
    stamps, numbers = micros([time for _, time, _ in told]), np.array([v for _, _, v in told], dtype=np.float64)
    if ((stamps < span.start - DAY) | (stamps >= span.end)).any():
        raise Faulty(f"{_NAME} {instrument} {span}: the answer holds values of other times.")
    if not np.isfinite(numbers).all():
        raise Faulty(f"{_NAME} {instrument} {span}: the answer holds values that are no numbers.")
    frame = pl.DataFrame([pl.Series("ts", stamps).cast(TS), pl.Series("value", numbers)]).unique(maintain_order=True)
    if not frame["ts"].is_unique().all():
        raise Faulty(f"{_NAME} {instrument} {span}: two values of one time disagree.")
    return frame.filter(pl.col("ts").to_physical() >= span.start).sort("ts")
