"""Each fault does what it says, over a real socket, and counts only when it happened."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
from typing import Any

import pytest

from gapless.errors import UnknownName, UsageError
from gapless.sim import SimConfig, parse_faults
from gapless.sim.exchange import Exchange
from gapless.sim.faults import CONTENT, NAMES, TRANSPORT, Rate, incomplete
from gapless.sim.rules import SPOT
from gapless.spans import MINUTE, SECOND, Span, parse_time

START = parse_time("2024-05-01") // 1000
ASK = {"startTime": START, "limit": 20}


def test_fault_text_is_read_in_full() -> None:
    """Probabilities, counts and durations, in any order, with spaces."""
    plan = parse_faults("429:0.05, ban:1x ,skew:-1.5s,late:1")
    assert plan.rates == {"429": Rate(0.05), "ban": Rate(count=1), "late": Rate(1.0)}
    assert plan.skew == -1_500_000
    assert parse_faults("").rates == {}


@pytest.mark.parametrize(
    "text",
    ["429", "429:", "429:2", "429:-0.1", "429:x", "429:0.1,429:0.2", "skew:fast", "skew:1s,skew:2s", "reset:nan"],
)
def test_fault_text_that_makes_no_sense_is_an_error(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UsageError):
        parse_faults(text)


def test_unknown_faults_get_did_you_mean() -> None:
    """The nearest name and all that exist."""
    with pytest.raises(UnknownName, match=r"did you mean 'duplicate'\? Known: ban, 429"):
        parse_faults("duplicates:0.1")


def clean(get: Any) -> list[list[Any]]:
    """The page once the first request has suffered its fault."""
    rows: list[list[Any]] = get.klines(**ASK)
    assert len(rows) == 20
    return rows


def test_429_is_the_recorded_body_with_retry_after(venue: Any, recorded: Any) -> None:
    """One 429 with Retry-After, then service."""
    real = recorded("error_bodies_observed.json")["binance_429_weight"]
    with venue(faults="429:1x") as (sim, get):
        got = get("/api/v3/klines", symbol="BTCUSDT", interval="1m")
        assert (got.status, got.json) == (real["http"], real["body"])
        assert int(got.headers["Retry-After"]) >= 1
        clean(get)
        assert sim.injected == {"429": 1}


def test_ban_is_the_recorded_body_until_its_time(venue: Any, recorded: Any) -> None:
    """418 with the time in ms, for every request until the ban is over; then service."""
    real = recorded("error_bodies_observed.json")["binance_418_ban"]
    with venue(faults="ban:1x", ban=2.0, speed=1.0) as (sim, get):
        got = get("/api/v3/ping")
        assert got.status == real["http"]
        until = int("".join(c for c in got.json["msg"] if c.isdigit()))
        assert got.json["msg"] == real["body"]["msg"].replace("1785050129644", str(until))
        assert got.json["code"] == real["body"]["code"]
        assert int(got.headers["Retry-After"]) == 2
        assert 0 < until - get("/fapi/v1/time").json["serverTime"] <= 2000  # the other API has its own door
        assert get("/api/v3/time").status == 418
        while sim.clock() // 1000 <= until:
            time.sleep(0.02)
        clean(get)
        assert sim.injected == {"ban": 1}


def test_5xx_comes_as_json_and_as_html(venue: Any) -> None:
    """500 with codes -1000 and -1001; 502 and 503 as the load balancer's HTML."""
    with venue(faults="5xx:60x") as (sim, get):
        answers = [get("/api/v3/ping") for _ in range(60)]
        assert {a.status for a in answers} == {500, 502, 503}
        assert {a.json["code"] for a in answers if a.status == 500} == {-1000, -1001}
        assert all(a.body.startswith(b"<html>") for a in answers if a.status != 500)
        assert get("/api/v3/ping").status == 200
        assert sim.injected == {"5xx": 60}


def test_timeout_holds_the_request_and_answers_nothing(venue: Any) -> None:
    """The connection ends without a byte after ``hold`` seconds; other requests are served meanwhile."""
    with venue(faults="timeout:1x", hold=0.4) as (sim, get):
        slow = http.client.HTTPConnection(get.host, timeout=10)
        slow.request("GET", "/api/v3/ping")
        while not sim.injected["timeout"]:
            time.sleep(0.01)
        clean(get)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            slow.getresponse()
        assert sim.exchange.requests["/api/v3/ping no answer"] == 1


def test_reset_tears_the_connection_inside_the_body(venue: Any) -> None:
    """Status and length are promised, the body does not come whole."""
    with venue(faults="reset:1x") as (sim, get):
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1000)
        clean(get)
        assert sim.injected == {"reset": 1}


