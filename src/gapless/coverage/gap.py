"""One gap: a run of expected bars that are not present, with a class and the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.series import Series
from gapless.spans import DAY, HOUR, Span, Timeframe, iso

CLASSES: dict[str, str] = {
    "pending": "not final yet",
    "never_asked": "no source was asked",
    "failed": "a source was asked and did not answer",
    "no_trade": "a source answered; the instrument has silent bars",
    "venue_outage": "most live instruments of the venue are silent together",
    "halt": "this instrument alone is silent in a liquid stretch",
    "before_listing": "the instrument did not trade yet",
    "after_delisting": "the instrument trades no more",
    "vendor_hole": "another source, a longer bar or other instruments say there was trading",
    "calendar_conflict": "data where the calendar says closed, or a session nobody has",
}
REPAIRABLE = frozenset({"never_asked", "failed", "vendor_hole"})
_HARMLESS = frozenset({"pending", "before_listing", "after_delisting", "no_trade"})
SEVERITIES = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of expected bars that are not present.

    ``bars`` counts the expected bars missing inside ``span``; it is 0 for data where the calendar says closed, the one
    gap that covers bars which are there. ``confidence`` is 0 to 1. ``evidence`` is plain sentences with the numbers.
    """

    series: Series
    span: Span
    bars: int
    cls: str
    confidence: float
    evidence: tuple[str, ...]
    attempts: int = 0

    @property
    def repairable(self) -> bool:
        """May fetching help? Only such gaps count against completeness."""
        return self.cls in REPAIRABLE

    @property
    def severity(self) -> str:
        """low, medium, high or critical: by expected time missing; low where nothing is wrong."""
        return "low" if self.cls in _HARMLESS else severity(self.bars, self.series.timeframe)

    @property
    def priority(self) -> int:
        """Fetch the greatest first: the severest, then the one asked for least often, then the latest."""
        return SEVERITIES.index(self.severity) * 100 - min(self.attempts, 99)

    def to_dict(self) -> dict[str, Any]:
        """The row of ``gapless gaps --json``."""
        return {
            "instrument": str(self.series.instrument),
            "timeframe": str(self.series.timeframe),
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "bars": self.bars,
            "class": self.cls,
            "severity": self.severity,
            "confidence": round(self.confidence, 3),
            "evidence": list(self.evidence),
            "attempts": self.attempts,
        }


def severity(bars: int, timeframe: Timeframe) -> str:
    """How bad it is that ``bars`` are missing: daily by sessions, within the day by hours of trading.

    >>> minute, day = Timeframe.parse("1m"), Timeframe.parse("1d")
    >>> severity(5, day), severity(3, day), severity(1, day), severity(360, minute), severity(119, minute)
    ('critical', 'high', 'medium', 'high', 'low')
    """
    if timeframe.micros >= DAY:
        size, steps = bars * timeframe.micros // DAY, (1, 3, 5)
    else:
        size, steps = bars * timeframe.micros, (2 * HOUR, 6 * HOUR, 24 * HOUR)
    return SEVERITIES[sum(size >= step for step in steps)]


def join(gaps: Sequence[Gap], touching: npt.NDArray[np.bool_]) -> list[Gap]:
    """Gaps of one series in order, those of one class and evidence made one where they touch.

    ``touching[i]`` says that nothing expected and nothing present lies between gap i and gap i + 1.
    """
    joined = list(gaps[:1])
    for gap, touches in zip(gaps[1:], touching.tolist(), strict=True):
        last = joined[-1]
        if touches and last.bars and (last.cls, last.evidence) == (gap.cls, gap.evidence):
            joined[-1] = replace(last, span=Span(last.span.start, gap.span.end), bars=last.bars + gap.bars)
        else:
            joined.append(gap)
    return joined
