"""Yahoo's chart interface (v8): stocks, funds, indices and crypto, without a key and without a promise.

What it sends is not quite what was traded: prices and volumes have later splits taken out, minutes without a trade come
as nulls, and the newest row is the latest tick, stamped with its second. Splits are put back in (one more request an
instrument), rows of nulls and the tick are left out. Only regular hours are asked for, and what comes beside them is
left out; a day is labelled with its session's date at 00:00 UTC, and of today told twice the later row stands.

Sources: none official. The shapes are those of recorded answers; limits and quirks as yfinance and its users know them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.bars import PRICES, VALUES, empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UnknownName
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Instrument, Series
from gapless.sources.reading import decoded, head, micros, page_of
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Micros, Span, Timeframe

VENUES = ("XNAS", "XNYS", "ARCX", "BATS", "YAHOO")  # YAHOO: names as they are there (^TNX, BTC-USD)
PAGE_BARS = 7 * 1440  # a week of minutes is the most that one answer gives
SETTLE = 15 * MINUTE  # many exchanges are told with that delay
_AGENT = {"User-Agent": "Mozilla/5.0 (compatible; gapless)"}  # without a browser's name it answers 429
_ENOUGH = 6  # rows, to tell half hours from hours
_KEPT = 6 * 3600.0  # seconds an instrument's splits are believed
_CLASS = re.compile(r"^([A-Z]+)\.([A-Z])$")
_INTERVALS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "60m", "1d": "1d"}
_Maybe = list[float | None]


class _Hours(msgspec.Struct):
    start: int
    end: int


class _Now(msgspec.Struct):
    regular: _Hours


class _Meta(msgspec.Struct, rename="camel"):
    symbol: str
    exchange_timezone_name: str
    data_granularity: str
    current_trading_period: _Now | None = None
    regular_market_time: int | None = None
    trading_periods: list[list[_Hours]] | dict[str, list[list[_Hours]]] | None = None  # a dict with extended hours


class _Quote(msgspec.Struct):
    open: _Maybe = []
    high: _Maybe = []
    low: _Maybe = []
    close: _Maybe = []
    volume: _Maybe = []


class _Indicators(msgspec.Struct):
    quote: list[_Quote]


class _Split(msgspec.Struct):
    date: int
    numerator: float
    denominator: float


class _Events(msgspec.Struct):
    splits: dict[str, _Split] = {}


class _Result(msgspec.Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[int] = []
    events: _Events = msgspec.field(default_factory=_Events)


class _Chart(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    chart: _Chart


class _Said(msgspec.Struct):
    code: str = ""
    description: str = ""


class _Wrong(msgspec.Struct):
    error: _Said | None = None


class _Refusal(msgspec.Struct):
    chart: _Wrong = msgspec.field(default_factory=_Wrong)
    finance: _Wrong = msgspec.field(default_factory=_Wrong)


_answer = msgspec.json.Decoder(_Answer)


def yahoo(
    base_url: str = "https://query1.finance.yahoo.com",
    *,
    venue: str = "XNAS",
    adjusted: bool = False,
    weight: int = 60,
    concurrency: int = 2,
) -> Yahoo:
    """One venue's bars. ``weight``: requests a minute; ``adjusted``: leave splits taken out, as Yahoo does.

    >>> yahoo().ticker(Instrument("XNYS", "BRK.B"))
    'BRK-B'
    """
    if venue not in VENUES:
        raise UnknownName("venue of yahoo", venue, VENUES)
    limits = Limits(page_bars=PAGE_BARS, weight=weight, window=60.0, concurrency=concurrency)
    return Yahoo("yahoo", venue, base_url, limits, SETTLE, adjusted)


@dataclass(slots=True)
class Yahoo:
    """One venue of Yahoo's. Make it with ``yahoo()``. ``dense`` is False: minutes without a trade come as nulls."""

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    adjusted: bool = False
    dense: bool = False
    _splits: dict[str, tuple[float, list[_Split]]] = field(default_factory=dict, repr=False)

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``. Raises Faulty for an answer that cannot be true."""
        timeframe = series.timeframe
        asked = Span(span.start, min(span.end, timeframe.ceil(span.start) + self.limits.page_bars * timeframe.micros))
        if not asked.bars(timeframe):
            return Page(empty(), Span(span.start, span.start))
        splits = [] if self.adjusted else await self._splits_of(http, series)
        around = DAY if timeframe.micros == DAY else 0  # a session may open on another day of UTC
        params: dict[str, str | int] = {
            "period1": -(-(asked.start - around) // SECOND),
            "period2": -(-(asked.end + around) // SECOND),
            "interval": self._interval(series),
            "includePrePost": "false",
        }
        body = await self._get(http, series, params)
        result = self._result(body, series, self._interval(series))
        opened, values = _bars(self.name, result, series, asked, around)
        firsts = _firsts(splits, result.meta.exchange_timezone_name, timeframe)
        return page_of(self.name, series, asked, opened, _as_traded(opened, values, splits, firsts), len(body))

    async def listings(self, http: Http) -> Sequence[Listing]:
        """It lists nothing."""
        return []

    async def server_time(self, http: Http) -> int:
        """The clock of its answers, µs, in whole seconds."""
        with suppress(Refused):  # an answer too, and dated
            await http.get("/v8/finance/chart/AAPL", {"range": "1d", "interval": "1d"}, weight=1, headers=_AGENT)
        if http.said_at is None:
            raise Faulty(f"{self.name} answered without a Date header.")
        return http.said_at

    def ticker(self, instrument: Instrument) -> str:
        """Its name for an instrument: classes of a share have a dash."""
        return _CLASS.sub(r"\1-\2", instrument.symbol) if self.venue != "YAHOO" else instrument.symbol

    def weight_of(self, bars: int) -> int:
        return 1

    def used(self, headers: Mapping[str, str]) -> int | None:
        """It does not say."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """What an answer other than 200 means."""
        said = f"{self.name} answered {status}: {_words(body) or head(body)}"
        if status == 429:
            return Throttled(said)
        if status >= 500:
            return Faulty(said)
        return Refused(said, hint=_hint(status, said))

    # ---- asking

    def _interval(self, series: Series) -> str:
        if series.timeframe.name not in _INTERVALS:
            raise Refused(f"{self.name} has no bars of {series.timeframe}.", hint="it has " + ", ".join(_INTERVALS))
        return _INTERVALS[series.timeframe.name]

    async def _get(self, http: Http, series: Series, params: Mapping[str, str | int]) -> bytes:
        path = f"/v8/finance/chart/{self.ticker(series.instrument)}"
        return await http.get(path, params, weight=1, headers=_AGENT)

    async def _splits_of(self, http: Http, series: Series) -> list[_Split]:
        """All splits of the instrument, asked once in a while."""
        symbol = series.instrument.symbol
        at, known = self._splits.get(symbol, (-_KEPT, []))
        if time.monotonic() - at > _KEPT:
            params = {"range": "max", "interval": "3mo", "events": "split"}
            body = await self._get(http, series, params)
            known = list(self._result(body, series).events.splits.values())
            self._splits[symbol] = time.monotonic(), known
        return known

    def _result(self, body: bytes, series: Series, interval: str = "") -> _Result:
        """The one result, of the instrument and the interval (where that matters) that were asked for."""
        found = decoded(self.name, body, _answer).chart.result
        if len(found) != 1 or len(found[0].indicators.quote) != 1:
            raise Faulty(f"{self.name} answered {len(found)} results for {series}; it begins {head(body)}.")
        meta = found[0].meta
        if meta.symbol.upper() != self.ticker(series.instrument).upper():
            raise Faulty(f"{self.name} was asked for {series} and answered with {meta.symbol}.")
        same = {interval, "1h"} if interval == "60m" else {interval}
        if interval and meta.data_granularity not in same:
            raise Faulty(f"{self.name} was asked for {series} and answered with bars of {meta.data_granularity}.")
        return found[0]


# ---------------------------------------------------------------- reading


def _bars(
    name: str, result: _Result, series: Series, span: Span, around: int
) -> tuple[Micros, dict[str, Sequence[float | None]]]:
    """Open times and values, without the rows that are none. ``around``: how far beyond ``span`` was asked."""
    quote = result.indicators.quote[0]
    columns = {column: getattr(quote, column) for column in VALUES}
    if any(len(values) != len(result.timestamp) for values in columns.values()):
        raise Faulty(f"{name} {series}: {len(result.timestamp)} times, but not as many of each value.")
    stamps = micros([stamp * 1000 if stamp < 10**11 else stamp for stamp in result.timestamp])
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


def _check_steps(name: str, stamps: Micros, series: Series) -> None:
    """Half hours have come as hours, and said they were half hours: every other bar would be missed for ever."""
    if len(stamps) >= _ENOUGH and series.timeframe.micros == 30 * MINUTE and np.diff(stamps).min() >= HOUR:
        raise Faulty(f"{name} {series}: no two of its {len(stamps)} bars are half an hour apart.", hint="take 15m")


def _dates(stamps: Micros, zone: str) -> Micros:
    """The local dates, at 00:00 UTC."""
    local = pl.Series(stamps, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
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


def _firsts(splits: Sequence[_Split], zone: str, timeframe: Timeframe) -> list[int]:
    """The first bar at the new price of each split, or later."""
    stamps = np.array([split.date * SECOND for split in splits], dtype=np.int64)
    return [int(at) for at in (_dates(stamps, zone) if timeframe.micros == DAY else stamps)]


def _as_traded(
    opened: Micros, values: dict[str, Sequence[float | None]], splits: Sequence[_Split], firsts: Sequence[int]
) -> dict[str, Sequence[float | None]]:
    """Later splits put back in: the prices before one as many times higher, the volumes lower."""
    ratio: npt.NDArray[np.float64] = np.ones(len(opened))
    for split, first in zip(splits, firsts, strict=True):
        ratio[opened < first] *= split.numerator / split.denominator
    if (ratio == 1.0).all():
        return values
    factors = {column: ratio if column in PRICES else 1 / ratio for column in values}
    return {
        column: [None if v is None else float(v * f) for v, f in zip(told, factors[column], strict=True)]
        for column, told in values.items()
    }


def _words(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=_Refusal)
    except msgspec.MsgspecError:
        return ""
    error = said.chart.error or said.finance.error
    return f"{error.code} {error.description}".strip() if error else ""


def _hint(status: int, said: str) -> str:
    if "must be within the last" in said:
        return "minutes are kept for 30 days, 5m to 30m for 60, hours for 730; take longer bars, or another source"
    if status == 404:
        return "look the symbol up at finance.yahoo.com; it may be delisted"
    return "check base_url, the symbol and the timeframe"
