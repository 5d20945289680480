"""Instruments and series: parse, validate, print.

A name goes into tables and file contents, never into a path or a query text; still only a whitelist is let in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gapless.errors import UsageError
from gapless.spans import Timeframe

_VENUE = re.compile(r"^[A-Z][A-Z0-9_]{0,19}\Z")
_SYMBOL = re.compile(r"^[\w^][\w.=^-]{0,39}\Z")


@dataclass(frozen=True, order=True, slots=True)
class Instrument:
    """``VENUE:SYMBOL``.

    >>> Instrument.parse("BINANCE:BTCUSDT").symbol
    'BTCUSDT'
    >>> Instrument.parse("BINANCE:../../etc")
    Traceback (most recent call last):
    ...
    gapless.errors.UsageError: '../../etc' is not a symbol. Hint: letters, digits and . _ - = ^ only, 40 at most
    """

    venue: str
    symbol: str

    def __post_init__(self) -> None:
        if not _VENUE.match(self.venue):
            raise UsageError(
                f"'{self.venue}' is not a venue.", hint="capital letters and digits, for example BINANCE or XNAS"
            )
        if not _SYMBOL.match(self.symbol) or ".." in self.symbol:
            raise UsageError(f"'{self.symbol}' is not a symbol.", hint="letters, digits and . _ - = ^ only, 40 at most")

    @classmethod
    def parse(cls, text: str | Instrument, *, venue: str | None = None) -> Instrument:
        """From ``VENUE:SYMBOL``; a bare symbol needs ``venue``."""
        if isinstance(text, Instrument):
            return text
        head, colon, tail = text.strip().partition(":")
        if colon:
            return cls(head, tail)
        if venue is None:
            raise UsageError(f"'{text}' names no venue.", hint=f"write VENUE:SYMBOL, for example BINANCE:{text}")
        return cls(venue, head)

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"


@dataclass(frozen=True, order=True, slots=True)
class Series:
    """An instrument at a timeframe.

    >>> str(Series.parse("BINANCE:BTCUSDT", "1m"))
    'BINANCE:BTCUSDT 1m'
    """

    instrument: Instrument
    timeframe: Timeframe

    @classmethod
    def parse(cls, instrument: str | Instrument, timeframe: str | Timeframe) -> Series:
        return cls(Instrument.parse(instrument), Timeframe.parse(timeframe))

    def __str__(self) -> str:
        return f"{self.instrument} {self.timeframe}"
