"""Votes and their count, with Pine's comparisons: an absolute tolerance, and no comparison with na holds."""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, compiled

nan = np.nan
ONE = 1024.0  # a tally is 1024 × votes counted + their sum: one whole number, exact


@compiled
def lane_vote(op: int, x: Lane, y: Lane, z: Lane, o: Lane, p: float) -> None:  # noqa: C901 - a dispatch table
    """Comparisons of the ratings, votes, their count."""
    m = o.shape[0]
    if op == code.ABOVE:
        for i in range(m):
            o[i] = 1.0 if x[i] - y[i] > p else 0.0
    elif op == code.SIDE:
        for i in range(m):
            o[i] = side_of(x[i], y[i], p)
    elif op == code.BALLOT:
        for i in range(m):
            o[i] = x[i] - y[i] if z[i] - z[i] == 0.0 else nan
    elif op == code.TALLY:
        for i in range(m):
            o[i] = counted(x[i]) + (y[i] if p == 1.0 else counted(y[i])) + (z[i] if p == 2.0 else 0.0)
    elif op == code.SHARE:
        for i in range(m):
            n = members(x[i])
            o[i] = (x[i] - ONE * n) / n if n > 0.0 else nan
    elif op == code.BLEND:
        for i in range(m):
            o[i] = blended(x[i], y[i])


@compiled
def side_of(v: float, w: float, p: float) -> float:
    """1 where v lies above w, −1 below, 0 where they differ by p·|v| at most; NaN where one is unknown."""
    d = v - w
    if d - d != 0.0:
        return nan
    if abs(d) <= p * abs(v):
        return 0.0
    return 1.0 if d > 0.0 else -1.0


@compiled
def counted(vote: float) -> float:
    """What a vote adds to a tally."""
    return ONE + vote if vote == vote else 0.0


@compiled
def members(tally: float) -> float:
    """How many votes a tally holds."""
    return float(np.floor((tally + ONE / 2) / ONE))


@compiled
def blended(a: float, b: float) -> float:
    """The mean of two tallies' shares, an exact fraction rounded once; one share where the other has no votes."""
    n, m = members(a), members(b)
    u, w = a - ONE * n, b - ONE * m
    if n == 0.0 and m == 0.0:
        return nan
    if n == 0.0:
        return w / m
    if m == 0.0:
        return u / n
    return (u * m + w * n) / (2.0 * n * m)
