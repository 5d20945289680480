"""Asking one source, patiently: the only place that paces, retries, breaks the circuit and gives up.

1. ``_turn``: wait until the circuit is closed (or this is its probe), the weight fits the window, and no pause holds.
2. ``_once``: one GET with a time-out. What the answer says of used weight corrects the window; any answer but 200 is
   given to ``source.refusal``, which says whether to slow down, to give up, or to try again.
3. ``_patiently``: on Faulty, back off exponentially with jitter and try again; on Throttled, everybody pauses as long
   as the source asks; on Refused, or when patience ends, raise. A page that cannot be decoded is a fault like a lost
   connection, so ``page`` retries around the source's ``fetch``, not inside it: one loop, one count of attempts.

All tasks of a run share one ``PacedHttp``, so a ban seen by one is respected by all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp

from gapless import __version__
from gapless.engine.budget import SharedWindow, window_of
from gapless.engine.pacing import Breaker, Pause
from gapless.errors import Faulty, Interrupted, Refused, SourceError, Throttled
from gapless.events import Observer, Paused, Retried, nobody
from gapless.protocols import BringsSession, Clock, Endpoint, Http, Page, Source
from gapless.series import Series
from gapless.spans import DAY, SECOND, Span, iso

_T = TypeVar("_T")
_MOMENT = 0.01  # s
_LONGEST_BAN = 3 * DAY  # a stated end further away than any venue bans is a clock we do not share


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on. Seconds."""

    attempts: int = 8  # of one request
    timeout: float = 30.0  # of one attempt
    first_delay: float = 0.25
    longest_delay: float = 30.0
    outage: float = 300.0  # a source without a usable answer for so long: give up quickly from then on
    longest_pause: float = 900.0  # a ban longer than this ends the work at once

    def delay(self, attempt: int, jitter: float) -> float:
        """Exponential from ``first_delay``; ``jitter`` in [0, 1) takes up to half of it away.

        >>> [Patience().delay(attempt, 0.0) for attempt in (1, 2, 3, 9)]
        [0.25, 0.5, 1.0, 30.0]
        """
        return min(self.longest_delay, self.first_delay * 2.0 ** (attempt - 1)) * (1.0 - jitter / 2.0)


def wall_clock() -> int:
    """Now by this machine's clock, µs since the epoch."""
    return time.time_ns() // 1000


