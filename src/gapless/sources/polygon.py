"""Polygon, since 2025 Massive: US stocks and crypto, over its REST interface; splits, dividends and tickers too.

Prices are asked for as they were traded (``adjusted=false``); split-adjusted ones are an option, and another source's
name in the ledger should say so. Bars exist where somebody traded, before and after regular hours too. The server
counts ``limit`` in the minutes or days that bars are made of, and stops there even in the middle of a bar: the last
bar of an answer that goes on (``next_url``) is left to the next page. Days and weeks are New York's, and get the label
of their session's date at 00:00 UTC. The key travels in a header only, and is taken out of whatever the server repeats.

Sources: https://massive.com/docs/rest/stocks/aggregates/custom-bars, https://massive.com/blog/aggs-api-updates (limits
and windows), https://polygon.io/blog/aggregate-bar-delays (trades reported late).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import compress
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from gapless.bars import empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UnknownName, UsageError
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Instrument, Series
from gapless.sources import polygon_reference as reference
from gapless.sources.corporate import Dividend, Split
from gapless.sources.polygon_reference import Table, Ticker
from gapless.sources.reading import decoded, head, micros, page_of
from gapless.sources.secret import Secret
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Micros, Span, Timeframe, iso, parse_time, to_datetime

SETTLE = 15 * MINUTE  # dark pools may report a trade so late; stock bars are made again until then
CRYPTO_SETTLE = MINUTE
EVENING = 4 * HOUR  # after the close of a session there is trading that its day holds too
PAGE_BARS = 50_000
STOCKS = ("XNAS", "XNYS", "ARCX", "XASE", "BATS")
CRYPTO = "CRYPTO"
VENUES = (*STOCKS, CRYPTO)
_NEW_YORK = ZoneInfo("America/New_York")
_SUNDAY = 6
_UNITS = {"1m": (1, "minute"), "5m": (5, "minute"), "15m": (15, "minute"), "30m": (30, "minute"),
          "1h": (1, "hour"), "4h": (4, "hour"), "1d": (1, "day"), "1w": (1, "week")}  # fmt: skip

_VALUES = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trades": "n"}

_T = TypeVar("_T")
_Time = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]


class _Bar(msgspec.Struct):
    t: _Time
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's spelling
    c: float
    v: float
    n: float | None = None


class _Aggregates(msgspec.Struct, rename="camel"):
    ticker: str
    results_count: int
    adjusted: bool
    status: str
    results: list[_Bar] = []
    next_url: str | None = msgspec.field(default=None, name="next_url")


class _Clock(msgspec.Struct):
    serverTime: datetime  # noqa: N815 - the vendor's spelling


class _Said(msgspec.Struct):
    status: str = ""
    error: str = ""
    message: str = ""


_aggregates = msgspec.json.Decoder(_Aggregates)
_clock = msgspec.json.Decoder(_Clock)


def polygon(
    base_url: str = "https://api.massive.com",
    *,
    venue: str = "XNAS",
    key: str | None = None,
    adjusted: bool = False,
    weight: int = 5,
    concurrency: int = 4,
) -> Polygon:
    """One venue's bars. ``weight``: requests a minute (5 is the free plan), 0 for plans that do not count.

    ``key`` is the key itself or "env:NAME"; without it MASSIVE_API_KEY or POLYGON_API_KEY of the environment.

    >>> polygon(key="abc").key
    Secret('…')
    """
    if venue not in VENUES:
        raise UnknownName("venue of polygon", venue, VENUES)
    limits = Limits(page_bars=PAGE_BARS, weight=weight, window=60.0, concurrency=concurrency)
    secret = Secret(key, "MASSIVE_API_KEY", "POLYGON_API_KEY")
    settle = CRYPTO_SETTLE if venue == CRYPTO else SETTLE
    return Polygon("polygon", venue, base_url, limits, settle, secret, adjusted)


@dataclass(slots=True)
class Polygon:
    """One venue of Polygon's. Make it with ``polygon()``. ``dense`` is False: where nobody traded there is no bar."""

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    key: Secret = field(repr=False)
    adjusted: bool = False
    dense: bool = False

    @property
    def day_settle(self) -> int:
        """How long after a session's close its day is final, µs: stocks trade on in the evening."""
        return self.settle + (0 if self.venue == CRYPTO else EVENING)

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``. Raises Faulty for an answer that cannot be true."""
        bars = min(self.limits.page_bars, span.bars(series.timeframe))
        if not bars:
            return Page(empty(), Span(span.start, span.start))
        ticker, (count, unit) = to_ticker(series.instrument), _UNITS[series.timeframe.name]
        first, last = self._edges(series.timeframe, span)
        path = f"/v2/aggs/ticker/{ticker}/range/{count}/{unit}/{first}/{last}"
        params: dict[str, str | int] = {
            "adjusted": "true" if self.adjusted else "false",
            "sort": "asc",
            "limit": min(PAGE_BARS, (bars + 1) * _base(series.timeframe)),
        }
        body = await self._get(http, path, params)
        return self._page(body, series, span, ticker)

    async def listings(self, http: Http) -> Sequence[Listing]:
        """Every ticker of the venue, gone ones too; of a name that was used twice the one that trades now."""
        found = [await self.tickers(http, active=active) for active in (False, True)]
        listed = {t.ticker: listing for part in found for t in part if (listing := self._listing(t)) is not None}
        return list(listed.values())

    async def server_time(self, http: Http) -> int:
        """The vendor's clock, µs, in whole seconds."""
        body = await self._get(http, "/v1/marketstatus/now", {})
        return parse_time(decoded(self.name, body, _clock).serverTime)

    async def splits(self, http: Http, ticker: str) -> Sequence[Split]:
        """Every split of a ticker, oldest first."""
        return await self._rows(http, reference.SPLITS, {"ticker": ticker, "sort": "execution_date", "order": "asc"})

    async def dividends(self, http: Http, ticker: str) -> Sequence[Dividend]:
        """Every dividend of a ticker, oldest first."""
        params = {"ticker": ticker, "sort": "ex_dividend_date", "order": "asc"}
        return await self._rows(http, reference.DIVIDENDS, params)

    async def tickers(self, http: Http, *, active: bool = True) -> Sequence[Ticker]:
        """The names of this venue, by name: those that trade, or (``active`` False) those that are gone."""
        market = {"market": "crypto"} if self.venue == CRYPTO else {"market": "stocks", "exchange": self.venue}
        params = {"active": "true" if active else "false", "sort": "ticker", **market}
        return await self._rows(http, reference.TICKERS, params)

    def page_of(self, timeframe: Timeframe) -> int:
        """Whole bars among 50,000 minutes or days without a silent one."""
        return (PAGE_BARS - 1) // base if (base := _base(timeframe)) > 1 else PAGE_BARS

    def weight_of(self, bars: int) -> int:
        return 1

    def used(self, headers: Mapping[str, str]) -> int | None:
        """The vendor does not say."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """What an answer other than 200 means."""
        body = self.key.taken_out(body)
        text = _words(body) or head(body)
        said = f"{self.name} answered {status}: {text}"
        if status == 429:
            return Throttled(said)
        if status >= 500 or status == 408:
            return Faulty(said)
        return Refused(said, hint=_HINTS.get(status, "check base_url, the symbol and the timeframe"))

    # ---- asking

    async def _get(self, http: Http, path: str, params: Mapping[str, str | int]) -> bytes:
        headers = {"Authorization": f"Bearer {self.key.reveal()}"}
        return self.key.taken_out(await http.get(path, params, weight=1, headers=headers))

    async def _rows(self, http: Http, table: Table[_T], params: Mapping[str, str]) -> Sequence[_T]:
        """All pages of a list. Of ``next_url`` only the cursor is used: it may name another host, or hold a key."""
        found: list[_T] = []
        seen: set[str] = set()
        asked: dict[str, str | int] = {**params, "limit": 1000}
        while True:
            rows, cursor = table.page(self.name, await self._get(http, table.path, asked))
            found += rows
            if not cursor:
                return found
            if cursor in seen:
                raise Faulty(f"{self.name} {table.path}: the pages go round in a circle.")
            seen.add(cursor)
            asked = {"cursor": cursor}

    def _edges(self, timeframe: Timeframe, span: Span) -> tuple[str, str]:
        """First and last window to ask for, both included: milliseconds, or the vendor's dates."""
        if timeframe.micros < DAY:
            return str(-(-span.start // 1000)), str(timeframe.ceil(span.end) // 1000 - 1)  # whole windows
        first, last = timeframe.ceil(span.start), timeframe.ceil(span.end) - timeframe.micros
        if timeframe.micros == WEEK:
            first, last = first - DAY, last + 5 * DAY  # their weeks are from Sunday to Saturday
        return iso(first)[:10], iso(last)[:10]

    # ---- reading answers

    def _page(self, body: bytes, series: Series, span: Span, ticker: str) -> Page:
        answer = decoded(self.name, body, _aggregates)
        self._check(answer, body, ticker)
        if not answer.results:
            return page_of(self.name, series, span, micros([]), {}, len(body))
        opened = self._opens(micros([bar.t for bar in answer.results]), series)
        keep = (opened >= span.start) | (opened <= span.start - series.timeframe.micros)  # the start's window comes too
        if answer.next_url and _base(series.timeframe) > 1:
            keep &= opened < opened.max()  # it may have been cut in the middle
        beyond = np.sort(opened[keep])[self.limits.page_bars :]  # where minutes are silent, they make more bars
        if len(beyond):
            keep &= opened < beyond[0]
        bars = list(compress(answer.results, keep))
        values = {name: [getattr(bar, letter) for bar in bars] for name, letter in _VALUES.items()}
        return page_of(self.name, series, span, opened[keep], values, len(body))

    def _check(self, answer: _Aggregates, body: bytes, ticker: str) -> None:
        """Is it an answer to what was asked?"""
        if answer.status not in ("OK", "DELAYED"):
            raise Refused(f"{self.name} answered {answer.status}: {_words(body) or head(body)}")
        if answer.ticker != ticker:
            raise Faulty(f"{self.name} was asked for {ticker} and answered with {answer.ticker}.")
        if answer.adjusted != self.adjusted:
            raise Faulty(f"{self.name} {ticker}: the answer is {'' if answer.adjusted else 'not '}split-adjusted.")
        if answer.results_count != len(answer.results):
            told = f"{answer.results_count} bars announced, {len(answer.results)} sent in results"
            raise Faulty(f"{self.name} {ticker}: {told}; it begins {head(body)}.")

    def _opens(self, times: Micros, series: Series) -> Micros:
        """Opens on the grid: a stock's day by its date, its week by the Monday in it. Refused where that would lie."""
        size, offset = series.timeframe.micros, series.timeframe.offset
        if self.venue != CRYPTO and size >= DAY:
            times = np.array([_label(int(t), size) for t in times], dtype=np.int64)
        if ((times - offset) % size).any():
            at = iso(int(times[np.flatnonzero((times - offset) % size)[0]]))
            raise Refused(
                f"{self.name} cuts {series} at {at}, which is not where gapless cuts it.",
                hint="fetch a shorter timeframe and make this one of it",
            )
        return times

    def _listing(self, ticker: Ticker) -> Listing | None:
        try:
            instrument = from_ticker(ticker.ticker, self.venue)
        except UsageError:
            return None  # a name gapless cannot store cannot be asked for either
        gone = None if ticker.delisted is None else parse_time(ticker.delisted.isoformat())
        told = {"name": ticker.name, "kind": ticker.kind, "currency": ticker.currency, "figi": ticker.figi}
        status = "trading" if ticker.active else "delisted"
        return Listing(instrument, status, None, gone, {k: v for k, v in told.items() if v})


def to_ticker(instrument: Instrument) -> str:
    """The vendor's name: crypto has a prefix, stocks have none.

    >>> to_ticker(Instrument("CRYPTO", "BTCUSD")), to_ticker(Instrument("XNYS", "BRK.B"))
    ('X:BTCUSD', 'BRK.B')
    """
    return f"X:{instrument.symbol}" if instrument.venue == CRYPTO else instrument.symbol


def from_ticker(ticker: str, venue: str) -> Instrument:
    """The instrument of a name at ``venue``.

    >>> str(from_ticker("X:BTCUSD", "CRYPTO")), str(from_ticker("AAPL", "XNAS"))
    ('CRYPTO:BTCUSD', 'XNAS:AAPL')
    """
    if (venue == CRYPTO) != ticker.startswith("X:"):
        raise UsageError(f"'{ticker}' is no ticker of {venue}.", hint="crypto begins with X:, stocks do not")
    return Instrument(venue, ticker.removeprefix("X:"))


_HINTS = {
    401: "the key is not known: check MASSIVE_API_KEY, POLYGON_API_KEY or key under [sources.polygon]",
    403: "the plan does not include this; ask for an earlier end, another timeframe, or another source",
    404: "there is no such ticker; names are case-sensitive",
}


def _base(timeframe: Timeframe) -> int:
    """Of how many of the vendor's minutes, or days, a bar is made."""
    return timeframe.micros // (MINUTE if timeframe.micros < DAY else DAY)


def _label(at: int, size: int) -> int:
    """The session's date at 00:00 UTC for a midnight in New York; of a week its Monday."""
    local = to_datetime(at).astimezone(_NEW_YORK)
    day = local.date() + timedelta(days=1) if size == WEEK and local.weekday() == _SUNDAY else local.date()
    return parse_time(day.isoformat()) + (local.hour * HOUR + local.minute * MINUTE)


def _words(body: bytes) -> str:
    """What an error says: under "error", or under "message"."""
    try:
        said = msgspec.json.decode(body, type=_Said)
    except msgspec.MsgspecError:
        return ""
    return " ".join(part for part in (said.status, said.error or said.message) if part)
