"""The venue as clients meet it: requests in, replies out, with weights, parameters and faults. No sockets here.

A request goes through: number it → banned? → a fault of the whole request? → over its weight? → read the parameters →
answer → content faults. ``Handled.fault`` tells the server what to do to the connection.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gapless.errors import UnknownName
from gapless.series import Instrument
from gapless.sim import refusals
from gapless.sim.blocks import frame as to_frame
from gapless.sim.blocks import truth_block
from gapless.sim.catalog import exchange_info
from gapless.sim.chance import draw
from gapless.sim.clock import VenueClock
from gapless.sim.config import SimConfig
from gapless.sim.faults import Faults, PageFacts, parse_faults
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.rules import APIS, MINUTE_WEIGHT, Api
from gapless.sim.tape import Tape
from gapless.sim.truths import Truths
from gapless.sim.values import ValueTruth
from gapless.sim.venue import Ask, Venue
from gapless.sim.weights import Meter
from gapless.sim.wire import split
from gapless.spans import Span, Timeframe

Params = Mapping[str, str]
_SYMBOL = re.compile(r"^[A-Z0-9\-_.]{1,20}$")
_DIGITS = re.compile(r"^[0-9]{1,20}$")
_KNOWN = {
    "klines": ("symbol", "interval", "startTime", "endTime", "limit"),
    "exchangeInfo": ("symbol", "symbols"),
    "time": (),
    "ping": (),
}


@dataclass(frozen=True, slots=True)
class Handled:
    """A reply, and what is to happen to it on the way."""

    reply: Reply
    fault: str | None = None
    number: int = 0


class Exchange:
    """Both APIs over one clock and one set of faults. ``truths`` by venue is what tests compare a lake with."""

    def __init__(self, config: SimConfig) -> None:
        self.config = config
        self.clock = VenueClock(config.starts_at, speed=config.speed)
        self.faults = Faults(parse_faults(config.faults), config.seed, late_window=config.late_window)
        self.truths = Truths(config)
        self.values = ValueTruth(self.truths["BINANCEUSDM"], config.seed, self.clock)
        self.requests: Counter[str] = Counter()
        self.venues = {api: Venue(api, self.truths[api.venue]) for api in APIS}
        self.tapes = {api: Tape(self.venues[api]) for api in APIS}
        self.connections: Counter[str] = Counter()
        self._meters = {api: self._meter(api) for api in APIS}
        self._number = 0
        self._answers: dict[str, Callable[[Api, Params, int], bytes]] = {
            "ping": lambda api, params, number: b"{}",
            "time": lambda api, params, number: b'{"serverTime":%d}' % (self.client_time() // 1000),
            "exchangeInfo": self._exchange_info,
            "klines": self._klines,
        }

    def client_time(self) -> int:
        """The venue's clock as it tells it to clients: shifted by the ``skew`` fault, µs."""
        if self.faults.plan.skew:
            self.faults.happened("skew")
        return self.clock() + self.faults.plan.skew

    def connected(self, api: Api) -> int:
        """A websocket has come: its number among those of this API."""
        self.connections[api.venue] += 1
        return self.connections[api.venue]

    def next_number(self) -> int:
        """A request has come: its number among all."""
        self._number += 1
        return self._number

    def plan_faults(self, text: str) -> None:
        """From now on these faults; what was injected so far stays counted."""
        faults = Faults(parse_faults(text), self.config.seed, late_window=self.config.late_window)
        faults.injected = self.faults.injected
        self.faults = faults

    def handle(self, api: Api, endpoint: str, params: Params, address: str) -> Handled:
        """Answer one request of the client at ``address``."""
        number = self.next_number()
        barred = self._meters[api].banned(address)
        fault = None if barred else self.faults.transport(number)
        reply = barred or self._fault_reply(api, fault, number, address)
        reply = reply or self._metered(api, endpoint, params, address, number)
        if fault in ("reset", "truncate") and reply.status != 200:
            fault = None
        if fault is not None:
            self.faults.happened(fault)
        self.requests[f"{api.prefix}/{endpoint} {'no answer' if fault in ('timeout', 'reset') else reply.status}"] += 1
        used = {MINUTE_WEIGHT: str(self._meters[api].used(address))}
        return Handled(replace(reply, headers={**reply.headers, **used}), fault, number)

    def truth(self, instrument: Instrument, timeframe: Timeframe, start: int, end: int) -> dict[str, list[object]]:
        """Final bars that open in ``[start, end)`` by now, as columns; ``ts`` in µs."""
        truth = self.truths[instrument.venue]
        if instrument.symbol not in truth.symbols:
            raise UnknownName("symbol", instrument.symbol, truth.symbols)
        end = min(end, timeframe.floor(self.clock()))
        block = truth_block(truth, instrument.symbol, timeframe, Span(start, max(start, end)))
        table = to_frame(instrument, block).drop("instrument")
        return {name: table[name].to_physical().to_list() for name in table.columns}

    def _meter(self, api: Api) -> Meter:
        config = self.config
        limit = api.weight_limit if config.weight_limit is None else config.weight_limit
        return Meter(limit, self.clock.after, window=config.window, ban=config.ban, patience=config.patience)

    def _fault_reply(self, api: Api, fault: str | None, number: int, address: str) -> Reply | None:
        """The answer of a fault that needs no work on the request."""
        if fault == "ban":
            return self._meters[api].ban(address)
        if fault == "429":
            return refusals.too_much(self._meters[api].limit or api.weight_limit, 1)
        if fault == "5xx":
            return refusals.unwell(int(draw(self.config.seed, "5xx", number) * 4))
        return refusals.error(408, -1007, "Timeout waiting for response.") if fault == "timeout" else None

    def _metered(self, api: Api, endpoint: str, params: Params, address: str, number: int) -> Reply:
        refused = self._meters[api].take(address, _weight(api, endpoint, params))
        if refused is not None:
            return refused
        try:
            _read_all(api, endpoint, params)
            return Reply(200, self._answers[endpoint](api, params, number))
        except Refusal as refusal:
            return refusal.reply

    def _klines(self, api: Api, params: Params, number: int) -> bytes:
        now = self.clock()
        ask = self._ask(api, params, now)
        page = self.venues[api].page(ask, now)
        due = self.faults.due_content(number)
        if due:
            facts = PageFacts(ask.symbol, ask.timeframe, ask.limit, now, number)
            return b"[" + b",".join(self.faults.spoil(split(page), facts, due)) + b"]"
        return b"[" + page[:-1] + b"]"

    def _ask(self, api: Api, params: Params, now: int) -> Ask:
        symbol = self._symbol(api, params.get("symbol", ""), now)
        interval = params.get("interval", "")
        if not interval:
            raise refusals.missing("interval")
        if interval not in Timeframe.ALL:
            raise refusals.invalid_interval()
        start, end = _time(params, "startTime"), _time(params, "endTime")
        if not api.spot and start is not None and end is not None and start > end:
            raise refusals.start_after_end()  # spot answers with an empty page
        return Ask(symbol, Timeframe.ALL[interval], start, end, _limit(api, params))

    def _symbol(self, api: Api, symbol: str, now: int) -> str:
        if not symbol:
            raise refusals.missing("symbol")
        if not _SYMBOL.match(symbol):
            raise refusals.illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
        truth = self.truths[api.venue]
        if symbol not in truth.symbols or truth.listed(symbol).start > now:
            raise refusals.invalid_symbol()
        return symbol

    def _exchange_info(self, api: Api, params: Params, number: int) -> bytes:
        now, truth = self.clock(), self.truths[api.venue]
        wanted = self._wanted(api, params, now) or [s for s in truth.symbols if truth.listed(s).start <= now]
        rows = ((s, truth.listed(s), truth.scale(s), self._status(api, s, now)) for s in wanted)
        return exchange_info(api, rows, limit=self._meters[api].limit, now=self.client_time())

    def _wanted(self, api: Api, params: Params, now: int) -> list[str]:
        if "symbols" in params:
            try:
                names = json.loads(params["symbols"])
            except ValueError:
                raise refusals.illegal(
                    "symbols", '^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$'
                ) from None
            return [self._symbol(api, str(name), now) for name in names]
        return [self._symbol(api, params["symbol"], now)] if "symbol" in params else []

    def _status(self, api: Api, symbol: str, now: int) -> str:
        truth = self.truths[api.venue]
        gone = truth.delisted_at(symbol)
        if gone is not None and now >= gone:
            return "BREAK" if api.spot else "SETTLING"
        halted = truth.halts(symbol).contains(now)
        return "BREAK" if halted and api.spot else "TRADING"


