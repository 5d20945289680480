"""Functions of one value, and of a value and an earlier one."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import feature


@feature("elementwise", name="abs", bounds=(0.0, None))
def absolute(x: Node) -> Node:
    """Absolute value: |x|.

    >>> from gapless.features import sample
    >>> sample("abs(close)", close=[-2, 3])
    [2.0, 3.0]
    """
    return abs(x)


@feature("elementwise", bounds=(0.0, None))
def sqrt(x: Node) -> Node:
    """Square root; NaN below zero.

    >>> from gapless.features import sample
    >>> sample("sqrt(close)", close=[4, -1])
    [2.0, nan]
    """
    return x.of("sqrt")


@feature("elementwise")
def log(x: Node) -> Node:
    """Natural logarithm, the same bits on every processor; −inf at zero, NaN below.

    >>> from gapless.features import sample
    >>> sample("log(close)", close=[1, 2, 0])
    [0.0, 0.693147, -inf]
    """
    return x.of("log")


@feature("elementwise", bounds=(0.0, None))
def positive(x: Node) -> Node:
    """The positive part: x where x > 0, else 0.

    >>> from gapless.features import sample
    >>> sample("positive(close)", close=[-2, 3])
    [0.0, 3.0]
    """
    return x.of("positive")


@feature("elementwise")
def lag(x: Node, length: int = 1) -> Node:
    """The value ``length`` bars ago: x[t − n].

    >>> from gapless.features import sample
    >>> sample("lag(close, 2)", close=[1, 2, 4])
    [nan, nan, 1.0]
    """
    return x.lag(length)


@feature("elementwise")
def diff(x: Node, length: int = 1) -> Node:
    """Change over ``length`` bars: x[t] − x[t − n].

    >>> from gapless.features import sample
    >>> sample("diff(close)", close=[1, 2, 4])
    [nan, 1.0, 2.0]
    """
    return x - x.lag(length)
