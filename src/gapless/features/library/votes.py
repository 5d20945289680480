"""The 26 votes of TradingView's Technical Ratings, in three profiles.

Rules as published in the Pine library TechnicalRating 3 (``library``), as seen on the screener where it differs
(``screener``), and those of an older ratings scraper (``scraper``). A vote is 1, 0 or −1, and NaN where its guard is
missing: then it is not counted. The guard is the only test for missing values: a comparison with one does not hold.
Comparisons have an absolute tolerance of 1e-10, as Pine's; those said to be exact have none.
"""

from __future__ import annotations

from collections.abc import Callable

from gapless.features.graph import Node
from gapless.features.library.momentum import ao, bear_power, bull_power, cci, macd, macd_signal, mom, rsi, uo, wpr
from gapless.features.library.moving import ema, hma
from gapless.features.library.prices import hlc3
from gapless.features.library.stochastic import steady, stoch_d, stoch_k, stochrsi_d, stochrsi_k
from gapless.features.library.trend import (
    above,
    adx,
    ichimoku_base,
    ichimoku_conversion,
    ichimoku_lead_a,
    ichimoku_lead_b,
    minus_di,
    plus_di,
)
from gapless.features.registry import Bars

Vote = Callable[[Bars], Node]
LENGTHS = (10, 20, 30, 50, 100, 200)
# What differs by less of the close is the rounding of a sum: a flat price votes 0.
DUST = 2.0**-49


def _all(*flags: Node) -> Node:
    """1 where every flag is 1."""
    joined, *rest = flags
    for flag in rest:
        joined = joined * flag
    return joined


def _ballot(buy: Node, sell: Node, guard: Node) -> Node:
    """1 to buy, −1 to sell, 0 for neither; NaN where the guard is missing or infinite."""
    return buy.of("ballot", sell, guard)


def _side(bars: Bars, average: Node, dust: float = 0.0) -> Node:
    """The side of the average on which the close stands."""
    return bars.close.of("side", average, params=(dust,))


def _turn(x: Node, low: float, high: float) -> Node:
    """Buy when it rises below ``low``, sell when it falls above ``high``."""
    before = x.lag(1)
    return _ballot(_all(above(low, x), above(x, before)), _all(above(x, high), above(before, x)), before)


def _level(x: Node, low: float, high: float) -> Node:
    """Buy below ``low``, sell above ``high``."""
    return _ballot(above(low, x), above(x, high), x)


def _sma(length: int) -> Vote:
    return lambda bars: _side(bars, steady(bars.close, length), DUST)


def _ema(length: int) -> Vote:
    return lambda bars: _side(bars, ema(bars.close, length))


def _hma(bars: Bars) -> Node:
    return _side(bars, hma(bars.close, 9), DUST)


def _vwma(bars: Bars) -> Node:
    """A bar without a volume repeats both means, as TradingView's sma does."""
    return _side(bars, steady(bars.close * bars.volume, 20) / steady(bars.volume, 20), DUST)


def _cloud(bars: Bars) -> tuple[Node, Node, Node, Node]:
    return (
        ichimoku_conversion(bars, 9),
        ichimoku_base(bars, 26),
        ichimoku_lead_a(bars, 9, 26),
        ichimoku_lead_b(bars, 52),
    )


def _ichimoku(bars: Bars) -> Node:
    """With the spans of 26 bars ago; counted from the bar that has span B."""
    fast, slow, a, b = _cloud(bars)
    a_then, b_then, price = a.lag(26), b.lag(26), bars.close
    buy = _all(above(a_then, b_then), above(slow, a_then), above(fast, slow), above(price, fast))
    sell = _all(above(b_then, a_then), above(a_then, slow), above(slow, fast), above(fast, price))
    return _ballot(buy, sell, b)


def _ichimoku_screener(bars: Bars) -> Node:
    """The older rule, with the spans of the same bar: next to never a vote."""
    fast, slow, a, b = _cloud(bars)
    price, before = bars.close, bars.close.lag(1)
    buy = _all(above(a, b), above(price, a), above(slow, price), above(fast, before), above(price, fast))
    sell = _all(above(b, a), above(b, price), above(price, slow), above(before, fast), above(fast, price))
    return _ballot(buy, sell, a + b + fast + slow + before)


