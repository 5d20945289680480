"""From raw batches to the bar schema: decide once by the first batch, then convert each the same way."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from gapless.bars import EXTRAS, PRICES, TS, VALUES
from gapless.errors import InputError, UsageError
from gapless.series import Instrument
from gapless.sources import files_times
from gapless.sources.files_columns import close_time_only, key, map_columns, symbol_in
from gapless.sources.files_layout import Layout, ReadOptions
from gapless.sources.files_tables import Batch, Part, Table
from gapless.spans import DAY, SECOND, Timeframe

_PAIR = re.compile(r"([A-Z0-9]+)/([A-Z0-9]+)(?::[A-Z0-9]+)?")
_THOUSANDS = r"^\s*[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*$"

_CONTINENTAL = r"^\s*[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+\s*$"  # 1.234,5
_POINTS = r"^\s*[+-]?\d{1,3}(\.\d{3})+\s*$"  # 1.234 among such

# ---------------------------------------------------------------- deciding


def decide(table: Table, frame: pl.DataFrame, options: ReadOptions) -> Layout:
    """How to read a table, from its first rows and what the caller knows."""
    where = table.part.name
    columns = map_columns(table.names, options.columns, where)
    clock = _clock_column(columns, frame)
    sample = _time_text(frame, columns["ts"], clock, options.timeframe)
    times, remarks = files_times.choose(sample, columns["ts"], options, where)
    _check_label(columns["ts"], options, where)
    symbol, origin, said = _symbol(columns, table, options)
    comma = _decimal_comma(table, frame, columns)
    used = {*columns.values(), clock}
    ignored = tuple(name for name in table.names if name not in used)
    shaped = table.header is False or (table.header is None and table.format in ("json", "jsonl"))
    if shaped and options.columns is None:
        _check_order(frame, columns, where)
        said = (*said, f"no header: {len(table.names)} columns taken as {', '.join(table.names)}")
    return Layout(
        path=where,
        format=table.format,
        columns=columns,
        times=times,
        venue=options.venue,
        symbol=symbol,
        symbol_from=origin,
        clock=clock,
        separator=table.separator,
        header=table.header,
        decimal_comma=comma,
        ignored=ignored,
        notes=(*table.notes, *said, *remarks, *_ignored(ignored)),
    )


def _ignored(names: tuple[str, ...]) -> list[str]:
    adjusted = [name for name in names if key(name) in ("adjclose", "adjustedclose")]
    notes = [f"{name} is not used: bars are kept as traded, adjustments are a read policy" for name in adjusted]
    others = [name for name in names if name not in adjusted]
    return notes + ([f"columns not used: {', '.join(others)}"] if others else [])


def _clock_column(columns: Mapping[str, str], frame: pl.DataFrame) -> str | None:
    """The column with the time of day, where date and time stand apart."""
    if key(columns["ts"]) != "date":
        return None
    clock = next((name for name in frame.columns if key(name) == "time" and name not in columns.values()), None)
    if clock is None:
        return None
    some = frame[clock].cast(pl.String).drop_nulls().head(100).str.strip_chars()
    looks = some.str.contains(r"^(\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?|\d{1,6})$")
    return clock if len(some) and bool(looks.all()) else None


def _time_text(frame: pl.DataFrame, column: str, clock: str | None, timeframe: Timeframe) -> pl.Series:
    """The time column; date and time of day joined where they stand apart."""
    dates = frame[column]
    if clock is None or timeframe.micros >= DAY:
        return dates
    hours = frame[clock].cast(pl.String).str.strip_chars()
    bare = hours.str.contains(r"^\d{1,6}$").fill_null(False)
    padded = hours.str.zfill(6).str.replace(r"^(\d\d)(\d\d)(\d\d)$", "$1:$2:$3")
    days = dates.cast(pl.Date) if dates.dtype.is_temporal() else dates
    return days.cast(pl.String).str.strip_chars() + " " + hours.zip_with(~bare, padded)


def _check_label(column: str, options: ReadOptions, where: str) -> None:
    """A column named for one end of the bar must not be read as the other."""
    if options.columns and column in options.columns.values():
        return
    if close_time_only(column) and options.label != "close":
        raise UsageError(f"{where}: {column} holds the end of each bar.", hint="give --label close")
    if "open" in key(column) and options.label == "close":
        raise UsageError(
            f"{where}: {column} holds the open of each bar, but --label close was given.",
            hint=f"leave --label out, or insist with --columns ts={column}",
        )


def _symbol(columns: Mapping[str, str], table: Table, options: ReadOptions) -> tuple[str | None, str, tuple[str, ...]]:
    """The symbol of the whole table (None: a column says), where it is from, and what to tell."""
    if options.symbol is not None:
        return options.symbol, "--symbol", ()
    if "instrument" in columns:
        return None, f"column {columns['instrument']}", ()
    if table.symbol is not None:
        return _checked(table.symbol, options.venue, table.part), "the document", ()
    for stem in table.part.stems:
        if (named := symbol_in(stem, options.venue)).symbol is not None:
            return _checked(named.symbol, options.venue, table.part), "the file name", (named.note,)
    raise UsageError(
        f"{table.part.name}: no symbol: there is no symbol column and the file name states none.", hint="give --symbol"
    )


def _checked(symbol: str, venue: str, part: Part) -> str:
    try:
        return Instrument(venue, symbol).symbol
    except UsageError as error:
        raise UsageError(f"{part.name}: {error.message}", hint="give --symbol") from None


def _decimal_comma(table: Table, frame: pl.DataFrame, columns: Mapping[str, str]) -> bool:
    """Does the table write 1,5 for one and a half? Only asked where commas do not separate columns."""
    if table.format != "csv" or table.separator == ",":
        return False
    cells = pl.concat([frame[columns[name]].head(1000) for name in VALUES]).drop_nulls()
    commas = cells.filter(cells.str.contains(",", literal=True))
    points = cells.filter(cells.str.contains(".", literal=True) & ~cells.str.contains(",", literal=True))
    continental = bool(commas.str.contains(_CONTINENTAL).all()) and bool(points.str.contains(_POINTS).all())
    if not len(commas) or not continental:
        return False
    if bool(commas.str.contains(_THOUSANDS).all()):
        raise InputError(
            f"{table.part.name}: '{commas[0]}' may be a thousand or a fraction.", hint="export with a decimal point"
        )
    return True


def _check_order(frame: pl.DataFrame, columns: Mapping[str, str], where: str) -> None:
    """Columns taken by position must behave like open, high, low, close."""
    o, h, low, c = (numbers(frame[columns[name]].head(1000), False) for name in PRICES)
    finite = o.is_finite() & h.is_finite() & low.is_finite() & c.is_finite()
    telling = (finite & ((o != h) | (o != low) | (o != c))).fill_null(False)  # a flat bar is right in any order
    right = ((h >= o) & (h >= c) & (low <= o) & (low <= c)).filter(telling)
    if 2 * int(right.sum()) < len(right):
        raise InputError(
            f"{where}: there is no header, and columns 2 to 5 are not open, high, low, close.",
            hint="map the columns by position: --columns ts=column_1,open=column_2,…",
        )


# ---------------------------------------------------------------- converting


def bars(batch: Batch, layout: Layout, row: int) -> tuple[pl.DataFrame, list[str]]:
    """A batch in the bar schema with ``row`` and ``raw``, and remarks on optional cells that could not be read."""
    source, remarks = batch.frame, list[str]()
    text = _time_text(source, layout.columns["ts"], layout.clock, layout.times.timeframe)
    ts = files_times.bar_opens(text, layout.times).cast(TS)
    columns = {"instrument": _instruments(source, layout, row), "ts": ts}
    for name in (*VALUES, *EXTRAS):
        if name in layout.columns:
            columns[name] = numbers(source[layout.columns[name]], layout.decimal_comma)
    for name in EXTRAS:
        if name in columns:
            columns[name] = columns[name].fill_nan(None)
            remarks += _unread(source[layout.columns[name]], columns[name], name, row)
    frame = pl.DataFrame([series.alias(name) for name, series in columns.items()])
    frame = frame.with_columns(pl.int_range(row, row + frame.height, dtype=pl.Int64).alias("row"))
    return frame.with_columns(_raw(frame, batch, layout)), remarks


def numbers(column: pl.Series, decimal_comma: bool) -> pl.Series:
    """Float64; cells that are no numbers become null. Text may have spaces around it and commas between thousands."""
    if column.dtype == pl.Boolean or column.dtype.is_temporal():
        return pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    text = column.cast(pl.String)
    if decimal_comma:
        text = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    read = text.cast(pl.Float64, strict=False)
    if read.null_count() == text.null_count():
        return read
    left = text.set(read.is_not_null(), None).str.strip_chars()
    left = left.zip_with(~left.str.contains(_THOUSANDS).fill_null(False), left.str.replace_all(",", "", literal=True))
    return read.fill_null(left.cast(pl.Float64, strict=False))


def _unread(column: pl.Series, read: pl.Series, name: str, row: int) -> list[str]:
    """A remark where an optional cell holds text that is no number: the bar is kept, that cell is missing."""
    if column.dtype != pl.String or read.null_count() == column.null_count():
        return []
    words = ~column.str.strip_chars().str.to_lowercase().is_in(["", "null", "nan", "none", "na", "n/a", "-"])
    lost = (read.is_null() & column.is_not_null() & words).arg_true()
    if not len(lost):
        return []
    first = lost[0]
    return [
        f"{name}: {len(lost)} cell(s) are not numbers and were left out, first '{column[first]}' in row {row + first}"
    ]


def _instruments(source: pl.DataFrame, layout: Layout, row: int) -> pl.Series:
    """``VENUE:SYMBOL`` a row; null where the symbol is missing or not allowed."""
    column = layout.columns.get("instrument")
    if column is None:
        return pl.repeat(f"{layout.venue}:{layout.symbol}", source.height, dtype=pl.String, eager=True)
    return instruments_of(source[column], layout.venue, layout.symbol, row, layout.path)


def instruments_of(column: pl.Series, venue: str, symbol: str | None, row: int, path: str) -> pl.Series:
    """``VENUE:SYMBOL`` of each cell; null where the symbol is missing or not allowed.

    Raises UsageError for a row (the first is ``row``) of another symbol than ``symbol``, where that is given.
    """
    symbols = column.cast(pl.String)
    table = {text: _instrument(text, venue) for text in symbols.unique().drop_nulls().to_list()}
    names = symbols.replace_strict(table, default=None, return_dtype=pl.String)
    if symbol is None:
        return names
    wanted = f"{venue}:{symbol}"
    other = (symbols.is_not_null() & (names != wanted).fill_null(True)).arg_true()
    if len(other):
        raise UsageError(
            f"{path}: row {row + other[0]} is of symbol '{symbols[other[0]]}', but --symbol {symbol} was given.",
            hint="leave --symbol out: the symbols are taken from the column",
        )
    return names.fill_null(wanted)


def _instrument(text: str, venue: str) -> str | None:
    """The instrument a cell names; a pair (BTC/USDT) is written without its stroke, the venue's own prefix is known."""
    symbol = text.strip().removeprefix(venue + ":")
    if pair := _PAIR.fullmatch(symbol):
        symbol = pair[1] + pair[2]
    try:
        return str(Instrument(venue, symbol))
    except UsageError:
        return None


