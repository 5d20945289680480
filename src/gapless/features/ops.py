"""The kernels: every operator once, and the two drivers that walk a program over them.

A program is rows of ``(operator, output slot, x, lag of x, y, lag of y, z, lag of z, state offset, stage)`` with two
parameters each; recursions of one stage do not need each other. Both drivers hand the operators contiguous *lanes*:
**batch** a stretch of time of one symbol, **live** one bar of many. A stateless operator is one loop over a lane;
a recursion is one step function that both drivers call. There is no third path and no second definition.

Everything stands in this one file because Numba's disk cache looks only at the file of the function it compiles: a
kernel whose primitive was edited in another file would be served stale. No fastmath: it breaks NaN and the order of
additions. Any change that can alter a bit of any result must raise ``KERNEL_VERSION`` in graph.py: it is part of every
feature's version.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Lane = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]
Table = npt.NDArray[np.int64]
Step = tuple[float, float, float, float]
Four = tuple[np.int64, np.int64, np.int64, np.int64]

# The dispatch below relies on this order: arithmetic, selection, comparison, window joins, recursions.
CODES = (
    "add", "sub", "mul", "div", "abs", "sqrt", "log", "copy",
    "max", "min", "known_max", "positive",
    "greater", "greater_equal", "equal", "not_equal",
    "shifted", "drift", "squared",
    "ema", "rma",
)  # fmt: skip
ADD, SUB, MUL, DIV, ABS, SQRT, LOG, COPY = range(8)
MAX, MIN, KNOWN_MAX, POSITIVE = range(8, 12)
GREATER, GREATER_EQUAL, EQUAL, NOT_EQUAL = range(12, 16)
SHIFTED, DRIFT, SQUARED = range(16, 19)
EMA, RMA = range(19, 21)

nan = np.nan
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 cut after 33 bits: exponent × this is exact
_LN2_LOW = 1.90821492927058770002e-10  # the rest
_TINY = 2.2250738585072014e-308  # the least normal number


def _cacheable() -> bool:
    """Can Numba write its cache next to this file or in the user's directory? If nowhere, compile in memory."""
    try:
        numba.njit(cache=True)(_cacheable)
    except RuntimeError:  # numba's word for "no locator available"
        return False
    return True


_OPTIONS = {"nogil": True, "cache": _cacheable(), "error_model": "numpy"}


def _compiled(function: F) -> F:
    return cast(F, numba.njit(**_OPTIONS)(function))


@_compiled
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


@_compiled
def lane_arithmetic(op: int, x: Lane, y: Lane, o: Lane) -> None:  # noqa: C901 - a dispatch table; Numba has no other
    """Operators of one or two inputs that compute."""
    m = o.shape[0]
    if op == ADD:
        for i in range(m):
            o[i] = x[i] + y[i]
    elif op == SUB:
        for i in range(m):
            o[i] = x[i] - y[i]
    elif op == MUL:
        for i in range(m):
            o[i] = x[i] * y[i]
    elif op == DIV:
        for i in range(m):
            o[i] = x[i] / y[i]
    elif op == ABS:
        for i in range(m):
            o[i] = abs(x[i])
    elif op == SQRT:
        for i in range(m):
            o[i] = np.sqrt(x[i])
    elif op == LOG:
        for i in range(m):
            o[i] = log_step(x[i])
    elif op == COPY:
        copy(x, o)


@_compiled
def copy(x: Lane, o: Lane) -> None:
    """Hand over a lane; every NaN becomes the same NaN, for processors differ in the sign of the one they make."""
    for i in range(o.shape[0]):
        v = x[i]
        o[i] = v if v == v else nan


