"""How a series' bars are cut for building features, and what a piece of it is made of. Pure.

*Pieces* are small: a day of minutes, a month of bars up to 4h, everything of longer ones. Each has a digest of the bars
it holds: their times, and when each was learned. *Stretches* are what is built and kept together: short ones (a week of
minutes, cut at the 1st, 8th, 15th, 22nd and 29th; a month of bars up to 4h) or whole ones (a month; a year). A series'
last few wholes are built in short stretches, so that new and corrected bars cost what is near them. What was built in
short ones stays so until they are joined, which needs no bar: the digest of a whole is made of those of its parts.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from gapless.spans import DAY, EARLIEST, LATEST, MINUTE, Micros, Span, Timeframe, to_datetime

_DIGEST = 16


class Piece(NamedTuple):  # a lake holds a million of them: a dataclass takes five times as long to make
    """The bars of one fine period: when it starts, its first and last bar (µs), how many, and their digest."""

    start: int
    first: int
    last: int
    bars: int
    digest: bytes

    def also(self, *read: bytes) -> Piece:
        """The piece of which more was read than its bars."""
        return self._replace(digest=hashlib.blake2b(b"".join((self.digest, *read)), digest_size=_DIGEST).digest())


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is built together: a period's name, its bars' span, its last bar, and the digest of what it consumes."""

    period: str
    span: Span
    last: int
    digest: str


def pieces(ts: Micros, known_at: Micros, timeframe: Timeframe) -> list[Piece]:
    """The pieces of sorted bars."""
    if not len(ts):
        return []
    starts = fine(ts, timeframe)
    cuts = np.flatnonzero(np.diff(starts)) + 1
    edges = [0, *cuts.tolist(), len(ts)]
    stamps = np.stack((ts, known_at), axis=1).astype("<i8")
    return [
        Piece(
            int(starts[a]),
            int(ts[a]),
            int(ts[b - 1]),
            b - a,
            hashlib.blake2b(stamps[a:b].tobytes(), digest_size=_DIGEST).digest(),
        )
        for a, b in pairwise(edges)
    ]


def fine(ts: Micros, timeframe: Timeframe) -> Micros:
    """The start of the fine period of each time."""
    return _floor(ts, "D" if timeframe.micros == MINUTE else "M") if timeframe.micros < DAY else np.zeros_like(ts)


def _floor(ts: Micros, unit: str) -> Micros:
    periods = ts.astype("datetime64[us]").astype(f"datetime64[{unit}]")
    return np.asarray(periods.astype("datetime64[us]").astype(np.int64))


def touched(found: Sequence[Piece], ts: Micros, timeframe: Timeframe) -> list[Span]:
    """The pieces, known or new, that bars at these sorted times belong to: runs of them, each from bar to bar."""
    starts, at = np.unique(fine(ts, timeframe), return_index=True)
    ends = [*(at[1:] - 1), len(ts) - 1]
    hit = {int(s): (int(ts[a]), int(ts[b])) for s, a, b in zip(starts, at, ends, strict=True)}
    near = [p for p in found if starts[0] <= p.start <= starts[-1]]
    first, last = {p.start: p.first for p in near}, {p.start: p.last for p in near}
    runs = []
    for is_hit, group in groupby(sorted({*first, *hit}), key=hit.__contains__):
        if is_hit:
            run = list(group)
            low, high = (
                min(first.get(run[0], LATEST), hit[run[0]][0]),
                max(last.get(run[-1], EARLIEST), hit[run[-1]][1]),
            )
            runs.append(Span(low, high + 1))
    return runs


def stretches(
    found: Sequence[Piece], others: Sequence[Sequence[Piece]], timeframe: Timeframe, standing: Container[str] = ()
) -> list[Stretch]:
    """The stretches of a series that joins others; ``standing`` names those it was built in."""
    short = _short(found, others, timeframe)
    groups = [(name, list(parts)) for name, parts in groupby(short, key=lambda s: whole(s.period, timeframe))]
    recent, kept = len(groups) - _recent(timeframe), list[Stretch]()
    for k, (name, parts) in enumerate(groups):
        in_parts = name not in standing and (k >= recent or any(p.period in standing for p in parts))
        kept += parts if in_parts else [_joined(name, parts)]
    return kept


