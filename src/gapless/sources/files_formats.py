"""How a time is written: the shapes of text dates and clocks, and which of them a sample shows."""

from __future__ import annotations

import re
from collections import Counter

import polars as pl

from gapless.errors import InputError
from gapless.spans import EARLIEST, LATEST

SAMPLE = 1000

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
OFFSET = r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})$"
_TEXT = re.compile(
    rf"(?P<date>{'|'.join(f'(?:{s})' for s in _SHAPES)})"
    rf"(?:(?P<sep>[T ])(?P<clock>\d[\d:.]*(?: [AaPp][Mm])?)(?P<off>{OFFSET[:-1]})?)?"
)
_STAMPS = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def formats_in(texts: pl.Series, place: str) -> tuple[tuple[str, ...], bool]:
    """The formats seen in a sample, most frequent first; raises InputError when no text looks like a time."""
    seen: Counter[str] = Counter()
    offsets = False
    for text in texts.head(SAMPLE).to_list():
        if found := _TEXT.fullmatch(text):
            shape = next(s for s in _SHAPES if re.fullmatch(s, found["date"]))
            seen[shape + "\0" + (found["sep"] or "") + clock_format(found["clock"])] += 1
            offsets = offsets or bool(found["off"])
    if not seen:
        example = f"'{texts[0]}' is not a time gapless knows" if len(texts) else "every cell is empty"
        raise InputError(
            f"{place}: {example}.", hint="map the time with --columns ts=COLUMN, or give --time-format '%d.%m.%Y %H:%M'"
        )
    formats: dict[str, None] = {}
    for name, _ in seen.most_common():
        shape, clock = name.split("\0")
        formats[date_format(shape, texts, place) + clock] = None
    return tuple(formats), offsets


def clock_format(text: str | None) -> str:
    if text is None:
        return ""
    return next((form for shape, form in _CLOCKS.items() if re.fullmatch(shape, text)), "%H:%M:%S%.f")


def date_format(shape: str, texts: pl.Series, place: str) -> str:
    """The format of a date shape; month before day or after is decided by a day greater than 12, never assumed."""
    month_first, *rest = _SHAPES[shape]
    if not rest:
        return month_first
    halves = texts.str.extract_groups(r"^(\d{1,2})[/-](\d{1,2})[/-]").struct
    one, two = (number(halves.field(name).cast(pl.Int64).max()) for name in ("1", "2"))
    if (one > 12) == (two > 12):
        said = "no day is greater than 12" if one <= 12 else "both orders occur"
        raise InputError(
            f"{place}: '{texts[0]}' may be month/day or day/month ({said}).",
            hint=f"say which: --time-format '{month_first}' or '{rest[0]}'",
        )
    return rest[0] if one > 12 else month_first


def stamp_in(sample: pl.Series) -> str | None:
    """The format of times written as digits (20250501, 202505010930, 20250501093000), or None."""
    lengths = sample.str.len_chars().unique().to_list()
    if len(lengths) != 1 or lengths[0] not in (8, *_STAMPS):
        return None
    form = _STAMPS.get(lengths[0], "%Y%m%d")
    read = strptime(sample, form)
    fits = read.is_between(EARLIEST, LATEST).fill_null(False)
    return form if bool(fits.all()) else None


def kin(formats: tuple[str, ...]) -> list[str]:
    """The formats, and those a row may fall back to when seconds or the midnight are left out."""
    more = [f.replace("%H:%M:%S%.f", "%H:%M") for f in formats]
    return list(dict.fromkeys((*formats, *more)))


def strptime(texts: pl.Series, form: str) -> pl.Series:
    zone = "UTC" if "%z" in form else None
    return texts.str.strptime(pl.Datetime("us", zone), form, strict=False).to_physical()


def numeric(texts: pl.Series) -> pl.Series:
    return texts.str.contains(r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")


def number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
