"""Binance USD-M: funding rates and open interest, as values at times (docs/decisions/0012).

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api (fundingRate,
openInterestHist).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import polars as pl

from gapless.bars import TS
from gapless.errors import Faulty, UsageError
from gapless.protocols import Http
from gapless.series import Instrument
from gapless.sources.reading import decoded, micros
from gapless.spans import DAY, HOUR, Span

FUNDING_PAGE, INTEREST_PAGE = 1000, 500
_LONGEST = {"funding_rate": 9 * HOUR, "open_interest": 2 * HOUR}  # a value older than this says nothing of a bar
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


async def funding_rates(http: Http, instrument: Instrument, span: Span) -> pl.DataFrame:
    """The first page of funding rates inside ``span``: ``ts`` as told, to the millisecond, and ``funding_rate``."""
    params = _params(instrument, span, FUNDING_PAGE)
    rows = decoded(_NAME, await http.get("/fapi/v1/fundingRate", params, weight=1), _fundings)
    values = [row.fundingRate for row in rows]
    return _frame(instrument, span, [r.symbol for r in rows], [r.fundingTime for r in rows], "funding_rate", values)


async def open_interest(http: Http, instrument: Instrument, span: Span, period: str = "5m") -> pl.DataFrame:
    """The first page of open interest, in contracts, inside ``span`` (30 days back at most)."""
    params = _params(instrument, span, INTEREST_PAGE) | {"period": period}
    rows = decoded(_NAME, await http.get("/futures/data/openInterestHist", params, weight=1), _interests)
    values = [row.sumOpenInterest for row in rows]
    return _frame(instrument, span, [r.symbol for r in rows], [r.timestamp for r in rows], "open_interest", values)


def joined(bars: pl.DataFrame, values: pl.DataFrame, *, longest: int | None = None) -> pl.DataFrame:
    """Bars with the newest value known at their open and not older than ``longest`` µs; null where there is none.

    >>> bars = pl.DataFrame({"ts": [0, 60, 120]}).with_columns(pl.col("ts").cast(TS))
    >>> rates = pl.DataFrame({"ts": [3], "funding_rate": [0.5]}).with_columns(pl.col("ts").cast(TS))
    >>> joined(bars, rates, longest=100)["funding_rate"].to_list()
    [None, 0.5, None]
    """
    names = [name for name in values.columns if name in _LONGEST]
    if len(names) != 1:
        raise UsageError("one column of values can be joined.", hint="funding_rate or open_interest, with ts")
    name, age = names[0], longest or _LONGEST[names[0]]
    told = values.select("ts", name, pl.col("ts").alias("told_at")).sort("ts")
    bars = bars.drop(name, strict=False).sort("ts")
    fresh = pl.col("ts").to_physical() - pl.col("told_at").to_physical() <= age
    found = bars.join_asof(told, on="ts", strategy="backward")
    return found.with_columns(pl.when(fresh).then(pl.col(name)).alias(name)).drop("told_at")


def _params(instrument: Instrument, span: Span, limit: int) -> dict[str, str | int]:
    start, end = -(-span.start // 1000), (span.end - 1) // 1000
    return {"symbol": instrument.symbol, "startTime": start, "endTime": end, "limit": limit}


def _frame(
    instrument: Instrument, span: Span, symbols: Sequence[str], times: Sequence[int], name: str, values: Sequence[float]
) -> pl.DataFrame:
    if any(symbol != instrument.symbol for symbol in symbols):
        raise Faulty(f"{_NAME} was asked for {instrument} and answered with {sorted(set(symbols))[:3]}.")
    stamps = micros(times)
    if ((stamps < span.start - DAY) | (stamps >= span.end)).any():
        raise Faulty(f"{_NAME} {instrument} {span}: the answer holds values of other times.")
    who = pl.Series("instrument", [str(instrument)] * len(stamps), dtype=pl.String)
    frame = pl.DataFrame([who, pl.Series("ts", stamps).cast(TS), pl.Series(name, values, dtype=pl.Float64)])
    return (
        frame.filter(pl.col("ts").to_physical() >= span.start).unique("ts", keep="last", maintain_order=True).sort("ts")
    )
