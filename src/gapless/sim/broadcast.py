"""What one websocket is sent, and when: an agenda by the venue's clock, and what faults make of it. No sockets here.

1. ``_plan``     at each minute: the bars that close with it, each a little after; a few forming ones; troubles
2. ``take``      pops what is due by now
3. ``_final``    faults of a final bar: missing, late, corrected, twice, out of order, cut
4. ``_silenced``, ``_held_back``  faults of the connection: silent for a while, or nothing and then all at once

A venue that is slow still sends every minute. One whose clock was moved ahead sends only what is current: bars in
between are had by REST. Messages that were promised before the jump (a late bar, a correction) still come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

from gapless.sim.chance import draw
from gapless.sim.exchange import Exchange
from gapless.sim.faults import SOCKET, incomplete
from gapless.sim.rules import Api
from gapless.sim.tape import Stream, event
from gapless.spans import MINUTE, SECOND, Timeframe

_1M = Timeframe.parse("1m")
_FORMING, _FINAL, _SECOND = "forming", "final", "second"  # the last: a final bar that comes late or once more
_AT_A_TIME = 8
_LATE, _CORRECTED, _HELD, _SILENT = (2, 75), (1, 20), (5, 90), (60, 300)  # seconds of the venue


@dataclass(frozen=True, order=True, slots=True)
class _Item:
    """Due ``at``, µs. ``what``: one of the three above, or a trouble; ``moment``: the bar's open, or the minute."""

    at: int
    order: int
    what: str = field(compare=False)
    moment: int = field(compare=False)
    stream: Stream | None = field(default=None, compare=False)


@dataclass(slots=True)
class _Spell:
    """While silent or held back, until µs; ``symbol`` None means all."""

    until: int
    symbol: str | None = None
    met: bool = False  # only a spell that touched a message counts


