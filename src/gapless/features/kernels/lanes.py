"""Stateless operators: one loop over a lane each, whether the lane is a stretch of time or of symbols.

All take up to three lanes, the lane of results and the operator's parameters.
"""

from __future__ import annotations

from math import frexp

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import OF_LANES, Lane, compiled, driver, kernel

nan = np.nan
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 cut after 33 bits: exponent × this is exact
_LN2_LOW = 1.90821492927058770002e-10  # the rest
_TINY = 2.2250738585072014e-308  # the least normal number


@compiled
def log_normal(v: float, k: int) -> float:
    """Natural logarithm of 2^k · v, v a normal positive number, from + − × / only: every processor gives the same bits.

    At most 1 ulp off. v = 2^j · (1 + f) with √½ ≤ 1 + f < √2. With s = f / (2 + f): log(1 + f) = 2·atanh(s) =
    2s + s·R, where R = 2(s²/3 + s⁴/5 + …). As 2s = f − s·f and s·f = f²/2 − s·f²/2, the sum is
    f − (f²/2 − s·(f²/2 + R)): the large term f is exact, the rounded rest is small.
    """
    bits = np.float64(v).view(np.int64)
    k += int(bits >> 52) - 1023
    m = np.int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    if m > 1.4142135623730951:
        m = m * 0.5
        k += 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = 1.0 / 19 + z * (1.0 / 21 + z * (1.0 / 23))
    r = 1.0 / 11 + z * (1.0 / 13 + z * (1.0 / 15 + z * (1.0 / 17 + z * r)))
    r = 2.0 * z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * r))))
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + r) + k * _LN2_LOW)) - f)


@compiled
def log_step(v: float) -> float:
    """Natural logarithm of anything."""
    if not v > 0.0:
        return -np.inf if v == 0.0 else nan
    if v == np.inf:
        return np.inf
    if v < _TINY:
        return log_normal(v * 18014398509481984.0, -54)  # 2^54
    return log_normal(v, 0)


@compiled
def is_power_of_two(p: float) -> bool:
    """Is dividing by ``p`` the same, to the bit, as multiplying by 1 / p?"""
    return frexp(p)[0] == 0.5


@kernel(OF_LANES, code.ADD)
def lane_add(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = x[i] + y[i]


@kernel(OF_LANES, code.SUB)
def lane_sub(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = x[i] - y[i]


@kernel(OF_LANES, code.MUL)
def lane_mul(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = x[i] * y[i]


@kernel(OF_LANES, code.DIV)
def lane_div(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = x[i] / y[i]


@kernel(OF_LANES, code.RATIO)
def lane_ratio(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """A quotient that is missing where the divisor is 0."""
    for i in range(o.shape[0]):
        o[i] = x[i] / y[i] if y[i] != 0.0 else nan


@kernel(OF_LANES, code.ABS)
def lane_abs(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = abs(x[i])


@kernel(OF_LANES, code.SQRT)
def lane_sqrt(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = np.sqrt(x[i])


@kernel(OF_LANES, code.LOG)
def lane_log(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """The loop for normal positive numbers has no branch; whatever else there is, is put right afterwards."""
    odd = 0
    for i in range(o.shape[0]):
        o[i] = log_normal(x[i], 0)
        odd += 0 if x[i] >= _TINY and x[i] < np.inf else 1
    for i in range(o.shape[0] if odd else 0):
        if not (x[i] >= _TINY and x[i] < np.inf):
            o[i] = log_step(x[i])


@kernel(OF_LANES, code.FLOOR)
def lane_floor(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = np.floor(x[i])


@compiled
def hand_over(x: Lane, o: Lane) -> None:
    """Every NaN becomes the same NaN: processors differ in the sign of the one they make."""
    for i in range(o.shape[0]):
        v = x[i]
        o[i] = v if v == v else nan


@kernel(OF_LANES, code.COPY)
def lane_copy(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    hand_over(x, o)


@driver
def copy(x: Lane, o: Lane) -> None:
    """``hand_over`` for Python."""
    hand_over(x, o)


@kernel(OF_LANES, code.MAX)
def lane_max(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = w if (w > u or w != w) else u


@kernel(OF_LANES, code.MIN)
def lane_min(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = w if (w < u or w != w) else u


@kernel(OF_LANES, code.KNOWN_MAX)
def lane_known_max(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = w if (w > u or u != u) else u


@kernel(OF_LANES, code.KNOWN_MIN)
def lane_known_min(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = w if (w < u or u != u) else u


@kernel(OF_LANES, code.POSITIVE)
def lane_positive(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u = x[i]
        o[i] = 0.0 if u < 0.0 else u


@kernel(OF_LANES, code.WHERE)
def lane_where(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, yes, no = x[i], y[i], z[i]
        o[i] = nan if u != u else (yes if u != 0.0 else no)


@kernel(OF_LANES, code.FIRST_KNOWN)
def lane_first_known(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = u if u == u else w


@kernel(OF_LANES, code.GREATER)
def lane_greater(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """As the other comparisons 1.0 where it holds, 0.0 where not, NaN where an input is NaN."""
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = nan if u != u or w != w else (1.0 if u > w else 0.0)


@kernel(OF_LANES, code.GREATER_EQUAL)
def lane_greater_equal(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = nan if u != u or w != w else (1.0 if u >= w else 0.0)


@kernel(OF_LANES, code.EQUAL)
def lane_equal(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = nan if u != u or w != w else (1.0 if u == w else 0.0)


@kernel(OF_LANES, code.NOT_EQUAL)
def lane_not_equal(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        u, w = x[i], y[i]
        o[i] = nan if u != u or w != w else (1.0 if u != w else 0.0)


@kernel(OF_LANES, code.SHIFTED)
def lane_shifted(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """Two windows' sums relative to the newest value, joined."""
    p = par[0]
    for i in range(o.shape[0]):
        o[i] = x[i] + y[i] + p * z[i]


@kernel(OF_LANES, code.DRIFT)
def lane_drift(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """How far the means of two windows lie apart."""
    p, q = par[0], par[1]
    if is_power_of_two(p) and is_power_of_two(q):
        p, q = 1.0 / p, 1.0 / q
        for i in range(o.shape[0]):
            o[i] = x[i] * p - (y[i] * q + z[i])
    else:
        for i in range(o.shape[0]):
            o[i] = x[i] / p - (y[i] / q + z[i])


@kernel(OF_LANES, code.SQUARED)
def lane_squared(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """Two windows' second moments, joined."""
    p = par[0]
    for i in range(o.shape[0]):
        o[i] = x[i] + y[i] + z[i] * z[i] * p
