"""Moving averages."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.windows import mean
from gapless.features.registry import feature


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
