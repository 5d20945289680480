"""Returns."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import feature


@feature("returns")
def log_return(x: Node, length: int = 1) -> Node:
    """Logarithmic return over ``length`` bars: log(x[t] / x[t − n]).

    >>> from gapless.features import sample
    >>> sample("log_return(close)", close=[1, 2, 1])
    [nan, 0.693147, -0.693147]
    """
    return (x / x.lag(length)).of("log")
