"""What is to be asked for of values at times, and of whom. Pure.

1. A part of the wanted span that was answered for is not asked for again, nor an end of it where nothing is due yet.
2. What pages no longer reach is asked of the files of an archive, where there is one; so is what would take more pages
   than files. Files that follow each other are one task.
3. The rest is asked page by page, unless the caller wants files alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Protocol, runtime_checkable

from gapless.engine.bulk import runs
from gapless.protocols import Archive, Counts, Offer, Source, ValueArchive, ValueSource
from gapless.series import Instrument
from gapless.spans import HOUR, LATEST, MINUTE, Span, SpanSet
from gapless.values import USUAL

TOO_OLD = "the source tells nothing so far back"
NO_FILE = "the archive has no such file"
LEFT_OUT = "the archive's file leaves it out"
MARGIN = 2 * MINUTE  # what was due so shortly before it was asked for may not have been there yet
_SLACK = HOUR  # what pages reach by so little may have grown too old when its turn comes


@runtime_checkable
class TellsValues(Protocol):
    """A source that tells values beside bars."""

    def values(self) -> Sequence[ValueSource]: ...


@runtime_checkable
class HoldsValues(Protocol):
    """An archive that holds values beside bars."""

    def values(self) -> Sequence[ValueArchive]: ...


@dataclass(frozen=True, slots=True)
class ValueTask:
    """A span of one kind of values of one instrument: page by page, or from ``files`` of an archive."""

    source: ValueSource
    instrument: Instrument
    span: Span
    archive: ValueArchive | None = None
    files: tuple[Offer, ...] = ()
    pages: bool = True  # what files do not give is asked of the source


@dataclass(slots=True)
class ValueOutcome:
    """How it went for one kind of values of one instrument.

    ``residual``: what nobody tells, by the reason why. ``until``: what the venue's clock showed when it was asked.
    """

    name: str
    instrument: Instrument
    counts: Counts = field(default_factory=Counts)
    requests: int = 0
    bytes: int = 0
    errors: list[str] = field(default_factory=list)
    residual: dict[str, SpanSet] = field(default_factory=dict)
    until: int = LATEST

    def add(self, counts: Counts) -> None:
        """Count what a page or a file brought; of several that come at once none is lost."""
        self.counts += counts

    def left_out(self, spans: SpanSet, reason: str) -> None:
        """Nobody tells the values of ``spans``."""
        if spans:
            self.residual[reason] = self.residual.get(reason, SpanSet.of()) | spans

    @property
    def untold(self) -> SpanSet:
        """All of the residual."""
        return reduce(or_, self.residual.values(), SpanSet.of())


def of_source(source: Source, names: Collection[str]) -> list[ValueSource]:
    """Who tells the values of these names beside a source."""
    told = source.values() if isinstance(source, TellsValues) else ()
    return [one for one in told if one.value in names]


def of_archive(archive: Archive | None, names: Collection[str]) -> dict[str, ValueArchive]:
    """Who holds the values of these names beside an archive of bars, by name."""
    held: Sequence[ValueArchive] = archive.values() if isinstance(archive, HoldsValues) else ()
    return {one.value: one for one in held if one.value in names}


def tasks(
    source: ValueSource, instruments: Sequence[Instrument], span: Span, answered: Mapping[str, SpanSet],
    asked_until: Mapping[str, int], *, archive: ValueArchive | None = None, pages: bool = True, now: int = LATEST,
) -> list[ValueTask]:  # fmt: skip
    """All steps. ``answered`` and ``asked_until`` by instrument; empty to ask for everything again.

    ``archive``: files beside the source, those there are at ``now``; ``pages`` False: only they are asked.
    """
    found: list[ValueTask] = []
    for instrument in instruments:
        missing = SpanSet.of(span) - answered.get(str(instrument), SpanSet.of())
        until = asked_until.get(str(instrument), span.start) - MARGIN
        for part in missing:
            due = (part.end - 1) // source.every * source.every
            tail = part.end == span.end and str(instrument) in answered
            if not (tail and due <= max(part.start, until)):
                found += _divided(ValueTask(source, instrument, part, archive, pages=pages), now)
    return found


def pages_of(source: ValueSource, span: Span) -> int:
    """How many pages a span takes, where values come as often as is usual.

    >>> from gapless.sources.binance import usdm
    >>> [pages_of(one, Span.parse("2024-01-01", "2024-12-31")) for one in usdm().values()]
    [2, 211]
    """
    return -(-(span.end - span.start) // (usual_step(source) * source.limits.page_bars))


def usual_step(source: ValueSource) -> int:
    """How far apart values mostly are, µs."""
    return max(source.every, USUAL.get(source.value, source.every))


def reachable(source: ValueSource, spans: SpanSet, now: int) -> SpanSet:
    """The part of ``spans`` that pages can still tell at ``now``."""
    if source.reach is None:
        return spans
    oldest = -(-(now - source.reach) // source.every) * source.every + source.every
    return spans.clip(Span(oldest, max(oldest, LATEST)))


def _divided(task: ValueTask, now: int) -> Iterator[ValueTask]:
    """Steps 2 and 3."""
    offers = task.archive.offers(task.instrument, task.span, now) if task.archive else ()
    offers = _chosen(task, [offer for offer in offers if offer.span.intersect(task.span)], now)
    for run in runs(offers):
        yield replace(task, span=task.span.intersect(Span(run[0].span.start, run[-1].span.end)), files=run)
    for part in SpanSet.of(task.span) - SpanSet.of(*(offer.span for offer in offers)):
        yield replace(task, span=part, archive=None)


def _chosen(task: ValueTask, offers: Sequence[Offer], now: int) -> Sequence[Offer]:
    """Step 2."""
    source = task.source
    inside = SpanSet.of(*(offer.span for offer in offers)).clip(task.span)
    if not task.pages or sum(pages_of(source, span) for span in inside) > len(offers) + 1:
        return offers
    return [offer for offer in offers if source.reach is not None and offer.span.start < now - source.reach + _SLACK]
