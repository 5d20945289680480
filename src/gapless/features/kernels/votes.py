"""Votes and their count, with Pine's comparisons: an absolute tolerance, and no comparison with na holds."""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import OF_LANES, Lane, compiled, kernel

nan = np.nan
ONE = 1024.0  # a tally is 1024 × votes counted + their sum: one whole number, exact


@kernel(OF_LANES, code.ABOVE)
def lane_above(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    p = par[0]
    for i in range(o.shape[0]):
        o[i] = 1.0 if x[i] - y[i] > p else 0.0


@kernel(OF_LANES, code.SIDE)
def lane_side(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """1 where x lies above y, −1 below, 0 where they differ by p·|x| at most; NaN where one is unknown."""
    p = par[0]
    for i in range(o.shape[0]):
        d = x[i] - y[i]
        side = 0.0 if abs(d) <= p * abs(x[i]) else (1.0 if d > 0.0 else -1.0)
        o[i] = side if d - d == 0.0 else nan


@kernel(OF_LANES, code.BALLOT)
def lane_ballot(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        vote = x[i] - y[i]
        o[i] = vote if z[i] - z[i] == 0.0 else nan


@kernel(OF_LANES, code.TALLY)
def lane_tally(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """Count votes x and y (2 for z: it is a tally, as y is for 1)."""
    p = par[0]
    for i in range(o.shape[0]):
        o[i] = counted(x[i]) + (y[i] if p == 1.0 else counted(y[i])) + (z[i] if p == 2.0 else 0.0)


@kernel(OF_LANES, code.SHARE)
def lane_share(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        n = members(x[i])
        share = (x[i] - ONE * n) / n
        o[i] = share if n > 0.0 else nan


@kernel(OF_LANES, code.BLEND)
def lane_blend(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = blended(x[i], y[i])


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
