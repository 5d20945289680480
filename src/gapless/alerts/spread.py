"""Firings that wait for others of their group to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gapless.alerts.alert import Direction
from gapless.alerts.rule import Spread

Named = tuple[str, Direction]


@dataclass(slots=True)
class Wave:
    """What fired at one time in one group and direction, and who followed since, in order.

    Those that fire together share their followers: a whole market that moves at once costs no more than one instrument.
    """

    ts: int
    label: str
    direction: Direction
    firsts: list[str] = field(default_factory=list)
    followers: dict[str, None] = field(default_factory=dict)  # as an ordered set; a first one may follow another

    def followers_of(self, first: str) -> tuple[str, ...]:
        return tuple(name for name in self.followers if name != first)


@dataclass(frozen=True, slots=True)
class Told:
    """A firing that enough others followed."""

    instrument: str
    direction: Direction
    followers: tuple[str, ...]
    others: int  # that could have


@dataclass(slots=True)
class Waves:
    """The open waves of one rule.

    Followers are counted among the group's instruments in ``labels``. When one firing has enough of them, it is told,
    and with it every other of its group in its direction, or by the same instrument, is over: a spread is told once.
    """

    spread: Spread
    labels: Mapping[str, str]  # group by instrument
    open: list[Wave] = field(default_factory=list)  # by time
    size: dict[str, int] = field(default_factory=dict)  # members by group

    def __post_init__(self) -> None:
        for label in self.labels.values():
            self.size[label] = self.size.get(label, 0) + 1

    def begin(self, ts: int, fired: Iterable[Named], told: Iterable[Told]) -> None:
        """Firings of one bar, by instrument; those of a group of which a spread was told at this bar are part of it."""
        settled = {(self.labels[one.instrument], one.direction) for one in told}
        new = self._by_group(fired)
        self.open += [Wave(ts, *group, names) for group, names in new.items() if group not in settled]

    def follow(self, ts: int, following: Iterable[Named]) -> list[Told]:
        """The firings that have enough followers, with those of a later bar, by instrument; the others wait on."""
        self.open = [wave for wave in self.open if ts - wave.ts <= self.spread.window]
        new = self._by_group(following)
        told: list[Told] = []
        for wave in list(self.open) if new else ():
            wave.followers.update(dict.fromkeys(new.get((wave.label, wave.direction), ())))
            first = next((name for name in wave.firsts if self._enough(wave, name)), None)
            if first is not None and wave in self.open:
                told.append(Told(first, wave.direction, wave.followers_of(first), self.size[wave.label] - 1))
                self._close(wave, first)
        return told

    def _by_group(self, named: Iterable[Named]) -> dict[Named, list[str]]:
        found: dict[Named, list[str]] = {}
        for name, direction in named:
            if name in self.labels:
                found.setdefault((self.labels[name], direction), []).append(name)
        return found

    def _enough(self, wave: Wave, first: str) -> bool:
        found, others = len(wave.followers) - (first in wave.followers), self.size[wave.label] - 1
        return found >= self.spread.followers and found / others >= self.spread.share

    def _close(self, told: Wave, first: str) -> None:
        group = (told.label, told.direction)
        for wave in self.open:
            wave.firsts = [name for name in wave.firsts if name != first]
        self.open = [w for w in self.open if w.firsts and (w.label, w.direction) != group]
