"""``live``: names become desks, feeds and channels; the engine does the rest.

A lake is looked after by one live run at a time. What it decides is in ``live.sqlite``; how it is doing, in
``live.json``, written anew every two seconds for whoever wants to look.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gapless.alerts.alert import Alert
from gapless.app.desks import check_watched, desk, venues
from gapless.app.lake import Lake
from gapless.app.markets import live_source, market, patience, source, source_name
from gapless.app.polling_values import pollers
from gapless.app.runs import Run, running
from gapless.config import Config
from gapless.engine.backfill import Options, signals
from gapless.engine.desk import Desk
from gapless.engine.feed import Feed
from gapless.engine.fetch import PacedHttp, wall_clock
from gapless.engine.heal import Healer
from gapless.engine.health import Health, Trouble
from gapless.engine.live import Live, LiveOptions
from gapless.engine.mend import Listening, Side
from gapless.engine.poll import Poll
from gapless.engine.track import Track
from gapless.engine.valued import LiveView
from gapless.engine.venue_time import VenueTime, latest
from gapless.errors import UnknownName, UsageError
from gapless.events import Observer, nobody
from gapless.notify import message
from gapless.notify.notifier import Notifier
from gapless.notify.outbox import Delivery, deliveries, due
from gapless.protocols import Changes, Clock
from gapless.series import Instrument, Series
from gapless.spans import SECOND, Timeframe, parse_duration
from gapless.stores.journal import JOURNAL, Journal
from gapless.stores.lock import WriterLock
from gapless.stores.moments import MomentWriter

_ENOUGH = 500  # bars a rule has looked at before a part that never passed is worth a word
_REPORT = 2.0  # seconds between writes of live.json
_PATIENCE = 1.0  # seconds until another writer of the lake is told as trouble; we wait for it as long as it takes
_TOLD = ("opened", "partial", "closed")
_TAKEN_BACK = "bars that came late or were corrected took it back"


@dataclass(frozen=True)
class Wanted:
    """What a call of ``live`` asks for, beyond the configuration."""

    symbols: str | None = None
    universe: str | None = None
    timeframes: str | None = None
    source: str | None = None
    base_url: str | None = None
    seconds: float | None = None


class Box:
    """The journal as a notifier's outbox."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.put, self.mark = journal.put, journal.mark

    def pending(self, channel: str, now: int, limit: int) -> list[Delivery]:
        """As ``notify.outbox.Outbox`` wants it."""
        waiting = self.journal.letters(Delivery, channel=channel, states=("queued", "sending"), limit=10 * limit)
        return [d for d in waiting if due(d, now)][:limit]


class Teller:
    """What is to be sent of decisions, and to which channels.

    What was taken back and is decided once more is a message of its own: a receiver that knows the first one as
    withdrawn must not drop it. ``taken_back`` says how often a message was.
    """

    def __init__(self, lake: Lake, clock: Clock, taken_back: Callable[[str], int]) -> None:
        self.channels = lake.config.channels()
        self.rules = {rule.name: rule for rule in lake.config.rules()}
        self.within = parse_duration(lake.config.live.tell_within)
        self.clock, self.taken_back = clock, taken_back

    def __call__(self, changes: Changes) -> list[Delivery]:
        """Alerts to their rule's channels, positions to all; not what is muted, too old, or (alerts) put otherwise."""
        found: list[Delivery] = []
        again = {e.key for e in changes.added}
        for entry, withdrawn in [*((e, True) for e in changes.withdrawn), *((e, False) for e in changes.added)]:
            if entry.kind == "position":
                found += self._position(entry.body, withdrawn)
            elif not (withdrawn and entry.key in again):
                found += self._alert(Alert.from_dict(entry.body), withdrawn)
        return found

    def _alert(self, alert: Alert, withdrawn: bool) -> list[Delivery]:
        rule, now = self.rules.get(alert.rule), self.clock()
        closed = alert.ts + Timeframe.parse(alert.timeframe).micros
        if rule is None or alert.muted or now - closed > self.within:
            return []
        said = self._once_more(message.fired(alert), withdrawn)
        return deliveries(said, [self.channels[name] for name in rule.notify], now)

    def _position(self, event: Mapping[str, Any], withdrawn: bool) -> list[Delivery]:
        if event["kind"] not in _TOLD:
            return []
        return deliveries(self._once_more(message.position(event), withdrawn), self.channels.values(), self.clock())

    def _once_more(self, said: message.Message, withdrawn: bool) -> message.Message:
        before = self.taken_back(said.id)
        numbered = replace(said, id=f"{said.id}-{before + 1}") if before else said
        return message.withdrawn(numbered, _TAKEN_BACK) if withdrawn else numbered

    def health(self, trouble: Trouble, until: int | None) -> list[Delivery]:
        """A part degraded, or (``until``) is well again."""
        if until is None:
            said = message.degraded(trouble.part, trouble.since, trouble.reason)
        else:
            said = message.recovered(trouble.part, trouble.since, until)
        return deliveries(said, self.channels.values(), self.clock())