def test_truncate_cuts_the_json_and_agrees_with_its_length(venue: Any) -> None:
    """A well-formed answer by HTTP, not by JSON."""
    with venue(faults="truncate:10x") as (sim, get):
        for _ in range(10):
            got = get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=30)
            assert got.status == 200
            assert int(got.headers["Content-Length"]) == len(got.body)
            with pytest.raises(ValueError, match=r".*"):
                json.loads(got.body)
        clean(get)
        assert sim.injected == {"truncate": 10}


def test_short_stops_early_though_bars_follow(venue: Any) -> None:
    """A prefix of the page, at least one row, fewer than asked."""
    with venue(faults="short:5x") as (sim, get):
        pages = [get.klines(**ASK) for _ in range(5)]
        whole = clean(get)
        assert all(1 <= len(page) < 20 and page == whole[: len(page)] for page in pages)
        assert sim.injected == {"short": 5}


def test_empty_says_nothing_though_bars_exist(venue: Any) -> None:
    """``[]``; a page that is empty anyway does not count."""
    with venue(faults="empty:1x") as (sim, get):
        assert get.klines(startTime=0, endTime=1) == []
        assert sim.injected == {}
        assert get.klines(**ASK) == []
        clean(get)
        assert sim.injected == {"empty": 1}


def test_duplicate_doubles_a_row_at_the_seam_and_loses_none(venue: Any) -> None:
    """A full page stays within the limit and the row it gave up comes next; a shorter page grows by one."""
    with venue(faults="duplicate:2x") as (sim, get):
        full = get.klines(**ASK)
        partial = get.klines(**ASK, endTime=START + 4 * 60_000)
        whole = clean(get)
        assert full == [*whole[:19], whole[18]]
        assert partial == [*whole[:5], whole[4]]
        assert sim.injected == {"duplicate": 2}


def test_disorder_swaps_two_rows_or_turns_the_page(venue: Any) -> None:
    """The same rows in another order: both kinds come."""
    with venue(faults="disorder:30x") as (sim, get):
        pages = [get.klines(**ASK) for _ in range(30)]
        whole = clean(get)
        moved = [sum(a != b for a, b in zip(page, whole, strict=True)) for page in pages]
        assert set(moved) == {2, 20}
        assert all(sorted(page) == whole for page in pages)
        assert sim.injected == {"disorder": 30}


def test_micros_changes_the_unit_of_both_times(venue: Any) -> None:
    """Opens end in 000000 and closes in 999999, values are untouched."""
    with venue(faults="micros:1x") as (sim, get):
        page, whole = get.klines(**ASK), clean(get)
        for strange, row in zip(page, whole, strict=True):
            assert strange[0] == row[0] * 1000
            assert strange[6] == row[6] * 1000 + 999
            assert [*strange[1:6], *strange[7:]] == [*row[1:6], *row[7:]]
        assert sim.injected == {"micros": 1}


