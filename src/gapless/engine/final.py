"""When a bar is final, pure: one rule for what is asked, kept and healed. What is *expected* follows the same one.

A bar is final when the source has settled it: ``settle`` after its end. A day or a week of a market of sessions ends
with its last session, not at midnight; a source whose days hold the evening after the session too says how much longer
they take: ``day_settle``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gapless.protocols import SettlesDays, Source
from gapless.spans import DAY, Span, SpanSet, Timeframe


class Sessions(Protocol):
    """What a calendar knows of when bars are, and of their end (``calendars.MarketCalendar``)."""

    def expected(self, timeframe: Timeframe, within: Span) -> SpanSet: ...

    def horizon(self, timeframe: Timeframe, at: int) -> int: ...

    def final_at(self, timeframe: Timeframe, ts: int) -> int: ...


def settle_of(source: Source, timeframe: Timeframe) -> int:
    """How long after its end a bar is final at a source, µs."""
    if timeframe.micros >= DAY and isinstance(source, SettlesDays):
        return source.day_settle
    return source.settle


@dataclass(frozen=True, slots=True)
class Finality:
    """Of a source's bars. Without ``sessions`` every bar ends where the next one begins."""

    source: Source
    sessions: Sessions | None = None

    def until(self, timeframe: Timeframe, now: int) -> int:
        """All bars that open before this are final at ``now``, µs."""
        at = now - settle_of(self.source, timeframe)
        return timeframe.floor(at) if self.sessions is None else self.sessions.horizon(timeframe, at)

    def at(self, timeframe: Timeframe, opened: int) -> int:
        """When the bar that opens at ``opened`` is final, µs."""
        end = opened + timeframe.micros if self.sessions is None else self.sessions.final_at(timeframe, opened)
        return end + settle_of(self.source, timeframe)
