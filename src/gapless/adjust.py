"""Corporate actions, and bars with their effect taken out. Bars are stored as traded; this is done on read.

An action changes what one share is worth between two sessions: a split by its ratio, a dividend by the cash that left
the company. Each is a factor on every earlier price. Factors are exact fractions: those of a table of cumulative
factors telescope to the very numbers of the table, however many actions lie between.

>>> four_for_one = split("XNAS:AAPL", 1598832000000000, 4)  # 2020-08-31
>>> dividend("XNAS:AAPL", 1604620800000000, "0.205", close="119.03").factor
Fraction(23765, 23806)
>>> float(product([four_for_one]))
0.25
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl

from gapless.bars import PRICES
from gapless.errors import UsageError
from gapless.spans import Micros, Timeframe, iso

Kind = Literal["split", "dividend"]
Adjust = Literal["none", "splits", "all"]
ADJUSTMENTS: tuple[str, ...] = ("none", "splits", "all")
SHARES = ("volume", "taker_buy_volume", "open_interest")  # counted in shares: a split divides them
_ROUNDING = Fraction(1, 10_000)
Number = str | int | float | Fraction
Cut = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Action:
    """One split or dividend. ``ex``: the date (00:00 UTC, µs) of the first session at the new price."""

    instrument: str
    kind: Kind
    ex: int
    factor: Fraction  # what every earlier price is multiplied by
    value: float  # new shares for an old one; cash a share
    close: float | None = None  # the last close at the old price
    source: str = ""
    known_at: int = 0


def split(instrument: str, ex: int, ratio: Number, *, source: str = "") -> Action:
    """``ratio`` new shares for one old: 4 for four-for-one, "1/10" for a reverse split of ten."""
    shares = _fraction(ratio)
    if shares <= 0:
        raise UsageError(f"{instrument} {iso(ex)[:10]}: a split of {ratio} new shares for one.", hint="above 0")
    return Action(instrument, "split", ex, 1 / shares, float(shares), None, source)


def dividend(instrument: str, ex: int, amount: Number, *, close: Number, source: str = "") -> Action:
    """``amount`` of cash a share, and the ``close`` before: earlier prices are multiplied by 1 - amount / close."""
    cash, price = _fraction(amount), _fraction(close)
    if not 0 < cash < price:
        raise UsageError(
            f"{instrument} {iso(ex)[:10]}: a dividend of {amount} on a close of {close}.",
            hint="the amount is above 0 and below the close before the ex-date",
        )
    return Action(instrument, "dividend", ex, 1 - cash / price, float(cash), float(price), source)


def _fraction(number: Number) -> Fraction:
    """Exactly what was written: 0.1 is a tenth, not the nearest double."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def product(actions: Iterable[Action]) -> Fraction:
    """The factor of several actions together."""
    return math.prod((a.factor for a in actions), start=Fraction(1))


def same(a: Action, b: Action) -> bool:
    """Do two sources mean one action? Factor files are rounded to seven places, amounts to cents."""
    return a.kind == b.kind and abs(a.factor / b.factor - 1) < _ROUNDING


def known(actions: Iterable[Action], at: int) -> list[Action]:
    """The actions that somebody at that time knew of and saw in prices: learned by then, and not in the future."""
    return [a for a in actions if a.known_at <= at and a.ex <= at]


def chosen(actions: Iterable[Action], adjust: str) -> list[Action]:
    """The actions that ``none``, ``splits`` or ``all`` speak of."""
    return [a for a in actions if adjust == "all" or (adjust == "splits" and a.kind == "split")]


def factors(actions: Sequence[Action], cut: Cut, ts: Micros) -> np.ndarray:
    """What each bar's price is multiplied by: the product of the actions that come after it.

    ``cut``: the time that divides the last bar before an ex-date from the first one on it, µs.
    """
    edges: dict[int, Fraction] = {}
    for action in actions:
        at = cut(action.ex)
        edges[at] = edges.get(at, Fraction(1)) * action.factor
    times = sorted(edges)
    after = [Fraction(1)]
    for at in reversed(times):
        after.append(after[-1] * edges[at])
    table = np.array([float(f) for f in reversed(after)])
    return table[np.searchsorted(np.array(times, dtype=np.int64), ts, side="right")]


