"""The page about writing a source: its source is one, its test passes, and the checks catch what is wrong."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gapless import config
from gapless.conformance import CHECKS, Subject, check_source

PAGE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def subject(*changes: tuple[str, str]) -> Subject:
    """The page's source and vendor, with some lines of the source changed."""
    source, test = BLOCKS
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    acme, names = ModuleType("acme"), dict[str, Any]()
    exec(compile(source, "acme.py", "exec", dont_inherit=True), vars(acme))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "acme", acme)  # the test imports it, as if it were installed
        exec(compile(test, "test_acme.py", "exec", dont_inherit=True), names)
    return Subject(names["Acme"], names["acme"], names["SERIES"], names["BARS"], names["NOW"])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_pages_source_conforms(check: Callable[[Subject], None]) -> None:
    """As printed."""
    check(subject())


WRONG = {
    "the end is taken as exclusive": ("edges_are_half_open", '"to": (span.end - 1) // 1000', '"to": span.end // 1000'),
    "the start is rounded down": ("edges_are_half_open", "-(-span.start // 1000)", "span.start // 1000 - 60_000"),
    "all that was asked is claimed": (
        "nothing_is_claimed_beyond_the_last_bar",
        "return page_of(self.name, series, span, opened, values, len(body))",
        "return Page(page_of(self.name, series, span, opened, values, len(body)).frame, span)",
    ),
    "pages are as long as they like": ("pages_hold_no_more_than", '"count": self.limits.page_bars', '"count": 500'),
    "bars are labelled by their close": ("a_walk_gives_the_truth_once", "bar.time for", "bar.time + 60_000 for"),
    "the high and the low are swapped": (
        "a_walk_gives_the_truth_once",
        "getattr(bar, name)",
        'getattr(bar, {"high": "low", "low": "high"}.get(name, name))',
    ),
    "a torn body is an error of its own": (
        "a_torn_answer_is_a_fault",
        "answer = decoded(self.name, body, ANSWER)",
        "answer = Answer(**__import__('json').loads(body))",
    ),
    "a missing volume is nothing": ("missing_fields_are_faults", "volume: float\n", "volume: float = 0.0\n"),
    "an unknown field is a fault": (
        "unknown_fields_are_ignored",
        "class Bar(msgspec.Struct):",
        "class Bar(msgspec.Struct, forbid_unknown_fields=True):",
    ),
    "anybody's bars are taken": ("another_spans_bars_are_caught", "if answer.symbol !=", "if 0 and answer.symbol !="),
    "a 429 is a refusal": ("refusals_are_told_apart", "status in (418, 429)", "status == 1"),
    "the clock is in milliseconds": ("the_clock_is_never_ahead", "return http.said_at", "return http.said_at // 1000"),
    "every symbol is the same": ("names_go_both_ways", '"symbol": series.instrument.symbol', '"symbol": "ABC"'),
    "a page costs less when it is longer": ("a_page_has_a_price", "return 1\n", "return 9 - bars // 100\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_source_is_caught_by_the_check_that_is_about_it(name: str) -> None:
    """One line changed, and the check of that name fails."""
    check, old, new = WRONG[name]
    with pytest.raises(AssertionError, match=check):
        check_source(subject((old, new)))


def test_the_pages_configuration_is_one() -> None:
    """The second toml block is a gapless.toml."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    read = config.parse(tomllib.loads(blocks[1]))
    assert read.sources["acme"].weight == 300
