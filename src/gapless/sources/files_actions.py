"""Corporate actions from files: factor files, tables of splits and dividends, and vendors' JSON of the same.

What a file is is told from its content. A factor file has lines ``20200828,0.9925,0.25,499.23``: up to and on that day,
prices are multiplied by the two factors; its name is the instrument's. A table has a header with a symbol, an ex-date
and either a ratio or an amount. JSON is a list of such rows, bare or under ``results``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from gapless.adjust import FactorRow
from gapless.errors import InputError
from gapless.sources.files_text import whole_text
from gapless.spans import parse_time

_FACTORS = re.compile(r"^\d{8},[\d.]+,[\d.]+,[\d.]+\s*$")
_NAMES = {
    "symbol": ("symbol", "ticker", "instrument"),
    "ex": ("ex", "ex_date", "ex_dividend_date", "execution_date", "exdate", "date"),
    "ratio": ("ratio", "split", "split_ratio"),
    "amount": ("amount", "dividend", "cash_amount", "cash"),
    "close": ("close", "reference_price", "close_before"),
}
_KEYS = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings}


@dataclass(frozen=True, slots=True)
class Told:
    """One row: a split (``ratio``, new shares for one) or a dividend (``amount`` a share, on a ``close`` if told)."""

    symbol: str
    ex: int
    ratio: Fraction | None = None
    amount: Fraction | None = None
    close: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Actions:
    """What a file holds: cumulative factors by symbol, or single actions."""

    factors: Mapping[str, Sequence[FactorRow]]
    told: Sequence[Told]


def read_actions(path: Path) -> Actions:
    """Read one file; raises InputError with its name and line."""
    text = whole_text(path, "CSV or JSON of splits and dividends, or factor files")
    first = text.lstrip()[:1]
    if not first:
        raise InputError(f"{path} is empty.", hint="fetch or export it again")
    if first in "[{":
        return Actions({}, [_told(row, f"{path}, row {at}") for at, row in enumerate(_json(path, text), 1)])
    lines = text.splitlines()
    if _FACTORS.match(lines[0]):
        return Actions({path.stem.upper(): [_factor(line, path, at) for at, line in enumerate(lines, 1) if line]}, ())
    rows = csv.DictReader(lines)
    return Actions({}, [_told(row, f"{path}, line {at}") for at, row in enumerate(rows, 2)])


def _json(path: Path, text: str) -> Iterable[Mapping[str, Any]]:
    try:
        document = json.loads(text, parse_float=str)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.", hint="fetch it again") from None
    rows = document.get("results", document) if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise InputError(f"{path} holds no list of actions.", hint="a list of objects, bare or under 'results'")
    return rows


def _factor(line: str, path: Path, at: int) -> FactorRow:
    if not _FACTORS.match(line):
        raise InputError(f"{path}, line {at}: '{line[:40]}' is no line of factors.", hint="day,price,split,close")
    day, price, split, close = line.strip().split(",")
    return FactorRow(
        _day(f"{day[:4]}-{day[4:6]}-{day[6:]}", f"{path}, line {at}"), *map(Fraction, (price, split, close))
    )


def _told(row: Mapping[str, Any], where: str) -> Told:
    found = {
        _KEYS[k.strip().lower()]: v for k, v in row.items() if k and k.strip().lower() in _KEYS and v not in ("", None)
    }
    for name in ("symbol", "ex"):
        if name not in found:
            raise InputError(f"{where}: no {name}.", hint="a column called " + ", ".join(_NAMES[name]))
    ratio = _ratio(row, found, where)
    if ratio is not None and ratio <= 0:
        raise InputError(
            f"{where}: a split of {ratio} new shares for one.", hint="above 0: 4, 3/2, or 1/10 for a merger"
        )
    amount, close = (_number(found[n], where) if n in found else None for n in ("amount", "close"))
    if (ratio is None) == (amount is None):
        raise InputError(f"{where}: neither one split nor one dividend.", hint="give a ratio, or an amount of cash")
    return Told(str(found["symbol"]).strip().upper(), _day(str(found["ex"]), where), ratio, amount, close)


def _ratio(row: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Fraction | None:
    if "split_to" in row and "split_from" in row:
        before = _number(row["split_from"], where)
        return _number(row["split_to"], where) / before if before else Fraction(0)
    return _number(found["ratio"], where) if "ratio" in found else None


def _number(value: Any, where: str) -> Fraction:
    """``4``, ``0.205``, ``3/2`` or ``4:1``."""
    try:
        return Fraction(str(value).strip().replace(":", "/"))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{where}: '{value}' is no number.", hint="for example 4, 0.205 or 3/2") from None


def _day(text: str, where: str) -> int:
    try:
        return parse_time(date.fromisoformat(text.strip()[:10]).isoformat())
    except ValueError:
        raise InputError(f"{where}: '{text}' is no date.", hint="for example 2020-08-31") from None