def _raw(frame: pl.DataFrame, batch: Batch, layout: Layout) -> pl.Series:
    """The text of the rows of which a needed cell is null."""
    needed = ["instrument", "ts", *VALUES]
    raw = pl.repeat(None, frame.height, dtype=pl.String, eager=True).alias("raw")
    if not any(frame[name].null_count() for name in needed):
        return raw
    bad = frame.select(pl.any_horizontal(pl.col(needed).is_null()))["instrument"].arg_true()
    return raw.scatter(bad, texts(batch, bad, layout.format, layout.separator))


def texts(batch: Batch, at: pl.Series, format: str, separator: str) -> pl.Series:  # noqa: A002 - a table's format
    """Some rows as they stand in the file, or as JSON where they are no text there."""
    rows = batch.frame[at]
    if format == "csv":
        cells = [pl.col(name).fill_null("") for name in rows.columns]
        text = rows.select(pl.concat_str(cells, separator=separator).alias("raw"))["raw"]
    else:
        text = rows.select(_printable(column) for column in rows).to_struct().struct.json_encode()
    return text if batch.torn is None else batch.torn[at].fill_null(text)


def _printable(column: pl.Series) -> pl.Series:
    """The column itself, or its numbers where it holds times so far off that polars would abort on printing them."""
    if column.dtype != pl.Date and not isinstance(column.dtype, pl.Datetime):
        return column
    return column if files_times.micros(column).null_count() == column.null_count() else column.to_physical()


