"""What Binance's two market-data APIs allow: paths, page sizes, weights, streams. Figures as documented, 2025."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MINUTE_WEIGHT = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True)
class Sockets:
    """The rules of an API's websockets. Seconds are real ones: they are about the connection, not the market."""

    prefixes: tuple[str, ...]  # before /ws and /stream, first the one to use; real hosts differ, here they share one
    streams: int  # at most so many on a connection
    messages: int  # at most so many from the client in a second, pings and pongs included
    ping_every: float
    pong_within: float


@dataclass(frozen=True)
class Api:
    """One API: where it lives, how large a page may be, what requests weigh, and what a websocket may do."""

    venue: str
    prefix: str
    spot: bool
    default_limit: int
    max_limit: int
    weight_limit: int  # a minute and client
    exchange_info_weight: int
    klines_weight: Callable[[int], int]  # of the limit asked for
    sockets: Sockets


def _by_limit(limit: int) -> int:
    """USD-M: the larger the page, the dearer."""
    for bound, weight in ((100, 1), (500, 2), (1001, 5)):
        if limit < bound:
            return weight
    return 10


_SPOT_SOCKETS = Sockets(("",), 1024, 5, 20.0, 60.0)
_USDM_SOCKETS = Sockets(("/fapi/market", "/fapi"), 200, 10, 180.0, 600.0)
SPOT = Api("BINANCE", "/api/v3", True, 500, 1000, 6000, 20, lambda limit: 2, _SPOT_SOCKETS)
USDM = Api("BINANCEUSDM", "/fapi/v1", False, 500, 1500, 2400, 1, _by_limit, _USDM_SOCKETS)
APIS = (SPOT, USDM)
