"""Features that compare instruments, read from a lake: nothing of them is stored, so nothing of them can be stale.

1. The population is the instruments of the call; what does not compare them is read as ever (build.py).
2. Their bars are walked together, a window of time after the other, so that memory holds one window. Each window goes
   through the panel from the states that the one before left: the same bits as all at once.
3. The walk begins at the first bar; or, where every stage has a finite memory, as far before the span as the stages
   reach, the last stage first: what it reads of the stage before must have been computed there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gapless.engine import build
from gapless.engine.inputs import inputs
from gapless.features import plan as understand
from gapless.features.frames import check_options, instruments, times, try_gate, typed
from gapless.features.panel import Groups, Members, Panel, Population
from gapless.features.planning import FeaturePlan
from gapless.features.program import Floats
from gapless.protocols import FeatureStore
from gapless.series import Instrument
from gapless.spans import EARLIEST, LATEST, Span, Timeframe

_WINDOW_ROWS = 1_000_000


@dataclass(frozen=True)
class Scope:
    """How instruments are compared: the known groupings, when each is a member, and whether coverage is wanted."""

    groups: Groups | None = None
    members: Members | None = None
    coverage: bool = False


def read(
    store: FeatureStore,
    features: Mapping[str, str],
    wanted: Sequence[Instrument] | None,
    timeframe: Timeframe,
    span: Span | None,
    scope: Scope,
) -> pl.DataFrame:
    """Feature rows by (instrument, ts), of features that compare instruments and of those that do not."""
    whole = understand(features)
    if not check_options(whole, None, scope.members, scope.coverage):
        return build.read(store, features, wanted, timeframe, span)
    present = store.present(timeframe)
    names = sorted(present) if wanted is None else sorted({str(i) for i in wanted})
    crossing = understand({name: whole.expression(name) for name in whole.crossing})
    panel = Panel(crossing, Population(names, scope.groups, scope.members), scope.coverage)
    rows = _walk(store, panel, [name for name in names if name in present], timeframe, span)
    alone = {name: whole.expression(name) for name in whole.names if name not in whole.crossing}
    if alone:
        own = build.read(store, alone, wanted, timeframe, span)
        rows = own.join(rows, on=["instrument", "ts"], how="left", maintain_order="left")
        floats = [name for name in panel.names if rows.schema[name].is_float()]
        rows = rows.with_columns(pl.col(name).fill_null(np.nan) for name in floats)
    coverage = [name for name in panel.names if name not in crossing.names]
    return rows.select("instrument", "ts", *whole.names, *coverage)


def _walk(
    store: FeatureStore, panel: Panel, names: Sequence[str], timeframe: Timeframe, span: Span | None
) -> pl.DataFrame:
    """Steps 2 and 3: the rows of the span."""
    inside = Span(EARLIEST, LATEST) if span is None else span
    states: dict[str, Floats] = {}
    values = dict.fromkeys(panel.names, pl.Float64()) | panel.plan.schema
    schema = {"instrument": pl.String(), "ts": pl.Datetime("us", "UTC"), **values}
    parts = [pl.DataFrame(schema=schema)]
    for window in _windows(store, panel.plan, names, timeframe, inside):
        rows = _window(store, panel, names, timeframe, window, states)
        if window.end > inside.start:
            parts.append(rows.filter(pl.col("ts").to_physical() >= inside.start))
    return pl.concat(parts).sort("instrument", "ts")


def _windows(
    store: FeatureStore, plan: FeaturePlan, names: Sequence[str], timeframe: Timeframe, inside: Span
) -> Iterator[Span]:
    """The stretches of time to walk, each of about as many rows as memory should hold."""
    present = store.present(timeframe)
    hulls = [hull for hull in (present[name].hull for name in names) if hull]
    if not hulls:
        return
    first = timeframe.floor(min(hull.start for hull in hulls)) - timeframe.micros  # a folded bar may open earlier
    start = max(first, _reach(store, plan, names, timeframe, inside))
    end = min(max(hull.end for hull in hulls), inside.end)
    size = max(_WINDOW_ROWS // len(names), 1) * timeframe.micros
    yield from (Span(at, min(at + size, end)) for at in range(start, end, size))


def _reach(store: FeatureStore, plan: FeaturePlan, names: Sequence[str], timeframe: Timeframe, inside: Span) -> int:
    """Where the walk may begin: step 3, by whole pieces of the store."""
    memories = [part.memory for part in plan.stages.parts]
    if None in memories or inside.start == EARLIEST:
        return EARLIEST
    pieces = [store.pieces(timeframe, name) for name in names]
    start = inside.start
    for memory in reversed(memories):
        earliest = start
        for own in pieces:
            needed = (memory or 1) - 1
            for piece in reversed(own if own and own[-1].last >= start else ()):
                if piece.first < start and needed > 0:
                    earliest = min(earliest, piece.first)
                    needed -= piece.bars if piece.last < start else 0
        start = earliest
    return start


def _window(
    store: FeatureStore,
    panel: Panel,
    names: Sequence[str],
    timeframe: Timeframe,
    window: Span,
    states: dict[str, Floats],
) -> pl.DataFrame:
    """The rows of one window, from the states before it, which become those after it."""
    bars, columns = inputs(store, panel.plan, names, timeframe, window)
    ts = times(bars)
    rows = dict(instruments(bars))
    values = panel.run(ts, rows, columns, states)
    for name, mine in rows.items():
        part = {column: x[mine] for column, x in values.items()}
        try_gate(panel.plan, part, ts[mine], name)
        for column, x in part.items():
            values[column][mine] = x
    return bars.select("instrument", "ts").with_columns(typed(panel.plan, values))