# ---------------------------------------------------------------- does it look like the timeframe asked for?


def check_shape(frame: pl.DataFrame, layout: Layout, timeframe: Timeframe) -> None:
    """Refuse a table whose bars are plainly of another timeframe; its times would fit only by chance."""
    some = frame.select("instrument", "ts").head(5000).drop_nulls().unique().sort("instrument", "ts")
    steps = some.select(pl.col("ts").to_physical().diff().over("instrument").alias("step"))["step"].drop_nulls()
    if len(steps) < 20:
        return
    usual, share = _usual(steps)
    finer = usual < timeframe.micros and share > 0.5
    coarser = usual > timeframe.micros and share > 0.5 and bool((steps % usual == 0).all())
    monthly = timeframe.micros == DAY and bool((steps >= 7 * DAY).all())
    name = next((known for known, each in Timeframe.ALL.items() if each.micros == usual), None)
    if finer or coarser or monthly:
        length = name or (f"{usual // DAY} days" if usual >= DAY else f"{usual // SECOND} s")
        raise UsageError(
            f"{layout.path}: the bars lie {length} apart, but the timeframe given is {timeframe}.",
            hint=f"give --timeframe {name}" if name else f"gapless keeps {', '.join(Timeframe.ALL)}",
        )


def _usual(steps: pl.Series) -> tuple[int, float]:
    """The most frequent step and its share."""
    counted = steps.value_counts(sort=True)
    return int(counted["step"][0]), float(counted["count"][0]) / len(steps)
