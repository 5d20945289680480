"""What Yahoo tells beside bars: splits and dividends, and closes with both taken out."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from gapless.sim.sessions import Sessions
from gapless.spans import DAY, SECOND, Span, parse_time

Json = dict[str, Any]


def events(truth: Sessions, symbol: str, span: Span, open_of: Callable[[int], int], asked: str) -> Json:
    """Splits and dividends inside ``span``, stamped with their session's open; empty where there is none.

    ``asked``: the kinds, as in ``div,splits``. Dividends are told for the shares of today.
    """
    found: Json = {}
    if "split" in asked:
        found["splits"] = {
            str(at): {"date": at, "numerator": new, "denominator": old, "splitRatio": f"{new}:{old}"}
            for day, old, new in truth.splits.get(symbol, ())
            if span.start <= (at := open_of(parse_time(day)) // SECOND) * SECOND < span.end
        }
    if "div" in asked:
        found["dividends"] = {
            str(at): {"amount": cash / truth.ratio(symbol, parse_time(day) // DAY), "date": at}
            for day, cash in truth.dividends.get(symbol, ())
            if span.start <= (at := open_of(parse_time(day)) // SECOND) * SECOND < span.end
        }
    return {kind: told for kind, told in found.items() if told}


def adjusted_closes(
    truth: Sessions,
    symbol: str,
    stamps: list[int],
    closes: list[float | None],
    close_before: Callable[[int], float],
) -> list[float | None]:
    """Closes with later dividends taken out too: each a share of the close before it, which is as traded."""
    known = [(parse_time(day), cash) for day, cash in truth.dividends.get(symbol, ())]
    factors = [(ex, 1 - cash * _shares(truth, symbol, ex) / close_before(ex)) for ex, cash in known]
    told: list[float | None] = []
    for stamp, close in zip(stamps, closes, strict=True):
        later = [factor for ex, factor in factors if ex > stamp * SECOND]
        told.append(None if close is None else close * prod(later))
    return told


def _shares(truth: Sessions, symbol: str, ex: int) -> float:
    """What a share of the day before has become on the ex-date, if that is the day of a split too."""
    return truth.ratio(symbol, ex // DAY - 1) / truth.ratio(symbol, ex // DAY)