def test_late_bars_are_incomplete_first_and_whole_later(venue: Any) -> None:
    """Bars closed within the window carry less volume and another close; once it has passed they are the truth."""
    with venue(faults="late:1", late_window=3 * MINUTE) as (sim, get):
        opened = sim.clock() // MINUTE * MINUTE
        first = get.klines(startTime=(opened - 5 * MINUTE) // 1000)
        again = get.klines(startTime=(opened - 5 * MINUTE) // 1000)
        sim.clock.advance(4 * MINUTE)
        later = get.klines(startTime=(opened - 5 * MINUTE) // 1000, limit=5)
        truth = sim.market.truth("BTCUSDT", "1m", Span(opened - 5 * MINUTE, opened))
        assert [float(row[4]) for row in later] == truth["close"].to_list()
        assert [float(row[5]) for row in later] == truth["volume"].to_list()
        assert first[:5] == again[:5]
        assert [a == b for a, b in zip(first, later, strict=False)] == [True, True, False, False, False]
        assert all(float(a[5]) < float(b[5]) and a[8] < b[8] for a, b in zip(first[2:5], later[2:], strict=True))
        assert sim.injected["late"] == 2


def test_a_late_count_is_of_bars(venue: Any) -> None:
    """``late:2x``: two bars are late, each as long as the window lasts."""
    with venue(faults="late:2x") as (sim, get):
        opened = sim.clock() // MINUTE * MINUTE
        ask = {"startTime": (opened - 4 * MINUTE) // 1000, "limit": 4}
        first = get.klines(**ask)
        assert get.klines(**ask) == first
        sim.clock.advance(10 * MINUTE)
        assert sum(a != b for a, b in zip(first, get.klines(**ask), strict=True)) == 2


def test_an_incomplete_row_is_still_a_bar() -> None:
    """High and low hold the new close, and a silent row cannot be late."""
    row = b'[0,"1.0","3.0","1.0","2.0","10.0",59999,"20.0",4,"5.0","10.0","0"]'
    values = json.loads(incomplete(row))
    assert float(values[3]) <= float(values[4]) <= float(values[2])
    silent = b'[0,"1.0","1.0","1.0","1.0","0.0",59999,"0.0",0,"0.0","0.0","0"]'
    assert incomplete(silent) == silent


def test_skew_shifts_what_clients_are_told_not_what_is_served(venue: Any) -> None:
    """serverTime is off by the skew; bars are not."""
    with venue(faults="skew:-2s") as (sim, get):
        now = sim.clock()
        assert get("/api/v3/time").json["serverTime"] * 1000 == (now - 2 * SECOND) // 1000 * 1000
        assert get.klines(limit=1)[0][0] * 1000 == now // MINUTE * MINUTE
        assert sim.injected == {"skew": 1}


def test_files_of_the_archive_are_missing_or_damaged(venue: Any) -> None:
    """Listed with their digest all the same; a damaged one is as long as it should be, its checksum the true one."""
    folder = "data/spot/monthly/klines/BTCUSDT/1h"
    with venue() as (_, get):
        whole = get(f"/data.binance.vision/{folder}/BTCUSDT-1h-2024-04.zip").body
        checksum = get(f"/data.binance.vision/{folder}/BTCUSDT-1h-2024-04.zip.CHECKSUM").body
        assert checksum == f"{hashlib.sha256(whole).hexdigest()}  BTCUSDT-1h-2024-04.zip\n".encode()
        listed = get("/data.binance.vision/", prefix=f"{folder}/").body.decode()
        assert hashlib.md5(whole, usedforsecurity=False).hexdigest() in listed
        assert re.findall("([0-9-]{7}).zip<", listed) == ["2024-03", "2024-04", "2024-05"]  # 3 June is a Monday
    with venue(faults="zip_missing:1.0") as (sim, get):
        assert get(f"/data.binance.vision/{folder}/BTCUSDT-1h-2024-04.zip").status == 404
        assert get("/data.binance.vision/", prefix=f"{folder}/").body.decode() == listed
        assert sim.injected["zip_missing"] == 1
    with venue(faults="zip_damaged:1.0") as (sim, get):
        damaged = get(f"/data.binance.vision/{folder}/BTCUSDT-1h-2024-04.zip").body
        assert (len(damaged), damaged == whole) == (len(whole), False)
        assert get(f"/data.binance.vision/{folder}/BTCUSDT-1h-2024-04.zip.CHECKSUM").body == checksum
        assert sim.injected["zip_damaged"] == 1


def test_faults_can_be_changed_on_the_way(venue: Any) -> None:
    """``POST /sim/faults``: a good venue turns bad and good again; the counts go on."""
    with venue(faults="429:1x") as (sim, get):
        assert get("/api/v3/ping").status == 429
        assert get("/sim/faults", method="POST", plan="empty:1").json == {"429": 1}
        assert get.klines(**ASK) == []
        assert get("/sim/faults", method="POST", plan="emty:1").json["error"]["type"] == "UnknownName"
        assert get("/sim/faults", method="POST", plan="").status == 200
        clean(get)
        assert get("/sim/faults").json == sim.injected == {"429": 1, "empty": 1}


def test_the_same_seed_injects_the_same_faults() -> None:
    """What request number n suffers follows from the seed alone; another seed suffers elsewhere."""

    def answers(seed: int) -> list[object]:
        faults = ",".join(f"{name}:0.1" for name in (*TRANSPORT[1:], *CONTENT))
        exchange = Exchange(SimConfig(seed=seed, symbols=2, now="2024-06-03", speed=0.0, faults=faults, weight_limit=0))
        ask = {"symbol": "BTCUSDT", "interval": "1m", "limit": "30"}
        return [(h.fault, h.reply.body) for h in (exchange.handle(SPOT, "klines", ask, "a") for _ in range(60))]

    assert answers(5) == answers(5)
    assert [f for f, _ in answers(5)] != [f for f, _ in answers(6)]  # type: ignore[misc]


def test_probabilities_are_kept() -> None:
    """Over 4000 requests each probability is met within a few standard errors."""
    config = SimConfig(symbols=2, now="2024-06-03", speed=0.0, faults="429:0.05,5xx:0.1,reset:0.02", weight_limit=0)
    exchange = Exchange(config)
    for _ in range(4000):
        exchange.handle(SPOT, "ping", {}, "a")
    for name, share in (("429", 0.05), ("5xx", 0.1 * 0.95), ("reset", 0.02 * 0.855)):
        assert abs(exchange.faults.injected[name] / 4000 - share) < 4 * (share / 4000) ** 0.5


def test_every_fault_is_tested_here() -> None:
    """A new fault of requests needs a test: each name occurs in this file as a fault text."""
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    requests = [name for name in NAMES if not name.startswith("ws_")]
    assert [name for name in requests if f'faults="{name}:' not in text] == []
