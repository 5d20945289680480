"""One API of the venue, without the network: pages of klines as they stand at the venue's present.

The bar that holds the present is *forming*: it is folded from the final minutes inside it and a part of the running
minute, and is served last, as Binance does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gapless.sim.blocks import (
    CLOSE,
    EMPTY,
    HIGH,
    LOW,
    OPEN,
    TRADES,
    VOLUME,
    Block,
    Truth,
    days,
    fold,
    join,
    truth_block,
)  # fmt: skip
from gapless.sim.rules import Api
from gapless.sim.wire import Printed, print_rows
from gapless.spans import HOUR, MINUTE, Span, Timeframe

_1M = Timeframe.parse("1m")


@dataclass(frozen=True, slots=True)
class Ask:
    """A klines request. ``start`` and ``end`` bound the open times, both inclusive, µs; None where not given."""

    symbol: str
    timeframe: Timeframe
    start: int | None
    end: int | None
    limit: int


class Venue:
    """Serves ``truth`` through ``api``."""

    def __init__(self, api: Api, truth: Truth, *, printed_days: int = 512) -> None:
        self.api, self.truth = api, truth
        self._minutes = lru_cache(printed_days)(self._print)
        self._hours = lru_cache(32 * printed_days)(self._print)  # days with few rows: a page needs many of them

    def page(self, ask: Ask, now: int) -> bytes:
        """Printed rows, a comma after each: the first ``limit`` from ``start``, else the last ``limit`` to ``end``."""
        reach = self._reach(ask, now)
        pieces = self._forward(ask, reach, now) if ask.start is not None else self._backward(ask, reach, now)
        return b"".join(pieces)

    def forming(self, symbol: str, timeframe: Timeframe, now: int) -> Block:
        """The bar that holds ``now``, as far as it has come; empty when nothing trades."""
        span = Span(timeframe.floor(now), _1M.floor(now) + MINUTE)
        return forming(truth_block(self.truth, symbol, _1M, span), timeframe, now)

    def _reach(self, ask: Ask, now: int) -> Span:
        """Where final bars of the answer may open."""
        listed, size = self.truth.listed(ask.symbol), ask.timeframe
        last = size.floor(now)  # bars that open before this are final
        low = max(size.floor(listed.start), ask.start or 0)
        high = min(last, listed.end if ask.end is None else ask.end + 1)
        return Span(low, max(low, high))

    def _forward(self, ask: Ask, reach: Span, now: int) -> Iterator[bytes]:
        left = ask.limit
        for printed, first, last in self._days(ask, reach, days(reach, ask.timeframe)):
            count = min(left, last - first)
            yield printed.rows(first, first + count)
            left -= count
            if not left:
                return
        yield self._forming_rows(ask, now)

    def _backward(self, ask: Ask, reach: Span, now: int) -> list[bytes]:
        newest = self._forming_rows(ask, now)
        pieces, left = [newest], ask.limit - bool(newest)
        for printed, first, last in self._days(ask, reach, reversed(days(reach, ask.timeframe))):
            if not left:
                break
            count = min(left, last - first)
            pieces.append(printed.rows(last - count, last))
            left -= count
        return pieces[::-1]

    def _days(self, ask: Ask, reach: Span, wanted: Iterator[int] | range) -> Iterator[tuple[Printed, int, int]]:
        kept = self._minutes if ask.timeframe.micros < HOUR else self._hours
        for day in wanted:
            printed, opens = kept(ask.symbol, ask.timeframe, day)
            first, last = bisect_left(opens, reach.start), bisect_left(opens, reach.end)
            if last > first:
                yield printed, first, last

    def _forming_rows(self, ask: Ask, now: int) -> bytes:
        opened = ask.timeframe.floor(now)
        if (ask.start or 0) > opened or (ask.end is not None and ask.end < opened):
            return b""
        return self.print(self.forming(ask.symbol, ask.timeframe, now), ask.timeframe).text

    def print(self, block: Block, timeframe: Timeframe) -> Printed:
        """A block in this API's dress."""
        return print_rows(block, timeframe, pad=self.api.spot)

    def _print(self, symbol: str, timeframe: Timeframe, day: int) -> tuple[Printed, list[int]]:
        printed = self.print(self.truth.block(symbol, timeframe, day), timeframe)
        return printed, printed.ts.tolist()


def forming(minutes: Block, timeframe: Timeframe, now: int) -> Block:
    """The bar that holds ``now``, of the final ``minutes`` since its open and a part of the running one."""
    minute = _1M.floor(now)
    final, running = minutes.cut(Span(timeframe.floor(now), minute)), minutes.cut(Span(minute, minute + MINUTE))
    return fold(join([final, grown(running, (now - minute) / MINUTE)]), timeframe)


def grown(bar: Block, part: float) -> Block:
    """A minute bar after ``part`` (0 … 1) of its minute: open, one extreme, the other, close, in equal steps.

    Highs only rise, lows only fall and volumes only grow; nothing is there until the bar exists.
    """
    if not len(bar):
        return EMPTY
    values = bar.values[:, 0].copy()
    open_, high, low, close = values[[OPEN, HIGH, LOW, CLOSE]]
    stations = (open_, low, high, close) if close >= open_ else (open_, high, low, close)
    at = [0.0, 1 / 3, 2 / 3, 1.0]
    passed = [price for when, price in zip(at, stations, strict=True) if when <= part]
    values[CLOSE] = _on_grid(float(np.interp(part, at, stations)), bar, CLOSE)
    values[HIGH], values[LOW] = max(*passed, values[CLOSE]), min(*passed, values[CLOSE])
    if values[VOLUME] > 0:
        for column in range(VOLUME, len(values)):
            values[column] = _on_grid(values[column] * part, bar, column)
        values[TRADES] = max(1.0, values[TRADES])
    return Block(bar.ts, values.reshape(-1, 1), bar.scale)


def _on_grid(value: float, bar: Block, column: int) -> float:
    """Rounded down to whole ticks or steps."""
    units = 10.0 ** (bar.scale.digits[column] if bar.scale else 8)
    return float(np.floor(value * units + 1e-6) / units)
