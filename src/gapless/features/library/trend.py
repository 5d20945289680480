"""Trend: directional movement, Aroon, stops, Ichimoku."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.moving import rma
from gapless.features.library.volatility import atr, tr
from gapless.features.library.windows import highest, lowest
from gapless.features.registry import Bars, feature

_WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978; TradingView ta.dmi"
_EQUAL = 1e-10  # movements that differ by less are equal, as in Pine


def above(x: Node | float, y: Node | float, tolerance: float = _EQUAL) -> Node:
    """1 where x − y exceeds the tolerance, else 0; 0 where one is missing."""
    if isinstance(x, Node):
        return x.of("above", y, params=(tolerance,))
    assert isinstance(y, Node)
    return y.graph.node("above", x, y, params=(tolerance,))


def _movements(bars: Bars) -> tuple[Node, Node]:
    """Directional movement up and down: only the greater of the two counts, and only above 0."""
    up, down = bars.high - bars.high.lag(1), bars.low.lag(1) - bars.low
    rises, falls = above(up, down) * above(up, 0.0), above(down, up) * above(down, 0.0)
    return (rises + (up - up)).of("where", up, 0.0), (falls + (down - down)).of("where", down, 0.0)


@feature("trend", bounds=(0.0, 100.0), source=_WILDER)
def plus_di(bars: Bars, length: int = 14) -> Node:
    """Wilder's directional indicator +DI: 100 · rma(upward movement) / rma(true range).

    The first bar has no true range and no movement, and counts in neither. NaN while the range is 0.

    >>> from gapless.features import sample
    >>> sample("plus_di(2)", high=[3, 4, 6], low=[1, 2, 3], close=[2, 4, 5])
    [nan, nan, 60.0]
    """
    return 100.0 * rma(_movements(bars)[0], length) / rma(tr(bars), length)


@feature("trend", bounds=(0.0, 100.0), source=_WILDER)
def minus_di(bars: Bars, length: int = 14) -> Node:
    """Wilder's directional indicator −DI: 100 · rma(downward movement) / rma(true range).

    >>> from gapless.features import sample
    >>> sample("minus_di(2)", high=[6, 4, 4], low=[3, 2, 1], close=[5, 3, 2])
    [nan, nan, 33.333333]
    """
    return 100.0 * rma(_movements(bars)[1], length) / rma(tr(bars), length)


@feature("trend", bounds=(0.0, 100.0), source=_WILDER)
def adx(bars: Bars, length: int = 14, smooth: int = 14) -> Node:
    """Wilder's average directional index: 100 · rma(|+DI − −DI| / (+DI + −DI), smooth); their sum 0 counts as 1.

    >>> from gapless.features import sample
    >>> sample("adx(2, 2)", high=[3, 4, 6, 6], low=[1, 2, 3, 2], close=[2, 4, 5, 3])
    [nan, nan, nan, 60.0]
    """
    plus, minus = plus_di(bars, length), minus_di(bars, length)
    both = plus + minus
    return 100.0 * rma(abs(plus - minus) / above(both, 0.0).of("where", both, 1.0), smooth)


_AROON = "Chande, 1995; TradingView, Aroon"
_TIES = {"ties": ("oldest", "latest")}


def _aroon(x: Node, extreme: Node, length: int, ties: str) -> Node:
    """100·(n − bars since the extreme) / n."""
    age = x.of("age", extreme, params=(length + 1.0, float(ties == "latest")))
    return 100.0 * (length - age) / length


@feature("trend", bounds=(0.0, 100.0), source=_AROON, choices=_TIES)
def aroon_up(bars: Bars, length: int = 14, ties: str = "oldest") -> Node:
    """Aroon up: 100·(n − bars since the highest high of the last n + 1 bars) / n.

    Of equal highs the oldest counts, as on TradingView; others take the latest.

    >>> from gapless.features import sample
    >>> sample("aroon_up(2)", high=[3, 4, 4, 2])
    [nan, nan, 50.0, 0.0]
    >>> sample('aroon_up(2, "latest")', high=[3, 4, 4, 2])
    [nan, nan, 100.0, 50.0]
    """
    return _aroon(bars.high, highest(bars.high, length + 1), length, ties)


@feature("trend", bounds=(0.0, 100.0), source=_AROON, choices=_TIES)
def aroon_down(bars: Bars, length: int = 14, ties: str = "oldest") -> Node:
    """Aroon down: 100·(n − bars since the lowest low of the last n + 1 bars) / n; of equal lows the oldest.

    >>> from gapless.features import sample
    >>> sample("aroon_down(2)", low=[3, 2, 3, 4])
    [nan, nan, 50.0, 0.0]
    """
    return _aroon(bars.low, lowest(bars.low, length + 1), length, ties)


@feature("trend", bounds=(-100.0, 100.0), source=_AROON, choices=_TIES)
def aroon_osc(bars: Bars, length: int = 14, ties: str = "oldest") -> Node:
    """Aroon oscillator: up less down.

    >>> from gapless.features import sample
    >>> sample("aroon_osc(2)", high=[3, 4, 5], low=[1, 2, 3])
    [nan, nan, 100.0]
    """
    return aroon_up(bars, length, ties) - aroon_down(bars, length, ties)


@feature("trend", source="Wilder, New Concepts in Technical Trading Systems, 1978; TradingView ta.sar")
def psar(bars: Bars, start: float = 0.02, step: float = 0.02, limit: float = 0.2) -> Node:
    """Wilder's parabolic stop and reverse: a stop that accelerates towards the extreme, and turns where it is hit.

    The first direction is that of the second close, as on TradingView.

    >>> from gapless.features import sample
    >>> sample("psar()", high=[3, 4, 5, 3], low=[2, 3, 4, 1], close=[2.5, 3.5, 4.5, 2])
    [nan, 2.0, 2.0, 5.0]
    """
    return bars.high.of("psar", bars.low, bars.close, params=(start, step, limit))


@feature("trend", source="Seban; TradingView ta.supertrend")
def supertrend(bars: Bars, length: int = 10, factor: float = 3.0) -> Node:
    """Supertrend: hl2 ∓ factor·atr, tightened only until the close breaks it; below the price it is a long's stop.

    It starts as a short's stop, as on TradingView.

    >>> from gapless.features import sample
    >>> sample("supertrend(1, 1)", high=[3, 4, 9], low=[1, 3, 8], close=[2, 3.5, 9])
    [4.0, 4.0, 3.0]
    """
    middle, reach = (bars.high + bars.low) / 2.0, factor * atr(bars, length)
    return (middle + reach).of("supertrend", middle - reach, bars.close)


def _middle(bars: Bars, length: int) -> Node:
    return (highest(bars.high, length) + lowest(bars.low, length)) / 2.0


@feature("trend", source="Hosoda; TradingView, Ichimoku Cloud")
def ichimoku_conversion(bars: Bars, length: int = 9) -> Node:
    """Ichimoku conversion line: the middle of the last n bars' highs and lows.

    >>> from gapless.features import sample
    >>> sample("ichimoku_conversion(2)", high=[3, 4, 5], low=[1, 2, 3])
    [nan, 2.5, 3.5]
    """
    return _middle(bars, length)


@feature("trend", source="Hosoda; TradingView, Ichimoku Cloud")
def ichimoku_base(bars: Bars, length: int = 26) -> Node:
    """Ichimoku base line: the middle of the last n bars' highs and lows.

    >>> from gapless.features import sample
    >>> sample("ichimoku_base(2)", high=[3, 4, 5], low=[1, 2, 3])
    [nan, 2.5, 3.5]
    """
    return _middle(bars, length)


@feature("trend", source="Hosoda; TradingView, Ichimoku Cloud")
def ichimoku_lead_a(bars: Bars, conversion: int = 9, base: int = 26) -> Node:
    """Ichimoku leading span A: (conversion + base) / 2, where it is computed; charts draw it later.

    What a chart shows at a bar is ``lag(ichimoku_lead_a(), 25)``.

    >>> from gapless.features import sample
    >>> sample("ichimoku_lead_a(1, 2)", high=[3, 4, 5], low=[1, 2, 3])
    [nan, 2.75, 3.75]
    """
    return (_middle(bars, conversion) + _middle(bars, base)) / 2.0


@feature("trend", source="Hosoda; TradingView, Ichimoku Cloud")
def ichimoku_lead_b(bars: Bars, length: int = 52) -> Node:
    """Ichimoku leading span B: the middle of the last n bars, where it is computed; charts draw it later.

    >>> from gapless.features import sample
    >>> sample("ichimoku_lead_b(2)", high=[3, 4, 5], low=[1, 2, 3])
    [nan, 2.5, 3.5]
    """
    return _middle(bars, length)
