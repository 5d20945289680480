"""How far prices move.

``bars_per_year`` turns a deviation per bar into one per year: 525600 for minutes of a market that never closes, 98280
for minutes of 390 a day on 252 days, 252 for such days. It is never guessed; 1 leaves the deviation per bar.
"""

from __future__ import annotations

from math import log

from gapless.features.graph import Node
from gapless.features.library.moving import rma
from gapless.features.library.windows import mean, var
from gapless.features.registry import CLOSE, Bars, feature

_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"


@feature("volatility", bounds=(0.0, None), source=f"{_WILDER}; TradingView ta.tr")
def tr(bars: Bars) -> Node:
    """True range: the greatest of high − low, |high − previous close|, |low − previous close|.

    NaN on the first bar, and after a bar without a close.

    >>> from gapless.features import sample
    >>> sample("tr()", high=[3, 4, 9], low=[1, 3, 8], close=[2, 4, 8])
    [nan, 2.0, 5.0]
    """
    before = bars.close.lag(1)
    return (bars.high - bars.low).of("max", abs(bars.high - before)).of("max", abs(bars.low - before))


@feature("volatility", bounds=(0.0, None), source=f"{_WILDER}; TradingView ta.atr")
def atr(bars: Bars, length: int = 14) -> Node:
    """Wilder's average true range; the first bar counts with high − low.

    The variant that leaves the first bar out is ``rma(tr(), length)``.

    >>> from gapless.features import sample
    >>> sample("atr(2)", high=[3, 4, 9], low=[1, 3, 8], close=[2, 4, 8])
    [nan, 2.0, 3.5]
    """
    before = bars.close.lag(1)
    reach = abs(bars.high - before).of("max", abs(bars.low - before))
    return rma((bars.high - bars.low).of("known_max", reach), length)


@feature("volatility", bounds=(0.0, None), source="TA-Lib NATR")
def natr(bars: Bars, length: int = 14) -> Node:
    """Average true range in per cent of the close: 100 · atr / close.

    >>> from gapless.features import sample
    >>> sample("natr(2)", high=[3, 4, 9], low=[1, 3, 8], close=[2, 4, 8])
    [nan, 50.0, 43.75]
    """
    return 100.0 * atr(bars, length) / bars.close


@feature("volatility", bounds=(0.0, None), least=2)
def realized_vol(x: Node = CLOSE, length: int = 20, bars_per_year: float = 1.0, ddof: int = 1) -> Node:
    """Realised volatility: the standard deviation of the last n log returns, times √bars_per_year.

    ddof 1 is the sample's deviation. Bars per year: 525600 minutes of a market that never closes, 252 days of a stock
    exchange; 1 leaves the deviation per bar.

    >>> from gapless.features import sample
    >>> sample("realized_vol(close, 2, 252)", close=[1, 2, 1, 2])
    [nan, nan, 15.561116, 15.561116]
    """
    return (bars_per_year * var((x / x.lag(1)).of("log"), length, ddof)).of("sqrt")


def _log(x: Node, y: Node) -> Node:
    return (x / y).of("log")


@feature("volatility", bounds=(0.0, None), source="Parkinson, Journal of Business 53, 1980")
def parkinson(bars: Bars, length: int = 20, bars_per_year: float = 1.0) -> Node:
    """Parkinson's volatility from highs and lows: √(bars_per_year · mean log(high/low)² / (4·log 2)).

    >>> from gapless.features import sample
    >>> sample("parkinson(2)", high=[2, 2], low=[1, 1])
    [nan, 0.416277]
    """
    span = _log(bars.high, bars.low)
    return (bars_per_year / (4 * log(2)) * mean(span * span, length)).of("sqrt")


@feature("volatility", bounds=(0.0, None), source="Garman, Klass, Journal of Business 53, 1980")
def garman_klass(bars: Bars, length: int = 20, bars_per_year: float = 1.0) -> Node:
    """Garman and Klass' volatility: √(bars_per_year · mean(½·log(high/low)² − (2·log 2 − 1)·log(close/open)²)).

    >>> from gapless.features import sample
    >>> sample("garman_klass(1)", open=[1], high=[2], low=[1], close=[2])
    [0.233731]
    """
    span, move = _log(bars.high, bars.low), _log(bars.close, bars.open)
    return (bars_per_year * mean(0.5 * (span * span) - (2 * log(2) - 1) * (move * move), length)).of("sqrt")


def _rogers_satchell(bars: Bars) -> Node:
    up = _log(bars.high, bars.close) * _log(bars.high, bars.open)
    return up + _log(bars.low, bars.close) * _log(bars.low, bars.open)


@feature("volatility", bounds=(0.0, None), source="Rogers, Satchell, Annals of Applied Probability 1, 1991")
def rogers_satchell(bars: Bars, length: int = 20, bars_per_year: float = 1.0) -> Node:
    """Rogers and Satchell's volatility, free of drift: √(bars_per_year · mean(h·(h − c) + l·(l − c))).

    h, l and c are the logs of high, low and close over open.

    >>> from gapless.features import sample
    >>> sample("rogers_satchell(1)", open=[1], high=[4], low=[1], close=[2])
    [0.980258]
    """
    return (bars_per_year * mean(_rogers_satchell(bars), length)).of("sqrt")


@feature("volatility", bounds=(0.0, None), source="Yang, Zhang, Journal of Business 73, 2000", least=2)
def yang_zhang(bars: Bars, length: int = 20, bars_per_year: float = 1.0) -> Node:
    """Yang and Zhang's volatility, free of drift and with opening jumps: √(bars_per_year · (o + k·c + (1 − k)·r)).

    o and c are the sample variances of log(open/previous close) and log(close/open), r Rogers and Satchell's mean,
    k = 0.34 / (1.34 + (n + 1)/(n − 1)).

    >>> from gapless.features import sample
    >>> sample("yang_zhang(2)", open=[1, 1, 2], high=[2, 4, 4], low=[1, 1, 1], close=[1, 2, 2])
    [nan, nan, 0.951024]
    """
    k = 0.34 / (1.34 + (length + 1) / (length - 1))
    jumps = var(_log(bars.open, bars.close.lag(1)), length, 1)
    inside = k * var(_log(bars.close, bars.open), length, 1) + (1 - k) * mean(_rogers_satchell(bars), length)
    return (bars_per_year * (jumps + inside)).of("sqrt")
