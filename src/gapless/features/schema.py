"""The gate: computed values stay inside their declared bounds, or nothing of the series is stored.

Rounding may carry a value over its bound by a hair: up to ``TOLERANCE`` (relative to the bound, or absolute at zero)
it is set to the bound and counted. Beyond that the rows are named in a SchemaViolation. NaN means missing and passes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gapless.errors import SchemaViolation
from gapless.features.registry import Bounds
from gapless.spans import iso

TOLERANCE = 1e-6
Columns = Mapping[str, npt.NDArray[np.float64]]


def gate(columns: Columns, bounds: Mapping[str, Bounds], ts: npt.NDArray[np.int64] | None = None) -> dict[str, int]:
    """Clip what rounding carried over, in place; how many values of each column. Raises SchemaViolation.

    ``ts`` (µs since the epoch) names the rows in messages; without it they are numbered from 0.

    >>> x = np.array([0.5, 1.00000001])
    >>> gate({"rating": x}, {"rating": (-1.0, 1.0)}), x.tolist()
    ({'rating': 1}, [0.5, 1.0])
    """
    return {name: _gate(name, columns[name], low, high, ts) for name, (low, high) in bounds.items()}


def _gate(
    name: str, x: npt.NDArray[np.float64], low: float | None, high: float | None, ts: npt.NDArray[np.int64] | None
) -> int:
    clipped = 0
    for bound, sign in ((low, -1.0), (high, 1.0)):
        if bound is None:
            continue
        over = (x - bound) * sign
        out = over > 0.0
        if not out.any():
            continue
        if (over > TOLERANCE * max(abs(bound), 1.0)).any():
            raise _violation(name, x, low, high, np.flatnonzero(over > TOLERANCE * max(abs(bound), 1.0)), ts)
        clipped += int(out.sum())
        x[out] = bound
    return clipped


def _violation(
    name: str, x: npt.NDArray[np.float64], low: float | None, high: float | None, rows: npt.NDArray[np.int64],
    ts: npt.NDArray[np.int64] | None,
) -> SchemaViolation:  # fmt: skip
    shown = ", ".join(f"{iso(int(ts[r])) if ts is not None else f'row {r}'}: {x[r]!r}" for r in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    ends = f"[{'−∞' if low is None else low}, {'∞' if high is None else high}]"
    return SchemaViolation(
        f"{name} leaves its bounds {ends} on {len(rows)} rows: {shown}{more}.",
        hint="look at these bars: impossible prices, or a defect in the feature",
    )
