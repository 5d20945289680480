"""Training sets that never look ahead.

1. Features are read point in time; each row carries ``available_at``.
2. The label is a feature computed on the bars ``horizon`` later; it carries ``label_at``, when it could be known.
3. A split at ``split`` purges training rows whose label is known only after it, and ``embargo`` bars after it.
4. A table joined from outside must say when each of its rows was known; it is joined as of that time, never later.

Anything that would let a row see its own future is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from gapless.errors import LeakError, UsageError
from gapless.spans import Timeframe


@dataclass(frozen=True)
class Shape:
    """What a data set is to be: rows of ``timeframe``; the label ``horizon`` bars ahead; ``embargo`` bars left out."""

    timeframe: Timeframe
    horizon: int
    embargo: int
    split: int | None

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise LeakError(
                f"a label {self.horizon} bars ahead is known with the features: it would be learned from itself.",
                hint="give a horizon of at least 1 bar",
            )
        if self.embargo < 0:
            raise UsageError(f"an embargo of {self.embargo} bars is no embargo.", hint="0 or more")
        if self.embargo and self.split is None:
            raise UsageError("an embargo needs a split.", hint="give split, or leave embargo out")


def assemble(rows: pl.DataFrame, label: pl.DataFrame, name: str, shape: Shape) -> pl.DataFrame:
    """Features with the label ``horizon`` bars later on, and with ``part`` where there is a split.

    ``rows`` and ``label`` have instrument, ts, available_at of the same bars. Rows with no known label are dropped.
    """
    ahead = label.sort("instrument", "ts").with_columns(
        pl.col(name).shift(-shape.horizon).over("instrument").alias("label"),
        pl.col("available_at").shift(-shape.horizon).over("instrument").alias("label_at"),
    )
    both = rows.join(ahead.select("instrument", "ts", "label", "label_at"), on=["instrument", "ts"], how="left")
    known = both.filter(pl.col("label_at").is_not_null() & pl.col("label").is_not_nan())
    return known.sort("instrument", "ts") if shape.split is None else _split(known, shape)


def _split(rows: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """train: label known before the split; test: from the embargo after it on; what lies between is left out."""
    assert shape.split is not None
    start = shape.split + shape.embargo * shape.timeframe.micros
    train = pl.col("label_at").to_physical() <= shape.split
    test = pl.col("ts").to_physical() >= start
    part = pl.when(train).then(pl.lit("train")).when(test).then(pl.lit("test")).alias("part")
    return rows.with_columns(part).filter(pl.col("part").is_not_null()).sort("instrument", "ts")


def join_known(rows: pl.DataFrame, other: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Columns of another table, each row with the last one known by the time its own features were.

    ``other`` needs ``available_at`` (UTC) and may have ``instrument``. Raises LeakError when it does not say when its
    rows were known.
    """
    if "available_at" not in other.columns:
        raise LeakError(
            f"the joined table ({', '.join(other.columns[:6])}) does not say when its rows were known.",
            hint="add a column available_at: the time at which each row could first have been read",
        )
    missing = [n for n in names if n not in other.columns]
    if missing:
        raise UsageError(f"the joined table has no column {missing[0]}.", hint=f"it has {', '.join(other.columns)}")
    by = "instrument" if "instrument" in other.columns else None
    keys = ["available_at", *([by] if by else [])]
    theirs = other.select(*keys, *names).with_columns(pl.col("available_at").cast(pl.Datetime("us", "UTC")))
    ordered = rows.with_row_index("_row").sort("available_at")
    joined = ordered.join_asof(
        theirs.sort("available_at"), on="available_at", by=by, strategy="backward", check_sortedness=False
    )
    return joined.sort("_row").drop("_row")


def check_names(features: Mapping[str, str]) -> None:
    """The columns a data set adds must be free."""
    taken = {"label", "label_at", "part", "available_at"} & features.keys()
    if taken:
        raise UsageError(
            f"a feature cannot be called {sorted(taken)[0]}.", hint="the data set has a column of that name"
        )
