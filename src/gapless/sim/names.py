"""The names a made market trades, and what follows from a name alone: price level, decimals, liquidity, risk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gapless.sim.blocks import Scale
from gapless.sim.chance import stream

QUOTE_ASSET = "USDT"
_QUOTES = (QUOTE_ASSET, "USDC", "FDUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY")
# Every fourth trades thinly (see _thin), so that a small universe has silent minutes too.
_KNOWN: dict[str, float] = {
    "BTC": 42000, "ETH": 2400, "BNB": 310, "ALGO": 0.31, "XRP": 0.55, "SOL": 85, "ADA": 0.48, "BAKE": 0.22,
    "DOGE": 0.085, "LINK": 14.2, "AVAX": 33, "STORJ": 0.47, "DOT": 6.9, "LTC": 72, "UNI": 6.2, "CTK": 0.66,
    "ATOM": 9.6, "ETC": 24, "FIL": 5.4, "AKRO": 0.0052, "TRX": 0.105, "XLM": 0.12, "NEAR": 3.1, "DENT": 0.00112,
    "APT": 9.1, "ARB": 1.6, "OP": 2.9, "SFP": 0.71, "INJ": 31, "SUI": 1.2, "AAVE": 98, "COTI": 0.061,
}  # fmt: skip
_STOCKS = {"AAPL": 190.0, "MSFT": 410.0, "GOOG": 170.0, "SHY": 82.0, "IBM": 170.0, "KO": 62.0, "GE": 160.0, "TWX": 98.0}


@dataclass(frozen=True, slots=True)
class Profile:
    """One instrument's character. Volatilities are of a day's log return; ``trades`` is a quiet minute's mean."""

    price: float
    scale: Scale
    trades: float
    beta: float
    volatility: float
    ticket: float  # mean turnover of one trade


def symbols(count: int) -> tuple[str, ...]:
    """The first ``count`` symbols: well-known names, then numbered ones.

    >>> symbols(2)
    ('BTCUSDT', 'ETHUSDT')
    """
    known = list(_KNOWN)[:count]
    made = [f"SIM{i:04d}" for i in range(1, count - len(known) + 1)]
    return tuple(name + QUOTE_ASSET for name in known + made)


def assets(symbol: str) -> tuple[str, str]:
    """The asset a symbol prices, and the one it is priced in.

    >>> assets("ETHBTC"), assets("BTCUSDT"), assets("GOLD")
    (('ETH', 'BTC'), ('BTC', 'USDT'), ('GOLD', 'USDT'))
    """
    for quote in _QUOTES:
        base = symbol.removesuffix(quote)
        if base not in ("", symbol):
            return base, quote
    return symbol, QUOTE_ASSET


def profile(symbol: str) -> Profile:
    """A pure function of the name: the same in every market, whatever else is traded there."""
    chance = stream("profile", symbol)
    u, v, w, x = (float(value) for value in chance.random(4))
    base, _ = assets(symbol)
    price = _KNOWN.get(base) or _STOCKS.get(base) or 10 ** (4.5 * u - 2)
    rank = list(_KNOWN).index(base) if base in _KNOWN else 12 + 30 * v
    trades = 2.0 + 2.0 * v if _thin(base, v) else max(6.0, 700 * 0.86**rank)
    return Profile(price, scale_of(price), trades, 0.7 + 0.7 * w, 0.018 + 0.03 * x, 250 + 900 * u)


def _thin(base: str, draw: float) -> bool:
    return list(_KNOWN).index(base) % 4 == 3 if base in _KNOWN else draw < 0.25


def scale_of(price: float) -> Scale:
    """Decimals that make a price at least 20,000 ticks and a step worth cents."""
    level = math.log10(price)
    return Scale(price=min(8, max(2, math.ceil(4.3 - level))), volume=min(5, max(0, round(level) + 1)))
