"""The demo is the first thing a newcomer runs: every one of its checks passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_every_check_of_the_demo_passes(gapless: Callable[..., Any], tmp_path: Path) -> None:
    """One JSON document; the lake it leaves behind is whole and complete."""
    said = gapless("demo", "--json", "--keep", tmp_path / "kept")
    assert [step["step"] for step in said.json["steps"] if not step["passed"]] == []
    assert (said.code, said.json["passed"]) == (0, True)
    assert sum(said.json["steps"][0]["faults"].values()) > 10
    assert gapless("lake", "verify", "--lake", tmp_path / "kept", "--json").json == {"problems": []}
    assert gapless("gaps", "--lake", tmp_path / "kept").code == 0
