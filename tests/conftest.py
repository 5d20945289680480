"""Random tests draw new examples everywhere but in CI: there the same ones, so that a red run can be repeated."""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of the hundreds of processes we start, the first compiles for all
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="gapless-state-")  # no test spends a real venue's allowance
settings.register_profile("ci", derandomize=True, deadline=None)  # a loaded machine is no failure
settings.register_profile("here", deadline=None)
settings.load_profile("here")
if os.environ.get("CI"):
    settings.load_profile("ci")
