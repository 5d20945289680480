"""The two drivers that walk a program over the kernels.

A program is rows of ``(operator, output slot, x, lag of x, y, lag of y, z, lag of z, state offset, stage)`` with three
parameters each; recursions of one stage do not need each other. Both drivers hand the operators contiguous *lanes*:
**batch** a stretch of time of one symbol, **live** one bar of many. Every operator is one function, or one step that
both drivers' loops call. There is no third path and no second definition.

Any change that can alter a bit of any result must raise ``KERNEL_VERSION`` in graph.py: it is part of every feature's
version. How the kernels are compiled, called and cached: ``kernels/compiled.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels import across, lanes, machines, recursions, votes, windows
from gapless.features.kernels.across import run_across
from gapless.features.kernels.compiled import (
    BATCH,
    KERNELS,
    LIVE,
    OF_FOUR,
    OF_LANES,
    OF_SYMBOLS,
    OF_TIME,
    Addresses,
    Lane,
    Rows,
    Table,
    call_driver,
    caller,
    compiled,
    driver,
    flat,
)
from gapless.features.kernels.lanes import copy, hand_over
from gapless.features.kernels.recursions import view
from gapless.features.kernels.windows import arrange
from gapless.features.program import Program

STRETCH = 1024  # bars an instruction runs over at once: its lanes should stay in the first-level cache
call_lanes, call_time, call_four, call_symbols = (caller(of) for of in (OF_LANES, OF_TIME, OF_FOUR, OF_SYMBOLS))


@driver
def drive_batch(
    table: Table, prog: Table, par: Rows, buf: Rows, base: Table, st: Lane, out: Rows, outputs: Table, kept: Table,
    a: int, b: int, at: int, stretch: int,
) -> None:  # fmt: skip
    """One symbol over the bars ``[a, b)``, a stretch at a time; the outputs go to ``out`` from ``at`` on.

    ``buf`` is (slot, time); lags reach back before ``a``. A slot that nobody reads at a lag stands at ``base`` in every
    stretch, so that it stays in the processor's cache. In the end the newest bars are put before ``a``, for the next.
    """
    for start in range(a, b, stretch):
        end = min(start + stretch, b)
        run_stretch(table, prog, par, buf, base, st, start, end)
        for k in range(outputs.shape[0]):
            lane = view(buf, base, outputs[k], 0, start, end)
            hand_over(lane, flat(out, k * out.shape[1] + at + start - a, end - start))
    for k in range(kept.shape[0]):
        first, bars = kept[k, 0] * buf.shape[1], kept[k, 1]
        before, newest = flat(buf, first + a - bars, bars), flat(buf, first + b - bars, bars)
        for i in range(bars):
            before[i] = newest[i]


@compiled
def run_stretch(table: Table, prog: Table, par: Rows, buf: Rows, base: Table, st: Lane, a: int, b: int) -> None:
    """Each instruction over the bars ``[a, b)``."""
    pc, count = np.int64(0), prog.shape[0]  # typed: a literal would be compiled a second time
    while pc < count:
        op = prog[pc, 0]
        address = table[op, 0]
        if code.EMA <= op <= code.RMA:
            last = last_of_four(prog, pc)
            call_four(address, prog, par, buf, base, st, pc, last, a, b)
            pc = last + np.int64(1)
            continue
        y = view(buf, base, prog[pc, 4], prog[pc, 5], a, b)
        z = view(buf, base, prog[pc, 6], prog[pc, 7], a, b)
        o = view(buf, base, prog[pc, 1], 0, a, b)
        q = flat(par, pc * par.shape[1], par.shape[1])
        if op <= code.SQUARED:
            call_lanes(address, view(buf, base, prog[pc, 2], prog[pc, 3], a, b), y, z, o, q)
        else:
            more = int(par[pc, 0]) - 1 if op <= code.ROBUST_ZSCORE else 0
            x = view(buf, base, prog[pc, 2], prog[pc, 3], a - more, b)
            call_time(address, x, y, z, o, st[prog[pc, 8] :], q)
        pc += np.int64(1)


@compiled
def last_of_four(prog: Table, pc: np.int64) -> np.int64:
    """The last of up to four equal recursions of one stage, from ``pc`` on."""
    last = pc
    while last + 1 < prog.shape[0] and last < pc + 3:
        if prog[last + 1, 0] != prog[pc, 0] or prog[last + 1, 9] != prog[pc, 9]:
            break
        last += np.int64(1)
    return last


@compiled
def past(hist: Rows, base: int, mask: int, heads: Table, who: Table, lag: int, o: Lane) -> None:
    """The values ``lag`` bars ago, in each symbol's own bars."""
    for i in range(o.shape[0]):
        s = who[i]
        o[i] = hist[base + ((heads[s] - lag) & mask), s]


