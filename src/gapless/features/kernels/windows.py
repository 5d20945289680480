"""Windows that no tree of joins can give: folds, bar by bar over the window, and windows in order.

A fold runs once for each bar of the window, oldest first. An ordered window holds the known values sorted; batch slides
it along time, and so does live for each symbol, which makes it anew where it was put back: its content, and so every
bit of the result, is a function of the window alone.
"""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import BATCH, LIVE, OF_LANES, OF_TIME, Lane, compiled, kernel

nan = np.nan
SCALE = 1.4826  # of a median absolute deviation, to estimate a normal distribution's standard deviation


@compiled
def deviation_fold(x: Lane, y: Lane, o: Lane, oldest: bool) -> None:
    """Add the distance of one bar of the window from ``y``."""
    for i in range(o.shape[0]):
        o[i] = (0.0 if oldest else o[i]) + abs(x[i] - y[i])


@compiled
def age_fold(x: Lane, y: Lane, o: Lane, age: float, oldest: bool, latest: bool) -> None:
    """How many bars ago ``y`` stood there: the oldest of equals, or the latest."""
    for i in range(o.shape[0]):
        before = nan if oldest else o[i]
        o[i] = age if x[i] == y[i] and (latest or before != before) else before


@kernel(OF_LANES, code.DEVIATION, drivers=(LIVE,))
def lane_deviation(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    """One fold; ``par`` ends with the age."""
    deviation_fold(x, y, o, par[2] == par[0] - 1.0)


@kernel(OF_LANES, code.AGE, drivers=(LIVE,))
def lane_age(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    age_fold(x, y, o, par[2], par[2] == par[0] - 1.0, par[1] > 0.0)


@kernel(OF_TIME, code.DEVIATION, drivers=(BATCH,))
def time_deviation(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    """All folds; ``x`` begins a window less one bar before the first result."""
    n, m = int(par[0]), o.shape[0]
    for k in range(n):
        deviation_fold(x[k : k + m], y, o, k == 0)


@kernel(OF_TIME, code.AGE, drivers=(BATCH,))
def time_age(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    n, m = int(par[0]), o.shape[0]
    for k in range(n):
        age_fold(x[k : k + m], y, o, float(n - 1 - k), k == 0, par[1] > 0.0)


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
def ordered_time(op: int, x: Lane, o: Lane, n: int, least: float) -> None:
    """Slide an ordered window of ``n`` bars; ``x`` begins n − 1 bars before the first result."""
    window, count = np.empty(n), 0
    for i in range(n - 1):
        count = enter(window, count, x[i])
    for i in range(o.shape[0]):
        newest = x[i + n - 1]
        count = enter(window, count, newest)
        o[i] = ordered(op, window, count, newest, least)
        count = leave(window, count, x[i])


@compiled
def arrange(window: Lane, count: int) -> None:
    """Sort the first ``count`` values (Shell's sort: small code, quick enough for windows)."""
    gap = count // 2
    while gap > 0:
        for i in range(gap, count):
            v, at = window[i], i
            while at >= gap and window[at - gap] > v:
                window[at] = window[at - gap]
                at -= gap
            window[at] = v
        gap = 1 if gap == 2 else int(gap * 5 / 11)


@compiled
def ordered_step(op: int, newest: Lane, oldest: Lane, window: Lane, o: Lane, par: Lane) -> None:
    """One bar of a sorted window that holds all but the newest value; ``par`` ends with how many it holds."""
    count = enter(window, int(par[2]), newest[0])
    o[0] = ordered(op, window, count, newest[0], par[1])
    par[2] = float(leave(window, count, oldest[0]))


@kernel(OF_LANES, code.MEDIAN, drivers=(LIVE,))
def step_median(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    ordered_step(code.MEDIAN, x, y, z, o, par)


@kernel(OF_LANES, code.MAD, drivers=(LIVE,))
def step_mad(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    ordered_step(code.MAD, x, y, z, o, par)


@kernel(OF_LANES, code.ROBUST_ZSCORE, drivers=(LIVE,))
def step_robust_zscore(x: Lane, y: Lane, z: Lane, o: Lane, par: Lane) -> None:
    ordered_step(code.ROBUST_ZSCORE, x, y, z, o, par)


@kernel(OF_TIME, code.MEDIAN, drivers=(BATCH,))
def time_median(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    ordered_time(code.MEDIAN, x, o, int(par[0]), par[1])


@kernel(OF_TIME, code.MAD, drivers=(BATCH,))
def time_mad(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    ordered_time(code.MAD, x, o, int(par[0]), par[1])


@kernel(OF_TIME, code.ROBUST_ZSCORE, drivers=(BATCH,))
def time_robust_zscore(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    ordered_time(code.ROBUST_ZSCORE, x, o, int(par[0]), par[1])
