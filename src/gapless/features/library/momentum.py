"""Momentum."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.moving import ema, rma
from gapless.features.library.windows import highest, lowest, spread, total
from gapless.features.registry import CLOSE, TYPICAL, Bars, feature

_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"


@feature("momentum", bounds=(0.0, 100.0), source=_WILDER)
def rsi(x: Node = CLOSE, length: int = 14) -> Node:
    """Wilder's relative strength index: 100 − 100 / (1 + up / down).

    up and down are Wilder's means of the rises and of the falls. 100 without falls, 0 without rises, NaN while the
    price has never moved (0 / 0).

    >>> from gapless.features import sample
    >>> sample("rsi(close, 2)", close=[1, 2, 3, 2.5, 2.5])
    [nan, nan, 100.0, 66.666667, 66.666667]
    """
    change = x - x.lag(1)
    rises, falls = rma(change.of("positive"), length), rma((-change).of("positive"), length)
    return 100.0 - 100.0 / (1.0 + rises / falls)


@feature("momentum", source="TradingView ta.mom")
def mom(x: Node = CLOSE, length: int = 10) -> Node:
    """Momentum: x − x[t − n].

    >>> from gapless.features import sample
    >>> sample("mom(close, 2)", close=[1, 2, 4])
    [nan, nan, 3.0]
    """
    return x - x.lag(length)


@feature("momentum", source="TradingView ta.roc")
def roc(x: Node = CLOSE, length: int = 9) -> Node:
    """Rate of change in per cent: 100·(x − x[t − n]) / x[t − n].

    >>> from gapless.features import sample
    >>> sample("roc(close, 2)", close=[1, 2, 4])
    [nan, nan, 300.0]
    """
    return 100.0 * (x - x.lag(length)) / x.lag(length)


@feature("momentum", source="Lambert, Commodities, 1980; TradingView ta.cci")
def cci(x: Node = TYPICAL, length: int = 20) -> Node:
    """Commodity channel index: (x − mean) / (0.015 · mean |x − mean|); NaN in a flat window.

    Of the typical price unless told otherwise; the ratings' library profile takes ``cci(close, 20)``. The mean is taken
    relative to the newest value, so a flat window is flat exactly.

    >>> from gapless.features import sample
    >>> sample("cci(close, 3)", close=[1, 2, 6, 6, 6])
    [nan, nan, 100.0, 50.0, nan]
    """
    away = spread(x, length)[0] / length  # the mean, seen from the newest value
    return -away / (0.015 * (x.of("deviation", x + away, params=(float(length),)) / length))


@feature("momentum", bounds=(-100.0, 0.0), source="Williams; TradingView ta.wpr")
def wpr(bars: Bars, length: int = 14) -> Node:
    """Williams' %R: 100·(close − highest high) / (highest high − lowest low); NaN where the range is 0.

    >>> from gapless.features import sample
    >>> sample("wpr(2)", high=[3, 4, 4], low=[1, 2, 3], close=[2, 4, 3])
    [nan, 0.0, -50.0]
    """
    high = highest(bars.high, length)
    return 100.0 * (bars.close - high) / (high - lowest(bars.low, length))


@feature(
    "momentum", bounds=(0.0, 100.0), source="Williams, Stocks & Commodities, 1985; TradingView, Ultimate Oscillator"
)
def uo(bars: Bars, fast: int = 7, middle: int = 14, slow: int = 28) -> Node:
    """Williams' ultimate oscillator: 100·(4·a + 2·b + c) / 7, with the shares a, b, c of three windows.

    A share is Σ (close − true low) / Σ (true high − true low), true meaning that the close before counts. NaN where one
    of the sums below is 0.

    >>> from gapless.features import sample
    >>> sample("uo(1, 1, 2)", high=[2, 3, 4], low=[1, 1, 3], close=[1, 2, 4])
    [nan, nan, 96.428571]
    """
    before = bars.close.lag(1)
    low = bars.low.of("min", before)
    pressure, span = bars.close - low, bars.high.of("max", before) - low
    a, b, c = (total(pressure, n) / total(span, n) for n in (fast, middle, slow))
    return 100.0 * (4.0 * a + 2.0 * b + c) / 7.0


@feature("momentum", source="Williams; TradingView, Awesome Oscillator")
def ao(bars: Bars, fast: int = 5, slow: int = 34) -> Node:
    """Awesome oscillator: sma(hl2, fast) − sma(hl2, slow), each relative to the newest value: exactly 0 when flat.

    >>> from gapless.features import sample
    >>> sample("ao(1, 2)", high=[3, 5, 5], low=[1, 3, 3])
    [nan, 1.0, 0.0]
    """
    middle = (bars.high + bars.low) / 2.0
    return spread(middle, fast)[0] / fast - spread(middle, slow)[0] / slow


@feature("momentum", source="Appel; TradingView ta.macd")
def macd(x: Node = CLOSE, fast: int = 12, slow: int = 26) -> Node:
    """MACD line: ema(x, fast) − ema(x, slow).

    >>> from gapless.features import sample
    >>> sample("macd(close, 1, 2)", close=[1, 3, 3])
    [nan, 1.0, 0.333333]
    """
    return ema(x, fast) - ema(x, slow)


@feature("momentum", source="Appel; TradingView ta.macd")
def macd_signal(x: Node = CLOSE, fast: int = 12, slow: int = 26, signal: int = 9) -> Node:
    """MACD's signal: the exponential mean of the MACD line, seeded with the mean of its first values.

    >>> from gapless.features import sample
    >>> sample("macd_signal(close, 1, 2, 2)", close=[1, 3, 3])
    [nan, nan, 0.666667]
    """
    return ema(macd(x, fast, slow), signal)


@feature("momentum", source="Appel; TradingView ta.macd")
def macd_hist(x: Node = CLOSE, fast: int = 12, slow: int = 26, signal: int = 9) -> Node:
    """MACD's histogram: the line less its signal.

    >>> from gapless.features import sample
    >>> sample("macd_hist(close, 1, 2, 2)", close=[1, 3, 3])
    [nan, nan, -0.333333]
    """
    return macd(x, fast, slow) - macd_signal(x, fast, slow, signal)


@feature("momentum", source="Elder, Trading for a Living, 1993")
def bull_power(bars: Bars, length: int = 13) -> Node:
    """Elder's bull power: high − ema(close, n).

    >>> from gapless.features import sample
    >>> sample("bull_power(2)", high=[2, 4], close=[1, 3])
    [nan, 2.0]
    """
    return bars.high - ema(bars.close, length)


@feature("momentum", source="Elder, Trading for a Living, 1993")
def bear_power(bars: Bars, length: int = 13) -> Node:
    """Elder's bear power: low − ema(close, n).

    >>> from gapless.features import sample
    >>> sample("bear_power(2)", low=[1, 3], close=[1, 3])
    [nan, 1.0]
    """
    return bars.low - ema(bars.close, length)
