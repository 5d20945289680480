"""Other ways to look at the bars of a store, for building and reading features: as known at a time, or folded.

A view answers what ``FeatureStore`` asks of bars; what it keeps of features (and whether any) is said at each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import polars as pl

from gapless.bars import STORED
from gapless.folds import FOLDING, Market, fold
from gapless.protocols import Facts, FeatureStore, Segment
from gapless.segments import Piece, pieces
from gapless.series import Instrument, Series
from gapless.spans import DAY, LATEST, Span, SpanSet, Timeframe


class BarStore(FeatureStore, Protocol):
    """What the views need beyond ``FeatureStore``."""

    def bars(
        self, instruments: Sequence[Instrument] | None, timeframe: Timeframe, span: Span | None, *, as_of: int | None
    ) -> pl.DataFrame: ...

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]: ...


_S = TypeVar("_S", bound=FeatureStore)


class View(Generic[_S]):
    """A store seen differently; features go to it and come from it unless a subclass says otherwise."""

    def __init__(self, store: _S) -> None:
        self.store = store

    def present(self, timeframe: Timeframe) -> dict[str, SpanSet]:
        return self.store.present(timeframe)

    def pieces(self, timeframe: Timeframe, name: str, columns: Collection[str] = ()) -> Sequence[Piece]:
        rows = self.rows(timeframe, [name], None)
        return pieces(rows["ts"].to_physical().to_numpy(), rows["known_at"].to_physical().to_numpy(), timeframe)

    def state(self, name: str, series: Series, period: str) -> bytes | None:
        return self.store.state(name, series, period)

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        raise AssertionError("a view says how")

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        return self.store.segments(name, series)

    def stage_features(
        self, name: str, series: Series, segment: Segment, frame: pl.DataFrame, columns: Mapping[str, pl.DataType]
    ) -> Any:
        return self.store.stage_features(name, series, segment, frame, columns)

    def commit_features(
        self,
        name: str,
        timeframe: Timeframe,
        staged: Sequence[tuple[Series, Segment, Any]],
        columns: Mapping[str, pl.DataType],
    ) -> None:
        self.store.commit_features(name, timeframe, staged, columns)

    def read_features(
        self, name: str, timeframe: Timeframe, instrument: str, span: Span | None, columns: Mapping[str, pl.DataType]
    ) -> pl.DataFrame:
        return self.store.read_features(name, timeframe, instrument, span, columns)

    def remember_set(self, name: str, timeframe: Timeframe, features: Mapping[str, tuple[str, str]]) -> None:
        self.store.remember_set(name, timeframe, features)

    def feature_sets(self, timeframe: Timeframe) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        return self.store.feature_sets(timeframe)


class AsKnown(View[BarStore]):
    """The bars as they were known at a time. Nothing is stored for it: everything is computed."""

    def __init__(self, store: BarStore, as_of: int) -> None:
        super().__init__(store)
        self.as_of = as_of

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        chosen = None if names is None else [Instrument.parse(n) for n in names]
        return self.store.bars(chosen, timeframe, span, as_of=self.as_of).select(columns or list(STORED))

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        return {}

    def feature_sets(self, timeframe: Timeframe) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        return {}


class Adjusted(View[BarStore]):
    """The bars without the effect of corporate actions. Nothing is stored for it: everything is computed."""

    def __init__(self, store: BarStore, adjust: Callable[[Timeframe, pl.DataFrame], pl.DataFrame]) -> None:
        super().__init__(store)
        self.adjust = adjust

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        return self.adjust(timeframe, self.store.rows(timeframe, names, span)).select(columns or list(STORED))

    def bars(
        self, instruments: Sequence[Instrument] | None, timeframe: Timeframe, span: Span | None, *, as_of: int | None
    ) -> pl.DataFrame:
        return self.adjust(timeframe, self.store.bars(instruments, timeframe, span, as_of=as_of))

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]:
        return self.store.facts(timeframe, instruments)

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        return {}

    def feature_sets(self, timeframe: Timeframe) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        return {}


class Folded(View[BarStore]):
    """Longer bars that the store does not hold, folded from the longest shorter ones it does."""

    def __init__(self, store: BarStore, stored: Sequence[Timeframe], market: Callable[[str], Market]) -> None:
        super().__init__(store)
        self.stored, self.market = sorted(stored), market
        self._settled: dict[Timeframe, dict[str, SpanSet]] = {}

    def base(self, timeframe: Timeframe, name: str) -> Timeframe | None:
        """What the bars of an instrument are folded from; None where they are stored, or cannot be made."""
        if name in self.store.present(timeframe):
            return None
        shorter = [t for t in self.stored if t < timeframe and timeframe.micros % t.micros == 0]
        return next((t for t in reversed(shorter) if name in self.store.present(t)), None)

    def present(self, timeframe: Timeframe) -> dict[str, SpanSet]:
        """Stored bars; and of instruments that can be folded, that they can."""
        found = dict(self.store.present(timeframe))
        for shorter in self.stored:
            if shorter < timeframe and timeframe.micros % shorter.micros == 0:
                for name, spans in self.store.present(shorter).items():
                    found.setdefault(name, spans)
        return found

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        chosen = sorted(self.present(timeframe)) if names is None else names
        parts = [self._rows(timeframe, name, span, columns) for name in chosen]
        return pl.concat(parts) if parts else self.store.rows(timeframe, [], span, columns)

    def pieces(self, timeframe: Timeframe, name: str, columns: Collection[str] = ()) -> Sequence[Piece]:
        if self.base(timeframe, name) is None:
            return self.store.pieces(timeframe, name)
        return [piece.also(FOLDING) for piece in super().pieces(timeframe, name)]

    def _rows(self, timeframe: Timeframe, name: str, span: Span | None, columns: list[str] | None) -> pl.DataFrame:
        base = self.base(timeframe, name)
        if base is None:
            return self.store.rows(timeframe, [name], span, columns)
        around = None if span is None else Span(span.start - DAY, min(span.end + timeframe.micros + DAY, LATEST))
        market = self.market(Instrument.parse(name).venue)
        shorter = self.store.rows(base, [name], around)
        folded = fold(shorter, base, timeframe, market, settled=self._known(base, name))
        if span is not None:
            folded = folded.filter(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))
        return folded.select(columns or list(STORED))

    def _known(self, base: Timeframe, name: str) -> SpanSet:
        """Where the shorter bars are there, or known not to exist."""
        if base not in self._settled:
            self._settled[base] = {str(f.series.instrument): f.present | f.answered for f in self.store.facts(base)}
        return self._settled[base].get(name, SpanSet.of())
