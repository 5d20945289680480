"""docs/features.md is run and compared with the catalogue."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from gapless.features import catalogue, plan

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_examples_run() -> None:
    """Every prompt on the page gives what the page says."""
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 10
    assert found.failed == 0


def rows() -> dict[str, list[str]]:
    """Cells of the catalogue's table by signature."""
    table = PAGE.read_text().partition("## Catalogue")[2].partition("\n\nThe ATR")[0]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    return {signature: cells for cells in lines for signature in re.findall(r"`([^`]+)`", cells[0])}


def test_the_table_is_the_catalogue() -> None:
    """Every feature stands in the table with its signature, and nothing else does."""
    assert sorted(rows()) == sorted(entry.signature for entry in catalogue().values())


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_the_tables_figures(name: str) -> None:
    """Bounds, warm-up and memory in the table are the program's, for a length of 25."""
    entry = catalogue()[name]
    values = ["close" if p.kind == "series" else "25" if p.name == "length" else "0" for p in entry.params]
    found = plan({"x": f"{name}({', '.join(values)})"})
    _, _, bounds, warmup, memory = (cell.strip() for cell in rows()[entry.signature])
    figures = {"n": 25, "n − 1": 24, "n + 1": 26, "decaying": None} | {str(i): i for i in range(5)}
    assert (found.warmup["x"], found.memory) == (figures[warmup], figures[memory])
    assert entry.bounds == {"": (None, None), "≥ 0": (0.0, None), "0 … 100": (0.0, 100.0)}[bounds]
