"""Rolling windows as trees of lagged joins: a window of 2p bars is the window of p and the window of p, p bars earlier.

A window of n is joined from its powers of two, newest first; equal levels are one node of the graph. Nothing is ever
subtracted from a running total: a value is a pure function of its window, whatever the start or the chunking, an
outlier leaves with its window, and a missing value in the window makes the result missing.

Second moments carry sums *relative to the newest value*: A = Σ (x[i] − x[t]), and Q = Σ (x[i] − mean)². For a newer
part (A, Q of n bars) and an older one (B, R of p bars), with g = x[t − n] − x[t]:
A' = A + B + p·g, d = A/n − (B/p + g), Q' = Q + R + d²·n·p/(n + p)  (Chan, Golub, LeVeque 1979).
"""

from __future__ import annotations

from collections.abc import Iterator

from gapless.errors import ExpressionError
from gapless.features.graph import Node
from gapless.features.registry import feature


def parts(length: int) -> Iterator[tuple[int, int]]:
    """The powers of two that make up ``length``, greatest first, each with the bars already joined before it.

    >>> list(parts(21))
    [(16, 0), (4, 16), (1, 20)]
    """
    done = 0
    for bit in reversed(range(length.bit_length())):
        if length >> bit & 1:
            yield 1 << bit, done
            done += 1 << bit


@feature("windows", name="sum")
def total(x: Node, length: int) -> Node:
    """Rolling sum: Σ x over the last ``length`` bars, added pairwise.

    >>> from gapless.features import sample
    >>> sample("sum(close, 3)", close=[1, 2, 4, 8])
    [nan, nan, 7.0, 14.0]
    """

    def level(bars: int) -> Node:
        return x if bars == 1 else (half := level(bars // 2)) + half.lag(bars // 2)

    (first, _), *rest = parts(length)
    joined = level(first)
    for bars, done in rest:
        joined = joined + level(bars).lag(done)
    return joined


@feature("windows")
def mean(x: Node, length: int) -> Node:
    """Rolling arithmetic mean: Σ x / n.

    >>> from gapless.features import sample
    >>> sample("mean(close, 2)", close=[1, 2, 4, None, 8])
    [nan, 1.5, 3.0, nan, nan]
    """
    return total(x, length) / length


def extreme(x: Node, length: int, op: str) -> Node:
    """Two overlapping windows of the greatest power of two that fits."""
    bars, level = 1, x
    while 2 * bars <= length:
        level = level.of(op, level.lag(bars))
        bars *= 2
    return level if bars == length else level.of(op, level.lag(length - bars))


@feature("windows", name="max")
def highest(x: Node, length: int) -> Node:
    """Rolling maximum.

    >>> from gapless.features import sample
    >>> sample("max(close, 2)", close=[1, 3, 2, 2])
    [nan, 3.0, 3.0, 2.0]
    """
    return extreme(x, length, "max")


@feature("windows", name="min")
def lowest(x: Node, length: int) -> Node:
    """Rolling minimum.

    >>> from gapless.features import sample
    >>> sample("min(close, 2)", close=[1, 3, 2, 2])
    [nan, 1.0, 2.0, 2.0]
    """
    return extreme(x, length, "min")


def spread(x: Node, length: int) -> tuple[Node, Node]:
    """A = Σ (x[i] − x[t]) and Q = Σ (x[i] − mean)² over the window."""
    zero = x - x  # NaN where x is

    def level(bars: int) -> tuple[Node, Node]:
        if bars == 1:
            return zero, zero
        half = level(bars // 2)
        return _join(x, half, bars // 2, half, bars // 2)

    (first, _), *rest = parts(length)
    joined = level(first)
    for bars, done in rest:
        joined = _join(x, joined, done, level(bars), bars)
    return joined


def _join(x: Node, newer: tuple[Node, Node], n: int, older: tuple[Node, Node], p: int) -> tuple[Node, Node]:
    (a, q), (b, r) = newer, (older[0].lag(n), older[1].lag(n))
    gap = x.lag(n) - x
    apart = a.of("drift", b, gap, params=(float(n), float(p)))
    return a.of("shifted", b, gap, params=(float(p), 0.0)), q.of("squared", r, apart, params=(n * p / (n + p), 0.0))


@feature("windows", bounds=(0.0, None))
def var(x: Node, length: int, ddof: int = 0) -> Node:
    """Rolling variance: Σ (x − mean)² / (n − ddof); ddof 0 is the population's, 1 the sample's.

    >>> from gapless.features import sample
    >>> sample("var(close, 3, 1)", close=[1, 2, 4, 8])
    [nan, nan, 2.333333, 9.333333]
    """
    if ddof >= length:
        raise ExpressionError(f"ddof {ddof} leaves nothing of a length of {length}.", hint="ddof is 0 or 1")
    return spread(x, length)[1] / (length - ddof)


@feature("windows", bounds=(0.0, None))
def std(x: Node, length: int, ddof: int = 0) -> Node:
    """Rolling standard deviation: the root of ``var``.

    >>> from gapless.features import sample
    >>> sample("std(close, 2)", close=[1, 3, 3])
    [nan, 1.0, 0.0]
    """
    return var(x, length, ddof).of("sqrt")


@feature("windows", least=2)
def zscore(x: Node, length: int, ddof: int = 0) -> Node:
    """How many standard deviations the newest value lies from the window's mean, itself included.

    (x − mean) / std; NaN where all values are equal. The distance is −A / n, never a difference of two large numbers.

    >>> from gapless.features import sample
    >>> sample("zscore(close, 3)", close=[1, 2, 3, 3, 3])
    [nan, nan, 1.224745, 0.707107, nan]
    """
    distance, _ = spread(x, length)
    return distance / -length / std(x, length, ddof)