def _weight(api: Api, endpoint: str, params: Params) -> int:
    if endpoint == "klines":
        text = params.get("limit", "")
        return api.klines_weight(int(text) if _DIGITS.match(text) else api.default_limit)
    return api.exchange_info_weight if endpoint == "exchangeInfo" else 1


def _read_all(api: Api, endpoint: str, params: Params) -> None:
    """Spot refuses parameters it does not know; USD-M ignores them."""
    read = sum(name in _KNOWN[endpoint] for name in params)
    if api.spot and read < len(params):
        raise refusals.unread(read, len(params))


def _time(params: Params, name: str) -> int | None:
    """Milliseconds on the wire, µs inside."""
    if name not in params:
        return None
    if not _DIGITS.match(params[name]):
        raise refusals.illegal(name, "^[0-9]{1,20}$")
    return int(params[name]) * 1000


def _limit(api: Api, params: Params) -> int:
    """Spot cuts a limit that is too large; USD-M refuses it."""
    text = params.get("limit", str(api.default_limit))
    if not _DIGITS.match(text):
        raise refusals.illegal("limit", "^[0-9]{1,20}$")
    limit = int(text)
    if limit < 1 or (limit > api.max_limit and not api.spot):
        raise refusals.invalid_limit()
    return min(limit, api.max_limit)
