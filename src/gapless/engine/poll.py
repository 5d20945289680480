"""Any REST source as a live feed: soon after each close the newest bars are asked for, and told as final ones.

1. For each timeframe a timer waits until a bar is settled by the venue's clock, and then every series of it is due.
2. Workers, as many as the source allows at once, take what is due, spread so that a part of the allowance is left for
   others, and ask through ``fetch``: one page from the newest bar on that is known. It comes once more, so that a
   correction is seen.
3. Bars that are new or differ are told. When the newest is not there (of a source that sends silent bars too), or
   nobody answers, the series is due again shortly.
4. A series that cannot be had is told as lost, once, and as connected when it can: from where bars were told again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import polars as pl

from gapless.bars import EXTRAS, VALUES
from gapless.engine.backlog import Backlog, News, Said, Works
from gapless.engine.fetch import PacedHttp
from gapless.engine.final import settle_of
from gapless.engine.heads import Head
from gapless.engine.link import Tally
from gapless.engine.venue_time import VenueTime
from gapless.errors import Refused, SourceError
from gapless.events import Connected, Disconnected, Observer, nobody
from gapless.protocols import Heard, Page
from gapless.series import Series
from gapless.spans import Span, Timeframe

_COLUMNS = VALUES + EXTRAS


@dataclass(frozen=True, slots=True)
class PollOptions:
    """How a source is polled."""

    reach: int = 60  # bars: what was missed for longer is left to whoever heals holes
    share: float = 0.5  # of the source's allowance
    again: float = 2.0  # real seconds before a bar that was not there, or not answered for, is asked for again
    longest: float = 60.0  # these seconds double with each vain try, up to this
    backlog: int = 100_000  # bars that may wait before asking stops


@dataclass(slots=True)
class _Polled:
    """One series: ``cursor``: the first bar that is not known; ``asked``: up to where it was asked with success."""

    head: Head
    cursor: int = 0
    asked: int = 0
    vain: int = 0  # tries since the last close
    lost: bool = False
    again: asyncio.TimerHandle | None = None


class Poll:
    """A REST source as one sequence of batches, used as ``Feed`` is. ``clock`` is the source's, kept by the caller."""

    def __init__(
        self,
        http: PacedHttp,
        series: Sequence[Series],
        *,
        clock: VenueTime,
        observer: Observer = nobody,
        options: PollOptions | None = None,
    ) -> None:
        self.http, self.source, self.clock, self.observer = http, http.source, clock, observer
        self.options = options or PollOptions()
        self.tally = Tally()
        self._backlog = Backlog(self.options.backlog)
        self._polled = {s: _Polled(Head(s)) for s in series}
        self._due: asyncio.Queue[Series] = asyncio.Queue()
        self._waiting: set[Series] = set()  # in the queue
        self._ask_at = 0.0
        self._works = Works(self._backlog)

    # ---- for the consumer

    async def __aenter__(self) -> Poll:
        now = self.clock()
        for series, polled in self._polled.items():
            polled.cursor = polled.asked = series.timeframe.floor(now)
        self._tell(Connected(self.source.name, tuple(self._polled), now))
        self._works.begin(*(self._timer(size) for size in {s.timeframe for s in self._polled}))
        self._works.begin(*(self._work() for _ in range(self.source.limits.concurrency)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def batches(self) -> AsyncIterator[list[Said]]:
        """Everything heard since the last batch, as soon as there is anything; ends after ``close``."""
        return self._backlog.batches()

    async def close(self) -> None:
        """Stop asking. What was answered can still be taken from ``batches``."""
        for polled in self._polled.values():
            if polled.again is not None:
                polled.again.cancel()
        await self._works.end()

    @property
    def backlog(self) -> int:
        """How much waits for the consumer."""
        return len(self._backlog)

    @property
    def live(self) -> list[Series]:
        """The series that the source answers for."""
        return [series for series, polled in self._polled.items() if not polled.lost]

    @property
    def stale(self) -> list[Series]:
        """The series of which more than one settled bar is not known."""
        return [s for s, polled in self._polled.items() if polled.cursor + s.timeframe.micros < self._settled(s)]

    # ---- step 1

    async def _timer(self, timeframe: Timeframe) -> None:
        delay = settle_of(self.source, timeframe)
        settled = timeframe.floor(self.clock() - delay)
        while True:
            await self.clock.wait_until(settled + timeframe.micros + delay)
            settled = max(settled + timeframe.micros, timeframe.floor(self.clock() - delay))
            for series, polled in self._polled.items():
                if series.timeframe == timeframe:
                    polled.vain = 0
                    self._make_due(series)

    def _make_due(self, series: Series) -> None:
        """Once, however often it is said before a worker comes to it."""
        if series not in self._waiting:
            self._waiting.add(series)
            self._due.put_nowait(series)

    def _make_due_again(self, series: Series, polled: _Polled) -> None:
        """Shortly, and then less and less so until the next close."""
        delay = min(self.options.longest, self.options.again * 2.0**polled.vain)
        polled.vain += 1
        if polled.again is not None:
            polled.again.cancel()
        polled.again = asyncio.get_running_loop().call_later(delay, self._make_due, series)

    # ---- step 2

    async def _work(self) -> None:
        while True:
            series = await self._due.get()
            self._waiting.discard(series)
            await self._backlog.room()
            await self._spread(series)
            await self._ask(series, self._polled[series])

    async def _spread(self, series: Series) -> None:
        """Requests go out evenly, not all at the close; but no slower than a round takes a bar's time."""
        limits, now = self.source.limits, time.monotonic()
        pace = self.source.weight_of(2) / limits.weight * limits.window / self.options.share if limits.weight else 0.0
        bar = self.clock.seconds_until(self.clock() + series.timeframe.micros)
        self._ask_at = max(now, self._ask_at)
        wait, self._ask_at = self._ask_at - now, self._ask_at + min(pace, bar / (2 * len(self._polled)))
        await asyncio.sleep(wait)

    async def _ask(self, series: Series, polled: _Polled) -> None:
        size, settled = series.timeframe.micros, self._settled(series)
        start = max(polled.cursor - size * (polled.head.final is not None), settled - self.options.reach * size)
        if settled <= start:
            return
        try:
            page = await self.http.page(series, Span(start, settled))
        except SourceError as error:
            self._lose(series, polled, error.message)
            if not isinstance(error, Refused):
                self._make_due_again(series, polled)
            return
        self.tally.messages += 1
        self._answered(series, polled, page, Span(start, settled))

    def _settled(self, series: Series) -> int:
        """Bars that open before this are final."""
        return series.timeframe.floor(self.clock() - settle_of(self.source, series.timeframe))

    # ---- step 3

    def _answered(self, series: Series, polled: _Polled, page: Page, asked: Span) -> None:
        if asked.start > polled.asked:
            self._lose(series, polled, f"more than {self.options.reach} bars behind")
        if polled.lost:
            polled.lost = False
            self._tell(Connected(self.source.name, (series,), asked.start))
        for bar in _heard(series, page.frame, self.clock()):
            self._hear(polled.head, bar)
        polled.cursor, polled.asked = max(polled.cursor, page.covered.end), asked.end
        if polled.cursor < asked.end and self.source.dense:
            self._make_due_again(series, polled)

    def _hear(self, head: Head, bar: Heard) -> None:
        if not head.again(bar):
            head.heard(bar)
            self.tally.finals += 1
            self.tally.lag = self.clock() - bar.ts - head.series.timeframe.micros
            self._backlog.put(bar)

    # ---- step 4

    def _lose(self, series: Series, polled: _Polled, reason: str) -> None:
        if not polled.lost:
            polled.lost = True
            self.tally.losses += 1
            self._tell(Disconnected(self.source.name, (series,), polled.asked, reason))

    def _tell(self, news: News) -> None:
        self._backlog.tell(news)
        self.observer(news)


def _heard(series: Series, frame: pl.DataFrame, now: int) -> Iterator[Heard]:
    """The rows of a page as bars of the schema's order, up to the last column that the source knows."""
    names = [name for name in _COLUMNS if name in frame.columns]
    if not frame.height:
        return
    wide = _COLUMNS[: _COLUMNS.index(names[-1]) + 1]
    values = frame.select(
        pl.col(n).fill_null(float("nan")) if n in names else pl.lit(float("nan")).alias(n) for n in wide
    )
    for ts, row in zip(frame.get_column("ts").to_physical(), values.rows(), strict=True):
        yield Heard(str(series.instrument), series.timeframe.name, ts, row, True, now)
