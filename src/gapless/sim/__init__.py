"""A simulated venue: real HTTP and websockets in Binance's wire format, a truth to compare with, faults on demand.

``running`` serves from a thread for as long as a ``with`` block lasts; ``serve`` until a signal. See docs/sim.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gapless.sim.config import SimConfig
    from gapless.sim.faults import parse_faults
    from gapless.sim.market import Market
    from gapless.sim.replay import Replay
    from gapless.sim.run import Running, running, serve, ws_urls

__all__ = ["Market", "Replay", "Running", "SimConfig", "parse_faults", "running", "serve", "ws_urls"]
_HOMES = {
    "Market": "market", "Replay": "replay", "Running": "run", "SimConfig": "config", "parse_faults": "faults",
    "running": "run", "serve": "run", "ws_urls": "run",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Loaded when first used: numpy, polars and aiohttp are slow to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"gapless.sim.{_HOMES[name]}"), name)
