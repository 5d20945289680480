"""What will be asked of one source, and what it will cost. Pure.

1. Wanted spans of a series that lie near each other become one task, when asking once costs no more weight than asking
   twice: the bars between them are asked for again, and compared.
2. A long span is cut into tasks of ``TASK_PAGES`` pages, so that one series can be fetched by several workers.
3. Each task is walked in pages that overlap by one bar, and asks one bar beyond its end, to see that the last is final.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gapless.protocols import Source
from gapless.series import Series
from gapless.spans import Span, SpanSet, iso

TASK_PAGES = 64
_WIRE_BYTES = 175  # of one bar, as venues send it
_ROUND_TRIP = 0.15  # seconds, to a venue across the world


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: a span of a series, to be asked of a source."""

    source: str
    series: Series
    span: Span
    requests: int

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

    def to_dict(self) -> dict[str, object]:
        """As `gapless plan --json` prints it."""
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "bars": self.bars,
            "requests": self.requests,
            "weight": self.weight,
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "residual": [dict(gap) for gap in self.residual],
        }


def plan(
    wanted: Iterable[tuple[Series, SpanSet]],
    source: Source,
    *,
    residual: Sequence[Mapping[str, object]] = (),
    concurrency: int = 0,
) -> Plan:
    """The plan for the wanted spans of each series. ``concurrency`` 0: what the source allows."""
    tasks: list[Task] = []
    bars = weight = 0
    for series, spans in wanted:
        for span in _tasks(series, spans, source):
            requests, costs = cost(span.bars(series.timeframe), source)
            tasks.append(Task(source.name, series, span, requests))
            bars += span.bars(series.timeframe)
            weight += costs
    total = sum(task.requests for task in tasks)
    seconds = _seconds(total, weight, source, concurrency)
    return Plan(tuple(tasks), bars, total, weight, seconds, bars * _WIRE_BYTES, tuple(residual))


def cost(bars: int, source: Source) -> tuple[int, int]:
    """Requests and weight of a task of ``bars``.

    >>> from gapless.sources.binance import spot, usdm
    >>> cost(5, spot()), cost(1000, spot()), cost(1999, spot()), cost(2000, spot()), cost(1502, usdm())
    ((1, 2), (1, 2), (2, 4), (3, 6), (2, 11))
    """
    page = source.limits.page_bars
    if bars <= page:
        return (1, source.weight_of(min(page, bars + 1))) if bars else (0, 0)
    more = -(-(bars - page) // (page - 1))
    last = bars - page - (more - 1) * (page - 1) + 2  # with the overlap, and one bar beyond the end
    return 1 + more, more * source.weight_of(page) + source.weight_of(min(page, last))


def _tasks(series: Series, spans: SpanSet, source: Source) -> Iterator[Span]:
    """Steps 1 and 2."""
    size, page = series.timeframe.micros, source.limits.page_bars
    most = (TASK_PAGES * (page - 1)) * size
    for span in _merged(_on_grid(series, spans), series, source):
        for start in range(span.start, span.end, most):
            yield Span(start, min(span.end, start + most))


def _merged(spans: SpanSet, series: Series, source: Source) -> Iterator[Span]:
    """Neighbours become one where that costs no more weight."""

    def weight(span: Span) -> int:
        return cost(span.bars(series.timeframe), source)[1]

    current: Span | None = None
    for span in spans:
        if current is None:
            current = span
            continue
        both = Span(current.start, span.end)
        if weight(both) <= weight(current) + weight(span):
            current = both
        else:
            yield current
            current = span
    if current is not None:
        yield current


def _on_grid(series: Series, spans: SpanSet) -> SpanSet:
    """The same bars, with edges on bar opens."""
    size, offset = series.timeframe.micros, series.timeframe.offset
    starts, ends = (-((offset - edges) // size) * size + offset for edges in (spans.starts, spans.ends))
    return SpanSet.merge(starts, ends)


def _seconds(requests: int, weight: int, source: Source, concurrency: int) -> float:
    """The slower of the two limits: weight per window, and round trips over the workers."""
    limits = source.limits
    paced = max(0.0, weight / limits.weight - 1.0) * limits.window if limits.weight else 0.0
    return max(paced, requests * _ROUND_TRIP / (concurrency or limits.concurrency))
