"""Funding rates and open interest through the command line: fetched, killed, gone on with, built, corrected."""

from __future__ import annotations

import time
from collections import Counter

import gapless as gl
from gapless.sim import Running
from gapless.spans import Span, parse_time

NOW = "2024-06-03T12:34:20Z"
PAGES = ("--source", "binance-usdm")  # alone: no files
FEATURES = "oi=oi_delta_1h(60);f=funding_rate;smooth=ema(open_interest, 50);c=sma(close, 5)"
NAMES = {part.partition("=")[0]: part.partition("=")[2] for part in FEATURES.split(";")}


def words(sim: Running, *more: str, start: str = "2024-05-05", symbols: tuple[str, ...] = ()) -> tuple[str, ...]:
    names = ",".join(f"BINANCEUSDM:{s}" for s in symbols or sim.market.symbols)
    return (
        "values", "sync", "--symbols", names, "--start", start, "--end", NOW, "--base-url", sim.url, "--json", *more
    )  # fmt: skip


def same_as_venue(shell, sim: Running, start: str) -> None:
    """Assert that the lake holds the venue's values, and is whole."""
    span = Span.parse(start, NOW)
    with shell.store() as store:
        for name in ("funding_rate", "open_interest"):
            for symbol in sim.market.symbols:
                rows = store.values.read(name, [f"BINANCEUSDM:{symbol}"])
                told = [(t, float(text)) for t, text in sim.values.values(name, symbol, span)]
                assert list(zip(rows["ts"].to_physical(), rows["value"], strict=True)) == told, (name, symbol)
    assert shell.here("lake", "verify", "--json", code=0).json == {"problems": []}


def test_a_sync_killed_again_and_again_asks_for_nothing_that_is_stored(shell, venue) -> None:
    """kill -9 while pages come: what is stored is not asked for again, and the end is the venue's truth."""
    with venue(symbols=6, delisted=0.0, listed_late=0.0) as v:
        kills = 0
        for wait in (30, 60, 90):
            process, before = shell.start(*words(v.sim, *PAGES)), v.sim.requests
            while v.sim.requests < before + wait and process.poll() is None:
                time.sleep(0.005)
            kills += process.poll() is None
            process.kill()
            process.communicate()
        last = shell.here(*words(v.sim, *PAGES), code=0).json
        assert kills
        same_as_venue(shell, v.sim, "2024-05-05")
        with shell.store() as store:
            asked: Counter[tuple[str, str, int]] = Counter()
            for held in store.values.held():
                for line in store.values.history(held.name, held.instrument, 1000):
                    asked[held.name, held.instrument, line["asked_start"]] += 1
            assert max(asked.values()) == 1, "an answer that was stored was asked for again"
        served = v.sim.exchange.requests
        pages = served["/futures/data/openInterestHist 200"] + served["/fapi/v1/fundingRate 200"]
        under_way = 8 * kills  # of each killed process, at most one for each worker
        assert pages <= sum(asked.values()) + under_way
        assert {line["name"] for line in last["series"]} == {"funding_rate", "open_interest"}
        again = shell.here(*words(v.sim, *PAGES), code=0).json
        assert (again["totals"]["requests"], again["totals"]["written"]) == (0, 0)
        assert [line["verb"] for line in shell.here("audit", "--json", code=0).json][:2] == ["values", "values"]


def test_built_features_follow_a_value_that_the_venue_corrects(shell, venue) -> None:
    """Sync, build; the venue revises a value; sync --again, build: stored and computed rows are the same bits, the
    feature follows, what was believed before is still there, and what does not read values was not built again."""
    with venue(symbols=2, delisted=0.0, listed_late=0.0, start="2024-05-01") as v:
        instrument = "BINANCEUSDM:BTCUSDT"
        names = ",".join(f"BINANCEUSDM:{s}" for s in v.sim.market.symbols)
        span = ("--start", "2024-06-01", "--end", "2024-06-03")
        shell.here("backfill", "--symbols", names, *span, "--base-url", v.sim.url, code=0)
        first = shell.here(*words(v.sim), code=0).json
        assert first["totals"]["written"] == first["totals"]["read"] > 0
        shell.here("features", "build", "--features", FEATURES, "--json", code=0)
        before = gl.open(shell.lake).features(instrument, "1m", NAMES)
        assert before["oi"].is_not_nan().sum() == before.height - 60

        when = parse_time("2024-06-02T10:00")
        v.sim.values.revised["open_interest", "BTCUSDT", when] = "99999.000"
        assert shell.here(*words(v.sim), code=0).json["totals"]["requests"] == 0
        again = shell.here(*words(v.sim, "--again"), code=0).json["totals"]
        assert (again["corrected"], again["written"]) == (1, 0)
        computed = gl.open(shell.lake).features(instrument, "1m", NAMES)
        assert not computed.equals(before)
        built = shell.here("features", "build", "--features", FEATURES, "--json", code=0).json
        assert sum(one["rows"] for one in built["sets"]) == before.height // 2 * 2
        stored = gl.open(shell.lake).features(instrument, "1m", NAMES)
        assert stored.equals(computed)
        checked = shell.here("features", "verify", "--json", code=0).json
        assert {line["differing"] for line in checked} == {0}
        read = (
            "values",
            "show",
            "open_interest",
            instrument,
            "--start",
            "2024-06-02T10:00",
            "--end",
            "2024-06-02T10:01",
        )
        (now,) = shell.here(*read, "--json", code=0).json
        (then,) = shell.here(*read, "--as-of", first["ended"], "--json", code=0).json
        assert now["value"] == 99999.0 != then["value"]
        line = next(x for x in shell.here("values", "list", "--json", code=0).json if x["superseded"])
        assert (line["name"], line["instrument"], line["superseded"]) == ("open_interest", instrument, 1)


def test_a_failure_is_told_and_made_good_by_the_next_run(shell, venue) -> None:
    """A symbol that the venue does not have: exit 1, its line says why; the others are there. A wrong call leaves no
    lake behind; what cannot be had any more is told and is no failure."""
    with venue(symbols=2, delisted=0.0, listed_late=0.0) as v:
        for wrong in (
            ("--names", "funding"),
            ("--days", "0"),
            ("--symbols", "BINANCE:BTCUSDT"),
            ("--universe", "none"),
        ):
            line = [w for w in words(v.sim) if wrong[0] != "--symbols" or w != words(v.sim)[3]]
            line = [*words(v.sim)[:2], *wrong] if wrong[0] in ("--symbols", "--universe") else [*line, *wrong]
            shell.here(*line, code=2)
            assert not shell.lake.exists()
        bad = shell.here(*words(v.sim, *PAGES, symbols=("BTCUSDT", "NOSUCH"), start="2024-04-01"), code=1).json
        assert bad["outcome"] == "incomplete"
        assert {e["series"].split(" ")[0] for e in bad["errors"]} == {"BINANCEUSDM:NOSUCH"}
        residual = [r for r in bad["residual"] if r["instrument"] == "BINANCEUSDM:BTCUSDT"]
        assert [(r["name"], r["start"], r["end"]) for r in residual] == [
            ("open_interest", "2024-04-01T00:00:00Z", "2024-05-04T12:45:00Z")
        ]
        good = shell.here(*words(v.sim, symbols=("BTCUSDT",), start="2024-04-01"), code=0)
        assert (good.json["outcome"], good.json["residual"]) == ("complete", []), "files reach further"
