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


def test_the_ratings_page_runs() -> None:
    """Every prompt on docs/ratings.md gives what the page says."""
    found = doctest.testfile(str(PAGE.parent / "ratings.md"), module_relative=False)
    assert found.attempted > 8
    assert found.failed == 0


def test_the_table_is_the_catalogue() -> None:
    """Every feature stands once in the table of families, and nothing else does."""
    table = PAGE.read_text().partition("| family | features |")[2].partition("\n\n")[0]
    names = re.findall(r"`([a-z_0-9]+)`", table)
    assert sorted(names) == sorted(catalogue())


@pytest.mark.parametrize(
    "text",
    re.findall(r"`([a-z_]+\(.*?\))`", PAGE.read_text().partition("Where references")[2].partition("Rows are")[0]),
)
def test_the_variants_on_the_page_are_expressions(text: str) -> None:
    """What the page offers instead of our variant can be typed, but for pandas' own call."""
    if not text.startswith("ewm("):
        assert plan({"x": text})
