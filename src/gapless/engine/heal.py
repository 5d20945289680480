"""Healing while live: spans that the stream left out, or that must be looked at again, are asked of the venue's REST.

Wanted spans gather until they are ripe (the venue's clock is past their end by ``settle``), then go through the same
plan and backfill as any other fetch. What came of it is found in the store, by when it was learned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapless.engine.backfill import Options, backfill
from gapless.engine.final import Finality
from gapless.engine.plan import plan
from gapless.events import Observer, nobody
from gapless.protocols import Clock, Source, Store
from gapless.series import Series
from gapless.spans import SECOND, Span, SpanSet

AGAIN = 30 * SECOND  # the venue's time before a span that failed is asked again


@dataclass(frozen=True, slots=True)
class Healed:
    """Spans that were asked at ``at`` (µs) or later, and which of their series may have bars that nobody was told of.

    ``failed``: will be asked again, and why; an empty text where the asking was only stopped. ``refused``: those of
    them that the source will not answer for, as far as it knows now.
    """

    at: int
    spans: Mapping[Series, SpanSet]
    changed: tuple[Series, ...]
    failed: Mapping[Series, str]
    refused: frozenset[Series] = frozenset()


@dataclass
class Healer:
    """The wanted spans of one source's series, and how they are fetched."""

    source: Source
    store: Store
    clock: Clock
    run: str
    observer: Observer = nobody
    options: Options = field(default_factory=Options)
    _wanted: dict[Series, SpanSet] = field(default_factory=dict)
    _not_before: int = 0
    _doubted: set[Series] = field(default_factory=set)  # asked by a run that broke: what it stored was never told

    def want(self, series: Series, span: Span) -> None:
        """Ask for this, when it is ripe."""
        if span:
            self._wanted[series] = self._wanted.get(series, SpanSet.of()) | SpanSet.of(span)

    @property
    def waiting(self) -> int:
        """How many series have something to be asked."""
        return len(self._wanted)

    def ripe(self) -> dict[Series, SpanSet]:
        """What may be asked now: bars that are final by the venue's clock."""
        now = self.clock()
        if now < self._not_before:
            return {}
        found = {}
        for series, spans in self._wanted.items():
            closed = Finality(self.source, self.options.sessions).until(series.timeframe, now)
            ready = spans.clip(Span(-(2**62), max(closed, -(2**62))))
            if ready:
                found[series] = ready
        return found

    async def heal(self, spans: Mapping[Series, SpanSet], stop: asyncio.Event) -> Healed:
        """Ask for these spans; what fails is wanted again, after a while. Raises LakeError when the store fails."""
        for series, asked in spans.items():
            left = self._wanted.get(series, SpanSet.of()) - asked
            if left:
                self._wanted[series] = left
            else:
                self._wanted.pop(series, None)
        at, found = self.clock(), plan(spans.items(), self.source, concurrency=self.options.concurrency)
        try:
            outcomes = await backfill(
                found, self.source, self.store, run=self.run, observer=self.observer, stop=stop,
                options=self.options, clock=self.clock,
            )  # fmt: skip
        except BaseException:
            self._want_again(spans, AGAIN)
            self._doubted |= set(spans)
            raise
        failed = {o.series: o.error for o in outcomes if o.error or o.undone}
        if failed:
            self._want_again({s: spans[s] for s in failed}, AGAIN if any(failed.values()) else 0)
        changed = {o.series for o in outcomes if o.counts.written or o.counts.corrected} | (self._doubted & set(spans))
        self._doubted -= set(spans)
        return Healed(at, spans, tuple(sorted(changed)), failed, frozenset(o.series for o in outcomes if o.refused))

    def _want_again(self, spans: Mapping[Series, SpanSet], later: int) -> None:
        for series, asked in spans.items():
            self._wanted[series] = self._wanted.get(series, SpanSet.of()) | asked
        self._not_before = self.clock() + later
