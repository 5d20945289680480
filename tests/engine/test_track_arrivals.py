"""However bars come, and come again, the journal ends the same: that of bars that came in order, once, and true."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.app.desks import desk
from gapless.app.living import Verified
from gapless.bars import TS, conform
from gapless.config import Config
from gapless.engine.backfill import Options
from gapless.engine.desk import Desk
from gapless.engine.heal import Healer
from gapless.engine.live import Live, LiveOptions
from gapless.engine.mend import Side
from gapless.engine.rows import moments
from gapless.engine.track import Track
from gapless.engine.warm import warm
from gapless.events import Connected, Disconnected
from gapless.protocols import Heard, Limits, Page
from gapless.series import Instrument, Series
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Span, Timeframe, parse_time
from gapless.stores.journal import Journal
from gapless.stores.lake import Lake
from gapless.stores.moments import MomentWriter

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-06-03T00:00")
NAMES = ("X:A", "X:B", "X:C")
BENCH = "X:D"
SERIES = tuple(Series(Instrument.parse(name), M1) for name in (*NAMES, BENCH))
HISTORY, MINUTES, SILENT = 40, 9, 6  # before the run, told by the feed, had by REST alone
CONFIG = Config.model_validate(
    {
        "features": {
            "slow": "ema(close, 5)",
            "vote": 'vote("RSI")',
            "over": f"log_return(close, 3) - log_return(close@{BENCH}, 3)",
            "place": "rank(log_return(close, 2))",
        },
        "alerts": {
            "jump": {
                "when": "abs(over) >= 0.01",
                "direction": "over",
                "cooldown": "3m",
                "opposite_cooldown": "1m",
                "opens": "fast",
            },
            "first": {"when": "place >= 0.9 and close > slow", "for_bars": 2, "cooldown": "2m"},
        },
        "positions": {"fast": {"stop": {"atr": 1.0}, "targets": [{"atr": 1.0, "fraction": 0.5}]}},
    }
)


def market(seed: int) -> dict[tuple[str, int], tuple[float, ...]]:
    """Every true bar: values from open on, by instrument and minute."""
    chance = np.random.default_rng(seed)
    found = {}
    for name in (*NAMES, BENCH):
        close = 100 * np.exp(np.cumsum(chance.normal(0, 0.008, HISTORY + MINUTES + SILENT)))
        for k, price in enumerate(close.round(3)):
            before = float(close[k - 1].round(3)) if k else float(price)
            high, low = max(before, float(price)) + 0.1, min(before, float(price)) - 0.1
            found[name, k - HISTORY] = (before, high, low, float(price), 5.0 + k % 7)
    return found


def frame(bars: dict[tuple[str, int], tuple[float, ...]]) -> pl.DataFrame:
    rows = [(name, T0 + k * MINUTE, *values) for (name, k), values in bars.items()]
    names = ["instrument", "ts", "open", "high", "low", "close", "volume"]
    return conform(pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("ts").cast(TS)))


@dataclass
class Clock:
    """The venue's clock, moved by hand."""

    now: int
    known: bool = True

    def __call__(self) -> int:
        return self.now

    def seconds_until(self, micros: int) -> float:
        return 0.0 if micros <= self.now else 0.02

    async def sync(self, http: Any) -> None: ...

    async def settle(self, http: Any) -> None: ...

    async def keep(self, http: Any) -> None:
        await asyncio.Event().wait()


@dataclass
class Book:
    """A source that tells the truth, of bars that have closed."""

    bars: dict[tuple[str, int], tuple[float, ...]]
    clock: Clock
    name: str = "book"
    venue: str = "X"
    base_url: str = "http://127.0.0.1:9"
    limits: Limits = field(default_factory=lambda: Limits(1000, 0, 60.0, 4))
    settle: int = SECOND
    dense: bool = False

    async def fetch(self, http: Any, series: Series, span: Span) -> Page:
        name = str(series.instrument)
        told = {
            (name, k): values
            for (who, k), values in self.bars.items()
            if who == name and span.start <= T0 + k * MINUTE < span.end and T0 + (k + 1) * MINUTE <= self.clock()
        }
        end = max((T0 + (k + 1) * MINUTE for _, k in told), default=span.start)
        rows = frame(told) if told else conform(frame({(name, 0): (1.0,) * 5})).clear()
        return Page(rows, Span(span.start, min(end, span.end)), 1)

    async def server_time(self, http: Any) -> int:
        return self.clock()

    async def listings(self, http: Any) -> Sequence[Any]:
        return []

    def weight_of(self, bars: int) -> int:
        return 0

    def used(self, headers: Any) -> None:
        return None


@dataclass
class Script:
    """A feed that says what it is given."""

    said: asyncio.Queue[list[Any] | None] = field(default_factory=asyncio.Queue)
    backlog: int = 0
    live: list[Series] = field(default_factory=lambda: list(SERIES))

    async def __aenter__(self) -> Script:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def batches(self) -> AsyncIterator[list[Any]]:
        while (batch := await self.said.get()) is not None:
            yield batch

    async def close(self) -> None:
        self.said.put_nowait(None)


def heard(name: str, k: int, values: tuple[float, ...]) -> Heard:
    return Heard(name, "1m", T0 + k * MINUTE, values, True, T0 + (k + 1) * MINUTE)


