"""Mending while live: what the stream left out, or may have told wrong, is asked of the venues by REST.

1. *Lost*: from when a connection fell silent until it speaks again, nobody tells us of its series.
2. *Wanted*: lost stretches, bars that were awaited in vain, bar times at which nobody's came, bars that were skipped or
   refused, and every so often all that came by stream since it was last looked at. A ``Healer`` for each venue asks for
   them when they are ripe.
3. What came of it is told to the consumer of the live run, who decides what it changes.

``verified`` is until when everything of a series was said by REST, long enough after its close to be its last word:
where the next look, and the next process, begin to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gapless.engine.backlog import Said
from gapless.engine.fetch import PacedHttp
from gapless.engine.heal import Healed, Healer
from gapless.engine.health import Health
from gapless.engine.venue_time import VenueTime
from gapless.errors import Faulty, LakeDamaged, LakeError, Refused, SourceError, Throttled
from gapless.events import Connected, Disconnected, Observer
from gapless.protocols import Source
from gapless.series import Series
from gapless.spans import MINUTE, Span, SpanSet

_SURE = 10 * MINUTE  # by the venue's clock: what REST says sooner after a close may still be corrected
Verified = Callable[[Mapping[Series, int] | None], Mapping[Series, int]]  # what is known; more is noted if given


class Listening(Protocol):
    """What the engine needs of a feed: ``feed.Feed`` and ``poll.Poll`` are."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *error: Any) -> None: ...

    def batches(self) -> AsyncIterator[list[Said]]: ...

    async def close(self) -> None: ...

    @property
    def backlog(self) -> int: ...

    @property
    def live(self) -> list[Series]: ...


@dataclass
class Side:
    """One venue: how it is heard (``listen`` makes the feed, when the run begins), asked, and what time it is there."""

    source: Source
    clock: VenueTime
    series: tuple[Series, ...]
    healer: Healer
    listen: Callable[[PacedHttp, Observer], Listening]
    feed: Listening | None = None
    welcome: bool = False  # was it asked for everything since it is here? Until then a part proves nothing

    @property
    def live(self) -> set[Series]:
        """The series that the feed tells of now."""
        return set(self.feed.live) if self.feed is not None else set()

    def ripe(self) -> dict[Series, SpanSet]:
        """What may be asked now; nothing of a venue before it was asked for everything."""
        return self.healer.ripe() if self.welcome else {}


