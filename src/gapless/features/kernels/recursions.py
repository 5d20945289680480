"""Exponential means: one step function, run along time, four side by side, or over symbols."""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import (
    BATCH,
    LIVE,
    OF_FOUR,
    OF_SYMBOLS,
    Lane,
    Rows,
    Table,
    compiled,
    flat,
    kernel,
)

nan = np.nan
Step = tuple[float, float, float, float]
Base = Table  # a list of whole numbers


@compiled
def view(buf: Rows, base: Base, slot: int, lag: int, a: int, b: int) -> Lane:
    """A slot over the bars ``[a, b)``, read at a lag; where ``base`` holds a place, that is where it always stands."""
    start = a - lag if base[slot] < 0 else base[slot]
    return flat(buf, slot * buf.shape[1] + start, b - a)


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
def settled(v: Lane, count: float, n: float) -> bool:
    """Is the seed behind, and nothing missing ahead?"""
    known = 0
    for i in range(v.shape[0]):
        known += 1 if v[i] - v[i] == 0.0 else 0
    return bool(known == v.shape[0] and count >= n)


@compiled
def ema_time(x: Lane, o: Lane, s: Lane, n: float, alpha: float) -> None:
    """One exponential mean along time, whatever comes."""
    y, c, e = s[0], s[1], s[2]
    for i in range(o.shape[0]):
        o[i], y, c, e = ema_step(x[i], y, c, e, n, alpha)
    s[0], s[1], s[2] = y, c, e


@compiled
def rma_time(x: Lane, o: Lane, s: Lane, n: float) -> None:
    """One of Wilder's means along time, whatever comes."""
    y, c, e = s[0], s[1], s[2]
    for i in range(o.shape[0]):
        o[i], y, c, e = rma_step(x[i], y, c, e, n)
    s[0], s[1], s[2] = y, c, e


@compiled
def calm(prog: Table, par: Rows, buf: Rows, base: Base, st: Lane, pc: int, last: int, a: int, b: int) -> bool:
    """Are some recursions all past their seeds, with nothing missing in ``[a, b)``?"""
    for i in range(pc, last + 1):
        x = view(buf, base, prog[i, 2], prog[i, 3], a, b)
        if not settled(x, st[prog[i, 8] + 1], par[i, 0]):
            return False
    return True


@kernel(OF_FOUR, code.EMA, drivers=(BATCH,))
def four_ema(prog: Table, par: Rows, buf: Rows, base: Base, st: Lane, pc: int, last: int, a: int, b: int) -> None:
    """Up to four exponential means along time, side by side: each alone only waits for its own last result.

    One may stand twice among the four: it then computes the same and stores the same.
    """
    if not calm(prog, par, buf, base, st, pc, last, a, b):
        for i in range(pc, last + 1):
            x, o = view(buf, base, prog[i, 2], prog[i, 3], a, b), view(buf, base, prog[i, 1], 0, a, b)
            ema_time(x, o, st[prog[i, 8] :], par[i, 0], par[i, 1])
        return
    i0, i1, i2, i3 = pc, min(pc + 1, last), min(pc + 2, last), last
    o0, o1 = view(buf, base, prog[i0, 1], 0, a, b), view(buf, base, prog[i1, 1], 0, a, b)
    o2, o3 = view(buf, base, prog[i2, 1], 0, a, b), view(buf, base, prog[i3, 1], 0, a, b)
    x0, x1 = view(buf, base, prog[i0, 2], prog[i0, 3], a, b), view(buf, base, prog[i1, 2], prog[i1, 3], a, b)
    x2, x3 = view(buf, base, prog[i2, 2], prog[i2, 3], a, b), view(buf, base, prog[i3, 2], prog[i3, 3], a, b)
    k0, k1, k2, k3 = prog[i0, 8], prog[i1, 8], prog[i2, 8], prog[i3, 8]
    y0, y1, y2, y3 = st[k0], st[k1], st[k2], st[k3]
    q0, q1, q2, q3 = par[i0, 1], par[i1, 1], par[i2, 1], par[i3, 1]
    for i in range(b - a):
        v0, v1, v2, v3 = x0[i], x1[i], x2[i], x3[i]
        y0, y1, y2, y3 = ema_next(v0, y0, q0), ema_next(v1, y1, q1), ema_next(v2, y2, q2), ema_next(v3, y3, q3)
        o0[i], o1[i], o2[i], o3[i] = y0, y1, y2, y3
    st[k0], st[k1], st[k2], st[k3] = y0, y1, y2, y3


