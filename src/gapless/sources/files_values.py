"""Values at times from files: the tables of ``files``, with a time and a value in each row.

1. Content tells the format, as for bars; a column's name tells the kind of values, unless the caller does.
2. Times are read as for bars, but they are moments: nothing is put on a grid. A time without a zone is of the caller's
   zone, else UTC. Binance's own open interest is moved to the moment of its snapshot (``binance_archive_values``).
3. A row that is none keeps its number and its text, with the reason; of what a table says in two ways none is believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gapless.bars import TS
from gapless.errors import InputError, UnknownName, UsageError
from gapless.sources import files_times
from gapless.sources.binance_archive_values import METRICS, snapshots_of
from gapless.sources.files import table_of
from gapless.sources.files_columns import NAMES, key, symbol_in
from gapless.sources.files_layout import ReadOptions
from gapless.sources.files_rows import instruments_of, numbers, texts
from gapless.sources.files_tables import Batch, Part, Table, parts
from gapless.spans import EARLIEST, LATEST, Timeframe
from gapless.values import AGES

_TIMES = ("calctime", "createtime", "fundingtime", "fundingtimestamp", *NAMES["ts"])
_VALUE = ("value", "val", "v", "rate")
_ROLES = ("ts", "value", "instrument")
_MINUTE = Timeframe.parse("1m")


@dataclass(frozen=True)
class ValueOptions:
    """What the caller knows about a file; None means: find out. ``columns``: of ts, value, instrument."""

    venue: str
    name: str | None = None
    symbol: str | None = None
    format: str = "auto"
    tz: str | None = None
    columns: Mapping[str, str] | None = None
    time_format: str | None = None

    @property
    def plain(self) -> ReadOptions:
        """The same as for bars."""
        return ReadOptions(
            self.venue, _MINUTE, self.symbol, self.format, self.tz, None, self.columns, time_format=self.time_format
        )


@dataclass(frozen=True)
class ValueReading:
    """The rows of one table: ``rows`` that are values (instrument, ts, value), and those that are none, with why."""

    name: str
    path: str
    rows: pl.DataFrame
    refused: pl.DataFrame
    twice: Mapping[str, int]  # rows of an instrument that say again what another one says
    notes: tuple[str, ...] = ()


def read_values(path: str | Path, options: ValueOptions) -> Iterator[ValueReading]:
    """Each table of a file, whole. Raises InputError or UsageError, naming the file and the fix."""
    for part in parts(Path(path)):
        yield _read(part, options)


def _read(part: Part, options: ValueOptions) -> ValueReading:
    table = table_of(part, options.plain)
    batches = [batch for batch in table.batches if batch.frame.height]
    if not batches:
        raise InputError(f"{part.name}: the table holds no rows.", hint="fetch or export it again")
    name, columns = _columns(table, options)
    symbol = None if "instrument" in columns else _symbol(part, options)
    sample = batches[0].frame[columns["ts"]]
    times, notes = files_times.choose(sample, columns["ts"], options.plain, part.name)
    frames, row = list[pl.DataFrame](), 1
    for batch in batches:
        ts = files_times.bar_opens(batch.frame[columns["ts"]], times)
        cells = batch.frame[columns["instrument"]] if symbol is None else None
        who = None if cells is None else instruments_of(cells, options.venue, options.symbol, row, part.name)
        frames.append(_rows(batch, table, columns["value"], who, f"{options.venue}:{symbol}", ts, row))
        row += batch.frame.height
    frame = pl.concat(frames)
    if key(columns["ts"]) == key(METRICS[0]) and key(columns["value"]) == key(METRICS[2]):
        frame = _at_snapshots(frame)
    return _parted(name, part.name, frame, notes)


def _parted(name: str, path: str, frame: pl.DataFrame, notes: tuple[str, ...]) -> ValueReading:
    """Step 3: the rows that are values, each once, and those that are none."""
    frame = frame.with_columns(_why().alias("reason"))
    frame = frame.with_columns(_contradicted())
    good = frame.filter(pl.col("reason").is_null()).select("instrument", pl.col("ts").cast(TS), "value")
    bad = frame.filter(pl.col("reason").is_not_null()).with_columns(pl.col("value").fill_nan(None))
    rows = good.unique().sort("instrument", "ts")
    twice = Counter(good["instrument"].to_list())
    twice.subtract(rows["instrument"].to_list())
    return ValueReading(name, path, rows, bad, twice, notes)


def _rows(
    batch: Batch, table: Table, value: str, who: pl.Series | None, whole: str, ts: pl.Series, row: int
) -> pl.DataFrame:
    """A batch as instrument, ts (µs), value, its rows' numbers and their text. ``whole``: whose, if no column says."""
    source = batch.frame
    told = numbers(source[value], False).alias("value")
    frame = pl.DataFrame([ts.cast(pl.Int64).alias("ts"), told]).with_columns(
        (pl.lit(whole, dtype=pl.String) if who is None else who).alias("instrument"),
        pl.int_range(row, row + source.height, dtype=pl.Int64).alias("row"),
    )
    every = pl.int_range(source.height, eager=True)
    return frame.with_columns(texts(batch, every, table.format, table.separator).alias("raw"))


