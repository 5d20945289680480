"""How good a series is, from the flags it has: each bar loses what is believed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapless.coverage.quality import KINDS, Flag
from gapless.series import Series
from gapless.spans import Micros

PENALTY = {
    "unit": 0.5, "split": 0.5, "refused": 0.5, "spike": 0.3, "stale": 0.3, "step": 0.2, "adjusted": 0.2, "volume": 0.1,
}  # fmt: skip
VALIDATED = 0.85  # a bar's score from which on it counts as validated


@dataclass(frozen=True)
class Score:
    """How good a series is: the mean of its bars' scores, and the share of bars that are validated."""

    series: Series
    bars: int
    score: float
    validated: float
    flags: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {
            "instrument": str(self.series.instrument), "timeframe": self.series.timeframe.name, "bars": self.bars,
            "score": round(self.score, 6), "validated": round(self.validated, 6), "flags": self.flags,
        }  # fmt: skip


def score(series: Series, ts: Micros, flags: Sequence[Flag]) -> Score:
    """Each bar starts at 1.0 and loses each flag's penalty, as far as it is believed. A refused row counts as a bar."""
    every = np.union1d(ts, np.array([f.span.start for f in flags if f.kind == "refused"], dtype=np.int64))
    left = np.ones(len(every))
    for flag in flags:
        first, last = np.searchsorted(every, [flag.span.start, flag.span.end])
        left[first:last] -= PENALTY[flag.kind] * flag.confidence
    left = np.maximum(left, 0.0)
    kinds = {k: n for k in KINDS if (n := sum(f.kind == k for f in flags))}
    if not len(every):
        return Score(series, 0, 1.0, 1.0, kinds)
    return Score(series, len(every), float(left.mean()), float((left >= VALIDATED - 1e-9).mean()), kinds)
