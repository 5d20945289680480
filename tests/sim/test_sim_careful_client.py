"""The venue is hostile, not unfair: whatever the faults, a careful client ends with the truth."""

from __future__ import annotations

import http.client
import json
from contextlib import suppress
from typing import Any

from gapless.sim.faults import NAMES
from gapless.spans import MINUTE, Span, parse_time

START, END = parse_time("2024-05-01"), parse_time("2024-05-02")
FAULTS = (
    "ban:1x,429:0.1,5xx:0.1,timeout:1x,reset:0.1,truncate:0.1,skew:3s,"
    "late:0.2,short:0.2,empty:0.2,duplicate:0.2,disorder:0.2,micros:0.2"
)


def ask(get: Any, start: int, limit: int) -> dict[int, list[Any]]:
    """Rows by open time in µs; nothing when the answer cannot be used."""
    try:
        got = get(
            "/api/v3/klines",
            symbol="BTCUSDT",
            interval="1m",
            startTime=start // 1000,
            endTime=END // 1000 - 1,
            limit=limit,
        )
        rows = got.json if got.status == 200 else []
    except (http.client.HTTPException, ConnectionError, json.JSONDecodeError):
        return {}
    return {row[0] * (1 if row[0] > 10**14 else 1000): row for row in rows}


def test_a_client_that_asks_until_every_bar_is_there_has_the_truth(venue: Any) -> None:
    """Ask again for the first missing bar until none is missing: every value equals the truth, every fault happened."""
    with venue(faults=FAULTS, symbols=("BTCUSDT",), outages_per_month=0, halts_per_month=0, ban=0.2, hold=0.2) as (
        sim,
        get,
    ):
        bars: dict[int, list[Any]] = {}
        at = START
        while at < END:
            for opened, row in ask(get, at, 60).items():
                bars[opened] = row
            while at in bars:
                at += MINUTE
            assert sim.requests < 5000
        truth = sim.market.truth("BTCUSDT", "1m", Span(START, END))
        assert sorted(bars) == truth["ts"].to_physical().to_list()
        closes = [float(bars[opened][4]) for opened in sorted(bars)]
        assert closes == truth["close"].to_list()
        while not sim.injected["skew"]:
            with suppress(http.client.HTTPException, ConnectionError):
                get("/api/v3/time")
        requests = {name for name in NAMES if not name.startswith(("ws_", "zip_"))}
        assert set(sim.injected) == requests - {"late"}  # nothing asked for was recent
