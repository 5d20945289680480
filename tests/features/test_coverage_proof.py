"""The proof of what compares instruments looks at the coverage column too: broken coverage is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gapless.features import panel, prove


def failed(monkeypatch: pytest.MonkeyPatch, covered: Callable[..., Any]) -> dict[str, Any]:
    """The first differences of checks that fail when coverage is computed otherwise."""
    monkeypatch.setattr(panel._Crossings, "_covered", covered)
    found = prove("rank(mom(close, 5))", seeds=[1]).checks
    return {name: outcome["first_difference"] for name, outcome in found.items() if isinstance(outcome, dict)}


def test_sound_coverage_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one fails no check."""
    assert failed(monkeypatch, panel._Crossings._covered) == {}


def test_coverage_that_looks_ahead_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of all rows of the call depends on bars that are yet to come."""

    def of_all(self: Any, crossing: Any, sections: Any, operand: Any) -> Any:
        return np.full(len(operand), np.isfinite(operand).mean())

    found = failed(monkeypatch, of_all)
    assert found.keys() >= {"batch_equals_step", "prefix_stable", "chunked", "start_independent"}
    assert {difference["column"] for difference in found.values()} == {"x_coverage"}


def test_coverage_that_sees_the_order_of_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that goes by where a row stands is another when rows stand otherwise."""

    def by_place(self: Any, crossing: Any, sections: Any, operand: Any) -> Any:
        return np.arange(len(operand)) / len(operand)

    assert "order_invariant" in failed(monkeypatch, by_place)
