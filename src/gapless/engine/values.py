"""Fetching values at times: the pages of a span become durable one by one, each with what its answer proves.

1. ``value_tasks`` says what is missing, and whether pages or the files of an archive are asked for it.
2. Workers share one paced connection for each kind of values, whose limits are its own; a task is walked page by page,
   or read file by file (``value_files``).
3. What an answer proves: that before its last value there are no others than its own. Silence after it is believed
   when a second answer has nothing there either, and when it is older than a value may be: so a value is absent because
   a later one came, or because it was not there twice, and late.
4. A page is stored before the next one is asked for. A crash loses the page under way; the next run goes on after the
   last one stored. A task that fails is a line of the ledger; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from gapless.engine.backfill import signals
from gapless.engine.budget import window_of
from gapless.engine.fetch import Paced, Patience, opened, wall_clock
from gapless.engine.files import FILE_ATTEMPTS, Folders
from gapless.engine.value_files import NOTHING, ValueFiles, received
from gapless.engine.value_tasks import MARGIN, NO_FILE, TOO_OLD, ValueOutcome, ValueTask
from gapless.engine.venue import Venue
from gapless.errors import Interrupted, SourceError
from gapless.events import Observer, nobody
from gapless.protocols import Clock, Counts, Endpoint, Http, Source, ValueAnswer, ValuePage, ValueSource
from gapless.spans import LATEST, Span, SpanSet
from gapless.values import AGES

Keep = Callable[[ValueAnswer, pl.DataFrame], Counts]


def run_values(
    wanted: Sequence[ValueTask],
    source: Source,
    keep: Keep,
    *,
    run: str,
    patience: Patience | None = None,
    observer: Observer = nobody,
    done: Callable[[ValueTask], None] = lambda task: None,
    clock: Clock = wall_clock,
) -> tuple[list[ValueOutcome], bool]:
    """Steps 2 to 4, for callers without an event loop; True when Ctrl-C or SIGTERM ended it early."""

    async def main() -> tuple[list[ValueOutcome], bool]:
        stop = asyncio.Event()
        asked = {id(one): one for task in wanted for one in (task.source, task.archive if task.files else None) if one}
        wide = sum(one.limits.concurrency for one in asked.values())
        with signals(stop):
            async with opened(
                source, patience=patience, observer=observer, stop=stop, concurrency=wide or 1, clock=clock
            ) as http:
                job = ValueJob(Venue(http), keep, run, done)
                await job.work(wanted)
        return list(job.outcomes.values()), stop.is_set()

    return asyncio.run(main())


class ValueJob:
    """The work of one run over one source."""

    def __init__(
        self, venue: Venue, keep: Keep, run: str, done: Callable[[ValueTask], None] = lambda task: None
    ) -> None:
        self.venue, self.keep, self.run, self.done = venue, keep, run, done
        self.outcomes: dict[tuple[str, str], ValueOutcome] = {}
        self._writing = asyncio.Lock()
        self._pacers: dict[int, Paced] = {}
        self._clock: asyncio.Task[None] | None = None

    async def work(self, wanted: Sequence[ValueTask]) -> None:
        """All tasks; those of one source, or archive, of values at its own pace. Raises LakeError of the store."""
        workers = []
        for one in {id(t.source): t.source for t in wanted if not t.files}.values():
            mine = iter([t for t in wanted if t.source is one and not t.files])
            workers += [asyncio.create_task(self._worker(mine)) for _ in range(one.limits.concurrency)]
        for shelf in {id(t.archive): t.archive for t in wanted if t.archive and t.files}.values():
            of_it = [t for t in wanted if t.archive is shelf and t.files]
            patience = self.venue.http.patience
            patience = replace(patience, attempts=min(FILE_ATTEMPTS, patience.attempts))
            folders, mine = Folders(shelf, self._beside(shelf, patience), of_it), iter(of_it)
            workers += [asyncio.create_task(self._worker(mine, folders)) for _ in range(shelf.limits.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _paced(self, source: ValueSource) -> Paced:
        if id(source) not in self._pacers:
            paced = self._beside(source, self.venue.http.patience)
            paced.window = window_of(source.base_url.rstrip("/") + source.path, source.limits)  # of this path alone
            self._pacers[id(source)] = paced
        return self._pacers[id(source)]

    def _beside(self, one: Endpoint, patience: Patience) -> Paced:
        http = self.venue.http
        return Paced(one, http.session, patience=patience, observer=http.observer, stop=http.stop, clock=http.clock)

    async def _worker(self, mine: Iterator[ValueTask], folders: Folders | None = None) -> None:
        while not self.venue.http.stop.is_set() and (task := next(mine, None)) is not None:
            key = (task.source.value, str(task.instrument))
            outcome = self.outcomes.setdefault(key, ValueOutcome(task.source.value, task.instrument))
            try:
                left = await self._from_files(task, outcome, folders) if folders else SpanSet.of(task.span)
                for span in left if task.pages else ():
                    await self._by_pages(replace(task, span=span), outcome)
            except Interrupted:
                return
            if not task.pages and not folders:
                outcome.left_out(left, NO_FILE)
            self.done(task)

    async def _from_files(self, task: ValueTask, outcome: ValueOutcome, folders: Folders) -> SpanSet:
        assert task.archive is not None
        if task.pages:
            self._clock = self._clock or asyncio.create_task(self._heard())
            await self._clock
        files = ValueFiles(task, task.archive, folders, outcome, self._store, self.run, self.venue.now)
        await files.run()
        return files.left

    async def _heard(self) -> None:
        """Once a run: where the source does not say the time, it is our clock's; pages will tell what ails it."""
        with suppress(SourceError):
            await self.venue.synced()

    async def _by_pages(self, task: ValueTask, outcome: ValueOutcome) -> None:
        walk = _Walk(task, self._paced(task.source), self.venue, outcome, self._store, self.run)
        try:
            await walk.run()
        except SourceError as error:
            outcome.errors.append(str(error))
            await walk.failed(str(error))

    async def _store(self, answer: ValueAnswer, frame: pl.DataFrame) -> Counts:
        async with self._writing:
            return await asyncio.to_thread(self.keep, answer, frame)


