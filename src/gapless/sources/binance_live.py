"""Binance's websocket market streams, spot and USD-M futures: bars as they form and settle.

A message is decoded once, straight from its bytes, in either shape: wrapped with its stream's name (``/stream``) or
bare (``/ws``). What the venue sends besides bars is none of our concern; what claims to be a bar and cannot be one is
a fault.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams (since April 2026 bars
of USD-M futures are only sent below ``/market``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from gapless.errors import Faulty
from gapless.protocols import Confirmed, Heard
from gapless.series import Series
from gapless.spans import Timeframe

_Time = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]
_MICROS_FROM = 10**14  # milliseconds lie below this (the year 5138), microseconds above it (1973)
_SIZES = {name: timeframe.micros for name, timeframe in Timeframe.ALL.items()}


class _Bar(msgspec.Struct, gc=False):
    t: _Time
    T: _Time
    s: str
    i: str
    o: float
    h: float
    l: float  # noqa: E741 - the venue's spelling
    c: float
    v: float
    q: float
    n: float
    V: float
    x: bool


class _Problem(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Event(msgspec.Struct, gc=False):
    e: str = ""
    E: _Time = 0
    s: str = ""
    k: _Bar | None = None


class _Message(_Event, gc=False):
    """Any of: a wrapped event, a bare one, the answer to a request, a complaint about one."""

    data: _Event | None = None
    id: int | None = None
    error: _Problem | None = None
    code: int = 0
    msg: str = ""


_decode = msgspec.json.Decoder(_Message, strict=False).decode  # decimals come as text


def spot_live(url: str = "wss://stream.binance.com:9443") -> BinanceLive:
    """Binance spot. Of the five messages a second a client may send, one is left for answering pings."""
    return BinanceLive("binance", "BINANCE", url.rstrip("/") + "/stream", 1024, 4.0)


def usdm_live(url: str = "wss://fstream.binance.com") -> BinanceLive:
    """Binance USD-M futures. The documents have said 200 and 1024 streams a connection; 200 is always allowed.

    >>> usdm_live().url  # only there bars are sent, with or without /market in the address that is given
    'wss://fstream.binance.com/market/stream'
    """
    url = url.rstrip("/").removesuffix("/market") + "/market/stream"
    return BinanceLive("binance-usdm", "BINANCEUSDM", url, 200, 8.0)


@dataclass(slots=True)
class BinanceLive:
    """One of Binance's two markets, live. Make it with ``spot_live()`` or ``usdm_live()``.

    They take the base address, what comes before ``/stream``; ``url`` is where connections are made.
    """

    name: str
    venue: str
    url: str
    streams_per_connection: int
    requests_per_second: float
    lifetime: float = 24 * 3600.0

    def stream(self, series: Series) -> str:
        """The venue's name for the bars of a series.

        >>> spot_live().stream(Series.parse("BINANCE:BTCUSDT", "1m"))
        'btcusdt@kline_1m'
        """
        return f"{series.instrument.symbol.lower()}@kline_{series.timeframe}"

    def subscribe(self, streams: Sequence[str], number: int) -> str:
        """The message that asks for streams.

        >>> spot_live().subscribe(["btcusdt@kline_1m"], 3)
        '{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":3}'
        """
        return msgspec.json.encode({"method": "SUBSCRIBE", "params": list(streams), "id": number}).decode()

    def read(self, message: str | bytes) -> Heard | Confirmed | None:
        """A bar, the answer to a request, or None. Raises Faulty, with how the message begins.

        >>> spot_live().read('{"result":null,"id":3}')
        Confirmed(number=3, error='')
        """
        try:
            found = _decode(message)
        except msgspec.MsgspecError as error:
            self._refuse_unless_foreign(message, error)
            return None
        event = found.data or found
        bar = event.k
        if bar is not None and event.e == "kline":
            return self._heard(event, bar, message)
        if event.e == "kline":
            raise Faulty(f"{self.name} sent a bar without its values: {_start(message)}.")
        return _confirmed(found)

    def _heard(self, event: _Event, bar: _Bar, message: str | bytes) -> Heard | None:
        size = _SIZES.get(bar.i)
        if size is None:
            return None  # a timeframe that nobody asked for: gapless does not have it
        opened, closed, said = _micros(bar.t), _micros(bar.T), _micros(event.E)
        if event.s != bar.s or not opened < closed < opened + size:
            raise Faulty(f"{self.name} sent a bar that contradicts itself: {_start(message)}.")
        values = (bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.n, bar.V)
        return Heard(f"{self.venue}:{bar.s}", bar.i, opened, values, bar.x, said)

    def _refuse_unless_foreign(self, message: str | bytes, error: msgspec.MsgspecError) -> None:
        """Some other event than a bar may look as it likes; what is no JSON, or a bad bar, is a fault."""
        try:
            found = msgspec.json.decode(message)
        except msgspec.MsgspecError:
            found = None
        event = found.get("data", found) if isinstance(found, dict) else found
        bar = isinstance(event, dict) and (event.get("e") == "kline" or "id" in event)
        if bar or not isinstance(event, dict | list):
            raise Faulty(f"{self.name} sent what cannot be read: {error}; it begins {_start(message)}.") from error


def _confirmed(message: _Message) -> Confirmed | None:
    """The answer to a request; a complaint that names no request is number -1."""
    problem = message.error or _Problem(message.code, message.msg)
    error = f"{problem.code} {problem.msg}".strip() if problem.code or problem.msg else ""
    if message.id is None and not error:
        return None
    return Confirmed(-1 if message.id is None else message.id, error)


def _micros(time: int) -> int:
    return time * 1000 if time < _MICROS_FROM else time


def _start(message: str | bytes) -> str:
    """The beginning of a message, for errors."""
    head = message[:200] if isinstance(message, str) else message[:200].decode("utf-8", "replace")
    return f"'{' '.join(head.split())[:80]}'"
