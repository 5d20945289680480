"""Moving averages."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.windows import mean
from gapless.features.registry import feature


@feature("moving", source="TradingView ta.sma")
def sma(x: Node, length: int) -> Node:
    """Simple moving average: Σ x / n, the same node as ``mean``."""
    return mean(x, length)


@feature("moving", source="TradingView ta.ema")
def ema(x: Node, length: int) -> Node:
    """Exponential moving average: y + 2/(n + 1)·(x − y), seeded with the mean of the first n values.

    A missing input gives NaN and keeps the state.
    """
    return x.of("ema", params=(float(length), 2.0 / (length + 1)))


@feature("moving", source="Wilder, New Concepts in Technical Trading Systems, 1978; TradingView ta.rma")
def rma(x: Node, length: int) -> Node:
    """Wilder's moving average: (y·(n − 1) + x) / n, seeded with the mean of the first n values.

    A missing input gives NaN and keeps the state.
    """
    return x.of("rma", params=(float(length), 0.0))