@driver
def drive_live(
    table: Table, prog: Table, par: Rows, cur: Rows, st: Rows,
    hist: Rows, rings: Table, heads: Table, shelf: Rows, places: Table, who: Table, out: Rows, outputs: Table,
) -> None:  # fmt: skip
    """One bar of the symbols ``who``: each instruction over their lane, then what lags will ask for is kept.

    ``cur`` is (slot, lane), its last three rows scratch; ``st`` (state, symbol); ``hist`` (row, symbol) holds one ring
    per kept slot, ``rings`` (slot, 2) its first row and its size − 1; ``heads`` counts each symbol's bars. ``shelf``
    holds the sorted windows, those of an instruction from its place in ``places`` on, see ``ordered_live``.
    """
    m, level, par_of_fold = who.shape[0], aligned(heads, who), np.empty(3)
    head = int(heads[0]) if level and m > 0 else -1
    for pc in range(prog.shape[0]):
        op = prog[pc, 0]
        address = table[op, 1]
        if not level:
            gather(prog, pc, cur, hist, rings, heads, who)
        x = operand(prog, pc, 0, cur, hist, rings, head, m)
        y = operand(prog, pc, 1, cur, hist, rings, head, m)
        z = operand(prog, pc, 2, cur, hist, rings, head, m)
        o, q = flat(cur, prog[pc, 1] * cur.shape[1], m), flat(par, pc * par.shape[1], par.shape[1])
        if op <= code.SQUARED:
            call_lanes(address, x, y, z, o, q)
        elif op <= code.AGE:
            par_of_fold[0], par_of_fold[1] = par[pc, 0], par[pc, 1]  # slices would compile text for errors
            scratch = flat(cur, (cur.shape[0] - 3) * cur.shape[1], m)
            fold_live(address, prog, par_of_fold, pc, x, y, o, scratch, hist, rings, heads, who, level)
        elif op <= code.ROBUST_ZSCORE:
            par_of_fold[0], par_of_fold[1] = par[pc, 0], par[pc, 1]
            ordered_live(address, prog, par_of_fold, pc, x, o, hist, rings, heads, shelf, places[pc], who)
        else:
            call_symbols(address, x, y, z, o, st, prog[pc, 8], who, level, q)
    keep(cur, hist, rings, heads, who, level)
    for k in range(outputs.shape[0]):
        hand_over(flat(cur, outputs[k] * cur.shape[1], m), flat(out, k * m, m))


@compiled
def aligned(heads: Table, who: Table) -> bool:
    """Do the first symbols step, in order, each with as many bars behind it? Then rows of the rings are lanes."""
    same = True
    for i in range(who.shape[0]):
        same = same and who[i] == i and heads[i] == heads[0]
    return same


@compiled
def operand(prog: Table, pc: int, j: int, cur: Rows, hist: Rows, rings: Table, head: int, m: int) -> Lane:
    """Operand ``j`` of an instruction: a slot's lane, a row of its ring, or (``head`` −1) what ``gather`` found."""
    slot, lag = prog[pc, 2 + 2 * j], prog[pc, 3 + 2 * j]
    if lag == 0:
        return flat(cur, slot * cur.shape[1], m)
    if head < 0:
        return flat(cur, (cur.shape[0] - 3 + j) * cur.shape[1], m)
    return flat(hist, (rings[slot, 0] + ((head - lag) & rings[slot, 1])) * hist.shape[1], m)


@compiled
def gather(prog: Table, pc: int, cur: Rows, hist: Rows, rings: Table, heads: Table, who: Table) -> None:
    """Bring the lagged operands of an instruction from each symbol's own bars into scratch."""
    for j in range(3):
        slot, lag = prog[pc, 2 + 2 * j], prog[pc, 3 + 2 * j]
        if lag > 0:
            scratch = flat(cur, (cur.shape[0] - 3 + j) * cur.shape[1], who.shape[0])
            past(hist, rings[slot, 0], rings[slot, 1], heads, who, lag, scratch)


@compiled
def fold_live(
    address: int, prog: Table, par: Lane, pc: int, x: Lane, y: Lane, o: Lane, scratch: Lane,
    hist: Rows, rings: Table, heads: Table, who: Table, level: bool,
) -> None:  # fmt: skip
    """A fold of every symbol's window, oldest first; ``scratch`` is overwritten, and may be where ``x`` stands."""
    m, slot, lag = who.shape[0], prog[pc, 2], prog[pc, 3]
    newest = x.copy()
    for j in range(int(par[0]) - 1, 0, -1):
        par[2] = float(j)
        if level and m > 0:
            row = flat(hist, (rings[slot, 0] + ((heads[0] - lag - j) & rings[slot, 1])) * hist.shape[1], m)
            call_lanes(address, row, y, y, o, par)
        else:
            past(hist, rings[slot, 0], rings[slot, 1], heads, who, lag + j, scratch)
            call_lanes(address, scratch, y, y, o, par)
    par[2] = 0.0
    call_lanes(address, newest, y, y, o, par)