@dataclass(slots=True)
class _Walk:
    """One task, page by page."""

    task: ValueTask
    paced: Paced
    venue: Venue
    outcome: ValueOutcome
    store: Callable[[ValueAnswer, pl.DataFrame], Awaitable[Counts]]
    name: str  # of the run
    at: int = 0  # everything before it was told
    silent: int = 0  # up to here an answer had nothing more
    last: int | None = None  # the newest value
    step: int = LATEST  # between the last two
    attempts: int = 0

    async def run(self) -> None:
        """Raises SourceError, Interrupted, and LakeError of the store."""
        self.at = self.task.span.start
        self.step = AGES[self.task.source.value]
        await self.venue.synced()
        self._clip()
        self.outcome.until = self.venue.now()
        end = min(self.task.span.end, self.outcome.until)
        while not self._ended(end):
            asked = Span(self.at, end)
            page = await self._page(asked)
            ts = page.frame["ts"].to_physical().to_list()
            if ts:
                told, self.last = ts[-1] + 1, ts[-1]
                self.step = min(ts[-1] - ts[-2], self.step) if len(ts) > 1 else self.step
            else:
                told = max(self.at, min(self.silent, page.covered.end))
            self.silent = page.covered.end
            self.at = max(self.at, told)
            answer = self._answer(asked, self._proven(asked.start, bool(ts), self._ended(end)), len(ts))
            self.outcome.add(await self.store(replace(answer, ended=self._ended(end)), page.frame))

    def _ended(self, end: int) -> bool:
        """Is nothing due any more after the last value, or, where that is young, nothing of what came regularly?"""
        if self.at >= end or self.last is None or self.at > self.last + 1:
            return self.at >= end
        every, fresh = self.task.source.every, end > self.venue.now() - AGES[self.task.source.value]
        return (end - 1) // every <= self.last // every or (fresh and end - self.last <= self.step + MARGIN)

    async def failed(self, error: str) -> None:
        """Note that the rest of the task was asked for in vain."""
        rest = Span(self.at, max(self.at, self.task.span.end))
        await self.store(self._answer(rest, None, 0, error), NOTHING)

    def _clip(self) -> None:
        """What lies further back than can be asked is left out, and said."""
        reach, every = self.task.source.reach, self.task.source.every
        oldest = self.at if reach is None else self.venue.now() - reach
        if oldest > self.at:
            self.at = min(-(-oldest // every) * every, self.task.span.end)
            self.outcome.left_out(SpanSet.of(Span(self.task.span.start, self.at)), TOO_OLD)

    async def _page(self, span: Span) -> ValuePage:
        source, instrument = self.task.source, self.task.instrument
        self.attempts = 0

        def tried() -> None:
            self.attempts += 1
            self.outcome.requests += 1

        async def fetched(http: Http) -> ValuePage:
            return received(await source.fetch(http, instrument, span), source, instrument, span)

        page = await self.paced.ask(fetched, tried)
        self.outcome.bytes += page.bytes
        return page

    def _proven(self, start: int, seen: bool, ended: bool) -> Span | None:
        """Step 3: up to the newest value, which is asked for once more while it is young; silence once it is old."""
        sure = self.venue.now() - AGES[self.task.source.value]
        young = self.at > sure
        end = self.at - (young and ended) if seen else min(self.at, sure)
        if seen and ended and self.task.span.end <= sure:
            end = self.task.span.end  # nothing can be due between the last value and the end
        return Span(start, end) if end > start else None

    def _answer(self, asked: Span, answered: Span | None, rows: int, error: str = "") -> ValueAnswer:
        source, now = self.task.source, self.venue.http.clock()
        return ValueAnswer(
            source.name, source.value, self.task.instrument, asked, answered, rows, self.attempts, error, self.name, now
        )
