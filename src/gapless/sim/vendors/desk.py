"""What every vendor at the simulated venue has in common: requests are numbered, limited, spoilt and dated.

A request goes through: number it → banned? → a fault of the whole request? → over its limit? → ``Vendor.answer``, which
hands its rows to ``Call.spoil``. The ``Date`` header tells the venue's clock, with its skew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Protocol

from gapless.sim.chance import draw
from gapless.sim.exchange import Exchange, Handled
from gapless.sim.faults import PageFacts
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.weights import Meter
from gapless.spans import SECOND, Timeframe

Rows = list[bytes]
_SPOILERS = ("short", "empty", "duplicate", "disorder")  # the faults of content that any list of rows can have


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client: the path below the vendor's root, its parameters and headers."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    now: int
    spoil: Callable[[Rows, str, Timeframe, int], Rows]  # rows, symbol, timeframe and limit of a page


class Vendor(Protocol):
    """One vendor's wire format."""

    root: str  # it is served below this path
    limit: int  # requests a minute and client; 0 counts nothing

    def answer(self, call: Call) -> Reply:
        """The answer; raises Refusal for one that is an error."""
        ...

    def slow_down(self, status: int, wait: int) -> Reply:
        """429 or 418, with the seconds to wait."""
        ...

    def unwell(self, which: int) -> Reply:
        """One of its 5xx answers."""
        ...


class Desk:
    """A vendor behind the exchange's faults and limits."""

    def __init__(self, exchange: Exchange, vendor: Vendor) -> None:
        self.exchange, self.vendor = exchange, vendor
        config = exchange.config
        limit = vendor.limit if config.weight_limit is None else config.weight_limit
        after = exchange.clock.after
        self._meter = Meter(limit, after, window=config.window, ban=config.ban, patience=config.patience)

    def handle(self, path: str, params: Mapping[str, str], headers: Mapping[str, str], address: str) -> Handled:
        """Answer one request of the client at ``address``."""
        exchange = self.exchange
        number = exchange.next_number()
        barred = self._meter.banned(address)
        fault = None if barred else exchange.faults.transport(number)
        refused = barred or self._fault(fault, number, address) or self._meter.take(address, 1)
        reply = self._told(refused) if refused else self._answer(path, params, headers, number)
        if fault in ("reset", "truncate") and (reply.status != 200 or len(reply.body) < 2):
            fault = None
        if fault is not None:
            exchange.faults.happened(fault)
        kind = "no answer" if fault in ("timeout", "reset") else str(reply.status)
        exchange.requests[f"{self.vendor.root} {kind}"] += 1
        date = formatdate(exchange.client_time() // SECOND, usegmt=True)
        return Handled(replace(reply, headers={**reply.headers, "Date": date}), fault, number)

    def _fault(self, fault: str | None, number: int, address: str) -> Reply | None:
        """The answer of a fault that needs no work on the request; 429 and 418 are put into words later."""
        if fault == "ban":
            return self._meter.ban(address)
        if fault == "429":
            return Reply(429, b"", {"Retry-After": "1"})
        if fault == "5xx":
            return self.vendor.unwell(int(draw(self.exchange.config.seed, "5xx", number) * 4))
        return Reply(408, b"") if fault == "timeout" else None

    def _told(self, refused: Reply) -> Reply:
        if refused.status not in (418, 429):
            return refused
        return self.vendor.slow_down(refused.status, int(refused.headers["Retry-After"]))

    def _answer(self, path: str, params: Mapping[str, str], headers: Mapping[str, str], number: int) -> Reply:
        now = self.exchange.clock()

        def spoil(rows: Rows, symbol: str, timeframe: Timeframe, limit: int) -> Rows:
            faults = self.exchange.faults
            due = [name for name in faults.due_content(number) if name in _SPOILERS]
            return faults.spoil(rows, PageFacts(symbol, timeframe, limit, now, number), due)

        try:
            return self.vendor.answer(Call(path, params, headers, now, spoil))
        except Refusal as refusal:
            return refusal.reply