def whole(period: str, timeframe: Timeframe) -> str:
    """The name of the whole that a stretch is, or is part of.

    >>> whole("2025-05-08", Timeframe.parse("1m")), whole("2025-05", Timeframe.parse("5m"))
    ('2025-05', '2025')
    """
    return period[:7] if timeframe.micros == MINUTE else period[:4]


def _recent(timeframe: Timeframe) -> int:
    """So many last wholes are built in short stretches."""
    return 3 if timeframe.micros == MINUTE else 2


def join_digests(digests: Iterable[str]) -> str:
    """The digest of a whole, from those of its parts."""
    return hashlib.blake2b("".join(digests).encode(), digest_size=_DIGEST).hexdigest()


def joinable(periods: Iterable[str], timeframe: Timeframe) -> dict[str, list[str]]:
    """Of periods in order: the wholes that are no longer built in short stretches, but still stand in some."""
    groups = {name: list(parts) for name, parts in groupby(periods, key=lambda period: whole(period, timeframe))}
    old = list(groups)[: -_recent(timeframe)]
    return {name: groups[name] for name in old if groups[name] != [name]}


def _short(found: Sequence[Piece], others: Sequence[Sequence[Piece]], timeframe: Timeframe) -> list[Stretch]:
    """The short stretches, each with the digest of what it may read of all series."""
    if not found:
        return []
    starts = np.array([p.start for p in found], dtype=np.int64)
    edges = [0, *(np.flatnonzero(np.diff(_week(starts, timeframe))) + 1).tolist(), len(found)]
    near = [_Near(theirs) for theirs in others]
    own = [piece.bars.to_bytes(8, "little") + piece.digest for piece in found]
    return [_stretch(found[a], found[b - 1], own[a:b], near, timeframe) for a, b in pairwise(edges)]


def _week(starts: Micros, timeframe: Timeframe) -> Micros:
    """The start of the short period that a piece belongs to."""
    if timeframe.micros != MINUTE:
        return starts
    months = _floor(starts, "M")
    return months + (starts - months) // (7 * DAY) * (7 * DAY)


class _Near:
    """The digests of a joined series' pieces, found by time."""

    def __init__(self, found: Sequence[Piece]) -> None:
        self.firsts, self.lasts = [p.first for p in found], [p.last for p in found]
        self.digests = [p.digest for p in found]

    def __call__(self, first: int, last: int) -> bytes:
        a, b = bisect_left(self.lasts, first), bisect_right(self.firsts, last)
        return (b - a).to_bytes(8, "little") + b"".join(self.digests[a:b])


def _stretch(begin: Piece, end: Piece, own: list[bytes], near: Sequence[_Near], timeframe: Timeframe) -> Stretch:
    read = [*own, *(digests(begin.first, end.last) for digests in near)]
    digest = hashlib.blake2b(b"".join(read), digest_size=_DIGEST).hexdigest()
    return Stretch(_name(begin.start, timeframe), Span(begin.first, end.last + timeframe.micros), end.last, digest)


def _joined(name: str, parts: Sequence[Stretch]) -> Stretch:
    if name == parts[0].period:
        return parts[0]
    digest = join_digests(p.digest for p in parts)
    return Stretch(name, Span(parts[0].span.start, parts[-1].span.end), parts[-1].last, digest)


def _name(start: int, timeframe: Timeframe) -> str:
    if timeframe.micros >= DAY:
        return "all"
    day = to_datetime(start)
    return f"{day:%Y-%m}-{(day.day - 1) // 7 * 7 + 1:02}" if timeframe.micros == MINUTE else f"{day:%Y-%m}"


def pack(found: Sequence[Piece]) -> bytes:
    """Pieces as bytes for a table."""
    numbers = np.array([(p.start, p.first, p.last, p.bars) for p in found], dtype="<i8")
    return numbers.tobytes() + b"".join(p.digest for p in found)


def unpack(blob: bytes) -> list[Piece]:
    """The pieces of ``pack``."""
    count = len(blob) // (32 + _DIGEST)
    numbers = np.frombuffer(blob[: 32 * count], dtype="<i8").reshape(count, 4).tolist()
    digests = blob[32 * count :]
    return [
        Piece(start, first, last, bars, digests[_DIGEST * k : _DIGEST * (k + 1)])
        for k, (start, first, last, bars) in enumerate(numbers)
    ]
