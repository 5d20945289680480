"""What a feed knows without sockets: the backlog and the heads of series, against plain models of them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.backlog import Backlog, Said
from gapless.engine.heads import Head, Heads
from gapless.events import Connected
from gapless.protocols import Heard
from gapless.series import Series
from gapless.spans import HOUR, MINUTE, Span

BTC, ETH = (Series.parse(f"BINANCE:{name}USDT", "1m") for name in ("BTC", "ETH"))
HOURLY = Series.parse("BINANCE:BTCUSDT", "1h")


def bar(series: Series, nth: int, value: float = 1.0, *, final: bool = True) -> Heard:
    size = series.timeframe
    return Heard(str(series.instrument), size.name, nth * size.micros, (value,) * 8, final, (nth + 1) * size.micros)


bars = st.builds(bar, st.sampled_from([BTC, ETH]), st.integers(0, 5), st.floats(0, 9), final=st.booleans())


def drained(backlog: Backlog) -> list[Said]:
    async def main() -> list[Said]:
        backlog.close()
        return [one async for batch in backlog.batches() for one in batch]

    return asyncio.run(main())


@given(st.lists(bars | st.just(Connected("x", (BTC,), 0))))
def test_a_backlog_keeps_all_final_bars_in_order_and_the_newest_forming_ones(said: list[Said]) -> None:
    """Final bars and news come out as they went in, then at most one forming bar a series, none that is over."""
    backlog = Backlog()
    for one in said:
        if isinstance(one, Heard):
            backlog.put(one)
        else:
            backlog.tell(one)
    forming = [one for one in said if isinstance(one, Heard) and not one.final]
    out = drained(backlog)
    ordered = [one for one in said if not (isinstance(one, Heard) and not one.final)]
    rest = out[len(ordered) :]
    assert out[: len(ordered)] == ordered
    assert len({one.instrument for one in rest if isinstance(one, Heard)}) == len(rest)
    assert all(one in forming for one in rest)
    assert backlog.coalesced + len(rest) + _older(said) == len(forming)


def _older(said: list[Said]) -> int:
    """Forming bars that came after a newer forming bar of their series, which still waited."""
    waiting: dict[str, int] = {}
    count = 0
    for one in said:
        if isinstance(one, Heard):
            before = waiting.get(one.instrument)
            if one.final:
                if before is not None and before <= one.ts:
                    del waiting[one.instrument]
            elif before is not None and before > one.ts:
                count += 1
            else:
                waiting[one.instrument] = one.ts
    return count


@given(st.integers(0, 3), st.lists(st.integers(0, 12), min_size=1))
def test_what_a_head_calls_skipped_and_what_was_heard_is_everything(joined: int, order: list[int]) -> None:
    """From the bar that formed when listening began up to the newest final bar, each was heard or told as skipped."""
    head = Head(BTC)
    head.joined(joined * MINUTE + 1)
    skipped: set[int] = set()
    for nth in order:
        found = head.skipped(bar(BTC, nth))
        skipped |= set(range(found.start // MINUTE, found.end // MINUTE)) if found else set()
        head.heard(bar(BTC, nth))
    assert set(range(joined, max(order) + 1)) <= skipped | set(order)
    assert all(nth < max(order) for nth in skipped)


def test_a_skip_is_told_once() -> None:
    """Bars 0, 3, 4 in order: 1 and 2 are skipped at 3, nothing at 4."""
    head = Head(BTC)
    head.joined(0)
    found = []
    for nth in (0, 3, 4):
        found.append(head.skipped(bar(BTC, nth)))
        head.heard(bar(BTC, nth))
    assert found == [None, Span(MINUTE, 3 * MINUTE), None]


def test_only_the_newest_final_bar_word_for_word_is_the_same_again() -> None:
    """A correction, an older bar and a forming one are news."""
    head = Head(BTC)
    head.heard(bar(BTC, 3))
    assert head.again(bar(BTC, 3))
    assert not head.again(bar(BTC, 3, 2.0))
    assert not head.again(bar(BTC, 2))
    assert not head.again(bar(BTC, 3, final=False))


def test_an_illiquid_series_is_not_stale_before_its_next_bar_is_over() -> None:
    """After final bar 0 nothing need come before bar 1 closes, though another series moves on meanwhile."""
    heads = Heads([BTC, ETH])
    for head in heads.among([BTC, ETH]):
        head.joined(0)
        head.heard(bar(head.series, 0))
    heads.among([BTC])[0].heard(bar(BTC, 1, final=False))
    assert heads.fallen_behind(2 * MINUTE) == []
    heads.among([BTC])[0].heard(bar(BTC, 1))
    assert [head.series for head in heads.fallen_behind(2 * MINUTE + 1)] == [ETH]
    assert heads.fallen_behind(2 * MINUTE + 1) == []  # told already


def test_timeframes_do_not_make_each_other_stale() -> None:
    """Minutes that move on say nothing about a bar of an hour that has time until its close."""
    heads = Heads([BTC, HOURLY])
    for head in heads.among([BTC, HOURLY]):
        head.joined(0)
    for nth in range(60):
        heads.among([BTC])[0].heard(bar(BTC, nth))
    assert heads.fallen_behind(HOUR) == []
    assert not heads.mute([BTC, HOURLY], HOUR + MINUTE)
    assert heads.mute([HOURLY], 2 * HOUR + 1)


def test_all_silent_together_are_mute_and_not_stale() -> None:
    """When nobody moves on, no single series is behind."""
    heads = Heads([BTC, ETH])
    for head in heads.among([BTC, ETH]):
        head.joined(0)
    assert heads.fallen_behind(10 * MINUTE) == []
    assert heads.mute([BTC, ETH], 2 * MINUTE + 1)
    assert not heads.mute([BTC, ETH], 2 * MINUTE)
    assert not heads.mute([], 2 * MINUTE)


def test_who_listens_to_nobody_expects_nothing() -> None:
    """A series whose connection is lost is neither stale nor mute, and stays at where it was."""
    heads = Heads([BTC, ETH])
    for head in heads.among([BTC, ETH]):
        head.joined(0)
        head.heard(bar(head.series, 0))
        head.left()
    assert heads.fallen_behind(HOUR) == []
    assert not heads.mute([BTC], HOUR)
    assert [head.next for head in heads.among([BTC, ETH])] == [MINUTE, MINUTE]
