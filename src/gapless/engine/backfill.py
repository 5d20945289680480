"""Carrying out a plan: what was asked for ends in the store, or in the ledger with the reason why it did not.

1. Workers, ``concurrency`` of them, take tasks from the plan in order. All share one paced, retrying connection
   (``fetch``) and one view of the source's clock (``venue``).
2. Each task is walked page by page (``walk``): pages overlap by one bar and are compared; a bar that may still change
   is not kept; an absence is believed only when an answer proves it. A task of an archive is read file by file
   (``files``); what its files do not give is walked in the same way, at once.
3. One writer (``writer``) groups the pages that are ready, and for each group stores the bars, then the ledger lines.
   A crash at any instant leaves whole groups; the next run asks only for what has no ledger line.
4. A task that fails becomes a ledger line with its error; the others go on. A store that fails ends the run.
5. Told to stop, workers finish the page they are at, the writer writes what waits, and the outcomes say what was done.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from gapless.engine.fetch import PacedHttp, Patience, opened, wall_clock
from gapless.engine.files import Files, Lists, beside
from gapless.engine.final import Sessions
from gapless.engine.plan import Plan, Task
from gapless.engine.prices import merged
from gapless.engine.venue import Venue
from gapless.engine.walk import Kept, Walk
from gapless.engine.writer import Writer
from gapless.errors import GaplessError, Interrupted, Refused, SourceError
from gapless.events import Observer, TaskDone, nobody
from gapless.protocols import Archive, Clock, Counts, Listing, Source, Store
from gapless.series import Series
from gapless.spans import SECOND, Span, SpanSet

Learn = Callable[[Sequence[Listing]], Plan]  # stores what a source lists, and plans anew
LIST_ATTEMPTS = 5  # to be told what is listed, before the tasks begin without


@dataclass(frozen=True, slots=True)
class Options:
    """How a backfill runs. ``concurrency`` 0: what the source allows; times in seconds."""

    concurrency: int = 0
    patience: Patience = field(default_factory=Patience)
    group_rows: int = 200_000  # rows in one write; at most twice as many are in memory
    linger: float = 0.5  # how long a page waits for others before it is written
    grace: float = 10.0  # how long requests under way may take after a stop
    sessions: Sessions | None = None  # of the source's market; None: it is always open


@dataclass(slots=True)
class Outcome:
    """How it went for one series: all its tasks together.

    ``counts`` are the store's; ``errors`` has one line for each task that failed; ``undone`` are the spans of tasks
    that a stop left unfinished; ``differences`` counts overlapping bars that came again with other values.
    """

    series: Series
    counts: Counts = field(default_factory=Counts)
    tasks: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    differences: int = 0
    errors: list[str] = field(default_factory=list)
    refused: bool = False  # one of the errors is a refusal: asking again will not help
    undone: list[Span] = field(default_factory=list)

    @property
    def error(self) -> str:
        """The first error; empty when all went well."""
        return self.errors[0] if self.errors else ""


async def backfill(
    plan: Plan,
    source: Source,
    store: Store,
    *,
    run: str,
    archive: Archive | None = None,
    learn: Learn | None = None,
    observer: Observer = nobody,
    stop: asyncio.Event | None = None,
    options: Options | None = None,
    clock: Clock = wall_clock,
) -> list[Outcome]:
    """Carry out ``plan``; one outcome per series. Raises LakeError when the store fails.

    ``archive``: who gives the files that the plan's tasks name. ``learn``: the source is asked first what it lists.
    """
    options, stop = options or Options(), stop or asyncio.Event()
    writer = Writer(
        store,
        source=source.name,
        run=run,
        observer=observer,
        group_rows=options.group_rows,
        linger=options.linger,
    )
    wide = min(options.concurrency or source.limits.concurrency, max(1, len(plan.tasks)))
    patient = opened(source, patience=options.patience, observer=observer, stop=stop, concurrency=wide, clock=clock)
    async with patient as http:
        plan = plan if learn is None else await _learned(plan, http, learn)
        lists = Lists(archive, beside(http, archive), plan.tasks) if archive else None
        job = _Job(iter(plan.tasks), http, Venue(http, options.sessions), writer, run, lists, plan.pages)
        await _together(job, wide, options.grace)
    for task in job.tasks:  # those no worker came to, because of a stop
        job.of(task).undone.append(task.span)
    for series, outcome in job.outcomes.items():
        outcome.counts = writer.counts[series]
    return list(job.outcomes.values())


async def _learned(plan: Plan, http: PacedHttp, learn: Learn) -> Plan:
    """The plan once it is known what the source lists; as it was, where the source does not say soon."""
    usual, http.patience = http.patience, replace(http.patience, attempts=min(LIST_ATTEMPTS, http.patience.attempts))
    try:
        listed = await http.source.listings(http)
    except (SourceError, Interrupted):
        return plan  # the tasks meet the same trouble, with more patience, and tell it
    finally:
        http.patience = usual
    return await asyncio.to_thread(learn, listed)  # as the writer does: others' sockets do not wait


@dataclass(slots=True)
class _Job:
    """What the workers share."""

    tasks: Iterator[Task]
    http: PacedHttp
    venue: Venue
    writer: Writer
    run: str
    lists: Lists | None = None
    pages: bool = True
    outcomes: dict[Series, Outcome] = field(default_factory=dict)

    async def work(self) -> None:
        """One worker: tasks until there are none, or until told to stop."""
        while not self.http.stop.is_set() and (task := next(self.tasks, None)) is not None:
            await self._do(task)

    def of(self, task: Task) -> Outcome:
        return self.outcomes.setdefault(task.series, Outcome(task.series))

    async def _do(self, task: Task) -> None:
        """What files hold, then page by page what is left."""
        outcome, began, left, absent = self.of(task), time.perf_counter(), SpanSet.of(task.span), None
        before = len(outcome.errors), len(outcome.undone)
        outcome.tasks += 1
        if task.files and self.lists:
            files = Files(task, self.lists, self.run, self.writer.keep)
            await self._guarded(outcome, files)
            left, absent = files.left, files.absent
        whole = len(outcome.undone) == before[1]
        for span in merged(left, task.series, self.http.source) if whole and self.pages else ():
            walk = Walk(task.series, span, self.http, self.venue, self.run, self.writer.keep, absent)
            await self._guarded(outcome, walk)
        outcome.seconds += time.perf_counter() - began
        if len(outcome.undone) == before[1]:
            error = "; ".join(dict.fromkeys(outcome.errors[before[0] :]))
            self.http.observer(TaskDone(task.series, task.span, error))

    async def _guarded(self, outcome: Outcome, work: Walk | Files) -> None:
        """The task boundary: how it ended goes into ledger and outcome."""
        try:
            await work.run()
        except (Interrupted, asyncio.CancelledError) as end:
            outcome.undone += work.undone
            if isinstance(end, asyncio.CancelledError):
                raise
        except Exception as cause:  # noqa: BLE001 - kept as text in ledger and outcome
            error = str(cause) if isinstance(cause, GaplessError) else f"{type(cause).__name__}: {cause}"
            await self.writer.keep(Kept(outcome.series, pl.DataFrame(), (work.failed(error),)))
            outcome.errors.append(error)
            outcome.refused = outcome.refused or isinstance(cause, Refused)
        finally:
            tally = work.tally
            outcome.requests += tally.requests
            outcome.retries += max(0, tally.requests - max(1, tally.pages))
            outcome.bytes += tally.bytes
            outcome.differences += tally.differences


async def _together(job: _Job, wide: int, grace: float) -> None:
    """Run workers and writer until all is done. The error of the writer, or a defect of a worker, is raised."""
    writing = asyncio.create_task(job.writer.run())
    workers = [asyncio.create_task(job.work()) for _ in range(wide)]
    try:
        await _until_done(workers, writing, job.http.stop, grace)
        job.writer.close()
        await writing
    finally:
        for task in (*workers, writing):
            task.cancel()
        ends = await asyncio.gather(*workers, writing, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _until_done(
    workers: Sequence[asyncio.Task[None]], writing: asyncio.Task[None], stop: asyncio.Event, grace: float
) -> None:
    """Until the workers are done, one of them or the writer has failed, or a stop and its grace are over."""
    working, over = asyncio.create_task(_all(workers)), asyncio.create_task(_grace(stop, grace))
    try:
        await asyncio.wait({working, over, writing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, over, *workers):
            task.cancel()
    await asyncio.wait(workers)


async def _all(workers: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)


async def _grace(stop: asyncio.Event, seconds: float) -> None:
    await stop.wait()
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Part:
    """What one source is to give."""

    plan: Plan
    source: Source
    archive: Archive | None = None
    options: Options | None = None
    learn: Learn | None = None


def run_together(
    parts: Sequence[Part], store: Store, *, run: str, observer: Observer = nobody
) -> tuple[list[Outcome], bool]:
    """``backfill`` of all parts at once, for callers without an event loop; True when Ctrl-C or SIGTERM ended it early.

    No source waits for another: each has its own connection, pace and patience, from the asking for its list on.
    """

    async def main() -> tuple[list[Outcome], bool]:
        stop = asyncio.Event()
        with signals(stop):
            works = [
                backfill(
                    part.plan, part.source, store, run=run, archive=part.archive, learn=part.learn, observer=observer,
                    stop=stop, options=part.options,
                )
                for part in parts
            ]  # fmt: skip
            outcomes = await asyncio.gather(*works)
        return [outcome for found in outcomes for outcome in found], stop.is_set()

    return asyncio.run(main())


def run_backfill(
    plan: Plan,
    source: Source,
    store: Store,
    *,
    run: str,
    archive: Archive | None = None,
    observer: Observer = nobody,
    options: Options | None = None,
) -> tuple[list[Outcome], bool]:
    """``run_together`` of one source."""
    return run_together([Part(plan, source, archive, options)], store, run=run, observer=observer)


@contextmanager
def signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets ``stop``; a second one, and any later, does what it would without us."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def first() -> None:
        stop.set()
        _release(loop, before)

    with suppress(ValueError, RuntimeError, NotImplementedError):  # not the main thread, or not a POSIX loop
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        _release(loop, before)


def _release(loop: asyncio.AbstractEventLoop, before: Mapping[signal.Signals, Any]) -> None:
    """Put back the handlers that were there: asyncio alone would leave SIGTERM deadly for the rest of the run."""
    with suppress(ValueError, RuntimeError, NotImplementedError):
        for number, handler in before.items():
            if loop.remove_signal_handler(number):
                signal.signal(number, handler)


def fetch_listings(source: Source, *, patience: Patience | None = None) -> Sequence[Listing]:
    """What the source lists, for callers without an event loop."""

    async def main() -> Sequence[Listing]:
        async with opened(source, patience=patience) as http:
            return await source.listings(http)

    return asyncio.run(main())


def clock_skew(source: Source, *, patience: Patience | None = None) -> float:
    """Seconds by which the source's clock is ahead of this machine's (at least; the answer travelled meanwhile)."""

    async def main() -> float:
        async with opened(source, patience=patience) as http:
            venue = Venue(http)
            await venue.synced()
            return venue.skew / SECOND

    return asyncio.run(main())
