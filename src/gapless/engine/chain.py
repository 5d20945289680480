"""One series of one set: its stretches in order, those that stand and those that must be computed.

1. A series' bars are cut into stretches (segments.py). Each is described by a digest of the bars it consumes (their
   times, and when each was learned, of this series and of every other one it joins) and a digest of the state it
   begins with. Digests of bars are noted when files are made.
2. A stretch whose two digests are those it was built with is left alone: its rows and the state after it stand.
3. Any other is computed from the state before it, which is at hand, or kept, or carried on from the last one kept.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import polars as pl

from gapless.engine.inputs import inputs
from gapless.engine.parts import set_name
from gapless.errors import LakeDamaged
from gapless.features.frames import times, try_gate, typed
from gapless.features.planning import FeaturePlan, run
from gapless.features.program import Floats
from gapless.protocols import FeatureStore, Segment
from gapless.segments import Piece, Stretch, stretches
from gapless.series import Series
from gapless.spans import LATEST, Span

Pieces = Callable[[str, Sequence[str]], Sequence[Piece]]  # of an instrument, as far as these columns are read


class Chain:
    """A walk over the stretches of one series; ``clipped`` and ``seconds`` say what it took.

    ``joined`` gives the pieces of a series that is joined, where many chains join the same ones. What it says may be
    older than the bars that are read, never newer: then the next walk finds a change that was already there.
    """

    def __init__(self, store: FeatureStore, plan: FeaturePlan, series: Series, joined: Pieces | None = None) -> None:
        self.store, self.plan, self.series, self.name = store, plan, series, set_name(plan)
        self.pieces_of = joined or partial(store.pieces, series.timeframe)
        self.clipped: dict[str, int] = {}
        self.seconds = dict.fromkeys(("read", "compute", "check"), 0.0)
        self.known = store.segments(self.name, series)

    def stretches(self) -> list[Stretch]:
        """The stretches of all bars there are, as far as possible those that it was built in."""
        timeframe = self.series.timeframe
        mine = self.store.pieces(timeframe, str(self.series.instrument), self.plan.inputs)
        read: dict[str, tuple[str, ...]] = {}
        for column, name in sorted(self.plan.others):
            read[name] = (*read.get(name, ()), column)
        others = [self.pieces_of(name, read[name]) for name in sorted(read)]
        return stretches(mine, others, timeframe, self.known)

    def stands(self, stretch: Stretch, before: str) -> Segment | None:
        """The segment of a stretch, where nothing has changed since it was built."""
        old = self.known.get(stretch.period)
        return old if old is not None and (old.digest, old.before) == (stretch.digest, before) else None

    def walk(self, until: int = LATEST) -> Iterator[tuple[Segment, pl.DataFrame | None]]:
        """Segments that begin before ``until`` in order; with rows where computed, None where they stand."""
        with self._timed("read"):
            found = self.stretches()
        before, state, at_hand = "", None, True  # the state before the next stretch, and whether it is in memory
        for k, stretch in enumerate(found):
            if stretch.span.start >= until:
                return
            old = self.stands(stretch, before)
            if old is not None:
                yield old, None
                before, state, at_hand = old.after, None, False
                continue
            if not at_hand:
                state = self._state_after(found[:k], before)
            rows, state = self.compute(stretch.span, state)
            after, at_hand = short(state), True
            yield Segment(stretch.period, stretch.last, stretch.digest, before, after, state), rows
            before = after

    def _state_after(self, done: Sequence[Stretch], wanted: str) -> bytes | None:
        """The state after standing segments: the newest that is kept, carried on over those after it."""
        state, start = None, 0
        for k in range(len(done) - 1, -1, -1):
            state = self.store.state(self.name, self.series, done[k].period)
            if state is not None:
                start = k + 1
                break
        for stretch in done[start:]:
            *_, state = self._values(stretch.span, state)
        if short(state) != wanted:
            raise LakeDamaged(
                f"the features of {self.series} in {self.name} do not follow from its bars.",
                hint="gapless features verify shows where",
            )
        return state

    def compute(self, span: Span, state: bytes | None) -> tuple[pl.DataFrame, bytes]:
        """Feature rows of the bars in ``span``, continuing from ``state``; gated."""
        bars, values, after = self._values(span, state)
        with self._timed("check"):
            for feature, count in try_gate(self.plan, values, times(bars), str(self.series.instrument)).items():
                self.clipped[feature] = self.clipped.get(feature, 0) + count
        return pl.DataFrame([bars["instrument"], bars["ts"], *typed(self.plan, values)]), after

    def _values(self, span: Span, state: bytes | None) -> tuple[pl.DataFrame, dict[str, Floats], bytes]:
        with self._timed("read"):
            bars, columns = inputs(self.store, self.plan, [str(self.series.instrument)], self.series.timeframe, span)
        with self._timed("compute"):
            return bars, *run(self.plan, columns, state)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - begin


def short(state: bytes | None) -> str:
    """The digest of a state."""
    return "" if state is None else hashlib.sha256(state).hexdigest()[:32]
