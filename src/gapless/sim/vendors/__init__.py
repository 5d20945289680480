"""Other vendors at the simulated venue: each speaks its own wire format over one of the truths, below its own path.

A vendor is one file: a class with ``answer`` for what it serves, ``slow_down`` and ``unwell`` for its words when it
does not (desk.py). Numbering, limits, transport faults and the clock come for free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gapless.sim.exchange import Exchange
    from gapless.sim.vendors.desk import Vendor


def vendors(exchange: Exchange) -> list[Vendor]:
    """One of each."""
    from gapless.sim.vendors.archive import ArchiveDesk
    from gapless.sim.vendors.bitfinex import BitfinexDesk
    from gapless.sim.vendors.polygon import PolygonDesk
    from gapless.sim.vendors.yahoo import YahooDesk

    return [ArchiveDesk(exchange), BitfinexDesk(exchange), PolygonDesk(exchange), YahooDesk(exchange)]
