"""Funding rates and open interest beside a live run: asked for when they are due, for the instruments that need them.

No stream tells them. What comes is stored like what ``gapless values sync`` brings, and found by the run like anything
another process stores: bar times that were decided without it are decided again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from gapless.app.lake import Lake
from gapless.app.markets import patience
from gapless.engine.desk import Desk
from gapless.engine.fetch import opened
from gapless.engine.health import Health
from gapless.engine.mend import Side
from gapless.engine.value_tasks import ValueTask, of_source, tasks
from gapless.engine.values import ValueJob
from gapless.engine.venue import Venue
from gapless.errors import GaplessError, Interrupted
from gapless.protocols import Counts, ValueAnswer
from gapless.series import Instrument
from gapless.spans import MINUTE, Span, Timeframe, parse_duration
from gapless.values import AGES

_LONGEST = 60.0  # real seconds
_EVERY = MINUTE  # between looks, by the venue's clock; a look at which nothing is due asks nobody


@dataclass
class ValuePolling:
    """One venue's values: ``names`` of ``instruments``."""

    lake: Lake
    side: Side
    names: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    health: Health
    run_id: str

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        side, part = self.side, f"values {self.side.source.name}"
        how = patience(self.lake.config, side.source.name)
        while not self.health.started and not stop.is_set():
            await asyncio.sleep(0.2)
        async with opened(side.source, patience=how, stop=stop, clock=side.clock) as http:
            venue = Venue(http)
            while not stop.is_set():
                try:
                    errors = await self._look(venue, stop)
                except Exception as error:  # noqa: BLE001 - the boundary of this task: told, and tried again
                    errors = [str(error) if isinstance(error, GaplessError) else f"{type(error).__name__}: {error}"]
                if errors:
                    self.health.degraded(part, errors[0], side.clock())
                else:
                    self.health.well(part, side.clock())
                wait = side.clock.seconds_until((side.clock() // _EVERY + 1) * _EVERY)
                await asyncio.sleep(min(max(wait, 0.2), _LONGEST))

    async def _look(self, venue: Venue, stop: asyncio.Event) -> list[str]:
        """Ask for what is due; the errors."""
        wanted = await asyncio.to_thread(self._due)
        if not wanted:
            return []

        def keep(answer: ValueAnswer, frame: pl.DataFrame) -> Counts:
            if stop.is_set():
                raise Interrupted("stopped: what came now would not be decided any more.")
            return self.lake.store.keep_values(answer, frame)

        job = ValueJob(venue, keep, self.run_id)
        await job.work(wanted)
        return [error for outcome in job.outcomes.values() for error in outcome.errors]

    def _due(self) -> list[ValueTask]:
        now, known = self.side.clock(), self.lake.store.values
        history = max(parse_duration(self.lake.config.live.history), *AGES.values())
        span = Span(now - history, now)
        return [
            task
            for teller in of_source(self.side.source, self.names)
            for task in tasks(
                teller, self.instruments, span, known.answered(teller.value), known.asked_until(teller.value)
            )
        ]


def pollers(
    lake: Lake, sides: Sequence[Side], desks: Mapping[Timeframe, Desk], health: Health, run: str
) -> tuple[list[ValuePolling], list[str]]:
    """Who asks for the values that the desks look at, and notes on those that nobody tells."""
    found, notes = [], []
    for side in sides:
        names = tuple(name for name in AGES if any(name in _reads(desk, side) for desk in desks.values()))
        told = [teller.value for teller in of_source(side.source, names)]
        silent = [name for name in names if name not in told]
        if silent:
            notes.append(f"{side.source.name} tells no {' or '.join(silent)}: unknown but for what is stored")
        if told:
            instruments = tuple(sorted({series.instrument for series in side.series}))
            found.append(ValuePolling(lake, side, tuple(told), instruments, health, run))
    return found, notes


def _reads(desk: Desk, side: Side) -> Collection[str]:
    """What a desk reads of the instruments of a side."""
    return desk.reads if any(str(series.instrument) in desk.instruments for series in side.series) else ()
