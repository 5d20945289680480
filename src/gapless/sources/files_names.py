"""Files that say which instruments are meant: lists of symbols, and maps of the tickers an instrument went by.

A map file has lines ``20140402,goog,Q``: the first line is the first day, each later one the last day on which the
instrument went by that ticker; its own name is the instrument's. A list is text (a symbol a line, or separated by
commas), or JSON: ``["BINANCE:BTCUSDT"]``, ``[{"symbol": …}]``, or either under ``data``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from gapless.errors import InputError
from gapless.sources.files_text import whole_text
from gapless.spans import DAY, parse_time

_MAP = re.compile(r"^(\d{4})(\d{2})(\d{2}),([^,\s]+)(?:,([^,\s]*))?\s*$")
_STILL = parse_time("2050-01-01")  # map files write the year 2050 for "still so"


@dataclass(frozen=True, slots=True)
class TickerSpan:
    """A ticker an instrument went by, from the first day to the day after the last; ``end`` None: still."""

    ticker: str
    start: int
    end: int | None
    exchange: str


def read_map(path: Path) -> list[TickerSpan]:
    """The names of the instrument that a map file is called after, oldest first. Raises InputError."""
    lines = [line for line in whole_text(path, "a list of symbols, or a map file").splitlines() if line.strip()]
    rows = [_row(path, at, line) for at, line in enumerate(lines, 1)]
    if len(rows) < 2 or any(a[0] > b[0] for a, b in pairwise(rows)):
        raise InputError(f"{path} is no map of names.", hint="a first day, then the last day of each ticker, sorted")
    start, found = rows[0][0], []
    for day, ticker, exchange in rows[1:]:
        end = day + DAY
        if end > start:  # a first day that is repeated says nothing
            found.append(TickerSpan(ticker, start, None if end > _STILL else end, exchange))
        start = max(start, end)
    return found


def _row(path: Path, at: int, line: str) -> tuple[int, str, str]:
    found = _MAP.match(line)
    try:
        if found is None:
            raise ValueError(line)
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        raise InputError(f"{path}, line {at}: '{line[:40]}' is no line of names.", hint="20140402,goog,Q") from None
    return parse_time(day.isoformat()), found[4].upper(), (found[5] or "").upper()


def read_symbols(path: Path) -> list[str]:
    """The symbols of a list, in its order, each once. Raises InputError."""
    text = whole_text(path, "a list of symbols, or a map file")
    found = _of_json(path, text) if text.lstrip()[:1] in ("[", "{") else re.split(r"[\s,;]+", _uncommented(text))
    symbols = list(dict.fromkeys(s.strip() for s in found if s.strip()))
    if not symbols:
        raise InputError(f"{path} names no symbols.", hint="VENUE:SYMBOL, one a line, or a JSON list")
    return symbols


def _uncommented(text: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


def _of_json(path: Path, text: str) -> Sequence[str]:
    try:
        document: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.", hint="write it again") from None
    rows = document.get("data", document.get("symbols")) if isinstance(document, dict) else document
    told = [row.get("symbol") if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else [None]
    names = [name for name in told if isinstance(name, str)]
    if len(names) < len(told):
        raise InputError(f"{path} is no list of symbols.", hint='["VENUE:SYMBOL", …], [{"symbol": …}], or under "data"')
    return names