Step = tuple[int, list[Any]]  # the venue's clock, and what is said then


def arrivals(bars: dict[tuple[str, int], tuple[float, ...]], chance: random.Random) -> Iterator[Step]:
    """The bars from minute 0 on: late, twice, wrong first, not at all; the connection may be lost for a while."""
    said: list[tuple[float, Any]] = []  # minutes since T0
    gone = chance.uniform(0, MINUTES) if chance.random() < 0.5 else None
    back = gone + chance.uniform(0.1, 3.0) if gone is not None else None
    for (name, k), values in bars.items():
        if not 0 <= k < MINUTES:
            continue
        at = k + 1 + chance.uniform(0.0, 0.03)
        fate = chance.random()
        wrong = (*values[:3], values[2] + 0.01, values[4] / 2)
        words = [(at, values)]
        if fate < 0.15:
            words = [(at + chance.uniform(0.0, 4.0), values)]
        elif fate < 0.25:
            words = [(at, values), (at + chance.uniform(0.0, 2.0), values)]
        elif fate < 0.4:
            words = [(at, wrong), (at + chance.uniform(0.01, 4.0), values)]
        elif fate < 0.5:
            words = []
        said += [(t, heard(name, k, v)) for t, v in words if gone is None or back is None or not gone <= t < back]
    if gone is not None and back is not None:
        at = T0 + int(gone * MINUTE)
        said.append((gone, Disconnected("book", SERIES, at, "gone")))
        said.append((back, Connected("book", SERIES, T0 + int(back * MINUTE))))
    said.sort(key=lambda item: item[0])
    while said:
        cut = chance.randint(1, 6)
        yield T0 + int(said[min(cut, len(said)) - 1][0] * MINUTE), [word for _, word in said[:cut]]
        said = said[cut:]
    yield T0 + (MINUTES + SILENT) * MINUTE + 2 * SECOND, []


async def lived(live: Live, feed: Script, clock: Clock, steps: Iterator[Step]) -> None:
    """Live through the steps, then stop."""
    stop = asyncio.Event()
    task = asyncio.create_task(live.run(stop))
    while not live.health.started:
        await asyncio.sleep(0.005)
        if task.done():
            task.result()
    for now, words in steps:
        clock.now = max(clock.now, now)
        if words:
            feed.said.put_nowait(words)
        await asyncio.sleep(0.01)
    stop.set()
    await task


def looked_after(home: Path, bars: dict[tuple[str, int], tuple[float, ...]], chance: random.Random) -> Journal:
    """The journal of a live run over these arrivals."""
    clock, feed = Clock(T0 + 10 * SECOND), Script()
    lake, journal = Lake(home / "lake", clock=clock), Journal(home / "live.sqlite")
    table = desk(CONFIG, M1, NAMES, features=None)
    book = Book(bars, clock)
    healer = Healer(book, lake, clock, "run", options=Options(linger=0.0))
    side = Side(book, clock, SERIES, healer, lambda http, observer: feed)  # type: ignore[arg-type]
    live = Live(
        [side], {M1: Track(table, lake, journal, clock=clock)}, {M1: MomentWriter(lake, M1, source="live")},
        Verified(journal), options=LiveOptions(2 * SECOND, (HISTORY + 1) * MINUTE, DAY, 4 * MINUTE, drain=120.0),
    )  # fmt: skip
    asyncio.run(lived(live, feed, clock, arrivals(bars, chance)))
    held = lake.rows(M1, None, None).select("instrument", "ts", "open", "high", "low", "close", "volume")
    assert held.equals(frame(bars).select(held.columns).sort("instrument", "ts")), "not every bar is stored as it is"
    return journal


def in_order(bars: dict[tuple[str, int], tuple[float, ...]], home: Path) -> tuple[Desk, list[Any]]:
    """What a desk decides of the bars from minute 0 on, in order."""
    lake = Lake(home / "straight", clock=lambda: T0 + DAY)
    lake.write(M1, frame(bars), source="book")
    table = desk(CONFIG, M1, NAMES, features=None)
    warm(table, lake, T0 - MINUTE)
    rows = lake.rows(M1, list(table.instruments), Span(T0, T0 + HOUR))
    return table, [table.step(moment) for moment in moments(rows, table.instruments)]


def texts(bodies: Sequence[dict[str, Any]]) -> list[str]:
    kept = [{k: v for k, v in b.items() if k not in ("seq", "known_at", "withdrawn_at")} for b in bodies]
    return sorted(json.dumps(b, sort_keys=True) for b in kept)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_the_order_of_arrival_changes_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Alerts, position events and feature rows end as those of bars that came in order, once, and true."""
    home = tmp_path_factory.mktemp("arrivals")
    bars = market(seed)
    journal = looked_after(home, bars, random.Random(seed))
    table, decided = in_order(bars, home)
    assert texts(journal.entries("alert")) == texts([a.to_dict() for d in decided for a in d.alerts])
    assert texts(journal.entries("position")) == texts([e.to_dict() for d in decided for e in d.events])
    rows = journal.moments(Track(table, Lake(home / "lake"), journal, clock=lambda: 0).set, M1)
    straight = pl.concat([table.table(d) for d in decided])
    assert rows is not None
    keys = ["ts", "instrument"]
    assert rows.sort(keys).equals(straight.sort(keys), null_equal=True)
