"""How a series' bars are cut for building features, and what a piece of it is made of. Pure.

*Pieces* are fine: a day of minutes, a month of bars up to 4h, everything of longer ones. Each has a digest of the bars
it holds: their times, and when each was learned. *Stretches* are what is built and kept together: whole coarse periods
(months, years) of pieces, and of a series' last coarse period each piece by itself, so that new bars cost what is near
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from gapless.spans import DAY, MINUTE, Micros, Span, Timeframe, to_datetime

_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """The bars of one fine period: when it starts, its first and last bar (µs), how many, and their digest."""

    start: int
    first: int
    last: int
    bars: int
    digest: bytes


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


def stretches(found: Sequence[Piece], timeframe: Timeframe) -> list[Stretch]:
    """Pieces joined to coarse periods, but for those of the last."""
    if timeframe.micros >= DAY:
        return [_stretch("all", found, timeframe)] if found else []
    form, short = ("%Y-%m", "%Y-%m-%d") if timeframe.micros == MINUTE else ("%Y", "%Y-%m")
    groups = [(name, list(group)) for name, group in groupby(found, key=lambda p: _name(p, form))]
    whole = [_stretch(name, group, timeframe) for name, group in groups[:-1]]
    return whole + [_stretch(_name(p, short), [p], timeframe) for _, group in groups[-1:] for p in group]


def _name(piece: Piece, form: str) -> str:
    return to_datetime(piece.start).strftime(form)


def _stretch(name: str, group: Sequence[Piece], timeframe: Timeframe) -> Stretch:
    text = hashlib.blake2b(digest_size=_DIGEST)
    for piece in group:
        text.update(piece.bars.to_bytes(8, "little") + piece.digest)
    last = group[-1].last
    return Stretch(name, Span(group[0].first, last + timeframe.micros), last, text.hexdigest())


def joined(stretch: Stretch, others: Sequence[Sequence[Piece]]) -> str:
    """The digest of a stretch together with what it may read of other series in the same time."""
    if not others:
        return stretch.digest
    text = hashlib.blake2b(stretch.digest.encode(), digest_size=_DIGEST)
    for theirs in others:
        near = [p for p in theirs if p.last >= stretch.span.start and p.first <= stretch.last]
        text.update(len(near).to_bytes(8, "little") + b"".join(p.digest for p in near))
    return text.hexdigest()


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
