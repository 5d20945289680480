"""What a plan reads of stored bars: its own columns, and those of other series at the same times."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gapless.features.frames import align, numbers, times
from gapless.features.planning import FeaturePlan
from gapless.features.program import Floats
from gapless.protocols import FeatureStore
from gapless.spans import Span, Timeframe


def inputs(
    store: FeatureStore, plan: FeaturePlan, names: Sequence[str], timeframe: Timeframe, span: Span
) -> tuple[pl.DataFrame, dict[str, Floats]]:
    """The bars of instruments in ``span`` by (instrument, ts), and every column of the program; NaN where absent."""
    bars = store.rows(timeframe, names, span, ["instrument", "ts", *plan.inputs])
    columns = {column: numbers(bars, column) for column in plan.inputs}
    ts = times(bars)
    for other in sorted({instrument for _, instrument in plan.others}):
        wanted = [column for column, instrument in plan.others if instrument == other]
        theirs = store.rows(timeframe, [other], span, ["ts", *wanted])
        when = times(theirs)
        columns |= {f"{column}@{other}": align(ts, when, numbers(theirs, column)) for column in wanted}
    return bars, columns
