"""Stateless operators: one loop over a lane each, whether the lane is a stretch of time or of symbols."""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, compiled, driver

nan = np.nan
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 cut after 33 bits: exponent × this is exact
_LN2_LOW = 1.90821492927058770002e-10  # the rest
_TINY = 2.2250738585072014e-308  # the least normal number


@compiled
def log_step(v: float) -> float:
    """Natural logarithm from + − × / only, so that every processor gives the same bits; at most 1 ulp off.

    v = 2^k · (1 + f) with √½ ≤ 1 + f < √2. With s = f / (2 + f): log(1 + f) = 2·atanh(s) = 2s + s·R, where
    R = 2(s²/3 + s⁴/5 + …). As 2s = f − s·f and s·f = f²/2 − s·f²/2, the sum is f − (f²/2 − s·(f²/2 + R)): the large
    term f is exact, the rounded rest is small.
    """
    if not v > 0.0:
        return -np.inf if v == 0.0 else nan
    if v == np.inf:
        return np.inf
    k = 0
    if v < _TINY:
        v = v * 18014398509481984.0  # 2^54
        k = -54
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
def lane_arithmetic(op: int, x: Lane, y: Lane, o: Lane) -> None:  # noqa: C901 - a dispatch table; Numba has no other
    """Operators of one or two inputs that compute."""
    m = o.shape[0]
    if op == code.ADD:
        for i in range(m):
            o[i] = x[i] + y[i]
    elif op == code.SUB:
        for i in range(m):
            o[i] = x[i] - y[i]
    elif op == code.MUL:
        for i in range(m):
            o[i] = x[i] * y[i]
    elif op == code.DIV:
        for i in range(m):
            o[i] = x[i] / y[i]
    elif op == code.RATIO:
        for i in range(m):
            o[i] = x[i] / y[i] if y[i] != 0.0 else nan
    elif op == code.ABS:
        for i in range(m):
            o[i] = abs(x[i])
    elif op == code.SQRT:
        for i in range(m):
            o[i] = np.sqrt(x[i])
    elif op == code.LOG:
        for i in range(m):
            o[i] = log_step(x[i])
    elif op == code.FLOOR:
        for i in range(m):
            o[i] = np.floor(x[i])
    elif op == code.COPY:
        copy(x, o)


@driver
def copy(x: Lane, o: Lane) -> None:
    """Hand over a lane; every NaN becomes the same NaN, for processors differ in the sign of the one they make."""
    for i in range(o.shape[0]):
        v = x[i]
        o[i] = v if v == v else nan


@compiled
def lane_select(op: int, x: Lane, y: Lane, z: Lane, o: Lane) -> None:  # noqa: C901 - a dispatch table
    """Operators that choose one input. A NaN input gives NaN, but for those that take the one that is known."""
    m = o.shape[0]
    if op == code.MAX:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w > u or w != w) else u
    elif op == code.MIN:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w < u or w != w) else u
    elif op == code.KNOWN_MAX:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w > u or u != u) else u
    elif op == code.KNOWN_MIN:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w < u or u != u) else u
    elif op == code.POSITIVE:
        for i in range(m):
            u = x[i]
            o[i] = 0.0 if u < 0.0 else u
    elif op == code.WHERE:
        for i in range(m):
            u = x[i]
            o[i] = nan if u != u else (y[i] if u != 0.0 else z[i])
    elif op == code.FIRST_KNOWN:
        for i in range(m):
            u = x[i]
            o[i] = u if u == u else y[i]


@compiled
def lane_compare(op: int, x: Lane, y: Lane, o: Lane) -> None:
    """1.0 where the comparison holds, 0.0 where not, NaN where an input is NaN."""
    m = o.shape[0]
    if op == code.GREATER:
        for i in range(m):
            o[i] = 1.0 if x[i] > y[i] else 0.0
    elif op == code.GREATER_EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] >= y[i] else 0.0
    elif op == code.EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] == y[i] else 0.0
    elif op == code.NOT_EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] != y[i] else 0.0
    for i in range(m):
        if x[i] != x[i] or y[i] != y[i]:
            o[i] = nan


@compiled
def lane_join(op: int, x: Lane, y: Lane, z: Lane, o: Lane, p: float, q: float) -> None:
    """The joins of two windows: their sums relative to the newest value, weighted sums, centred second moments."""
    m = o.shape[0]
    if op == code.SHIFTED:
        for i in range(m):
            o[i] = x[i] + y[i] + p * z[i]
    elif op == code.DRIFT:
        for i in range(m):
            o[i] = x[i] / p - (y[i] / q + z[i])
    elif op == code.SQUARED:
        for i in range(m):
            o[i] = x[i] + y[i] + z[i] * z[i] * p
