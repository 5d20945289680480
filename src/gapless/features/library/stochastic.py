"""Where the price stands between the lows and the highs of a window.

%K and %D smooth as TradingView's sma does: over the last n *known* values, and where the range is 0 (0/0) the last
result stands.
"""

from __future__ import annotations

from gapless.errors import ExpressionError
from gapless.features.graph import Node
from gapless.features.library.momentum import rsi
from gapless.features.library.windows import extreme, highest, lowest, mean
from gapless.features.registry import CLOSE, Bars, feature


def steady(x: Node, length: int) -> Node:
    """The mean of the last n known values; on a missing one the last result stands."""
    return x.of("steady", mean(x, length), params=(float(length),))


@feature("momentum", bounds=(0.0, 100.0), source="Lane; TradingView ta.stoch")
def stoch(bars: Bars, length: int = 14) -> Node:
    """Raw stochastic %K: 100·(close − lowest low) / (highest high − lowest low); NaN where the range is 0.

    >>> from gapless.features import sample
    >>> sample("stoch(2)", high=[3, 4, 4], low=[1, 2, 4], close=[2, 4, 4])
    [nan, 100.0, 100.0]
    """
    low = lowest(bars.low, length)
    return 100.0 * (bars.close - low) / (highest(bars.high, length) - low)


@feature("momentum", bounds=(0.0, 100.0), source="Lane; TradingView, Stoch (14, 3, 3)")
def stoch_k(bars: Bars, length: int = 14, smooth: int = 3) -> Node:
    """Slow stochastic %K: the mean of the last ``smooth`` raw values; smooth 1 is the fast one.

    Where the range is 0 the last value stands.

    >>> from gapless.features import sample
    >>> sample("stoch_k(1, 2)", high=[4, 4, 4], low=[0, 0, 4], close=[1, 2, 4])
    [nan, 37.5, 37.5]
    """
    return steady(stoch(bars, length), smooth)


@feature("momentum", bounds=(0.0, 100.0), source="Lane; TradingView, Stoch (14, 3, 3)")
def stoch_d(bars: Bars, length: int = 14, smooth: int = 3, signal: int = 3) -> Node:
    """Stochastic %D: the mean of the last ``signal`` values of %K.

    >>> from gapless.features import sample
    >>> sample("stoch_d(1, 1, 2)", high=[4, 4, 4], low=[0, 0, 0], close=[1, 2, 3])
    [nan, 37.5, 62.5]
    """
    return steady(stoch_k(bars, length, smooth), signal)


@feature(
    "momentum", bounds=(0.0, 100.0), source="Chande, Kroll, The New Technical Trader, 1994; TradingView, Stoch RSI"
)
def stochrsi_k(x: Node = CLOSE, length: int = 14, stoch: int = 14, smooth: int = 3) -> Node:
    """Stochastic RSI %K: the stochastic of Wilder's RSI over ``stoch`` bars, smoothed.

    Highest and lowest are those of the values there are, as on TradingView: it begins before ``stoch`` values exist.

    >>> from gapless.features import sample
    >>> sample("stochrsi_k(close, 2, 2, 1)", close=[1, 2, 3, 2, 3, 2])
    [nan, nan, nan, 0.0, 100.0, 0.0]
    """
    if stoch < 2:
        raise ExpressionError("a stochastic of one value has no range.", hint="stoch is at least 2")
    strength = rsi(x, length)
    high = strength.of("max", extreme(strength, stoch - 1, "known_max").lag(1))
    low = strength.of("min", extreme(strength, stoch - 1, "known_min").lag(1))
    return steady(100.0 * (strength - low) / (high - low), smooth)


@feature(
    "momentum", bounds=(0.0, 100.0), source="Chande, Kroll, The New Technical Trader, 1994; TradingView, Stoch RSI"
)
def stochrsi_d(x: Node = CLOSE, length: int = 14, stoch: int = 14, smooth: int = 3, signal: int = 3) -> Node:
    """Stochastic RSI %D: the mean of the last ``signal`` values of %K.

    >>> from gapless.features import sample
    >>> sample("stochrsi_d(close, 2, 2, 1, 2)", close=[1, 2, 3, 2, 3, 2])
    [nan, nan, nan, nan, 50.0, 50.0]
    """
    return steady(stochrsi_k(x, length, stoch, smooth), signal)
