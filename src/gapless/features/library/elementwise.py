"""Functions of one value, and of a value and an earlier one."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import feature


@feature("elementwise", name="abs", bounds=(0.0, None))
def absolute(x: Node) -> Node:
    """Absolute value: |x|."""
    return abs(x)


@feature("elementwise", bounds=(0.0, None))
def sqrt(x: Node) -> Node:
    """Square root; NaN below zero."""
    return x.of("sqrt")


@feature("elementwise")
def log(x: Node) -> Node:
    """Natural logarithm, the same bits on every processor; −inf at zero, NaN below."""
    return x.of("log")


@feature("elementwise", bounds=(0.0, None))
def positive(x: Node) -> Node:
    """The positive part: x where x > 0, else 0."""
    return x.of("positive")


@feature("elementwise")
def lag(x: Node, length: int = 1) -> Node:
    """The value ``length`` bars ago: x[t − n]."""
    return x.lag(length)


@feature("elementwise")
def diff(x: Node, length: int = 1) -> Node:
    """Change over ``length`` bars: x[t] − x[t − n]."""
    return x - x.lag(length)
