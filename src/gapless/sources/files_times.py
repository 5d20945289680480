"""From a file's time column to bar opens: whole microseconds, UTC. What cannot be read becomes null, never a guess."""

from __future__ import annotations

import re
from collections import Counter

import polars as pl

from gapless.errors import InputError
from gapless.sources.files_layout import ReadOptions, Times
from gapless.spans import DAY, SECOND

_LIMIT = 250_000_000_000 * SECOND  # about the year 9900: beyond it polars cannot print a time, let alone convert one
_SAMPLE = 1000

# The shape of a date → its format. Two formats: which of them it is shows only where a day is greater than 12.
_SHAPES: dict[str, tuple[str, ...]] = {
    r"\d{4}-\d{1,2}-\d{1,2}": ("%Y-%m-%d",),
    r"\d{4}/\d{1,2}/\d{1,2}": ("%Y/%m/%d",),
    r"\d{4}\.\d{1,2}\.\d{1,2}": ("%Y.%m.%d",),
    r"\d{8}": ("%Y%m%d",),
    r"\d{1,2}\.\d{1,2}\.\d{4}": ("%d.%m.%Y",),
    r"\d{1,2}/\d{1,2}/\d{4}": ("%m/%d/%Y", "%d/%m/%Y"),
    r"\d{1,2}/\d{1,2}/\d{2}": ("%m/%d/%y", "%d/%m/%y"),
    r"\d{1,2}-\d{1,2}-\d{4}": ("%m-%d-%Y", "%d-%m-%Y"),
    r"\d{1,2}-[A-Za-z]{3}-\d{2}": ("%d-%b-%y",),
    r"\d{1,2}-[A-Za-z]{3}-\d{4}": ("%d-%b-%Y",),
    r"\d{1,2} [A-Za-z]{3} \d{4}": ("%d %b %Y",),
    r"[A-Za-z]{3} \d{1,2}, \d{4}": ("%b %d, %Y",),
    r"[A-Za-z]{4,9} \d{1,2}, \d{4}": ("%B %d, %Y",),
}
_CLOCKS = {
    r"\d{1,2}:\d{2}:\d{2}(\.\d+)?": "%H:%M:%S%.f",
    r"\d{1,2}:\d{2}": "%H:%M",
    r"\d{1,2}:\d{2}:\d{2} [AaPp][Mm]": "%I:%M:%S %p",
    r"\d{1,2}:\d{2} [AaPp][Mm]": "%I:%M %p",
    r"\d{6}": "%H%M%S",
    r"\d{4}": "%H%M",
}
_OFFSET = r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})$"
_TEXT = re.compile(
    rf"(?P<date>{'|'.join(f'(?:{s})' for s in _SHAPES)})"
    rf"(?:(?P<sep>[T ])(?P<clock>\d[\d:.]*(?: [AaPp][Mm])?)(?P<off>{_OFFSET[:-1]})?)?"
)
_STAMPS = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


# ---------------------------------------------------------------- choosing


def choose(sample: pl.Series, column: str, options: ReadOptions, where: str) -> tuple[Times, tuple[str, ...]]:
    """How to read ``sample``'s column, and what to tell; raises InputError when it holds no times."""
    place = f"{where}: column {column}"
    times = Times("instant", options.timeframe, options.label or "open", options.tz)
    kind = sample.dtype
    if isinstance(kind, pl.Datetime):
        times = _but(times, kind="naive" if kind.time_zone is None else "instant")
    elif kind == pl.Date:
        times = _but(times, kind="date")
    elif kind.is_numeric():
        times = _numbers(sample, times, options, place)
    elif kind == pl.String:
        times = _texts(sample, times, options, place)
    else:
        raise InputError(f"{place} has type {kind}, not a time.", hint="map the time with --columns ts=COLUMN")
    times = _but(times, midnights=_all_midnight(sample, times))
    _refuse_dates(sample, times, place)
    return times, tuple(_remarks(sample, times, options, column))


def _but(times: Times, **changes: object) -> Times:
    import dataclasses

    return dataclasses.replace(times, **changes)  # type: ignore[arg-type]  # each caller names a field of its type


def _numbers(sample: pl.Series, times: Times, options: ReadOptions, place: str) -> Times:
    """Epoch numbers, or dates written as numbers (20250501)."""
    digits = sample.drop_nulls()
    if sample.dtype.is_integer() and (stamp := _stamp(digits.head(_SAMPLE).cast(pl.String))):
        return _but(times, kind="text", formats=(stamp,))
    whole = digits.cast(pl.Float64, strict=False)
    whole = whole.filter(whole.is_finite())
    largest = _number(whole.abs().max())
    if largest < 1e8:
        seen = ", ".join(str(v) for v in digits.head(3).to_list()) or "nothing"
        raise InputError(
            f"{place} holds {seen}: too small for seconds, ms, µs or ns since 1970.",
            hint="map the time with --columns ts=COLUMN",
        )
    return _but(times, kind="epoch", old=_number(whole.min()) <= -1e11)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _stamp(sample: pl.Series) -> str | None:
    """The format of times written as digits (20250501, 202505010930, 20250501093000), or None."""
    lengths = sample.str.len_chars().unique().to_list()
    if len(lengths) != 1 or lengths[0] not in (8, *_STAMPS):
        return None
    form = _STAMPS.get(lengths[0], "%Y%m%d")
    read = _strptime(sample, form)
    fits = read.is_between(-2_208_988_800 * SECOND, 4_102_444_800 * SECOND).fill_null(False)
    return form if bool(fits.all()) else None