class Broadcast:
    """The messages of connection ``number``. ``over`` names the fault that has ended it."""

    def __init__(self, exchange: Exchange, api: Api, number: int) -> None:
        self.exchange, self.api, self.number = exchange, api, number
        self.over: str | None = None
        self.combined = False
        self._tape = exchange.tapes[api]
        self._streams: dict[str, Stream | None] = {}
        self._agenda: list[_Item] = []
        self._order = count()
        self._cold: list[Stream] = []  # their bars are not made yet
        self._swapped: list[bytes] = []  # waits for the message it changes places with
        self._held: list[bytes] = []
        self._spells: dict[str, _Spell] = {}
        now, self._jumps = exchange.clock.read()
        self._minute = _1M.floor(now)
        self._plan_troubles(now)

    def follow(self, names: Iterable[str]) -> None:
        """From now on these streams and no others."""
        wanted, now = dict.fromkeys(names), self.exchange.clock()
        self._streams = {name: stream for name, stream in self._streams.items() if name in wanted}
        for name in [name for name in wanted if name not in self._streams]:
            stream = self._streams[name] = self._tape.stream(name)
            if stream is not None:
                self._cold.append(stream)
                self._push(item for item in self._messages(stream, self._minute) if item.at > now)

    def next_at(self) -> int:
        """When something is due next, µs; at once while there is something to prepare."""
        if self._cold:
            return 0
        ends = (spell.until for spell in self._spells.values())
        return min([self._minute + MINUTE, *(item.at for item in self._agenda[:1]), *ends])

    def take(self) -> list[bytes]:
        """What is to be sent now."""
        now, jumps = self.exchange.clock.read()
        if jumps != self._jumps:
            self._jump(now, jumps)
        self._warm(now)
        while self._minute + MINUTE <= now:
            self._plan(self._minute + MINUTE)
        frames = self._released(now)
        while self._agenda and self._agenda[0].at <= now and self.over is None:
            frames += self._perform(heappop(self._agenda), now)
        return frames

    # ---------------------------------------------------------------- the agenda

    def _warm(self, now: int) -> None:
        """A few at a time: a symbol's first bars take milliseconds to make, and everybody waits for them."""
        cold, self._cold = self._cold[:_AT_A_TIME], self._cold[_AT_A_TIME:]
        for stream in cold:
            self._tape.prepare(stream, now)

    def _jump(self, now: int, jumps: int) -> None:
        self._jumps = jumps
        self._agenda = [item for item in self._agenda if item.what == _SECOND]
        heapify(self._agenda)
        self._minute = _1M.floor(now) - MINUTE

    def _plan(self, minute: int) -> None:
        self._minute = minute
        for stream in self._streams.values():
            if stream is not None:
                self._push(self._messages(stream, minute))
        self._plan_troubles(minute)

    def _plan_troubles(self, after: int) -> None:
        for name in SOCKET:
            at = self._minute + int(self._draw("when", name, self._minute) * MINUTE)
            if at > after and name in self.exchange.faults.plan.rates:
                self._push([_Item(at, next(self._order), name, self._minute)])

    def _messages(self, stream: Stream, minute: int) -> Iterator[_Item]:
        size = stream.timeframe
        if size.floor(minute) == minute:
            at = minute + 1 + int(self._chance("close", stream, minute) * SECOND)
            yield _Item(at, next(self._order), _FINAL, minute - size.micros, stream)
        each = MINUTE // max(1, self.exchange.config.updates)
        for number in range(self.exchange.config.updates):
            at = minute + int((number + 0.05 + 0.9 * self._chance("update", stream, minute, number)) * each)
            yield _Item(at, next(self._order), _FORMING, at, stream)

    def _push(self, items: Iterable[_Item]) -> None:
        for item in items:
            heappush(self._agenda, item)

    # ---------------------------------------------------------------- messages

    def _perform(self, item: _Item, now: int) -> list[bytes]:
        if item.stream is None:
            return self._trouble(item)
        if self._streams.get(item.stream.name) is not item.stream:
            return []  # unsubscribed since
        told = self._tape.forming if item.what == _FORMING else self._tape.final
        row = told(item.stream, item.moment)
        if row is None or self._silenced(item.stream, now):
            return []
        frames = self._final(item, item.stream, row)
        if frames and self._swapped:
            frames, self._swapped = frames + self._swapped, []
        return self._held_back(frames, now)

    def _final(self, item: _Item, stream: Stream, row: bytes) -> list[bytes]:
        if item.what != _FINAL:
            return [self._event(stream, row, final=item.what != _FORMING)]
        if self._suffers("ws_missing", item):
            return []
        if self._suffers("ws_late", item):
            return self._again(item, _LATE)
        frame = self._event(stream, row)
        if self._suffers("ws_garbage", item):
            return [frame[: 1 + int(self._chance("cut", stream, item.moment) * (len(frame) - 1))]]
        if incomplete(row) != row and self._suffers("ws_corrected", item):
            self._again(item, _CORRECTED)  # not reordered: of the two, the true one comes last
            return [self._event(stream, incomplete(row))]
        if self._suffers("ws_dup", item):
            return [frame, frame]
        if not self._swapped and self._suffers("ws_reorder", item):
            self._swapped = [frame]
            return []
        return [frame]

    def _again(self, item: _Item, seconds: tuple[int, int]) -> list[bytes]:
        """Put the true bar on the agenda for later."""
        low, high = seconds
        wait = low + (high - low) * self._chance("again", item.stream, item.moment)
        self._push([_Item(item.at + int(wait * SECOND), next(self._order), _SECOND, item.moment, item.stream)])
        return []

    def _suffers(self, name: str, item: _Item) -> bool:
        stream = item.stream.name if item.stream else ""
        due = self.exchange.faults.due(name, self.api.venue, stream, item.moment)
        if due:
            self.exchange.faults.happened(name)
        return due

    def _event(self, stream: Stream, row: bytes, *, final: bool = True) -> bytes:
        return event(stream, row, self.exchange.client_time(), final=final, combined=self.combined)

    # ---------------------------------------------------------------- troubles of the connection

    def _trouble(self, item: _Item) -> list[bytes]:
        name = item.what
        if not self.exchange.faults.due(name, self.api.venue, self.number, item.moment):
            return []
        if name in ("ws_drop", "ws_halfopen"):
            self.over = name
            self.exchange.faults.happened(name)
        elif name not in self._spells:
            low, high = _HELD if name == "ws_burst" else _SILENT
            length = low + (high - low) * self._draw("length", name, item.moment)
            symbol = self._one_symbol(item.moment) if name == "ws_silence" else None
            self._spells[name] = _Spell(item.at + int(length * SECOND), symbol)
        return []

    def _one_symbol(self, minute: int) -> str | None:
        """Half of the silences are of one symbol, half of the whole connection."""
        symbols = sorted({stream.symbol for stream in self._streams.values() if stream is not None})
        which = self._draw("whom", minute)
        return symbols[int(2 * which * len(symbols))] if which < 0.5 and symbols else None

    def _silenced(self, stream: Stream, now: int) -> bool:
        spell = self._spells.get("ws_silence")
        if spell is None or now >= spell.until or spell.symbol not in (None, stream.symbol):
            return False
        self._meet("ws_silence", spell)
        return True

    def _held_back(self, frames: list[bytes], now: int) -> list[bytes]:
        """What goes out now."""
        spell = self._spells.get("ws_burst")
        if spell is None or now >= spell.until or not frames:
            return frames
        self._meet("ws_burst", spell)
        self._held += frames
        return []

    def _meet(self, name: str, spell: _Spell) -> None:
        if not spell.met:
            spell.met = True
            self.exchange.faults.happened(name)

    def _released(self, now: int) -> list[bytes]:
        """Ends the spells that are over; what was held back comes all at once."""
        self._spells = {name: spell for name, spell in self._spells.items() if now < spell.until}
        if "ws_burst" in self._spells:
            return []
        held, self._held = self._held, []
        return held

    # ---------------------------------------------------------------- chance

    def _draw(self, *words: object) -> float:
        """For this connection."""
        return draw(self.exchange.config.seed, "socket", self.api.venue, self.number, *words)

    def _chance(self, what: str, stream: Stream | None, *words: object) -> float:
        """For a stream, whichever connection carries it."""
        name = stream.name if stream else ""
        return draw(self.exchange.config.seed, "stream", self.api.venue, what, name, *words)
