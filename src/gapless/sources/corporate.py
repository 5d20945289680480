"""Splits and dividends as vendors tell them, in one shape. What they do to prices: ``gapless.adjust``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Split:
    """``after`` shares for ``before``; ``ex`` is the first day at the new price."""

    ticker: str
    ex: date
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Dividend:
    """``cash`` a share; ``ex`` is the first day without it. ``kind``: CD regular, SC special, LT, ST capital gains."""

    ticker: str
    ex: date
    cash: float
    currency: str
    kind: str
    declared: date | None = None
    record: date | None = None
    paid: date | None = None
    frequency: int | None = None
