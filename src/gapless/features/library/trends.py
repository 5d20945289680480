"""Straight lines through a window, and means that weigh recent values more.

Trees as in ``windows``. A weighted sum W = Σ w·x (weights 1 … n, newest n) of a newer part (n bars, sum S) and an older
one (p bars) joins to W' = W + W_old + p·S. A line needs B = Σ j·(x[t − j] − x[t]), relative to the newest value:
B' = B + B_old + n·A_old + (p·(p − 1)/2 + n·p)·g.
"""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.windows import parts
from gapless.features.registry import feature


def weighted(x: Node, length: int) -> Node:
    """Σ w·x with weights 1 … n, the newest n."""

    def level(bars: int) -> tuple[Node, Node]:
        if bars == 1:
            return x, x
        half = level(bars // 2)
        return join(half, bars // 2, half, bars // 2)

    def join(newer: tuple[Node, Node], n: int, older: tuple[Node, Node], p: int) -> tuple[Node, Node]:
        (s, w), (t, v) = newer, (older[0].lag(n), older[1].lag(n))
        return s + t, w.of("shifted", v, s, params=(float(p), 0.0))

    (first, _), *rest = parts(length)
    joined = level(first)
    for bars, done in rest:
        joined = join(joined, done, level(bars), bars)
    return joined[1]


def aged(x: Node, length: int) -> tuple[Node, Node]:
    """A = Σ (x[t − j] − x[t]) and B = Σ j·(x[t − j] − x[t]) over the window."""
    zero = x - x

    def level(bars: int) -> tuple[Node, Node]:
        if bars == 1:
            return zero, zero
        half = level(bars // 2)
        return join(half, bars // 2, half, bars // 2)

    def join(newer: tuple[Node, Node], n: int, older: tuple[Node, Node], p: int) -> tuple[Node, Node]:
        (a, b), (c, d) = newer, (older[0].lag(n), older[1].lag(n))
        gap = x.lag(n) - x
        steps = p * (p - 1) / 2 + n * p
        below = b.of("shifted", d, c, params=(float(n), 0.0))
        return a.of("shifted", c, gap, params=(float(p), 0.0)), below.of("shifted", zero, gap, params=(steps, 0.0))

    (first, _), *rest = parts(length)
    joined = level(first)
    for bars, done in rest:
        joined = join(joined, done, level(bars), bars)
    return joined


@feature("windows", least=2)
def slope(x: Node, length: int) -> Node:
    """Slope of the least-squares line through the last ``length`` values, per bar.

    >>> from gapless.features import sample
    >>> sample("slope(close, 3)", close=[1, 2, 4, 4])
    [nan, nan, 1.5, 1.0]
    """
    a, b = aged(x, length)
    return (a * ((length - 1) / 2) - b) / (length * (length * length - 1) / 12)


@feature("windows", source="TradingView ta.linreg, offset 0", least=2)
def linreg(x: Node, length: int) -> Node:
    """Linear regression: where the least-squares line through the last ``length`` values ends.

    >>> from gapless.features import sample
    >>> sample("linreg(close, 3)", close=[1, 2, 4, 4])
    [nan, nan, 3.833333, 4.333333]
    """
    a, _ = aged(x, length)
    return x + (a / length + slope(x, length) * ((length - 1) / 2))
