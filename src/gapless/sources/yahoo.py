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
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field

import msgspec

from gapless.bars import empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UnknownName
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Instrument, Series
from gapless.sources.browser import browser_session
from gapless.sources.corporate import Dividend, Split
from gapless.sources.reading import decoded, head, page_of
from gapless.sources.yahoo_chart import ANSWER, Result, SplitEvent, as_traded, bars, dividends_of, splits_of
from gapless.spans import DAY, MINUTE, SECOND, Span, Timeframe

VENUES = ("XNAS", "XNYS", "ARCX", "BATS", "YAHOO")  # YAHOO: names as they are there (^TNX, BTC-USD)
PAGE_BARS = 60 * 288  # all there is of 5m
_PAGES = {"1m": 7 * 1440}  # the most that one answer gives is eight days of minutes
SETTLE = 15 * MINUTE  # many exchanges are told with that delay
_AGENT = {"User-Agent": "Mozilla/5.0 (compatible; gapless)"}  # without a browser's name it answers 429
_QUARTER = Timeframe(91 * DAY, "3mo")  # only asked for what happened in it
_KEPT = 6 * 3600.0  # seconds an instrument's splits are believed
_CLASS = re.compile(r"^([A-Z]+)\.([A-Z])$")
_INTERVALS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "60m", "1d": "1d"}


class _Said(msgspec.Struct):
    code: str = ""
    description: str = ""


class _Wrong(msgspec.Struct):
    error: _Said | None = None


class _Refusal(msgspec.Struct):
    chart: _Wrong = msgspec.field(default_factory=_Wrong)
    finance: _Wrong = msgspec.field(default_factory=_Wrong)


def yahoo(
    base_url: str = "https://query1.finance.yahoo.com",
    *,
    venue: str = "XNAS",
    adjusted: bool = False,
    browser: bool = False,
    weight: int = 60,
    concurrency: int = 2,
) -> Yahoo:
    """One venue's bars. ``weight``: requests a minute; ``adjusted``: leave splits taken out, as Yahoo does.

    ``browser``: connect as a browser does, with curl_cffi (extra ``yahoo``), where Yahoo answers 429 to all else.

    >>> yahoo().ticker(Instrument("XNYS", "BRK.B"))
    'BRK-B'
    """
    if venue not in VENUES:
        raise UnknownName("venue of yahoo", venue, VENUES)
    limits = Limits(page_bars=PAGE_BARS, weight=weight, window=60.0, concurrency=concurrency)
    return Yahoo("yahoo", venue, base_url, limits, SETTLE, adjusted, browser)


@dataclass(slots=True)
class Yahoo:
    """One venue of Yahoo's. Make it with ``yahoo()``. ``dense`` is False: minutes without a trade come as nulls."""

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    adjusted: bool = False
    browser: bool = False
    dense: bool = False
    _splits: dict[str, tuple[float, list[SplitEvent]]] = field(default_factory=dict, repr=False)

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``. Raises Faulty for an answer that cannot be true."""
        timeframe = series.timeframe
        asked = Span(span.start, min(span.end, timeframe.ceil(span.start) + self._page(timeframe) * timeframe.micros))
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
        opened, values = bars(self.name, result, series, asked, around)
        traded = as_traded(opened, values, splits, result.meta.exchange_timezone_name, timeframe.micros)
        return page_of(self.name, series, asked, opened, traded, len(body))

    async def listings(self, http: Http) -> Sequence[Listing]:
        """It lists nothing."""
        return []

    async def server_time(self, http: Http) -> int:
        """The clock of its answers, µs, in whole seconds."""
        with suppress(Refused):  # an answer too, and dated
            await http.get("/v8/finance/chart/AAPL", {"range": "1d", "interval": "1d"}, weight=1, headers=self._headers)
        if http.said_at is None:
            raise Faulty(f"{self.name} answered without a Date header.")
        return http.said_at

    async def splits(self, http: Http, ticker: str) -> Sequence[Split]:
        """Every split of an instrument's symbol, oldest first."""
        return splits_of(await self._events(http, ticker), ticker)

    async def dividends(self, http: Http, ticker: str) -> Sequence[Dividend]:
        """Every dividend, oldest first, in shares of its own day."""
        return dividends_of(await self._events(http, ticker), ticker)

    def session(self, timeout: float, connections: int) -> AbstractAsyncContextManager[object] | None:
        """A browser's, if it was told to."""
        return browser_session(timeout, connections) if self.browser else None

    @property
    def _headers(self) -> Mapping[str, str] | None:
        """A browser's session has its own."""
        return None if self.browser else _AGENT

    def ticker(self, instrument: Instrument) -> str:
        """Its name for an instrument: classes of a share have a dash."""
        return _CLASS.sub(r"\1-\2", instrument.symbol) if self.venue != "YAHOO" else instrument.symbol

    def page_of(self, timeframe: Timeframe) -> int:
        """A week of minutes, and of longer bars as many as there are."""
        return _PAGES.get(timeframe.name, PAGE_BARS)

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

    def _page(self, timeframe: Timeframe) -> int:
        return min(self.limits.page_bars, self.page_of(timeframe))

    def _interval(self, series: Series) -> str:
        if series.timeframe.name not in _INTERVALS:
            raise Refused(f"{self.name} has no bars of {series.timeframe}.", hint="it has " + ", ".join(_INTERVALS))
        return _INTERVALS[series.timeframe.name]

    async def _get(self, http: Http, series: Series, params: Mapping[str, str | int]) -> bytes:
        path = f"/v8/finance/chart/{self.ticker(series.instrument)}"
        return await http.get(path, params, weight=1, headers=self._headers)

    async def _splits_of(self, http: Http, series: Series) -> list[SplitEvent]:
        """All splits of the instrument, asked once in a while."""
        symbol = series.instrument.symbol
        at, known = self._splits.get(symbol, (-_KEPT, []))
        if time.monotonic() - at > _KEPT:
            known = list((await self._events(http, symbol)).events.splits.values())
            self._splits[symbol] = time.monotonic(), known
        return known

    async def _events(self, http: Http, symbol: str) -> Result:
        """An answer with everything that ever happened to an instrument."""
        series = Series(Instrument(self.venue, symbol), _QUARTER)
        params = {"range": "max", "interval": "3mo", "events": "div,split"}
        return self._result(await self._get(http, series, params), series)

    def _result(self, body: bytes, series: Series, interval: str = "") -> Result:
        """The one result, of the instrument and the interval (where that matters) that were asked for."""
        found = decoded(self.name, body, ANSWER).chart.result
        if len(found) != 1 or len(found[0].indicators.quote) != 1:
            raise Faulty(f"{self.name} answered {len(found)} results for {series}; it begins {head(body)}.")
        meta = found[0].meta
        if meta.symbol.upper() != self.ticker(series.instrument).upper():
            raise Faulty(f"{self.name} was asked for {series} and answered with {meta.symbol}.")
        same = {interval, "1h"} if interval == "60m" else {interval}
        if interval and meta.data_granularity not in same:
            raise Faulty(f"{self.name} was asked for {series} and answered with bars of {meta.data_granularity}.")
        return found[0]


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
