"""Stocks: a made market that trades only in the sessions of US equities, at the prices of the day.

Minutes from 04:00 to 20:00 New York of every session day exist, as far as somebody traded. A day is labelled with its
session's date at 00:00 UTC and holds all its minutes. The market inside runs on without steps; a split makes the prices
before it what they were when they were traded: ``to / from`` times as high, the volumes as much lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from gapless.calendars import calendar
from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.sim.blocks import CLOSE, EMPTY, OPEN, TAKER, VOLUME, Block, Scale, fold, frame, join, truth_block
from gapless.sim.market import Market
from gapless.spans import DAY, Span, SpanSet, Timeframe, parse_time

Split = tuple[str, int, int]  # the first day at the new price, old shares, new shares
Dividend = tuple[str, float]  # the first day without it, cash a share of that day
_1M = Timeframe.parse("1m")


class Sessions:
    """``inner`` in sessions; ``splits`` by symbol, (date, from, to); ``dividends``, (date, cash), move no price."""

    def __init__(
        self,
        inner: Market,
        *,
        splits: Mapping[str, Sequence[Split]],
        dividends: Mapping[str, Sequence[Dividend]] | None = None,
    ) -> None:
        self.inner, self.venue, self.symbols = inner, inner.venue, inner.symbols
        self.outages = SpanSet.of()
        self.splits, self.dividends = splits, dividends or {}
        self._hours = calendar("XNYS", extended=True)
        self._open = lru_cache(4096)(self._session)
        self._minutes = lru_cache(256)(self._traded)

    def truth(self, symbol: str | Instrument, timeframe: str | Timeframe, span: Span) -> pl.DataFrame:
        """Final bars that open inside ``span``, in the bar schema, as traded."""
        name = str(symbol).removeprefix(self.venue + ":")
        return frame(Instrument(self.venue, name), truth_block(self, name, Timeframe.parse(timeframe), span))

    def listings(self) -> list[Listing]:
        """Every stock, with its listing."""
        return self.inner.listings()

    def halts(self, symbol: str) -> SpanSet:
        """None."""
        return SpanSet.of()

    def listed(self, symbol: str) -> Span:
        """From listing to delisting."""
        return self.inner.listed(symbol)

    def delisted_at(self, symbol: str) -> int | None:
        """When trading ended, µs."""
        return self.inner.delisted_at(symbol)

    def listed_at(self, symbol: str | Instrument) -> int:
        """When trading began, µs."""
        return self.inner.listed_at(symbol)

    def scale(self, symbol: str) -> Scale:
        """Decimals of the symbol's prices and volumes."""
        return self.inner.scale(symbol)

    def block(self, symbol: str, timeframe: Timeframe, day: int) -> Block:
        """The bars that open on ``day`` (days since the epoch)."""
        if timeframe.micros < DAY:
            return fold(self._minutes(symbol, day), timeframe)
        if timeframe.micros == DAY:
            return self._day(symbol, day)
        if timeframe.floor(day * DAY) != day * DAY:
            return EMPTY
        return fold(join([self._day(symbol, day + i) for i in range(7)]), timeframe)

    def ratio(self, symbol: str, day: int) -> float:
        """New shares that one share held on ``day`` has become."""
        later = [new / old for first, old, new in self.splits.get(symbol, ()) if parse_time(first) > day * DAY]
        return float(np.prod(later))

    def adjusted(self, symbol: str, block: Block) -> Block:
        """The bars as a vendor tells them that takes later splits into account."""
        ratios = np.array([self.ratio(symbol, int(ts) // DAY) for ts in block.ts])
        values = block.values.copy()
        values[OPEN : CLOSE + 1] /= ratios
        values[VOLUME] *= ratios
        return Block(block.ts, values, None)

    def _session(self, day: int) -> Span:
        """Trading time of the session of ``day``, which may end after midnight UTC; empty on a holiday."""
        found = self._hours.sessions(Span(day * DAY - DAY, day * DAY + 2 * DAY))  # the one before may reach into it
        return next((s for s in found if s.start // DAY == day), Span(0, 0))

    def _traded(self, symbol: str, day: int) -> Block:
        """The minutes that open on ``day``, of its session and the end of the one before."""
        whole = self.inner.block(symbol, _1M, day)
        parts = [(whole.cut(self._open(date)), date) for date in (day - 1, day)]
        return join([self._as_traded(symbol, part, date) for part, date in parts])

    def _day(self, symbol: str, day: int) -> Block:
        session = self._open(day)
        minutes = join([self._minutes(symbol, day), self._minutes(symbol, day + 1)]).cut(session)
        inside = np.minimum(minutes.ts, day * DAY + DAY - 1)  # the hour after midnight UTC belongs to the day too
        return fold(Block(inside, minutes.values, minutes.scale), Timeframe.parse("1d"))

    def _as_traded(self, symbol: str, block: Block, date: int) -> Block:
        ratio = self.ratio(symbol, date)
        if ratio == 1.0 or not len(block):
            return block
        assert block.scale is not None
        units = block.to_units()
        units[OPEN : CLOSE + 1] = np.rint(units[OPEN : CLOSE + 1] * ratio)
        for column in (VOLUME, TAKER):
            units[column] = np.maximum(1, units[column] / ratio)
        return Block.from_units(block.ts, units, block.scale)
