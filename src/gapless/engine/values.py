"""Fetching values at times: the pages of a span become durable one by one, each with what its answer proves.

1. ``tasks`` says what is missing: the wanted span without what was answered, and without an end where nothing is due.
2. Workers share one paced connection for each kind of values, whose limits are its own; a task is walked page by page.
3. What an answer proves: that before its last value there are no others than its own. Silence after it is believed
   when a second answer has nothing there either, and when it is older than a value may be: so a value is absent because
   a later one came, or because it was not there twice, and late.
4. A page is stored before the next one is asked for. A crash loses the page under way; the next run goes on after the
   last one stored. A task that fails is a line of the ledger; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import polars as pl

from gapless.bars import TS
from gapless.engine.backfill import signals
from gapless.engine.budget import window_of
from gapless.engine.fetch import Paced, Patience, opened, wall_clock
from gapless.engine.venue import Venue
from gapless.errors import Faulty, Interrupted, SourceError
from gapless.events import Observer, nobody
from gapless.protocols import Clock, Counts, Http, Source, ValueAnswer, ValuePage, ValueSource
from gapless.series import Instrument
from gapless.spans import LATEST, MINUTE, Span, SpanSet
from gapless.values import AGES

_MARGIN = 2 * MINUTE  # what was due so shortly before it was asked for may not have been there yet

Keep = Callable[[ValueAnswer, pl.DataFrame], Counts]


@runtime_checkable
class TellsValues(Protocol):
    """A source that tells values beside bars."""

    def values(self) -> Sequence[ValueSource]: ...


@dataclass(frozen=True, slots=True)
class ValueTask:
    """A span of one kind of values of one instrument."""

    source: ValueSource
    instrument: Instrument
    span: Span


@dataclass(slots=True)
class ValueOutcome:
    """How it went for one kind of values of one instrument.

    ``residual``: what the source no longer tells. ``until``: what the venue's clock showed when it was asked.
    """

    name: str
    instrument: Instrument
    counts: Counts = field(default_factory=Counts)
    requests: int = 0
    bytes: int = 0
    errors: list[str] = field(default_factory=list)
    residual: list[Span] = field(default_factory=list)
    until: int = LATEST


def of_source(source: Source, names: Collection[str]) -> list[ValueSource]:
    """Who tells the values of these names beside a source."""
    told = source.values() if isinstance(source, TellsValues) else ()
    return [one for one in told if one.value in names]


def tasks(
    source: ValueSource, instruments: Sequence[Instrument], span: Span, answered: Mapping[str, SpanSet],
    asked_until: Mapping[str, int],
) -> list[ValueTask]:  # fmt: skip
    """Step 1. ``answered`` and ``asked_until`` by instrument; empty to ask for everything again."""
    found = []
    for instrument in instruments:
        missing = SpanSet.of(span) - answered.get(str(instrument), SpanSet.of())
        until = asked_until.get(str(instrument), span.start) - _MARGIN
        for part in missing:
            due = (part.end - 1) // source.every * source.every
            tail = part.end == span.end and str(instrument) in answered
            if not (tail and due <= max(part.start, until)):
                found.append(ValueTask(source, instrument, part))
    return found


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
        wide = sum(one.limits.concurrency for one in {id(t.source): t.source for t in wanted}.values())
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

    async def work(self, wanted: Sequence[ValueTask]) -> None:
        """All tasks; those of one source of values at its own pace. Raises LakeError when the store fails."""
        workers = []
        for one in {id(t.source): t.source for t in wanted}.values():
            paced, mine = self._paced(one), iter([t for t in wanted if t.source is one])
            workers += [asyncio.create_task(self._worker(paced, mine)) for _ in range(one.limits.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _paced(self, source: ValueSource) -> Paced:
        http = self.venue.http
        paced = Paced(
            source, http.session, patience=http.patience, observer=http.observer, stop=http.stop, clock=http.clock
        )
        paced.window = window_of(source.base_url.rstrip("/") + source.path, source.limits)  # a limit of this path alone
        return paced

    async def _worker(self, paced: Paced, mine: Iterator[ValueTask]) -> None:
        while not self.venue.http.stop.is_set() and (task := next(mine, None)) is not None:
            key = (task.source.value, str(task.instrument))
            outcome = self.outcomes.setdefault(key, ValueOutcome(task.source.value, task.instrument))
            walk = _Walk(task, paced, self.venue, outcome, self._store, self.run)
            try:
                await walk.run()
            except Interrupted:
                return
            except SourceError as error:
                outcome.errors.append(str(error))
                await walk.failed(str(error))
            self.done(task)

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
            self.outcome.counts += await self.store(replace(answer, ended=self._ended(end)), page.frame)

    def _ended(self, end: int) -> bool:
        """Is nothing due any more after the last value, or, where that is young, nothing of what came regularly?"""
        if self.at >= end or self.last is None or self.at > self.last + 1:
            return self.at >= end
        every, fresh = self.task.source.every, end > self.venue.now() - AGES[self.task.source.value]
        return (end - 1) // every <= self.last // every or (fresh and end - self.last <= self.step + _MARGIN)

    async def failed(self, error: str) -> None:
        """Note that the rest of the task was asked for in vain."""
        rest = Span(self.at, max(self.at, self.task.span.end))
        await self.store(self._answer(rest, None, 0, error), _NOTHING)

    def _clip(self) -> None:
        """What lies further back than can be asked is left out, and said."""
        reach, every = self.task.source.reach, self.task.source.every
        oldest = self.at if reach is None else self.venue.now() - reach
        if oldest > self.at:
            self.at = min(-(-oldest // every) * every, self.task.span.end)
            self.outcome.residual.append(Span(self.task.span.start, self.at))

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
        return Span(start, end) if end > start else None

    def _answer(self, asked: Span, answered: Span | None, rows: int, error: str = "") -> ValueAnswer:
        source, now = self.task.source, self.venue.http.clock()
        return ValueAnswer(
            source.name, source.value, self.task.instrument, asked, answered, rows, self.attempts, error, self.name, now
        )


_NOTHING = pl.DataFrame(schema={"ts": TS, "value": pl.Float64()})


def received(page: ValuePage, source: ValueSource, instrument: Instrument, span: Span) -> ValuePage:
    """The page, if it is what was asked for; raises Faulty, so that it is asked for again and never stored."""
    ts = page.frame["ts"].to_physical().to_numpy()
    fault = ""
    if len(ts) and not (span.start <= ts.min() and ts.max() < page.covered.end):
        fault = "the answer holds values outside the asked span"
    elif (ts[1:] <= ts[:-1]).any():
        fault = "the values of the answer are not in order, each once"
    elif not span.start == page.covered.start < page.covered.end <= span.end:
        fault = f"the answer claims {page.covered}, which was not asked"
    if fault:
        raise Faulty(f"{source.name} {source.value} {instrument} {span}: {fault}.")
    return page