def adjusted(bars: pl.DataFrame, actions: Sequence[Action], cut: Cut) -> pl.DataFrame:
    """Bars of one instrument with the actions taken out: prices by all of them, volumes by the splits."""
    price, shares = _both(bars, actions, cut)
    return _scaled(bars, price, 1 / shares)


def as_traded(bars: pl.DataFrame, actions: Sequence[Action], cut: Cut) -> pl.DataFrame:
    """The way back from ``adjusted``."""
    price, shares = _both(bars, actions, cut)
    return _scaled(bars, 1 / price, shares)


def _both(bars: pl.DataFrame, actions: Sequence[Action], cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    ts = bars["ts"].to_physical().to_numpy()
    return factors(actions, cut, ts), factors(chosen(actions, "splits"), cut, ts)


def _scaled(bars: pl.DataFrame, price: np.ndarray, shares: np.ndarray) -> pl.DataFrame:
    by = [*((n, price) for n in PRICES), *((n, shares) for n in SHARES if n in bars.columns)]
    return bars.with_columns((pl.col(name) * pl.Series(factor)).alias(name) for name, factor in by)


def check_whole(bars: pl.DataFrame, actions: Sequence[Action], timeframe: Timeframe, cut: Cut) -> None:
    """UsageError for a bar that holds sessions on both sides of an action: no factor can mend it."""
    ts = bars["ts"].to_physical().to_numpy()
    for action in actions:
        at = cut(action.ex)
        inside = ts[(ts < at) & (at < ts + timeframe.micros)]
        if len(inside):
            raise UsageError(
                f"the {timeframe} bar of {iso(int(inside[0]))} holds prices from before and after the {action.kind} of "
                f"{action.instrument} on {iso(action.ex)[:10]}.",
                hint="read 1d bars adjusted, and join those",
            )


# ---------------------------------------------------------------- tables of cumulative factors


@dataclass(frozen=True, slots=True)
class FactorRow:
    """A line of a factor file: prices up to and on ``day`` are multiplied by ``price`` × ``split``."""

    day: int  # 00:00 UTC, µs
    price: Fraction
    split: Fraction
    close: Fraction  # as traded on that day


def from_factors(
    instrument: str, rows: Sequence[FactorRow], next_session: Callable[[int], int], *, source: str = ""
) -> list[Action]:
    """The actions between the lines of a factor table; their product, from any line on, is that line's factors.

    Raises UsageError for lines that are not sorted by day, are not above 0, or do not end at 1 and 1.
    """
    _check_rows(instrument, rows)
    found: list[Action] = []
    for row, later in pairwise(rows):
        ex = next_session(row.day)
        of_split, of_price = row.split / later.split, row.price / later.price
        close = float(row.close)
        if of_split != 1:
            found.append(Action(instrument, "split", ex, of_split, float(1 / of_split), close, source))
        if of_price != 1:
            found.append(
                Action(instrument, "dividend", ex, of_price, round(close * float(1 - of_price), 6), close, source)
            )
    return found


def _check_rows(instrument: str, rows: Sequence[FactorRow]) -> None:
    if any(a.day >= b.day for a, b in pairwise(rows)):
        raise UsageError(f"the factors of {instrument} are not sorted by day.", hint="one line a day, oldest first")
    if any(r.price <= 0 or r.split <= 0 for r in rows):
        raise UsageError(f"a factor of {instrument} is not above 0.", hint="is it a factor file?")
    if rows and (rows[-1].price != 1 or rows[-1].split != 1):
        raise UsageError(f"the factors of {instrument} do not end at 1,1.", hint="the last line is of today's shares")
