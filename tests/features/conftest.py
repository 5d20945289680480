"""Series made to break running sums, shared by the tests of numbers."""

from __future__ import annotations

import numpy as np
import pytest

COUNT = 6000
NAMES = ("60000 ± one tick", "60000 walk", "1e-8 walk", "60000 then 1e-8", "1e12 spikes")


@pytest.fixture(scope="session")
def adversaries() -> dict[str, np.ndarray]:
    """Each series by its name, equally long."""
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(0, 1, COUNT))
    low = 1e-8 * np.exp(np.cumsum(rng.normal(0, 1e-3, COUNT)))
    found = (
        60000 + 0.01 * rng.integers(-1, 2, COUNT),
        60000 + walk,
        low,
        np.concatenate([60000 + walk[: COUNT // 2], low[: COUNT // 2]]),
        np.where(rng.random(COUNT) < 1e-2, 1e12, 100 + walk / 100),
    )
    return dict(zip(NAMES, found, strict=True))


@pytest.fixture(params=NAMES)
def adversary(request: pytest.FixtureRequest, adversaries: dict[str, np.ndarray]) -> np.ndarray:
    """One of them after the other."""
    return adversaries[request.param]


@pytest.fixture(params=NAMES)
def other_adversary(request: pytest.FixtureRequest, adversaries: dict[str, np.ndarray]) -> np.ndarray:
    """Likewise, for pairs."""
    return adversaries[request.param]
