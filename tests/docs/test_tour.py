"""The README's commands are run as they stand, in order, in an empty directory; what they print is what it shows."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_spec = importlib.util.spec_from_file_location("gapless_tour", ROOT / "scripts" / "tour.py")
assert _spec is not None
assert _spec.loader is not None
tour = importlib.util.module_from_spec(_spec)
sys.modules["gapless_tour"] = tour
_spec.loader.exec_module(tour)


def test_the_tour_has_its_stations() -> None:
    """The parser sees the commands: import, gaps, why, repair, backfill, as-of, build and prove are among them."""
    text = "\n".join(s.text for s in tour.steps(README.read_text(encoding="utf-8")))
    for words in ("import", "gaps", "why", "repair", "backfill", "--as-of", "features build", "prove", "sim"):
        assert words in text


def test_the_tour_goes_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends with the code stated and prints the lines shown; then the Python works on that lake.

    One test, because each command stands on those before it.
    """
    steps = tour.steps(README.read_text(encoding="utf-8"))
    for step, done in zip(steps, tour.walk(steps, tmp_path), strict=True):
        assert done.code == step.code, f"{step.text}\n{done.printed}{done.told}"
        missing = tour.not_printed(step.shown, done.printed)
        assert missing is None, f"{step.text}\ndoes not print '{missing}', but\n{done.printed}\nHint: scripts/tour.py"
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("GAPLESS_")]:
        monkeypatch.delenv(name)
    found = doctest.testfile(str(README), module_relative=False)
    assert found.attempted > 5
    assert found.failed == 0


def test_a_line_that_is_not_printed_is_found() -> None:
    """The comparison can fail: another number, another order, and a line that is not there."""
    assert tour.not_printed(["a 1", "…", "b 2…"], "a  1\nx\nb 2 and so on\n") is None
    assert tour.not_printed(["a 1", "b 2"], "a 1\nb 3\n") == "b 2"
    assert tour.not_printed(["a 1", "b 2"], "b 2\na 1\n") == "b 2"
    assert tour.not_printed(["a 1"], "a 12\n") == "a 1"


def test_the_page_is_rewritten_in_place() -> None:
    """New output replaces the old under its command, cut where the page cuts; prose and commands stay."""
    page = "a\n```console\n$ x\n> more\nold\nold\n…\n$ y    # exit 1\n```\nb\n"
    steps = tour.steps(page)
    done = [tour.Done(0, "new 1\nnew 2\nnew 3\n", ""), tour.Done(1, "said\n", "")]
    assert [(s.command, s.code) for s in steps] == [(("x", "more"), 0), (("y    # exit 1",), 1)]
    assert tour.rewritten(page, steps, done) == (
        "a\n```console\n$ x\n> more\nnew 1\nnew 2\n…\n$ y    # exit 1\nsaid\n```\nb\n"
    )


def test_the_demo_has_the_steps_that_are_shown() -> None:
    """The report in the README and the demo name the same steps, in the same order."""
    source = (ROOT / "src" / "gapless" / "app" / "demo.py").read_text(encoding="utf-8")
    told = re.findall(r'demo\.say\(\s*"(\w+)"', source)
    report = README.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    assert re.findall(r"^✓ (\w+)  ", report, re.MULTILINE) == told
