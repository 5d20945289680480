"""Features of bar frames: a frame in, a frame out, nothing else touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from gapless.bars import as_polars
from gapless.errors import InputError, UsageError
from gapless.features.panel import Groups, Members, Panel, Population, on_all_cores
from gapless.features.planning import FeaturePlan, plan, run
from gapless.features.program import Floats, Ints
from gapless.features.registry import SESSION
from gapless.features.schema import gate
from gapless.spans import iso

DAY = 86_400_000_000
Frames = Mapping[str, pl.DataFrame]


def compute(
    bars: pl.DataFrame,
    features: Mapping[str, str],
    *,
    others: Frames | None = None,
    groups: Groups | None = None,
    members: Members | None = None,
    coverage: bool = False,
) -> pl.DataFrame:
    """Features of the bars: ``instrument`` (if there is one), ``ts``, then one column for each name.

    ``bars``: a polars, pandas or Arrow table: ``ts`` strictly increasing within each instrument, and the columns that
    the features read; rows keep their
    order. ``others``: frames of other series by ``VENUE:SYMBOL``, joined by equal ``ts``; an instrument that stands in
    ``bars`` need not be repeated. A value that is not known is NaN, never 0. Division by zero follows IEEE 754. Columns
    are Float64; votes and comparisons, which can only be -1, 0 or 1, are Int8, and null where not known.

    Features that compare instruments (``rank`` …) compare those of ``bars``. ``groups``: grouping → instrument → group,
    for ``by=``. ``members``: when each instrument belongs to the population (a SpanSet each); left out, all always do.
    ``coverage`` adds ``NAME_coverage`` to each of them: members with a value ÷ members expected at that time. Raises
    ExpressionError or UnknownName for a wrong expression, InputError for a frame that is not bars, SchemaViolation
    for values outside a feature's declared bounds, UsageError for options that no feature asks for.

    >>> bars = pl.DataFrame({"ts": pl.datetime_range(pl.date(2025, 1, 1), pl.date(2025, 1, 4), eager=True,
    ...     time_zone="UTC"), "close": [1.0, 2.0, 4.0, 4.0]})
    >>> compute(bars, {"fast": "sma(close, 2)"})["fast"].to_list()
    [nan, 1.5, 3.0, 4.0]
    """
    understood, bars = plan(features), as_polars(bars)
    ts = times(bars)
    joined = _sources(bars, ts, understood, {name: as_polars(frame) for name, frame in (others or {}).items()})
    inputs = {name: numbers(bars, name) for name in understood.inputs}
    if check_options(understood, groups, members, coverage):
        return _compare(bars, ts, understood, inputs, joined, (groups, members, coverage))
    outputs = np.empty((len(understood.names), bars.height))

    def one(instrument: str, rows: slice | Ints) -> None:
        _check_order(ts[rows], instrument)
        columns = {name: x[rows] for name, x in inputs.items()}
        columns |= {name: align(ts[rows], *source) for name, source in joined.items()}
        into = (outputs, int(rows.start)) if isinstance(rows, slice) else None
        values, _ = run(understood, columns, into=into)
        try_gate(understood, values, ts[rows], instrument)
        if into is None:
            for output, x in zip(outputs, values.values(), strict=True):
                output[rows] = x

    on_all_cores(one, dict(instruments(bars)))
    return _framed(bars, understood, dict(zip(understood.names, outputs, strict=True)))


def _framed(bars: pl.DataFrame, understood: FeaturePlan, outputs: Mapping[str, Floats]) -> pl.DataFrame:
    keys = [bars[name] for name in ("instrument", "ts") if name in bars.columns]
    return pl.DataFrame([*keys, *typed(understood, outputs)])


def typed(understood: FeaturePlan, outputs: Mapping[str, Floats]) -> list[pl.Series]:
    """Computed values as the columns that people get: small whole numbers have no NaN, so missing is null there."""
    return [_typed(name, x, understood.schema.get(name, pl.Float64())) for name, x in outputs.items()]


def _typed(name: str, x: Floats, kind: pl.DataType) -> pl.Series:
    if kind.is_float():
        return pl.Series(name, x)
    if np.isnan(x).any():
        return pl.Series(name, x).fill_nan(None).cast(kind)
    return pl.Series(name, x.astype(np.int8))


def check_options(understood: FeaturePlan, groups: Groups | None, members: Members | None, coverage: bool) -> bool:
    """Does any feature compare instruments? UsageError when none does and an option says how."""
    given = {"groups": groups is not None, "members": members is not None, "coverage": coverage}
    if not understood.crossing and any(given.values()):
        name = next(name for name, is_given in given.items() if is_given)
        raise UsageError(f"{name}: no feature compares instruments.", hint=f"leave {name} out, or use rank(x)")
    return bool(understood.crossing)


def _compare(
    bars: pl.DataFrame,
    ts: Ints,
    understood: FeaturePlan,
    inputs: dict[str, Floats],
    joined: dict[str, tuple[Ints, Floats]],
    options: tuple[Groups | None, Members | None, bool],
) -> pl.DataFrame:
    """Features that compare instruments, of a frame of several."""
    if "instrument" not in bars.columns:
        understood.refuse_crossing("computed from bars without a column instrument", "add it: VENUE:SYMBOL in each row")
    rows = dict(instruments(bars))
    for instrument, mine in rows.items():
        _check_order(ts[mine], instrument)
    columns = inputs | {name: align(ts, *source) for name, source in joined.items()}
    groups, members, coverage = options
    panel = Panel(understood, Population(rows, groups, members), coverage)
    values = panel.run(ts, rows, columns) if bars.height else dict.fromkeys(panel.names, np.empty(0))
    for instrument, mine in rows.items():
        part = {name: x[mine] for name, x in values.items()}
        try_gate(understood, part, ts[mine], instrument)
        for name, x in part.items():
            values[name][mine] = x
    return _framed(bars, understood, values)


def times(bars: pl.DataFrame) -> Ints:
    """``ts`` in microseconds since the epoch."""
    if "ts" not in bars.columns:
        raise InputError(
            f"column ts is missing; there are: {', '.join(bars.columns)}.", hint="ts is the bar's open time"
        )
    ts = bars["ts"]
    if ts.dtype != pl.Datetime:
        raise InputError(f"ts has type {ts.dtype}, not a time.", hint="cast it to Datetime('us', 'UTC')")
    if ts.null_count():
        raise InputError(f"ts is missing in {ts.null_count()} rows.", hint="drop them")
    stored = isinstance(ts.dtype, pl.Datetime) and ts.dtype.time_unit == "us"
    return (ts.to_physical() if stored else ts.dt.epoch("us")).to_numpy()


def numbers(bars: pl.DataFrame, name: str) -> Floats:
    """A column as float64, NaN where null; ``session`` is the UTC day where the bars have no such column."""
    if name == SESSION:
        return _sessions(bars)
    if name not in bars.columns:
        raise InputError(
            f"column {name} is missing; there are: {', '.join(bars.columns)}.",
            hint="a feature reads it; add the column",
        )
    if not bars[name].dtype.is_numeric() and bars[name].dtype != pl.Null:
        raise InputError(f"column {name} has type {bars[name].dtype}, not a number.", hint="cast it to Float64")
    column = bars[name].cast(pl.Float64)
    return (column.fill_null(np.nan) if column.null_count() else column).to_numpy()


def _sessions(bars: pl.DataFrame) -> Floats:
    """The trading day of each bar as a number: whatever the column holds, only its changes count."""
    if SESSION not in bars.columns:
        return (times(bars) // DAY).astype(np.float64)
    found = bars[SESSION].to_physical()
    if not found.dtype.is_numeric():
        raise InputError(f"column session has type {found.dtype}.", hint="give days as dates or numbers")
    return found.cast(pl.Float64).fill_null(np.nan).to_numpy()


def instruments(bars: pl.DataFrame) -> Iterator[tuple[str, slice | Ints]]:
    """Rows of each instrument in their order; a slice where they stand together."""
    if "instrument" not in bars.columns:
        yield "", slice(0, bars.height)
        return
    if bars["instrument"].null_count():
        raise InputError("instrument is missing in some rows.", hint="every row needs VENUE:SYMBOL, or drop the column")
    if not bars.height:
        return
    runs = bars["instrument"].rle().struct.unnest()
    if runs["value"].n_unique() == runs.height:
        ends = np.cumsum(runs["len"].to_numpy())
        for name, size, end in zip(runs["value"], runs["len"], ends, strict=True):
            yield str(name), slice(int(end) - size, int(end))
        return
    scattered = bars.select("instrument").with_row_index("row").group_by("instrument", maintain_order=True)
    for (name,), rows in scattered:
        yield str(name), rows["row"].to_numpy().astype(np.int64)


def _check_order(ts: Ints, instrument: str) -> None:
    wrong = np.flatnonzero(np.diff(ts) <= 0)
    if len(wrong):
        at = int(wrong[0])
        what = "stands twice" if ts[at] == ts[at + 1] else f"stands after {iso(int(ts[at]))}"
        raise InputError(
            f"{instrument + ': ' if instrument else ''}the bar {iso(int(ts[at + 1]))} {what} ({len(wrong)} such rows).",
            hint="sort by instrument and ts, and keep one row for each",
        )


def _sources(bars: pl.DataFrame, ts: Ints, understood: FeaturePlan, others: Frames) -> dict[str, tuple[Ints, Floats]]:
    """Times and values of every joined input column."""
    found: dict[str, tuple[Ints, Floats]] = {}
    unused = set(others) - {instrument for _, instrument in understood.others}
    if unused:
        raise InputError(f"others: {', '.join(sorted(unused))} is read by no feature.", hint="leave it out")
    own = dict(instruments(bars)) if understood.others and "instrument" in bars.columns else {}
    for column, instrument in understood.others if bars.height else ():  # no bars, nothing to join
        if instrument in others:
            frame = others[instrument]
            when, values = times(frame), numbers(frame, column)
        elif instrument in own:
            when, values = ts[own[instrument]], numbers(bars, column)[own[instrument]]
        else:
            raise InputError(
                f"the bars of {instrument} are missing, a feature reads {column}@{instrument}.",
                hint=f"pass others={{'{instrument}': frame}}",
            )
        _check_order(when, instrument)
        found[f"{column}@{instrument}"] = when, values
    return found


def align(ts: Ints, when: Ints, values: Floats) -> Floats:
    """Values at exactly ``ts``; NaN where that series has no bar. Both times strictly increasing."""
    if not len(when):
        return np.full(len(ts), np.nan)
    at = np.minimum(np.searchsorted(when, ts), len(when) - 1)
    return np.where(when[at] == ts, values[at], np.nan)


def try_gate(understood: FeaturePlan, values: dict[str, Floats], ts: Ints, instrument: str) -> dict[str, int]:
    """The schema's gate, with the instrument named in its error."""
    from gapless.errors import SchemaViolation

    try:
        return gate(values, understood.bounds, ts)
    except SchemaViolation as error:
        if instrument:
            error.message = f"{instrument}: {error.message}"
        raise
