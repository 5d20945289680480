"""Returns."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import feature


@feature("returns")
def log_return(x: Node, length: int = 1) -> Node:
    """Logarithmic return over ``length`` bars: log(x[t] / x[t − n])."""
    return (x / x.lag(length)).of("log")
