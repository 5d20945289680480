"""Every seam of the house, on one page. Read this first.

A *source* answers pages of bars. An *http* asks on its behalf, and is the only place that paces, retries and gives up.
A *calendar* says when a market is open. A *store* keeps bars, what was asked, and features. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import polars as pl

from gapless.errors import SourceError
from gapless.series import Instrument, Series
from gapless.spans import Micros, Span, SpanSet, Timeframe

# ---------------------------------------------------------------- time


class Clock(Protocol):
    """Now, in microseconds since the epoch. The only way to the wall clock."""

    def __call__(self) -> int: ...


# ---------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a source: bars of one instrument, and the span for which the answer is the whole truth.

    ``frame`` has the bar schema (see bars.py), rows as the source sent them. ``covered`` lies inside the asked span:
    bars absent from it are bars the source does not have. It ends at the close of the last bar of the answer: that an
    answer stops early proves nothing of what follows.
    """

    frame: pl.DataFrame
    covered: Span
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source says of an instrument. Times in µs, None where it does not say."""

    instrument: Instrument
    status: str = "trading"
    listed_at: int | None = None
    delisted_at: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source allows: bars on one page, weight per window, and how many requests may be under way."""

    page_bars: int
    weight: int
    window: float  # seconds
    concurrency: int


class Http(Protocol):
    """A paced, retrying GET. Raises Throttled, Refused or Faulty when it has given up."""

    @property
    def said_at(self) -> int | None:
        """When the source gave its last answer, by its ``Date`` header (whole seconds), µs; None: it does not say."""
        ...

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        weight: int,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of ``path`` below the source's address. Credentials go into ``headers``: addresses are shown."""
        ...


class Endpoint(Protocol):
    """Whom an http asks: where it is, what it allows, and what its answers say of that."""

    name: str
    base_url: str
    limits: Limits

    def used(self, headers: Mapping[str, str]) -> int | None:
        """The weight the source says is used in this window, or None."""
        ...

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        """What a non-200 answer means: Throttled (with retry_at), Refused or Faulty."""
        ...


class Source(Endpoint, Protocol):
    """Where bars come from. One file, one ``fetch`` of one page; paging, pacing, retry and ledger come for free."""

    venue: str
    settle: int  # µs after the close before a bar is final
    dense: bool  # silent bars are sent too (with volume 0), so that an absent one is confirmed before it is believed

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        """The first page of ``span`` (at most ``limits.page_bars`` bars)."""
        ...

    async def listings(self, http: Http) -> Sequence[Listing]: ...

    async def server_time(self, http: Http) -> int: ...

    def weight_of(self, bars: int) -> int:
        """What a page of ``bars`` costs against ``limits.weight``."""
        ...


@runtime_checkable
class Paged(Protocol):
    """A source that says more of its pages; one that does not has ``limits.page_bars`` on them at any timeframe."""

    def page_of(self, timeframe: Timeframe) -> int:
        """The bars that a page of this timeframe holds at least, where there are so many; at most ``page_bars``."""
        ...


@runtime_checkable
class SettlesDays(Protocol):
    """A source whose days and weeks take longer than ``settle`` after the session: they hold its evening trades."""

    @property
    def day_settle(self) -> int: ...  # µs after the close of the session


@runtime_checkable
class BringsSession(Protocol):
    """A source that must be asked by another client than the engine's own."""

    def session(self, timeout: float, connections: int) -> AbstractAsyncContextManager[Any] | None:
        """A session with aiohttp's ``get``, closed at the end; None: the engine's own will do. ``timeout``: seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A file of an archive that should be there by now: ``folder/name``, the span it speaks of, its likely size."""

    source: str
    folder: str
    name: str
    span: Span
    bytes: int


