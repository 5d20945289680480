"""From a file's time column to bar opens: whole microseconds, UTC. What cannot be read becomes null, never a guess."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from gapless.errors import InputError, UsageError
from gapless.sources.files_formats import OFFSET, SAMPLE, formats_in, kin, number, numeric, stamp_in, strptime
from gapless.sources.files_layout import ReadOptions, Times
from gapless.spans import DAY, SECOND

_LIMIT = 250_000_000_000 * SECOND  # about the year 9900: beyond it polars cannot print a time, let alone convert one
_THURSDAY, _SATURDAY = 3, 5  # the epoch was a Thursday; Monday is 0


# ---------------------------------------------------------------- choosing


def choose(sample: pl.Series, column: str, options: ReadOptions, where: str) -> tuple[Times, tuple[str, ...]]:
    """How to read ``sample``'s column, and what to tell; raises InputError when it holds no times."""
    place = f"{where}: column {column}"
    times = _written(sample, Times("instant", options.timeframe, options.label or "open", options.tz), options, place)
    _refuse_dates(sample, times, place)
    if options.timeframe.micros < DAY:
        return times, tuple(_intraday_remarks(times, column))
    return _daily(sample, times, column, place)


def _written(sample: pl.Series, times: Times, options: ReadOptions, place: str) -> Times:
    """How the times are written, by the column's type, and by its content where it is text or numbers."""
    kind = sample.dtype
    if options.time_format and (kind == pl.String or kind.is_integer()):
        return _told(sample, times, options.time_format, place)
    if options.time_format:
        raise UsageError(f"{place} has type {kind}: a time format does not apply.", hint="leave --time-format out")
    if isinstance(kind, pl.Datetime):
        return replace(times, kind="naive" if kind.time_zone is None else "instant")
    if kind == pl.Date:
        return replace(times, kind="date")
    if kind.is_numeric():
        return _numbers(sample, times, place)
    if kind == pl.String:
        return _texts(sample, times, place)
    raise InputError(f"{place} has type {kind}, not a time.", hint="map the time with --columns ts=COLUMN")


def _told(sample: pl.Series, times: Times, form: str, place: str) -> Times:
    """The format the caller gave, which must read something."""
    some = sample.cast(pl.String).str.strip_chars().drop_nulls().head(SAMPLE)
    if not len(some) or strptime(some, form).null_count() == len(some):
        seen = f"'{some[0]}'" if len(some) else "no value"
        raise UsageError(f"{place}: {seen} does not fit the time format '{form}'.", hint="correct --time-format")
    return replace(times, kind="text", formats=(form,), offsets="%z" in form)


def _numbers(sample: pl.Series, times: Times, place: str) -> Times:
    """Epoch numbers, or dates written as numbers (20250501)."""
    digits = sample.drop_nulls()
    if sample.dtype.is_integer() and (stamp := stamp_in(digits.head(SAMPLE).cast(pl.String))):
        return replace(times, kind="text", formats=(stamp,))
    whole = digits.cast(pl.Float64, strict=False)
    whole = whole.filter(whole.is_finite())
    largest = number(whole.abs().max())
    if largest < 1e8:
        seen = ", ".join(str(v) for v in digits.head(3).to_list()) or "nothing"
        raise InputError(
            f"{place} holds {seen}: too small for seconds, ms, µs or ns since 1970.",
            hint="map the time with --columns ts=COLUMN",
        )
    return replace(times, kind="epoch", seconds=largest < 1e11, old=number(whole.min()) <= -1e11)


def _texts(sample: pl.Series, times: Times, place: str) -> Times:
    """Text times: numbers in text, or one of the known shapes."""
    texts = sample.str.strip_chars()
    texts = texts.filter(texts != "").drop_nulls()
    some = texts.head(SAMPLE)
    digits = some.filter(numeric(some))
    if 2 * len(digits) > len(some):
        if stamp := stamp_in(digits):
            return replace(times, kind="text", formats=(stamp,))
        return _numbers(texts.cast(pl.Float64, strict=False), times, place)
    formats, offsets = formats_in(texts, place)
    return replace(times, kind="text", formats=formats, offsets=offsets)


def _dateless(times: Times) -> bool:
    """Is a time only a date, by its type or by how it is written?"""
    bare = all("%H" not in form and "%I" not in form for form in times.formats)
    return times.kind == "date" or (times.kind == "text" and bare)


