"""What will be asked of one source, and what it will cost. Pure.

0. Files of an archive that are cheaper in time than asking page by page (``bulk``) are taken first.
1. Wanted spans of a series that lie near each other become one task, when asking once costs no more weight than asking
   twice: the bars between them are asked for again, and compared.
2. A long span is cut into tasks of ``TASK_PAGES`` pages, so that one series can be fetched by several workers.
3. Each task is walked in pages that overlap by one bar, and asks one bar beyond its end, to see that the last is final.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gapless.engine.bulk import picked
from gapless.engine.prices import ROUND_TRIP, WIRE_BYTES, cost, merged, moved, page_bars
from gapless.protocols import Offer, Source
from gapless.series import Series
from gapless.spans import Span, SpanSet, iso

TASK_PAGES = 64


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: a span of a series, to be asked of a source; ``files`` where that source is an archive."""

    source: str
    series: Series
    span: Span
    requests: int
    files: tuple[Offer, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """As `gapless plan --json` prints it."""
        return {
            "source": self.source,
            "instrument": str(self.series.instrument),
            "timeframe": str(self.series.timeframe),
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "requests": self.requests,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks, their cost, and the gaps that no source can fill (``residual``, in the shape of `gapless gaps`)."""

    tasks: tuple[Task, ...]
    bars: int
    requests: int
    weight: int
    seconds: float
    bytes: int
    residual: tuple[Mapping[str, object], ...] = ()
    pages: bool = True  # what the files of an archive do not hold is asked page by page

    @property
    def sources(self) -> Counter[str]:
        """Requests by source."""
        found: Counter[str] = Counter()
        for task in self.tasks:
            found[task.source] += task.requests
        return found

    def to_dict(self) -> dict[str, object]:
        """As `gapless plan --json` prints it."""
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "bars": self.bars,
            "requests": self.requests,
            "sources": dict(self.sources),
            "weight": self.weight,
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "residual": [dict(gap) for gap in self.residual],
        }


def plan(
    wanted: Iterable[tuple[Series, SpanSet]],
    source: Source,
    *,
    offers: Mapping[Series, Sequence[Offer]] | None = None,
    pages: bool = True,
    residual: Sequence[Mapping[str, object]] = (),
    concurrency: int = 0,
) -> Plan:
    """The plan for the wanted spans of each series.

    ``offers``: files that an archive has of a series. ``pages`` False: files only, what they do not hold is not asked
    for. ``concurrency`` 0: what the source allows.
    """
    tasks: list[Task] = []
    bars = weight = size = 0
    for series, edges in wanted:
        spans = _on_grid(series, edges)
        files = list(_files(series, spans, (offers or {}).get(series, ()), source))
        left = spans - SpanSet.of(*(offer.span for task in files for offer in task.files))
        for span in _tasks(series, left, source) if pages else ():
            requests, costs = cost(span.bars(series.timeframe), source, series.timeframe)
            tasks.append(Task(source.name, series, span, requests))
            weight += costs
            size += span.bars(series.timeframe) * WIRE_BYTES
        tasks += files
        size += sum(offer.bytes for task in files for offer in task.files)
        bars += (spans if pages else spans - left).bars(series.timeframe)
    total = sum(task.requests for task in tasks)
    seconds = _seconds(total, weight, source, concurrency) + moved(size)
    return Plan(tuple(tasks), bars, total, weight, seconds, size, tuple(residual), pages)


def _files(series: Series, spans: SpanSet, offers: Sequence[Offer], source: Source) -> Iterator[Task]:
    """Step 0. The first task of a folder has its list to ask for too."""
    listed: set[str] = set()
    for run in picked(series, spans, offers, source):
        inside = spans.clip(Span(run[0].span.start, run[-1].span.end)).hull
        if inside is not None:
            yield Task(run[0].source, series, inside, len(run) + (run[0].folder not in listed), run)
            listed.add(run[0].folder)


def _tasks(series: Series, spans: SpanSet, source: Source) -> Iterator[Span]:
    """Steps 1 and 2."""
    size, page = series.timeframe.micros, page_bars(source, series.timeframe)
    most = (TASK_PAGES * (page - 1)) * size
    for span in merged(spans, series, source):
        for start in range(span.start, span.end, most):
            yield Span(start, min(span.end, start + most))


def _on_grid(series: Series, spans: SpanSet) -> SpanSet:
    """The same bars, with edges on bar opens."""
    size, offset = series.timeframe.micros, series.timeframe.offset
    starts, ends = (-((offset - edges) // size) * size + offset for edges in (spans.starts, spans.ends))
    return SpanSet.merge(starts, ends)


def _seconds(requests: int, weight: int, source: Source, concurrency: int) -> float:
    """The slower of the two limits: weight per window, and round trips over the workers."""
    limits = source.limits
    paced = max(0.0, weight / limits.weight - 1.0) * limits.window if limits.weight else 0.0
    return max(paced, requests * ROUND_TRIP / (concurrency or limits.concurrency))
