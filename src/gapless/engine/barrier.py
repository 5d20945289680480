"""The minute barrier: bars as they come, whole bar times out, in order. No sockets, no clock of its own.

A bar time is given out when every instrument that is awaited has its final bar, or when the venue's clock has passed
its close by ``grace``; an earlier one always comes before a later one. An instrument that was missing the last
``DORMANT`` times is not awaited until it speaks again, so that a halted one does not hold everybody up; as nobody waits
for it, it may then be late, but in time by its venue's clock. A bar that comes after its time was given out is *late*:
the engine takes it through the correction path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gapless.bars import SCHEMA
from gapless.protocols import Heard
from gapless.spans import Timeframe

FIELDS = tuple(name for name in SCHEMA if name not in ("instrument", "ts"))
DORMANT = 3
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moment:
    """The bars of one bar time: ``values`` is (fields × instruments), NaN where an instrument has none.

    ``missing``: instruments that were awaited in vain; ``after``: the bar time given out before it. Of bar times
    between these two nothing was heard of anybody, and ``silent`` were awaited then.
    """

    ts: int
    present: npt.NDArray[np.bool_]
    values: Floats
    missing: tuple[str, ...] = ()
    after: int | None = None
    silent: tuple[str, ...] = ()


@dataclass(slots=True)
class _Gathering:
    values: Floats
    present: npt.NDArray[np.bool_]
    waits: int  # awaited instruments that have not spoken


class Barrier:
    """Gathers the bars of one timeframe.

    >>> from gapless.spans import MINUTE
    >>> barrier = Barrier(["X:A", "X:B"], Timeframe.parse("1m"), grace=2_000_000)
    >>> a = Heard("X:A", "1m", 0, (1.0, 1.0, 1.0, 1.0, 5.0), True, MINUTE)
    >>> barrier.add([a]), barrier.ready(MINUTE + 1_000_000)
    ([], [])
    >>> [(m.ts, m.missing) for m in barrier.ready(MINUTE + 2_000_000)]
    [(0, ('X:B',))]
    """

    def __init__(
        self, instruments: Sequence[str], timeframe: Timeframe, *, grace: int, after: int | None = None
    ) -> None:
        self.instruments = tuple(instruments)
        self.timeframe, self.grace = timeframe, grace
        self.given = after  # the newest bar time that was given out
        self._number = {name: i for i, name in enumerate(self.instruments)}
        self._absent = np.zeros(len(self.instruments), dtype=np.int64)  # bar times missed in a row
        self._gathering: dict[int, _Gathering] = {}

    def add(self, heard: Iterable[Heard]) -> list[Heard]:
        """Take final bars; gives back those that are late. Forming bars and unknown instruments are left alone."""
        late = []
        for bar in heard:
            i = self._number.get(bar.instrument)
            if i is None or not bar.final or bar.timeframe != self.timeframe.name:
                continue
            if self.given is not None and bar.ts <= self.given:
                late.append(bar)
                self._awake(i, bar)
            else:
                self._put(i, bar)
        return late

    def _put(self, i: int, bar: Heard) -> None:
        at = self._gathering.get(bar.ts)
        if at is None:
            at = self._gathering[bar.ts] = self._fresh()
        if not at.present[i]:
            at.present[i] = True
            at.waits -= bool(self._absent[i] < DORMANT)
        at.values[: len(bar.values), i] = bar.values  # said again: the venue's last word stands

    def _awake(self, i: int, bar: Heard) -> None:
        """Await an instrument again whose bar is late only because it was not awaited."""
        if self._absent[i] >= DORMANT and bar.ts == self.given and 0 < bar.said_at <= self.deadline(bar.ts):
            self._absent[i] = 0
            for at in self._gathering.values():
                at.waits += not at.present[i]

    def _fresh(self) -> _Gathering:
        count = len(self.instruments)
        awaited = int((self._absent < DORMANT).sum())
        return _Gathering(np.full((len(FIELDS), count), np.nan), np.zeros(count, dtype=np.bool_), awaited)

    def ready(self, now: int) -> list[Moment]:
        """The bar times that are complete, or whose grace is over at ``now`` (the venue's clock, µs), in order."""
        found = []
        for ts in sorted(self._gathering):
            at = self._gathering[ts]
            if (at.waits > 0 and now < self.deadline(ts)) or self._too_early(ts, now):
                break
            found.append(self._give(ts, self._gathering.pop(ts)))
        return found

    def _too_early(self, ts: int, now: int) -> bool:
        """May the bar time before this one, of which nothing was heard yet, still come?"""
        before = ts - self.timeframe.micros
        return self.given is not None and self.given < before and now < self.deadline(before)

    def deadline(self, ts: int) -> int:
        """When a bar time is given out, complete or not."""
        return ts + self.timeframe.micros + self.grace

    def next_deadline(self) -> int | None:
        """The deadline of the oldest bar time that is being gathered."""
        return self.deadline(min(self._gathering)) if self._gathering else None

    def _give(self, ts: int, at: _Gathering) -> Moment:
        after, awaited = self.given, self._absent < DORMANT
        skipped = after is not None and after < ts - self.timeframe.micros
        silent = self._names(awaited) if skipped else ()
        missing = self._names(~at.present & awaited)
        self._absent = np.where(at.present, 0, self._absent + 1)
        for later in self._gathering.values():  # who is dormant now is not awaited any more, and the reverse
            later.waits = int((~later.present & (self._absent < DORMANT)).sum())
        self.given = ts
        return Moment(ts, at.present, at.values, missing, after, silent)

    def _names(self, chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(self.instruments[i] for i in np.flatnonzero(chosen))
