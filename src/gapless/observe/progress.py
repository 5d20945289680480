"""Progress to stderr: live bars on a terminal, a plain line every few seconds elsewhere. Never to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, TextIO

from gapless.events import (
    ClockSkewed,
    Event,
    FeaturesBuilt,
    Fetched,
    Paused,
    Replanned,
    Retried,
    RunEnded,
    RunStarted,
    TaskDone,
)
from gapless.series import Series

_EVERY = 2.0  # seconds between plain lines
_SHOWN = 12  # series with a line of their own on a terminal


def _todo(event: RunStarted) -> str:
    if event.bars:
        return f"{event.tasks} tasks, {event.bars:,} bars to ask for"
    kind = {"import": "file", "build": "series", "reconcile": "series"}.get(event.verb, "task")
    return f"{event.tasks} {kind}{'s' * (event.tasks != 1 and kind != 'series')}"


class Progress(Protocol):
    """An observer with a beginning and an end."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

    def observe(self, event: Event) -> None: ...


class Silent:
    """Says nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        return None

    def observe(self, event: Event) -> None:
        """Not even that."""


class Plain:
    """A line at the start, every two seconds, at every pause and failure, and at the end."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.bars = self.total = self.retries = self.tasks = self.done = 0
        self.start = self.last = time.monotonic()

    def __enter__(self) -> Plain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def observe(self, event: Event) -> None:
        """Listen to one event."""
        match event:
            case RunStarted():
                self.total, self.tasks = event.bars, event.tasks
                self._say(f"{event.verb}: " + _todo(event))
            case Replanned():
                self.total, self.tasks = self.total + event.bars, self.tasks + event.tasks
            case Fetched():
                self.bars += event.rows
                if time.monotonic() - self.last >= _EVERY:
                    self._say(self._state())
            case Retried():
                self.retries += 1
            case ClockSkewed():
                self._say(f"the clock of {event.source} is {event.seconds:+.1f} s from ours; its own decides")
            case Paused() if event.seconds >= 1:
                self._say(f"waiting {event.seconds:.0f} s for {event.source}: {event.reason}")
            case TaskDone():
                self.done += 1
                if event.error:
                    self._say(f"{event.series} failed: {event.error}")
            case RunEnded():
                self._say(f"{event.outcome}: {self.bars:,} bars, {self._pace()}" if self.bars else event.outcome)
            case _:
                pass

    def _state(self) -> str:
        """Of all that is asked for, closed times of a market and bars that were never traded among it."""
        rate = self._rate()
        left = f", {max(0, self.total - self.bars) / rate:.0f} s left" if rate and self.total > self.bars else ""
        share = f"{min(100, 100 * self.bars // self.total)} % of " if self.total else ""
        return f"{share}{max(self.total, self.bars):,} bars, {self._pace()}{left}"

    def _pace(self) -> str:
        return f"{self._rate():,.0f} bars/s, {self.retries} retries"

    def _rate(self) -> float:
        return self.bars / max(time.monotonic() - self.start, 1e-9)

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        print(text, file=self.out, flush=True)


class Terminal:
    """Live bars: one in total, and one for each series at work; rate, time left and retries."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.rich = RichProgress(
            TextColumn("[progress.description]{task.description}", justify="left"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=8,
        )
        self.total: Any = None
        self.rows: dict[Series, Any] = {}
        self.wanted: Mapping[Series, int] = {}
        self.retries = self.bars = 0
        self.start = time.monotonic()

    def __enter__(self) -> Terminal:
        self.rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rich.stop()

    def observe(self, event: Event) -> None:
        """Listen to one event."""
        match event:
            case RunStarted():
                self.wanted = event.series
                known = event.tasks if event.verb == "build" else event.bars  # of an import nobody knows the rows
                self.total = self.rich.add_task(f"[bold]{event.verb}", total=known or None, note="")
            case Replanned():
                self._replanned(event)
            case FeaturesBuilt() if self.total is not None:
                self.rich.update(self.total, advance=1, note=str(event.series))
            case Fetched():
                self._fetched(event)
            case Retried():
                self.retries += 1
            case ClockSkewed():
                self.rich.console.print(f"[yellow]the clock of {event.source} is {event.seconds:+.1f} s from ours")
            case Paused() if event.seconds >= 1:
                self.rich.console.print(f"[yellow]waiting {event.seconds:.0f} s for {event.source}: {event.reason}")
            case TaskDone():
                self._done(event)
            case _:
                pass

    def _replanned(self, event: Replanned) -> None:
        self.wanted = {**self.wanted, **{s: self.wanted.get(s, 0) + bars for s, bars in event.series.items()}}
        for task in self.rich.tasks:
            if task.id == self.total and task.total is not None:
                self.rich.update(task.id, total=task.total + event.bars)

    def _fetched(self, event: Fetched) -> None:
        if event.series not in self.rows and len(self.rows) < _SHOWN:
            self.rows[event.series] = self.rich.add_task(
                f"  {event.series}", total=self.wanted.get(event.series), note=""
            )
        if event.series in self.rows:
            self.rich.update(self.rows[event.series], advance=event.rows)
        self.bars += event.rows
        rate = self.bars / max(time.monotonic() - self.start, 1e-9)
        if self.total is not None:
            self.rich.update(self.total, advance=event.rows, note=f"{rate:,.0f} bars/s · {self.retries} retries")

    def _over(self, row: Any) -> bool:
        """A series may have several tasks; its line goes when all its bars have come."""
        task = next(t for t in self.rich.tasks if t.id == row)
        return task.total is None or task.completed >= task.total

    def _done(self, event: TaskDone) -> None:
        row = self.rows.get(event.series)
        if row is not None and self.rich.tasks and self._over(row):
            self.rich.remove_task(self.rows.pop(event.series))
        if event.error:
            self.rich.console.print(f"{event.series} failed: {event.error}", style="red", markup=False)


def progress(*, quiet: bool = False, out: TextIO | None = None) -> Progress:
    """The progress that suits where stderr goes."""
    out = out or sys.stderr
    if quiet:
        return Silent()
    return Terminal() if out.isatty() else Plain(out)
