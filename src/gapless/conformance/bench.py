"""The engine without sockets and without waiting: a source's requests are answered by its subject's vendor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, Protocol, TypeVar, cast

import polars as pl

from gapless.conformance.subject import Asked, Subject, Told
from gapless.engine.fetch import PacedHttp, Patience
from gapless.engine.venue import Venue
from gapless.engine.walk import Kept, Walk
from gapless.errors import GaplessError
from gapless.protocols import Page, Source
from gapless.series import Instrument, Series
from gapless.spans import SECOND, Span

Found = Page | GaplessError
_T = TypeVar("_T")


def run_all(checks: Sequence[Callable[[_T], None]], subject: _T) -> None:
    """Every check; AssertionError with each one that failed."""
    failed = []
    for check in checks:
        try:
            check(subject)
        except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it raises is told
            failed.append(
                f"{getattr(check, '__name__', check)}: {error if isinstance(error, AssertionError) else repr(error)}"
            )
    assert not failed, f"{len(failed)} of {len(checks)} checks failed:\n" + "\n".join(failed)


class Vendor(Protocol):
    """What answers, and when: of a subject of bars, or of values."""

    @property
    def now(self) -> int: ...

    @property
    def answer(self) -> Callable[[Asked, int], Told]: ...


def page_at(subject: Subject, span: Span, size: int | None = None) -> Page:
    """One page, as the engine takes it."""
    return _run(Bench(subject, _made(subject, size)).http().page(subject.series, span))


def answered(subject: Subject, body: bytes, span: Span | None = None) -> Found:
    """What becomes of ``body`` as the answer to ``span``: a page, or what was raised."""
    bench = Bench(subject, subject.make(), lambda asked: Told(body))
    try:
        return _run(bench.http().page(subject.series, span or subject.part))
    except GaplessError as error:
        return error


def body_of(subject: Subject, span: Span | None = None) -> bytes:
    """The vendor's own answer to a page of ``span``."""
    bench = Bench(subject, subject.make())
    _run(bench.http().page(subject.series, span or subject.part))
    return bench.told[-1].body


def walked(subject: Subject, now: int, size: int) -> pl.DataFrame:
    """All bars that the engine keeps of a walk over the whole truth, in the order in which it keeps them."""
    kept: list[pl.DataFrame] = []

    async def keep(part: Kept) -> None:
        kept.append(part.frame)

    async def walk() -> None:
        http = Bench(subject, _made(subject, size), now=now).http(attempts=3)
        await Walk(subject.series, subject.span, http, Venue(http), "conformance", keep).run()

    _run(walk())
    return pl.concat([frame for frame in kept if frame.height]) if any(f.height for f in kept) else pl.DataFrame()


def server_time(subject: Subject) -> int:
    """The vendor's clock, as the source tells it."""
    bench = Bench(subject, subject.make())
    return _run(bench.source.server_time(bench.http()))


def listed(subject: Subject) -> list[Instrument]:
    """What the source lists."""
    bench = Bench(subject, subject.make())
    return [listing.instrument for listing in _run(bench.source.listings(bench.http()))]


def request_for(subject: Subject, series: Series) -> str:
    """How the source asks for a page of ``series``."""
    bench = Bench(subject, subject.make(), lambda asked: Told(b""))
    with suppress(GaplessError):  # nothing was answered: it is the question that counts
        _run(bench.http().page(series, subject.part))
    return f"{bench.asked[0].path} {sorted(bench.asked[0].params.items())}"


def requests_of(subject: Subject) -> list[Asked]:
    """All requests of a page, the listings and the clock."""
    bench = Bench(subject, subject.make())
    http = bench.http()
    _run(http.page(subject.series, subject.part))
    _run(bench.source.listings(http))
    _run(bench.source.server_time(http))
    return bench.asked


def shown(found: object) -> str:
    """What came, in a few words."""
    return f"{found.frame.height} bars" if isinstance(found, Page) else f"{type(found).__name__}: {found}"


def _made(subject: Subject, size: int | None) -> Source:
    source = subject.make()
    if size is not None:
        source.limits = replace(source.limits, page_bars=size)
    return source


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


@dataclass
class Bench:
    """A vendor in place of the network: what ``PacedHttp`` needs of a session, and a clock that waiting moves."""

    subject: Vendor
    source: Source
    instead: Callable[[Asked], Told] | None = None
    now: int = 0
    asked: list[Asked] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    seconds: float = 0.0

    def http(self, attempts: int = 1) -> PacedHttp:
        self.now = self.now or self.subject.now
        self.source.limits = replace(self.source.limits, weight=0)  # nothing is sent, so nothing is counted
        return PacedHttp(
            self.source, cast(Any, self), patience=Patience(attempts=attempts), clock=lambda: self.now,
            now=lambda: self.seconds, sleep=self._wait, jitter=lambda: 0.0,
        )  # fmt: skip

    async def _wait(self, seconds: float) -> None:
        self.seconds += seconds

    def get(
        self, url: str, *, params: Mapping[str, object], headers: Mapping[str, str] | None, allow_redirects: bool
    ) -> _Answer:
        path = url.removeprefix(self.source.base_url.rstrip("/"))
        asked = Asked(path, {name: str(value) for name, value in params.items()}, headers or {})
        told = self.instead(asked) if self.instead else self.subject.answer(asked, self.now)
        self.asked.append(asked)
        self.told.append(told)
        return _Answer(told, {"Date": formatdate(self.now // SECOND, usegmt=True), **told.headers})


@dataclass
class _Answer:
    """An answer as aiohttp hands it over."""

    told: Told
    headers: Mapping[str, str]

    @property
    def status(self) -> int:
        return self.told.status

    async def read(self) -> bytes:
        return self.told.body

    async def __aenter__(self) -> _Answer:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None
