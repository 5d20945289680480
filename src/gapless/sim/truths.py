"""Which truth each venue has: the two of Binance, one that omits silent minutes, and stocks that trade in sessions."""

from __future__ import annotations

from gapless.errors import UnknownName
from gapless.sim import names
from gapless.sim.blocks import Truth
from gapless.sim.config import SimConfig
from gapless.sim.market import Market
from gapless.sim.replay import Replay

FLAT = ("BINANCE", "BINANCEUSDM")  # silent minutes are told, unless the configuration says otherwise
SPARSE = ("BITFINEX", "CRYPTO")  # silent minutes are left out; priced in dollars
EQUITIES = {"XNAS": ("AAPL", "MSFT", "GOOG", "SHY"), "XNYS": ("IBM", "KO", "GE", "TWX")}


class Truths(dict[str, Truth]):
    """Truth by venue, made when first asked for."""

    def __init__(self, config: SimConfig) -> None:
        super().__init__({venue: made(config, venue) for venue in FLAT})
        self.config = config

    def __missing__(self, venue: str) -> Truth:
        self[venue] = made(self.config, venue)
        return self[venue]


def made(config: SimConfig, venue: str) -> Truth:
    """The truth of a venue; UnknownName for one that is not simulated."""
    if venue not in (*FLAT, *SPARSE, *EQUITIES):
        raise UnknownName("venue", venue, (*FLAT, *SPARSE, *EQUITIES))
    if config.reader is not None and not isinstance(config.symbols, int):
        return Replay(config.reader, config.symbols, venue=venue, listed=config.listed)
    if venue in EQUITIES:
        return _equities(config, venue)
    return _market(config, venue)


def _market(config: SimConfig, venue: str) -> Market:
    flat = venue in FLAT
    symbols = config.symbols if flat else _in_dollars(config.symbols)
    return Market(
        config.seed, symbols, config.start, config.end, venue=venue, silence=config.silence if flat else "omit",
        outages_per_month=config.outages_per_month, halts_per_month=config.halts_per_month,
        listed_late=config.listed_late, delisted=config.delisted, outages=config.outages, halts=config.halts,
    )  # fmt: skip


def _in_dollars(symbols: int | tuple[str, ...]) -> tuple[str, ...]:
    """The same names without Tether's T: BTCUSDT becomes BTCUSD."""
    known = names.symbols(symbols) if isinstance(symbols, int) else symbols
    return tuple(s.removesuffix("T") if s.endswith("USDT") else s for s in known)


def _equities(config: SimConfig, venue: str) -> Truth:
    from gapless.sim.sessions import Sessions  # pandas comes with its calendar

    listed = (config.equities or EQUITIES).get(venue) or EQUITIES[venue]
    inner = Market(
        config.seed, listed, config.start, config.end, venue=venue, silence="omit",
        outages_per_month=0.0, halts_per_month=0.0, listed_late=0.0, delisted=0.0,
    )  # fmt: skip
    return Sessions(inner, splits=config.splits or {}, dividends=config.dividends)
