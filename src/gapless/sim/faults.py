"""Faults on demand: which, how often, and what they do to a page of rows.

Whether request number n suffers fault k follows from (seed, k, n); what becomes of a final bar on a stream from (seed,
k, stream, bar); of a websocket from (seed, k, connection, minute). A fault counts as injected only when it changed what
the client got: an empty page cannot be emptied again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gapless.errors import UnknownName, UsageError
from gapless.sim.chance import draw
from gapless.spans import Timeframe, parse_duration

# Of the first row only one can happen to a request; those of the second may come together. BARS are about final bars
# on a stream, SOCKET about a websocket in a minute (``ws_refuse``: about one SUBSCRIBE), ARCHIVE about a bulk file.
TRANSPORT = ("ban", "429", "5xx", "timeout", "reset", "truncate")
CONTENT = ("late", "short", "empty", "duplicate", "disorder", "micros")
BARS = ("ws_missing", "ws_late", "ws_corrected", "ws_dup", "ws_reorder", "ws_garbage")
SOCKET = ("ws_drop", "ws_halfopen", "ws_burst", "ws_silence")
ARCHIVE = ("zip_missing", "zip_damaged")
NAMES = (*TRANSPORT, *CONTENT, "skew", *BARS, *SOCKET, "ws_refuse", *ARCHIVE)
_COUNT = re.compile(r"^(\d+)x$")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often: with a probability for each request, or the first ``count`` that can suffer it."""

    probability: float = 0.0
    count: int | None = None


@dataclass(frozen=True)
class Plan:
    """What ``parse_faults`` read. ``skew`` is added to the venue's clock as clients see it, µs."""

    rates: Mapping[str, Rate]
    skew: int = 0


def parse_faults(text: str) -> Plan:
    """``429:0.05,ban:1x,skew:2s``: each fault with a probability, a count (``3x``), or for skew a duration.

    >>> parse_faults("429:0.05,ban:1x,skew:-2s").rates["ban"]
    Rate(probability=0.0, count=1)
    """
    rates: dict[str, Rate] = {}
    skew = 0
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in item.partition(":"))
        if name not in NAMES:
            raise UnknownName("fault", name, NAMES)
        if name in rates or (name == "skew" and skew):
            raise UsageError(f"the fault '{name}' is given twice.", hint="give each fault once")
        if name == "skew":
            skew = -parse_duration(value[1:]) if value.startswith("-") else parse_duration(value)
        else:
            rates[name] = _rate(name, value)
    return Plan(rates, skew)