def alone(root: Path) -> AbstractContextManager[None]:
    """Two live runs over one lake would decide everything twice."""
    lock = WriterLock(root / "live.lock", 0.0, done="looked after", hint="stop it first, or give --lake DIR")
    return lock.hold("gapless live")


class Verified:
    """Until when REST has said everything of each series; kept in the journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._known = {Series.parse(*name.split(" ")[1:]): value for name, value in journal.facts("verified ").items()}

    def __call__(self, further: Mapping[Series, int] | None) -> Mapping[Series, int]:
        if further:
            self.journal.remember({f"verified {s.instrument} {s.timeframe.name}": t for s, t in further.items()})
            self._known |= further
        return self._known


class Desktop:
    """One live run, put together. ``run`` it once."""

    def __init__(self, lake: Lake, wanted: Wanted, observer: Observer, run: str) -> None:
        self.lake, self.wanted, self.observer, self.run_id = lake, wanted, observer, run
        self.instruments = _instruments(lake, wanted)
        self.timeframes = _timeframes(lake, wanted)
        check_watched(lake.config.rules(), self.instruments)
        names = lake.config.live.features
        self.desks = {t: desk(lake.config, t, self.instruments, features=names) for t in self.timeframes}
        everyone = sorted({name for d in self.desks.values() for name in d.instruments})
        self.clocks = {venue: VenueTime(venue, observer=observer) for venue in venues(everyone)}
        clock = self._now
        self.lake.store.clock = clock
        self.lake.store.lock.patience = min(_PATIENCE, self.lake.store.lock.patience)
        self.journal = Journal(lake.path / JOURNAL)
        self.teller = Teller(lake, clock, self.journal.taken_back)
        self.journal.teller = self.teller
        self.notifier = Notifier(self.teller.channels.values(), Box(self.journal), clock, observer)
        self._unsaid: list[Delivery] = []
        self.health = Health(tell=self._tell_health)
        options = LiveOptions(
            **{name: parse_duration(getattr(lake.config.live, name)) for name in _DURATIONS},
            drain=parse_duration(lake.config.live.drain) / SECOND,
        )
        self.live = Live(
            [self._side(venue, names) for venue, names in venues(everyone).items()],
            {t: self._track(d) for t, d in self.desks.items()},
            {t: MomentWriter(lake.store, t, source="live", run=run) for t in self.timeframes},
            Verified(self.journal), health=self.health, options=options, observer=observer, wake=self.notifier.wake,
        )  # fmt: skip
        self.pollers, self.notes = pollers(lake, self.live.sides, self.desks, self.health, run)

    def _now(self) -> int:
        return latest(self.clocks.values())

    def _track(self, table: Desk) -> Track:
        view = LiveView(self.lake.store, self.lake.store.values, table.reads)
        return Track(table, self.lake.store, self.journal, clock=self._now, view=view)

    def _side(self, venue: str, names: list[str]) -> Side:
        config, clock = self.lake.config, self.clocks[venue]
        name = self.wanted.source or source_name(config, venue)
        rest = source(config, name, base_url=self.wanted.base_url)
        if rest.venue != venue:
            raise UsageError(f"source {name} has no {names[0]}.", hint=f"it serves {rest.venue} only")
        socket = live_source(config, name, base_url=self.wanted.base_url)
        series = tuple(
            Series(Instrument.parse(n), t) for t, d in self.desks.items() for n in names if n in d.instruments
        )

        def listen(http: PacedHttp, observer: Observer) -> Listening:
            if socket is None:
                return Poll(http, series, clock=clock, observer=observer)
            return Feed(socket, series, clock=clock, observer=observer)

        options = Options(patience=patience(config, name), linger=0.02, sessions=market(config, venue))
        return Side(
            rest, clock, series, Healer(rest, self.lake.store, clock, self.run_id, self.observer, options), listen
        )

    def _tell_health(self, trouble: Trouble, until: int | None) -> None:
        from gapless.events import Degraded, Recovered

        if until is None:
            self.observer(Degraded(trouble.part, trouble.since, trouble.reason))
        else:
            self.observer(Recovered(trouble.part, trouble.since, until))
        self._unsaid += self.teller.health(trouble, until)

    def _say_health(self) -> None:
        """Put what was said of our health into the outbox; while the store cannot write, it waits here."""
        from gapless.errors import LakeError

        waiting = list(self._unsaid)
        with suppress(LakeError):
            self.journal.put(waiting)
            del self._unsaid[: len(waiting)]
            self.notifier.wake()

    def run(self) -> None:
        """Until told to stop, or ``seconds`` have passed."""
        with alone(self.lake.path):
            self.notifier.start()
            try:
                asyncio.run(self._run())
            finally:
                self._say_health()
                self.notifier.close(5.0)
                self._report()

    async def _run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        timer = None
        if self.wanted.seconds is not None:
            timer = loop.call_later(self.wanted.seconds, stop.set)
        reporting = asyncio.create_task(self._reporting())
        polling = [asyncio.create_task(poller.run(stop)) for poller in self.pollers]
        try:
            with signals(stop):
                await self.live.run(stop)
        finally:
            for task in (reporting, *polling):
                task.cancel()
            await asyncio.gather(reporting, *polling, return_exceptions=True)
            if timer is not None:
                timer.cancel()

    async def _reporting(self) -> None:
        while True:
            self._look_at_channels()
            if self._unsaid:
                await asyncio.to_thread(self._say_health)
            self._report()
            await asyncio.sleep(_REPORT)

    def _look_at_channels(self) -> None:
        for name, channel in self.notifier.health().items():
            if channel.error:
                self.health.degraded(f"channel {name}", channel.error, self.live.now())
            else:
                self.health.well(f"channel {name}", self.live.now())

    def state(self) -> dict[str, Any]:
        """How the run is doing, for JSON."""
        feeds = [
            {
                "source": side.source.name, "series": len(side.series), "live": len(side.live),
                "backlog": side.feed.backlog if side.feed is not None else 0, "asking": side.healer.waiting,
                "rate": round(side.clock.rate, 3),
            }
            for side in self.live.sides
        ]  # fmt: skip
        channels = {name: {"error": h.error, "failures": h.failures} for name, h in self.notifier.health().items()}
        rules = {t.name: {n: c.to_dict() for n, c in d.rules.counts().items()} for t, d in self.desks.items()}
        return {
            "run": self.run_id, "pid": os.getpid(), "now": self.live.now(), **self.health.to_dict(), "feeds": feeds,
            "channels": channels, "rules": rules, "notes": self.notes,
            "never_passing": [str(n) for d in self.desks.values() for n in d.rules.never_passing(_ENOUGH)],
            "open_positions": sum(len(d.positions.live) for d in self.desks.values()),
        }  # fmt: skip

    def _report(self) -> None:
        path = self.lake.path / "live.json"
        temporary = path.with_suffix(".partial")
        text = json.dumps(self.state(), default=str)
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        except OSError:
            _overwrite(path, text)


def _overwrite(path: Path, text: str) -> None:
    """On a full disk: into the blocks that the file has already, though a reader may then see half of it."""
    with suppress(OSError):
        path.with_suffix(".partial").unlink(missing_ok=True)
        with open(path, "r+b", buffering=0) as file:
            file.truncate(file.write(text.encode()))


def check(lake: Lake, wanted: Wanted) -> None:
    """Raise what ``look_after`` would raise for a wrong call or configuration; nobody is asked or told."""
    Desktop(lake, wanted, nobody, "check").journal.database.close()


def look_after(lake: Lake, wanted: Wanted, view: View) -> tuple[dict[str, Any], int]:
    """One live run: its last state, and the exit code (1 when something is not well at the end)."""
    with running(lake.store, "live") as run:
        observed = Watched(run, view)
        desktop = Desktop(lake, wanted, observed, run.id)
        view.follow(desktop.state)
        with view:
            desktop.run()  # a signal is how a live run ends: that is no failure
        state = desktop.state()
        run.audit.errors += [
            {"series": "", "span": "", "error": f"{t['part']}: {t['reason']}"} for t in state["degraded"]
        ]
    return state, run.exit_code


class View(Protocol):
    """Who watches: ``observe.watching`` has two."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...

    def follow(self, state: Callable[[], Mapping[str, Any]]) -> None: ...

    def observe(self, event: Any) -> None: ...


