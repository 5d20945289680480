"""The futures detector's features, for 1-minute bars: excess returns, volume, taker flow, open interest.

A benchmark is joined by time: where it has no bar the excess return is missing, and so is every beta whose window holds
that bar. Beta at a bar is that of the bars up to it. What cannot be said is NaN, never 0.
"""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.ordered import robust_zscore
from gapless.features.library.pairs import beta
from gapless.features.library.returns import log_return
from gapless.features.library.windows import total
from gapless.features.registry import Bars, feature

BENCHMARK = "BINANCEUSDM:BTCUSDT"


@feature("flow")
def r_1m(bars: Bars) -> Node:
    """Log return of the last bar: log_return(close, 1).

    >>> from gapless.features import sample
    >>> sample("r_1m()", close=[1, 2, 1])
    [nan, 0.693147, -0.693147]
    """
    return log_return(bars.close, 1)


@feature("flow")
def r_15m(bars: Bars) -> Node:
    """Log return of the last 15 bars: log_return(close, 15).

    >>> from gapless.features import sample
    >>> sample("r_15m()", close=[*range(1, 17)])[-2:]
    [nan, 2.772589]
    """
    return log_return(bars.close, 15)


@feature("flow")
def excess_return(bars: Bars, benchmark: str = BENCHMARK, length: int = 15, beta_length: int = 240) -> Node:
    """Return in excess of the benchmark's: r − β·r_b over ``length`` bars.

    β is the slope of one-bar log returns on the benchmark's over the last ``beta_length`` bars, point in time; it is 1
    for the benchmark itself.

    >>> from gapless.features import sample
    >>> sample('excess_return("X:B", 1, 2)', close=[1, 2, 1, 4], **{"close@X:B": [1, 2, 1, 2]})
    [nan, nan, 0.0, 0.346574]
    """
    theirs = bars.graph.column(f"close@{benchmark}")
    slope = beta(log_return(bars.close, 1), log_return(theirs, 1), beta_length)
    return log_return(bars.close, length) - slope * log_return(theirs, length)


@feature("flow")
def er_15m(bars: Bars, benchmark: str = BENCHMARK, beta_length: int = 240) -> Node:
    """Excess return of the last 15 bars over the benchmark's: r_15m − β·r_15m of the benchmark.

    β over the last 240 one-bar returns, point in time. (The detector took 48 five-bar returns, with two divisors.)

    >>> from gapless.features import sample
    >>> a = [100 + i % 3 for i in range(20)]
    >>> sample('er_15m("X:B", 4)', close=a, **{"close@X:B": a})[-2:]
    [0.0, 0.0]
    """
    return excess_return(bars, benchmark, 15, beta_length)


@feature("flow")
def z_er_15m(
    bars: Bars, benchmark: str = BENCHMARK, length: int = 720, beta_length: int = 240, least: int = 360
) -> Node:
    """Robust score of er_15m among its last 720 values, itself included: (x − median) / (1.4826·MAD).

    At least ``least`` of them must be known; 0 asks for all. NaN where the MAD is 0, as for the benchmark itself.

    >>> from gapless.features import sample
    >>> a = [100 + i % 3 for i in range(20)]
    >>> sample('z_er_15m("X:B", 3, 2, 3)', close=[*range(1, 21)], **{"close@X:B": a})[-1]
    -0.674491
    """
    return robust_zscore(er_15m(bars, benchmark, beta_length), length, least)


@feature("flow")
def z_vol_15m(bars: Bars, length: int = 720, volume_length: int = 15, least: int = 360) -> Node:
    """Robust score of the volume of the last 15 bars among its last 720 values, itself included.

    The detector's score of that name was of one-minute volume: ``volume_length`` 1.

    >>> from gapless.features import sample
    >>> sample("z_vol_15m(3, 1, 3)", volume=[1, 2, 4])
    [nan, nan, 1.348982]
    """
    return robust_zscore(total(bars.volume, volume_length), length, least)


@feature("flow", bounds=(0.0, 1.0))
def taker_buy_share_15m(bars: Bars) -> Node:
    """Share of the last 15 bars' volume that takers bought; NaN where nothing traded.

    >>> from gapless.features import sample
    >>> sample("taker_buy_share_15m()", volume=[2] * 15, taker_buy_volume=[1] * 15)[-1]
    0.5
    """
    return total(bars.taker_buy_volume, 15) / total(bars.volume, 15)


@feature("flow")
def oi_delta_1h(bars: Bars, length: int = 60) -> Node:
    """Change of the open interest over the last hour of 1-minute bars, in contracts.

    >>> from gapless.features import sample
    >>> sample("oi_delta_1h(2)", open_interest=[5, 6, 9])
    [nan, nan, 4.0]
    """
    return bars.open_interest - bars.open_interest.lag(length)