def _at_snapshots(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of the archive's open interest, each at the moment it was taken."""
    told = frame["ts"].is_not_null()
    if not told.any():
        return frame
    moved = pl.Series(snapshots_of(frame["ts"].filter(told).to_numpy()))
    return frame.with_columns(frame["ts"].clone().scatter(told.arg_true(), moved))


def _why() -> pl.Expr:
    """Why a row is no value; null where it is one."""
    return (
        pl.when(pl.col("instrument").is_null())
        .then(pl.lit("bad_symbol"))
        .when(pl.col("ts").is_null())
        .then(pl.lit("no_time"))
        .when(~pl.col("ts").is_between(EARLIEST, LATEST, closed="left"))
        .then(pl.lit("time_out_of_range"))
        .when(~pl.col("value").is_finite().fill_null(False))
        .then(pl.lit("no_value"))
    )


def _contradicted() -> pl.Expr:
    """The reason of rows that say another value of the same time than others."""
    good = pl.col("reason").is_null()
    differ = pl.col("value").filter(good).n_unique().over("instrument", "ts") > 1
    return pl.when(good & differ).then(pl.lit("two_values")).otherwise(pl.col("reason")).alias("reason")


# ---------------------------------------------------------------- which column means what


def _columns(table: Table, options: ValueOptions) -> tuple[str, dict[str, str]]:
    """The kind of values, and the columns of a table by role."""
    where, names = table.part.name, table.names
    found = _given(names, options.columns or {}, where)
    kinds = [kind for kind in AGES if _pick(NAMES[kind], names)]
    if options.name is None and len(kinds) != 1:
        told = f"both {' and '.join(kinds)}" if kinds else "no column that says what they are"
        raise UsageError(f"{where}: the table has {told}: {', '.join(names)}.", hint=f"give --name {'|'.join(AGES)}")
    name = options.name or kinds[0]
    wanted = {"ts": _TIMES, "value": (*NAMES[name], *_VALUE), "instrument": NAMES["instrument"]}
    for role in _ROLES:
        if role not in found and (column := _pick(wanted[role], names)) is not None:
            found[role] = column
    missing = [role for role in ("ts", "value") if role not in found]
    if missing:
        raise InputError(
            f"{where}: no column for {' and '.join(missing)}; the columns are: {', '.join(names)}.",
            hint="map them: --columns " + ",".join(f"{role}=COLUMN" for role in missing),
        )
    return name, found


def _given(names: Sequence[str], given: Mapping[str, str], where: str) -> dict[str, str]:
    for role, column in given.items():
        if role not in _ROLES:
            raise UnknownName("column of values", role, _ROLES)
        if column not in names:
            unknown = UnknownName("column", column, names)
            raise InputError(f"{where}: {unknown.message}", hint=unknown.hint)
    return dict(given)


def _pick(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    by_key = {key(name): name for name in reversed(names)}
    return next((by_key[one] for one in wanted if one in by_key), None)


def _symbol(part: Part, options: ValueOptions) -> str:
    """The symbol of a whole table: as given, else from a file's name, also as the archive writes it."""
    if options.symbol is not None:
        return options.symbol
    for stem in part.stems:
        for mark in ("-fundingRate-", "-metrics-"):
            if mark in stem:
                return stem.partition(mark)[0]
        if (symbol := symbol_in(stem, options.venue).symbol) is not None:
            return symbol
    raise UsageError(
        f"{part.name}: no symbol: there is no symbol column and the file name states none.", hint="give --symbol"
    )
