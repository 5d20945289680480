"""When nothing trades: listings inside the span, venue outages, halts of one instrument. All follow from the seed."""

from __future__ import annotations

from collections.abc import Sequence

from gapless.sim.chance import draw, stream
from gapless.spans import DAY, MINUTE, Span, SpanSet

_MONTH = 30 * DAY
_SEASON = 120 * DAY


def random_spans(key: tuple[object, ...], within: Span, *, per_month: float, minutes: tuple[int, int]) -> SpanSet:
    """At most one interruption in each 30 days since the epoch, of whole minutes; independent of ``within``."""
    found = []
    for month in range(within.start // _MONTH, -(-within.end // _MONTH)):
        chance = stream("interruption", *key, month)
        happens, where = chance.random(2)
        length = int(chance.integers(minutes[0], minutes[1], endpoint=True)) * MINUTE
        start = month * _MONTH + int(where * (_MONTH - length)) // MINUTE * MINUTE
        if happens < per_month:
            found.append((start, start + length))
    return SpanSet.of(*found).clip(within)


def listings(seed: int, symbols: Sequence[str], within: Span, *, late: float, gone: float) -> dict[str, Span]:
    """From listing to delisting of each symbol: a share ``late`` is listed inside the span, a share ``gone`` delisted.

    The first two symbols live throughout (something must be the benchmark); from four symbols on there is at least
    one of each kind unless its share is 0.
    """
    order = sorted(symbols[2:], key=lambda name: draw(seed, "listing", name))
    count = len(symbols)
    arrivals = order[: _share(count, late)]
    leavers = order[len(arrivals) : len(arrivals) + _share(count, gone)]
    spans = dict.fromkeys(symbols, within)
    for name in arrivals:
        spans[name] = Span(_inside(seed, "listed", name, within), within.end)
    for name in leavers:
        spans[name] = Span(within.start, _inside(seed, "delisted", name, within))
    return spans


def _share(count: int, share: float) -> int:
    return max(1, round(count * share)) if share > 0 and count >= 4 else 0


def _inside(seed: int, what: str, name: str, within: Span) -> int:
    """A whole hour (venues list on the hour) in the middle half of the span, or of its first 120 days.

    A bound that does not follow the clock: a venue restarted later lists the same symbols at the same times.
    """
    part = 0.25 + 0.5 * draw(seed, what, name)
    hour = 60 * MINUTE
    return (within.start + int(min(within.end - within.start, _SEASON) * part)) // hour * hour