@_compiled
def lane_select(op: int, x: Lane, y: Lane, o: Lane) -> None:
    """Operators that choose one input. A NaN input gives NaN, but for KNOWN_MAX, which takes the one that is known."""
    m = o.shape[0]
    if op == MAX:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w > u or w != w) else u
    elif op == MIN:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w < u or w != w) else u
    elif op == KNOWN_MAX:
        for i in range(m):
            u, w = x[i], y[i]
            o[i] = w if (w > u or u != u) else u
    elif op == POSITIVE:
        for i in range(m):
            u = x[i]
            o[i] = 0.0 if u < 0.0 else u


@_compiled
def lane_compare(op: int, x: Lane, y: Lane, o: Lane) -> None:
    """1.0 where the comparison holds, 0.0 where not, NaN where an input is NaN."""
    m = o.shape[0]
    if op == GREATER:
        for i in range(m):
            o[i] = 1.0 if x[i] > y[i] else 0.0
    elif op == GREATER_EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] >= y[i] else 0.0
    elif op == EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] == y[i] else 0.0
    elif op == NOT_EQUAL:
        for i in range(m):
            o[i] = 1.0 if x[i] != y[i] else 0.0
    for i in range(m):
        if x[i] != x[i] or y[i] != y[i]:
            o[i] = nan


@_compiled
def lane_window(op: int, x: Lane, y: Lane, z: Lane, o: Lane, p: float, q: float) -> None:
    """The joins of two windows' sums relative to the newest value, and of their centred second moments."""
    m = o.shape[0]
    if op == SHIFTED:
        for i in range(m):
            o[i] = x[i] + y[i] + p * z[i]
    elif op == DRIFT:
        for i in range(m):
            o[i] = x[i] / p - (y[i] / q + z[i])
    elif op == SQUARED:
        for i in range(m):
            o[i] = x[i] + y[i] + z[i] * z[i] * p


@_compiled
def seed_step(v: float, y: float, c: float, e: float, n: float) -> Step:
    """One of the first n values of a seeded mean: (value, state, count, rounding still owed).

    The sum carries its rounding errors along, so the seed is the correctly rounded mean as TradingView's is.
    """
    s = y + v
    part = s - y
    e = e + ((y - (s - part)) + (v - part))
    c = c + 1.0
    if c < n:
        return nan, s, c, e
    s = (s + e) / n
    return s, s, c, 0.0


@_compiled
def ema_step(v: float, y: float, c: float, e: float, n: float, alpha: float) -> Step:
    """One step of an exponential mean seeded with the mean of its first n values: (value, state, count, owed).

    A missing or infinite input gives NaN and leaves the state alone.
    """
    if v - v != 0.0:
        return nan, y, c, e
    if c >= n:
        y = y + alpha * (v - y)
        return y, y, c, e
    return seed_step(v, y, c, e, n)


@_compiled
def rma_step(v: float, y: float, c: float, e: float, n: float) -> Step:
    """One step of Wilder's mean, seeded likewise: (value, state, count, owed)."""
    if v - v != 0.0:
        return nan, y, c, e
    if c >= n:
        y = (y * (n - 1.0) + v) / n
        return y, y, c, e
    return seed_step(v, y, c, e, n)


@_compiled
def recur_step(op: int, v: float, y: float, c: float, e: float, p: float, q: float) -> Step:
    """One step of any recursion."""
    if op == EMA:
        return ema_step(v, y, c, e, p, q)
    return rma_step(v, y, c, e, p)


@_compiled
def recur_time(op: int, x: Lane, o: Lane, s: Lane, p: float, q: float) -> None:
    """A recursion along a stretch of time; its state stays in registers."""
    y, c, e = s[0], s[1], s[2]
    for i in range(o.shape[0]):
        o[i], y, c, e = recur_step(op, x[i], y, c, e, p, q)
    s[0], s[1], s[2] = y, c, e