def _rate(name: str, value: str) -> Rate:
    counted = _COUNT.match(value)
    if counted:
        return Rate(count=int(counted[1]))
    try:
        probability = float(value)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise UsageError(
            f"'{value}' does not say how often '{name}' comes.",
            hint=f"a probability ({name}:0.05) or a count ({name}:3x)",
        )
    return Rate(probability)


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a content fault must know of a page: what was asked, when, and whether any row could follow."""

    symbol: str
    timeframe: Timeframe
    limit: int
    now: int
    number: int


class Faults:
    """Decides and remembers. ``injected`` counts what really happened, by name."""

    def __init__(self, plan: Plan, seed: int, *, late_window: int) -> None:
        self.plan, self.seed, self.late_window = plan, seed, late_window
        self.injected: Counter[str] = Counter()
        self._left = {name: rate.count for name, rate in plan.rates.items() if rate.count is not None}
        self._late: set[tuple[str, str, int]] = set()
        self._spoilers: dict[str, Callable[[list[bytes], PageFacts], list[bytes]]] = {
            "late": self._delay, "short": self._shorten, "empty": lambda rows, facts: [],
            "duplicate": _duplicate, "disorder": self._disorder, "micros": _micros,
        }  # fmt: skip

    def transport(self, number: int) -> str | None:
        """The fault of a request as a whole, or None."""
        return next((name for name in TRANSPORT if self.due(name, number)), None)

    def due(self, name: str, *key: object) -> bool:
        """Whether what goes by this key is to suffer the fault."""
        rate = self.plan.rates.get(name)
        if rate is None:
            return False
        if rate.count is not None:
            return bool(self._left[name])
        return draw(self.seed, "fault", name, *key) < rate.probability

    def happened(self, name: str) -> None:
        """Count a fault the client has met."""
        self.injected[name] += 1
        if self._left.get(name):
            self._left[name] = (self._left[name] or 0) - 1

    def due_content(self, number: int) -> list[str]:
        """The content faults of a klines request, in the order in which they act."""
        return [name for name in CONTENT if name in self.plan.rates and (name == "late" or self.due(name, number))]

    def spoil(self, rows: list[bytes], facts: PageFacts, due: list[str]) -> list[bytes]:
        """The page after its faults."""
        for name in due:
            spoilt = self._spoilers[name](rows, facts)
            if spoilt != rows:
                rows = spoilt
                self.happened(name)
        return rows

    def _shorten(self, rows: list[bytes], facts: PageFacts) -> list[bytes]:
        if len(rows) < 2:
            return rows
        return rows[: 1 + int(draw(self.seed, "short", facts.number) * (len(rows) - 1))]

    def _disorder(self, rows: list[bytes], facts: PageFacts) -> list[bytes]:
        """Two neighbours swapped, or the whole page backwards."""
        if len(rows) < 2:
            return rows
        where = draw(self.seed, "disorder", facts.number)
        if where < 0.5:
            return rows[::-1]
        at = int((2 * where - 1) * (len(rows) - 1))
        return [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]

    def _delay(self, rows: list[bytes], facts: PageFacts) -> list[bytes]:
        """Bars that closed within the last minutes may still be incomplete; asked later they are whole."""
        changed = list(rows)
        for at in range(len(rows) - 1, -1, -1):
            opened = int(rows[at][1 : rows[at].index(b",")]) * 1000
            age = facts.now - opened - facts.timeframe.micros
            if age >= self.late_window:
                break
            if age >= 0 and self._is_late((facts.symbol, facts.timeframe.name, opened)):
                changed[at] = incomplete(rows[at])
        return changed

    def _is_late(self, bar: tuple[str, str, int]) -> bool:
        """The same for every request: a late bar stays incomplete until its time has come."""
        rate = self.plan.rates["late"]
        if rate.count is None:
            return draw(self.seed, "late", *bar) < rate.probability
        if bar not in self._late and len(self._late) < rate.count:
            self._late.add(bar)
        return bar in self._late


def incomplete(row: bytes) -> bytes:
    """A row as it stood before its last trades were in: less volume, fewer trades, and the close where it opened.

    >>> incomplete(b'[0,"1.0","3.0","1.0","2.0","10.0",59999,"20.0",4,"5.0","10.0","0"]')
    b'[0,"1.0","3.0","1.0","1.0","9.0",59999,"18.0",3,"4.5","9.0","0"]'
    """
    values = json.loads(row)
    if not float(values[5]):
        return row
    values[4] = values[1]
    for at in (5, 7, 9, 10):
        decimals = len(values[at].partition(".")[2])
        values[at] = f"{float(values[at]) * 0.9:.{decimals}f}"
    values[8] = max(1, values[8] * 9 // 10)
    return json.dumps(values, separators=(",", ":")).encode()


def _duplicate(rows: list[bytes], facts: PageFacts) -> list[bytes]:
    """The last row twice; a full page stays as long as it was, so that its last row is left to the next page."""
    if not rows or facts.limit < 2:
        return rows
    kept = rows[: facts.limit - 1]
    return [*kept, kept[-1]]


def _micros(rows: list[bytes], facts: PageFacts) -> list[bytes]:
    """Times in µs, as Binance's archives changed to in 2025: 1…000 becomes 1…000000, the close 1…999 1…999999."""
    return [_TIMES.sub(rb"[\g<1>000,\g<2>,\g<3>999,", row, count=1) for row in rows]


_TIMES = re.compile(rb'^\[(\d+),((?:"[^"]*",){4}"[^"]*"),(\d+),')
