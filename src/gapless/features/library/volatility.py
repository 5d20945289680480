"""How far prices move."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.moving import rma
from gapless.features.registry import Bars, feature

_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"


@feature("volatility", bounds=(0.0, None), source=f"{_WILDER}; TradingView ta.tr")
def tr(bars: Bars) -> Node:
    """True range: the greatest of high − low, |high − previous close|, |low − previous close|.

    NaN on the first bar, and after a bar without a close.

    >>> from gapless.features import sample
    >>> sample("tr()", high=[3, 4, 9], low=[1, 3, 8], close=[2, 4, 8])
    [nan, 2.0, 5.0]
    """
    before = bars.close.lag(1)
    return (bars.high - bars.low).of("max", abs(bars.high - before)).of("max", abs(bars.low - before))


@feature("volatility", bounds=(0.0, None), source=f"{_WILDER}; TradingView ta.atr")
def atr(bars: Bars, length: int = 14) -> Node:
    """Wilder's average true range; the first bar counts with high − low.

    The variant that leaves the first bar out is ``rma(tr(), length)``.

    >>> from gapless.features import sample
    >>> sample("atr(2)", high=[3, 4, 9], low=[1, 3, 8], close=[2, 4, 8])
    [nan, 2.0, 3.5]
    """
    before = bars.close.lag(1)
    reach = abs(bars.high - before).of("max", abs(bars.low - before))
    return rma((bars.high - bars.low).of("known_max", reach), length)
