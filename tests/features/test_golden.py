"""Answers made elsewhere, in golden.toml: TradingView exports, spreadsheets, StockCharts' sheets, LEAN's."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gapless.features import plan

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("gapless_golden", ROOT / "scripts" / "golden.py")
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
sys.modules["gapless_golden"] = golden
_spec.loader.exec_module(golden)

REFERENCES = golden.references()
beside = pytest.mark.skipif(not golden.GOLDEN.is_dir(), reason=f"the answers are not at {golden.GOLDEN}")


@beside
@pytest.mark.parametrize("reference", REFERENCES, ids=str)
def test_answers_made_elsewhere(reference: golden.Reference) -> None:
    """Values stand on the same bars, the first one included, and differ by no more than what is allowed."""
    found = golden.compare(reference)
    assert found.passed, found
    assert (found.first[0] > found.first[1]) == (reference.begins == "later")


@beside
@pytest.mark.parametrize(
    ("ours", "why"),
    [
        ("sma(close, 11)", "begins later, and differs"),
        ("sma(close, 9)", "begins earlier, and differs"),
        ("sma(close, 10) * (1 + 2e-9)", "differs by more than 1e-9"),
        ("sma(close, 10) + 0 / (close != max(close, 5))", "has holes"),
    ],
)
def test_a_wrong_answer_is_found(ours: str, why: str) -> None:
    """The comparison itself refuses other lengths, 2e-9 too much, and a value that is missing."""
    right = next(r for r in REFERENCES if r.ours == "sma(close, 10)")
    assert golden.compare(right).passed
    assert not golden.compare(replace(right, ours=ours)).passed, why


@beside
def test_no_column_is_forgotten() -> None:
    """Every column of every file is compared, or left out with a reason."""
    assert golden.untold() == []


@beside
def test_the_page_is_current() -> None:
    """docs/golden.md is what `python scripts/golden.py --write` writes now."""
    assert golden.PAGE.read_text(encoding="utf-8") == golden.page()


@beside
def test_the_vectors_table_counts_differences() -> None:
    """A vote and a rating that differ are counted; one that is missing on both sides is not a difference."""
    one = golden.np.array([[1.0, float("nan"), 0.0]])
    assert golden._unequal(one, one) == 0
    assert golden._unequal(one, golden.np.array([[1.0, 0.0, -1.0]])) == 2


def test_where_they_disagree_each_side_is_compared() -> None:
    """Both expressions of a disagreement are understood, and are among the references."""
    compared = {str(plan({"x": r.ours}).expression("x")) for r in REFERENCES}
    for entry in golden.registry()["disagreement"]:
        for side in ("ours", "other"):
            assert str(plan({"x": entry[side]}).expression("x")) in compared, entry["about"]


def test_the_page_has_every_reference() -> None:
    """Each expression and each reason stands on docs/golden.md, whether the answers are here or not."""
    page = golden.PAGE.read_text(encoding="utf-8")
    assert len(REFERENCES) > 100
    missing = [str(r) for r in REFERENCES if f"| {r.column} | `{r.ours}` |" not in page or r.variant not in page]
    assert missing == []
