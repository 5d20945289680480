"""A client that others wrote for the real venue reads this one: ccxt, by REST and by websocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless.sim import Running


async def watch(pro: Any, sim: Running, kind: str, symbol: str) -> tuple[dict[int, Any], list[Any]]:
    """Bars of ``symbol`` as they come until four have been seen, and the same from REST."""
    client = pro.binance(
        {"options": {"defaultType": kind, "fetchMarkets": {"types": [kind]}}, "enableRateLimit": False}
    )
    client.has["fetchCurrencies"] = False  # needs an account
    client.newUpdates = True
    client.urls["api"] |= {"public": f"{sim.url}/api/v3", "fapiPublic": f"{sim.url}/fapi/v1"}
    base = sim.url.replace("http", "ws")
    client.urls["api"]["ws"] |= {"spot": f"{base}/ws", "linear": f"{base}/fapi/ws"}  # it adds /market itself
    try:
        await client.load_markets()
        seen: dict[int, Any] = {}
        while len(seen) < 4:
            async with asyncio.timeout(20):
                seen |= {bar[0]: bar for bar in await client.watch_ohlcv(symbol, "1m")}
        return seen, await client.fetch_ohlcv(symbol, "1m", since=min(seen))
    finally:
        await client.close()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "symbol"), [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")])
def test_ccxt_hears_the_bars_it_fetches(venue: Any, kind: str, symbol: str) -> None:
    """Markets load, a subscription holds, and what was heard of each finished bar last is what REST answers."""
    pro = pytest.importorskip("ccxt.pro", reason="ccxt is not installed (it is in the group 'bench')")
    with venue(speed=60.0, outages_per_month=0, halts_per_month=0) as (sim, _):
        heard, told = asyncio.run(watch(pro, sim, kind, symbol))
        finished = sorted(heard)[:-1]
        assert len(finished) == 3
        assert [heard[opened] for opened in finished] == told[:3]
