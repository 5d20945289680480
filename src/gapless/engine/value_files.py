"""One task of an archive of values, file by file. See ``value_tasks`` for which, and ``values`` for the whole.

1. One request a folder lists which files are there, with their digests; where that fails, each file is asked for.
2. A file is read and checked; what it holds of the task becomes durable in one transaction, with its ledger line.
3. A file is believed to be silent where its values lie no further apart than a value says something of a bar; what it
   leaves out for longer is not claimed: archives have lost half days that were put there later.
4. What no file gives is the pages', as far back as they reach. Beyond that it is told with the reason; a file that
   stays damaged is an error, so that the next run asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import polars as pl

from gapless.bars import TS
from gapless.engine.fetch import Paced
from gapless.engine.files import Folders
from gapless.engine.value_tasks import LEFT_OUT, NO_FILE, ValueOutcome, ValueTask, reachable
from gapless.engine.walk import Tally
from gapless.errors import Damaged, Faulty, SourceError
from gapless.events import Retried
from gapless.protocols import Counts, Http, Offer, ValueAnswer, ValueArchive, ValuePage, ValueSource
from gapless.series import Instrument
from gapless.spans import Span, SpanSet
from gapless.values import AGES

Store = Callable[[ValueAnswer, pl.DataFrame], Awaitable[Counts]]
NOTHING = pl.DataFrame(schema={"ts": TS, "value": pl.Float64()})


@dataclass(slots=True)
class ValueFiles:
    """Fetches the files of ``task``; ``left`` is what pages are to be asked for."""

    task: ValueTask
    archive: ValueArchive
    folders: Folders
    outcome: ValueOutcome
    store: Store
    run_id: str
    now: Callable[[], int]  # the venue's clock
    left: SpanSet = field(default_factory=SpanSet.of)

    @property
    def http(self) -> Paced:
        return self.folders.http

    async def run(self) -> None:
        """All files. Raises Interrupted, and LakeError of the store."""
        tally = Tally()
        known = await self.folders.of(self.task.files[0].folder, tally)
        self.outcome.requests += tally.requests
        for offer in self.task.files:
            if known is None or offer.name in known:
                await self._file(offer, None if known is None else known[offer.name])
            else:
                self._leave(SpanSet.of(self._asked(offer)), NO_FILE)

    async def _file(self, offer: Offer, digest: str | None) -> None:
        """Steps 2 and 3."""
        tally, asked = Tally(), self._asked(offer)
        try:
            page = await self._whole(offer, digest, tally)
        except SourceError as error:
            await self.store(self._answer(asked, tally, error=str(error)), NOTHING)
            if self._leave(SpanSet.of(asked), ""):
                self.outcome.errors.append(str(error))
            return
        finally:
            self.outcome.requests += tally.requests
        if page is None:
            self._leave(SpanSet.of(asked), NO_FILE)
            return
        self.outcome.bytes += page.bytes
        rows, told = page.frame.filter(_inside(asked)), _spoken(page, AGES[self.archive.value]).clip(asked)
        self.outcome.add(await self.store(self._answer(asked, tally, rows.height, told), rows))
        self._leave(SpanSet.of(asked) - told, LEFT_OUT)

    async def _whole(self, offer: Offer, digest: str | None, tally: Tally) -> ValuePage | None:
        """The file; a damaged one is asked for again, and says nothing of how the archive is."""

        async def read(http: Http) -> ValuePage | Damaged | None:
            try:
                page = await self.archive.read(http, self.task.instrument, offer, digest)
            except Damaged as error:
                return error
            return received(page, self.archive, self.task.instrument, offer.span) if page else None

        attempt = 1
        while isinstance(found := await self.http.ask(read, tally.tried), Damaged):
            if attempt >= self.http.patience.attempts:
                raise found
            self.http.observer(Retried(self.archive.name, found.message, 0.0, attempt))
            await self.http.rest(attempt)
            attempt += 1
        return found

    def _leave(self, spans: SpanSet, reason: str) -> SpanSet:
        """Step 4; returns what nobody can be asked for any more."""
        pages = reachable(self.task.source, spans, self.now()) if self.task.pages else SpanSet.of()
        self.left |= pages
        if reason:
            self.outcome.left_out(spans - pages, reason)
        return spans - pages

    def _asked(self, offer: Offer) -> Span:
        return offer.span.intersect(self.task.span)

    def _answer(
        self, asked: Span, tally: Tally, rows: int = 0, told: SpanSet | None = None, error: str = ""
    ) -> ValueAnswer:
        whole = told.hull if told else None
        return ValueAnswer(
            self.archive.name, self.archive.value, self.task.instrument, asked, whole, rows, tally.requests, error,
            self.run_id, self.http.clock(), holes=SpanSet.of(whole) - told if whole and told else SpanSet.of(),
        )  # fmt: skip


def received(page: ValuePage, source: ValueSource | ValueArchive, instrument: Instrument, span: Span) -> ValuePage:
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


def _spoken(page: ValuePage, age: int) -> SpanSet:
    """Step 3: where a file's values, and its silence between them, are believed."""
    ts = page.frame["ts"].to_physical().to_numpy()
    return SpanSet.merge(ts - age, ts + age).clip(page.covered)


def _inside(span: Span) -> pl.Expr:
    return pl.col("ts").to_physical().is_between(span.start, span.end, closed="left")
