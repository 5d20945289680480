"""The live run: bars from feeds become durable, then decided, in one order, by one consumer.

1. Feeds are connected first (``arrival``: a venue that is down is waited for); what they say waits. Then the time is
   noted, everything up to it that is not known to be right is asked by REST, the tracks are opened (what is stored
   since the last decision is decided), and only then the feeds are read: no bar between history and stream is lost. A
   venue that comes later is asked for everything then; what it says of bar times that were decided is a correction.
2. Final bars gather in a barrier for each timeframe. A bar time that is given out is stored, decided, and what was
   decided is stored: a bar is durable before anything is said of it. Late and corrected bars are stored too, and then
   everything after them is decided again (``track``).
3. What the feed left out is asked by REST (``mend``). What comes of it is a correction like any other, or, where its
   bar time was not given out yet, gathers in the barrier. The same goes for what another process stored.
4. A store that cannot write (full disk, locked) does not lose anything: the consumer tries again and again, the feeds'
   backlog grows to its bound, and the state says so.
5. Told to stop, the feeds are closed, what they said is stored, open questions are asked within ``drain``, and the
   desk's memory is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from gapless.engine.arrival import Arrivals, Ears
from gapless.engine.backlog import Said
from gapless.engine.barrier import Barrier, Moment
from gapless.engine.heal import Healed
from gapless.engine.health import Health
from gapless.engine.late import GATHER, Late
from gapless.engine.mend import Mender, Side, Verified
from gapless.engine.rows import bars_frame, heard_frame, rows_heard
from gapless.engine.track import Track
from gapless.engine.upkeep import BarWriter, Upkeep
from gapless.engine.venue_time import earliest
from gapless.errors import LakeDamaged, LakeError
from gapless.events import (
    AlertFired,
    BoundBroken,
    Connected,
    Event,
    MomentDecided,
    Observer,
    PositionMoved,
    Revised,
    Skipped,
    nobody,
)
from gapless.protocols import Changes, Heard, WriteReport
from gapless.series import Series
from gapless.spans import HOUR, SECOND, Span, Timeframe

_T = TypeVar("_T")


@dataclass(frozen=True)
class LiveOptions:
    """µs by the venue's clock, but for ``drain`` and ``connect``: real seconds."""

    grace: int = 3 * SECOND  # after its close a bar time waits for stragglers
    history: int = 48 * HOUR  # asked by REST for a series that has nothing stored
    verify: int = HOUR  # between looks at what came by stream
    checkpoint: int = HOUR
    drain: float = 10.0
    connect: float = 15.0  # how long feeds may take before catching up begins without them


