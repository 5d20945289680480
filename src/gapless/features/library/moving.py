"""Moving averages."""

from __future__ import annotations

from math import isqrt

from gapless.features.graph import Node
from gapless.features.library.trends import weighted
from gapless.features.library.windows import mean, total
from gapless.features.registry import CLOSE, Bars, feature


@feature("moving", source="TradingView ta.sma")
def sma(x: Node, length: int) -> Node:
    """Simple moving average: Σ x / n, the same node as ``mean``.

    >>> from gapless.features import sample
    >>> sample("sma(close, 3)", close=[1, 2, 6, 7])
    [nan, nan, 3.0, 5.0]
    """
    return mean(x, length)


@feature("moving", source="TradingView ta.ema")
def ema(x: Node, length: int) -> Node:
    """Exponential moving average: y + 2/(n + 1)·(x − y), seeded with the mean of the first n values.

    A missing input gives NaN and keeps the state.

    >>> from gapless.features import sample
    >>> sample("ema(close, 3)", close=[1, 2, 3, None, 6])
    [nan, nan, 2.0, nan, 4.0]
    """
    return x.of("ema", params=(float(length), 2.0 / (length + 1)))


@feature("moving", source="Wilder, New Concepts in Technical Trading Systems, 1978; TradingView ta.rma")
def rma(x: Node, length: int) -> Node:
    """Wilder's moving average: (y·(n − 1) + x) / n, seeded with the mean of the first n values.

    A missing input gives NaN and keeps the state.

    >>> from gapless.features import sample
    >>> sample("rma(close, 3)", close=[1, 2, 3, 8])
    [nan, nan, 2.0, 4.0]
    """
    return x.of("rma", params=(float(length), 0.0))


@feature("moving", source="TradingView ta.wma")
def wma(x: Node, length: int) -> Node:
    """Weighted moving average: weights 1 … n, the newest n.

    >>> from gapless.features import sample
    >>> sample("wma(close, 3)", close=[1, 2, 6, 7])
    [nan, nan, 3.833333, 5.833333]
    """
    return weighted(x, length) / (length * (length + 1) / 2)


@feature("moving", source="Alan Hull; TradingView ta.hma, n/2 and √n rounded down")
def hma(x: Node, length: int) -> Node:
    """Hull moving average: wma(2·wma(x, n/2) − wma(x, n), √n), both rounded down.

    >>> from gapless.features import sample
    >>> sample("hma(close, 4)", close=[1, 2, 3, 4, 5])
    [nan, nan, nan, nan, 5.0]
    """
    return wma(2.0 * wma(x, max(length // 2, 1)) - wma(x, length), isqrt(length))


@feature("moving", source="TradingView ta.vwma")
def vwma(bars: Bars, x: Node = CLOSE, length: int = 20) -> Node:
    """Volume-weighted moving average: Σ x·volume / Σ volume; NaN where nothing traded.

    >>> from gapless.features import sample
    >>> sample("vwma(close, 2)", close=[1, 2, 6], volume=[1, 1, 3])
    [nan, 1.5, 5.0]
    """
    return total(x * bars.volume, length) / total(bars.volume, length)


@feature("moving", source="Mulloy, Smoothing Data with Faster Moving Averages, 1994")
def dema(x: Node, length: int) -> Node:
    """Double exponential moving average: 2·e − ema(e), with e = ema(x).

    >>> from gapless.features import sample
    >>> sample("dema(close, 2)", close=[1, 2, 3, 4])
    [nan, nan, 3.0, 4.0]
    """
    once = ema(x, length)
    return 2.0 * once - ema(once, length)


@feature("moving", source="Mulloy, Smoothing Data with Faster Moving Averages, 1994")
def tema(x: Node, length: int) -> Node:
    """Triple exponential moving average: 3·e − 3·ema(e) + ema(ema(e)), with e = ema(x).

    >>> from gapless.features import sample
    >>> sample("tema(close, 2)", close=[1, 2, 3, 4, 5])
    [nan, nan, nan, 4.0, 5.0]
    """
    once = ema(x, length)
    twice = ema(once, length)
    return 3.0 * once - 3.0 * twice + ema(twice, length)


@feature("moving", source="Kaufman, Trading Systems and Methods, 1995; started as in TA-Lib")
def kama(x: Node, length: int = 10, fast: int = 2, slow: int = 30) -> Node:
    """Kaufman's adaptive moving average: y + c²·(x − y), between the rates of a fast and a slow exponential mean.

    c = e·(2/(fast + 1) − 2/(slow + 1)) + 2/(slow + 1), with the efficiency e = |x − x[t − n]| / Σ |changes|, 0 where
    nothing moved. It starts from the value before its first.

    >>> from gapless.features import sample
    >>> sample("kama(close, 2)", close=[1, 2, 3, 3, 3])
    [nan, nan, 2.444444, 2.691358, 2.692643]
    """
    way = total(abs(x - x.lag(1)), length)
    moved = way.of("above", 0.0, params=(0.0,))
    efficiency = moved.of("where", abs(x - x.lag(length)) / way, way - way)
    rate = efficiency * (2 / (fast + 1) - 2 / (slow + 1)) + 2 / (slow + 1)
    return x.of("kama", rate * rate, x.lag(1))
