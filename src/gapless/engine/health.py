"""How the live run is: what is not well, since when and why, and how fast it is. Values, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gapless.spans import iso


@dataclass(frozen=True, slots=True)
class Trouble:
    """A part that is not well, since ``since`` (µs)."""

    part: str
    since: int
    reason: str


@dataclass
class Health:
    """States of the parts (a feed, the store, a timeframe), and times taken.

    ``tell`` is called with (trouble, None) when a part degrades and with (trouble, until) when it is well again.

    >>> health = Health()
    >>> health.degraded("store", "disk full", 0)
    >>> health.ready, health.to_dict()["degraded"][0]["part"]
    (False, 'store')
    """

    tell: Callable[[Trouble, int | None], None] = lambda trouble, until: None
    troubles: dict[str, Trouble] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    started: bool = False

    def degraded(self, part: str, reason: str, now: int) -> None:
        """A part is not well; said once until it is."""
        if part not in self.troubles:
            self.troubles[part] = Trouble(part, now, reason)
            self.tell(self.troubles[part], None)

    def well(self, part: str, now: int) -> None:
        """A part is well."""
        trouble = self.troubles.pop(part, None)
        if trouble is not None:
            self.tell(trouble, now)

    def count(self, name: str, number: int = 1) -> None:
        """So many more of something happened."""
        self.counts[name] = self.counts.get(name, 0) + number

    def took(self, seconds: float) -> None:
        """From the last bar of a bar time received to everything about it durable."""
        self._seconds.append(seconds)

    @property
    def ready(self) -> bool:
        """Caught up, and every part well."""
        return self.started and not self.troubles

    def latency(self) -> tuple[float, float] | None:
        """Median and 99th percentile of ``took``, seconds; None before the first."""
        if not self._seconds:
            return None
        p50, p99 = np.percentile(np.array(self._seconds), [50, 99])
        return float(p50), float(p99)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        took = self.latency()
        return {
            "ready": self.ready,
            "degraded": [
                {"part": t.part, "since": iso(t.since), "reason": t.reason} for t in self.troubles.values()
            ],
            "heads": {name: iso(ts) for name, ts in self.heads.items()},
            "counts": dict(self.counts),
            "latency_ms": None if took is None else {"p50": round(took[0] * 1e3, 2), "p99": round(took[1] * 1e3, 2)},
        }  # fmt: skip