class Archive(Endpoint, Protocol):
    """Bars in bulk, a file a month or a day, beside a source that answers pages."""

    venue: str

    def offers(self, series: Series, span: Span, now: int) -> Sequence[Offer]:
        """The files that touch ``span`` and should be there at ``now`` (µs), by time. Asks nobody."""
        ...

    async def digests(self, http: Http, offers: Sequence[Offer]) -> Mapping[str, str]:
        """What the archive has of one folder's ``offers``: a digest by name, empty where it does not tell."""
        ...

    async def read(self, http: Http, series: Series, offer: Offer, digest: str | None) -> Page:
        """The bars of one file; ``covered`` is empty when it is not there. Raises Faulty for a damaged one."""
        ...


@dataclass(frozen=True, slots=True)
class ValuePage:
    """One answer of a source of values: ``ts`` and ``value``, sorted, and the span of which it tells every value."""

    frame: pl.DataFrame
    covered: Span
    bytes: int = 0


class ValueSource(Endpoint, Protocol):
    """Where values at times come from (funding rates, open interest): beside a source of bars, with limits of its own.

    ``limits.page_bars`` counts values, ``limits.weight`` requests.
    """

    value: str  # what they are: a column of bars
    path: str  # below ``base_url``: what the limits are of
    every: int  # µs; values come at whole multiples of it at most, a little late
    reach: int | None  # µs; how far back it can be asked; None: to the beginning

    async def fetch(self, http: Http, instrument: Instrument, span: Span) -> ValuePage:
        """The first page of ``span``."""
        ...


class ValueArchive(Endpoint, Protocol):
    """Values at times in bulk, a file a month or a day, beside a ``ValueSource`` that answers pages."""

    value: str

    def offers(self, instrument: Instrument, span: Span, now: int) -> Sequence[Offer]:
        """The files that touch ``span`` and should be there at ``now`` (µs), by time. Asks nobody."""
        ...

    async def digests(self, http: Http, offers: Sequence[Offer]) -> Mapping[str, str]:
        """As ``Archive.digests``."""
        ...

    async def read(self, http: Http, instrument: Instrument, offer: Offer, digest: str | None) -> ValuePage | None:
        """The values of one file; None when it is not there. Raises Faulty for a damaged one."""
        ...


# ---------------------------------------------------------------- live feeds


@dataclass(frozen=True, slots=True)
class Heard:
    """One bar as a live feed told it: the values from ``open`` on, in the order of the bar schema (see bars.py).

    ``final`` says the venue has settled it. ``said_at`` is the venue's clock when it sent it, µs.
    """

    instrument: str
    timeframe: str
    ts: int
    values: tuple[float, ...]
    final: bool
    said_at: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The venue accepted the subscription with this number, or (``error`` is not empty) did not."""

    number: int
    error: str = ""


class LiveSource(Protocol):
    """What a venue's websocket speaks. Connecting, watching and reconnecting come for free (engine/feed.py)."""

    name: str
    venue: str
    url: str  # where connections are made
    streams_per_connection: int
    requests_per_second: float  # messages a client may send on one connection
    lifetime: float  # seconds after which the venue closes any connection

    def stream(self, series: Series) -> str:
        """The venue's name for the bars of a series."""
        ...

    def subscribe(self, streams: Sequence[str], number: int) -> str:
        """The message that asks for streams; the venue answers with ``number``."""
        ...

    def read(self, message: str | bytes) -> Heard | Confirmed | None:
        """What a message says; None for one that is none of our concern. Raises Faulty for what cannot be read."""
        ...


# ---------------------------------------------------------------- calendars


class Calendar(Protocol):
    """When a market is open.

    >>> from gapless.calendars import calendar
    >>> calendar("XNYS").sessions(Span.parse("2015-12-24", "2015-12-25"))  # a half day: 14:30 to 18:00 UTC
    SpanSet(1450967400000000-1450980000000000)
    """

    name: str

    def sessions(self, within: Span) -> SpanSet:
        """Trading time inside ``within`` (breaks left out); one span a session, an always-open market one span."""
        ...

    def opens(self, timeframe: Timeframe, within: Span) -> Micros:
        """The open times of all bars of ``timeframe`` inside ``within``: the expected grid, sorted, int64 µs."""
        ...


