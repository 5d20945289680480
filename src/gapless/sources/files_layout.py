"""What a caller asks of a file, and what was found in it: options, layout, reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from gapless.errors import UnknownName, UsageError
from gapless.series import Instrument
from gapless.spans import Timeframe

Label = Literal["open", "close"]
FORMATS = ("auto", "csv", "parquet", "feather", "json", "jsonl")


@dataclass(frozen=True)
class ReadOptions:
    """What the caller knows about a file; None means: find out.

    ``columns`` maps names of the bar schema to columns of the file (``{"ts": "when", "open": "px_open"}``); columns
    of a table without header are called ``column_1``, ``column_2`` and so on.
    ``tz`` is the zone of times that carry none. ``label`` says which end of the bar the time names. ``time_format``
    is a strptime format, needed only where text dates could be read in two ways. Wrong values raise UsageError.

    >>> ReadOptions("BINANCE", Timeframe.parse("1m"), label="end")
    Traceback (most recent call last):
    ...
    gapless.errors.UsageError: 'end' is not a label. Hint: open: a bar's time names its start; close: it names its end
    """

    venue: str
    timeframe: Timeframe
    symbol: str | None = None
    format: str = "auto"
    tz: str | None = None
    label: Label | None = None
    columns: Mapping[str, str] | None = None
    batch_rows: int = 250_000
    time_format: str | None = None

    def __post_init__(self) -> None:
        Instrument(self.venue, self.symbol if self.symbol is not None else "A")
        if self.format not in FORMATS:
            raise UnknownName("format", self.format, FORMATS)
        if self.label not in (None, "open", "close"):
            raise UsageError(
                f"'{self.label}' is not a label.", hint="open: a bar's time names its start; close: it names its end"
            )
        if self.batch_rows < 1:
            raise UsageError(f"batch_rows is {self.batch_rows}.", hint="give at least 1")
        if self.tz is not None:
            _known_zone(self.tz)


@dataclass(frozen=True)
class Times:
    """How a time column is read.

    ``kind``: ``instant`` (a datetime with a zone), ``naive`` (a datetime without), ``date``, ``epoch`` (numbers since
    1970, the unit by magnitude, row by row), ``text`` (with ``formats``; ``offsets`` when some rows end in Z or
    +hh:mm). ``zone``: whose calendar date a daily bar gets. ``ends``: daily times are the ends of bars, not their
    dates. ``seconds``: all numbers are seconds. ``old``: numbers reach back before 1970, so small ones are early
    times in ms, not seconds.
    """

    kind: Literal["instant", "naive", "date", "epoch", "text"]
    timeframe: Timeframe
    label: Label
    tz: str | None = None
    formats: tuple[str, ...] = ()
    offsets: bool = False
    zone: str = "UTC"
    ends: bool = False
    seconds: bool = False
    old: bool = False

    def describe(self) -> str:
        """In words."""
        what = {
            "instant": "times with a zone",
            "naive": f"local times of {self.tz or 'UTC'}",
            "date": "dates",
            "epoch": "numbers since 1970 (s, ms, µs or ns by size)",
            "text": f"text {' or '.join(self.formats)}" + ("" if self.offsets else f", {self.tz or 'UTC'}"),
        }[self.kind]
        return f"{what}, naming the bar's {self.label}"


@dataclass(frozen=True)
class Layout:
    """What a file is, and why gapless thinks so. ``columns`` maps the bar schema to the file's columns."""

    path: str
    format: str
    columns: Mapping[str, str]
    times: Times
    venue: str
    symbol: str | None
    symbol_from: str
    clock: str | None = None  # a second column that holds the time of day
    separator: str = ""
    header: bool | None = None
    decimal_comma: bool = False
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Several lines for a person."""
        shape = self.format
        if self.header is not None:
            shape += f", separator {self.separator!r}, " + ("with header" if self.header else "without header")
        lines = [
            f"{self.path}: {shape}",
            f"  time: {self.columns['ts']}"
            + (f" + {self.clock}" if self.clock else "")
            + f" ({self.times.describe()})",
            f"  symbol: {self.symbol or self.columns.get('instrument')} (from {self.symbol_from})",
            "  columns: " + ", ".join(f"{k} = {v}" for k, v in self.columns.items() if k not in ("ts", "instrument")),
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


@dataclass(frozen=True)
class Reading:
    """One batch of rows in the bar schema plus ``row`` and ``raw`` (bars.TRACES), and what should be told about it."""

    frame: pl.DataFrame
    path: str
    notes: tuple[str, ...] = ()


def _known_zone(name: str) -> None:
    """Raise UnknownName unless polars, which does the conversion, knows the zone."""
    try:
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(name)
    except pl.exceptions.PolarsError:
        import zoneinfo

        known = sorted(zoneinfo.available_timezones())
        raise UnknownName("time zone", name, known, hint=_nearest_zone(name, known)) from None


def _nearest_zone(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else "write an IANA name, for example America/New_York or UTC"
