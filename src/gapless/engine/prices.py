"""What asking costs: requests, weight, and seconds at leisure. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gapless.protocols import Offer, Paged, Source
from gapless.series import Series
from gapless.spans import Span, SpanSet, Timeframe

ROUND_TRIP = 0.15  # seconds, to a venue across the world
WIRE_BYTES = 175  # of one bar, as venues send it
_BANDWIDTH = 1_250_000  # bytes a second: a modest line, so that a file is not fetched for the sake of a few bars


def page_bars(source: Source, timeframe: Timeframe | None = None) -> int:
    """How many bars of a timeframe are sure to fit on a page; of the most that ever do, without one.

    >>> from gapless.sources.polygon import polygon
    >>> page_bars(polygon()), page_bars(polygon(), Timeframe.parse("1h"))
    (50000, 833)
    """
    most = source.limits.page_bars
    if timeframe is None or not isinstance(source, Paged):
        return most
    return max(2, min(most, source.page_of(timeframe)))  # of two, one overlaps and one is new


def cost(bars: int, source: Source, timeframe: Timeframe | None = None) -> tuple[int, int]:
    """Requests and weight of a task of ``bars``.

    >>> from gapless.sources.binance import spot, usdm
    >>> cost(5, spot()), cost(1000, spot()), cost(1999, spot()), cost(2000, spot()), cost(1502, usdm())
    ((1, 2), (1, 2), (2, 4), (3, 6), (2, 11))
    """
    page = page_bars(source, timeframe)
    if bars <= page:
        return (1, source.weight_of(min(page, bars + 1))) if bars else (0, 0)
    more = -(-(bars - page) // (page - 1))
    last = bars - page - (more - 1) * (page - 1) + 2  # with the overlap, and one bar beyond the end
    return 1 + more, more * source.weight_of(page) + source.weight_of(min(page, last))


def merged(spans: SpanSet, series: Series, source: Source) -> Iterator[Span]:
    """Neighbours become one where that costs no more weight."""

    def weight(span: Span) -> int:
        return cost(span.bars(series.timeframe), source, series.timeframe)[1]

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


def by_pages(spans: SpanSet, series: Series, source: Source) -> float:
    """Seconds to fetch ``spans`` page by page, one after the other. What lies at an edge shares its page."""
    found, limits, page = list(merged(spans, series, source)), source.limits, page_bars(source, series.timeframe)
    bars = sum(span.bars(series.timeframe) for span in found)
    pages = max(bars / page, len(found) - 1)
    paced = pages * source.weight_of(page) * limits.window / limits.weight if limits.weight else 0.0
    return pages * ROUND_TRIP + paced + bars * WIRE_BYTES / _BANDWIDTH


def by_file(offer: Offer) -> float:
    """Seconds to fetch a file."""
    return ROUND_TRIP + offer.bytes / _BANDWIDTH


def moved(size: int) -> float:
    """Seconds that ``size`` bytes take."""
    return size / _BANDWIDTH
