"""Weights: counted as documented, 429 when over, 418 for those who go on, and service again afterwards."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gapless.sim.rules import USDM
from gapless.sim.weights import Meter


class Hand:
    """A clock moved by hand: the only fake."""

    def __init__(self) -> None:
        self.now = 1_700_000_040.0  # the start of a minute

    def __call__(self) -> float:
        return self.now


def meter(limit: int, hand: Hand, **options: Any) -> Meter:
    return Meter(limit, lambda seconds: int((hand.now + seconds) * 1e6), now=hand, **options)


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/ping", {}, 1),
        ("/api/v3/time", {}, 1),
        ("/api/v3/exchangeInfo", {}, 20),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1000}, 2),
        ("/fapi/v1/exchangeInfo", {}, 1),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 99}, 1),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 100}, 2),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m"}, 5),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1001}, 10),
    ],
)
def test_each_request_weighs_what_the_venue_says(venue: Any, path: str, params: dict[str, Any], weight: int) -> None:
    """The used weight of the minute is in the header of every answer."""
    with venue(window=1e9) as (_, get):
        assert get(path, **params).headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
        assert get(path, **params).headers["X-MBX-USED-WEIGHT-1M"] == str(2 * weight)


def test_usdm_weights_by_limit() -> None:
    """The documented steps: below 100, below 500, up to 1000, above."""
    assert [USDM.klines_weight(n) for n in (1, 99, 100, 499, 500, 1000, 1001, 1500)] == [1, 1, 2, 2, 5, 5, 10, 10]


def test_over_the_limit_is_429_until_the_next_minute() -> None:
    """Retry-After says how long the window still lasts; afterwards the count starts anew."""
    hand = Hand()
    m = meter(10, hand)
    assert [m.take("a", 5) for _ in range(2)] == [None, None]
    hand.now += 12.5
    refused = m.take("a", 5)
    assert refused is not None
    assert (refused.status, refused.headers["Retry-After"]) == (429, "48")
    assert m.take("b", 5) is None  # another client has its own weight
    hand.now += 48
    assert m.take("a", 5) is None
    assert m.used("a") == 5


def test_going_on_after_429_is_a_ban_and_the_ban_ends() -> None:
    """After ``patience`` refusals 418 for everything until the time in its body."""
    hand = Hand()
    m = meter(2, hand, patience=3, ban=120.0)
    statuses = [reply.status if (reply := m.take("a", 2)) else 200 for _ in range(5)]
    assert statuses == [200, 429, 429, 429, 418]
    hand.now += 60  # a new window does not lift it
    still = m.banned("a")
    assert still is not None
    assert still.headers["Retry-After"] == "60"
    assert f"banned until {1_700_000_160_000}" in still.body.decode()
    assert m.banned("b") is None
    hand.now += 60
    assert m.banned("a") is None
    assert m.take("a", 2) is None


def test_escalation_and_recovery_over_the_wire(venue: Any) -> None:
    """200, 429, 418, and 200 again once the ban is over; the recorded limit is in the 429 body."""
    with venue(weight_limit=4, window=1e9, patience=1, ban=0.3) as (sim, get):
        ask = {"symbol": "BTCUSDT", "interval": "1m", "limit": 1}
        answers = [get("/api/v3/klines", **ask) for _ in range(4)]
        assert [a.status for a in answers] == [200, 200, 429, 418]
        assert "current limit is 4 request weight" in answers[2].json["msg"]
        assert get("/fapi/v1/ping").status == 200
        deadline = time.monotonic() + 10
        while get("/api/v3/ping").status == 418 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert get("/api/v3/ping").status == 200
        assert sim.injected == {}  # earned, not injected


def test_limit_zero_counts_nothing(venue: Any) -> None:
    """Unpaced: no header grows, nobody is refused, and exchangeInfo says there is room."""
    with venue(weight_limit=0) as (_, get):
        for _ in range(400):
            last = get("/api/v3/exchangeInfo", symbol="BTCUSDT")
        assert last.headers["X-MBX-USED-WEIGHT-1M"] == "0"
        assert last.json["rateLimits"][0]["limit"] >= 1_000_000


def test_exchange_info_tells_the_limit(venue: Any) -> None:
    """6000 on spot, 2400 on USD-M, or what was configured."""
    with venue() as (_, get):
        assert get("/api/v3/exchangeInfo").json["rateLimits"][0]["limit"] == 6000
        assert get("/fapi/v1/exchangeInfo").json["rateLimits"][0]["limit"] == 2400
