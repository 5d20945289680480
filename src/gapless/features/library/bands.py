"""Bands and channels around a price."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.moving import ema
from gapless.features.library.volatility import atr
from gapless.features.library.windows import highest, lowest, mean, std
from gapless.features.registry import CLOSE, Bars, feature

_BOLLINGER = "Bollinger on Bollinger Bands, 2001; TradingView ta.bb"
_KELTNER = "Keltner, as changed by Raschke; StockCharts, TradingView, Keltner Channels"
_DONCHIAN = "Donchian; TradingView, Donchian Channels"


@feature("bands", source=_BOLLINGER)
def bb_upper(x: Node = CLOSE, length: int = 20, width: float = 2.0) -> Node:
    """Upper Bollinger band: mean + width · standard deviation (the population's).

    >>> from gapless.features import sample
    >>> sample("bb_upper(close, 2)", close=[1, 3, 3])
    [nan, 4.0, 3.0]
    """
    return mean(x, length) + width * std(x, length)


@feature("bands", source=_BOLLINGER)
def bb_middle(x: Node = CLOSE, length: int = 20) -> Node:
    """Middle Bollinger band: the mean.

    >>> from gapless.features import sample
    >>> sample("bb_middle(close, 2)", close=[1, 3, 3])
    [nan, 2.0, 3.0]
    """
    return mean(x, length)


@feature("bands", source=_BOLLINGER)
def bb_lower(x: Node = CLOSE, length: int = 20, width: float = 2.0) -> Node:
    """Lower Bollinger band: mean − width · standard deviation (the population's).

    >>> from gapless.features import sample
    >>> sample("bb_lower(close, 2)", close=[1, 3, 3])
    [nan, 0.0, 3.0]
    """
    return mean(x, length) - width * std(x, length)


@feature("bands", source=_BOLLINGER)
def bb_width(x: Node = CLOSE, length: int = 20, width: float = 2.0) -> Node:
    """Bollinger band width: (upper − lower) / middle, a share; TradingView shows it times 100.

    >>> from gapless.features import sample
    >>> sample("bb_width(close, 2)", close=[1, 3, 3])
    [nan, 2.0, 0.0]
    """
    return 2.0 * width * std(x, length) / mean(x, length)


@feature("bands", source=_BOLLINGER)
def bb_percent(x: Node = CLOSE, length: int = 20, width: float = 2.0) -> Node:
    """Bollinger %b: (x − lower) / (upper − lower), 0 at the lower band and 1 at the upper; NaN where they meet.

    >>> from gapless.features import sample
    >>> sample("bb_percent(close, 2)", close=[1, 3, 3])
    [nan, 0.75, nan]
    """
    half = width * std(x, length)
    return (x - mean(x, length) + half).of("ratio", 2.0 * half)


@feature("bands", source=_KELTNER)
def kc_upper(bars: Bars, x: Node = CLOSE, length: int = 20, width: float = 2.0, atr_length: int = 10) -> Node:
    """Upper Keltner channel: ema(x, n) + width · atr(atr_length).

    TradingView's ta.kc takes ``ema(tr(), n)`` as the range instead: ``ema(close, 20) + 1.5 * ema(tr(), 20)``.

    >>> from gapless.features import sample
    >>> sample("kc_upper(close, 2, 1, 1)", high=[2, 4], low=[1, 3], close=[1, 3])
    [nan, 5.0]
    """
    return ema(x, length) + width * atr(bars, atr_length)


@feature("bands", source=_KELTNER)
def kc_lower(bars: Bars, x: Node = CLOSE, length: int = 20, width: float = 2.0, atr_length: int = 10) -> Node:
    """Lower Keltner channel: ema(x, n) − width · atr(atr_length).

    >>> from gapless.features import sample
    >>> sample("kc_lower(close, 2, 1, 1)", high=[2, 4], low=[1, 3], close=[1, 3])
    [nan, -1.0]
    """
    return ema(x, length) - width * atr(bars, atr_length)


@feature("bands", source=_DONCHIAN)
def donchian_upper(bars: Bars, length: int = 20) -> Node:
    """Upper Donchian channel: the highest high of the last n bars, the current included.

    >>> from gapless.features import sample
    >>> sample("donchian_upper(2)", high=[3, 4, 2])
    [nan, 4.0, 4.0]
    """
    return highest(bars.high, length)


@feature("bands", source=_DONCHIAN)
def donchian_lower(bars: Bars, length: int = 20) -> Node:
    """Lower Donchian channel: the lowest low of the last n bars, the current included.

    >>> from gapless.features import sample
    >>> sample("donchian_lower(2)", low=[3, 4, 5])
    [nan, 3.0, 4.0]
    """
    return lowest(bars.low, length)


@feature("bands", source=_DONCHIAN)
def donchian_middle(bars: Bars, length: int = 20) -> Node:
    """Middle of the Donchian channel: (highest high + lowest low) / 2.

    >>> from gapless.features import sample
    >>> sample("donchian_middle(2)", high=[3, 4, 2], low=[1, 2, 1])
    [nan, 2.5, 2.5]
    """
    return (highest(bars.high, length) + lowest(bars.low, length)) / 2.0
