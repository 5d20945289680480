"""Operators across instruments: one section holds the values of one time (and one group), in the order of names.

Sums run in that order, and relative to the first value: the same bits whatever the order in which bars arrived, and
equal values have a deviation of exactly 0.
"""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, Table, compiled, driver

nan = np.nan


@compiled
def rank_section(v: Lane, o: Lane) -> None:
    """(Average rank − 1) / (n − 1): 0 for the least, 1 for the greatest; equal values share the mean of their ranks."""
    n = v.shape[0]
    if n < 2:
        o[:] = nan
        return
    by_value = np.argsort(v)
    i = 0
    while i < n:
        j = i
        while j + 1 < n and v[by_value[j + 1]] == v[by_value[i]]:
            j += 1
        for k in range(i, j + 1):
            o[by_value[k]] = 0.5 * (i + j) / (n - 1)
        i = j + 1


@compiled
def demean_section(v: Lane, o: Lane) -> None:
    """Each value minus the mean of all."""
    n, total = v.shape[0], 0.0
    for k in range(n):
        o[k] = v[k] - v[0]
        total += o[k]
    for k in range(n):
        o[k] = o[k] - total / n


@compiled
def zscore_section(v: Lane, o: Lane) -> None:
    """Deviations in units of their root mean square; scaled by the greatest, so that no square leaves the numbers."""
    demean_section(v, o)
    n, most, total = v.shape[0], 0.0, 0.0
    for k in range(n):
        most = max(most, abs(o[k]))
    if not most > 0.0:
        o[:] = nan
        return
    for k in range(n):
        o[k] = o[k] / most
        total += o[k] * o[k]
    unit = np.sqrt(total / n)
    for k in range(n):
        o[k] = o[k] / unit


@compiled
def section(op: int, v: Lane, o: Lane) -> None:
    """Any of them."""
    if op == code.RANK:
        rank_section(v, o)
    elif op == code.CS_ZSCORE:
        zscore_section(v, o)
    else:
        demean_section(v, o)


@driver
def run_across(op: int, x: Lane, order: Table, ends: Table, least: int, o: Lane) -> None:
    """Sections of rows: ``order`` lists the rows, ``ends`` says where in it each section ends.

    Rows without a finite value are no members; a section with fewer than ``least`` members has no values.
    """
    o[:] = nan
    longest, start = 0, 0
    for s in range(ends.shape[0]):
        longest, start = max(longest, ends[s] - start), ends[s]
    values, found, rows = np.empty(longest), np.empty(longest), np.empty(longest, np.int64)
    start = 0
    for s in range(ends.shape[0]):
        m = 0
        for k in range(start, ends[s]):
            v = x[order[k]]
            if v - v == 0.0:
                values[m], rows[m] = v, order[k]
                m += 1
        start = ends[s]
        if 0 < m >= least:
            section(op, values[:m], found[:m])
            for k in range(m):
                o[rows[k]] = found[k]
