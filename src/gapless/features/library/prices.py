"""Prices of a bar."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import Bars, feature


@feature("prices")
def hl2(bars: Bars) -> Node:
    """The middle of the bar: (high + low) / 2.

    >>> from gapless.features import sample
    >>> sample("hl2()", high=[3, 4], low=[1, 3])
    [2.0, 3.5]
    """
    return (bars.high + bars.low) / 2.0


@feature("prices")
def hlc3(bars: Bars) -> Node:
    """The typical price: (high + low + close) / 3.

    >>> from gapless.features import sample
    >>> sample("hlc3()", high=[3], low=[1], close=[2.6])
    [2.2]
    """
    return (bars.high + bars.low + bars.close) / 3.0


@feature("prices")
def hlcc4(bars: Bars) -> Node:
    """The weighted close: (high + low + 2·close) / 4.

    >>> from gapless.features import sample
    >>> sample("hlcc4()", high=[3], low=[1], close=[2.6])
    [2.3]
    """
    return (bars.high + bars.low + bars.close + bars.close) / 4.0


@feature("prices")
def ohlc4(bars: Bars) -> Node:
    """The mean price: (open + high + low + close) / 4.

    >>> from gapless.features import sample
    >>> sample("ohlc4()", open=[1], high=[3], low=[1], close=[2])
    [1.75]
    """
    return (bars.open + bars.high + bars.low + bars.close) / 4.0
