"""A position as the sum of its events: the events, what they add up to, and what came of it.

Nothing else holds state: the machine in ``positions.py`` decides from a ``Position`` and one bar, says events, and goes
on from what ``fold`` makes of them. A restart that reads the events back is therefore where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from gapless.errors import UsageError
from gapless.spans import iso, parse_time

Kind = Literal["pending", "opened", "partial", "moved", "marked", "closed", "invalidated", "expired"]
State = Literal["pending", "open", "partial", "closed", "invalidated", "expired"]


@dataclass(frozen=True, slots=True)
class PositionEvent:
    """One step of one position, at the bar that opened at ``ts``.

    ``number`` counts the position's events from 1. ``price`` is the fill (``opened partial closed``), the new stop
    (``moved``), else the close. ``fraction`` is the part of the whole position that was filled. ``data`` holds what the
    event changes besides. A ``marked`` event replaces any earlier one, as does ``moved``: see ``compact``.
    """

    position: str
    number: int
    instrument: str
    ts: int
    kind: Kind
    price: float
    fraction: float = 0.0
    reason: str = ""
    data: Mapping[str, float | str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``from_dict`` gives the same event back, to the last bit."""
        return {
            "position": self.position, "number": self.number, "instrument": self.instrument, "ts": iso(self.ts),
            "kind": self.kind, "price": self.price, "fraction": self.fraction, "reason": self.reason,
            "data": dict(self.data),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> PositionEvent:
        """The event that ``to_dict`` told of; more keys are no harm."""
        return cls(**{name: found[name] for name in cls.__slots__ if name != "ts"}, ts=parse_time(found["ts"]))

    @property
    def ends(self) -> bool:
        """Is the position over with it?"""
        return self.kind in ("closed", "invalidated", "expired")


@dataclass(frozen=True, slots=True)
class Fill:
    """A part of a position that was closed."""

    ts: int
    price: float
    fraction: float
    reason: str


@dataclass(frozen=True, slots=True)
class Position:
    """What the events of one position add up to. Prices before costs; nan and None where there is none yet.

    ``side`` is 1 for long and -1 for short. ``best`` and ``worst`` are the farthest prices for and against it since the
    entry (while pending, ``best`` is counted from the signal's bar). ``bars`` counts market bars since the entry (while
    pending, since the signal).
    """

    id: str
    rule: str
    profile: str
    instrument: str
    side: int
    state: State
    signalled_at: int
    signal: tuple[float, float, float]  # high, low and close of the signal's bar
    number: int
    ts: int  # the last bar it has seen
    last: float  # and that bar's close, or the last fill
    best: float
    worst: float = math.nan
    bars: int = 0
    blocked: str = ""
    opened_at: int | None = None
    entry: float = math.nan
    stop: float = math.nan
    stopped_by: str = ""
    risk: float = math.nan
    atr: float = math.nan
    cost: float = 0.0
    targets: tuple[tuple[float, float], ...] = ()  # price and fraction, the nearest first
    fills: tuple[Fill, ...] = ()
    closed_at: int | None = None
    reason: str = ""

    @property
    def live(self) -> bool:
        return self.state in ("pending", "open", "partial")

    @property
    def opened(self) -> bool:
        return self.opened_at is not None

    @property
    def since(self) -> int:
        """What its bars are counted from: the entry, before that the signal."""
        return self.signalled_at if self.opened_at is None else self.opened_at

    @property
    def rest(self) -> float:
        """The fraction still held; 0 before the entry and after the end."""
        return 1.0 - math.fsum(f.fraction for f in self.fills) if self.state in ("open", "partial") else 0.0

    def gain(self, price: float) -> float:
        """Percent of the entry price won at ``price``."""
        return self.side * (price - self.entry) / self.entry * 100

    @property
    def exit(self) -> float:
        """The average price of what was closed, nan when nothing was."""
        closed = math.fsum(f.fraction for f in self.fills)
        return math.fsum(f.price * f.fraction for f in self.fills) / closed if closed else math.nan

    @property
    def pnl_gross(self) -> float:
        """Percent of the entry price, parts weighted in, what is still held counted at the last close."""
        return math.fsum(self.gain(price) * part for price, part in self._parts()) if self.opened else math.nan

    @property
    def pnl_net(self) -> float:
        """``pnl_gross`` less costs of both sides, each on the value it traded."""
        if not self.opened:
            return math.nan
        traded = math.fsum((1 + price / self.entry) * part for price, part in self._parts())
        return self.pnl_gross - self.cost * traded * 100

    @property
    def r(self) -> float:
        """``pnl_net`` in units of what the first stop risked."""
        return self.pnl_net / (self.risk / self.entry * 100) if self.opened else math.nan

    @property
    def mfe(self) -> float:
        """Maximum favourable excursion: percent of the entry price, from highs and lows, never below 0."""
        return self.gain(self.best) if self.opened else math.nan

    @property
    def mae(self) -> float:
        """Maximum adverse excursion: percent of the entry price, from highs and lows, never above 0."""
        return self.gain(self.worst) if self.opened else math.nan

    def _parts(self) -> list[tuple[float, float]]:
        return [*((f.price, f.fraction) for f in self.fills), (self.last, self.rest)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON and tables: None where there is no value."""
        per_r = self.risk / self.entry * 100
        numbers = {
            "entry": self.entry, "stop": self.stop, "exit": self.exit, "last": self.last,
            "mfe": self.mfe, "mae": self.mae, "mfe_r": self.mfe / per_r, "mae_r": self.mae / per_r,
            "mfe_price": self.best if self.opened else math.nan, "mae_price": self.worst,
            "pnl_gross": self.pnl_gross, "pnl_net": self.pnl_net, "r": self.r,
        }  # fmt: skip
        return {
            "id": self.id, "rule": self.rule, "profile": self.profile, "instrument": self.instrument,
            "direction": "long" if self.side > 0 else "short", "state": self.state,
            "signalled_at": iso(self.signalled_at), "opened_at": _when(self.opened_at),
            "closed_at": _when(self.closed_at), "reason": self.reason, "blocked": self.blocked, "bars": self.bars,
            "targets": [{"price": price, "fraction": fraction} for price, fraction in self.targets],
            "partials": [{"ts": iso(f.ts), "price": f.price, "fraction": f.fraction, "reason": f.reason}
                         for f in self.fills],
            **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        }  # fmt: skip


def _when(ts: int | None) -> str | None:
    return None if ts is None else iso(ts)


def fold(events: Iterable[PositionEvent]) -> Position:
    """What the events of one position add up to; they come in the order of their numbers."""
    position: Position | None = None
    for event in events:
        position = follow(position, event)
    if position is None:
        raise UsageError("no events: there is no position.")
    return position


def stories(bodies: Iterable[Mapping[str, Any]]) -> dict[str, list[PositionEvent]]:
    """The events of each position, in the order of their numbers, from what ``to_dict`` told of them."""
    found: dict[str, list[PositionEvent]] = {}
    for body in bodies:
        found.setdefault(body["position"], []).append(PositionEvent.from_dict(body))
    return {name: sorted(story, key=lambda event: event.number) for name, story in found.items()}


def compact(events: Iterable[PositionEvent]) -> list[PositionEvent]:
    """As many of one position's events as its fold needs: of marks, and of moves of the stop, only the last one."""
    ordered = list(events)
    last = {event.kind: event.number for event in ordered}
    return [e for e in ordered if e.kind not in ("marked", "moved") or e.number == last[e.kind]]


def follow(position: Position | None, event: PositionEvent) -> Position:
    """The position after one more event."""
    if event.kind == "pending":
        return _pending(event)
    if position is None or position.id != event.position or position.number >= event.number:
        raise UsageError(
            f"event {event.number} of position {event.position} does not follow.",
            hint="give the events of one position, from its first, in the order of their numbers",
        )
    changes: dict[str, Any] = {"number": event.number, "ts": event.ts, **_FOLDS[event.kind](position, event)}
    changes |= {name: event.data[name] for name in _COUNTED if name in event.data}
    if "bars" in event.data:
        changes["bars"] = int(event.data["bars"])
    return replace(position, **changes)


_COUNTED = ("best", "worst", "blocked")  # what any event may change besides
Changes = dict[str, Any]


def _pending(event: PositionEvent) -> Position:
    told = cast(dict[str, Any], event.data)
    return Position(
        id=event.position, rule=told["rule"], profile=told["profile"], instrument=event.instrument,
        side=int(told["side"]), state="pending", signalled_at=event.ts, signal=(told["high"], told["low"], event.price),
        number=event.number, ts=event.ts, last=event.price, best=told["best"],
    )  # fmt: skip


def _opened(position: Position, event: PositionEvent) -> Changes:
    told = cast(dict[str, Any], event.data)
    targets = [(told[f"target_{n}"], told[f"fraction_{n}"]) for n in range(1, int(told["targets"]) + 1)]
    return {
        "state": "open", "opened_at": event.ts, "entry": event.price, "last": event.price, "best": event.price,
        "worst": event.price, "bars": 0, "blocked": "", "stop": told["stop"], "stopped_by": told["stopped_by"],
        "risk": told["risk"], "atr": told.get("atr", math.nan), "cost": told["cost"], "targets": tuple(targets),
    }  # fmt: skip


def _filled(position: Position, event: PositionEvent) -> tuple[Fill, ...]:
    return (*position.fills, Fill(event.ts, event.price, event.fraction, event.reason))


def _partial(position: Position, event: PositionEvent) -> Changes:
    return {"state": "partial", "fills": _filled(position, event)}


def _closed(position: Position, event: PositionEvent) -> Changes:
    return _ended(position, event) | {"fills": _filled(position, event)}


def _moved(position: Position, event: PositionEvent) -> Changes:
    return {"stop": event.price, "stopped_by": event.reason}


def _marked(position: Position, event: PositionEvent) -> Changes:
    return {"last": event.price}


def _ended(position: Position, event: PositionEvent) -> Changes:
    return {"state": event.kind, "closed_at": event.ts, "reason": event.reason, "last": event.price}


_FOLDS: dict[str, Callable[[Position, PositionEvent], Changes]] = {
    "opened": _opened, "partial": _partial, "moved": _moved, "marked": _marked, "closed": _closed,
    "invalidated": _ended, "expired": _ended,
}  # fmt: skip
