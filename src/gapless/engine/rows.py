"""Bars between their forms: rows of a store, bars as heard, and the moments of a barrier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from gapless.bars import TS
from gapless.engine.barrier import FIELDS, Moment
from gapless.protocols import Heard
from gapless.series import Instrument
from gapless.spans import Timeframe


def moments(rows: pl.DataFrame, instruments: Sequence[str]) -> Iterator[Moment]:
    """Stored bars of these instruments, bar time by bar time."""
    number = pl.DataFrame({"instrument": list(instruments), "who": np.arange(len(instruments))})
    ordered = rows.join(number, on="instrument", how="inner").sort("ts")
    ts = ordered["ts"].to_physical().to_numpy()
    who = ordered["who"].to_numpy()
    values = np.stack([ordered[name].fill_null(np.nan).to_numpy() for name in FIELDS])
    edges = np.flatnonzero(np.concatenate(([True], ts[1:] != ts[:-1], [True]))) if len(ts) else np.array([0])
    for a, b in pairwise(edges):
        moment = Moment(
            int(ts[a]), np.zeros(len(instruments), dtype=np.bool_), np.full((len(FIELDS), len(instruments)), np.nan)
        )
        moment.present[who[a:b]] = True
        moment.values[:, who[a:b]] = values[:, a:b]
        yield moment


def bars_frame(instruments: Sequence[str], moment: Moment) -> pl.DataFrame:
    """The bars of a moment as rows, by instrument."""
    there = np.flatnonzero(moment.present)
    there = there[np.argsort(np.array([instruments[int(i)] for i in there]))] if len(there) else there
    data: dict[str, Any] = {"instrument": [instruments[int(i)] for i in there], "ts": np.full(len(there), moment.ts)}
    data |= {name: moment.values[k, there] for k, name in enumerate(FIELDS)}
    return pl.DataFrame(data).with_columns(pl.col("ts").cast(TS))


def heard_frame(bars: Iterable[Heard]) -> pl.DataFrame:
    """Bars as they were heard, as rows."""
    rows = [(bar.instrument, bar.ts, *bar.values, *[None] * (len(FIELDS) - len(bar.values))) for bar in bars]
    schema = {"instrument": pl.String, "ts": pl.Int64, **dict.fromkeys(FIELDS, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("ts").cast(TS))


def rows_heard(rows: pl.DataFrame, timeframe: Timeframe) -> list[Heard]:
    """Stored rows as if they had been heard."""
    values = rows.select(pl.col(name).fill_null(np.nan) for name in FIELDS).rows()
    keys = zip(rows["instrument"], rows["ts"].to_physical(), values, strict=True)
    return [Heard(str(Instrument.parse(name)), timeframe.name, ts, row, True, 0) for name, ts, row in keys]
