"""Volume and money flow."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.windows import total
from gapless.features.registry import CLOSE, DAY, TYPICAL, Bars, feature


def cumulate(x: Node, session: Node | float = 0.0) -> Node:
    """Running sum, rounding errors carried along; begun anew where ``session`` changes."""
    return x.of("cumulate", session)


@feature("volume", source="Granville, 1963; TradingView ta.obv")
def obv(bars: Bars, x: Node = CLOSE) -> Node:
    """On-balance volume: the volume of rising bars less that of falling ones, summed from 0 at the first bar.

    A value depends on where the history begins; its changes do not.

    >>> from gapless.features import sample
    >>> sample("obv()", close=[1, 2, 2, 1], volume=[5, 6, 7, 8])
    [0.0, 6.0, 6.0, -2.0]
    """
    direction = x.of("side", x.lag(1), params=(0.0,)).of("first_known", 0.0)
    return cumulate(direction * bars.volume)


def _flow(bars: Bars) -> Node:
    """Money flow volume: ((close − low) − (high − close)) / (high − low) · volume, 0 where high is low."""
    span = bars.high - bars.low
    share = ((bars.close - bars.low) - (bars.high - bars.close)).of("ratio", span)
    return span.of("where", share, 0.0) * bars.volume


@feature("volume", source="Chaikin; TradingView ta.accdist")
def ad(bars: Bars) -> Node:
    """Accumulation and distribution: Σ ((close − low) − (high − close)) / (high − low) · volume since the first bar.

    A bar whose high is its low adds 0.

    >>> from gapless.features import sample
    >>> sample("ad()", high=[4, 4, 4], low=[0, 0, 4], close=[3, 0, 4], volume=[2, 3, 9])
    [1.0, -2.0, -2.0]
    """
    return cumulate(_flow(bars))


@feature("volume", bounds=(-1.0, 1.0), source="Chaikin; TradingView, Chaikin Money Flow")
def cmf(bars: Bars, length: int = 20) -> Node:
    """Chaikin money flow: Σ money flow volume / Σ volume; NaN where nothing traded.

    >>> from gapless.features import sample
    >>> sample("cmf(2)", high=[4, 4, 4], low=[0, 0, 4], close=[3, 0, 4], volume=[2, 3, 9])
    [nan, -0.4, -0.25]
    """
    return total(_flow(bars), length) / total(bars.volume, length)


@feature("volume", bounds=(0.0, 100.0), source="Quong, Soudack, Stocks & Commodities, 1989; TradingView ta.mfi")
def mfi(bars: Bars, x: Node = TYPICAL, length: int = 14) -> Node:
    """Money flow index: 100 − 100 / (1 + rising money / falling money), money being x · volume.

    100 without falls, 0 without rises, NaN where nothing moved or traded. The first bar counts as both, as on
    TradingView.

    >>> from gapless.features import sample
    >>> sample("mfi(close, 2)", close=[1, 2, 1, 1], volume=[1, 1, 2, 1])
    [nan, 75.0, 50.0, 0.0]
    """
    change, money = x - x.lag(1), x * bars.volume
    rises = money * change.of("greater", 0.0).of("first_known", 1.0)
    falls = money * (-change).of("greater", 0.0).of("first_known", 1.0)
    return 100.0 - 100.0 / (1.0 + total(rises, length) / total(falls, length))


@feature("volume", source="TradingView ta.vwap")
def vwap(bars: Bars, session: Node = DAY, x: Node = TYPICAL) -> Node:
    """Volume-weighted average price since the session began: Σ x·volume / Σ volume.

    A session is the bars' own ``session`` column, else the UTC day; any series does, it begins anew where that changes.

    >>> from gapless.features import sample
    >>> sample("vwap(session, close)", session=[1, 1, 2], close=[1, 4, 6], volume=[1, 2, 3])
    [1.0, 3.0, 6.0]
    """
    return cumulate(x * bars.volume, session) / cumulate(bars.volume, session)
