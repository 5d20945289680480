"""What loading costs: Numba only when something is computed, and its cache wherever it can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gapless

PACKAGE = Path(gapless.__file__).parent


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_declaring_and_explaining_do_not_load_numba() -> None:
    """Catalogue, plan, explain and versions work without Numba; computing loads it."""
    code = """
import sys
from gapless.features import catalogue, plan
p = plan({name: "rsi(close, 14)" for name in ("a", "b")})
p.explain("a"), p.version_all, p.memory, p.schema, [e.doc for e in catalogue().values()]
print("numba" in sys.modules)
"""
    assert python(code) == "False"


def test_the_package_itself_loads_nothing_heavy() -> None:
    """``import gapless.features`` loads neither polars nor NumPy nor Numba."""
    code = "import sys, gapless.features; print(sorted({'polars', 'numpy', 'numba'} & set(sys.modules)))"
    assert python(code) == "[]"


def test_unknown_names_of_the_package() -> None:
    """The package offers what it lists, and nothing else."""
    from gapless import features

    assert all(getattr(features, name) is not None for name in features.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = features.nothing


COMPUTE = """
import numpy as np
from gapless.features import ops, plan, run
x = run(plan({"x": "ema(close, 3)"}), {"close": np.arange(9.0)})[0]["x"]
print(x[-1], sum(ops.drive_batch.stats.cache_hits.values()))
"""


@pytest.fixture
def read_only_copy(tmp_path: Path) -> dict[str, str]:
    """The package where nothing can be written beside it (a file stands where the cache directory would be)."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "gapless", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("features", "features/kernels"):
        (tmp_path / "site" / "gapless" / folder / "__pycache__").write_text("")
    return {"PYTHONPATH": str(tmp_path / "site"), "NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.slow
def test_a_read_only_package_caches_in_the_users_directory(read_only_copy: dict[str, str], tmp_path: Path) -> None:
    """The second process finds the first one's compiled kernels."""
    home = read_only_copy | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert python(COMPUTE, **home) == "7.0 0"
    assert python(COMPUTE, **home) == "7.0 1"


@pytest.mark.slow
def test_where_nothing_can_be_written_it_still_computes(read_only_copy: dict[str, str]) -> None:
    """Without any place for a cache the kernels are compiled in memory."""
    assert python(COMPUTE, **read_only_copy, HOME="/dev/null", XDG_CACHE_HOME="/dev/null") == "7.0 0"


@pytest.mark.slow
def test_an_edited_primitive_is_compiled_anew(tmp_path: Path) -> None:
    """A step function edited in one file changes what the drivers in another compute: no stale machine code."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "gapless", ignore=shutil.ignore_patterns("__pycache__"))
    own = {"PYTHONPATH": str(tmp_path / "site"), "NUMBA_CACHE_DIR": ""}
    assert python(COMPUTE, **own) == "7.0 0"
    assert python(COMPUTE, **own) == "7.0 1"
    primitive = tmp_path / "site" / "gapless" / "features" / "kernels" / "recursions.py"
    text = primitive.read_text()
    assert "return y + alpha * (v - y)" in text
    primitive.write_text(text.replace("return y + alpha * (v - y)", "return y + alpha * (v - y) + 100.0"))
    assert python(COMPUTE, **own) != "7.0 1"


@pytest.mark.slow
def test_compiling_is_announced_once(read_only_copy: dict[str, str], tmp_path: Path) -> None:
    """The first run after an installation says on stderr that it compiles; the second one says nothing."""
    home = os.environ | read_only_copy | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = [
        subprocess.run([sys.executable, "-c", COMPUTE], env=home, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert said[0].count("compiling the feature kernels") == 1
    assert said[1] == ""


def test_only_what_a_program_uses_is_compiled() -> None:
    """A batch run of one recursion makes no machine code of any other operator, nor of the live driver."""
    code = COMPUTE.replace("print(x[-1]", "print(ops.drive_live.signatures, ops._ADDRESSES.table.astype(bool).sum()")
    assert python(code).startswith("[] 1 ")
