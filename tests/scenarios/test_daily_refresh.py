"""The day that was missing, for every instrument of a venue: within the budget, nothing twice, killed or not."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest

from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.sim import Running
from gapless.spans import Span, SpanSet, Timeframe
from gapless.stores.lake import Lake as Store

START, END = "2024-06-01T22:00", "2024-06-03"
EVENING, DAY = Span.parse(START, "2024-06-02"), Span.parse("2024-06-02", END)
BARS = tuple(Timeframe.parse(name) for name in ("1m", "1d"))


@dataclass
class Witness:
    """Every page that the venue was asked for, and the weight that it counted."""

    sim: Running
    asked: list[tuple[Series, Span]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        handle = self.sim.exchange.handle

        def seen(api: Any, endpoint: str, params: Mapping[str, str], address: str) -> Any:
            handled = handle(api, endpoint, params, address)
            self.weights.append(int(handled.reply.headers["X-MBX-USED-WEIGHT-1M"]))
            if endpoint == "klines":
                series = Series.parse(f"{api.venue}:{params['symbol']}", params["interval"])
                start, size = int(params["startTime"]) * 1000, series.timeframe.micros
                end = min(int(params["endTime"]) * 1000 + 1, start + int(params.get("limit", "500")) * size)
                self.asked.append((series, Span(start, end)))
            return handled

        self.sim.exchange.handle = seen  # type: ignore[method-assign]

    def take(self) -> list[tuple[Series, Span]]:
        """What was asked since the last look."""
        found, self.asked = self.asked, []
        return found


def fill(store: Store, sim: Running) -> None:
    """The evening before, as a run of yesterday left it; a day that opened before ``START`` is not asked for."""
    names, minutes = [Instrument("BINANCE", symbol) for symbol in sim.market.symbols], BARS[0]
    rows, now = EVENING.bars(minutes), store.clock()
    store.write(minutes, pl.concat([sim.market.truth(n, minutes, EVENING) for n in names]), source="binance")
    store.record(Answer("binance", Series(n, minutes), EVENING, EVENING, rows, "ok", 1, "", "", "", now) for n in names)


def answered(store: Store) -> dict[Series, SpanSet]:
    """What the ledger says was answered."""
    return {fact.series: fact.answered for timeframe in BARS for fact in store.facts(timeframe)}


def twice(pages: list[tuple[Series, Span]]) -> list[tuple[Series, Span]]:
    """Pages that begin before the last bar of the one before them."""
    found, reached = [], dict[Series, int]()
    for series, span in sorted(pages, key=lambda page: (page[0], page[1].start)):
        if span.start < reached.get(series, 0) - series.timeframe.micros:
            found.append((series, span))
        reached[series] = max(span.end, reached.get(series, 0))
    return found


@pytest.mark.parametrize(
    ("symbols", "weight", "strike"),
    [(30, 400, 25), pytest.param(1000, 5000, 900, marks=pytest.mark.slow)],
)
def test_a_daily_refresh_keeps_to_its_budget_and_asks_for_nothing_twice(
    shell, venue, check, symbols: int, weight: int, strike: int
) -> None:
    """Minutes and days of every instrument, with a kill -9 in the middle: what was stored then is not asked for again.

    No minute of the venue's counts more weight than was configured, the lake ends with the truth, and the same call
    again asks nobody.
    """
    options: dict[str, Any] = {"listed_late": 0.0, "delisted": 0.0, "outages_per_month": 0.0, "halts_per_month": 0.0}
    options["now"] = "2024-06-05T00:10Z"  # a day on: that our clock is years away makes no bar doubtful
    with venue(START, END, symbols=symbols, weight_limit=6000, **options) as v:
        section = f'[sources.binance]\nbase_url = "{v.sim.url}"\nweight = {weight}\narchive = "none"\n'
        (shell.home / "gapless.toml").write_text(section)
        shell.env["GAPLESS_STATE"] = str(shell.home / "state")  # the window outlives the process that is killed
        store = Store(shell.lake)
        fill(store, v.sim)
        store.close()
        witness, words = Witness(v.sim), v.words(timeframes="1m,1d")
        words = tuple(w for w in words if w not in ("--base-url", v.sim.url))

        process = shell.start(*words)
        while len(witness.asked) < strike and process.poll() is None:
            time.sleep(0.002)
        os.killpg(process.pid, 9)
        process.communicate()
        time.sleep(0.5)  # the venue answers what it had been asked
        first = witness.take()
        with shell.store() as store:
            before = answered(store)

        done = shell.run(*words, code=0)
        second = witness.take()
        assert first
        assert second
        assert twice(first) == twice(second) == []
        for series, span in second:
            inside = span.intersect(DAY)
            known = (SpanSet.of(inside) & before.get(series, SpanSet.of())).bars(series.timeframe)
            assert known <= 1, f"{series} {span} was known before the kill"
        assert max(witness.weights) <= weight
        assert done.json["outcome"] == "complete"

        with shell.store() as store:
            for timeframe in BARS:
                check(store, v.truth(timeframe=timeframe), timeframe)
                assert store.rows(timeframe, None, None).height == symbols * v.span.bars(timeframe)
        seen = len(witness.weights)
        assert shell.here(*words, code=0).json["totals"]["read"] == 0
        assert len(witness.weights) == seen
