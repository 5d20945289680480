"""How series are cut for building: what a digest covers, and what a change touches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gapless.segments import join_digests, joinable, pack, pieces, stretches, touched, unpack
from gapless.spans import DAY, MINUTE, Timeframe, parse_time

TIMEFRAMES = [Timeframe.parse(name) for name in ("1m", "5m", "4h", "1d", "1w")]
START = parse_time("2023-11-20")
MINUTES = st.lists(st.integers(0, 260 * 1440), min_size=1, max_size=60, unique=True)


def cut(minutes: list[int], timeframe: Timeframe, changed: int | None = None) -> list:  # type: ignore[type-arg]
    ts = np.unique([timeframe.floor(START + m * MINUTE) for m in minutes])
    known = np.full(len(ts), 5, dtype=np.int64)
    if changed is not None:
        known[changed % len(ts)] = 6
    return pieces(ts, known, timeframe)


@given(MINUTES, st.lists(st.integers(0, 260 * 1440), max_size=40, unique=True), st.sampled_from(TIMEFRAMES))
def test_stretches_cover_every_bar_once(minutes: list[int], theirs: list[int], timeframe: Timeframe) -> None:
    """In order, without overlap; and the digest of a whole is that of its parts, whatever they join."""
    own, other = cut(minutes, timeframe), cut(theirs, timeframe)
    found = stretches(own, [other], timeframe)
    assert (found[0].span.start, found[-1].last) == (own[0].first, own[-1].last)
    assert all(a.span.end <= b.span.start for a, b in pairwise(found))
    parts = {s.period: s for s in stretches(own, [other], timeframe, [_short(p, timeframe) for p in own])}
    for name, periods in joinable(parts, timeframe).items():
        (one,) = [s for s in stretches(own, [other], timeframe, [name]) if s.period == name]
        assert one.digest == join_digests(parts[p].digest for p in periods)
        assert one.last == parts[periods[-1]].last


def _short(piece: object, timeframe: Timeframe) -> str:
    return stretches([piece], [], timeframe)[0].period  # type: ignore[list-item]


@given(MINUTES, st.integers(0, 99), st.sampled_from(TIMEFRAMES))
def test_a_change_shows_in_one_stretch(minutes: list[int], which: int, timeframe: Timeframe) -> None:
    """Of its own series, and of a series that joins it: exactly the stretch that may read it."""
    before, after = cut(minutes, timeframe), cut(minutes, timeframe, which)
    for own in (lambda p: stretches(p, [], timeframe), lambda p: stretches(before, [p], timeframe)):
        changed = [a.period for a, b in zip(own(before), own(after), strict=True) if a != b]
        assert len(changed) == 1


@given(MINUTES, MINUTES, st.sampled_from(TIMEFRAMES))
def test_what_the_tail_touches_is_what_must_be_read(held: list[int], tail: list[int], timeframe: Timeframe) -> None:
    """Pieces outside the runs stand; those inside, read again with the tail, make the pieces of all bars."""
    both, found = cut([*held, *tail], timeframe), cut(held, timeframe)
    ts = np.unique([timeframe.floor(START + m * MINUTE) for m in tail])
    runs = touched(found, ts, timeframe)
    kept = [p for p in found if not any(run.start <= p.first < run.end for run in runs)]
    anew = [p for p in both if any(run.start <= p.first < run.end for run in runs)]
    assert sorted(kept + anew, key=lambda p: p.first) == both
    assert all(any(run.start <= t < run.end for run in runs) for t in ts)


@given(MINUTES, st.sampled_from(TIMEFRAMES))
def test_pieces_survive_being_stored(minutes: list[int], timeframe: Timeframe) -> None:
    """pack and unpack."""
    found = cut(minutes, timeframe)
    assert unpack(pack(found)) == found
    assert sum(p.bars for p in found) == len({timeframe.floor(START + m * MINUTE) for m in minutes})


def test_weeks_are_cut_at_fixed_days() -> None:
    """The last three months in weeks from the 1st, 8th, 15th, 22nd and 29th; months before them whole."""
    found = stretches(cut([d * 1440 for d in range(120)], TIMEFRAMES[0]), [], TIMEFRAMES[0])
    names = [s.period for s in found]
    assert names[:2] == ["2023-11", "2023-12"]
    assert names[2:7] == [f"2024-01-{d:02}" for d in (1, 8, 15, 22, 29)]
    assert names[-1] == "2024-03-15"
    assert found[-1].last == START + 119 * DAY
