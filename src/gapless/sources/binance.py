"""Binance, spot and USD-M futures, over their public REST interfaces.

A klines answer is believed for what it holds and no further: bars are proven absent only between bars it contains, and
between the asked start and its first bar. A page that stops early, or is empty, proves nothing about what follows.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api and
https://developers.binance.com/docs/derivatives/usds-margined-futures (paths, weights, limits, error codes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from gapless.bars import empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UsageError
from gapless.protocols import Http, Limits, Listing, Page, ValueSource
from gapless.series import Instrument, Series
from gapless.sources.binance_extra import values_of
from gapless.sources.reading import MICROS_FROM, decoded, head, micros, page_of
from gapless.spans import LATEST, SECOND, Span

# A bar is taken as final this long after its close: late trades are booked for a moment, and clocks differ.
SETTLE = 5 * SECOND
_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"

_Time = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]

# open time, open, high, low, close, volume, close time, quote volume, trades, taker buy base, taker buy quote, unused
_Row = tuple[_Time, float, float, float, float, float, _Time, float, float, float, float, object]
_VALUES = {
    "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7, "trades": 8, "taker_buy_volume": 9,
}  # fmt: skip

_BANNED = re.compile(r"banned until (\d{13,16})")


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Symbol(msgspec.Struct):
    symbol: str
    status: str = "TRADING"
    baseAsset: str = ""  # noqa: N815 - the venue's spelling
    quoteAsset: str = ""  # noqa: N815
    contractType: str = ""  # noqa: N815
    onboardDate: int | None = None  # noqa: N815
    deliveryDate: int | None = None  # noqa: N815
    filters: list[dict[str, object]] = msgspec.field(default_factory=list)


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


class _ServerTime(msgspec.Struct):
    serverTime: _Time  # noqa: N815


_rows = msgspec.json.Decoder(list[_Row], strict=False)  # decimals come as text, and are rounded correctly all the same
_info = msgspec.json.Decoder(_ExchangeInfo)
_clock = msgspec.json.Decoder(_ServerTime)


def spot(base_url: str = "https://api.binance.com", *, weight: int = 6000, concurrency: int = 8) -> Binance:
    """Binance spot. ``weight`` is what a minute allows; 0 means that the venue does not count.

    >>> spot().weight_of(1000)
    2
    """
    limits = Limits(page_bars=1000, weight=weight, window=60.0, concurrency=concurrency)
    return Binance("binance", "BINANCE", base_url, limits, SETTLE, "/api/v3", lambda _: 2, 20)


def usdm(base_url: str = "https://fapi.binance.com", *, weight: int = 2400, concurrency: int = 8) -> Binance:
    """Binance USD-M futures. ``weight`` is what a minute allows; 0 means that the venue does not count.

    >>> [usdm().weight_of(bars) for bars in (99, 499, 1000, 1500)]
    [1, 2, 5, 10]
    """
    limits = Limits(page_bars=1500, weight=weight, window=60.0, concurrency=concurrency)
    return Binance("binance-usdm", "BINANCEUSDM", base_url, limits, SETTLE, "/fapi/v1", _usdm_weight, 1)


def _usdm_weight(bars: int) -> int:
    return 1 if bars < 100 else 2 if bars < 500 else 5 if bars <= 1000 else 10


@dataclass(slots=True)
class Binance:
    """One of Binance's two markets. Make it with ``spot()`` or ``usdm()``.

    ``dense``: silent minutes come as bars of volume 0, so a missing bar is unusual and asked for twice.
    """

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    root: str
    weigh: Callable[[int], int]
    info_weight: int
    dense: bool = True

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``. Raises Faulty for an answer that cannot be true."""
        limit = min(self.limits.page_bars, span.bars(series.timeframe))
        if not limit:
            return Page(empty(), Span(span.start, span.start))
        params: dict[str, str | int] = {
            "symbol": series.instrument.symbol,
            "interval": series.timeframe.name,
            "startTime": -(-span.start // 1000),
            "endTime": (span.end - 1) // 1000,
            "limit": limit,
        }
        body = await http.get(f"{self.root}/klines", params, weight=self.weigh(limit))
        return self._page(body, series, span)

    async def listings(self, http: Http) -> Sequence[Listing]:
        """Every symbol of the market."""
        body = await http.get(f"{self.root}/exchangeInfo", {}, weight=self.info_weight)
        info = decoded(self.name, body, _info)
        found = (self._listing(symbol) for symbol in info.symbols)
        return [listing for listing in found if listing is not None]

    async def server_time(self, http: Http) -> int:
        """The venue's clock, µs."""
        body = await http.get(f"{self.root}/time", {}, weight=1)
        return _micros(decoded(self.name, body, _clock).serverTime)

    def values(self) -> Sequence[ValueSource]:
        """Funding rates and open interest, where there are such."""
        return values_of(self) if self.venue == "BINANCEUSDM" else ()

    def weight_of(self, bars: int) -> int:
        return self.weigh(bars)

    def used(self, headers: Mapping[str, str]) -> int | None:
        value = headers.get(_WEIGHT_HEADER, "")
        return int(value) if value.isdigit() else None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """What an answer other than 200 means; see the module's sources for the codes."""
        error, text = _error(body), f"{self.name} answered {status}"
        said = f"{text}: {error.code} {error.msg}" if error.msg else f"{text}: {head(body)}"
        if status in (418, 429) or error.code == -1003:
            until = _BANNED.search(error.msg)
            banned = status == 418 or until is not None
            return Throttled(said, retry_at=_micros(int(until[1])) if until else None, banned=banned)
        if status >= 500 or error.code in (-1000, -1001, -1006, -1007):
            return Faulty(said)
        return Refused(said, hint=_hint(self.venue, status, error.code))

    # ---- reading answers

    def _page(self, body: bytes, series: Series, span: Span) -> Page:
        """The rows as a page; raises Faulty when they cannot be what was asked for."""
        rows = decoded(self.name, body, _rows)
        columns = list(zip(*rows, strict=True)) or [()] * 12
        opened, closed = micros(columns[0]), micros(columns[6])
        if ((closed < opened) | (closed >= opened + series.timeframe.micros)).any():
            raise Faulty(f"{self.name} {series} {span}: a row does not close within {series.timeframe} of its open.")
        return page_of(self.name, series, span, opened, {n: columns[at] for n, at in _VALUES.items()}, len(body))

    def _listing(self, symbol: _Symbol) -> Listing | None:
        try:
            instrument = Instrument(self.venue, symbol.symbol)
        except UsageError:
            return None  # a name gapless cannot store (they exist: test symbols) cannot be asked for either
        end = symbol.deliveryDate * 1000 if symbol.deliveryDate else None
        metadata = {"base": symbol.baseAsset, "quote": symbol.quoteAsset, "contract": symbol.contractType}
        return Listing(
            instrument,
            symbol.status.lower(),
            symbol.onboardDate * 1000 if symbol.onboardDate else None,
            end if end is not None and end < LATEST else None,  # a perpetual is "delivered" in 2100
            {key: value for key, value in (metadata | _steps(symbol.filters)).items() if value},
        )


def _micros(time: int) -> int:
    return time * 1000 if time < MICROS_FROM else time


def _error(body: bytes) -> _Error:
    try:
        return msgspec.json.decode(body, type=_Error)
    except msgspec.MsgspecError:
        return _Error()


def _hint(venue: str, status: int, code: int) -> str:
    if code == -1121:
        return f"{venue} has no such symbol; gapless instruments show lists those it has"
    if status == 451:
        return "the venue does not serve this place; set another base_url for the source"
    if status == 403:
        return "the venue's firewall refused the call; wait some minutes, lower --max-concurrent, or change base_url"
    return "check base_url, the symbol and the timeframe"


def _steps(filters: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Price tick and volume step."""
    wanted = {"PRICE_FILTER": ("tickSize", "tick"), "LOT_SIZE": ("stepSize", "step")}
    named = ((wanted.get(str(entry.get("filterType"))), entry) for entry in filters)
    return {name[1]: str(entry.get(name[0], "")) for name, entry in named if name is not None}