class Paced:
    """``protocols.Http`` for whoever can be asked."""

    def __init__(
        self,
        source: Endpoint,
        session: aiohttp.ClientSession,
        *,
        patience: Patience | None = None,
        observer: Observer = nobody,
        stop: asyncio.Event | None = None,
        clock: Clock = wall_clock,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.source: Endpoint = source
        self.session, self.observer = session, observer
        self.patience = patience or Patience()
        self.stop = stop or asyncio.Event()
        self.window = window_of(source.base_url, source.limits)
        self.breaker = Breaker()
        self.pause = Pause()
        self.said_at: int | None = None
        self.clock, self._now, self._jitter = clock, now, jitter
        self._sleep = sleep or self._sleep_or_stop
        self._single = _Single(self)
        self._paced_until = 0.0

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body; raises Throttled, Refused, Faulty when given up, Interrupted when told to stop."""
        return await self._patiently(lambda: self._once(path, params, weight, headers))

    async def ask(self, action: Callable[[Http], Awaitable[_T]], tried: Callable[[], None] = lambda: None) -> _T:
        """What ``action`` makes of answers; all of it again on a fault. ``tried`` is called at each attempt."""

        async def attempt() -> _T:
            tried()
            return await action(self._single)

        return await self._patiently(attempt)

    async def rest(self, attempt: int) -> None:
        """Wait as before the retry after ``attempt``; raises Interrupted when told to stop."""
        await self._wait(self.patience.delay(attempt, self._jitter()))

    # ---- step 3

    async def _patiently(self, action: Callable[[], Awaitable[_T]]) -> _T:
        for attempt in range(1, self.patience.attempts + 1):
            try:
                result = await action()
            except Faulty as error:
                await self._after_fault(error, attempt)
            except Throttled as error:
                self._after_throttle(error, attempt)
            except _GivenUpError as end:
                raise end.error from None
            except Refused:
                self.breaker.succeeded()  # it answered; it is well
                raise
            else:
                self.breaker.succeeded()
                return result
        raise AssertionError("the last attempt raises")

    async def _after_fault(self, error: Faulty, attempt: int) -> None:
        opened = self.breaker.failed(self._now())
        if opened:
            reason = f"{self.breaker.faults} faults in a row, the last: {error.message}"
            self.observer(Paused(self.source.name, reason, opened))
        if attempt == self.patience.attempts:
            raise Faulty(f"{error.message} (attempt {attempt} of {attempt})", hint=error.hint) from error
        delay = self.patience.delay(attempt, self._jitter())
        self.observer(Retried(self.source.name, error.message, delay, attempt))
        await self._wait(delay)

    def _after_throttle(self, error: Throttled, attempt: int) -> None:
        """Everybody waits, this request among them; raises when that is too long, or has been too often."""
        seconds = self._asked_pause(error, attempt)
        if self.pause.extend(seconds, self._now(), error.message):
            self.observer(Paused(self.source.name, error.message, seconds))
            if isinstance(self.window, SharedWindow):
                self.window.pause(min(seconds, self.patience.longest_pause), error.message)
        if attempt == self.patience.attempts:
            if seconds > self.patience.longest_pause:
                raise self._not_before(seconds) from error
            raise Throttled(f"{error.message} (attempt {attempt} of {attempt})", banned=error.banned) from error
        self.observer(Retried(self.source.name, error.message, seconds, attempt))

    def _asked_pause(self, error: Throttled, attempt: int) -> float:
        if error.retry_at is not None:
            return max(1.0, (error.retry_at - self.clock()) / SECOND)
        return 120.0 if error.banned else min(60.0, 5.0 * 2.0 ** (attempt - 1))

    def _give_up_if_long(self, seconds: float) -> None:
        if seconds > self.patience.longest_pause:
            raise _GivenUpError(self._not_before(seconds))

    def _not_before(self, seconds: float) -> Throttled:
        until = iso(self.clock() + int(seconds) * SECOND)
        return Throttled(
            f"{self.source.name} will not answer before {until}: {self.pause.reason}",
            banned=True,
            hint="run again after that time; what was done is kept",
        )

    # ---- step 2

    async def _once(
        self, path: str, params: Mapping[str, str | int], weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        await self._turn(weight)
        url = path if "://" in path else self.source.base_url.rstrip("/") + path
        try:
            async with self.session.get(url, params=params, headers=headers, allow_redirects=False) as answer:
                body = await answer.read()
        except TimeoutError as error:
            raise Faulty(f"{self.source.name} did not answer within {self.patience.timeout:g} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Faulty(f"{self.source.name} {type(error).__name__}: {error}.", hint=_reach(url)) from error
        self.said_at = _header_time(0, answer.headers.get("Date", ""))
        used = self.source.used(answer.headers)
        if used is not None:
            self.window.heed(used, self._now())
        if answer.status != 200:
            raise self._refusal(answer.status, answer.headers, body)
        return body

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        error = self.source.refusal(status, headers, body)
        if isinstance(error, Throttled):
            error.retry_at = latest_believable(self.clock(), headers.get("Retry-After", ""), error.retry_at)
        return error

    # ---- step 1

    async def _turn(self, weight: int) -> None:
        await self._circuit()
        while (seconds := self.window.wait(weight, self._now())) > 0:
            self._tell_pacing(seconds)
            await self._wait(seconds)
        while (seconds := self.pause.wait(self._now())) > 0:
            self._give_up_if_long(seconds)
            await self._wait(seconds)
        if self.stop.is_set():
            raise Interrupted("stopped before the next request.")

    async def _circuit(self) -> None:
        while (seconds := self.breaker.wait(self._now())) > 0:
            silent = self._now() - self.breaker.since
            if silent > self.patience.outage:
                error = Faulty(
                    f"{self.source.name} has given no usable answer for {silent:.0f} s.",
                    hint=_reach(self.source.base_url),
                )
                raise _GivenUpError(error)
            await self._wait(min(seconds, self.patience.outage - silent + _MOMENT))

    def _tell_pacing(self, seconds: float) -> None:
        """Once per wait, not once per waiting task; short waits are nobody's news."""
        until = self._now() + seconds
        if seconds >= 1.0 and until > self._paced_until:
            self._paced_until = until
            self.observer(Paused(self.source.name, "pacing: the weight of this window is spent", seconds))

    async def _wait(self, seconds: float) -> None:
        await self._sleep(seconds)
        if self.stop.is_set():
            raise Interrupted("stopped while waiting for the source.")

    async def _sleep_or_stop(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return


class PacedHttp(Paced):
    """The same for a source of pages. Make it with ``opened``."""

    source: Source

    async def page(self, series: Series, span: Span, tried: Callable[[], None] = lambda: None) -> Page:
        """One page of the source; ``tried`` is called at each attempt. Raises like ``get``."""

        async def fetched(http: Http) -> Page:
            return received(await self.source.fetch(http, series, span), self.source.name, series, span)

        return await self.ask(fetched, tried)


class _GivenUpError(Exception):
    """Passes through the retrying: the source as a whole is given up, not this request."""

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


class _Single:
    """``protocols.Http`` that tries once: what a source gets inside ``page``, which does the retrying."""

    def __init__(self, http: Paced) -> None:
        self._http = http

    @property
    def said_at(self) -> int | None:
        return self._http.said_at

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        return await self._http._once(path, params, weight, headers)


def received(page: Page, name: str, series: Series, span: Span) -> Page:
    """The page, if it is what was asked for: bars of this instrument, inside the span, in order, each once.

    The one check at the door for every source; raises Faulty, so that the page is asked for again and never stored.
    """
    frame = page.frame
    fault = ""
    if frame.height and (frame.get_column("instrument") != str(series.instrument)).any():
        fault = f"the answer holds bars of {frame.get_column('instrument').unique().head(3).to_list()}"
    opens = frame.get_column("ts").to_physical().to_numpy()
    if not fault and len(opens) and not (span.start <= opens.min() and opens.max() < span.end):
        fault = "the answer holds bars outside the asked span"
    if not fault and (opens[1:] <= opens[:-1]).any():
        fault = "the bars of the answer are not in order, each once"
    if not fault and not span.start <= page.covered.start <= page.covered.end <= span.end:
        fault = f"the answer claims {page.covered}, which was not asked"
    if fault:
        raise Faulty(
            f"{name} {series} {span}: {fault}.", hint="a source must answer what was asked; see gapless.conformance"
        )
    return page


@asynccontextmanager
async def opened(
    source: Source,
    *,
    patience: Patience | None = None,
    observer: Observer = nobody,
    stop: asyncio.Event | None = None,
    concurrency: int = 0,
    clock: Clock = wall_clock,
) -> AsyncIterator[PacedHttp]:
    """A ``PacedHttp`` over one session, closed at the end; over the source's own, where it brings one."""
    patience, connections = patience or Patience(), concurrency or source.limits.concurrency
    brought = source.session(patience.timeout, connections) if isinstance(source, BringsSession) else None
    async with brought or session_for(patience, connections) as session:
        yield PacedHttp(source, session, patience=patience, observer=observer, stop=stop, clock=clock)


def session_for(patience: Patience, connections: int) -> aiohttp.ClientSession:
    """One connection for each worker, kept open."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=patience.timeout, sock_connect=min(10.0, patience.timeout)),
        headers={"User-Agent": f"gapless/{__version__}"},
        read_bufsize=2**20,  # a page fits, so that reading it is not stopped and started
    )
    # aiohttp would repeat a GET by itself when the connection breaks: unpaced, uncounted, unseen.
    session._retry_connection = False
    return session


def latest_believable(now: int, retry_after: str, stated: int | None) -> int | None:
    """The later of a Retry-After header and a time stated in the body, µs; None when neither makes sense.

    A stated time is by the venue's clock; one in the past, or days ahead, says that the clocks differ and is ignored.

    >>> latest_believable(0, "17", None) == 17 * SECOND
    True
    """
    times = [_header_time(now, retry_after), stated]
    found = [time for time in times if time is not None and now < time <= now + _LONGEST_BAN]
    return max(found) if found else None


def _header_time(now: int, text: str) -> int | None:
    """Retry-After is seconds or an HTTP date."""
    if text.strip().isdigit():
        return now + max(1, int(text)) * SECOND
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int((moment - datetime.fromtimestamp(0, UTC)).total_seconds()) * SECOND


def _reach(url: str) -> str:
    return f"is {url.split('?')[0]} reachable from here? gapless doctor tries every source"
