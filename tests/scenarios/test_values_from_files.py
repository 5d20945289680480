"""Open interest older than pages reach, through the command line: the archive's files, killed, gone on with."""

from __future__ import annotations

import time

import pytest

from gapless.sim import Running
from gapless.spans import DAY, MINUTE, Span, parse_time

pytestmark = pytest.mark.slow
NOW = "2024-06-03T12:34:20Z"
FIVE = 5 * MINUTE


def words(sim: Running, *more: str, start: str = "2024-03-01T07:00") -> tuple[str, ...]:
    names = ",".join(f"BINANCEUSDM:{s}" for s in sim.market.symbols)
    return (
        "values", "sync", "--symbols", names, "--start", start, "--end", NOW, "--base-url", sim.url, "--json", *more
    )  # fmt: skip


def differing(shell, sim: Running, span: Span) -> list[tuple[str, str, int]]:
    """What the lake holds and the venue does not say, and the other way round."""
    wrong = []
    with shell.store() as store:
        for name in ("funding_rate", "open_interest"):
            for symbol in sim.market.symbols:
                rows = store.values.read(name, [f"BINANCEUSDM:{symbol}"], span)
                told = {(t, float(text)) for t, text in sim.values.values(name, symbol, span)}
                held = set(zip(rows["ts"].to_physical(), rows["value"], strict=True))
                wrong += [(name, symbol, ts) for ts, _ in told ^ held]
    return wrong


def test_killed_again_and_again_files_and_pages_end_in_the_venues_truth(shell, venue) -> None:
    """kill -9 while files come: every value is the venue's, each once, no file that was stored is fetched again."""
    with venue(symbols=3, delisted=0.0, listed_late=0.0, start="2024-02-20") as v:
        kills = 0
        for wait in (12, 25, 45, 60):
            process, before = shell.start(*words(v.sim)), v.sim.requests
            while v.sim.requests < before + wait and process.poll() is None:
                time.sleep(0.002)
            kills += process.poll() is None
            process.kill()
            process.communicate()
        last = shell.run(*words(v.sim), code=0).json
        assert kills
        assert last["residual"] == []
        assert differing(shell, v.sim, Span.parse("2024-03-01T07:00", NOW)) == []
        with shell.store() as store:
            for symbol in v.sim.market.symbols:
                lines = store.values.history("open_interest", f"BINANCEUSDM:{symbol}", 1000)
                files = [line["asked_start"] for line in lines if line["source"] == "binance-usdm-archive"]
                assert len(files) == len(set(files)) == 94, "from 1 March to 2 June"
                pages = [line["asked_start"] for line in lines if line["source"] == "binance-usdm"]
                assert pages == [parse_time("2024-06-03T00:05")]
        served = v.sim.exchange.requests["/data.binance.vision 200"]
        assert served <= 3 * 94 + 6 * (kills + 1) + 8 * kills, "lists, and what was under way when it was killed"
        assert shell.run("lake", "verify", "--json", code=0).json == {"problems": []}
        again = shell.here(*words(v.sim), code=0).json
        assert (again["totals"]["requests"], again["totals"]["written"]) == (0, 0)


def test_files_alone_speak_for_what_they_hold_and_the_rest_is_told(shell, venue) -> None:
    """--source binance-usdm-archive asks no page, not even the time; what no file tells yet is residual."""
    with venue(symbols=2, delisted=0.0, listed_late=0.0, start="2024-02-20") as v:
        done = shell.here(*words(v.sim, "--source", "binance-usdm-archive"), code=0).json
        assert not [
            path for path in v.sim.exchange.requests if path.startswith(("/fapi", "/futures", "klines", "time"))
        ]
        left = {
            (r["name"], r["start"], r["end"], r["reason"])
            for r in done["residual"]
            if r["instrument"] == "BINANCEUSDM:BTCUSDT"
        }
        assert left == {
            ("funding_rate", "2024-06-01T00:00:00Z", "2024-06-03T12:34:20Z", "the archive has no such file"),
            ("open_interest", "2024-06-03T00:05:00Z", "2024-06-03T12:34:20Z", "the archive has no such file"),
        }
        assert differing(shell, v.sim, Span.parse("2024-03-01T07:00", "2024-05-01")) == []


@pytest.mark.parametrize("faults", ["zip_missing:0.1", "zip_damaged:0.1"])
def test_a_file_that_is_not_there_is_told_and_a_damaged_one_is_never_stored(shell, venue, faults: str) -> None:
    """A missing file is residual with its reason; a damaged one is tried again, then an error; both are asked for
    again by the next run, which finds them whole."""
    with venue(symbols=2, delisted=0.0, listed_late=0.0, start="2024-02-20", faults=faults) as v:
        missing = faults.startswith("zip_missing")
        first = shell.here(*words(v.sim), code=0 if missing else 1).json
        assert first["outcome"] == ("complete" if missing else "incomplete")
        if missing:
            assert {r["reason"] for r in first["residual"]} == {"the archive has no such file"}
            lost = {(r["start"], r["end"]) for r in first["residual"]}
            assert lost
            assert all(parse_time(a) % DAY == FIVE for a, _ in lost if a != "2024-03-01T07:00:00Z")
        else:
            assert first["errors"]
            assert all("differs from its checksum" in e["error"] for e in first["errors"])
        wrong = differing(shell, v.sim, Span.parse("2024-03-01T07:00", NOW))
        assert wrong
        assert {name for name, _, _ in wrong} == {"open_interest"}
        v.sim.exchange.plan_faults("")
        good = shell.here(*words(v.sim), code=0).json
        assert good["residual"] == []
        assert differing(shell, v.sim, Span.parse("2024-03-01T07:00", NOW)) == []
