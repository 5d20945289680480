"""A venue that serves bars read from elsewhere, such as a lake: the same face as a made market."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.sim.blocks import COLUMNS, EMPTY, QUOTE, TAKER, VOLUME, Block, Floats, Scale, frame, truth_block
from gapless.spans import DAY, EARLIEST, LATEST, Span, SpanSet, Timeframe

MOST_DECIMALS = 8


class Replay:
    """Serves ``reader(instrument, timeframe, span)``: any frame with the bar columns; absent extras become 0.

    ``listed`` says from when to when each symbol has bars; where it does not, everything is read once to see.
    Each timeframe is read as such: what the reader does not have at 1h is not made up from its 1m.
    """

    def __init__(
        self,
        reader: Callable[[Instrument, Timeframe, Span], pl.DataFrame],
        symbols: Sequence[str],
        *,
        venue: str = "BINANCE",
        listed: Mapping[str, Span] | None = None,
        cached_days: int = 256,
    ) -> None:
        self.reader, self.venue, self.symbols = reader, venue, tuple(symbols)
        self.outages = SpanSet.of()
        self.block = lru_cache(cached_days)(self._read)
        self._given = listed or {}
        self.listed = lru_cache(4096)(self._listed)

    def truth(self, symbol: str | Instrument, timeframe: str | Timeframe, span: Span) -> pl.DataFrame:
        """Final bars that open inside ``span``, in the bar schema."""
        name = str(symbol).removeprefix(self.venue + ":")
        return frame(Instrument(self.venue, name), truth_block(self, name, Timeframe.parse(timeframe), span))

    def listings(self) -> list[Listing]:
        """Every symbol, listed with its first bar."""
        return [Listing(Instrument(self.venue, s), listed_at=self.listed(s).start) for s in self.symbols]

    def listed_at(self, symbol: str | Instrument) -> int:
        """The open of the first bar, µs."""
        return self.listed(str(symbol).removeprefix(self.venue + ":")).start

    def delisted_at(self, symbol: str) -> int | None:
        """None: that the bars end does not say that trading did."""
        return None

    def halts(self, symbol: str) -> SpanSet:
        """None: what is absent from the bars is not explained here."""
        return SpanSet.of()

    def scale(self, symbol: str) -> Scale:
        """Decimals are not known of replayed bars: eight of each."""
        return Scale(MOST_DECIMALS, MOST_DECIMALS, MOST_DECIMALS)

    def _listed(self, symbol: str) -> Span:
        if symbol in self._given:
            return self._given[symbol]
        found = [self._ends(symbol, timeframe) for timeframe in Timeframe.ALL.values()]
        spans = [span for span in found if span]
        if not spans:
            return Span(LATEST, LATEST)
        return Span(min(s.start for s in spans), max(s.end for s in spans))

    def _ends(self, symbol: str, timeframe: Timeframe) -> Span | None:
        table = self.reader(Instrument(self.venue, symbol), timeframe, Span(EARLIEST, LATEST))
        if not table.height:
            return None
        ts = table["ts"].to_physical()
        return Span(int(ts.min()), int(ts.max()) + timeframe.micros)  # type: ignore[arg-type]  # a column of int64

    def _read(self, symbol: str, timeframe: Timeframe, day: int) -> Block:
        span = Span(day * DAY, day * DAY + DAY)
        table = self.reader(Instrument(self.venue, symbol), timeframe, span).sort("ts")
        if not table.height:
            return EMPTY
        values = np.vstack([_column(table, name) for name in COLUMNS])
        volume = values[VOLUME]
        price = np.divide(values[QUOTE], volume, out=np.zeros_like(volume), where=volume > 0)
        values[-1] = values[TAKER] * price  # the store does not keep it
        return _scaled(table["ts"].to_physical().to_numpy().astype(np.int64), values).cut(span)


def _column(table: pl.DataFrame, name: str) -> Floats:
    if name not in table.columns:
        return np.zeros(table.height)
    return table[name].fill_null(0.0).to_numpy().astype(np.float64)


def _scaled(ts: np.ndarray[tuple[int], np.dtype[np.int64]], values: Floats) -> Block:
    """With its decimals where all values have few enough, so that it prints fast."""
    values[-1] = np.round(values[-1], MOST_DECIMALS)
    price, volume, quote = (_decimals(values[rows]) for rows in ([0, 1, 2, 3], [4, 7], [5, 8]))
    if price is None or volume is None or quote is None:
        return Block(ts, values, None)
    return Block(ts, values, Scale(price, volume, quote))


def _decimals(values: Floats) -> int | None:
    """The fewest decimals with which every value reads back as itself; None when more than eight are needed."""
    for count in range(MOST_DECIMALS + 1):
        units = np.rint(values * 10.0**count)
        if (np.abs(units) < 2**50).all() and np.array_equal(units / 10.0**count, values):
            return count
    return None