def _ichimoku_scraper(bars: Bars) -> Node:
    """Above or below the cloud of 52 bars ago: the old scraper displaced it twice."""
    _, _, a, b = _cloud(bars)
    a, b = a.lag(52), b.lag(52)
    return _ballot(above(bars.close, a.of("max", b)), above(a.of("min", b), bars.close), a + b + bars.close)


def _rsi(bars: Bars) -> Node:
    return _turn(rsi(bars.close, 14), 30.0, 70.0)


def _rsi_scraper(bars: Bars) -> Node:
    return _level(rsi(bars.close, 14), 30.0, 70.0)


def _lines(k: Node, d: Node) -> tuple[Node, Node]:
    """Both lines below 20 and %K above %D; both above 80 and %K below %D."""
    low, high = _all(above(20.0, k), above(20.0, d)), _all(above(k, 80.0), above(d, 80.0))
    return _all(low, above(k, d)), _all(high, above(d, k))


def _stoch(bars: Bars) -> Node:
    d = stoch_d(bars, 14, 3, 3)
    return _ballot(*_lines(stoch_k(bars, 14, 3), d), d.lag(1))


def _stoch_screener(bars: Bars) -> Node:
    """%K must also have crossed %D on this bar."""
    k, d = stoch_k(bars, 14, 3), stoch_d(bars, 14, 3, 3)
    buy, sell = _lines(k, d)
    k1, d1 = k.lag(1), d.lag(1)
    return _ballot(_all(buy, above(d1, k1)), _all(sell, above(k1, d1)), d1)


def _stoch_scraper(bars: Bars) -> Node:
    k, d = stoch_k(bars, 14, 3), stoch_d(bars, 14, 3, 3)
    return _ballot(_all(above(20.0, k), above(k, d)), _all(above(k, 80.0), above(d, k)), d)


def _cci(bars: Bars) -> Node:
    return _turn(cci(bars.close, 20), -100.0, 100.0)


def _cci_screener(bars: Bars) -> Node:
    return _turn(cci(hlc3(bars), 20), -100.0, 100.0)


def _cci_scraper(bars: Bars) -> Node:
    return _level(cci(hlc3(bars), 20), -100.0, 100.0)


def _strong(bars: Bars, *more: Node) -> Node:
    """With the direction of movement while the ADX is above 20, and whatever more is asked."""
    strength, plus, minus = adx(bars, 14, 14), plus_di(bars, 14), minus_di(bars, 14)
    strong = _all(above(strength, 20.0), *more)
    return _ballot(_all(strong, above(plus, minus)), _all(strong, above(minus, plus)), strength)


def _adx(bars: Bars) -> Node:
    """A buy and a sell both need a rising ADX."""
    strength = adx(bars, 14, 14)
    return _strong(bars, above(strength, strength.lag(1)))


def _ao(bars: Bars) -> Node:
    """Zero crossed (exactly), or a saucer: on one side of zero, turning away from it."""
    x = ao(bars, 5, 34)
    one, two = x.lag(1), x.lag(2)
    up = _all(above(x, 0.0, 0.0), 1.0 - above(one, 0.0, 0.0))
    down = _all(above(0.0, x, 0.0), 1.0 - above(0.0, one, 0.0))
    rise = _all(above(x, 0.0), above(one, 0.0), above(x, one), above(two, one))
    fall = _all(above(0.0, x), above(0.0, one), above(one, x), above(one, two))
    return _ballot(up.of("max", rise), down.of("max", fall), one)


def _ao_scraper(bars: Bars) -> Node:
    x = ao(bars, 5, 34)
    one = x.lag(1)
    return _ballot(_all(above(x, 0.0), above(x, one)), _all(above(0.0, x), above(one, x)), one)