@_compiled
def recur_four(prog: Table, par: Rows, buf: Rows, st: Lane, four: Four, a: int, b: int) -> None:
    """Four independent recursions along time, side by side: each alone only waits for its own last result.

    One may stand twice among the four: it then computes the same and stores the same.
    """
    i0, i1, i2, i3 = four
    p0, p1, p2, p3 = par[i0], par[i1], par[i2], par[i3]
    op0, op1, op2, op3 = prog[i0, 0], prog[i1, 0], prog[i2, 0], prog[i3, 0]
    o0, o1, o2, o3 = buf[prog[i0, 1], a:b], buf[prog[i1, 1], a:b], buf[prog[i2, 1], a:b], buf[prog[i3, 1], a:b]
    x0, x1 = view(buf, prog[i0, 2], prog[i0, 3], a, b), view(buf, prog[i1, 2], prog[i1, 3], a, b)
    x2, x3 = view(buf, prog[i2, 2], prog[i2, 3], a, b), view(buf, prog[i3, 2], prog[i3, 3], a, b)
    k0, k1, k2, k3 = prog[i0, 8], prog[i1, 8], prog[i2, 8], prog[i3, 8]
    y0, c0, e0 = st[k0], st[k0 + 1], st[k0 + 2]
    y1, c1, e1 = st[k1], st[k1 + 1], st[k1 + 2]
    y2, c2, e2 = st[k2], st[k2 + 1], st[k2 + 2]
    y3, c3, e3 = st[k3], st[k3 + 1], st[k3 + 2]
    for i in range(b - a):
        v0, v1, v2, v3 = x0[i], x1[i], x2[i], x3[i]
        o0[i], y0, c0, e0 = recur_step(op0, v0, y0, c0, e0, p0[0], p0[1])
        o1[i], y1, c1, e1 = recur_step(op1, v1, y1, c1, e1, p1[0], p1[1])
        o2[i], y2, c2, e2 = recur_step(op2, v2, y2, c2, e2, p2[0], p2[1])
        o3[i], y3, c3, e3 = recur_step(op3, v3, y3, c3, e3, p3[0], p3[1])
    st[k0], st[k0 + 1], st[k0 + 2] = y0, c0, e0
    st[k1], st[k1 + 1], st[k1 + 2] = y1, c1, e1
    st[k2], st[k2 + 1], st[k2 + 2] = y2, c2, e2
    st[k3], st[k3 + 1], st[k3 + 2] = y3, c3, e3


@_compiled
def recur_symbols(op: int, x: Lane, o: Lane, st: Rows, k: int, who: Table, p: float, q: float) -> None:
    """One step of a recursion for every symbol in ``who``; ``st`` is (state, symbol)."""
    y, c, e = st[k], st[k + 1], st[k + 2]
    for i in range(o.shape[0]):
        s = who[i]
        o[i], y[s], c[s], e[s] = recur_step(op, x[i], y[s], c[s], e[s], p, q)


@_compiled
def stateless(op: int, x: Lane, y: Lane, z: Lane, o: Lane, p: float, q: float) -> None:
    """Any operator without state, on one lane."""
    if op <= COPY:
        lane_arithmetic(op, x, y, o)
    elif op <= POSITIVE:
        lane_select(op, x, y, o)
    elif op <= NOT_EQUAL:
        lane_compare(op, x, y, o)
    else:
        lane_window(op, x, y, z, o, p, q)


@_compiled
def view(buf: Rows, slot: int, lag: int, a: int, b: int) -> Lane:
    """A slot over the bars ``[a, b)``, read at a lag."""
    return buf[slot, a - lag : b - lag]


