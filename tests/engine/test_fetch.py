"""Patience, against a real server that answers what the test scripts, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from gapless.engine.fetch import PacedHttp, Patience, latest_believable, opened, session_for
from gapless.errors import Faulty, Interrupted, Refused, Throttled
from gapless.events import Event, Paused, Retried
from gapless.series import Series
from gapless.sources.binance import spot
from gapless.spans import DAY, SECOND, Span, parse_time

Answer = tuple[int, dict[str, str], bytes] | str
OK: Answer = (200, {}, b"[]")
TOO_MANY = b'{"code":-1003,"msg":"Too much request weight used"}'


@dataclass
class Stage:
    """A server, the paced http before it, a clock, and all that happened."""

    script: list[Answer] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    time: float = 1000.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    before_sleep: Callable[[], None] = lambda: None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked_at.append(self.time)
        step = self.script.pop(0) if self.script else OK
        if step == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step == "hang":
            await asyncio.sleep(5)
            return web.Response()
        assert not isinstance(step, str)
        return web.Response(status=step[0], headers=step[1], body=step[2])

    async def sleep(self, seconds: float) -> None:
        self.before_sleep()
        target = self.time + seconds
        await asyncio.sleep(0)  # others may run, and sleep, at the same time
        self.time = max(self.time, target)

    def reasons(self, kind: type) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def playing(stage: Stage, *, patience: Patience | None = None, weight: int = 0):
    app = web.Application()
    app.router.add_get("/{path:.*}", stage.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source = spot(f"http://127.0.0.1:{runner.addresses[0][1]}", weight=weight)
    patience = patience or Patience()
    try:
        async with session_for(patience, 8) as session:
            yield PacedHttp(
                source,
                session,
                patience=patience,
                observer=stage.events.append,
                stop=stage.stop,
                clock=lambda: int(stage.time * SECOND),
                now=lambda: stage.time,
                sleep=stage.sleep,
                jitter=lambda: 0.0,
            )
    finally:
        await runner.cleanup()


def play(stage: Stage, act: Callable[[PacedHttp], Awaitable[object]], **settings: object) -> object:
    async def main() -> object:
        stage.stop = asyncio.Event()
        async with playing(stage, **settings) as http:  # type: ignore[arg-type]
            return await act(http)

    return asyncio.run(main())


def get(http: PacedHttp) -> Awaitable[bytes]:
    return http.get("/x", {}, weight=2)


def since(stage: Stage) -> list[float]:
    return [at - 1000.0 for at in stage.asked_at]


def test_faults_are_retried_with_growing_delays() -> None:
    """5xx, a reset and HTML each cost one attempt; delays double."""
    stage = Stage(["reset", (500, {}, b""), (502, {}, b"<html>"), (200, {}, b"done")])
    assert play(stage, get) == b"done"
    assert since(stage) == [0.0, 0.25, 0.75, 1.75]
    assert len(stage.reasons(Retried)) == 3


def test_a_time_out_is_a_fault() -> None:
    """A server that holds the request is left after the time-out and asked again."""
    stage = Stage(["hang", (200, {}, b"done")])
    assert play(stage, get, patience=Patience(timeout=0.1)) == b"done"
    assert "did not answer within 0.1 s" in stage.reasons(Retried)[0]


def test_patience_ends() -> None:
    """After the last attempt the last fault is raised, with their number."""
    stage = Stage([(503, {}, b"")] * 9)
    with pytest.raises(Faulty, match=r"503.*attempt 3 of 3"):
        play(stage, get, patience=Patience(attempts=3))
    assert len(stage.asked_at) == 3


def test_a_refusal_is_not_repeated() -> None:
    """Asking for an unknown symbol again would not help."""
    stage = Stage([(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')])
    with pytest.raises(Refused, match="Invalid symbol"):
        play(stage, get)
    assert len(stage.asked_at) == 1


def test_a_server_that_is_not_there_is_named() -> None:
    """A refused connection says which address could not be reached."""

    async def main() -> None:
        async with opened(spot("http://127.0.0.1:1"), patience=Patience(attempts=1)) as http:
            await get(http)

    with pytest.raises(Faulty, match=r"127\.0\.0\.1:1.*Hint: is http://127\.0\.0\.1:1/x reachable"):
        asyncio.run(main())


def test_retry_after_pauses_everybody() -> None:
    """One request is told to wait 17 s: none goes out before, and it is said once."""
    stage = Stage([(429, {"Retry-After": "17"}, TOO_MANY)])

    async def act(http: PacedHttp) -> None:
        first = asyncio.create_task(get(http))
        while not http.pause.reason:
            await asyncio.sleep(0.001)
        await asyncio.gather(first, get(http), get(http))

    play(stage, act)
    assert since(stage) == [0.0, 17.0, 17.0, 17.0]
    assert len(stage.reasons(Paused)) == 1


def test_a_ban_is_honoured_until_its_stated_end() -> None:
    """418 with a time in the body and a shorter Retry-After: the later of the two counts."""
    body = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1784000000000."}'
    stage = Stage([(418, {"Retry-After": "5"}, body)], time=1784000000.0 - 40.0)
    play(stage, get)
    assert [round(at - stage.asked_at[0]) for at in stage.asked_at] == [0, 40]


def test_a_ban_longer_than_patience_ends_the_work() -> None:
    """The first request says until when; later ones are not even sent."""
    stage = Stage([(418, {"Retry-After": "7200"}, TOO_MANY)])

    async def act(http: PacedHttp) -> None:
        for _ in range(2):
            with pytest.raises(Throttled, match=r"will not answer before 1970-01-01T02:16:40Z.*run again after"):
                await get(http)

    play(stage, act)
    assert len(stage.asked_at) == 1


def test_a_ban_that_meets_the_last_attempt_is_told_like_any_other() -> None:
    """A pause that is too long, told to the last attempt: until when, and not that a defect was met."""
    stage = Stage([(418, {"Retry-After": "7200"}, TOO_MANY)])
    with pytest.raises(Throttled, match=r"will not answer before 1970-01-01T02:16:40Z"):
        play(stage, get, patience=Patience(attempts=1))


def test_throttling_without_a_time_backs_off_by_itself() -> None:
    """No Retry-After: 5 s, then 10 s."""
    stage = Stage([(429, {}, TOO_MANY)] * 2)
    play(stage, get)
    assert since(stage) == [0.0, 5.0, 15.0]


def test_weight_is_paced_over_the_window() -> None:
    """10 a minute at weight 2: four go (8 of the 9.5 that may be used), the fifth a minute after the first."""
    stage = Stage()

    async def act(http: PacedHttp) -> None:
        for _ in range(6):
            await get(http)

    play(stage, act, weight=10)
    assert since(stage) == [0.0, 0.0, 0.0, 0.0, 60.0, 60.0]
    assert len(stage.reasons(Paused)) == 1


def test_the_venue_knows_better_what_was_spent() -> None:
    """A header that says 9 of 10 used makes the next request wait."""
    stage = Stage([(200, {"X-MBX-USED-WEIGHT-1M": "9"}, b"[]")])

    async def act(http: PacedHttp) -> None:
        await get(http)
        await get(http)

    play(stage, act, weight=10)
    assert since(stage) == [0.0, 60.0]


def test_the_circuit_opens_and_a_probe_closes_it() -> None:
    """After ten faults in a row nobody asks for 5 s; then one probe does, and all go on."""
    stage = Stage([(500, {}, b"")] * 10)
    patience = Patience(attempts=20, first_delay=0.1, longest_delay=0.1)
    play(stage, get, patience=patience)
    assert stage.asked_at[10] - stage.asked_at[9] >= 5.0
    assert "10 faults in a row" in stage.reasons(Paused)[0]


def test_a_dead_source_is_given_up_quickly_after_the_outage_limit() -> None:
    """Once it has been silent for longer than patience, requests fail without being sent."""
    stage = Stage([(500, {}, b"")] * 1000)
    patience = Patience(attempts=12, outage=60.0)

    async def act(http: PacedHttp) -> int:
        errors = []
        for _ in range(6):
            try:
                await get(http)
            except Faulty as error:
                errors.append(error.message)
        assert "has given no usable answer for" in errors[-1]
        before = len(stage.asked_at)
        with pytest.raises(Faulty, match=r"no usable answer for \d+ s\. Hint: is http"):
            await get(http)
        return len(stage.asked_at) - before

    assert play(stage, act, patience=patience) == 0


def test_a_stop_ends_waiting_at_once() -> None:
    """Told to stop during a pause, the request is not made."""
    stage = Stage([(429, {"Retry-After": "17"}, TOO_MANY)])
    stage.before_sleep = lambda: stage.stop.set()  # noqa: PLW0108 - the event is made later
    with pytest.raises(Interrupted):
        play(stage, get)
    assert len(stage.asked_at) == 1


def test_the_real_sleep_ends_with_a_stop() -> None:
    """Without a clock of the test's own: a wait of an hour ends when the stop comes."""

    async def main() -> None:
        stop = asyncio.Event()
        async with opened(spot("http://127.0.0.1:1"), stop=stop) as http:
            asyncio.get_running_loop().call_later(0.02, stop.set)
            await http._wait(3600.0)

    with pytest.raises(Interrupted):
        asyncio.run(main())


def test_a_page_that_cannot_be_read_is_a_fault_like_any_other() -> None:
    """Truncated JSON with status 200 is asked again, on the same count of attempts."""
    stage = Stage([(200, {}, b"[[17"), (500, {}, b""), (200, {}, b"[]")])
    start = parse_time("2025-05-01")

    tries: list[float] = []

    async def act(http: PacedHttp) -> object:
        series = Series.parse("BINANCE:BTCUSDT", "1m")
        return await http.page(series, Span(start, start + DAY), lambda: tries.append(stage.time))

    play(stage, act)
    assert len(tries) == len(stage.asked_at) == 3


def test_times_to_come_back_are_believed_only_when_they_can_be_meant() -> None:
    """Seconds, HTTP dates and stated times count; the past, far futures and nonsense do not."""
    now = parse_time("2025-05-01")
    assert latest_believable(now, "Thu, 01 May 2025 00:01:00 GMT", None) == now + 60 * SECOND
    assert latest_believable(now, "10", now + 30 * SECOND) == now + 30 * SECOND
    assert latest_believable(now, "10", now - SECOND) == now + 10 * SECOND
    assert latest_believable(now, "soon", now + 400 * DAY) is None
    assert latest_believable(now, "0", None) == now + SECOND
