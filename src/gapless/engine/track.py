"""A desk along time: what was decided is durable, and is decided again when the past changes.

Bars are in the store before they come here. A *moment* that is next in time is stepped, and what it decided is written
in one transaction. A correction (a late bar, another value, an old hole filled) goes one way, however old it is:

1. checkpoints that it makes wrong are forgotten; should a crash come first, the next process notices that bars were
   learned after a checkpoint that lie before it;
2. the desk is put back to the newest memory before it: one in this process, or a checkpoint, whose later moments are
   read from the store; where a checkpoint does not know these features, they are warmed from all stored bars;
3. every bar time from there to the newest is stepped, and the journal is told what stands now: entries that are decided
   again stay, others are withdrawn, new ones are added.

A restart is steps 2 and 3 with nothing corrected. So live, restarted and corrected are the same decisions. What is
older than the oldest checkpoint is settled: its alerts and positions stay as they were decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gapless.alerts.position import PositionEvent, stories
from gapless.engine.barrier import FIELDS, Moment
from gapless.engine.build import set_name
from gapless.engine.desk import Decided, Desk, Memory
from gapless.engine.rows import moments, rows_heard
from gapless.engine.valued import LiveView
from gapless.engine.warm import warm
from gapless.errors import UsageError
from gapless.features import plan
from gapless.protocols import Changes, Clock, Entry, Heard, Journal, LiveStore, WriteReport
from gapless.spans import DAY, LATEST, Span, parse_time

_EVERY, _KEEP = 20, 3  # moments between memories in this process, and how many of these are kept
_READ = DAY  # of stored bars read at once
_TOGETHER = 200  # bar times decided again in one transaction


class Track:
    """One desk over one store and journal. ``head`` is the newest bar time decided, None before the first."""

    def __init__(
        self, desk: Desk, store: LiveStore, journal: Journal, *, clock: Clock, view: LiveView | None = None
    ) -> None:
        self.desk, self.store, self.journal, self.clock = desk, store, journal, clock
        self.view = view  # of the bars, with what is beside them
        self.seen: LiveStore = view or store
        self.timeframe = desk.duties.timeframe
        self.head: int | None = None
        self._fact = f"desk {self.timeframe.name}"
        self.set = set_name(plan(desk.duties.features)) if desk.duties.features else ""
        self._fresh = desk.rules.state()
        self._undone: int | None = None  # from where on a failure left something to be decided again
        self._waiting: list[Decided] = []  # decided, not durable yet
        self._memories: list[Memory] = []
        self._recent: dict[int, Moment] = {}  # the moments since the oldest memory, by time

    # ------------------------------------------------------------ forward

    def open(self) -> Changes:
        """Be where the journal says we were, and decide what was stored since.

        The first time there is nothing to decide again: decisions begin with the next bar. What is stored later of the
        time before is history: it warms the desk, and is not decided.
        """
        decided = self.journal.decided(self.timeframe)
        if decided is not None:
            changes = self._again(self._trusted(decided) + 1)
            self._sign(int(self.journal.fact(self._fact)["since"]))
            return changes
        newest = self._newest()
        if newest is None:
            newest = self.timeframe.floor(self.clock()) - self.timeframe.micros
        self._sign(newest + self.timeframe.micros)
        warm(self.desk, self.seen, newest)
        self.head = newest
        self._remember(newest)
        self.journal.decide(self.timeframe, newest, newest, (), now=self.clock())
        self.checkpoint()
        return Changes()

    def _sign(self, since: int) -> None:
        """Remember since when decisions are made, and over which instruments now."""
        self.journal.remember({self._fact: {"since": since, "instruments": list(self.desk.duties.instruments)}})

    def leave_out(self, moment: Moment, report: WriteReport | None) -> None:
        """Bars that did not pass the check are not there."""
        if report is None:
            return
        kept = {str(series.instrument) for series in report.held}
        for i in np.flatnonzero(moment.present):
            if self.desk.instruments[int(i)] not in kept:
                moment.present[i] = False
                moment.values[:, i] = np.nan

    def advance(self, moment: Moment) -> Decided:
        """Decide the next bar time; durable only after ``write``."""
        decided = self._step(moment)
        self._waiting.append(decided)
        self._recent[moment.ts] = moment
        self.head = moment.ts
        return decided

    def _step(self, moment: Moment) -> Decided:
        return self.desk.step(self.view.moment(moment, self.desk.instruments) if self.view else moment)

    def write(self) -> Changes:
        """Make what was decided durable, in one transaction; after a failure it can be called again."""
        if not self._waiting:
            return Changes()
        changes = self._write(self._waiting[0].ts, self._waiting[-1].ts, self._waiting)
        self._waiting = []
        return changes

    def rest(self) -> None:
        """What can wait until a bar time is decided: to remember it."""
        if self.head is not None and (not self._memories or len(self._recent) % _EVERY == 0):
            self._remember(self.head)

    def checkpoint(self) -> None:
        """Keep the desk's memory for the next process."""
        if self.head is not None:
            self._keep(self.head)

    def _keep(self, ts: int) -> None:
        blob = self.desk.pack(self.desk.memory(ts))
        self.journal.keep(self.timeframe.name, ts, blob, now=self.clock())

    # ------------------------------------------------------------ back

    def differing(self, heard: Iterable[Heard]) -> list[Heard]:
        """Those of the bars that the recent moments do not hold already, with these values."""
        return [bar for bar in heard if not self._holds(bar)]

    def revise(self, heard: Iterable[Heard]) -> Changes:
        """Decide again from the oldest of these bars on, which are stored by now."""
        bars = [bar for bar in heard if self.head is not None and bar.ts <= self.head]
        if not bars:
            return Changes()
        for bar in bars:
            self._patch(bar)
        return self._again(min(bar.ts for bar in bars))

    def learned(self, since: int, made: float) -> Changes:
        """Decide again from the oldest bar on, of those decided, that was stored or corrected after ``since``."""
        if self.head is None:
            return Changes()
        first = self.seen.learned(self.timeframe, self.desk.instruments, since, made, self.head)
        if first is None:
            return Changes()
        self._memories, self._recent = [], {}
        return self._again(first)

    def ahead(self) -> list[Heard]:
        """Stored bars of bar times that are not decided yet."""
        if self.head is None:
            return []
        rows = self.store.rows(self.timeframe, list(self.desk.instruments), Span(self.head + 1, LATEST))
        return rows_heard(rows, self.timeframe)

    def _holds(self, bar: Heard) -> bool:
        moment = self._recent.get(bar.ts)
        i = self.desk.number(bar.instrument)
        if moment is None or i is None or not moment.present[i]:
            return False
        return np.array_equal(moment.values[: len(bar.values), i], bar.values, equal_nan=True)

    def _patch(self, bar: Heard) -> None:
        oldest = self._memories[0].ts if self._memories else None
        i = self.desk.number(bar.instrument)
        if oldest is None or bar.ts <= oldest or i is None:
            return
        count = len(self.desk.instruments)
        if bar.ts not in self._recent:
            self._recent[bar.ts] = Moment(bar.ts, np.zeros(count, np.bool_), np.full((len(FIELDS), count), np.nan))
        moment = self._recent[bar.ts]
        moment.present[i] = True
        moment.values[: len(bar.values), i] = bar.values

    # ------------------------------------------------------------ again

    def _again(self, since: int) -> Changes:
        """Steps 2 and 3."""
        waiting = [d.ts for d in self._waiting] + ([] if self._undone is None else [self._undone])
        since = self._undone = min([since, *waiting])  # what is not durable yet is decided again too
        self._waiting = []
        upto = self.head
        try:
            changes = self._decide_again(since)
        except BaseException:  # half of it may be done: the next try takes nothing from this process
            self._memories, self._recent = [], {}
            self.head = upto
            raise
        self._undone = None
        if upto is not None:
            self.head = upto if self.head is None else max(self.head, upto)
        return changes

    def _decide_again(self, since: int) -> Changes:
        upto = self.head  # None while opening: then all that is stored
        found = next((m for m in reversed(self._memories) if m.ts < since), None)
        if found is not None:
            later: Iterable[Moment] = [self._recent[ts] for ts in sorted(self._recent) if ts > found.ts]
            self.desk.revert(found)
        else:
            found_at = self._back(since)
            later = self._stored(found_at, upto)
            since = max(since, found_at + 1)
            self._memories, self._recent = [], {}
            self._remember(found_at)
        self.journal.forget_checkpoints(self.timeframe.name, since)
        self._memories = [m for m in self._memories if m.ts < since]
        added, withdrawn = list[Entry](), list[Entry]()
        for changes in self._step_all(later, since, upto):
            added += changes.added
            withdrawn += changes.withdrawn
        return Changes(tuple(added), tuple(withdrawn))

    def _step_all(self, later: Iterable[Moment], since: int, upto: int | None) -> Iterator[Changes]:
        together: list[Decided] = []
        start = since
        for moment in later:
            self._recent[moment.ts] = moment
            decided = self._step(moment)
            self.head = moment.ts
            if moment.ts >= since:
                together.append(decided)
            if len(together) == _TOGETHER:
                yield self._write(start, moment.ts, together)
                start, together = moment.ts + 1, []
            if len(self._recent) % _EVERY == 0:
                self._remember(moment.ts)
        until = max((t for t in (self.head, upto) if t is not None), default=start - 1)
        if start <= until:  # of bar times that have no bars any more nothing stands
            yield self._write(start, until, together)

    def _trusted(self, decided: int) -> int:
        """The newest bar time decided that no bar contradicts which was learned after it was remembered.

        Bars of instruments that were not looked after then contradict nothing: what was decided without them stands.
        """
        before = {*self.journal.fact(self._fact)["instruments"], *self.desk.others}
        names = [name for name in self.desk.instruments if name in before]
        kept = self.journal.checkpoints(self.timeframe.name)
        for ts, known_at, made in kept:
            if ts <= decided:
                first = self.seen.learned(self.timeframe, names, known_at, made, ts)
                if first is None:
                    return ts
                decided = min(decided, first - 1)
        return decided

    def _back(self, since: int) -> int:
        """Put the desk to the newest kept memory before ``since`` (the oldest there is, where none is): its time."""
        kept = [ts for ts, _, _ in self.journal.checkpoints(self.timeframe.name)]
        for ts in [t for t in kept if t < since] + sorted(t for t in kept if t >= since):
            blob = self.journal.checkpoint(self.timeframe.name, ts)
            try:
                memory, same = self.desk.unpack(blob or b"")
            except UsageError:
                continue
            if same and ts < since:
                self.desk.revert(memory)
            else:
                warm(self.desk, self.seen, ts)
                self.desk.rules.restore(memory.rules)
                self.desk.follow(memory.positions, ts)
                self._keep(ts)
            self.head = ts
            return ts
        return self._back_to_nothing(since - 1)

    def _back_to_nothing(self, at: int) -> int:
        """No checkpoint: features from the bars, positions from the journal, rules without a memory."""
        warm(self.desk, self.seen, at)
        self.desk.rules.restore(self._fresh)
        bodies = self.journal.entries("position", self.timeframe)
        self.desk.follow(live_events(e for e in bodies if parse_time(e["ts"]) <= at), at)
        self.head = at
        return at

    def _stored(self, after: int, upto: int | None) -> Iterator[Moment]:
        """Moments of stored bars later than ``after``, up to ``upto`` or to the newest."""
        newest = self._newest() or after
        last = newest if upto is None else min(newest, upto)  # what is stored of later ones is not given out yet
        for start in range(after + 1, last + 1, _READ):
            span = Span(start, min(start + _READ, last + 1))
            rows = self.store.rows(self.timeframe, list(self.desk.instruments), span)
            yield from moments(rows, self.desk.instruments)

    def _newest(self) -> int | None:
        """The newest stored bar time of the desk's own instruments."""
        present = self.store.present(self.timeframe)
        ends = [int(present[name].ends[-1]) for name in self.desk.duties.instruments if present.get(name)]
        return max(ends) - self.timeframe.micros if ends else None

    def _remember(self, ts: int) -> None:
        self._memories = [*self._memories[1 - _KEEP :], self.desk.memory(ts)]
        oldest = self._memories[0].ts
        self._recent = {t: m for t, m in self._recent.items() if t > oldest}

    # ------------------------------------------------------------ writing

    def _write(self, since: int, until: int, together: list[Decided]) -> Changes:
        entries = [entry for decided in together for entry in self._entries(decided)]
        rows = [(self.set, d.ts, self.desk.table(d)) for d in together if self.set and len(d.who)]
        return self.journal.decide(self.timeframe, since, until, entries, now=self.clock(), moments=rows)

    def _entries(self, decided: Decided) -> Iterator[Entry]:
        for alert in decided.alerts:
            yield Entry("alert", self.timeframe.name, alert.id, decided.ts, alert.to_dict())
        for event in decided.events:
            key = f"{event.position}:{event.number}"
            yield Entry("position", self.timeframe.name, key, decided.ts, event.to_dict())


def live_events(bodies: Iterable[dict[str, Any]]) -> tuple[PositionEvent, ...]:
    """The events of positions that are not over yet, in order, from journal bodies."""
    return tuple(event for story in stories(bodies).values() if not story[-1].ends for event in story)
