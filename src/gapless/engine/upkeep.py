"""What a live run does beside its work: rows that wait in the tail go into Parquet, so that neither grows for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

import polars as pl

from gapless.engine.health import Health
from gapless.errors import LakeDamaged, LakeError
from gapless.protocols import Clock, WriteReport

_EVERY, _AGAIN = 10.0, 300.0  # seconds between looks; after one that failed


class BarWriter(Protocol):
    """Keeps bars of one timeframe; ``stores.moments.MomentWriter`` is one."""

    def append(self, frame: pl.DataFrame) -> WriteReport | None: ...

    def gather(self) -> int: ...

    def fold(self) -> int: ...

    def disturbed(self) -> tuple[int, float] | None: ...


class Upkeep:
    """One task at a time, in the background; ``look`` begins it when it is time."""

    def __init__(self, writers: Iterable[BarWriter], health: Health, clock: Clock) -> None:
        self.writers, self.health, self.clock = tuple(writers), health, clock
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0

    def look(self) -> None:
        """Begin, unless it is under way or was a moment ago. A damaged store is raised here."""
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        if self._task is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self._task = asyncio.create_task(self._fold())

    async def end(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _fold(self) -> None:
        try:
            for writer in self.writers:
                self.health.count("folded", await asyncio.to_thread(writer.fold))
        except LakeDamaged:
            raise
        except LakeError as error:
            self.health.degraded("folding", str(error), self.clock())
            self._next = time.monotonic() + _AGAIN
        else:
            self.health.well("folding", self.clock())