@compiled
def ordered_live(
    address: int, prog: Table, par: Lane, pc: int, x: Lane, o: Lane,
    hist: Rows, rings: Table, heads: Table, shelf: Rows, place: int, who: Table,
) -> None:  # fmt: skip
    """An ordered window of every symbol, slid by one bar.

    On the shelf each symbol has how many values are known, and these, sorted: the window without the newest bar. A
    negative number says that the symbol was put elsewhere, and its window is made anew from its history.
    """
    slot, lag, n = prog[pc, 2], prog[pc, 3], int(par[0])
    for i in range(o.shape[0]):
        s = who[i]
        at = place + s * (n + 1)
        window = flat(shelf, at + 1, n)
        if shelf[0, at] < 0.0:
            shelf[0, at] = float(shelved(window, n, slot, lag, s, hist, rings, heads))
        par[2] = shelf[0, at]
        oldest = flat(hist, (rings[slot, 0] + ((heads[s] - lag - n + 1) & rings[slot, 1])) * hist.shape[1] + s, 1)
        newest = x[i : i + 1]
        call_lanes(address, newest, oldest if n > 1 else newest, window, o[i : i + 1], par)
        shelf[0, at] = par[2]


@compiled
def shelved(window: Lane, n: int, slot: int, lag: int, s: int, hist: Rows, rings: Table, heads: Table) -> int:
    """The known values of the last n − 1 bars of a symbol, sorted; how many."""
    count = 0
    for j in range(1, n):
        v = hist[rings[slot, 0] + ((heads[s] - lag - j) & rings[slot, 1]), s]
        if v - v == 0.0:
            window[count] = v + 0.0
            count += 1
    arrange(window, count)
    return count


@compiled
def keep(cur: Rows, hist: Rows, rings: Table, heads: Table, who: Table, level: bool) -> None:
    """Write the lanes that lags will ask for into their rings, and count the bar."""
    m = who.shape[0]
    for slot in range(rings.shape[0]):
        base, mask = rings[slot]
        if mask < 0 or m == 0:
            continue
        if level:
            row, newest = flat(hist, (base + (heads[0] & mask)) * hist.shape[1], m), flat(cur, slot * cur.shape[1], m)
            for i in range(m):
                row[i] = newest[i]
        else:
            for i in range(m):
                hist[base + (heads[who[i]] & mask), who[i]] = cur[slot, i]
    for i in range(m):
        heads[who[i]] += 1


_ADDRESSES = Addresses()


def run_batch(
    program: Program, buf: Rows, st: Lane, out: Rows, a: int, b: int, at: int, stretch: int = STRETCH
) -> None:
    """``drive_batch`` of a program."""
    table = _ADDRESSES.of(program.used, BATCH)
    given = table, program.rows, program.params, buf, program.base, st, out, program.outputs, program.kept
    call_driver(drive_batch, *given, a, b, at, stretch)


def run_live(
    program: Program, cur: Rows, st: Rows, hist: Rows, rings: Table, heads: Table, shelf: Rows, places: Table,
    who: Table, out: Rows,
) -> None:  # fmt: skip
    """``drive_live`` of a program."""
    table = _ADDRESSES.of(program.used, LIVE)
    given = table, program.rows, program.params, cur, st, hist, rings, heads, shelf, places, who, out, program.outputs
    call_driver(drive_live, *given)


class Kernels(NamedTuple):
    """The two drivers, the copy, and sections; ``prove`` runs others than the compiled ones."""

    run_batch: Callable[..., None]
    run_live: Callable[..., None]
    copy: Callable[..., None]
    run_across: Callable[..., None]


COMPILED = Kernels(run_batch, run_live, copy, partial(call_driver, run_across))


class _Functions:
    """What stands for the addresses where Python itself runs the kernels: the functions."""

    def __init__(self, space: dict[str, Any]) -> None:
        self.table = {at: space[function.__name__] for at, (function, _) in KERNELS.items()}

    def of(self, _: Any, __: int) -> Any:
        return self.table


def interpreted(**replaced: Callable[..., Any]) -> Kernels:
    """The same functions run by Python itself, some of them ``replaced``: what the compiler is proved against."""
    space: dict[str, Any] = {}
    for module in (lanes, votes, windows, recursions, machines, across):
        space |= vars(module)
    space |= globals()
    space |= {name: _called for name in space if name.startswith("call_")}
    for name, function in list(space.items()):
        plain = getattr(function, "py_func", function)
        if isinstance(plain, FunctionType) and plain.__module__.startswith(__package__):
            space[name] = FunctionType(plain.__code__, space, name, plain.__defaults__)
    space["flat"] = _flat
    space.update(replaced)
    space["_ADDRESSES"] = _Functions(space)
    return Kernels(space["run_batch"], space["run_live"], space["copy"], space["run_across"])


def _flat(rows: Rows, start: int, count: int) -> Lane:
    return rows.reshape(-1)[start : start + count]


def _called(function: Callable[..., None], *arguments: Any) -> None:
    function(*arguments)
