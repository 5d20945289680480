"""Running the venue: until a signal, or in a thread for as long as a ``with`` block lasts."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gapless.errors import UsageError
from gapless.sim.blocks import Truth
from gapless.sim.clock import VenueClock
from gapless.sim.config import SimConfig
from gapless.sim.exchange import Exchange
from gapless.sim.rules import APIS
from gapless.sim.server import application
from gapless.sim.values import ValueTruth

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Running:
    """A venue under way."""

    url: str
    exchange: Exchange

    @property
    def ws_urls(self) -> dict[str, str]:
        """Where the websockets of each venue are: what comes before ``/ws`` and ``/stream``."""
        return ws_urls(self.url)

    @property
    def market(self) -> Truth:
        """What the spot API serves."""
        return self.exchange.truths["BINANCE"]

    @property
    def markets(self) -> dict[str, Truth]:
        """What each venue serves: BINANCE (spot) and BINANCEUSDM."""
        return self.exchange.truths

    @property
    def values(self) -> ValueTruth:
        """Funding rates and open interest of ``BINANCEUSDM``."""
        return self.exchange.values

    @property
    def requests(self) -> int:
        """How many requests came to the venue's APIs."""
        return self.exchange.requests.total()

    @property
    def injected(self) -> Counter[str]:
        """How often each fault really happened."""
        return self.exchange.faults.injected

    @property
    def clock(self) -> VenueClock:
        """The venue's clock: call it for now, ``advance`` it to jump."""
        return self.exchange.clock


def ws_urls(url: str) -> dict[str, str]:
    """By venue, of a simulated venue at ``url``.

    >>> ws_urls("http://127.0.0.1:8900")["BINANCEUSDM"]
    'ws://127.0.0.1:8900/fapi/market'
    """
    return {api.venue: "ws" + url.removeprefix("http") + api.sockets.prefixes[0] for api in APIS}


def serve(
    config: SimConfig, *, host: str = LOOPBACK, port: int = 8790, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. ``on_ready`` gets the URL once requests are answered; port 0 takes a free one."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _serve(Exchange(config), host, port, on_ready or (lambda url: None), stop)

    asyncio.run(main())


@contextmanager
def running(config: SimConfig) -> Iterator[Running]:
    """The venue in a background thread, on a free port of the loopback."""
    exchange = Exchange(config)
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        await _serve(exchange, LOOPBACK, 0, lambda url: started.set_result((url, loop, stop)), stop)

    thread = threading.Thread(target=_in_thread, args=(main, started), name="gapless-sim", daemon=True)
    thread.start()
    url, loop, stop = started.result()
    try:
        yield Running(url, exchange)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _in_thread(main: Callable[[], Coroutine[None, None, None]], started: Future[Any]) -> None:
    try:
        asyncio.run(main())
    except BaseException as error:  # the boundary of the thread: hand the cause to whoever waits
        if started.done():
            raise
        started.set_exception(error)


async def _serve(
    exchange: Exchange, host: str, port: int, on_ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    runner = web.AppRunner(application(exchange), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await _bind(runner, host, port)
        on_ready(f"http://{host}:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}.", hint="choose another --port, or 0 for a free one"
        ) from error
