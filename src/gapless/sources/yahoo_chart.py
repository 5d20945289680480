"""What an answer of Yahoo's chart interface means: which of its rows are bars, and what happened between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from math import prod
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.bars import PRICES, VALUES
from gapless.errors import Faulty, Refused
from gapless.series import Series
from gapless.sources.corporate import Dividend, Split
from gapless.sources.reading import micros
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Micros, Span, to_datetime

_ENOUGH = 6  # rows, to tell half hours from hours
_Maybe = list[float | None]
_Shares = Annotated[float, msgspec.Meta(gt=0)]
_Time = Annotated[int, msgspec.Meta(gt=-(10**11), lt=10**17)]  # seconds; those before 1970 are negative


class _Hours(msgspec.Struct):
    start: _Time
    end: _Time


class _Now(msgspec.Struct):
    regular: _Hours


class _Meta(msgspec.Struct, rename="camel"):
    symbol: str
    exchange_timezone_name: str
    data_granularity: str
    currency: str | None = None
    current_trading_period: _Now | None = None
    regular_market_time: _Time | None = None
    trading_periods: list[list[_Hours]] | dict[str, list[list[_Hours]]] | None = None  # a dict with extended hours


class _Quote(msgspec.Struct):
    open: _Maybe = []
    high: _Maybe = []
    low: _Maybe = []
    close: _Maybe = []
    volume: _Maybe = []


class _Indicators(msgspec.Struct):
    quote: list[_Quote]


class SplitEvent(msgspec.Struct):
    """``numerator`` shares for ``denominator``; ``date``: when the first session at the new price opens, seconds."""

    date: _Time
    numerator: _Shares
    denominator: _Shares


class _Dividend(msgspec.Struct):
    date: _Time
    amount: float
    currency: str = ""


class _Events(msgspec.Struct):
    splits: dict[str, SplitEvent] = {}
    dividends: dict[str, _Dividend] = {}


class Result(msgspec.Struct):
    """The chart of one instrument."""

    meta: _Meta
    indicators: _Indicators
    timestamp: list[_Time] = []
    events: _Events = msgspec.field(default_factory=_Events)


class _Chart(msgspec.Struct):
    result: list[Result]


class _Answer(msgspec.Struct):
    chart: _Chart


ANSWER = msgspec.json.Decoder(_Answer)


def bars(
    name: str, result: Result, series: Series, span: Span, around: int
) -> tuple[Micros, dict[str, Sequence[float | None]]]:
    """Open times and values, without the rows that are none. ``around``: how far beyond ``span`` was asked."""
    stamps, columns = _rows(name, result, series)
    _check_steps(name, stamps, series)
    opened = _labels(stamps, result.meta) if series.timeframe.micros == DAY else stamps
    told = [any(columns[column][at] is not None for column in PRICES) for at in range(len(opened))]
    keep = np.array(told, dtype=np.bool_) & ~_ticks(result.meta, opened, stamps, series)
    beyond = (opened < span.start) & (opened >= span.start - 2 * around)
    beyond |= (opened >= span.end) & (opened < span.end + 2 * around)
    chosen = np.flatnonzero(keep & ~beyond)
    size, offset = series.timeframe.micros, series.timeframe.offset
    if ((opened[chosen] - offset) % size != 0).any():
        raise Refused(
            f"{name} {series}: its bars open beside the full {series.timeframe}.",
            hint="hours of stocks begin at half past: take 30m",
        )
    return opened[chosen], {column: [values[at] for at in chosen] for column, values in columns.items()}


def _rows(name: str, result: Result, series: Series) -> tuple[Micros, dict[str, _Maybe]]:
    """Stamps and values by time."""
    quote, times = result.indicators.quote[0], result.timestamp
    columns: dict[str, _Maybe] = {column: getattr(quote, column) for column in VALUES}
    for column, values in columns.items():
        if len(values) != len(times):
            raise Faulty(f"{name} {series}: timestamp has {len(times)} rows, not as many as {column}: {len(values)}.")
    stamps = micros([stamp * 1000 if stamp < 10**11 else stamp for stamp in times])
    order = np.argsort(stamps, kind="stable")
    return stamps[order], {column: [values[at] for at in order] for column, values in columns.items()}


def _check_steps(name: str, stamps: Micros, series: Series) -> None:
    """Half hours have come as hours, and said they were half hours: every other bar would be missed for ever."""
    if len(stamps) >= _ENOUGH and series.timeframe.micros == 30 * MINUTE and np.diff(stamps).min() >= HOUR:
        raise Faulty(f"{name} {series}: no two of its {len(stamps)} bars are half an hour apart.", hint="take 15m")


def _dates(stamps: Micros, zone: str) -> Micros:
    """The local dates, at 00:00 UTC."""
    try:
        local = pl.Series(stamps, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    except pl.exceptions.PolarsError as error:
        raise Faulty(f"'{zone[:40]}' is no time zone.") from error
    return (local.dt.date().cast(pl.Int64) * DAY).to_numpy()


def _labels(stamps: Micros, meta: _Meta) -> Micros:
    """The dates of days. Some were stamped with midnight by another offset: an hour or two before it is meant as it."""
    zone, latest = meta.exchange_timezone_name, (meta.regular_market_time or 0) * SECOND
    before = (stamps % HOUR == 0) & (_dates(stamps + 2 * HOUR, zone) > _dates(stamps, zone)) & (stamps != latest)
    return _dates(np.where(before, stamps + 2 * HOUR, stamps), zone)


def _ticks(meta: _Meta, opened: Micros, stamps: Micros, series: Series) -> npt.NDArray[np.bool_]:
    """Rows that are no bars: outside regular hours, or the latest price (off the grid, or at the session's end).

    Of today told twice, with two stamps, the first: the later row has what was traded since.
    """
    found = np.zeros(len(opened), dtype=np.bool_)
    if not len(opened):
        return found
    if series.timeframe.micros == DAY:
        found[-2:-1] = len(opened) > 1 and opened[-1] == opened[-2] and stamps[-1] != stamps[-2]
        return found
    found |= _beside(meta, stamps)
    near = len(stamps) > 1 and 0 <= stamps[-1] - stamps[-2] < series.timeframe.micros
    period = meta.current_trading_period
    found[-1] |= bool(stamps[-1] % MINUTE) or near or (period is not None and stamps[-1] == period.regular.end * SECOND)
    return found


def _beside(meta: _Meta, stamps: Micros) -> npt.NDArray[np.bool_]:
    """Rows of a day whose hours are told that open outside them: after an early close they are sent all the same."""
    told = meta.trading_periods
    days = (told if isinstance(told, list) else told.get("regular", [])) if told else []
    hours = [
        (period.start * SECOND, period.end * SECOND) for day in days for period in day if period.start < period.end
    ]
    inside = np.zeros(len(stamps), dtype=np.bool_)
    for start, end in hours:
        inside |= (stamps >= start) & (stamps < end)
    edges = np.array([(start, end - 1) for start, end in hours], dtype=np.int64).reshape(-1)
    known = np.isin(_dates(stamps, meta.exchange_timezone_name), _dates(edges, meta.exchange_timezone_name))
    return ~inside & known


def splits_of(result: Result, ticker: str) -> list[Split]:
    """Splits, oldest first."""
    zone = result.meta.exchange_timezone_name
    told = [Split(ticker, _day(s.date, zone), s.denominator, s.numerator) for s in result.events.splits.values()]
    return sorted(told, key=lambda split: split.ex)


def dividends_of(result: Result, ticker: str) -> list[Dividend]:
    """Dividends, oldest first, in shares of their own day: they are told in shares of today."""
    meta, splits = result.meta, splits_of(result, ticker)
    told = [
        Dividend(ticker, _day(d.date, meta.exchange_timezone_name), d.amount, d.currency or meta.currency or "", "")
        for d in result.events.dividends.values()
    ]
    return sorted((_for_its_day(dividend, splits) for dividend in told), key=lambda dividend: dividend.ex)


def _for_its_day(dividend: Dividend, splits: Sequence[Split]) -> Dividend:
    """Cash of a share as it was: to the sixth place, because it has been divided."""
    later = [split.after / split.before for split in splits if split.ex > dividend.ex]
    return replace(dividend, cash=round(dividend.cash * prod(later), 6)) if later else dividend


def _day(stamp: int, zone: str) -> date:
    return to_datetime(int(_dates(np.array([stamp * SECOND]), zone)[0])).date()


def as_traded(
    opened: Micros, values: dict[str, Sequence[float | None]], splits: Sequence[SplitEvent], zone: str, size: int
) -> dict[str, Sequence[float | None]]:
    """Later splits put back in: the prices before one as many times higher, the volumes lower. ``size``: of a bar."""
    ratio: npt.NDArray[np.float64] = np.ones(len(opened))
    stamps = np.array([split.date * SECOND for split in splits], dtype=np.int64)
    for split, first in zip(splits, _dates(stamps, zone) if size == DAY else stamps, strict=True):
        ratio[opened < first] *= split.numerator / split.denominator
    if (ratio == 1.0).all():
        return values
    factors = {column: ratio if column in PRICES else 1 / ratio for column in values}
    return {
        column: [None if v is None else float(v * f) for v, f in zip(told, factors[column], strict=True)]
        for column, told in values.items()
    }