def _mom(bars: Bars) -> Node:
    x = mom(bars.close, 10)
    one = x.lag(1)
    return _ballot(above(x, one), above(one, x), one)


def _mom_scraper(bars: Bars) -> Node:
    return _level(-mom(bars.close, 10), 0.0, 0.0)


def _macd(bars: Bars) -> Node:
    line, signal = macd(bars.close, 12, 26), macd_signal(bars.close, 12, 26, 9)
    return _ballot(above(line, signal), above(signal, line), signal)


def _stochrsi(bars: Bars) -> Node:
    """Only against the trend, which the close's side of its 50-bar exponential mean tells."""
    trend = ema(bars.close, 50)
    buy, sell = _lines(stochrsi_k(bars.close, 14, 14, 3), stochrsi_d(bars.close, 14, 14, 3, 3))
    return _ballot(_all(buy, above(trend, bars.close)), _all(sell, above(bars.close, trend)), trend)


def _stochrsi_scraper(bars: Bars) -> Node:
    return _level(stochrsi_k(bars.close, 14, 14, 3), 20.0, 80.0)


def _wpr(bars: Bars) -> Node:
    return _turn(wpr(bars, 14), -80.0, -20.0)


def _wpr_scraper(bars: Bars) -> Node:
    return _level(wpr(bars, 14), -80.0, -20.0)


def _power(bars: Bars) -> Node:
    """With the trend: bears that weaken in a rise, bulls that weaken in a fall."""
    trend, bull, bear = ema(bars.close, 50), bull_power(bars, 13), bear_power(bars, 13)
    buy = _all(above(bars.close, trend), above(0.0, bear), above(bear, bear.lag(1)))
    sell = _all(above(trend, bars.close), above(bull, 0.0), above(bull.lag(1), bull))
    return _ballot(buy, sell, trend)


def _power_scraper(bars: Bars) -> Node:
    x = bull_power(bars, 13) + bear_power(bars, 13)
    one = x.lag(1)
    return _ballot(_all(above(x, 0.0), above(x, one)), _all(above(0.0, x), above(one, x)), one)


def _uo(bars: Bars) -> Node:
    """With the trend: above 70 is a buy."""
    return -_level(uo(bars, 7, 14, 28), 30.0, 70.0)


def _uo_scraper(bars: Bars) -> Node:
    """Inverted: below 30 is a buy."""
    return _level(uo(bars, 7, 14, 28), 30.0, 70.0)


MOVING: dict[str, Vote] = {
    **{f"SMA{n}": _sma(n) for n in LENGTHS},
    **{f"EMA{n}": _ema(n) for n in LENGTHS},
    "HMA9": _hma, "VWMA20": _vwma, "Ichimoku": _ichimoku,
}  # fmt: skip
OSCILLATORS: dict[str, Vote] = {
    "RSI": _rsi, "Stoch": _stoch, "CCI": _cci, "ADX": _adx, "AO": _ao, "Mom": _mom, "MACD": _macd,
    "StochRSI": _stochrsi, "WR": _wpr, "BBP": _power, "UO": _uo,
}  # fmt: skip
# What the other profiles do differently.
CHANGED: dict[str, dict[str, Vote]] = {
    "library": {},
    "screener": {"Ichimoku": _ichimoku_screener, "Stoch": _stoch_screener, "CCI": _cci_screener},
    "scraper": {
        "Ichimoku": _ichimoku_scraper, "RSI": _rsi_scraper, "Stoch": _stoch_scraper, "CCI": _cci_scraper,
        "ADX": _strong, "AO": _ao_scraper, "Mom": _mom_scraper, "StochRSI": _stochrsi_scraper, "WR": _wpr_scraper,
        "BBP": _power_scraper, "UO": _uo_scraper,
    },
}  # fmt: skip
PROFILES = tuple(CHANGED)
VOTES = (*MOVING, *OSCILLATORS)


def cast(bars: Bars, name: str, profile: str) -> Node:
    """One vote."""
    return CHANGED[profile].get(name, (MOVING | OSCILLATORS)[name])(bars)
