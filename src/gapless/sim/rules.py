"""What Binance's two market-data APIs allow: paths, page sizes, weights. Figures as documented by the venue, 2025."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MINUTE_WEIGHT = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True)
class Api:
    """One API: where it lives, how large a page may be, and what requests weigh."""

    venue: str
    prefix: str
    spot: bool
    default_limit: int
    max_limit: int
    weight_limit: int  # a minute and client
    exchange_info_weight: int
    klines_weight: Callable[[int], int]  # of the limit asked for


def _by_limit(limit: int) -> int:
    """USD-M: the larger the page, the dearer."""
    for bound, weight in ((100, 1), (500, 2), (1001, 5)):
        if limit < bound:
            return weight
    return 10


SPOT = Api("BINANCE", "/api/v3", True, 500, 1000, 6000, 20, lambda limit: 2)
USDM = Api("BINANCEUSDM", "/fapi/v1", False, 500, 1500, 2400, 1, _by_limit)
APIS = (SPOT, USDM)
