"""Momentum."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.moving import rma
from gapless.features.registry import feature


@feature("momentum", bounds=(0.0, 100.0), source="Wilder, New Concepts in Technical Trading Systems, 1978")
def rsi(x: Node, length: int = 14) -> Node:
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
