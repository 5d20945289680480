"""One task, page by page. See ``backfill`` for the whole; this is its step 2.

The rule of proof: an answer is the whole truth from where it was asked to the close of its last bar (``Page.covered``),
and says nothing of what follows. So a page that comes short is no proof, and neither is an empty one.

1. Ask from the last bar that is known (overlap of one) to one bar beyond the end of the task.
2. The overlapping bar must come again, or the answer is not used. If it came with other values, the later answer wins.
3. Bars absent between bars are asked for once more, cut differently: absent twice is answered, found is kept, and what
   could not be confirmed stays unanswered.
4. An answer with nothing new is asked again, now reaching as far as the source has bars: the first later bar proves
   that those before it do not exist. That nothing later exists is believed only of an instrument that the source lists
   as not traded, when several answers that hold its earlier bars all end at the same one.
5. The last bar of an answer may still be forming, whatever the source's clock says. It is kept when a later bar was
   seen, when our own clock says so too, or when step 4 finds that trading has ended.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from gapless.bars import VALUES
from gapless.engine.fetch import PacedHttp
from gapless.engine.prices import page_bars
from gapless.engine.venue import Venue
from gapless.errors import Faulty
from gapless.events import Fetched
from gapless.protocols import Answer, Page
from gapless.series import Series
from gapless.spans import DAY, Micros, Span, SpanSet, Timeframe, iso

_LONGER = (Timeframe.parse("1d"), Timeframe.parse("1w"))  # a page of them reaches back years, and decades
AGREEING = 4  # answers that must say the same before an end is believed
FRUITLESS = 8  # answers in a row without anything new before the walk gives up


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows to store and the ledger lines that speak for them. ``revises``: a row was kept before with other values.

    ``source``: who said so, where it is not the source of the run.
    """

    series: Series
    frame: pl.DataFrame
    answers: tuple[Answer, ...]
    revises: bool = False
    source: str = ""


@dataclass(slots=True)
class Tally:
    """What the walk cost, and what it met."""

    requests: int = 0
    bytes: int = 0
    pages: int = 0
    differences: int = 0
    doubted: list[Span] = field(default_factory=list)

    def tried(self) -> None:
        """One more request has gone out."""
        self.requests += 1


