"""Random tests draw new examples everywhere but in CI: there the same ones, so that a red run can be repeated.

Slow tests come first, and every worker gets its share: none begins a long one when the others are done.
"""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of the hundreds of processes we start, the first compiles for all
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="gapless-state-")  # no test spends a real venue's allowance
settings.register_profile("ci", derandomize=True, deadline=None)  # a loaded machine is no failure
settings.register_profile("here", deadline=None)
settings.load_profile("here")
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker begins with so many consecutive tests, and later takes some from the end of another's."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in items if not item.get_closest_marker("slow")]
    each = -(-len(rest) // workers)
    items[:] = [t for n in range(workers) for t in (*slow[n::workers], *rest[n * each : (n + 1) * each])]