@dataclass(frozen=True)
class Watched:
    """An observer that hands each event to the run's audit and to a view."""

    run: Run
    view: View

    def __call__(self, event: Any) -> None:
        self.run.observe(event)
        self.view.observe(event)


def try_channel(config: Config, name: str) -> str:
    """Send a test notice; an empty text when it went out, otherwise why not."""
    from gapless.notify.sender import try_channel as once

    channels = config.channels()
    if name not in channels:
        raise UnknownName("channel", name, channels, hint="write it as [notify.NAME] in gapless.toml")
    return once(channels[name], wall_clock()).error


_DURATIONS = ("grace", "history", "verify", "checkpoint")


def _instruments(lake: Lake, wanted: Wanted) -> tuple[str, ...]:
    section = lake.config.live
    if wanted.symbols and wanted.universe:
        raise UsageError("--symbols and --universe were both given.", hint="give one of them")
    universe = wanted.universe or (None if wanted.symbols else section.universe)
    if universe is not None:
        return tuple(lake.universe(universe).current())
    named = wanted.symbols.split(",") if wanted.symbols else list(section.symbols)
    if not named:
        raise UsageError("live of what?", hint="give --symbols or --universe, or [live] symbols in gapless.toml")
    return tuple(sorted({str(Instrument.parse(name.strip())) for name in named if name.strip()}))


def _timeframes(lake: Lake, wanted: Wanted) -> list[Timeframe]:
    names = wanted.timeframes.split(",") if wanted.timeframes else lake.config.live.timeframes
    found = sorted({Timeframe.parse(name.strip()) for name in names if name.strip()})
    idle = [rule.name for rule in lake.config.rules() if rule.timeframe not in found]
    if idle:
        raise UsageError(
            f"rule '{idle[0]}' is for bars that are not streamed.", hint="add its timeframe to [live] timeframes"
        )
    return found
