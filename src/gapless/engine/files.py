"""One task of an archive, file by file. See ``bulk`` for which, and ``backfill`` for the whole.

1. One request a folder lists which files of the run are there, with their digests (``Lists``): whichever task comes
   first asks, the others have the answer. Where that fails, each file is asked for.
2. A file is read, checked and kept under the archive's name. A ledger line speaks for the bars it holds, no more: that
   an archive leaves a bar out proves little, archives have holes that the venue itself has not. Small files are
   handed over together: each would rewrite what the one before it has written.
3. What is left goes to the venue's pages: files that are not there (no fault: they are made later), files that stay
   damaged (with a ledger line that says so), and the bars that a file leaves out (``absent``).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import polars as pl

from gapless.engine.fetch import Paced
from gapless.engine.plan import Task
from gapless.engine.walk import Kept, Tally, digest_of, opens_of, present
from gapless.errors import Interrupted, SourceError
from gapless.events import Fetched
from gapless.protocols import Answer, Archive, Endpoint, Http, Offer, Page
from gapless.spans import Span, SpanSet

FILE_ATTEMPTS = 5  # of one file, before what it holds is asked for in another way
TOGETHER = 31 * 1440  # bars of small files, of less than half as many, that are handed over at once


class Listed(Protocol):
    """Any archive: what a folder of it holds can be asked."""

    async def digests(self, http: Http, offers: Sequence[Offer]) -> Mapping[str, str]: ...


class OfFiles(Protocol):
    """A task of any archive."""

    @property
    def files(self) -> tuple[Offer, ...]: ...


class Folders:
    """What an archive says it has of the files of ``tasks``."""

    def __init__(self, archive: Listed, http: Paced, tasks: Iterable[OfFiles]) -> None:
        self.archive, self.http = archive, http
        self._wanted: dict[str, list[Offer]] = defaultdict(list)
        for offer in (offer for task in tasks for offer in task.files):
            self._wanted[offer.folder].append(offer)
        self._known: dict[str, Mapping[str, str] | None] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, folder: str, tally: Tally) -> Mapping[str, str] | None:
        """Digests by name of what is there; None when the archive does not tell. Costs whoever asks first."""
        async with self._turns[folder]:
            if folder not in self._known:
                self._known[folder] = await self._asked(self._wanted[folder], tally)
            return self._known[folder]

    async def _asked(self, offers: Sequence[Offer], tally: Tally) -> Mapping[str, str] | None:
        try:
            known = await self.http.ask(lambda http: self.archive.digests(http, offers), tally.tried)
        except SourceError:
            return None
        tally.pages += 1
        return known


class Lists(Folders):
    """The same of an archive of bars."""

    archive: Archive

    def __init__(self, archive: Archive, http: Paced, tasks: Iterable[OfFiles]) -> None:
        super().__init__(archive, http, tasks)


def beside(http: Paced, archive: Endpoint) -> Paced:
    """Paced by the archive's own limits, over the same session, with less patience: mostly there is another way.

    A file that stays damaged is not asked for often, and an archive that does not answer is not waited for.
    """
    patience = replace(
        http.patience, attempts=min(FILE_ATTEMPTS, http.patience.attempts), outage=0.0, longest_pause=60.0
    )
    return Paced(archive, http.session, patience=patience, observer=http.observer, stop=http.stop, clock=http.clock)


@dataclass(slots=True)
class Files:
    """Fetches the files of ``task`` and hands over what they hold, through ``keep``."""

    task: Task
    lists: Lists
    run_id: str
    keep: Callable[[Kept], Awaitable[None]]
    tally: Tally = field(default_factory=Tally)
    left: SpanSet = field(default_factory=SpanSet.of)  # for others to fetch
    absent: SpanSet = field(default_factory=SpanSet.of)  # the part of it that a file of the archive does not have
    _gathered: list[Kept] = field(default_factory=list)  # what small files gave, to be handed over at once

    @property
    def archive(self) -> Archive:
        return self.lists.archive

    @property
    def http(self) -> Paced:
        return self.lists.http

    async def run(self) -> None:
        """All files. Raises Interrupted; ``left`` then holds what was not come to."""
        self.left = SpanSet.of(self.task.span)
        known = await self.lists.of(self.task.files[0].folder, self.tally)
        try:
            for offer in self.task.files:
                if known is None or offer.name in known:
                    await self._file(offer, None if known is None else known[offer.name])
        except Interrupted:
            await self._hand_over()
            raise
        await self._hand_over()

    async def _file(self, offer: Offer, digest: str | None) -> None:
        """Steps 2 and 3."""
        began, series = time.perf_counter(), self.task.series
        try:
            page = await self.http.ask(lambda http: self.archive.read(http, series, offer, digest), self.tally.tried)
        except SourceError as error:
            asked = offer.span.intersect(self.task.span)
            await self.keep(Kept(series, pl.DataFrame(), (self._answer(asked, None, 0, "", str(error)),)))
            return
        self.tally.pages += 1
        self.tally.bytes += page.bytes
        seconds = time.perf_counter() - began
        self.http.observer(Fetched(series, self.archive.name, offer.span, page.frame.height, page.bytes, seconds))
        if page.covered:
            await self._take(page)

    async def _take(self, page: Page) -> None:
        inside = page.covered.intersect(self.task.span)
        first, end = np.searchsorted(opens_of(page.frame), (inside.start, inside.end)).tolist()
        rows = page.frame.slice(first, end - first)
        held = present(rows, self.task.series.timeframe)
        self.absent |= SpanSet.of(inside) - held
        digest = digest_of(rows)
        answers = [self._answer(span, span, span.bars(self.task.series.timeframe), digest) for span in held]
        self._gathered.append(Kept(self.task.series, rows, tuple(answers), source=self.archive.name))
        if 2 * rows.height >= TOGETHER or sum(kept.frame.height for kept in self._gathered) >= TOGETHER:
            await self._hand_over()

    async def _hand_over(self) -> None:
        """What was gathered, as one page: days that come one by one would rewrite their month each time."""
        gathered, self._gathered = self._gathered, []
        if gathered:
            answers = tuple(answer for kept in gathered for answer in kept.answers)
            rows = pl.concat([kept.frame for kept in gathered], how="diagonal")
            await self.keep(Kept(self.task.series, rows, answers, source=self.archive.name))
            self.left -= SpanSet.of(*(answer.answered for answer in answers if answer.answered))

    @property
    def undone(self) -> list[Span]:
        """What it did not come to."""
        return list(self.left)

    def failed(self, error: str) -> Answer:
        """The ledger line for what a defect left undone."""
        return self._answer(self.left.hull or self.task.span, None, 0, "", error)

    def _answer(self, asked: Span, answered: Span | None, rows: int, digest: str, error: str = "") -> Answer:
        return Answer(
            source=self.archive.name,
            series=self.task.series,
            asked=asked,
            answered=answered,
            rows=rows,
            status="ok" if answered is not None else "failed",
            attempts=1,
            error=error,
            digest=digest,
            run=self.run_id,
            known_at=self.http.clock(),
        )