# ---------------------------------------------------------------- the ledger

Status = Literal["ok", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the ledger: what was asked of whom, and how it ended.

    ``answered`` is the part of ``asked`` for which the source spoke the whole truth (None when it failed).
    """

    source: str
    series: Series
    asked: Span
    answered: Span | None
    rows: int
    status: Status
    attempts: int
    error: str
    digest: str
    run: str
    known_at: int


@dataclass(frozen=True, slots=True)
class ValueAnswer:
    """One line of the ledger of values: as ``Answer``, of one kind of values of an instrument.

    ``ended``: nothing more was due inside ``asked`` after it. ``holes``: the parts of ``answered`` that it leaves out.
    """

    source: str
    name: str
    instrument: Instrument
    asked: Span
    answered: Span | None
    rows: int
    attempts: int
    error: str
    run: str
    known_at: int
    ended: bool = False
    holes: SpanSet = field(default_factory=SpanSet.of)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that coverage needs to know of one series; spans in µs."""

    series: Series
    present: SpanSet  # from content
    answered: SpanSet  # some source spoke the whole truth here
    failed: tuple[Answer, ...] = ()  # asked in vain and not answered since
    listed_at: int | None = None
    listed_by: str = ""  # how we know
    delisted_at: int | None = None
    provisional: SpanSet = field(default_factory=SpanSet.of)  # learned so soon after the close that it may be corrected
    refused: SpanSet = field(default_factory=SpanSet.of)  # bars whose rows were quarantined
    confirmed: SpanSet = field(default_factory=SpanSet.of)  # the part of ``answered`` that the venue itself said


# ---------------------------------------------------------------- stores


@dataclass(frozen=True, slots=True)
class Counts:
    """How a write went, of one series. Each row read is exactly one of the other five."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    corrected: int = 0
    duplicate: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, n) + getattr(other, n) for n in self.__slots__))


@dataclass(frozen=True)
class WriteReport:
    """How a write went: per series, and in total.

    ``nameless``: rows whose symbol could not be read. ``held``: the valid bars of this write, stored before or not.
    ``refused``: bars for which only refused rows came.
    """

    series: Mapping[Series, Counts]
    reasons: Mapping[str, int] = field(default_factory=dict)  # quarantined rows by reason
    nameless: Counts = field(default_factory=Counts)
    held: Mapping[Series, SpanSet] = field(default_factory=dict)
    refused: Mapping[Series, SpanSet] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        return sum(self.series.values(), self.nameless)

    @property
    def written(self) -> int:
        return self.total.written

    @property
    def unchanged(self) -> int:
        return self.total.unchanged

    @property
    def corrected(self) -> int:
        return self.total.corrected

    @property
    def duplicate(self) -> int:
        return self.total.duplicate

    @property
    def quarantined(self) -> int:
        return self.total.quarantined


class Store(Protocol):
    """Where bars, the ledger and features are kept. Every call leaves the store whole, whatever happens inside it."""

    def write(self, timeframe: Timeframe, frame: pl.DataFrame, *, source: str, run: str = "") -> WriteReport:
        """Check, compare with what is stored, keep what is new, revise what differs. Durable on return."""
        ...

    def bars(
        self, instruments: Sequence[Instrument] | None, timeframe: Timeframe, span: Span | None, *, as_of: int | None
    ) -> pl.DataFrame:
        """Stored rows sorted by (instrument, ts), with ``source`` and ``known_at``."""
        ...

    def record(self, answers: Iterable[Answer]) -> None:
        """Append to the ledger; durable on return."""
        ...

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]:
        """Presence from content and what the ledger knows, of every stored or asked series."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """A built stretch of one series' features: bars up to ``last``, and what it was made of.

    ``digest`` covers the bars consumed (their times and when they were learned), ``before`` and ``after`` are digests
    of the states it began and ended with. ``state``, the one after it, is large and kept of few segments only.
    """

    period: str
    last: int
    digest: str
    before: str
    after: str
    state: bytes | None = None


class FeatureStore(Protocol):
    """Where features are kept, beside the bars they are made of."""

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        """Bars by (instrument, ts); only some ``columns`` where that is enough."""
        ...

    def pieces(self, timeframe: Timeframe, name: str, columns: Collection[str] = ()) -> Sequence[Any]:
        """The ``segments.Piece`` of an instrument's bars, by time; of all that reading ``columns`` of them takes."""
        ...

    def present(self, timeframe: Timeframe) -> dict[str, SpanSet]: ...

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        """Built segments of a set, by period, without their states."""
        ...

    def state(self, name: str, series: Series, period: str) -> bytes | None:
        """The state after a segment, where it is kept."""
        ...

    def stage_features(
        self, name: str, series: Series, segment: Segment, frame: pl.DataFrame, columns: Mapping[str, pl.DataType]
    ) -> Any:
        """Write one segment's rows durably, to be seen only after ``commit_features``; may run in any thread."""
        ...

    def commit_features(
        self,
        name: str,
        timeframe: Timeframe,
        staged: Sequence[tuple[Series, Segment, Any]],
        columns: Mapping[str, pl.DataType],
    ) -> None:
        """Put staged segments in the place of what covered their time, in one commit, and remember them."""
        ...

    def read_features(
        self,
        name: str,
        timeframe: Timeframe,
        instrument: str,
        span: Span | None,
        columns: Mapping[str, pl.DataType],
    ) -> pl.DataFrame:
        """Stored feature rows by ts."""
        ...

    def remember_set(self, name: str, timeframe: Timeframe, features: Mapping[str, tuple[str, str]]) -> None:
        """Note which (expression, version) each column of a set is, and that it is built now."""
        ...

    def feature_sets(self, timeframe: Timeframe) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        """The (expression, version) of each column of every set that was ever built and not given up since."""
        ...


# ---------------------------------------------------------------- what the live desk decided


class LiveStore(FeatureStore, Protocol):
    """A store of bars that are decided as they come."""

    def learned(self, timeframe: Timeframe, names: Sequence[str], since: int, made: float, upto: int) -> int | None:
        """The oldest bar by ``upto`` that was stored or corrected after ``since``; ``made``: that, by the host."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision: ``kind`` alert or position, a key that is the same whenever it is decided again, and what it is."""

    kind: str
    timeframe: str
    key: str
    ts: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What deciding again changed: entries that are new, and those that stand no more."""

    added: tuple[Entry, ...] = ()
    withdrawn: tuple[Entry, ...] = ()


class Journal(Protocol):
    """The desk's durable memory: decisions, feature rows, checkpoints. Nothing in it is changed or taken out."""

    def decide(
        self,
        timeframe: Timeframe,
        since: int,
        until: int,
        entries: Sequence[Entry],
        *,
        now: int,
        moments: Iterable[tuple[str, int, pl.DataFrame]] = (),
    ) -> Changes:
        """Make ``entries`` what stands of the bar times from ``since`` to ``until``; feature rows by (set, ts)."""
        ...

    def decided(self, timeframe: Timeframe) -> int | None:
        """The newest bar time that was decided; None where none ever was."""
        ...

    def fact(self, name: str) -> Any:
        """A remembered value; None where there is none."""
        ...

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Remember values by name."""
        ...

    def entries(self, kind: str, timeframe: Timeframe | None = None) -> list[dict[str, Any]]:
        """What stands, by time."""
        ...

    def keep(self, desk: str, ts: int, body: bytes, *, now: int) -> None:
        """Keep the memory after ``ts``."""
        ...

    def checkpoints(self, desk: str) -> list[tuple[int, int, float]]:
        """(bar time, when it was kept, the same by the host's clock in seconds) of what is kept, newest first."""
        ...

    def checkpoint(self, desk: str, ts: int) -> bytes | None:
        """The memory after ``ts``; None where it is not kept, or damaged."""
        ...

    def forget_checkpoints(self, desk: str, after: int) -> None:
        """Let go of memories of bar times from ``after`` on."""
        ...