@kernel(OF_FOUR, code.RMA, drivers=(BATCH,))
def four_rma(prog: Table, par: Rows, buf: Rows, base: Base, st: Lane, pc: int, last: int, a: int, b: int) -> None:
    """Up to four of Wilder's means along time, likewise."""
    if not calm(prog, par, buf, base, st, pc, last, a, b):
        for i in range(pc, last + 1):
            x, o = view(buf, base, prog[i, 2], prog[i, 3], a, b), view(buf, base, prog[i, 1], 0, a, b)
            rma_time(x, o, st[prog[i, 8] :], par[i, 0])
        return
    i0, i1, i2, i3 = pc, min(pc + 1, last), min(pc + 2, last), last
    o0, o1 = view(buf, base, prog[i0, 1], 0, a, b), view(buf, base, prog[i1, 1], 0, a, b)
    o2, o3 = view(buf, base, prog[i2, 1], 0, a, b), view(buf, base, prog[i3, 1], 0, a, b)
    x0, x1 = view(buf, base, prog[i0, 2], prog[i0, 3], a, b), view(buf, base, prog[i1, 2], prog[i1, 3], a, b)
    x2, x3 = view(buf, base, prog[i2, 2], prog[i2, 3], a, b), view(buf, base, prog[i3, 2], prog[i3, 3], a, b)
    k0, k1, k2, k3 = prog[i0, 8], prog[i1, 8], prog[i2, 8], prog[i3, 8]
    y0, y1, y2, y3 = st[k0], st[k1], st[k2], st[k3]
    n0, n1, n2, n3 = par[i0, 0], par[i1, 0], par[i2, 0], par[i3, 0]
    for i in range(b - a):
        v0, v1, v2, v3 = x0[i], x1[i], x2[i], x3[i]
        y0, y1, y2, y3 = rma_next(v0, y0, n0), rma_next(v1, y1, n1), rma_next(v2, y2, n2), rma_next(v3, y3, n3)
        o0[i], o1[i], o2[i], o3[i] = y0, y1, y2, y3
    st[k0], st[k1], st[k2], st[k3] = y0, y1, y2, y3


@compiled
def all_settled(x: Lane, c: Lane, n: float) -> bool:
    """Is every symbol's seed behind, and nothing missing?"""
    known = 0
    for i in range(x.shape[0]):
        known += 1 if x[i] - x[i] == 0.0 and c[i] >= n else 0
    return bool(known == x.shape[0])


@kernel(OF_SYMBOLS, code.EMA, drivers=(LIVE,))
def symbols_ema(x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Base, level: bool, par: Lane) -> None:
    """One step of an exponential mean of every symbol in ``who``; ``st`` is (number, symbol), from row ``k`` on.

    ``level``: they are the first symbols, in order; where all are seeded and nothing is missing the lane is one loop.
    """
    u, c, e = st[k], st[k + 1], st[k + 2]
    if level and all_settled(x, c, par[0]):
        for i in range(o.shape[0]):
            u[i] = ema_next(x[i], u[i], par[1])
            o[i] = u[i]
    else:
        for i in range(o.shape[0]):
            s = who[i]
            o[i], u[s], c[s], e[s] = ema_step(x[i], u[s], c[s], e[s], par[0], par[1])


@kernel(OF_SYMBOLS, code.RMA, drivers=(LIVE,))
def symbols_rma(x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Base, level: bool, par: Lane) -> None:
    """One step of Wilder's mean of every symbol, likewise."""
    u, c, e = st[k], st[k + 1], st[k + 2]
    if level and all_settled(x, c, par[0]):
        for i in range(o.shape[0]):
            u[i] = rma_next(x[i], u[i], par[0])
            o[i] = u[i]
    else:
        for i in range(o.shape[0]):
            s = who[i]
            o[i], u[s], c[s], e[s] = rma_step(x[i], u[s], c[s], e[s], par[0])
