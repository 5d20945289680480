"""What the connections of one feed say, sorted: bars into the backlog, news to consumer and observer."""

from __future__ import annotations

from collections.abc import Sequence

from gapless.engine.backlog import Backlog, News
from gapless.engine.heads import Heads
from gapless.engine.link import Link, Tally
from gapless.errors import Faulty
from gapless.events import ClockSkewed, Connected, Disconnected, Garbled, Observer, Skipped, Stale
from gapless.protocols import Clock, Heard
from gapless.series import Series
from gapless.spans import SECOND


class Hearing:
    """The ``link.Ear`` of a feed."""

    def __init__(self, source: str, series: Sequence[Series], clock: Clock, observer: Observer, limit: int) -> None:
        self.source, self.clock, self.observer = source, clock, observer
        self.tally, self.heads, self.backlog = Tally(), Heads(series), Backlog(limit)
        self._least: int | None = None  # lag since the clocks were compared
        self._told_skew = 0

    @property
    def full(self) -> bool:
        """Must the sockets wait?"""
        return self.backlog.full

    async def room(self) -> None:
        """Wait for the consumer."""
        await self.backlog.room()

    def heard(self, bar: Heard) -> None:
        """A link read a bar: is it ours, is it the same final bar again, did one before it stay out?"""
        head = self.heads.of(bar)
        if head is None:
            self.tally.strays += 1
            return
        if head.again(bar):
            self.tally.duplicates += 1
            return
        skipped = head.skipped(bar)
        if skipped is not None:
            self.observer(Skipped(self.source, head.series, skipped))
        head.heard(bar)
        self._count(bar)
        self.backlog.put(bar)

    def _count(self, bar: Heard) -> None:
        self.tally.finals += bar.final
        self.tally.forming += not bar.final
        self.tally.lag = lag = self.clock() - bar.said_at
        self._least = lag if self._least is None else min(lag, self._least)

    def garbled(self, error: Faulty) -> None:
        """A link read what is no message."""
        self.tally.garbled += 1
        self.observer(Garbled(self.source, error.message))

    def confirmed(self, link: Link, series: tuple[Series, ...]) -> None:
        """The venue accepted a subscription."""
        link.said_at = max(link.said_at, self.clock())
        if not link.quiet:
            self.connected(series)

    def refused(self, link: Link, series: Series, reason: str) -> None:
        """The venue did not."""
        self.disconnected((series,), self.clock(), reason)

    def connected(self, series: Sequence[Series]) -> None:
        """These are heard from now on."""
        at = self.clock()
        for head in self.heads.among(series):
            head.joined(at)
        self._tell(Connected(self.source, tuple(series), at))

    def disconnected(self, series: Sequence[Series], since: int, reason: str) -> None:
        """These were last heard of at ``since``."""
        for head in self.heads.among(series):
            head.left()
        self._tell(Disconnected(self.source, tuple(series), since, reason))

    def _tell(self, news: News) -> None:
        self.backlog.tell(news)
        self.observer(news)

    def tell_stale(self, by: int) -> None:
        """Say which series fell behind; news of them was due before ``by``."""
        for head in self.heads.fallen_behind(by):
            self.observer(Stale(self.source, head.series, head.due or 0))

    def compare_clocks(self, tolerance: int) -> None:
        """The least lag since the last look is taken as the difference of the clocks, and told when it changed."""
        least, self._least = self._least, None
        if least is not None and abs(least - self._told_skew) > tolerance:
            self._told_skew = least
            self.observer(ClockSkewed(self.source, -least / SECOND))