@_compiled
def run_batch(prog: Table, par: Rows, buf: Rows, st: Lane, a: int, b: int) -> None:
    """One symbol: each instruction over the bars ``[a, b)``. ``buf`` is (slot, time); lags reach back before ``a``."""
    pc, count = np.int64(0), prog.shape[0]  # typed: a literal would be compiled a second time
    while pc < count:
        op, k = prog[pc, 0], prog[pc, 8]
        if op < EMA:
            x = view(buf, prog[pc, 2], prog[pc, 3], a, b)
            y = view(buf, prog[pc, 4], prog[pc, 5], a, b)
            z = view(buf, prog[pc, 6], prog[pc, 7], a, b)
            stateless(op, x, y, z, buf[prog[pc, 1], a:b], par[pc, 0], par[pc, 1])
            pc += 1
            continue
        last = pc  # of up to four recursions of one stage
        while last + 1 < count and last < pc + 3 and prog[last + 1, 0] >= EMA and prog[last + 1, 9] == prog[pc, 9]:
            last += 1
        if last == pc:
            o = buf[prog[pc, 1], a:b]
            recur_time(op, view(buf, prog[pc, 2], prog[pc, 3], a, b), o, st[k : k + 3], par[pc, 0], par[pc, 1])
        else:
            recur_four(prog, par, buf, st, (pc, pc + 1, min(pc + 2, last), last), a, b)
        pc = last + 1


@_compiled
def past(hist: Rows, base: int, mask: int, heads: Table, who: Table, lag: int, o: Lane) -> None:
    """The values ``lag`` bars ago, in each symbol's own bars."""
    for i in range(o.shape[0]):
        s = who[i]
        o[i] = hist[base + ((heads[s] - lag) & mask), s]


@_compiled
def run_live(
    prog: Table, par: Rows, cur: Rows, st: Rows,
    hist: Rows, rings: Table, heads: Table, who: Table,
) -> None:  # fmt: skip
    """One bar of the symbols ``who``: each instruction over their lane, then what lags will ask for is kept.

    ``cur`` is (slot, lane), its last three rows scratch; ``st`` (state, symbol); ``hist`` (row, symbol) holds one ring
    per kept slot, ``rings`` (slot, 2) its first row and its size − 1; ``heads`` counts each symbol's bars.
    """
    m, scratch = who.shape[0], cur.shape[0] - 3
    for pc in range(prog.shape[0]):
        op = prog[pc, 0]
        for j in range(3):
            slot, lag = prog[pc, 2 + 2 * j], prog[pc, 3 + 2 * j]
            if lag > 0:
                past(hist, rings[slot, 0], rings[slot, 1], heads, who, lag, cur[scratch + j, :m])
        x = cur[prog[pc, 2] if prog[pc, 3] == 0 else scratch, :m]
        o = cur[prog[pc, 1], :m]
        if op >= EMA:
            recur_symbols(op, x, o, st, prog[pc, 8], who, par[pc, 0], par[pc, 1])
        else:
            y = cur[prog[pc, 4] if prog[pc, 5] == 0 else scratch + 1, :m]
            z = cur[prog[pc, 6] if prog[pc, 7] == 0 else scratch + 2, :m]
            stateless(op, x, y, z, o, par[pc, 0], par[pc, 1])
    keep(cur, hist, rings, heads, who)


@_compiled
def keep(cur: Rows, hist: Rows, rings: Table, heads: Table, who: Table) -> None:
    """Write the lanes that lags will ask for into their rings, and count the bar."""
    for slot in range(rings.shape[0]):
        if rings[slot, 1] >= 0:
            for i in range(who.shape[0]):
                s = who[i]
                hist[rings[slot, 0] + (heads[s] & rings[slot, 1]), s] = cur[slot, i]
    for i in range(who.shape[0]):
        heads[who[i]] += 1


class Kernels(NamedTuple):
    """The two drivers and the copy; ``prove`` runs others than the compiled ones."""

    run_batch: Callable[..., None]
    run_live: Callable[..., None]
    copy: Callable[..., None]


COMPILED = Kernels(run_batch, run_live, copy)


def interpreted(**replaced: Callable[..., Any]) -> Kernels:
    """The same functions run by Python itself, some of them ``replaced``: what the compiler is proved against."""
    space = dict(globals())
    for name, function in list(space.items()):
        if hasattr(function, "py_func"):
            plain = function.py_func
            space[name] = FunctionType(plain.__code__, space, name, plain.__defaults__)
    space.update(replaced)
    return Kernels(space["run_batch"], space["run_live"], space["copy"])
