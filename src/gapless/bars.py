"""The bar schema, and the check every row passes before it may be stored.

Columns of a bar frame: ``instrument`` (text, ``VENUE:SYMBOL``), ``ts`` (bar open, microseconds, UTC), ``open high low
close volume`` (Float64), and any of the optional columns in ``EXTRAS``. Extra columns that a source does not know are
absent from its frame and null in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from gapless.errors import InputError, UsageError
from gapless.spans import EARLIEST, Timeframe

TS = pl.Datetime("us", "UTC")
PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
EXTRAS = ("quote_volume", "trades", "taker_buy_volume", "open_interest", "funding_rate")
KEY = ("instrument", "ts")
SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "ts": TS,
    **{name: pl.Float64() for name in VALUES + EXTRAS},
}
# A stored row also says who said so, and since when gapless knows it.
STORED: dict[str, pl.DataType] = {**SCHEMA, "source": pl.String(), "known_at": TS}

# Columns a reader may add so that a refused row can be traced: its number in the file (1 = first) and its text.
TRACES: dict[str, pl.DataType] = {"row": pl.Int64(), "raw": pl.String()}

REASONS = {
    "bad_symbol": "the symbol is missing or has characters that no symbol has",
    "no_time": "the time is missing or cannot be read",
    "time_out_of_range": "the time lies before 1900 or in the future",
    "off_grid": "the time is not the open of a bar of this timeframe",
    "not_a_number": "a price is missing, NaN or infinite",
    "not_positive": "a price is zero or negative",
    "bad_volume": "the volume is missing, NaN, infinite or negative",
    "high_too_low": "the high lies below the open, the close or the low",
    "low_too_high": "the low lies above the open or the close",
}


@dataclass(frozen=True)
class Checked:
    """What ``check_bars`` found.

    ``clean``: valid rows, one per (instrument, ts), sorted. ``quarantined``: the other rows as they came, with a
    ``reason`` column (a key of ``REASONS``). ``duplicates``: surplus rows that say the same bar again.
    """

    clean: pl.DataFrame
    quarantined: pl.DataFrame
    duplicates: int


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the schema's columns, order and types, and any ``TRACES``; others are dropped, casts are strict.

    Raises InputError naming the missing or unreadable column.
    """
    missing = [name for name in ("instrument", "ts", *VALUES) if name not in frame.columns]
    if missing:
        raise InputError(
            f"column {', '.join(missing)} is missing; the table has: {', '.join(frame.columns)}.",
            hint="rename the columns, or map them with --columns open=Open,…",
        )
    if not frame.schema["ts"].is_temporal():
        raise InputError(f"ts has type {frame.schema['ts']}, not a time.", hint="make it a UTC datetime")
    if getattr(frame.schema["ts"], "time_zone", None) is None:
        raise InputError("ts has no time zone.", hint="say which: dt.replace_time_zone('UTC') or --tz")
    wanted = SCHEMA | TRACES
    try:
        typed = frame.select(pl.col(name).cast(kind) for name, kind in wanted.items() if name in frame.columns)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"a column cannot be read as numbers: {error}.", hint="check the column mapping") from None
    return typed.with_columns(pl.col(n).fill_nan(None) for n in EXTRAS if n in typed.columns)  # NaN would sort highest


def check_bars(frame: pl.DataFrame, timeframe: Timeframe, *, now: int, complete_by: str = "trades") -> Checked:
    """Split a conforming frame into valid bars and quarantined rows; keep one row per key.

    Of several valid rows with one key the one with the greatest ``complete_by`` column (then volume, then the later
    row) stands: snapshots of a forming bar grow until it is final. ``now`` is µs since the epoch; a bar must have
    opened by then.
    """
    frame = frame.with_columns(_reason(timeframe, now).alias("reason"))
    bad = frame.filter(pl.col("reason").is_not_null())
    good = frame if not bad.height else frame.filter(pl.col("reason").is_null())
    good = good.drop("reason", *TRACES, strict=False)
    unique = _one_per_key(good, complete_by)
    return Checked(unique, bad, good.height - unique.height)


def _reason(timeframe: Timeframe, now: int) -> pl.Expr:
    ts = pl.col("ts").to_physical()
    price = [pl.col(name) for name in PRICES]
    volume = pl.col("volume")
    top, bottom = pl.max_horizontal("open", "close", "low"), pl.min_horizontal("open", "close")
    rules = {
        "bad_symbol": pl.col("instrument").is_null(),
        "no_time": ts.is_null(),
        "time_out_of_range": (ts < EARLIEST) | (ts > now),
        "off_grid": (ts - timeframe.offset) % timeframe.micros != 0,
        "not_a_number": ~pl.all_horizontal(*(p.is_finite().fill_null(False) for p in price)),
        "not_positive": pl.min_horizontal(*price) <= 0,
        "bad_volume": ~(volume.is_finite() & (volume >= 0)).fill_null(False),
        "high_too_low": pl.col("high") < top,
        "low_too_high": pl.col("low") > bottom,
    }
    return pl.coalesce(*(pl.when(rule).then(pl.lit(name)) for name, rule in rules.items()))


def _one_per_key(frame: pl.DataFrame, complete_by: str) -> pl.DataFrame:
    """Sorted by key; of equal keys the most complete row."""
    if is_sorted_unique(frame):
        return frame
    by = [*KEY, *(name for name in (complete_by, "volume") if name in frame.columns)]
    ordered = frame.sort(by, maintain_order=True, nulls_last=False)
    return ordered.unique(subset=list(KEY), keep="last", maintain_order=True)


def is_sorted_unique(frame: pl.DataFrame) -> bool:
    """Strictly increasing by (instrument, ts)?"""
    if frame.height < 2:
        return True
    runs = frame.get_column("instrument").rle().struct  # names are compared once a run, not once a row
    names = runs.field("value")
    if not (names.slice(1) > names.head(len(names) - 1)).all():
        return False
    ts = frame.get_column("ts").to_physical().to_numpy()
    later = ts[1:] > ts[:-1]
    later[runs.field("len").to_numpy().cumsum()[:-1] - 1] = True  # the first of the next instrument
    return bool(later.all())


def empty() -> pl.DataFrame:
    """No bars, in the schema."""
    return pl.DataFrame(schema=SCHEMA)


def as_polars(table: Any) -> pl.DataFrame:
    """A polars, pandas or Arrow table as a polars frame; a pandas time index becomes ``ts``."""
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    kind = type(table).__module__.partition(".")[0]
    if kind == "pandas" and hasattr(table, "columns"):
        index = table.index
        if "ts" not in table.columns and getattr(index, "dtype", None) is not None and index.dtype.kind == "M":
            return pl.from_pandas(table.rename_axis("ts").reset_index())
        return pl.from_pandas(table.reset_index() if index.name else table)
    if kind == "pyarrow" and hasattr(table, "schema"):
        found = pl.from_arrow(table)
        if isinstance(found, pl.DataFrame):
            return found
    raise UsageError(f"a {type(table).__name__} is not a table of bars.", hint="give a polars, pandas or Arrow table")
