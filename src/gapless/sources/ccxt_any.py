"""Any exchange that ccxt knows, through its ``fetch_ohlcv`` (extra ``ccxt``).

ccxt asks in its own way: its rate limiter paces, its session connects, so that weights are not counted here. What
differs from exchange to exchange is tamed: bars outside the asked span are dropped (some ignore ``since``, or include
a bar before it), a page may be shorter than asked, empty, or hold a row twice; nothing is believed beyond its last bar.
Errors become the three that the engine knows. One request at a time: ccxt's session is not for many threads.

Source: https://docs.ccxt.com (unified API: fetch_ohlcv, errors, rate limits).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gapless.bars import VALUES, empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UnknownName, UsageError
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Instrument, Series
from gapless.sources.reading import micros, page_of
from gapless.spans import SECOND, Span

PAGE_BARS = 500  # where ccxt does not know how many an exchange gives; nearly all give as many
SETTLE = 10 * SECOND
_T = TypeVar("_T")


def ccxt(
    base_url: str = "", *, exchange: str = "kraken", venue: str = "", market: str = "spot", weight: int = 0
) -> Ccxt:
    """The exchange that ccxt calls ``exchange``, as ``venue`` (its name in capitals). ``base_url`` replaces hosts.

    ``market`` is ccxt's word: spot, swap, future. ``weight`` is not used: ccxt paces itself. Raises UsageError without
    ccxt, UnknownName for an exchange it does not have.
    """
    client = _client(exchange, market)
    if base_url:
        client.urls["api"] = _moved(client.urls["api"], base_url.rstrip("/"))
    limits = Limits(page_bars=_page_bars(client, market), weight=weight, window=60.0, concurrency=1)
    return Ccxt(f"ccxt-{exchange}", venue or exchange.upper(), base_url or f"ccxt:{exchange}", limits, SETTLE, client)


@dataclass(slots=True)
class Ccxt:
    """One exchange of ccxt's. Make it with ``ccxt()``. ``dense`` is False: most leave out minutes without a trade."""

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    client: Any = field(repr=False)
    dense: bool = False
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``. Raises Refused where the exchange has no such bars."""
        limit = min(self.limits.page_bars, span.bars(series.timeframe))
        if not limit:
            return Page(empty(), Span(span.start, span.start))
        if series.timeframe.name not in (self.client.timeframes or {}):
            known = ", ".join(self.client.timeframes or {}) or "none"
            raise Refused(f"{self.name} has no bars of {series.timeframe}.", hint=f"it has {known}")
        since, symbol = series.timeframe.ceil(span.start) // 1000, to_symbol(series.instrument)
        rows = await self._asked(lambda: self._bars(symbol, series.timeframe.name, since, limit))
        if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) < 6 for row in rows):
            raise Faulty(f"{self.name} {series}: ccxt gave no rows of six values.")
        inside = [row for row in rows if span.start <= row[0] * 1000 < span.end][:limit]
        values = {name: [row[at] for row in inside] for at, name in enumerate(VALUES, 1)}
        return page_of(self.name, series, span, micros([row[0] for row in inside]), values, 0)

    async def listings(self, http: Http) -> Sequence[Listing]:
        """Every market whose name gapless can write."""
        await self._asked(self.client.load_markets)
        found = ((_instrument(self.venue, symbol), market) for symbol, market in self.client.markets.items())
        return [
            Listing(instrument, "delisted" if market.get("active") is False else "trading")
            for instrument, market in found
            if instrument is not None
        ]

    async def server_time(self, http: Http) -> int:
        """The exchange's clock, µs; this machine's where the exchange does not tell."""
        told = self.client.fetch_time if self.client.has.get("fetchTime") else self.client.milliseconds
        return int(await self._asked(told)) * 1000

    def weight_of(self, bars: int) -> int:
        return 1

    def used(self, headers: Mapping[str, str]) -> int | None:
        """ccxt counts by itself."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """Not met: ccxt reads answers, and its errors are mapped where they arise."""
        said = f"{self.name} answered {status}."
        return Throttled(said) if status in (418, 429) else Faulty(said) if status >= 500 else Refused(said)

    def _bars(self, symbol: str, timeframe: str, since: int, limit: int) -> Any:
        self.client.load_markets()
        return self.client.fetch_ohlcv(symbol, timeframe, since, limit)

    async def _asked(self, call: Callable[[], _T]) -> _T:
        def alone() -> _T:
            with self._turn:
                return call()

        import ccxt as library

        try:
            return await asyncio.to_thread(alone)
        except (library.RateLimitExceeded, library.DDoSProtection) as error:
            raise Throttled(f"{self.name}: {_short(error)}") from error
        except (library.BadSymbol, library.BadRequest, library.AuthenticationError, library.NotSupported) as error:
            raise Refused(f"{self.name}: {_short(error)}", hint="check the symbol and the timeframe") from error
        except library.BaseError as error:
            raise Faulty(f"{self.name}: {_short(error)}") from error


def to_symbol(instrument: Instrument) -> str:
    """ccxt's name of an instrument.

    >>> to_symbol(Instrument("KRAKEN", "BTC-USD")), to_symbol(Instrument("OKX", "BTC-USDT=USDT"))
    ('BTC/USD', 'BTC/USDT:USDT')
    """
    return instrument.symbol.replace("-", "/", 1).replace("=", ":", 1)


def _instrument(venue: str, symbol: str) -> Instrument | None:
    """The instrument that ``to_symbol`` calls so; None for a name that cannot be written."""
    try:
        found = Instrument(venue, symbol.replace("/", "-", 1).replace(":", "=", 1))
    except UsageError:
        return None
    return found if to_symbol(found) == symbol else None


def _client(exchange: str, market: str) -> Any:
    try:
        import ccxt as library
    except ImportError:
        raise UsageError("ccxt is not installed.", hint="pip install 'gapless[ccxt]'") from None
    if exchange not in library.exchanges:
        raise UnknownName("exchange of ccxt", exchange, library.exchanges)
    client = getattr(library, exchange)({"enableRateLimit": True, "options": {"defaultType": market}})
    client.has["fetchCurrencies"] = False  # often behind a key, and of no use here
    if exchange.startswith("binance"):
        client.options["fetchMarkets"] = {"types": ["linear" if market != "spot" else "spot"]}
    return client


def _page_bars(client: Any, market: str) -> int:
    """What ccxt knows of the exchange's pages. One asked for more answers fewer, or an error."""
    told = (getattr(client, "features", None) or {}).get(market) or {}
    told = told.get("linear") or told  # contracts: those settled in dollars
    limit = (told.get("fetchOHLCV") or {}).get("limit")
    return limit if isinstance(limit, int) and limit >= 2 else PAGE_BARS


def _moved(urls: Any, base: str) -> Any:
    """The same paths at another address."""
    if isinstance(urls, dict):
        return {name: _moved(url, base) for name, url in urls.items()}
    return base + urlsplit(urls).path if isinstance(urls, str) and urls.startswith("http") else urls


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
