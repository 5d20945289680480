"""What Polygon says beside bars: splits, dividends, tickers. Rows of lists that go on behind a cursor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from gapless.errors import Faulty
from gapless.sources.corporate import Dividend, Split
from gapless.sources.reading import decoded, head

_T = TypeVar("_T")


class _List(msgspec.Struct):
    results: list[dict[str, Any]]
    next_url: str | None = None


_list = msgspec.json.Decoder(_List)


@dataclass(frozen=True, slots=True)
class Ticker:
    """One name at one exchange. ``delisted`` is the day trading ended; names are used again by others."""

    ticker: str
    name: str
    market: str
    exchange: str
    kind: str
    active: bool
    currency: str
    figi: str
    delisted: date | None = None


@dataclass(frozen=True, slots=True)
class Table(Generic[_T]):
    """One list: where it is, and how a row of it is read."""

    path: str
    read: Callable[[Mapping[str, Any]], _T]

    def page(self, name: str, body: bytes) -> tuple[Sequence[_T], str]:
        """The rows of one answer and the cursor of the next, empty at the end. Faulty where a field is missing."""
        answer = decoded(name, body, _list)
        query = urlsplit(answer.next_url or "").query
        return [self._row(name, row) for row in answer.results], parse_qs(query).get("cursor", [""])[0]

    def _row(self, name: str, row: Mapping[str, Any]) -> _T:
        try:
            return self.read(row)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            begins = head(msgspec.json.encode(row))
            raise Faulty(f"{name} answered what cannot be read: {error!r}; the row begins {begins}.") from None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text[:10]) if text else None


def _name(row: Mapping[str, Any]) -> str:
    found = row["ticker"]
    if not isinstance(found, str):
        raise TypeError(f"ticker is {found!r}")
    return found


def _amount(told: float | str) -> float:
    if not 0 <= (found := float(told)) < math.inf:
        raise ValueError(f"{told!r} is no amount")
    return found


def _above_zero(told: float | str) -> float:
    if not (found := _amount(told)):
        raise ValueError(f"{told!r} shares")
    return found


def _split(row: Mapping[str, Any]) -> Split:
    ex = date.fromisoformat(row["execution_date"])
    return Split(_name(row), ex, _above_zero(row["split_from"]), _above_zero(row["split_to"]))


def _dividend(row: Mapping[str, Any]) -> Dividend:
    return Dividend(
        _name(row), date.fromisoformat(row["ex_dividend_date"]), _amount(row["cash_amount"]),
        row.get("currency", "USD"), row.get("dividend_type", ""), _day(row.get("declaration_date")),
        _day(row.get("record_date")), _day(row.get("pay_date")), row.get("frequency"),
    )  # fmt: skip


def _ticker(row: Mapping[str, Any]) -> Ticker:
    return Ticker(
        _name(row), row.get("name", ""), row["market"], row.get("primary_exchange", ""), row.get("type", ""),
        bool(row["active"]), row.get("currency_name", "").upper(), row.get("composite_figi", ""),
        _day(row.get("delisted_utc")),
    )  # fmt: skip


SPLITS = Table("/v3/reference/splits", _split)
DIVIDENDS = Table("/v3/reference/dividends", _dividend)
TICKERS = Table("/v3/reference/tickers", _ticker)
