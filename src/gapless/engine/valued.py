"""Bars with the values beside them: where a bar has no funding rate or open interest of its own, the newest known.

Laid over all other views, so that a longer bar, stored or folded, gets what was known at its own open. Nothing of it is
stored with the bars; features built of it know which values they consumed (values.py), and are stale when these change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl

from gapless.engine.barrier import FIELDS, Moment
from gapless.engine.views import View
from gapless.protocols import FeatureStore, LiveStore
from gapless.segments import Piece
from gapless.spans import Span, Timeframe
from gapless.values import AGES, consumed, joined

Reader = Callable[[str, Sequence[str] | None, Span | None], pl.DataFrame]  # (name, instruments, span) → values


class ValueStore(Protocol):
    """Where values are kept."""

    def read(
        self, name: str, instruments: Sequence[str] | None = None, span: Span | None = None, *, as_of: int | None = None
    ) -> pl.DataFrame: ...


def reader(values: ValueStore, *, as_of: int | None = None) -> Reader:
    """Stored values, as known at a time if one is given."""
    return partial(values.read, as_of=as_of)


class Valued(View[FeatureStore]):
    """Built features go to the store and come from it: their digests cover the values they read."""

    def __init__(self, store: FeatureStore, values: Reader) -> None:
        super().__init__(store)
        self.values = values

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        wanted = [name for name in AGES if columns is None or name in columns]
        if not wanted:
            return self.store.rows(timeframe, names, span, columns)
        needed = None if columns is None else [*dict.fromkeys(("instrument", "ts", *columns))]
        found = filled(self.store.rows(timeframe, names, span, needed), self.values, wanted)
        return found.select(columns) if columns is not None else found

    def pieces(self, timeframe: Timeframe, name: str, columns: Collection[str] = ()) -> Sequence[Piece]:
        found = self.store.pieces(timeframe, name, columns)
        for kind in AGES:
            if kind in columns and found:
                reach = Span(found[0].first - AGES[kind], found[-1].last + 1)
                told = self.values(kind, [name], reach)
                when, known_at = (told[n].to_physical().to_numpy() for n in ("ts", "known_at"))
                found = consumed(found, kind, when, known_at)
        return found


def filled(bars: pl.DataFrame, values: Reader, wanted: Collection[str] = tuple(AGES)) -> pl.DataFrame:
    """Bars sorted by (instrument, ts), with the wanted columns joined where they have none of their own."""
    for name in wanted:
        lacking = bars.height if name not in bars.columns else bars[name].null_count()
        if lacking:
            ts = bars["ts"].to_physical()
            reach = Span(int(ts.min()) - AGES[name], int(ts.max()) + 1)  # type: ignore[arg-type]
            told = values(name, bars["instrument"].unique().to_list(), reach)
            bars = joined(bars, told, name) if told.height else bars
    return bars


class LiveValues(ValueStore, Protocol):
    """Where values are kept, for those who decide as they come."""

    def latest(self, name: str, instruments: Sequence[str], at: int, since: int) -> dict[str, float]: ...

    def learned(self, names: Collection[str], instruments: Sequence[str], since: int) -> int | None: ...


class LiveView(Valued):
    """What a desk that reads ``kinds`` sees: bars as stored or heard, with the values beside them.

    Bars that are stored, and moments that are remembered, stay without: they are filled when they are looked at.
    """

    def __init__(self, store: LiveStore, values: LiveValues, kinds: Collection[str]) -> None:
        super().__init__(store, reader(values))
        self.bars, self.told, self.kinds = store, values, [kind for kind in AGES if kind in kinds]

    def learned(self, timeframe: Timeframe, names: Sequence[str], since: int, made: float, upto: int) -> int | None:
        """As ``LiveStore.learned``, of values too: from the first bar that may read what came."""
        found = [self.bars.learned(timeframe, names, since, made, upto)]
        found.append(self.told.learned(self.kinds, names, since) if self.kinds else None)
        return min((ts for ts in found if ts is not None and ts <= upto), default=None)

    def moment(self, moment: Moment, instruments: Sequence[str]) -> Moment:
        """The moment with the newest values known at its open, where its bars have none."""
        values = moment.values
        for kind in self.kinds:
            told = self.told.latest(kind, instruments, moment.ts, moment.ts - AGES[kind])
            row = FIELDS.index(kind)
            newest = np.array([told.get(name, np.nan) for name in instruments])
            values = values.copy() if values is moment.values else values
            values[row] = np.where(moment.present & np.isnan(values[row]), newest, values[row])
        return moment if values is moment.values else replace(moment, values=values)
