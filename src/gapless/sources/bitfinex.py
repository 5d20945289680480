"""Bitfinex, over its public REST interface.

A minute without a trade has no candle, so an absent bar is the rule and is not asked for twice (``dense`` is False). An
answer is believed to the close of its last bar and no further. Rows are ``[time, open, close, high, low, volume]``: the
close comes second. Errors are arrays too, ``["error", code, text]``, some of them with status 200. There is no clock
to ask: the ``Date`` header of an answer is one.

Sources: https://docs.bitfinex.com/reference/rest-public-candles, …/rest-public-conf and …/rest-public-platform-status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from gapless.bars import empty
from gapless.errors import Faulty, Refused, SourceError, Throttled, UsageError
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Instrument, Series
from gapless.sources.reading import decoded, head, micros, page_of
from gapless.spans import SECOND, Span, Timeframe

# A bar is taken as final this long after its close; candles of the last minutes are made in a queue that can lag.
SETTLE = 15 * SECOND
PAGE_BARS = 10_000
_INVALID, _RATE, _READY = 10020, 11010, (11000, 20060)  # "symbol: invalid"; "ratelimit: error"; not ready, maintenance
_LACKING = {"4h": "1h"}  # timeframes the venue does not make, and what they can be made of

_T = TypeVar("_T")
_Time = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]
_Row = tuple[_Time, float, float, float, float, float]
_VALUES = {"open": 1, "high": 3, "low": 4, "close": 2, "volume": 5}

_rows = msgspec.json.Decoder(list[_Row])
_pairs = msgspec.json.Decoder(list[list[str]])
_error = msgspec.json.Decoder(tuple[str, int, str])


def bitfinex(
    base_url: str = "https://api-pub.bitfinex.com",
    *,
    weight: int = 30,
    concurrency: int = 2,
    page_bars: int = PAGE_BARS,
) -> Bitfinex:
    """Bitfinex spot and derivatives. ``weight`` is how many requests a minute allows; 0 means that nobody counts.

    >>> bitfinex().weight_of(10_000)
    1
    """
    limits = Limits(page_bars=PAGE_BARS, weight=weight, window=60.0, concurrency=concurrency)
    return Bitfinex("bitfinex", "BITFINEX", base_url, limits, SETTLE)


@dataclass(slots=True)
class Bitfinex:
    """The venue. Make it with ``bitfinex()``. ``dense`` is False: silent bars are left out."""

    name: str
    venue: str
    base_url: str
    limits: Limits
    settle: int
    dense: bool = False

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span``, oldest bar first. Raises Faulty for an answer that cannot be true."""
        limit = min(self.limits.page_bars, span.bars(series.timeframe))
        if not limit:
            return Page(empty(), Span(span.start, span.start))
        params: dict[str, str | int] = {
            "start": -(-span.start // 1000),
            "end": (span.end - 1) // 1000,
            "limit": limit,
            "sort": 1,
        }
        path = f"/v2/candles/trade:{_timeframe(series.timeframe)}:{to_pair(series.instrument)}/hist"
        body = await http.get(path, params, weight=1)
        columns = list(zip(*self._decoded(body, _rows), strict=True)) or [()] * 6
        values = {name: columns[at] for name, at in _VALUES.items()}
        return page_of(self.name, series, span, micros(columns[0]), values, len(body))

    async def listings(self, http: Http) -> Sequence[Listing]:
        """Every pair that is traded now. Pairs that were taken off are not told."""
        body = await http.get("/v2/conf/pub:list:pair:exchange", {}, weight=1)
        found = [_listing(self.venue, name) for name in self._decoded(body, _pairs)[0]]
        return [listing for listing in found if listing is not None]

    async def server_time(self, http: Http) -> int:
        """The venue's clock, µs, in whole seconds: the Date header of its status."""
        await http.get("/v2/platform/status", {}, weight=1)
        if http.said_at is None:
            raise Faulty(f"{self.name} answered without a Date header.", hint="is a proxy in between?")
        return http.said_at

    def weight_of(self, bars: int) -> int:
        return 1

    def used(self, headers: Mapping[str, str]) -> int | None:
        """The venue does not say."""
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """What an answer other than 200 means."""
        code, text = _said(body)
        said = (
            f"{self.name} answered {status}: {code} {text}" if text else f"{self.name} answered {status}: {head(body)}"
        )
        if status == 429 or code == _RATE or "ratelimit" in text.lower():
            return Throttled(said)
        if code != _INVALID and (status >= 500 or status == 200 or code in _READY):  # a wrong symbol comes with 500
            return Faulty(said)
        return Refused(said, hint="check the symbol: pairs of longer names are written with a dash, DOGE-USD")

    # ---- reading answers

    def _decoded(self, body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
        code, _ = _said(body)
        if code:  # errors come with status 200 too
            raise self.refusal(200, {}, body)
        return decoded(self.name, body, decoder)


def to_pair(instrument: Instrument) -> str:
    """The venue's name for an instrument.

    >>> to_pair(Instrument("BITFINEX", "BTCUSD")), to_pair(Instrument("BITFINEX", "DOGE-USD"))
    ('tBTCUSD', 'tDOGE:USD')
    """
    return "t" + instrument.symbol.replace("-", ":")


def from_pair(pair: str, venue: str = "BITFINEX") -> Instrument:
    """The instrument of a pair, with or without the leading t. Names longer than six letters carry a colon there.

    >>> str(from_pair("tBTCUSD")), str(from_pair("DOGE:USD")), str(from_pair("tTESTBTC:TESTUSD"))
    ('BITFINEX:BTCUSD', 'BITFINEX:DOGE-USD', 'BITFINEX:TESTBTC-TESTUSD')
    """
    return Instrument(venue, pair.removeprefix("t").replace(":", "-"))


def _listing(venue: str, name: str) -> Listing | None:
    try:
        return Listing(from_pair(name, venue))
    except UsageError:
        return None  # a name gapless cannot store cannot be asked for either


def _timeframe(timeframe: Timeframe) -> str:
    """The venue's name for a timeframe: days and weeks in capitals."""
    if timeframe.name in _LACKING:
        better = _LACKING[timeframe.name]
        raise Refused(f"bitfinex has no {timeframe} bars.", hint=f"fetch {better} and make {timeframe} of them")
    return {"1d": "1D", "1w": "1W"}.get(timeframe.name, timeframe.name)


def _said(body: bytes) -> tuple[int, str]:
    """Code and text of an error array; (0, "") for anything else."""
    try:
        word, code, text = _error.decode(body)
    except msgspec.MsgspecError:
        return 0, ""
    return (code, text or "no words") if word == "error" else (0, "")
