"""Pages of a truth at the venue's present, for vendors that print their own rows."""

from __future__ import annotations

from gapless.sim import venue
from gapless.sim.blocks import Block, Truth, days, join, truth_block
from gapless.spans import MINUTE, Span, Timeframe

_1M = Timeframe.parse("1m")


def page(
    truth: Truth, symbol: str, timeframe: Timeframe, span: Span, now: int, limit: int, *, newest: bool = False
) -> Block:
    """The first ``limit`` bars that open inside ``span`` by ``now``, or the ``newest``; the forming one included."""
    opened = timeframe.floor(now)
    final = Span(max(span.start, timeframe.floor(truth.listed(symbol).start)), min(span.end, opened))
    block = join(
        [_stretch(truth, symbol, timeframe, final, limit, newest), _forming(truth, symbol, timeframe, now).cut(span)]
    )
    part = slice(-limit, None) if newest else slice(0, limit)
    return Block(block.ts[part], block.values[:, part], block.scale)


def _forming(truth: Truth, symbol: str, timeframe: Timeframe, now: int) -> Block:
    minutes = truth_block(truth, symbol, _1M, Span(timeframe.floor(now), _1M.floor(now) + MINUTE))
    return venue.forming(minutes, timeframe, now)


def _stretch(truth: Truth, symbol: str, timeframe: Timeframe, span: Span, limit: int, newest: bool) -> Block:
    """At least ``limit`` bars from one end of ``span``, or all of it; no more days are made than needed."""
    blocks: list[Block] = []
    left = limit
    wanted = days(Span(span.start, max(span.start, span.end)), timeframe)
    for day in reversed(wanted) if newest else wanted:
        blocks.append(truth.block(symbol, timeframe, day).cut(span))
        left -= len(blocks[-1])
        if left <= 0:
            break
    return join(blocks[::-1] if newest else blocks)
