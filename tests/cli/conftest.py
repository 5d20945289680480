"""The command line, called in this process: exit code, stdout, and stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gapless.cli import main

SHARED = Path(__file__).parents[2].parent / "shared"


@dataclass(frozen=True)
class Said:
    """What one call answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def gapless(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Call a verb in an empty directory of its own; the lake is ./lake unless the call says otherwise."""
    monkeypatch.chdir(tmp_path)
    for name in ("GAPLESS_LAKE", "GAPLESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(w) for w in words])
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def data() -> Path:
    """The real market data, where it is."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs real market data at {SHARED / 'data'}")
    return SHARED / "data"
