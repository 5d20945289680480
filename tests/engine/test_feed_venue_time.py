"""The venue's clock as it is estimated, on clocks that only the test moves; and once over a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.fetch import opened
from gapless.engine.venue_time import Sample, VenueTime
from gapless.events import ClockSkewed, Event
from gapless.sim import SimConfig, running
from gapless.sources.binance import spot
from gapless.spans import HOUR, MINUTE, SECOND, parse_time

NOW = parse_time("2025-05-01")


@dataclass
class World:
    """Real time, the wall clock's error, and the venue's clock."""

    rate: float = 1.0
    real: int = 5_000 * SECOND
    wall_off: int = 0
    venue_off: int = 0
    slept: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin = self.real
        self.time = VenueTime(
            "venue",
            observer=self.events.append,
            wall=lambda: NOW + self.real - self.begin + self.wall_off,
            monotonic=lambda: self.real * 1000,
            sleep=self.sleep,
        )

    def venue(self) -> int:
        return NOW + int((self.real - self.begin) * self.rate) + self.venue_off

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.real += max(1, round(seconds * SECOND))

    def ask(self, there: int = 20_000, back: int = 20_000) -> None:
        """A request that travels so many µs each way."""
        sent = self.real
        self.real += there
        said = self.venue() // 1000 * 1000
        self.real += back
        self.time.learn(Sample(said, sent, self.real))

    def error(self) -> int:
        return self.time() - self.venue()

    def skews(self) -> list[float]:
        return [round(e.seconds, 1) for e in self.events if isinstance(e, ClockSkewed)]


def test_before_the_first_answer_it_is_the_wall_clock() -> None:
    """An estimate without a sample is ours."""
    world = World(wall_off=7)
    assert world.time() == NOW + 7


@given(
    off=st.integers(-10_000 * HOUR, 10_000 * HOUR),
    trips=st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, SECOND), st.integers(1, 300)), min_size=1),
)
def test_it_never_runs_ahead_and_lags_by_no_more_than_an_answer(off: int, trips: list[tuple[int, int, int]]) -> None:
    """At a rate of 1, for any delays, the estimate is behind by at most the newest round trip, and the stamp's ms."""
    world = World(venue_off=off)
    for there, back, pause in trips:
        world.ask(there, back)
        assert world.time.rate == 1.0
        assert -(there + back) - 1000 <= world.error() <= 0
        world.real += pause * SECOND
        assert -(there + back) - 1000 <= world.error() <= 0


@given(
    rate=st.floats(0, 0.9) | st.floats(1.1, 500),
    trips=st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, SECOND), st.integers(0, 300)), min_size=3),
)
def test_it_never_runs_ahead_at_any_pace(rate: float, trips: list[tuple[int, int, int]]) -> None:
    """Once another pace is known the estimate stays below the venue's clock, however the answers travel."""
    world = World(rate=rate)
    for there, back, pause in trips:
        world.ask(there, back)
        world.real += pause * SECOND
        if world.time.rate != 1.0:
            assert world.error() <= 1


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.2, 20.0, 300.0])
def test_another_pace_is_found_out(rate: float) -> None:
    """Three answers a fifth of a second apart give the rate; more of them give it to a thousandth."""
    world = World(rate=rate)
    for pause in (0.2, 0.2, 0.2, 30, 30, 30):
        world.ask(1000, 1000)
        world.real += int(pause * SECOND)
    assert world.time.rate == pytest.approx(rate, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("rate", [0.96, 1.0, 1.04])
def test_a_pace_that_may_be_one_is_one(rate: float) -> None:
    """Within five in a hundred the rate is not believed to differ."""
    world = World(rate=rate)
    for _ in range(10):
        world.ask()
        world.real += 10 * SECOND
    assert world.time.rate == 1.0


def test_slow_answers_prove_no_other_pace() -> None:
    """Two answers that travelled two seconds, made half a second apart by their stamps, leave the rate at 1."""
    world = World()
    world.ask(1_900_000, 100_000)
    world.ask(100_000, 1_900_000)
    assert world.time.rate == 1.0


def test_a_jump_of_the_wall_clock_is_told_and_does_not_matter() -> None:
    """An hour forth and back: two events, and the estimate is where it was."""
    world = World()
    world.ask()
    before = world.error()
    world.wall_off = HOUR
    assert world.time.notice_jump()
    assert not world.time.notice_jump()
    world.ask()
    assert world.error() == before
    world.wall_off = 0
    assert world.time.notice_jump()
    assert world.skews() == [-3600.0, 0.0]


def test_a_machine_that_slept_is_right_after_the_next_answer() -> None:
    """The monotonic clock stood still for an hour: one answer puts the estimate right, at the same rate."""
    world = World()
    for _ in range(3):
        world.ask()
        world.real += SECOND
    world.wall_off = world.venue_off = HOUR
    assert world.time.notice_jump()
    world.ask()
    assert world.time.rate == 1.0
    assert -25_000 <= world.error() <= 0
    world.ask()
    assert world.time.rate == 1.0
    assert -25_000 <= world.error() <= 0


def test_a_skew_is_told_when_it_changes() -> None:
    """A venue seven seconds ahead is told once, however often it is asked."""
    world = World(venue_off=7 * SECOND)
    for _ in range(3):
        world.ask()
    assert world.skews() == [7.0]


def test_waiting_is_in_the_venues_time() -> None:
    """At twenty times the speed a minute takes three real seconds, and ends no earlier."""
    world = World(rate=20.0)
    for _ in range(3):
        world.ask(1000, 1000)
        world.real += SECOND
    goal, begun = world.time() + MINUTE, world.real
    asyncio.run(world.time.wait_until(goal))
    assert world.time() >= goal
    assert (world.real - begun) / SECOND == pytest.approx(3.0, rel=1e-2)


def test_waiting_on_a_clock_that_stands_looks_again() -> None:
    """A standing clock is waited for in slices; when it was moved, the wait ends."""
    world = World(rate=0.0)
    for _ in range(3):
        world.ask(1000, 1000)
        world.real += SECOND
    assert world.time.seconds_until(world.time() + 1) == float("inf")

    async def sleep(seconds: float) -> None:
        await World.sleep(world, seconds)
        if len(world.slept) == 5:
            world.venue_off = MINUTE
        world.ask(1000, 1000)

    world.time._sleep = sleep
    asyncio.run(world.time.wait_until(NOW + MINUTE - SECOND))
    assert len(world.slept) == 5


def test_it_settles_on_a_fast_venue_over_a_socket() -> None:
    """A simulated venue at forty times the speed: its rate is found from below, and its time."""

    async def script(url: str) -> VenueTime:
        time = VenueTime("binance")
        async with opened(spot(url)) as http:
            await time.settle(http, apart=0.3)
            while time.rate <= 30.0:  # on a loaded machine answers take long, and the bounds are wider for a while
                await asyncio.sleep(0.3)
                await time.sync(http)
        return time

    with running(SimConfig(symbols=2, now=NOW, speed=40.0)) as sim:
        time = asyncio.run(script(sim.url))
        assert 30.0 < time.rate <= 40.01
        assert sim.clock() - MINUTE < time() <= sim.clock()