class Mender:
    """See the module's text. ``told`` takes what came of asking."""

    def __init__(
        self,
        sides: Sequence[Side],
        verified: Verified,
        health: Health,
        told: Callable[[Side, Healed], Awaitable[None]],
    ) -> None:
        self.sides, self.verified, self.health, self.told = sides, verified, health, told
        self._side = {series: side for side in sides for series in side.series}
        self._lost: dict[Series, int] = {}
        self._heard: dict[Series, int] = {}  # since when its connection should tell every bar of it
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # ------------------------------------------------------------ step 1

    def disconnected(self, side: Side, word: Disconnected) -> None:
        """From the last bar that may have been heard on there may be a hole; one before it may have been wrong."""
        for series in word.series:
            size = series.timeframe
            self._lost.setdefault(series, size.floor(word.since) - 2 * size.micros)
            self._heard.pop(series, None)
        self.health.degraded(f"feed {side.source.name}", word.reason, side.clock())

    def connected(self, side: Side, word: Connected) -> None:
        """The bar that forms now will be heard; those before it are asked."""
        for series in word.series:
            self._heard[series] = series.timeframe.floor(word.at)
            since = self._lost.pop(series, None)
            if since is not None:
                self.want(series, Span(since, max(since, self._heard[series])))
        if not any(series in self._lost for series in side.series):
            self.health.well(f"feed {side.source.name}", side.clock())

    # ------------------------------------------------------------ step 2

    def want(self, series: Series, span: Span) -> None:
        """Ask for this, when it is ripe."""
        side = self._side.get(series)
        if side is not None:
            side.healer.want(series, span)

    def want_silent(self, series: Series, after: int, before: int) -> None:
        """Ask for the bars between two opens, of which a connection told nobody's though it should have told them."""
        side = self._side.get(series)
        start = max(after + series.timeframe.micros, self._heard.get(series, before))
        if side is None or start >= before:
            return
        sessions, span = side.healer.options.sessions, Span(start, before)
        for part in (span,) if sessions is None else sessions.expected(series.timeframe, span):
            side.healer.want(series, part)

    def doubt(self, spans: Mapping[Series, Span]) -> None:
        """Ask again what a stream changed: until REST has said it, nothing from there on is verified."""
        known = self.verified(None)
        back = {series: span.start for series, span in spans.items() if known.get(series, span.start) > span.start}
        if back:
            self.verified(back)
        for series, span in spans.items():
            self.want(series, span)

    def want_everything(self, side: Side, history: int) -> None:
        """All that a venue has not said by REST yet, up to now; of a new series the last ``history`` µs."""
        known = self.verified(None)
        at, live = side.clock(), side.live
        side.welcome = True
        for series in side.series:
            until = series.timeframe.floor(at)  # the bar that forms now is not said yet
            since = known.get(series, at - history)
            side.healer.want(series, Span(since, max(since, until)))
            if series not in live:
                self._lost.setdefault(series, series.timeframe.floor(at))
                self.health.degraded(f"feed {side.source.name}", "no connection yet", at)
        if not side.ripe():
            self.health.well(f"source {side.source.name}", at)

    def want_unverified(self) -> None:
        """What came by stream since it was last looked at, and what nobody tells us of."""
        known = self.verified(None)
        for series, side in self._side.items():
            if not side.welcome:  # it will be asked for everything
                continue
            until = series.timeframe.floor(side.clock() - side.source.settle)
            since = min(known.get(series, until), self._lost.get(series, until))
            side.healer.want(series, Span(since, max(since, until)))

    # ------------------------------------------------------------ step 3

    @property
    def busy(self) -> bool:
        """Is anything being asked?"""
        return any(not task.done() for task in self._tasks.values())

    def ask(self, stop: asyncio.Event) -> None:
        """Ask what is ripe, in the background; one run for a venue at a time. A damaged store is raised here."""
        for side in self.sides:
            task = self._tasks.get(id(side))
            if task is not None and not task.done():
                continue
            if task is not None:
                self._tasks.pop(id(side)).result()
            ripe = side.ripe()
            if ripe:
                self._tasks[id(side)] = asyncio.create_task(self._ask(side, ripe, stop))

    async def ask_now(self, stop: asyncio.Event) -> None:
        """Ask what is ripe and wait for it, before anything is decided.

        Raises Refused for a series of which nothing was ever known: its name is wrong. One that was known has gone.
        """
        for side in self.sides:
            ripe = side.ripe()
            if ripe and not stop.is_set():
                try:
                    healed = await side.healer.heal(ripe, stop)
                except (Faulty, Throttled) as error:
                    self.health.degraded(f"source {side.source.name}", str(error), side.clock())
                    continue
                _believe_names(healed, self.verified(None))
                self.note(side, healed)

    async def _ask(self, side: Side, ripe: Mapping[Series, SpanSet], stop: asyncio.Event) -> None:
        try:
            healed = await side.healer.heal(ripe, stop)
        except SourceError as error:
            self.health.degraded(f"source {side.source.name}", str(error), side.clock())
        except LakeDamaged:
            raise
        except LakeError as error:
            self.health.degraded("store", str(error), side.clock())
        else:
            await self.told(side, healed)

    def note(self, side: Side, healed: Healed) -> None:
        """Once its changes are decided: how far everything is verified, and whether the venue is well.

        What counts is when it was asked: deciding may take longer than answers need to become final.
        """
        known = self.verified(None)
        further: dict[Series, int] = {}
        for series, spans in healed.spans.items():
            at, sure = known.get(series), series.timeframe.floor(healed.at - _SURE)
            end = min(_reached(spans, at), sure)
            if series not in healed.failed and (at is None or at < end):
                further[series] = end
        if further:
            self.verified(further)
        self.health.well(f"source {side.source.name}", side.clock())
        for series in healed.spans:
            error = healed.failed.get(series)
            if error is None:
                self.health.well(f"series {series}", side.clock())
            elif error:
                self.health.degraded(f"series {series}", error, side.clock())

    def end(self) -> None:
        """Ask no more."""
        for task in self._tasks.values():
            task.cancel()


def _believe_names(healed: Healed, known: Mapping[Series, int]) -> None:
    for series in sorted(healed.refused - set(known)):
        raise Refused(f"{series}: {healed.failed[series]}")


def _reached(spans: SpanSet, at: int | None) -> int:
    """How far all is said once these spans are, if it was up to ``at``. A piece beyond a hole proves nothing.

    >>> spans = SpanSet.of((0, 10), (20, 30))
    >>> _reached(spans, None), _reached(spans, 5), _reached(spans, 15), _reached(spans, 20)
    (10, 10, 15, 30)
    """
    if at is None:
        return int(spans.ends[0])
    return next((span.end for span in spans if span.start <= at < span.end), at)
