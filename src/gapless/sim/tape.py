"""The bars of one API as its streams tell them: final ones printed ahead, forming ones as they grow.

Both come as rows of the wire (see wire.py), so that a stream and a page say the same text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from gapless.sim.blocks import Block, truth_block
from gapless.sim.venue import Venue, forming
from gapless.sim.wire import Printed, split
from gapless.spans import DAY, HOUR, Span, Timeframe

_1M, _1H = Timeframe.parse("1m"), Timeframe.parse("1h")
_NAME = re.compile(r"^([a-z0-9\-_.]{1,20})@kline_(\w{2,3})$")
_IDS = 100_000  # trade numbers a minute has for itself
_EVENT = (
    b'{"e":"kline","E":%d,"s":"%b","k":{"t":%b,"T":%b,"s":"%b","i":"%b","f":%d,"L":%d,"o":%b,"c":%b,"h":%b,"l":%b,'
    b'"v":%b,"n":%b,"x":%b,"q":%b,"V":%b,"Q":%b,"B":"0"}}'
)


@dataclass(frozen=True, eq=False, slots=True)
class Stream:
    """One name a client may subscribe to. ``symbol`` is as REST spells it."""

    name: str
    symbol: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True)
class _Strip:
    """The final bars of a stretch, printed."""

    span: Span
    block: Block
    opens: list[int]
    printed: Printed

    def row(self, opened: int) -> bytes | None:
        at = bisect_left(self.opens, opened)
        if at == len(self.opens) or self.opens[at] != opened:
            return None
        return self.printed.rows(at, at + 1)[:-1]


class Tape:
    """Rows of ``venue`` by stream and time."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self._strips: dict[tuple[str, Timeframe], _Strip] = {}

    def stream(self, name: str) -> Stream | None:
        """What a name asks for; None for a stream that never says anything (the venue takes any name)."""
        found = _NAME.match(name)
        symbol = found[1].upper() if found else ""
        if found is None or symbol not in self.venue.truth.symbols or found[2] not in Timeframe.ALL:
            return None
        return Stream(name, symbol, Timeframe.ALL[found[2]])

    def prepare(self, stream: Stream, now: int) -> None:
        """Have the bar that holds ``now``, and those after it, at hand."""
        self._strip(stream.symbol, stream.timeframe, stream.timeframe.floor(now))
        if stream.timeframe.micros <= HOUR:
            self._strip(stream.symbol, _1M, _1M.floor(now))

    def final(self, stream: Stream, opened: int) -> bytes | None:
        """The row of a bar that has closed; None where there is none, or where nobody was there to send it."""
        if self._quiet(stream.symbol, opened + stream.timeframe.micros - 1):
            return None
        return self._strip(stream.symbol, stream.timeframe, opened).row(opened)

    def forming(self, stream: Stream, now: int) -> bytes | None:
        """The row of the bar that holds ``now``; None when nothing trades."""
        if self._quiet(stream.symbol, now):
            return None
        if stream.timeframe.micros <= HOUR:  # its minutes are at hand
            bar = forming(self._strip(stream.symbol, _1M, _1M.floor(now)).block, stream.timeframe, now)
        else:
            bar = self.venue.forming(stream.symbol, stream.timeframe, now)
        rows = split(self.venue.print(bar, stream.timeframe).text)
        return rows[0] if rows else None

    def _quiet(self, symbol: str, at: int) -> bool:
        """In an outage or a halt the venue sends nothing, not even of a longer bar that traded before."""
        truth = self.venue.truth
        return truth.outages.contains(at) or truth.halts(symbol).contains(at) or at >= truth.listed(symbol).end

    def _strip(self, symbol: str, timeframe: Timeframe, opened: int) -> _Strip:
        strip = self._strips.get((symbol, timeframe))
        if strip is None or not strip.span.start <= opened < strip.span.end:
            strip = self._strips[symbol, timeframe] = self._print(symbol, timeframe, opened)
        return strip

    def _print(self, symbol: str, timeframe: Timeframe, opened: int) -> _Strip:
        """A bar or some; how many differs by symbol, so that not all end in the same minute.

        Minutes from the full hour on, so that whatever forms of them is at hand; others from ``opened`` on.
        """
        most = max(1, min(64, DAY // timeframe.micros))
        count = most + crc32(symbol.encode()) % most
        span = Span(_1H.floor(opened) if timeframe == _1M else opened, opened + count * timeframe.micros)
        bars = truth_block(self.venue.truth, symbol, timeframe, span)
        kept = Block(bars.ts.copy(), np.array(bars.values), bars.scale)  # a view would keep the whole day
        return _Strip(span, kept, kept.ts.tolist(), self.venue.print(kept, timeframe))


def event(stream: Stream, row: bytes, said_at: int, *, final: bool, combined: bool) -> bytes:
    """A row as a stream's message, at ``said_at`` by the venue's clock, µs.

    >>> row = b'[0,"1.0","3.0","1.0","2.0","10.0",59999,"20.0",4,"5.0","10.0","0"]'
    >>> event(Stream("aaa@kline_1m", "AAA", _1M), row, 60_000_000, final=True, combined=False)[:60]
    b'{"e":"kline","E":60000,"s":"AAA","k":{"t":0,"T":59999,"s":"A'
    """
    opened, o, h, l, c, v, closed, q, n, taker, taker_quote, _ = row[1:-1].split(b",")  # noqa: E741 - the wire's names
    symbol, trades = stream.symbol.encode(), int(n)
    first = int(opened) // 60_000 * _IDS if trades else -1
    body = _EVENT % (
        said_at // 1000, symbol, opened, closed, symbol, stream.timeframe.name.encode(),
        first, first + trades - 1 if trades else -1, o, c, h, l, v, n, b"true" if final else b"false",
        q, taker, taker_quote,
    )  # fmt: skip
    return b'{"stream":"%b","data":%b}' % (stream.name.encode(), body) if combined else body
