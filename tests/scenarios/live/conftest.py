"""A venue, a desk and webhooks for each test, ended with it; ``tests/builders`` has what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from live_proof import all_told, settled, true_bars
from live_run import Stage
from live_venue import Hook


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Stage]:
    """``live(seed, speed, faults)``: a venue, and a ``Run`` over it that is not started yet."""
    stage = Stage(tmp_path)
    yield stage
    stage.end()


@pytest.fixture
def hooks() -> Iterator[Callable[[], Hook]]:
    """Webhooks that listen, as many as are wanted."""
    made: list[Hook] = []

    def make() -> Hook:
        made.append(Hook())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hook(hooks: Callable[[], Hook]) -> Hook:
    """A webhook that listens."""
    return hooks()


@pytest.fixture
def proof() -> Mapping[str, Callable[..., Any]]:
    """What must hold: ``settled(run)``, ``true_bars(run)``, ``all_told(run, hook)``."""
    return {"settled": settled, "true_bars": true_bars, "all_told": all_told}
