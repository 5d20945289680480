"""What the import of a table may claim to have answered.

A file is not a request: nobody knows what its maker asked for. It is taken at its word where that word is plain, and
no further, so that what lies between two files stays ``never_asked``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gapless.coverage.grid import Market, days_of
from gapless.series import Instrument
from gapless.spans import Micros, Span, SpanSet, Timeframe, hull

_DENSE = 0.5  # of the sessions between the first and the last, how many must hold a bar


def asked_by_table(
    present: Mapping[Instrument, SpanSet], timeframe: Timeframe, market: Market
) -> dict[Instrument, SpanSet]:
    """For each instrument of one table: the spans for which the table is the whole truth.

    Sessions are UTC days for an always-open market. An instrument's *own* sessions hold at least one of its bars.

    1. Own sessions dense (half of those between the first and the last): all between them is answered.
       Otherwise the table holds selected days: its own sessions are answered, what lies between them is not.
    2. End: a session market answers to the end of the session of the last bar (a session that stops in the middle is
       truncated); an always-open one to the end of the table if that falls on the same day, else to the last bar.
    3. Start: where the table starts with a session, a dense instrument whose last bar reaches the last session of the
       table is answered from the start of the table, as a late listing in a panel is. A table that starts in the
       middle of a session holds the last so many bars of each instrument: it is silent on what came before them.
       Otherwise: from the start of the first own session, inside the table.
    """
    whole = hull(h for s in present.values() if (h := s.hull))
    if whole is None:
        return dict.fromkeys(present, SpanSet.of())
    sessions = days_of(market, timeframe, whole)[1:]
    return {name: _answered(spans, whole, sessions, market.always_open) for name, spans in present.items()}


def _answered(spans: SpanSet, whole: Span, sessions: tuple[Micros, Micros], always_open: bool) -> SpanSet:
    starts, ends = sessions
    own = np.flatnonzero(_touched(spans, starts, ends))
    if not len(own):
        return spans
    last_bar = int(spans.ends[-1])
    dense = len(own) >= _DENSE * (own[-1] - own[0] + 1)
    reaches = own[-1] == len(starts) - 1 or whole.end <= int(starts[own[-1] + 1])
    panel = dense and reaches and whole.start <= int(starts[0])
    begin = whole.start if panel else max(int(starts[own[0]]), whole.start)
    if whole.start > int(starts[0]):
        begin = max(begin, int(spans.starts[0]))
    end = int(ends[own[-1]])
    if always_open:
        end = whole.end if whole.end <= end else last_bar
    within = Span(begin, max(end, last_bar))  # bars after the session are answered with it
    return SpanSet.of(within) if dense else SpanSet.merge(starts[own], ends[own]).clip(within)


def _touched(spans: SpanSet, starts: Micros, ends: Micros) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each session: does it hold any of ``spans``?"""
    first_after = np.searchsorted(spans.ends, starts, side="right")
    inside = first_after < len(spans)
    inside[inside] = spans.starts[first_after[inside]] < ends[inside]
    return inside
