"""Returns."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import CLOSE, feature


@feature("returns")
def log_return(x: Node = CLOSE, length: int = 1) -> Node:
    """Logarithmic return over ``length`` bars: log(x[t] / x[t − n]).

    >>> from gapless.features import sample
    >>> sample("log_return(close)", close=[1, 2, 1])
    [nan, 0.693147, -0.693147]
    """
    return (x / x.lag(length)).of("log")


@feature("returns")
def simple_return(x: Node = CLOSE, length: int = 1) -> Node:
    """Simple return over ``length`` bars: x[t] / x[t − n] − 1.

    >>> from gapless.features import sample
    >>> sample("simple_return(close)", close=[1, 2, 1])
    [nan, 1.0, -0.5]
    """
    return (x - x.lag(length)) / x.lag(length)
