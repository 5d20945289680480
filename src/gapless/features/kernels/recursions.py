"""Exponential means: one step function, run along time, four side by side, or over symbols."""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, Rows, Table, compiled

nan = np.nan
Step = tuple[float, float, float, float]
Four = tuple[np.int64, np.int64, np.int64, np.int64]


@compiled
def view(buf: Rows, slot: int, lag: int, a: int, b: int) -> Lane:
    """A slot over the bars ``[a, b)``, read at a lag."""
    return buf[slot, a - lag : b - lag]


@compiled
def quotient(s: float, e: float, n: float) -> float:
    """(s + e) / n, rounded once: the mean of n equal values is that value, to the bit."""
    q = (s + e) / n
    big = q * 134217729.0  # 2^27 + 1 splits q into two halves, whose products with n are exact
    high = big - (big - q)
    low = q - high
    rest = ((s - high * n) - low * n) + e
    return q + rest / n if rest - rest == 0.0 else q


@compiled
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
    s = quotient(s, e, n)
    return s, s, c, 0.0


@compiled
def ema_next(v: float, y: float, alpha: float) -> float:
    """An exponential mean, once seeded."""
    return y + alpha * (v - y)


@compiled
def rma_next(v: float, y: float, n: float) -> float:
    """Wilder's mean, once seeded."""
    return (y * (n - 1.0) + v) / n


@compiled
def ema_step(v: float, y: float, c: float, e: float, n: float, alpha: float) -> Step:
    """One step of an exponential mean seeded with the mean of its first n values: (value, state, count, owed).

    A missing or infinite input gives NaN and leaves the state alone.
    """
    if v - v != 0.0:
        return nan, y, c, e
    if c >= n:
        y = ema_next(v, y, alpha)
        return y, y, c, e
    return seed_step(v, y, c, e, n)


@compiled
def rma_step(v: float, y: float, c: float, e: float, n: float) -> Step:
    """One step of Wilder's mean, seeded likewise: (value, state, count, owed)."""
    if v - v != 0.0:
        return nan, y, c, e
    if c >= n:
        y = rma_next(v, y, n)
        return y, y, c, e
    return seed_step(v, y, c, e, n)


@compiled
def recur_step(op: int, v: float, y: float, c: float, e: float, p: float, q: float) -> Step:
    """One step of any recursion."""
    if op == code.EMA:
        return ema_step(v, y, c, e, p, q)
    return rma_step(v, y, c, e, p)


@compiled
def recur_time(op: int, x: Lane, o: Lane, s: Lane, p: float, q: float) -> None:
    """A recursion along a stretch of time; its state stays in registers."""
    y, c, e = s[0], s[1], s[2]
    for i in range(o.shape[0]):
        o[i], y, c, e = recur_step(op, x[i], y, c, e, p, q)
    s[0], s[1], s[2] = y, c, e


@compiled
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


@compiled
def recur_symbols(op: int, x: Lane, o: Lane, st: Rows, k: int, who: Table, p: float, q: float, level: bool) -> None:
    """One step of a recursion for every symbol in ``who``; ``st`` is (state, symbol).

    ``level``: they are the first symbols, in order; where all are seeded and nothing is missing the lane is one loop.
    """
    m, settled = o.shape[0], 0
    y, c, e = st[k], st[k + 1], st[k + 2]
    if level:
        for i in range(m):
            settled += 1 if x[i] - x[i] == 0.0 and c[i] >= p else 0
    if settled < m:
        for i in range(m):
            s = who[i]
            o[i], y[s], c[s], e[s] = recur_step(op, x[i], y[s], c[s], e[s], p, q)
    elif op == code.EMA:
        for i in range(m):
            y[i] = ema_next(x[i], y[i], q)
            o[i] = y[i]
    else:
        for i in range(m):
            y[i] = rma_next(x[i], y[i], p)
            o[i] = y[i]