class Live:
    """See the module's text. ``wake`` is called after decisions are durable, for whoever delivers messages."""

    def __init__(
        self,
        sides: Sequence[Side],
        tracks: Mapping[Timeframe, Track],
        writers: Mapping[Timeframe, BarWriter],
        verified: Verified,
        *,
        health: Health | None = None,
        options: LiveOptions | None = None,
        observer: Observer = nobody,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.sides, self.tracks, self.writers = sides, tracks, writers
        self.health, self.options = health or Health(), options or LiveOptions()
        self.observer, self.wake = observer, wake
        self.barriers: dict[Timeframe, Barrier] = {}
        self._inbox: asyncio.Queue[tuple[Side, list[Said] | Healed, float]] = asyncio.Queue(64)
        self.mender = Mender(sides, verified, self.health, self._told)
        ears = Ears(self._told, self.heard, observer)
        self.arrivals = Arrivals(sides, self.health, ears, self.options.connect)
        self._late = Late()
        self.upkeep = Upkeep(writers.values(), self.health, self.now)
        self._stop = asyncio.Event()
        self._kept_at = self._looked_at = 0

    # ------------------------------------------------------------ the whole run

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. Raises LakeError when the store is damaged, Refused when a venue will have none of us."""
        self._stop = stop
        self.arrivals.begin()
        try:
            await self.arrivals.gather(stop)
            if self.arrivals.anyone:
                await self._begin()
            while not stop.is_set():
                await self._turn()
        finally:
            await self._end()
            await self.arrivals.end()

    def now(self) -> int:
        """The venues' clock: that of the one furthest behind, of those that said what time it is."""
        return earliest(side.clock for side in self.sides)

    # ------------------------------------------------------------ step 1

    async def _begin(self) -> None:
        self._welcome()
        await self.mender.ask_now(self._stop)
        for timeframe, track in self.tracks.items():
            self._tell(await self._durably(track.open))
            self.barriers[timeframe] = Barrier(
                track.desk.instruments, timeframe, grace=self.options.grace, after=track.head
            )
        self._looked_at = self._kept_at = self.now()
        self.health.started = True

    def _welcome(self) -> None:
        """Whoever arrived is asked for everything that it has not said yet."""
        for side in self.arrivals.newcomers():
            self.mender.want_everything(side, self.options.history)

    async def _told(self, side: Side, said: list[Said] | Healed) -> None:
        """To the inbox; a full one makes whoever says it wait."""
        await self._inbox.put((side, said, time.perf_counter()))

    # ------------------------------------------------------------ one turn

    async def _turn(self) -> None:
        """Take what came, or wait until a deadline; then decide what is ready."""
        received = await self._take_all(await self._next())
        for timeframe, barrier in self.barriers.items():
            ready = barrier.ready(self.now())
            if ready:
                await self._decide(timeframe, ready, received)
        if self._late.due:
            await self._revise_late()
        if self.now() - self._looked_at >= self.options.verify:
            self._looked_at = self.now()
            self.mender.want_unverified()
        self._welcome()
        self.mender.ask(self._stop)
        await self._rest()
        self.arrivals.check()

    async def _take_all(self, got: tuple[Side, list[Said] | Healed, float] | None) -> float:
        """Everything that waits; when the last of it was received."""
        received = time.perf_counter()
        while got is not None:
            side, said, received = got
            if isinstance(said, Healed):
                await self._healed(side, said)
            else:
                self._take(side, said)
            got = None if self._inbox.empty() else self._inbox.get_nowait()
        return received

    async def _next(self) -> tuple[Side, list[Said] | Healed, float] | None:
        deadlines = [d for barrier in self.barriers.values() if (d := barrier.next_deadline()) is not None]
        wait = min([0.5, *(self._seconds_until(d) for d in deadlines)])
        if self._late:
            wait = min(wait, GATHER)
        if not self._inbox.empty():
            return self._inbox.get_nowait()
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._inbox.get(), max(wait, 0.001))
        return None

    def _seconds_until(self, micros: int) -> float:
        return max(side.clock.seconds_until(micros) for side in self.sides if side.feed is not None)

    def _take(self, side: Side, said: Iterable[Said]) -> None:
        bars: dict[str, list[Heard]] = {}
        for word in said:
            if isinstance(word, Heard):
                if word.final:
                    bars.setdefault(word.timeframe, []).append(word)
            elif isinstance(word, Connected):
                self.mender.connected(side, word)
            else:
                self.mender.disconnected(side, word)
        for timeframe, barrier in self.barriers.items():
            self._late.note(self.tracks[timeframe], barrier.add(bars.get(timeframe.name, ())))

    # ------------------------------------------------------------ step 2

    async def _decide(self, timeframe: Timeframe, ready: Sequence[Moment], received: float) -> None:
        track, writer = self.tracks[timeframe], self.writers[timeframe]
        for moment in ready:
            frame = bars_frame(track.desk.instruments, moment)
            report = await self._durably(lambda frame=frame: writer.append(frame))  # type: ignore[misc]
            await self._doubt(report)
            track.leave_out(moment, report)
            decided = track.advance(moment)
            for name, who in decided.outside.items():
                for i in who:
                    series = Series.parse(track.desk.instruments[i], timeframe)
                    self.observer(BoundBroken(series, name, moment.ts))
            self._want_missing(timeframe, moment)
        changes = await self._durably(track.write)
        seconds = time.perf_counter() - received
        self.health.took(seconds)
        self.health.heads[timeframe.name] = ready[-1].ts
        self.health.count("bars", sum(int(m.present.sum()) for m in ready))
        self._tell(changes)
        for moment in ready:
            self.observer(MomentDecided(timeframe.name, moment.ts, int(moment.present.sum()), moment.missing, seconds))

    async def _doubt(self, report: WriteReport | None) -> None:
        """Whoever said otherwise before may have been right: REST has the last word."""
        changed = {s: n for s, n in report.series.items() if n.corrected} if report is not None else {}
        held = report.held if report is not None else {}
        spans = {series: hull for series in changed if series in held and (hull := held[series].hull)}
        if spans:
            await self._durably(lambda: self.mender.doubt(spans))

    def _want_missing(self, timeframe: Timeframe, moment: Moment) -> None:
        for name in moment.missing:
            self.mender.want(Series.parse(name, timeframe), Span(moment.ts, moment.ts + timeframe.micros))
        for name in moment.silent:
            self.mender.want_silent(Series.parse(name, timeframe), moment.after or 0, moment.ts)
        self.health.count("missing", len(moment.missing))

    def _tell(self, changes: Changes) -> None:
        for entries, withdrawn in ((changes.withdrawn, True), (changes.added, False)):
            for entry in entries:
                said: Event = AlertFired(entry.body, withdrawn)
                self.observer(said if entry.kind == "alert" else PositionMoved(entry.body, withdrawn))
                self.health.count(f"{entry.kind}s {'withdrawn' if withdrawn else 'added'}")
        if changes.added or changes.withdrawn:
            self.wake()

    async def _revise_late(self) -> None:
        for timeframe, bars in self._late.take().items():
            await self._store_late(timeframe, bars)

    async def _store_late(self, timeframe: Timeframe, bars: list[Heard]) -> None:
        report = await self._durably(lambda: self.writers[timeframe].append(heard_frame(bars)))
        self.health.count("late", len(bars))
        if report is not None and not report.written and not report.corrected:
            return
        await self._doubt(report)
        await self._again(timeframe, [bar for bar in bars if report is None or _holds(report, bar, timeframe)])

    async def _again(self, timeframe: Timeframe, bars: Sequence[Heard]) -> None:
        """Decide again from the oldest of these, which are stored."""
        if not bars:
            return
        track = self.tracks[timeframe]
        changes = await self._durably(lambda: track.revise(bars))
        self._tell(changes)
        self.observer(Revised(timeframe.name, min(bar.ts for bar in bars), len(bars)))

    # ------------------------------------------------------------ step 3

    async def _healed(self, side: Side, healed: Healed) -> None:
        """What REST said of bar times not given out yet gathers with the others; the rest is a correction."""
        for timeframe, barrier in self.barriers.items():
            bars = await self._durably(lambda timeframe=timeframe: self._stored(timeframe, healed))  # type: ignore[misc]
            fresh = self.tracks[timeframe].differing(barrier.add(bars))
            self.health.count("healed", len(fresh))
            await self._again(timeframe, fresh)
        await self._durably(lambda: self.mender.note(side, healed))

    def _stored(self, timeframe: Timeframe, healed: Healed) -> list[Heard]:
        """The stored bars of all that healing changed."""
        bars: list[Heard] = []
        for series in healed.changed:
            if series.timeframe == timeframe:
                rows = self.tracks[timeframe].store.rows(timeframe, [str(series.instrument)], healed.spans[series].hull)
                bars += rows_heard(rows, timeframe)
        return bars

    def heard(self, event: Event) -> None:
        """Observe a feed: what it skipped is asked."""
        if isinstance(event, Skipped):
            self.mender.want(event.series, event.span)
        self.observer(event)

    # ------------------------------------------------------------ steps 4 and 5

    async def _durably(self, action: Callable[[], _T]) -> _T:
        """Do it; while the store cannot, wait and try again, unless there is no more time."""
        give_up = None
        while True:
            try:
                result = await asyncio.to_thread(action)
            except LakeDamaged:
                raise
            except LakeError as error:
                self.health.degraded("store", str(error), self.now())
                if self._stop.is_set():
                    give_up = give_up or time.monotonic() + self.options.drain
                    if time.monotonic() >= give_up:
                        raise
                await asyncio.sleep(0.5)
                continue
            self.health.well("store", self.now())
            return result

    async def _rest(self) -> None:
        """What can wait until nothing else does."""
        if not self._inbox.empty() or self._late:
            return
        for timeframe, track in self.tracks.items():
            track.rest()
            await self._durably(self.writers[timeframe].gather)
            await self._strangers(timeframe)
        self.upkeep.look()
        if self.now() - self._kept_at >= self.options.checkpoint and self._all_decided:
            self._kept_at = self.now()
            for track in self.tracks.values():
                await self._durably(track.checkpoint)

    @property
    def _all_decided(self) -> bool:
        """Is nothing stored, or about to be, that was not decided? Only then a checkpoint may claim it."""
        return self._inbox.empty() and not self.mender.busy and not self._late

    async def _strangers(self, timeframe: Timeframe) -> None:
        """What another process stored meanwhile is decided like a correction; of bar times to come, with these."""
        since = self.writers[timeframe].disturbed()
        if since is None:
            return
        track = self.tracks[timeframe]
        bars = await self._durably(track.ahead)
        self._late.note(track, self.barriers[timeframe].add(bars))
        changes = await self._durably(lambda: track.learned(*since))
        self.health.count("disturbed")
        self._tell(changes)

    async def _end(self) -> None:
        """Step 5."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.drain):
                await self.arrivals.close()
                await self._last_questions()
        await self.upkeep.end()
        settled = self._all_decided
        self.mender.end()
        if self.health.started and settled:
            for track in self.tracks.values():
                await self._durably(track.checkpoint)

    async def _last_questions(self) -> None:
        """Store what was heard, ask what is open, decide what comes of it."""
        if not self.health.started:
            return
        self.mender.want_unverified()
        for _ in range(2):  # what comes late now is asked once more
            await self._answered()
            for timeframe, barrier in self.barriers.items():
                ready = barrier.ready(self.now())
                if ready:
                    await self._decide(timeframe, ready, time.perf_counter())
                await self._durably(self.writers[timeframe].gather)
                await self._strangers(timeframe)
            await self._revise_late()

    async def _answered(self) -> None:
        """Everything that can be asked now was asked, what the stop broke off too, and the answers are taken."""
        go_on = asyncio.Event()
        self.mender.ask(go_on)
        while not self._inbox.empty() or self.mender.busy:
            await self._take_all(await self._next())
            self.mender.ask(go_on)


def _holds(report: WriteReport, bar: Heard, timeframe: Timeframe) -> bool:
    """Did this bar pass the store's check?"""
    held = report.held.get(Series.parse(bar.instrument, timeframe))
    return held is not None and held.contains(bar.ts)
