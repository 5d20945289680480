"""docs/sim.md says what is: its code runs, and every fault and path has its line."""

from __future__ import annotations

import re
from pathlib import Path

from gapless.sim import SimConfig
from gapless.sim.exchange import Exchange
from gapless.sim.faults import NAMES
from gapless.sim.server import application

TEXT = (Path(__file__).parents[2] / "docs" / "sim.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs() -> None:
    """Every python block, as printed."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/sim.md", "exec"), {})


def test_every_fault_has_a_line() -> None:
    """The table of faults is complete."""
    assert [name for name in NAMES if not re.search(rf"^\| `{name}[:`]", TEXT, re.MULTILINE)] == []


def test_every_path_and_code_is_named() -> None:
    """Paths under /sim and the error codes of the venue."""
    app = application(Exchange(SimConfig(symbols=1, now="2024-01-01")))
    paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    assert [path for path in sorted(paths) if path.startswith("/sim/") and path not in TEXT] == []
    refusals = Path(__file__).parents[2] / "src" / "gapless" / "sim" / "refusals.py"
    codes = set(re.findall(r"error\(400, (-\d+)", refusals.read_text(encoding="utf-8")))
    assert codes
    assert [code for code in sorted(codes) if code not in TEXT] == []