def _refuse_dates(sample: pl.Series, times: Times, place: str) -> None:
    """Dates without a time of day cannot label intraday bars."""
    if times.timeframe.micros < DAY and _dateless(times):
        raise InputError(
            f"{place} holds dates without a time of day ('{sample.drop_nulls()[0]}'), "
            f"the timeframe is {times.timeframe}.",
            hint="give --timeframe 1d, or map the column that holds the time with --columns ts=COLUMN",
        )


def _daily(sample: pl.Series, times: Times, column: str, place: str) -> tuple[Times, tuple[str, ...]]:
    """Whose date a daily bar gets, and whether end labels at midnight mean the day before.

    A midnight names its date, whatever the label. But where labels are closes and some fall on a weekend, they are
    the ends of bars: Saturday 00:00 ends Friday, and around-the-clock markets trade on Saturdays.
    """
    times = replace(times, zone=_zone(sample, times))
    if _dateless(times):
        return times, ()
    local = _wall_times(sample, times).drop_nulls()
    if local.n_unique() > 3 * (local // DAY).n_unique():
        raise UsageError(
            f"{place} holds several times a day, the timeframe is {times.timeframe}.",
            hint="give the timeframe these bars have, for example --timeframe 1m",
        )
    midnights = bool((local % DAY == 0).all())
    weekend = bool(((local // DAY + _THURSDAY) % 7 >= _SATURDAY).any())
    times = replace(times, ends=times.label == "close" and (weekend or not midnights))
    remarks = []
    if not midnights:
        remarks.append(f"{column} holds times of day: each {times.timeframe} bar gets its date in {times.zone}")
    if times.ends and midnights:
        remarks.append(f"{column} labels the end of the bar: midnight belongs to the day before")
    return times, tuple(remarks)


def _zone(sample: pl.Series, times: Times) -> str:
    """The zone whose calendar date names a daily bar: as given, else the column's own; UTC midnights are dates."""
    own = sample.dtype.time_zone if isinstance(sample.dtype, pl.Datetime) else None
    if times.kind in ("instant", "epoch"):
        at = _instants(sample, times).drop_nulls()
        if bool((at % DAY == 0).all()):
            return "UTC"
    return times.tz or own or "UTC"


def _intraday_remarks(times: Times, column: str) -> list[str]:
    """What was decided about zones that the caller did not say."""
    local = times.kind in ("naive", "text") and not times.offsets
    if local and times.tz is None:
        return [f"{column} carries no time zone and none was given: taken as UTC (--tz ZONE changes that)"]
    if times.tz is not None and not local:
        return [f"{column} holds absolute times: the time zone {times.tz} is not used"]
    return []


# ---------------------------------------------------------------- reading


def bar_opens(column: pl.Series, times: Times) -> pl.Series:
    """The bar opens of a time column, Int64 µs UTC; null where the cell holds no time, or one that does not exist.

    A local time inside a daylight-saving gap does not exist, one inside the repeated hour is not unique: both null.
    """
    if times.timeframe.micros >= DAY:
        return _dates(column, times)
    at = _instants(column, times)
    if times.label == "close":
        at = _to_open(at, times)
    return at


def _to_open(at: pl.Series, times: Times) -> pl.Series:
    """From a close to the open; a close written as the last millisecond or microsecond of the bar counts as its end."""
    rest = at % SECOND
    whole = at.set(rest >= SECOND - 1000, None)
    rounded = at - rest + SECOND
    return whole.fill_null(rounded) - times.timeframe.micros


def _dates(column: pl.Series, times: Times) -> pl.Series:
    """The session dates as 00:00 UTC; end-labelled weeks go back to their Monday."""
    local = _wall_times(column, times) - (1 if times.ends else 0)
    if times.label == "close" and times.timeframe.offset:
        return local - (local - times.timeframe.offset) % times.timeframe.micros
    return local - local % DAY


def _wall_times(column: pl.Series, times: Times) -> pl.Series:
    """Local µs of the zone whose date counts; text with an offset keeps the date it is written with."""
    if times.kind in ("instant", "epoch"):
        return _wall(_instants(column, times), times.zone)
    local, offset = _locals(column, times)
    if offset is None or times.tz is None:
        return local
    return _wall(local - offset, times.tz).fill_null(local)


def _instants(column: pl.Series, times: Times) -> pl.Series:
    """µs since the epoch, before any label shift."""
    if times.kind == "epoch":
        return _epoch(column, times)
    if times.kind == "instant":
        return micros(column)
    local, offset = _locals(column, times)
    utc = _to_utc(local, times.tz)
    return utc if offset is None else (local - offset).fill_null(utc)


def _locals(column: pl.Series, times: Times) -> tuple[pl.Series, pl.Series | None]:
    """Wall-clock µs, and the offset from UTC of the rows that state one (None when no row does)."""
    if times.kind in ("naive", "date"):
        return micros(column), None
    texts = column.cast(pl.String).str.strip_chars()
    if not times.offsets:
        return _parse(texts, times.formats), None
    if "%z" in times.formats[0]:  # polars has gone to UTC already
        at = _within(strptime(texts, times.formats[0]))
        return at, pl.zeros(len(at), dtype=pl.Int64, eager=True)
    suffix = texts.str.extract(r":\d{2}(?:\.\d+)?(?: [AaPp][Mm])?" + OFFSET)
    bare = texts.zip_with(suffix.is_null(), texts.str.replace(OFFSET, ""))
    return _parse(bare, times.formats), _offset(suffix)


def _parse(texts: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Each text by the first format that reads it."""
    read = strptime(texts, formats[0])
    for form in kin(formats)[1:]:
        if read.null_count() == texts.null_count():
            break
        left = read.is_null()
        read = read.fill_null(strptime(texts.set(~left, None), form))
    return _within(read)


def _offset(suffix: pl.Series) -> pl.Series:
    """Offsets in µs of Z, UTC, +05:30, -0400."""
    few = suffix.unique().drop_nulls().to_list()
    table = {text: _offset_of(text) for text in few}
    return suffix.replace_strict(table, default=None, return_dtype=pl.Int64)


def _offset_of(text: str) -> int:
    if text[0] not in "+-":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    return (1 if text[0] == "+" else -1) * (hours * 60 + minutes) * 60 * SECOND


def _epoch(column: pl.Series, times: Times) -> pl.Series:
    """Numbers since 1970 in µs: seconds, ms, µs or ns by each value's size.

    Integers are scaled exactly; floats, and text with a fraction or an exponent, to the nearest µs.
    """
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    floats = column.cast(pl.Float64, strict=False)
    near = _scaled(floats.fill_nan(None), times).round()
    near = near.set(near.abs() > _LIMIT, None).cast(pl.Int64)
    if column.dtype.is_float():
        return near
    exact = _scaled(column.cast(pl.Int64, strict=False), times)
    return _within(exact).fill_null(near) if exact.null_count() else _within(exact)


def _scaled(column: pl.Series, times: Times) -> pl.Series:
    """µs by size. Zero is how files write "no time"; below 1973 only where the file's other times say so."""
    value, size = pl.col("v"), pl.col("v").abs()
    least = 1 if times.seconds or times.old else 100_000_000
    thousandth = value // 1000 if column.dtype.is_integer() else value / 1000
    scaled = (
        pl.when(size >= 10**17).then(thousandth)
        .when(size >= 10**14).then(value)
        .when(size >= 10**11).then(value * 1000)
        .when(size >= least).then(value * (1000 if times.old else SECOND))
    )  # fmt: skip
    return column.alias("v").to_frame().select(scaled.alias("v"))["v"]


def micros(column: pl.Series) -> pl.Series:
    """Dates and datetimes of any unit in µs, without polars' conversion, which aborts on values out of range."""
    number = column.to_physical().cast(pl.Int64)
    if column.dtype == pl.Date:
        return _within(number.set(number.abs() > _LIMIT // DAY, None) * DAY)
    unit = column.dtype.time_unit if isinstance(column.dtype, pl.Datetime) else "us"
    if unit == "ns":
        return number // 1000
    if unit == "ms":
        return number.set(number.abs() > _LIMIT // 1000, None) * 1000
    return _within(number)


def _within(at: pl.Series) -> pl.Series:
    return at.set(at.abs() > _LIMIT, None)


def _to_utc(local: pl.Series, tz: str | None) -> pl.Series:
    if tz is None or tz == "UTC":
        return local
    zoned = local.cast(pl.Datetime("us")).dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    return zoned.to_physical()


def _wall(at: pl.Series, tz: str) -> pl.Series:
    if tz == "UTC":
        return at
    aware = at.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(tz)
    return aware.dt.replace_time_zone(None).to_physical()
