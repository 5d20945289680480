"""The minute barrier: arrival order changes nothing, nobody waits for ever."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.barrier import DORMANT, Barrier
from gapless.protocols import Heard
from gapless.spans import MINUTE, SECOND, Timeframe

M1 = Timeframe.parse("1m")
NAMES = [f"X:S{i}" for i in range(5)]
GRACE = 2 * SECOND


def bar(name: str, k: int, price: float = 1.0) -> Heard:
    return Heard(name, "1m", k * MINUTE, (price,) * 8, True, (k + 1) * MINUTE)


def barrier() -> Barrier:
    return Barrier(NAMES, M1, grace=GRACE)


@given(st.randoms(use_true_random=False))
def test_arrival_order_changes_nothing(chance: random.Random) -> None:
    """Whatever the order inside three minutes, the same moments come out."""
    bars = [bar(name, k, price=k * 10.0 + i) for k in range(3) for i, name in enumerate(NAMES)]
    straight, mixed = (Barrier(NAMES, M1, grace=GRACE, after=-MINUTE) for _ in range(2))
    straight.add(bars)
    shuffled = list(bars)
    chance.shuffle(shuffled)
    found = []
    for one in shuffled:
        assert mixed.add([one]) == []
        found += mixed.ready(0)
    for a, b in zip(straight.ready(0), found, strict=True):
        assert (a.ts, a.missing) == (b.ts, b.missing)
        assert np.array_equal(a.values, b.values, equal_nan=True)


def test_an_earlier_minute_comes_first() -> None:
    """A complete minute waits for an incomplete one before it, until that one's grace is over."""
    gate = barrier()
    gate.add([bar(n, 0) for n in NAMES[1:]] + [bar(n, 1) for n in NAMES])
    assert gate.ready(MINUTE + SECOND) == []
    assert [(m.ts, m.missing) for m in gate.ready(MINUTE + GRACE)] == [(0, ("X:S0",)), (MINUTE, ())]


def test_a_late_bar_is_given_back() -> None:
    """What comes after its minute was given out is late, not lost."""
    gate = barrier()
    gate.add([bar(n, 0) for n in NAMES[1:]])
    gate.ready(2 * MINUTE)
    assert gate.add([bar("X:S0", 0), bar("X:S0", 1)]) == [bar("X:S0", 0)]


def test_a_halted_instrument_is_not_awaited_for_ever() -> None:
    """After a few missed minutes nobody waits for it; when it speaks again, it is awaited again."""
    gate = barrier()
    for k in range(DORMANT):
        gate.add([bar(n, k) for n in NAMES[1:]])
        assert gate.ready((k + 1) * MINUTE) == []
        assert gate.ready((k + 1) * MINUTE + GRACE)[0].missing == ("X:S0",)
    gate.add([bar(n, DORMANT) for n in NAMES[1:]])
    assert [m.missing for m in gate.ready(0)] == [()]
    gate.add([bar(n, DORMANT + 1) for n in NAMES])
    assert [m.present.all() for m in gate.ready(0)] == [True]
    gate.add([bar(n, DORMANT + 2) for n in NAMES[1:]])
    assert gate.ready(0) == []


def test_an_instrument_that_is_late_only_because_nobody_waited_is_awaited_again() -> None:
    """Its bar came in time by the venue's clock, after the others': the next one is waited for. A healed one is not."""
    gate = barrier()
    for k in range(DORMANT + 1):
        gate.add([bar(n, k) for n in NAMES[1:]])
        gate.ready((k + 1) * MINUTE + GRACE)
    healed = replace(bar("X:S0", DORMANT), said_at=0)
    assert gate.add([healed]) == [healed]
    gate.add([bar(n, DORMANT + 1) for n in NAMES[1:]])
    assert len(gate.ready(0)) == 1
    gate.add([bar(n, DORMANT + 2) for n in NAMES[1:]])
    assert gate.add([bar("X:S0", DORMANT + 1)]) == [bar("X:S0", DORMANT + 1)]
    assert gate.ready(0) == []
    gate.add([bar("X:S0", DORMANT + 2)])
    assert [m.present.all() for m in gate.ready(0)] == [True]


def test_the_last_word_stands() -> None:
    """A final bar said twice before its minute is given out: the later values."""
    gate = barrier()
    gate.add([bar(n, 0) for n in NAMES])
    gate.add([bar("X:S2", 0, price=7.0)])
    (moment,) = gate.ready(0)
    assert moment.values[0].tolist() == [1.0, 1.0, 7.0, 1.0, 1.0]


def test_forming_and_foreign_bars_are_left_alone() -> None:
    """A bar that may still change, an unknown instrument, another timeframe: none of them counts."""
    gate = barrier()
    forming = Heard("X:S0", "1m", 0, (1.0,) * 8, False, 0)
    assert gate.add([forming, bar("X:OTHER", 0), Heard("X:S0", "5m", 0, (1.0,) * 8, True, 0)]) == []
    assert gate.ready(10 * MINUTE) == []
    assert gate.next_deadline() is None


def test_bar_times_of_which_nothing_was_heard_are_told_with_the_next() -> None:
    """Whoever was awaited is named, so that somebody asks; a dormant instrument is not."""
    gate = Barrier(NAMES, M1, grace=GRACE, after=-MINUTE)
    gate.add([bar(n, k) for k in range(DORMANT) for n in NAMES[1:]])
    assert [m.silent for m in gate.ready(DORMANT * MINUTE + GRACE)] == [()] * DORMANT
    last = DORMANT + 2
    gate.add([bar(n, last) for n in NAMES[1:]])
    (moment,) = gate.ready((last + 1) * MINUTE)
    assert (moment.after, moment.ts) == ((DORMANT - 1) * MINUTE, last * MINUTE)
    assert moment.silent == tuple(NAMES[1:])
