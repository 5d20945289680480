"""Two series over one window: covariance, correlation, regression.

The tree of ``windows`` with C = Σ (x − mean x)(y − mean y) in the place of Q: joining a newer part of n bars and an
older one of p gives C' = C + C_old + dx·dy·n·p/(n + p), with d the distance of the parts' means. A pair with a missing
side makes every window that holds it missing.
"""

from __future__ import annotations

from gapless.errors import ExpressionError
from gapless.features.graph import Node
from gapless.features.library.windows import parts, spread
from gapless.features.registry import feature


def crossed(x: Node, y: Node, length: int) -> Node:
    """C = Σ (x − mean x)(y − mean y) over the window."""
    zero = (x - x) + (y - y)

    def level(bars: int) -> Node:
        return zero if bars == 1 else join(bars // 2, level(bars // 2), bars // 2, level(bars // 2))

    def join(n: int, newer: Node, p: int, older: Node) -> Node:
        apart = _apart(x, n, p) * _apart(y, n, p)
        return newer.of("shifted", older.lag(n), apart, params=(n * p / (n + p), 0.0))

    (first, _), *rest = parts(length)
    joined = level(first)
    for bars, done in rest:
        joined = join(done, joined, bars, level(bars))
    return joined


def _apart(x: Node, n: int, p: int) -> Node:
    """Mean of the newest n values less the mean of the p before them."""
    newer, older = spread(x, n)[0], spread(x, p)[0].lag(n)
    return newer.of("drift", older, x.lag(n) - x, params=(float(n), float(p)))


@feature("windows", least=2)
def cov(x: Node, y: Node, length: int, ddof: int = 0) -> Node:
    """Rolling covariance: Σ (x − mean x)(y − mean y) / (n − ddof).

    >>> from gapless.features import sample
    >>> sample("cov(close, open, 3)", close=[1, 2, 3, 3], open=[2, 4, 6, 9])
    [nan, nan, 1.333333, 0.777778]
    """
    if ddof >= length:
        raise ExpressionError(f"ddof {ddof} leaves nothing of a length of {length}.", hint="ddof is 0 or 1")
    return crossed(x, y, length) / (length - ddof)


@feature("windows", bounds=(-1.0, 1.0), least=2)
def corr(x: Node, y: Node, length: int) -> Node:
    """Rolling correlation (Pearson's); NaN where one side is flat.

    >>> from gapless.features import sample
    >>> sample("corr(close, open, 3)", close=[1, 2, 3, 3], open=[2, 4, 6, 1])
    [nan, nan, 1.0, -0.114708]
    """
    scale = spread(x, length)[1].of("sqrt") * spread(y, length)[1].of("sqrt")
    return (crossed(x, y, length) / scale).of("max", -1.0).of("min", 1.0)


@feature("windows", least=2)
def beta(x: Node, y: Node, length: int) -> Node:
    """Rolling beta: the least-squares slope of x on y, cov(x, y) / var(y); NaN where y is flat.

    With returns of an instrument as x and of a benchmark as y: how much of the benchmark's move it makes. Covariance
    and variance have one divisor, so a series' beta to itself is 1.

    >>> from gapless.features import sample
    >>> sample("beta(close, open, 3)", close=[1, 2, 3, 3], open=[2, 4, 6, 1])
    [nan, nan, 0.5, -0.026316]
    """
    return crossed(x, y, length) / spread(y, length)[1]
