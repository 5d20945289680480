"""The two drivers that walk a program over the kernels.

A program is rows of ``(operator, output slot, x, lag of x, y, lag of y, z, lag of z, state offset, stage)`` with three
parameters each; recursions of one stage do not need each other. Both drivers hand the operators contiguous *lanes*:
**batch** a stretch of time of one symbol, **live** one bar of many. Every operator is one function that both drivers
call. There is no third path and no second definition.

Any change that can alter a bit of any result must raise ``KERNEL_VERSION`` in graph.py: it is part of every feature's
version. How the kernels are cached: ``kernels/compiled.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels import across, lanes, machines, recursions, votes, windows
from gapless.features.kernels.across import run_across
from gapless.features.kernels.compiled import Lane, Rows, Table, announced, compiled, driver
from gapless.features.kernels.lanes import copy, lane_arithmetic, lane_compare, lane_join, lane_select
from gapless.features.kernels.machines import machine_symbols, machine_time
from gapless.features.kernels.recursions import recur_four, recur_symbols, recur_time, view
from gapless.features.kernels.votes import lane_vote
from gapless.features.kernels.windows import fold, fold_start, ordered_once, ordered_time


@compiled
def stateless(op: int, x: Lane, y: Lane, z: Lane, o: Lane, p: float, q: float) -> None:
    """Any operator without state or window, on one lane."""
    if op <= code.COPY:
        lane_arithmetic(op, x, y, o)
    elif op <= code.FIRST_KNOWN:
        lane_select(op, x, y, z, o)
    elif op <= code.NOT_EQUAL:
        lane_compare(op, x, y, o)
    elif op <= code.BLEND:
        lane_vote(op, x, y, z, o, p)
    else:
        lane_join(op, x, y, z, o, p, q)


@driver
def run_batch(prog: Table, par: Rows, buf: Rows, st: Lane, a: int, b: int) -> None:
    """One symbol: each instruction over the bars ``[a, b)``. ``buf`` is (slot, time); lags reach back before ``a``."""
    pc, count = np.int64(0), prog.shape[0]  # typed: a literal would be compiled a second time
    while pc < count:
        op = prog[pc, 0]
        if code.EMA <= op <= code.RMA:
            pc = recur_batch(prog, par, buf, st, pc, a, b)
            continue
        x = view(buf, prog[pc, 2], prog[pc, 3], a, b)
        y = view(buf, prog[pc, 4], prog[pc, 5], a, b)
        z = view(buf, prog[pc, 6], prog[pc, 7], a, b)
        o = buf[prog[pc, 1], a:b]
        if op <= code.SQUARED:
            stateless(op, x, y, z, o, par[pc, 0], par[pc, 1])
        elif op <= code.AGE:
            fold_start(op, y, o)
            for j in range(int(par[pc, 0]) - 1, -1, -1):
                fold(op, view(buf, prog[pc, 2], prog[pc, 3] + j, a, b), y, o, j, par[pc, 1])
        elif op <= code.ROBUST_ZSCORE:
            ordered_time(op, buf[prog[pc, 2]], a - prog[pc, 3], int(par[pc, 0]), par[pc, 1], o)
        else:
            machine_time(op, x, y, z, o, st.reshape((st.shape[0], 1)), prog[pc, 8], par[pc])
        pc += np.int64(1)


@compiled
def recur_batch(prog: Table, par: Rows, buf: Rows, st: Lane, pc: np.int64, a: int, b: int) -> np.int64:
    """Up to four exponential means of one stage, from ``pc`` on; the instruction after them."""
    one = np.int64(1)
    last, k = pc, int(prog[pc, 8])
    while last + 1 < prog.shape[0] and last < pc + 3 and prog[last + 1, 9] == prog[pc, 9]:
        if not code.EMA <= prog[last + 1, 0] <= code.RMA:
            break
        last += one
    if last == pc:
        x = view(buf, prog[pc, 2], prog[pc, 3], a, b)
        recur_time(prog[pc, 0], x, buf[prog[pc, 1], a:b], st[k : k + 3], par[pc, 0], par[pc, 1])
    else:
        recur_four(prog, par, buf, st, (pc, pc + one, min(pc + one + one, last), last), a, b)
    return last + one


@compiled
def past(hist: Rows, base: int, mask: int, heads: Table, who: Table, lag: int, o: Lane) -> None:
    """The values ``lag`` bars ago, in each symbol's own bars."""
    for i in range(o.shape[0]):
        s = who[i]
        o[i] = hist[base + ((heads[s] - lag) & mask), s]


