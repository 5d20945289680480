"""exchangeInfo: the spot and the USD-M shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gapless.sim.blocks import Scale
from gapless.sim.names import QUOTE_ASSET, assets
from gapless.sim.rules import Api
from gapless.spans import Span

Json = dict[str, Any]  # JSON as the standard library types it
FOREVER_MS = 4_133_404_800_000  # the delivery date of a contract without one
_SPOT_ORDERS = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"]
_USDM_ORDERS = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]


def exchange_info(api: Api, symbols: Iterable[tuple[str, Span, Scale, str]], *, limit: int, now: int) -> bytes:
    """The whole answer. ``symbols``: name, listing, decimals and status (TRADING, BREAK …) of each."""
    describe = _spot if api.spot else _usdm
    body: Json = {"timezone": "UTC", "serverTime": now // 1000}
    if not api.spot:
        body["futuresType"] = "U_MARGINED"
    body["rateLimits"] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit or 1_000_000_000}
    ]
    body["exchangeFilters"] = []
    if not api.spot:
        body["assets"] = [{"asset": QUOTE_ASSET, "marginAvailable": True, "autoAssetExchange": "-100"}]
    body["symbols"] = [describe(*each) for each in symbols]
    return json.dumps(body, separators=(",", ":")).encode()


def unit(decimals: int, pad: int = 0) -> str:
    """``10**-decimals`` as text with at least ``pad`` decimals.

    >>> unit(2, 8), unit(3), unit(0)
    ('0.01000000', '0.001', '1')
    """
    return f"{10.0**-decimals:.{max(decimals, pad)}f}"


def _spot(name: str, listed: Span, scale: Scale, status: str) -> Json:
    tick, step = unit(scale.price, 8), unit(scale.volume, 8)
    filters: list[Json] = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"filterType": "MIN_NOTIONAL", "minNotional": "5.00000000", "applyToMarket": True, "avgPriceMins": 5},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
    flags = ("icebergAllowed", "ocoAllowed", "quoteOrderQtyMarketAllowed", "isSpotTradingAllowed")
    return {
        **_assets(name, status),
        "quoteAssetPrecision": 8, "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": _SPOT_ORDERS, **dict.fromkeys(flags, True), "isMarginTradingAllowed": False,
        "filters": filters, "permissions": ["SPOT"],
    }  # fmt: skip


def _usdm(name: str, listed: Span, scale: Scale, status: str) -> Json:
    tick, step = unit(scale.price), unit(scale.volume)
    lots = {"stepSize": step, "maxQty": "10000000", "minQty": step}
    filters: list[Json] = [
        {"minPrice": tick, "maxPrice": "1000000", "filterType": "PRICE_FILTER", "tickSize": tick},
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots},
        {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
        {"notional": "5", "filterType": "MIN_NOTIONAL"},
    ]
    gone = listed.end // 1000 if status == "SETTLING" else FOREVER_MS
    return {
        **_assets(name, status),
        "pair": name, "contractType": "PERPETUAL", "deliveryDate": gone, "onboardDate": listed.start // 1000,
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000", "marginAsset": QUOTE_ASSET,
        "pricePrecision": scale.price, "quantityPrecision": scale.volume, "underlyingType": "COIN",
        "underlyingSubType": [], "settlePlan": 0, "triggerProtect": "0.0500", "liquidationFee": "0.012000",
        "marketTakeBound": "0.30", "filters": filters, "orderTypes": _USDM_ORDERS,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip


def _assets(name: str, status: str) -> Mapping[str, Any]:
    base, quote = assets(name)
    return {
        "symbol": name, "status": status, "baseAsset": base, "baseAssetPrecision": 8,
        "quoteAsset": quote, "quotePrecision": 8,
    }  # fmt: skip
