"""Time as whole microseconds since the epoch, UTC: timeframes, spans, and sets of spans.

Everything is half-open: ``[start, end)``. A span set is kept as run lengths, so that its cost follows the number of
holes, not the number of bars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gapless.errors import UnknownName, UsageError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
_MONDAY = 4 * DAY  # the epoch was a Thursday; weeks open on Monday

Micros = npt.NDArray[np.int64]
EARLIEST = -2_208_988_800 * SECOND  # 1900-01-01
LATEST = 4_102_444_800 * SECOND  # 2100-01-01


@dataclass(frozen=True, order=True, slots=True)
class Timeframe:
    """The length of a bar.

    >>> Timeframe.parse("5m").micros // SECOND
    300
    >>> Timeframe.parse("1w").floor(parse_time("2025-05-08")) == parse_time("2025-05-05")  # Monday
    True
    """

    micros: int
    name: str
    ALL: ClassVar[dict[str, Timeframe]] = {}

    @classmethod
    def parse(cls, text: str | Timeframe) -> Timeframe:
        """The timeframe called ``text``; raises UnknownName with the nearest one."""
        if isinstance(text, Timeframe):
            return text
        if text not in cls.ALL:
            raise UnknownName("timeframe", text, cls.ALL)
        return cls.ALL[text]

    @property
    def offset(self) -> int:
        """Where the grid starts: weekly bars open on Monday, all others at the epoch."""
        return _MONDAY if self.micros == WEEK else 0

    def floor(self, ts: int) -> int:
        """The open time of the bar that holds ``ts``."""
        return (ts - self.offset) // self.micros * self.micros + self.offset

    def ceil(self, ts: int) -> int:
        """The first bar open at or after ``ts``."""
        return -((self.offset - ts) // self.micros) * self.micros + self.offset

    def __str__(self) -> str:
        return self.name


for _name, _micros in {
    "1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": HOUR, "4h": 4 * HOUR, "1d": DAY, "1w": WEEK,
}.items():  # fmt: skip
    Timeframe.ALL[_name] = Timeframe(_micros, _name)


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """``[start, end)`` in microseconds.

    >>> Span.parse("2025-05-01", "2025-05-02").bars(Timeframe.parse("1h"))
    24
    """

    start: int
    end: int

    @classmethod
    def parse(cls, start: str | datetime | int, end: str | datetime | int) -> Span:
        """A span from two times in any form ``parse_time`` reads; the end must not lie before the start."""
        span = cls(parse_time(start), parse_time(end))
        if span.end < span.start:
            raise UsageError(
                f"the end {iso(span.end)} lies before the start {iso(span.start)}.",
                hint="give --start before --end; the end is exclusive",
            )
        return span

    def __bool__(self) -> bool:
        return self.end > self.start

    def bars(self, timeframe: Timeframe) -> int:
        """How many bars open inside."""
        return max(0, (timeframe.ceil(self.end) - timeframe.ceil(self.start)) // timeframe.micros)

    def intersect(self, other: Span) -> Span:
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.end, other.end)))

    def __str__(self) -> str:
        return f"{iso(self.start)} → {iso(self.end)}"


class SpanSet:
    """An immutable, sorted set of disjoint, non-touching spans, kept as two int64 arrays.

    >>> a, b = SpanSet.of((0, 10), (20, 30)), SpanSet.of((5, 25))
    >>> a | b, a & b, a - b
    (SpanSet(0-30), SpanSet(5-10, 20-25), SpanSet(0-5, 25-30))
    """

    __slots__ = ("ends", "starts")

    def __init__(self, starts: Micros, ends: Micros) -> None:
        self.starts = starts
        self.ends = ends

    @classmethod
    def of(cls, *spans: Span | tuple[int, int]) -> SpanSet:
        """From spans in any order, overlapping or touching; empty ones vanish."""
        pairs = [(s.start, s.end) if isinstance(s, Span) else s for s in spans]
        array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls.merge(array[:, 0], array[:, 1])

    @classmethod
    def merge(cls, starts: Micros, ends: Micros) -> SpanSet:
        """From arrays in any order, overlapping or touching."""
        keep = ends > starts
        starts, ends = starts[keep], ends[keep]
        if not len(starts):
            return cls(starts, ends)
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        fresh = np.concatenate(([True], starts[1:] > ends[:-1]))
        last = np.concatenate((fresh[1:], [True]))
        return cls(starts[fresh], ends[last])

    @classmethod
    def from_bars(cls, ts: Micros, timeframe: Timeframe) -> SpanSet:
        """The runs covered by bars that open at ``ts`` (sorted, unique)."""
        if not len(ts):
            return cls(ts, ts)
        breaks = np.flatnonzero(np.diff(ts) != timeframe.micros)
        starts = ts[np.concatenate(([0], breaks + 1))]
        ends = ts[np.concatenate((breaks, [len(ts) - 1]))] + timeframe.micros
        return cls(starts, ends)

    def __iter__(self) -> Iterator[Span]:
        return (Span(int(a), int(b)) for a, b in zip(self.starts, self.ends, strict=True))

    def __len__(self) -> int:
        return len(self.starts)

    def __bool__(self) -> bool:
        return len(self.starts) > 0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SpanSet)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.ends, other.ends)
        )

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.ends.tobytes()))

    def __or__(self, other: SpanSet) -> SpanSet:
        return SpanSet.merge(np.concatenate((self.starts, other.starts)), np.concatenate((self.ends, other.ends)))

    def __and__(self, other: SpanSet) -> SpanSet:
        small, large = (self, other) if len(self) <= len(other) else (other, self)
        if len(small) <= 1:  # the usual case: one long stretch against many holes
            return large.clip(Span(int(small.starts[0]), int(small.ends[0]))) if small else small
        return self._combine(other, 2)

    def __sub__(self, other: SpanSet) -> SpanSet:
        if not self or not other:
            return self
        lo, hi = int(self.starts[0]), int(self.ends[-1])
        return self & other.complement(Span(lo, hi))

    def complement(self, within: Span) -> SpanSet:
        """What ``within`` holds and this set does not."""
        inside = self.clip(within)
        starts = np.concatenate((np.array([within.start], dtype=np.int64), inside.ends))
        ends = np.concatenate((inside.starts, np.array([within.end], dtype=np.int64)))
        keep = ends > starts
        return SpanSet(starts[keep], ends[keep])

    def clip(self, within: Span) -> SpanSet:
        """The part inside one span."""
        starts, ends = np.maximum(self.starts, within.start), np.minimum(self.ends, within.end)
        keep = ends > starts
        return SpanSet(starts[keep], ends[keep])

    def _combine(self, other: SpanSet, depth: int) -> SpanSet:
        """Sweep over both edges lists: where at least ``depth`` of the two cover."""
        edges = np.concatenate((self.starts, other.starts, self.ends, other.ends))
        steps = np.repeat(np.array([1, -1], dtype=np.int64), [len(self) + len(other)] * 2)
        order = np.lexsort((steps, edges))  # at equal times ends come first: touching spans do not overlap
        edges, level = edges[order], np.cumsum(steps[order])
        opens = np.flatnonzero((level >= depth) & (np.concatenate(([0], level[:-1])) < depth))
        closes = np.flatnonzero((level < depth) & (np.concatenate(([0], level[:-1])) >= depth))
        return SpanSet.merge(edges[opens], edges[closes])

    @property
    def hull(self) -> Span | None:
        """From the first start to the last end; None when empty."""
        return Span(int(self.starts[0]), int(self.ends[-1])) if self else None

    @property
    def total(self) -> int:
        """Covered microseconds."""
        return int((self.ends - self.starts).sum())

    def bars(self, timeframe: Timeframe) -> int:
        """How many bars open inside."""
        size, offset = timeframe.micros, timeframe.offset
        return int((-((offset - self.ends) // size) + ((offset - self.starts) // size)).sum())

    def contains(self, ts: int) -> bool:
        at = int(np.searchsorted(self.starts, ts, side="right")) - 1
        return at >= 0 and ts < int(self.ends[at])

    def mask(self, ts: Micros) -> npt.NDArray[np.bool_]:
        """For each time: is it inside?"""
        at = np.searchsorted(self.starts, ts, side="right") - 1
        inside = at >= 0
        inside[inside] = ts[inside] < self.ends[at[inside]]
        return np.asarray(inside, dtype=np.bool_)

    def tobytes(self) -> bytes:
        """A portable form for a metadata table; ``frombytes`` reads it."""
        return np.stack((self.starts, self.ends)).astype("<i8").tobytes()

    @classmethod
    def frombytes(cls, blob: bytes) -> SpanSet:
        pair = np.frombuffer(blob, dtype="<i8").reshape(2, -1).astype(np.int64)
        return cls(pair[0], pair[1])

    def __repr__(self) -> str:
        return "SpanSet(" + ", ".join(f"{s.start}-{s.end}" for s in self) + ")"


_FORMS = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$")


def parse_time(value: str | datetime | int) -> int:
    """Microseconds since the epoch, from ISO-8601 text (UTC unless it says otherwise), a datetime, or microseconds.

    >>> iso(parse_time("2021-04-25T05:00")), iso(parse_time("2021-04-25 05:00+02:00"))
    ('2021-04-25T05:00:00Z', '2021-04-25T03:00:00Z')
    """
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        moment = value
    else:
        text = value.strip()
        if not _FORMS.match(text):
            raise UsageError(f"'{value}' is not a time.", hint="write ISO-8601, for example 2021-04-25T05:00Z")
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise UsageError(
                f"'{value}' is not a time: {error}.", hint="write ISO-8601, for example 2021-04-25"
            ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(ts: int) -> datetime:
    """The aware UTC datetime of ``ts``."""
    return _EPOCH + timedelta(microseconds=ts)


def iso(ts: int) -> str:
    """ISO-8601, UTC, ``Z``; fractions only where there are any."""
    return to_datetime(ts).isoformat().replace("+00:00", "Z")


_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$")
_UNITS = {"ms": 1000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}


def parse_duration(text: str) -> int:
    """Microseconds of ``90s``, ``15m``, ``1.5h``, ``2d``.

    >>> parse_duration("90s") == 90 * SECOND
    True
    """
    found = _DURATION.match(text)
    if not found:
        raise UsageError(f"'{text}' is not a duration.", hint="write a number and a unit: 30s, 15m, 2h, 7d")
    return round(float(found[1]) * _UNITS[found[2]])


def hull(spans: Iterable[Span]) -> Span | None:
    """The smallest span that holds all; None for none."""
    found = [s for s in spans if s]
    return Span(min(s.start for s in found), max(s.end for s in found)) if found else None