@driver
def run_live(
    prog: Table, par: Rows, cur: Rows, st: Rows,
    hist: Rows, rings: Table, heads: Table, who: Table,
) -> None:  # fmt: skip
    """One bar of the symbols ``who``: each instruction over their lane, then what lags will ask for is kept.

    ``cur`` is (slot, lane), its last three rows scratch; ``st`` (state, symbol); ``hist`` (row, symbol) holds one ring
    per kept slot, ``rings`` (slot, 2) its first row and its size − 1; ``heads`` counts each symbol's bars.
    """
    m, level = who.shape[0], aligned(heads, who)
    for pc in range(prog.shape[0]):
        op = prog[pc, 0]
        x = lagged(prog, pc, 0, cur, hist, rings, heads, who, level)
        y = lagged(prog, pc, 1, cur, hist, rings, heads, who, level)
        z = lagged(prog, pc, 2, cur, hist, rings, heads, who, level)
        o = cur[prog[pc, 1], :m]
        if op <= code.SQUARED:
            stateless(op, x, y, z, o, par[pc, 0], par[pc, 1])
        elif op <= code.AGE:
            fold_live(prog, par, pc, x, y, o, cur[cur.shape[0] - 3, :m], hist, rings, heads, who, level)
        elif op <= code.ROBUST_ZSCORE:
            ordered_live(prog, par, pc, x, o, hist, rings, heads, who)
        elif op <= code.RMA:
            recur_symbols(op, x, o, st, prog[pc, 8], who, par[pc, 0], par[pc, 1], level)
        else:
            machine_symbols(op, x, y, z, o, st, prog[pc, 8], who, par[pc], level)
    keep(cur, hist, rings, heads, who, level)


@compiled
def aligned(heads: Table, who: Table) -> bool:
    """Do the first symbols step, in order, each with as many bars behind it? Then rows of the rings are lanes."""
    same = True
    for i in range(who.shape[0]):
        same = same and who[i] == i and heads[i] == heads[0]
    return same


@compiled
def lagged(
    prog: Table, pc: int, j: int, cur: Rows, hist: Rows, rings: Table, heads: Table, who: Table, level: bool
) -> Lane:
    """Operand ``j`` of an instruction: a slot's lane, a row of its ring, or gathered from the ring into scratch."""
    m, slot, lag = who.shape[0], prog[pc, 2 + 2 * j], prog[pc, 3 + 2 * j]
    if lag == 0 or m == 0:
        return cur[slot, :m]
    if level:
        return hist[rings[slot, 0] + ((heads[0] - lag) & rings[slot, 1]), :m]
    past(hist, rings[slot, 0], rings[slot, 1], heads, who, lag, cur[cur.shape[0] - 3 + j, :m])
    return cur[cur.shape[0] - 3 + j, :m]


@compiled
def fold_live(
    prog: Table, par: Rows, pc: int, x: Lane, y: Lane, o: Lane, scratch: Lane,
    hist: Rows, rings: Table, heads: Table, who: Table, level: bool,
) -> None:  # fmt: skip
    """A fold of every symbol's window; ``scratch`` is overwritten, and may be where ``x`` stands."""
    m, slot, lag = who.shape[0], prog[pc, 2], prog[pc, 3]
    newest = x.copy()
    fold_start(prog[pc, 0], y, o)
    for j in range(int(par[pc, 0]) - 1, 0, -1):
        if level and m > 0:
            fold(prog[pc, 0], hist[rings[slot, 0] + ((heads[0] - lag - j) & rings[slot, 1]), :m], y, o, j, par[pc, 1])
        else:
            past(hist, rings[slot, 0], rings[slot, 1], heads, who, lag + j, scratch)
            fold(prog[pc, 0], scratch, y, o, j, par[pc, 1])
    fold(prog[pc, 0], newest, y, o, 0, par[pc, 1])


@compiled
def ordered_live(
    prog: Table, par: Rows, pc: int, x: Lane, o: Lane, hist: Rows, rings: Table, heads: Table, who: Table
) -> None:
    """An ordered window of every symbol."""
    slot, lag, n = prog[pc, 2], prog[pc, 3], int(par[pc, 0])
    values, window = np.empty(n), np.empty(n)
    for i in range(o.shape[0]):
        s = who[i]
        for j in range(1, n):
            values[n - 1 - j] = hist[rings[slot, 0] + ((heads[s] - lag - j) & rings[slot, 1]), s]
        values[n - 1] = x[i]
        o[i] = ordered_once(prog[pc, 0], values, window, par[pc, 1])


@compiled
def keep(cur: Rows, hist: Rows, rings: Table, heads: Table, who: Table, level: bool) -> None:
    """Write the lanes that lags will ask for into their rings, and count the bar."""
    m = who.shape[0]
    for slot in range(rings.shape[0]):
        base, mask = rings[slot]
        if mask < 0 or m == 0:
            continue
        if level:
            row = hist[base + (heads[0] & mask), :m]
            for i in range(m):
                row[i] = cur[slot, i]
        else:
            for i in range(m):
                hist[base + (heads[who[i]] & mask), who[i]] = cur[slot, i]
    for i in range(m):
        heads[who[i]] += 1


class Kernels(NamedTuple):
    """The two drivers, the copy, and sections; ``prove`` runs others than the compiled ones."""

    run_batch: Callable[..., None]
    run_live: Callable[..., None]
    copy: Callable[..., None]
    run_across: Callable[..., None]


COMPILED = Kernels(announced(run_batch), announced(run_live), copy, announced(run_across))


def interpreted(**replaced: Callable[..., Any]) -> Kernels:
    """The same functions run by Python itself, some of them ``replaced``: what the compiler is proved against."""
    space: dict[str, Any] = {}
    for module in (lanes, votes, windows, recursions, machines, across):
        space |= vars(module)
    space |= globals()
    for name, function in list(space.items()):
        if hasattr(function, "py_func"):
            plain = function.py_func
            space[name] = FunctionType(plain.__code__, space, name, plain.__defaults__)
    space.update(replaced)
    return Kernels(space["run_batch"], space["run_live"], space["copy"], space["run_across"])
