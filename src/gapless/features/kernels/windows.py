"""Windows that no tree of joins can give: folds, bar by bar over the window, and windows in order.

A fold runs once for each bar of the window, oldest first. An ordered window holds the known values sorted; batch slides
it along time, live sorts it anew: its content, and so every bit of the result, is a function of the window alone.
"""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, compiled

nan = np.nan
SCALE = 1.4826  # of a median absolute deviation, to estimate a normal distribution's standard deviation


@compiled
def fold_start(op: int, y: Lane, o: Lane) -> None:
    """Before the first fold."""
    for i in range(o.shape[0]):
        o[i] = 0.0 if op == code.DEVIATION else nan


@compiled
def fold(op: int, x: Lane, y: Lane, o: Lane, age: int, latest: float) -> None:
    """Fold the values ``age`` bars ago into the result; ``latest`` chooses among equals."""
    m = o.shape[0]
    if op == code.DEVIATION:
        for i in range(m):
            o[i] += abs(x[i] - y[i])
    elif op == code.AGE:
        for i in range(m):
            o[i] = float(age) if x[i] == y[i] and (latest > 0.0 or o[i] != o[i]) else o[i]


@compiled
def place(window: Lane, count: int, v: float) -> int:
    """Where ``v`` stands, or belongs, among the first ``count`` values."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if window[middle] < v:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def enter(window: Lane, count: int, v: float) -> int:
    """Insert a known value into the sorted window; how many it then holds."""
    if v - v != 0.0:
        return count
    v = v + 0.0  # −0 and 0 are one value
    at = place(window, count, v)
    for i in range(count, at, -1):
        window[i] = window[i - 1]
    window[at] = v
    return count + 1


@compiled
def leave(window: Lane, count: int, v: float) -> int:
    """Remove a value that entered; how many it then holds."""
    if v - v != 0.0:
        return count
    for i in range(place(window, count, v + 0.0), count - 1):
        window[i] = window[i + 1]
    return count - 1


@compiled
def middle_of(window: Lane, count: int) -> float:
    """The median of a sorted window."""
    half = count // 2
    if count % 2 == 1:
        return float(window[half])
    return float(0.5 * window[half - 1] + 0.5 * window[half])


@compiled
def distance(window: Lane, count: int, centre: float, k: int) -> float:
    """The k-th smallest distance from ``centre``: the k nearest values of a sorted window stand side by side."""
    low, high = 0, count - k
    while low < high:
        at = (low + high) // 2
        if centre - window[at] > window[at + k] - centre:
            low = at + 1
        else:
            high = at
    return float(max(centre - window[low], window[low + k - 1] - centre))


@compiled
def ordered(op: int, window: Lane, count: int, v: float, least: float) -> float:
    """The result for the newest value ``v``; NaN where it is unknown or fewer than ``least`` values are known."""
    if v - v != 0.0 or count < least:
        return nan
    centre = middle_of(window, count)
    if op == code.MEDIAN:
        return centre
    spread = distance(window, count, centre, count // 2 + 1)
    if count % 2 == 0:
        spread = 0.5 * distance(window, count, centre, count // 2) + 0.5 * spread
    if op == code.MAD:
        return spread
    return (v - centre) / (SCALE * spread) if spread > 0.0 else nan


@compiled
def ordered_time(op: int, row: Lane, start: int, n: int, least: float, o: Lane) -> None:
    """Slide an ordered window of ``n`` bars along ``row`` from ``start`` on."""
    window = np.empty(n + 1)
    count = 0
    for t in range(start - n, start):
        if t >= 0:
            count = enter(window, count, row[t])
    for i in range(o.shape[0]):
        t = start + i
        if t - n >= 0:
            count = leave(window, count, row[t - n])
        count = enter(window, count, row[t])
        o[i] = ordered(op, window, count, row[t], least)


@compiled
def ordered_once(op: int, values: Lane, window: Lane, least: float) -> float:
    """The result of one window, oldest value first; ``window`` is room to sort in."""
    count = 0
    for i in range(values.shape[0]):
        count = enter(window, count, values[i])
    return ordered(op, window, count, values[-1], least)