def _texts(sample: pl.Series, times: Times, options: ReadOptions, place: str) -> Times:
    """Text times: numbers in text, one of the known shapes, or the format the caller gave."""
    texts = sample.str.strip_chars()
    texts = texts.filter(texts != "").drop_nulls()
    if options.time_format:
        return _but(times, kind="text", formats=(options.time_format,))
    some = texts.head(_SAMPLE)
    if len(some) and (numeric := _numeric(some)).mean() > 0.5:  # type: ignore[operator]  # a mean of booleans
        digits = some.filter(numeric)
        if stamp := _stamp(digits):
            return _but(times, kind="text", formats=(stamp,))
        return _numbers(texts.cast(pl.Float64, strict=False), times, options, place)
    formats, offsets = _formats(texts, place)
    return _but(times, kind="text", formats=formats, offsets=offsets)


def _numeric(texts: pl.Series) -> pl.Series:
    return texts.str.contains(r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")


def _formats(texts: pl.Series, place: str) -> tuple[tuple[str, ...], bool]:
    """The formats seen in a sample, most frequent first; raises InputError when no text looks like a time."""
    seen: Counter[str] = Counter()
    offsets = False
    for text in texts.head(_SAMPLE).to_list():
        if found := _TEXT.fullmatch(text):
            shape = next(s for s in _SHAPES if re.fullmatch(s, found["date"]))
            seen[shape + "\0" + (found["sep"] or "") + _clock(found["clock"])] += 1
            offsets = offsets or bool(found["off"])
    if not seen:
        example = f"'{texts[0]}' is not a time gapless knows" if len(texts) else "every cell is empty"
        raise InputError(
            f"{place}: {example}.", hint="map the time with --columns ts=COLUMN, or give --time-format '%d.%m.%Y %H:%M'"
        )
    formats: dict[str, None] = {}
    for name, _ in seen.most_common():
        shape, clock = name.split("\0")
        formats[_date_format(shape, texts, place) + clock] = None
    return tuple(formats), offsets


def _clock(text: str | None) -> str:
    if text is None:
        return ""
    return next((form for shape, form in _CLOCKS.items() if re.fullmatch(shape, text)), "%H:%M:%S%.f")


def _date_format(shape: str, texts: pl.Series, place: str) -> str:
    """The format of a date shape; month before day or after is decided by a day greater than 12, never assumed."""
    month_first, *rest = _SHAPES[shape]
    if not rest:
        return month_first
    halves = texts.str.extract_groups(r"^(\d{1,2})[/-](\d{1,2})[/-]").struct
    one, two = (_number(halves.field(name).cast(pl.Int64).max()) for name in ("1", "2"))
    if (one > 12) == (two > 12):
        said = "no day is greater than 12" if one <= 12 else "both orders occur"
        raise InputError(
            f"{place}: '{texts[0]}' may be month/day or day/month ({said}).",
            hint=f"say which: --time-format '{month_first}' or '{rest[0]}'",
        )
    return rest[0] if one > 12 else month_first


def _all_midnight(sample: pl.Series, times: Times) -> bool:
    """In a daily table of instants: do all lie at 00:00 UTC, so that they are dates in disguise?"""
    if times.timeframe.micros < DAY or times.kind not in ("instant", "epoch"):
        return False
    at = _instants(sample, times).drop_nulls()
    return len(at) > 0 and bool((at % DAY == 0).all())


def _refuse_dates(sample: pl.Series, times: Times, place: str) -> None:
    """Dates without a time of day cannot label intraday bars."""
    bare = times.kind == "text" and all("%H" not in f and "%I" not in f and "%T" not in f for f in times.formats)
    if times.timeframe.micros < DAY and (times.kind == "date" or bare):
        raise InputError(
            f"{place} holds dates without a time of day ('{sample.drop_nulls()[0]}'), "
            f"the timeframe is {times.timeframe}.",
            hint="give --timeframe 1d, or map the column that holds the time with --columns ts=COLUMN",
        )


def _remarks(sample: pl.Series, times: Times, options: ReadOptions, column: str) -> list[str]:
    """What was decided that the caller did not say."""
    daily, local = times.timeframe.micros >= DAY, times.kind in ("naive", "text")
    remarks = []
    if local and not daily and options.tz is None and not times.offsets:
        remarks.append(f"{column} carries no time zone and none was given: taken as UTC (--tz ZONE changes that)")
    if options.tz is not None and not local and not daily:
        remarks.append(f"{column} holds absolute times: the time zone {options.tz} is not used")
    if daily and times.kind in ("instant", "epoch") and not times.midnights:
        remarks.append(
            f"{column} holds times of day: each {times.timeframe} bar gets its date in {_zone(sample, times)}"
        )
    if daily and times.kind in ("instant", "epoch") and times.label == "close":
        remarks.append(f"{column} labels the close: a bar that ends at midnight belongs to the day before")
    return remarks


def _zone(sample: pl.Series, times: Times) -> str:
    """The zone whose calendar date names a daily bar."""
    own = sample.dtype.time_zone if isinstance(sample.dtype, pl.Datetime) else None
    return times.tz or own or "UTC"


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
    if times.kind in ("instant", "epoch"):
        at = _instants(column, times) - (1 if times.label == "close" else 0)
        local = at if times.midnights else _wall(at, _zone(column, times))
    else:
        local, offset = _locals(column, times)
        if offset is not None and times.tz is not None:
            local = _wall(local - offset, times.tz).fill_null(local)
    if times.label == "close" and times.timeframe.offset:
        return local - (local - times.timeframe.offset) % times.timeframe.micros
    return local - local % DAY


def _instants(column: pl.Series, times: Times) -> pl.Series:
    """µs since the epoch, before any label shift."""
    if times.kind == "epoch":
        return _epoch(column, times)
    if times.kind == "instant":
        return _physical(column)
    local, offset = _locals(column, times)
    utc = _to_utc(local, times.tz)
    return utc if offset is None else (local - offset).fill_null(utc)


def _locals(column: pl.Series, times: Times) -> tuple[pl.Series, pl.Series | None]:
    """Wall-clock µs, and the offset from UTC of the rows that state one (None when no row does)."""
    if times.kind in ("naive", "date"):
        return _physical(column), None
    texts = column.cast(pl.String).str.strip_chars()
    if not times.offsets:
        return _parse(texts, times.formats), None
    suffix = texts.str.extract(r":\d{2}(?:\.\d+)?(?: [AaPp][Mm])?" + _OFFSET)
    return _parse(texts.str.replace(_OFFSET, ""), times.formats), _offset(suffix)


def _parse(texts: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Each text by the first format that reads it."""
    read = _strptime(texts, formats[0])
    for form in _kin(formats)[1:]:
        if read.null_count() == texts.null_count():
            break
        left = read.is_null()
        read = read.fill_null(_strptime(texts.set(~left, None), form))
    return _within(read)


def _kin(formats: tuple[str, ...]) -> list[str]:
    """The formats, and those a row may fall back to when seconds or the midnight are left out."""
    more = [f.replace("%H:%M:%S%.f", "%H:%M") for f in formats]
    return list(dict.fromkeys((*formats, *more)))


def _strptime(texts: pl.Series, form: str) -> pl.Series:
    if "%z" in form:
        aware = texts.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
        return aware.to_physical()
    return texts.str.strptime(pl.Datetime("us"), form, strict=False).to_physical()


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
    """Numbers since 1970 in µs: seconds, ms, µs or ns by each value's size. Zero is how files write "no time"."""
    value = pl.col("v")
    size = value.abs()
    small = value * (1000 if times.old else SECOND)
    whole = (
        pl.when(size >= 10**17).then(value // 1000).when(size >= 10**14).then(value).when(size >= 10**11)
        .then(value * 1000).when(size > 0).then(small)
    )  # fmt: skip
    number = pl.col("f")
    far = number.abs()
    part = (
        pl.when(far >= 1e17).then(number / 1000).when(far >= 1e14).then(number).when(far >= 1e11)
        .then(number * 1000).when(far > 0).then(number * (1000 if times.old else SECOND))
    )  # fmt: skip
    return _whole_first(column, whole, part)


def _whole_first(column: pl.Series, whole: pl.Expr, part: pl.Expr) -> pl.Series:
    """Integers exactly; the rest (text or floats with a fraction or exponent) through Float64, rounded to a µs."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    exact = column if column.dtype.is_integer() else None
    if column.dtype == pl.String:
        exact = column.cast(pl.Int64, strict=False)
    if exact is not None:
        read = pl.DataFrame({"v": exact.cast(pl.Int64, strict=False)}).select(whole.alias("v"))["v"]
        if exact.null_count() == column.null_count():
            return _within(read)
        rest = column.set(exact.is_not_null(), None)
        return _within(read.fill_null(_whole_first(rest.cast(pl.Float64, strict=False), whole, part)))
    floats = pl.DataFrame({"f": column.cast(pl.Float64)}).with_columns(pl.col("f").fill_nan(None))
    return _within(floats.select(part.round().cast(pl.Int64, strict=False).alias("v"))["v"])


def _physical(column: pl.Series) -> pl.Series:
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
