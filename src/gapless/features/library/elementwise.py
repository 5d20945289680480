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


@feature("elementwise", bounds=(-1.0, 1.0))
def sign(x: Node) -> Node:
    """Sign: 1 above 0, −1 below, 0 at it.

    >>> from gapless.features import sample
    >>> sample("sign(close)", close=[-2, 0, 3])
    [-1.0, 0.0, 1.0]
    """
    return x.of("side", 0.0, params=(0.0,))


@feature("elementwise")
def floor(x: Node) -> Node:
    """The greatest whole number not above x.

    >>> from gapless.features import sample
    >>> sample("floor(close)", close=[-1.5, 2.7])
    [-2.0, 2.0]
    """
    return x.of("floor")


@feature("elementwise")
def where(condition: Node, x: Node | float, y: Node | float) -> Node:
    """x where the condition holds (is not 0), y where it does not; NaN where it is missing.

    >>> from gapless.features import sample
    >>> sample("where(close > open, 1, -close)", close=[3, 2, None], open=[2, 2, 2])
    [1.0, -2.0, nan]
    """
    return condition.of("where", x, y)


@feature("elementwise")
def greatest(x: Node, y: Node | float) -> Node:
    """The greater of two values; NaN where one is missing. Over a window: ``max``.

    >>> from gapless.features import sample
    >>> sample("greatest(close, 2)", close=[1, 3])
    [2.0, 3.0]
    """
    return x.of("max", y)


@feature("elementwise")
def least(x: Node, y: Node | float) -> Node:
    """The lesser of two values; NaN where one is missing. Over a window: ``min``.

    >>> from gapless.features import sample
    >>> sample("least(close, 2)", close=[1, 3])
    [1.0, 2.0]
    """
    return x.of("min", y)


@feature("elementwise")
def first_known(x: Node, y: Node | float) -> Node:
    """x, or y where x is missing.

    >>> from gapless.features import sample
    >>> sample("first_known(close, 0)", close=[1, None, 3])
    [1.0, 0.0, 3.0]
    """
    return x.of("first_known", y)
