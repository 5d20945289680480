"""The two paths of USD-M that tell funding rates and open interest: their pages, limits, errors and faults."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gapless.sim import refusals
from gapless.sim.chance import draw
from gapless.sim.exchange import Exchange, Handled
from gapless.sim.faults import PageFacts
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.weights import Meter
from gapless.spans import DAY, HOUR, MINUTE, Span, Timeframe

FUNDING, INTEREST = "/fapi/v1/fundingRate", "/futures/data/openInterestHist"
REACH = 30 * DAY
_PERIODS = {"5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR, "2h": 2 * HOUR, "4h": 4 * HOUR,
            "6h": 6 * HOUR, "12h": 12 * HOUR, "1d": DAY}  # fmt: skip
_REQUESTS = {FUNDING: 500, INTEREST: 1000}  # in five minutes, by address
_PAGES = {FUNDING: (100, 1000), INTEREST: (30, 500)}  # values on a page: usually, at most
_SPOILERS = ("short", "empty", "duplicate", "disorder")
_1H = Timeframe.parse("1h")


class ValueDesk:
    """Both paths, behind the exchange's faults and limits of their own."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.truth = exchange.values
        config = exchange.config
        self._meters = {
            path: Meter(
                limit if config.weight_limit is None else config.weight_limit, exchange.clock.after,
                window=5 * config.window, ban=config.ban, patience=config.patience,
            )
            for path, limit in _REQUESTS.items()
        }  # fmt: skip

    def handle(self, path: str, params: Mapping[str, str], address: str) -> Handled:
        """Answer one request of the client at ``address``."""
        exchange, meter = self.exchange, self._meters[path]
        number = exchange.next_number()
        barred = meter.banned(address)
        fault = None if barred else exchange.faults.transport(number)
        reply = barred or self._fault(path, fault, number, address) or meter.take(address, 1)
        reply = reply or self._answer(path, params, number)
        if fault in ("reset", "truncate") and (reply.status != 200 or len(reply.body) < 3):
            fault = None
        if fault is not None:
            exchange.faults.happened(fault)
        exchange.requests[f"{path} {'no answer' if fault in ('timeout', 'reset') else reply.status}"] += 1
        return Handled(reply, fault, number)

    # ------------------------------------------------------------ requests

    def _fault(self, path: str, fault: str | None, number: int, address: str) -> Reply | None:
        if fault == "ban":
            return self._meters[path].ban(address)
        if fault == "429":
            return refusals.too_much(_REQUESTS[path], 1)
        if fault == "5xx":
            return refusals.unwell(int(draw(self.exchange.config.seed, "5xx", number) * 4))
        return refusals.error(408, -1007, "Timeout waiting for response.") if fault == "timeout" else None

    def _answer(self, path: str, params: Mapping[str, str], number: int) -> Reply:
        try:
            rows = self._page(path, params)
        except Refusal as refusal:
            return refusal.reply
        faults, (_, most) = self.exchange.faults, _PAGES[path]
        facts = PageFacts(params["symbol"], _1H, int(params.get("limit", most)), self.exchange.clock(), number)
        rows = faults.spoil(rows, facts, [name for name in faults.due_content(number) if name in _SPOILERS])
        return Reply(200, b"[" + b",".join(rows) + b"]")

    def _page(self, path: str, params: Mapping[str, str]) -> list[bytes]:
        """The rows of a request. A long answer keeps its first rows (rates) or its last ones (open interest)."""
        now, symbol, limit = self.exchange.clock(), self._symbol(params), self._limit(path, params)
        start, end = self._time(params, "startTime"), self._time(params, "endTime")
        if start is not None and end is not None and start > end:
            raise refusals.start_after_end()
        end = now if end is None else end
        if path == FUNDING:
            since = max(0, end - limit * 8 * HOUR) if start is None else start
            found = self.truth.values("funding_rate", symbol, Span(since, end + 1))
            kept = found[:limit] if start is not None else found[-limit:]
            return [_row(symbol=symbol, fundingRate=text, fundingTime=ts // 1000, markPrice="") for ts, text in kept]
        every = self._period(params)
        if start is not None and start < now - REACH:
            raise Refusal(refusals.error(400, -1130, "parameter 'startTime' is invalid."))
        start = max(now - REACH, end - limit * every) if start is None else start
        found = self.truth.values("open_interest", symbol, Span(start, end + 1))
        kept = [(ts, text) for ts, text in found if ts % every == 0][-limit:]
        return [
            _row(symbol=symbol, sumOpenInterest=text, sumOpenInterestValue="0", timestamp=ts // 1000)
            for ts, text in kept
        ]

    def _symbol(self, params: Mapping[str, str]) -> str:
        symbol = params.get("symbol", "")
        if not symbol:
            raise refusals.missing("symbol")
        market = self.truth.truth
        if symbol not in market.symbols or market.listed(symbol).start > self.exchange.clock():
            raise refusals.invalid_symbol()
        return symbol

    @staticmethod
    def _time(params: Mapping[str, str], name: str) -> int | None:
        """Milliseconds on the wire, µs inside."""
        if name in params and not params[name].isdigit():
            raise refusals.illegal(name, "^[0-9]{1,20}$")
        return int(params[name]) * 1000 if name in params else None

    @staticmethod
    def _limit(path: str, params: Mapping[str, str]) -> int:
        usual, most = _PAGES[path]
        text = params.get("limit", str(usual))
        if not text.isdigit():
            raise refusals.illegal("limit", "^[0-9]{1,20}$")
        if not 1 <= int(text) <= most:
            raise refusals.invalid_limit()
        return int(text)

    @staticmethod
    def _period(params: Mapping[str, str]) -> int:
        period = params.get("period", "")
        if not period:
            raise refusals.missing("period")
        if period not in _PERIODS:
            raise Refusal(refusals.error(400, -1130, "parameter 'period' is invalid."))
        return _PERIODS[period]


def _row(**values: object) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()
