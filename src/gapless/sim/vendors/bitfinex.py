"""Bitfinex: candles as ``[time, open, close, high, low, volume]``, silent ones left out; errors are arrays."""

from __future__ import annotations

import json
import re

from gapless.sim.blocks import CLOSE, HIGH, LOW, OPEN, VOLUME
from gapless.sim.exchange import Exchange
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.vendors.desk import Call
from gapless.sim.vendors.pages import page
from gapless.spans import Span, Timeframe

_CANDLES = re.compile(r"/v2/candles/trade:(\w+):t([^/]+)/hist")
_FRAMES = {**{n: n for n in ("1m", "5m", "15m", "30m", "1h")}, "1D": "1d", "1W": "1w"}
_COLUMNS = (OPEN, CLOSE, HIGH, LOW, VOLUME)


class BitfinexDesk:
    """Serves the truth of venue BITFINEX below ``/bitfinex``."""

    root = "/bitfinex"
    limit = 30

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def answer(self, call: Call) -> Reply:
        """Candles, the list of pairs, or the status."""
        if call.path == "/v2/platform/status":
            return Reply(200, b"[1]")
        truth = self.exchange.truths["BITFINEX"]
        if call.path == "/v2/conf/pub:list:pair:exchange":
            here = [
                s.replace("-", ":") for s in truth.symbols if truth.listed(s).start <= call.now < truth.listed(s).end
            ]
            return Reply(200, json.dumps([here]).encode())
        asked = _CANDLES.fullmatch(call.path)
        if asked is None:
            raise error("endpoint: invalid")
        if asked[1] not in _FRAMES:
            raise error("time_interval: invalid")
        symbol = asked[2].replace(":", "-")
        if symbol not in truth.symbols:
            raise error("symbol: invalid")
        return Reply(200, self._candles(call, symbol, Timeframe.parse(_FRAMES[asked[1]])))

    def slow_down(self, status: int, wait: int) -> Reply:
        """Its own words; it does not say how long."""
        return Reply(429, b'["error",11010,"ratelimit: error"]')

    def unwell(self, which: int) -> Reply:
        """Errors of the application and of what stands before it; one of them comes with status 200."""
        return (
            Reply(500, b'["error",10000,"Unknown error"]'),
            Reply(503, b'["error",20060,"maintenance"]'),
            Reply(502, b"<html><body>Bad Gateway</body></html>", content_type="text/html"),
            Reply(200, b'["error",20060,"maintenance"]'),
        )[which % 4]

    def _candles(self, call: Call, symbol: str, timeframe: Timeframe) -> bytes:
        limit = _number(call, "limit", 100)
        if not 1 <= limit <= 10_000:
            raise error("limit: invalid")
        start, end = _number(call, "start", 0) * 1000, _number(call, "end", call.now // 1000) * 1000 + 1
        forward, truth = call.params.get("sort") == "1", self.exchange.truths["BITFINEX"]
        block = page(truth, symbol, timeframe, Span(start, end), call.now, limit, newest=not forward)
        times, values = (block.ts // 1000).tolist(), block.values[list(_COLUMNS)].T.tolist()
        rows = [json.dumps([t, *v], separators=(",", ":")).encode() for t, v in zip(times, values, strict=True)]
        rows = call.spoil(rows, symbol, timeframe, limit)
        return b"[" + b",".join(rows if forward else rows[::-1]) + b"]"


def error(text: str) -> Refusal:
    """A refusal in the venue's words: a wrong parameter comes with status 500."""
    return Refusal(Reply(500, json.dumps(["error", 10020, text]).encode()))


def _number(call: Call, name: str, usual: int) -> int:
    text = call.params.get(name, str(usual))
    if not text.isdigit():
        raise error(f"{name}: invalid")
    return int(text)