class Walk:
    """Fetches ``span`` of ``series`` and hands over what it may keep, through ``keep``."""

    def __init__(
        self,
        series: Series,
        span: Span,
        http: PacedHttp,
        venue: Venue,
        run: str,
        keep: Callable[[Kept], Awaitable[None]],
        absent: SpanSet | None = None,
    ) -> None:
        """``absent``: bars that another witness does not have either, so that one answer without them is enough."""
        self.series, self.span, self.http, self.venue, self.run_id, self.keep = series, span, http, venue, run, keep
        self.cursor, self.end = span.start, span.end  # everything before the cursor is settled
        self.tally = Tally()
        self._witnessed = absent or SpanSet.of()
        self._timeframe, self._size = series.timeframe, series.timeframe.micros
        self._last: tuple[object, ...] | None = None  # the row before the cursor, when the last answer held it
        self._held: pl.DataFrame | None = None  # the row at the cursor, when it may still change
        self._fruitless = 0
        self._attempts = 0  # at this place

    async def run(self) -> None:
        """Walk to the end. Raises SourceError where it cannot go on; what was kept before stays kept."""
        await self.venue.synced()
        newest = self.venue.final_until(self._timeframe)
        self.end = min(self.span.end, newest)
        while self.cursor < self.end:
            asked = self._next()
            page = await self._ask(asked)
            fresh = self._fresh(page)
            if fresh is not None and await self._take(fresh, page, asked):
                continue
            if self._held is not None and self.cursor + self._size >= newest:
                return  # only the venue's newest bar is left, and it may still change: for the next run
            await self._nothing_new()
        if self.tally.doubted:
            raise Faulty(
                f"{self.http.source.name} did not say twice whether it has {self.series} "
                f"{', '.join(map(str, self.tally.doubted[:3]))}.",
                hint="gapless repair asks again",
            )

    @property
    def undone(self) -> list[Span]:
        """What it did not come to."""
        return [Span(self.cursor, self.span.end)]

    def failed(self, error: str) -> Answer:
        """The ledger line for what this walk leaves undone."""
        asked = Span(self.cursor, max(self.cursor, self.end))
        return self._answer(asked, None, 0, "", error)

    # ---- steps 1 and 2

    def _next(self) -> Span:
        start = self.cursor if self._last is None else self.cursor - self._size
        end = self.end + self._size
        return Span(start, end if not self._fruitless else max(end, self.venue.now() + self._size))

    async def _ask(self, span: Span, series: Series | None = None) -> Page:
        series, began = series or self.series, time.perf_counter()
        page = await self.http.page(series, span, self._tried)
        self.tally.bytes += page.bytes
        self.tally.pages += 1
        seconds = time.perf_counter() - began
        rows = page.frame.height if series is self.series else 0  # longer bars are asked for to see an end, no more
        self.http.observer(Fetched(self.series, self.http.source.name, span, rows, page.bytes, seconds))
        return page

    def _tried(self) -> None:
        self._attempts += 1
        self.tally.tried()

    def _fresh(self, page: Page) -> pl.DataFrame | None:
        """The unknown rows, and the overlapping one if it changed. None: the answer brings nothing, or contradicts."""
        frame = page.frame
        if page.covered.end <= self.cursor:
            return None
        if self._last is None:
            return frame
        if not frame.height or opens_of(frame)[0] != self.cursor - self._size:
            return None
        if frame.row(0) == self._last:
            return frame.slice(1)
        self.tally.differences += 1
        return frame

    # ---- steps 3 and 5

    async def _take(self, frame: pl.DataFrame, page: Page, asked: Span) -> bool:
        """Keep what of the answer may be kept; False when that is nothing, because its only bar may still change."""
        opens, until = opens_of(frame), min(page.covered.end, self.end)
        self._held = None
        if len(opens) and opens[-1] < self.end and not self.venue.surely_final(int(opens[-1]), self._timeframe):
            until, self._held = self._timeframe.floor(int(opens[-1])), frame.tail(1)
        if until <= self.cursor:
            return False
        span, revises = Span(self.cursor, until), bool(len(opens)) and int(opens[0]) < self.cursor
        rows, doubted = await self._confirmed(frame.head(int(np.searchsorted(opens, until))), span)
        await self._hand_over(rows, span, doubted, asked, revises)
        adjacent = rows.height and opens_of(rows)[-1] == until - self._size
        self._last = rows.row(-1) if adjacent else None
        self.cursor, self._fruitless, self._attempts = until, 0, 0
        return True

    async def _confirmed(self, rows: pl.DataFrame, span: Span) -> tuple[pl.DataFrame, SpanSet]:
        """Ask again for the bars absent from ``rows``; all rows then known, and what stays in doubt."""
        doubted = SpanSet.of(span) - present(rows, self._timeframe) - self._witnessed
        if not doubted or not self.http.source.dense:
            return rows, SpanSet.of()
        for attempt in range(1, AGREEING + 1):
            hull = doubted.hull or span
            reach = hull.end + 2 * self._size if attempt == 1 else self.venue.now() + self._size
            page = await self._ask(Span(hull.start - self._size, max(reach, hull.end + self._size)))
            found = page.frame.filter(pl.Series(doubted.mask(opens_of(page.frame))))
            rows = pl.concat([rows, found]).sort("ts") if found.height else rows
            doubted = doubted - SpanSet.of(page.covered) - present(rows, self._timeframe)
            if not doubted:
                break
            await self.http.rest(attempt)
        return rows, doubted

    async def _hand_over(self, rows: pl.DataFrame, span: Span, doubted: SpanSet, asked: Span, revises: bool) -> None:
        known = SpanSet.of(span) - doubted
        opens, digest = opens_of(rows), digest_of(rows)
        answers = [
            self._answer(asked, part, int(((opens >= part.start) & (opens < part.end)).sum()), digest) for part in known
        ]
        answers += [self._answer(part, None, 0, "", "absent from one answer, not confirmed") for part in doubted]
        self.tally.doubted += list(doubted)
        await self.keep(Kept(self.series, rows, tuple(answers), revises))

    # ---- step 4

    async def _nothing_new(self) -> None:
        self._fruitless += 1
        if self._fruitless == AGREEING and (await self._quiet() or await self._over()):
            rest = Span(self.cursor, self.end)
            rows = pl.DataFrame() if self._held is None else self._held
            await self.keep(Kept(self.series, rows, (self._answer(rest, rest, rows.height, ""),)))
            self.cursor = self.end
        elif self._fruitless == FRUITLESS:
            raise Faulty(
                f"{self.http.source.name} answered nothing new for {self.series} from {iso(self.cursor)}, "
                f"{self._fruitless} times.",
                hint="gapless repair asks again; if the instrument is gone, gapless instruments sync says so",
            )
        elif self._fruitless > 1:  # the first time at once, only reaching further
            await self.http.rest(min(self._fruitless, AGREEING))

    async def _quiet(self) -> bool:
        """Has nothing traded lately? Where silent bars are left out, several answers that end alike say so of a day.

        It was learned so soon that it is asked once more, later.
        """
        if self.http.source.dense or self.end - self.cursor > DAY:
            return False
        return await self._same_end(self._timeframe)

    async def _over(self) -> bool:
        """Has the instrument ended before the cursor? An empty answer is no witness; one that ends early may be."""
        if not await self.venue.ended(self.series.instrument):
            return False
        for timeframe in (self._timeframe, *_LONGER):
            if await self._same_end(timeframe):
                return True
        return False

    async def _same_end(self, timeframe: Timeframe) -> bool:
        """Do answers that start at different bars, hold bars before the cursor and have room for more, end alike?"""
        edge = self.cursor if self._held is None else self.cursor + self._size
        limit, size = timeframe.floor(edge), timeframe.micros
        ends: list[int] = []
        for cut in range(2 * AGREEING):
            start = limit - (page_bars(self.http.source, timeframe) - 2 - cut) * size
            page = await self._ask(Span(start, self.venue.now() + size), Series(self.series.instrument, timeframe))
            ends += [int(opens_of(page.frame)[-1])] if page.frame.height else []
            if len(ends) == AGREEING or cut + 1 - len(ends) == AGREEING:
                break
        return len(ends) == AGREEING and len(set(ends)) == 1 and ends[0] + size <= limit

    # ---- small things

    def _answer(self, asked: Span, answered: Span | None, rows: int, digest: str, error: str = "") -> Answer:
        return Answer(
            source=self.http.source.name,
            series=self.series,
            asked=asked,
            answered=answered,
            rows=rows,
            status="ok" if answered is not None else "failed",
            attempts=max(1, self._attempts),
            error=error,
            digest=digest,
            run=self.run_id,
            known_at=self.http.clock(),
        )


def opens_of(frame: pl.DataFrame) -> Micros:
    """Open times, µs."""
    return frame.get_column("ts").to_numpy().view(np.int64)


def present(rows: pl.DataFrame, timeframe: Timeframe) -> SpanSet:
    """The bars that ``rows``, sorted by time, hold; one that opens late (after an outage) counts where it belongs."""
    opens, size, offset = opens_of(rows), timeframe.micros, timeframe.offset
    floor = (opens - offset) // size * size + offset
    return SpanSet.from_bars(floor if (np.diff(floor) > 0).all() else np.unique(floor), timeframe)


def digest_of(rows: pl.DataFrame) -> str:
    """A short fingerprint of the values, the same on every machine: of each column's CRC-32, at a fifth of the time."""
    sums = [zlib.crc32(rows.get_column(name).to_numpy().tobytes()) for name in ("ts", *VALUES)]
    return hashlib.blake2b(np.array(sums, dtype="<u4").tobytes(), digest_size=8).hexdigest()
