"""Blocks: the bars of one instrument and timeframe that open on one UTC day, as plain arrays.

A block is what a market makes and what the wire prints. Its numbers are float64 that came from whole ticks and steps,
so that the decimal text of a value and the value itself name the same float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless import bars
from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.spans import DAY, WEEK, Micros, Span, SpanSet, Timeframe

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.int64)
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_quote")
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(len(COLUMNS))
QUOTE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """Decimals of one instrument: of its prices (the tick), its volumes (the step) and its turnover."""

    price: int
    volume: int
    quote: int = QUOTE_DIGITS

    @property
    def digits(self) -> tuple[int, ...]:
        """Decimals of each of ``COLUMNS``."""
        return (*[self.price] * 4, self.volume, self.quote, 0, self.volume, self.quote)

    @property
    def units(self) -> Floats:
        """How many ticks, steps … make 1, as a column to multiply or divide ``Block.values`` with."""
        return np.array([[10.0**d] for d in self.digits])


@dataclass(frozen=True, slots=True)
class Block:
    """Bars in time order: ``ts`` open times (µs), ``values`` one row for each of ``COLUMNS``.

    ``scale`` is None when the values are not whole multiples of anything (bars replayed from elsewhere).
    """

    ts: Micros
    values: Floats
    scale: Scale | None

    def __len__(self) -> int:
        return len(self.ts)

    def cut(self, span: Span) -> Block:
        """The bars that open inside ``span``."""
        low, high = np.searchsorted(self.ts, (span.start, span.end))
        return Block(self.ts[low:high], self.values[:, low:high], self.scale)

    @classmethod
    def from_units(cls, ts: Micros, units: npt.NDArray[np.int64], scale: Scale) -> Block:
        """From whole ticks and steps; dividing by a power of ten gives the float64 nearest to the decimal."""
        return cls(ts, units / scale.units, scale)

    def to_units(self) -> npt.NDArray[np.int64]:
        """Whole ticks and steps, exactly (all values stay below 2**50)."""
        assert self.scale is not None
        return np.rint(self.values * self.scale.units).astype(np.int64)


EMPTY = Block(np.empty(0, np.int64), np.empty((len(COLUMNS), 0)), None)


class Truth(Protocol):
    """What a venue serves, and what a lake filled from it must hold: a made market, or bars replayed."""

    venue: str
    symbols: tuple[str, ...]
    outages: SpanSet

    def truth(self, symbol: str | Instrument, timeframe: str | Timeframe, span: Span) -> pl.DataFrame:
        """Final bars that open inside ``span``, in the bar schema."""
        ...

    def listings(self) -> list[Listing]:
        """Every symbol with its listing and, where it was taken off, its delisting."""
        ...

    def halts(self, symbol: str) -> SpanSet:
        """When this symbol alone stood still."""
        ...

    def listed(self, symbol: str) -> Span:
        """Where bars can be: from the listing to the delisting, or to the last bar replayed."""
        ...

    def delisted_at(self, symbol: str) -> int | None:
        """When trading ended, µs; None where it did not."""
        ...

    def listed_at(self, symbol: str | Instrument) -> int:
        """When trading began, µs."""
        ...

    def scale(self, symbol: str) -> Scale: ...

    def block(self, symbol: str, timeframe: Timeframe, day: int) -> Block:
        """The bars that open on ``day`` (days since the epoch), as they are once final."""
        ...


def join(blocks: Sequence[Block]) -> Block:
    """One block from several, in order."""
    blocks = [b for b in blocks if len(b)]
    if not blocks:
        return EMPTY
    return Block(
        np.concatenate([b.ts for b in blocks]), np.concatenate([b.values for b in blocks], axis=1), blocks[0].scale
    )


def fold(block: Block, timeframe: Timeframe) -> Block:
    """Bars of a higher timeframe: first open, highest high, lowest low, last close, exact sums.

    A bar exists when at least one bar inside it does; sums are made of whole steps, so no rounding enters.
    """
    if not len(block):
        return block
    opens = (block.ts - timeframe.offset) // timeframe.micros * timeframe.micros + timeframe.offset
    first = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    last = np.append(first[1:], len(opens)) - 1
    if block.scale is None:
        return Block(opens[first], _fold(block.values, first, last), None)
    return Block.from_units(opens[first], _fold(block.to_units(), first, last), block.scale)


def _fold(values: npt.NDArray[Number], first: Micros, last: Micros) -> npt.NDArray[Number]:
    folded = np.add.reduceat(values, first, axis=1)
    folded[OPEN] = values[OPEN, first]
    folded[HIGH] = np.maximum.reduceat(values[HIGH], first)
    folded[LOW] = np.minimum.reduceat(values[LOW], first)
    folded[CLOSE] = values[CLOSE, last]
    return folded


def days(span: Span, timeframe: Timeframe) -> range:
    """The days (since the epoch) on which a bar of ``timeframe`` may open inside ``span``."""
    if not span:
        return range(0)
    if timeframe.micros == WEEK:
        return range(timeframe.ceil(span.start) // DAY, -(-span.end // DAY), 7)
    return range(span.start // DAY, -(-span.end // DAY))


def truth_block(truth: Truth, symbol: str, timeframe: Timeframe, span: Span) -> Block:
    """All bars that open inside ``span``."""
    inside = Span(span.start, span.end).intersect(_whole(truth.listed(symbol), timeframe))
    return join([truth.block(symbol, timeframe, day).cut(span) for day in days(inside, timeframe)])


def _whole(span: Span, timeframe: Timeframe) -> Span:
    """``span`` widened to bar opens: the bar that holds the listing opens before it."""
    return Span(timeframe.floor(span.start), span.end)


def frame(instrument: Instrument, block: Block) -> pl.DataFrame:
    """A block in the bar schema of bars.py (without the columns a spot venue does not send)."""
    known = [name for name in COLUMNS if name in bars.SCHEMA]
    columns: dict[str, object] = {name: block.values[COLUMNS.index(name)] for name in known}
    table = pl.DataFrame({"ts": block.ts, **columns})
    return table.select(
        pl.lit(str(instrument)).alias("instrument"), pl.col("ts").cast(bars.TS), *(pl.col(n) for n in known)
    )
