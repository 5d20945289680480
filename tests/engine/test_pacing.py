"""Pacing arithmetic, on a clock of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.pacing import HEADROOM, Breaker, Pause, Window


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30).map(float)), max_size=60),
)
def test_no_window_however_laid_holds_more_than_the_allowance(allowance: int, asks: list[tuple[int, float]]) -> None:
    """The weight sent in any 60 s stays within the allowance, but for a request heavier than all of it."""
    window, now, sent = Window(allowance, 60.0), 0.0, []
    for weight, gap in asks:
        now += gap
        while wait := window.wait(weight, now):
            now += wait
        sent.append((now, weight))
    for at, _ in sent:
        inside = [weight for time, weight in sent if at <= time < at + 60.0]
        assert sum(inside) <= allowance * HEADROOM or len(inside) == 1


@given(st.lists(st.integers(1, 10), min_size=1, max_size=50))
def test_waiting_exactly_as_told_is_enough(weights: list[int]) -> None:
    """After the stated wait the same request goes: nobody has to ask three times."""
    window, now = Window(20, 60.0), 0.0
    for weight in weights:
        wait = window.wait(weight, now)
        if wait:
            now += wait
            assert window.wait(weight, now) == 0.0


def test_the_allowance_is_used_to_the_full() -> None:
    """A steady sender of weight 2 gets 95 % of 6000 a minute, not less."""
    window, now, sent = Window(6000, 60.0), 0.0, 0
    while now < 600.0:
        wait = window.wait(2, now)
        now += wait
        sent += 0 if wait else 2
    assert sent == 10 * 5700


def test_no_allowance_means_no_limit() -> None:
    """A venue that does not count is asked at once, always, and remembers nothing."""
    window = Window(0, 60.0)
    assert [window.wait(10**9, 0.0) for _ in range(3)] == [0.0] * 3
    window.heed(5, 0.0)
    assert window.spent == 0


def test_weight_spent_by_others_at_this_address_counts() -> None:
    """When the venue counted more than we sent, the rest was somebody else's and is waited for."""
    window = Window(100, 60.0)
    assert window.wait(10, 0.0) == 0.0
    window.heed(90, 1.0)
    assert window.wait(10, 1.0) == 59.0
    window.heed(20, 2.0)  # less than we know of: an earlier answer that comes late
    assert window.spent == 90


def test_a_request_heavier_than_the_window_goes_alone() -> None:
    """It cannot wait for room that will never be; it waits for an empty window."""
    window = Window(10, 60.0)
    assert window.wait(50, 0.0) == 0.0
    assert window.wait(50, 1.0) == 59.0


def test_the_breaker_opens_after_faults_in_a_row_only() -> None:
    """A success in between starts the count again."""
    breaker = Breaker(threshold=3, cooldown=5.0)
    breaker.failed(0.0)
    breaker.failed(0.0)
    breaker.succeeded()
    assert [breaker.failed(1.0), breaker.failed(2.0), breaker.failed(3.0)] == [0.0, 0.0, 5.0]
    assert breaker.since == 1.0


def test_half_open_lets_one_probe_through_and_doubles_on_failure() -> None:
    """One caller goes per cool-down; a failed probe doubles it up to the longest; a good one closes the circuit."""
    breaker = Breaker(threshold=1, cooldown=5.0, longest=12.0)
    assert breaker.failed(0.0) == 5.0
    assert [breaker.wait(5.0), breaker.wait(5.0)] == [0.0, 5.0]
    assert breaker.failed(6.0) == 10.0
    assert breaker.failed(7.0) == 0.0  # a request that was under way before
    assert [breaker.wait(7.0), breaker.wait(16.0)] == [9.0, 0.0]
    assert breaker.failed(16.0) == 12.0
    assert breaker.wait(28.0) == 0.0
    breaker.succeeded()
    assert [breaker.wait(28.0), breaker.wait(28.0)] == [0.0, 0.0]


def test_a_pause_is_only_ever_extended() -> None:
    """A shorter pause does not cut a longer one."""
    pause = Pause()
    assert pause.wait(0.0) == 0.0
    assert pause.extend(10.0, 0.0, "ban")
    assert not pause.extend(5.0, 1.0, "429")
    assert (pause.wait(4.0), pause.reason) == (6.0, "ban")
