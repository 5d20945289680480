"""The gate: nothing outside its declared bounds gets through, and rounding does not stop a build."""

from __future__ import annotations

import numpy as np
import pytest

from gapless.errors import SchemaViolation
from gapless.features import gate
from gapless.spans import parse_time

BOUNDS = {"rating": (-1.0, 1.0)}


def test_rounding_is_clipped_and_counted() -> None:
    """1.00000001 becomes 1.0 and is counted; so at the lower bound, and at a bound of 0."""
    x = np.array([0.3, 1.00000001, -1.00000001, np.nan, 1.0])
    assert gate({"rating": x}, BOUNDS) == {"rating": 2}
    np.testing.assert_array_equal(x, [0.3, 1.0, -1.0, np.nan, 1.0])
    y = np.array([-1e-9, 5.0])
    assert gate({"vol": y}, {"vol": (0.0, None)}) == {"vol": 1}
    assert y.tolist() == [0.0, 5.0]


def test_beyond_the_tolerance_the_rows_are_named() -> None:
    """1.01 stops everything; the row's time and value are in the message, and nothing was clipped before."""
    x = np.array([1.00000001, 0.0, 1.01, np.inf])
    ts = parse_time("2025-05-01") + 60_000_000 * np.arange(4)
    with pytest.raises(SchemaViolation, match=r"on 2 rows: 2025-05-01T00:02:00Z: .*1\.01"):
        gate({"rating": x}, BOUNDS, ts)
    with pytest.raises(SchemaViolation, match="row 2"):
        gate({"rating": x}, BOUNDS)
    assert x[0] == 1.00000001


def test_missing_is_not_a_violation() -> None:
    """NaN is 'not known', within any bounds."""
    assert gate({"rating": np.full(3, np.nan)}, BOUNDS) == {"rating": 0}
