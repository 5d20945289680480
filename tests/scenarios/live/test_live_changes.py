"""Bars that others change, and a configuration that changes between two runs."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from gapless.app import decisions
from gapless.spans import MINUTE, Span, Timeframe, iso
from live_run import HANGS

pytestmark = pytest.mark.slow
M1 = Timeframe.parse("1m")


def correct(run, shell, back: int) -> Path:
    """Import another word on a bar of some minutes ago, in a process of its own."""
    lake = run.opened()
    decided = run.opened_journal().decided(M1)
    ts = decided - back * MINUTE
    row = lake.store.rows(M1, ["BINANCEUSDM:BTCUSDT"], Span(ts, ts + MINUTE))
    assert row.height == 1
    row = row.with_columns(close=pl.col("low") + (pl.col("high") - pl.col("low")) * 0.25, volume=pl.col("volume") * 3)
    path = run.home / "corrected.csv"
    row.select(pl.col("ts").dt.epoch("ms").alias("open_time"), "open", "high", "low", "close", "volume").write_csv(path)
    shell.lake = run.lake
    words = ("--venue", "BINANCEUSDM", "--symbol", "BTCUSDT", "--timeframe", "1m", "--json")
    done = shell.run("import", path, *words)
    assert done.json["totals"]["corrected"] == 1, done
    return path


def test_a_bar_corrected_beside_the_desk_is_decided_again(live, shell, proof) -> None:
    """What another process imports is noticed while running, and decided like any correction."""
    run = live(1, 60.0)
    run.start()
    run.on(12)
    correct(run, shell, 6)
    run.until(lambda: run.state()["counts"].get("disturbed"), "the stranger noticed")
    run.on()
    run.kill()  # nothing is mended by the way out
    proof["settled"](run)


@pytest.mark.parametrize(("killed", "back"), [(True, 1), (False, 40)])
def test_a_bar_corrected_while_the_desk_is_down_is_decided_again(live, shell, proof, killed: bool, back: int) -> None:
    """A restart finds what was learned before its newest checkpoint, however old the bar is."""
    run = live(2, 180.0)
    run.start()
    run.on(45)
    run.kill() if killed else run.stop()
    correct(run, shell, back)
    run.start()
    run.on()
    run.stop()
    proof["settled"](run)


def test_another_configuration_goes_on_where_the_first_stopped(live, proof) -> None:
    """Features, rules and instruments come and go: rules that did not change, and open positions, go on."""
    everyone = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")
    run = live(3, 120.0, symbols=everyone[:5])
    run.start()
    run.on(15)
    run.stop()
    before = decisions.alerts(run.opened())
    run.changed = lambda text: text.replace('rating = "recommend_all()"', 'rsi = "rsi(close, 14)"').replace(
        'when = "abs(rating) >= 0.3 and', 'when = "rsi >= 55 and'
    )
    run.symbols = everyone[1:]
    run.start()
    run.on(15)
    run.kill()
    run.start()
    run.on(15)
    last = max(a["ts"] for a in before)

    def newcomer():
        found = decisions.alerts(run.opened())
        return [a for a in found if a["instrument"] == "BINANCEUSDM:DOGEUSDT" and a["ts"] > last]

    run.until(newcomer, "an alert of the instrument that came")
    run.stop()
    after = decisions.alerts(run.opened())
    known = {a["id"] for a in after}
    assert all(a["id"] in known for a in before), "what was decided before the change stands"
    again = decisions.replay(run.opened())

    def same(found):
        stay = {f"BINANCEUSDM:{name}" for name in everyone[1:5]}
        return sorted(
            (a["ts"], a["instrument"], a["direction"], json.dumps(a["evidence"], sort_keys=True))
            for a in found
            if a["rule"] == "initiator" and a["kind"] == "fired" and a["instrument"] in stay
        )

    assert same(after) == same(again["alerts"]) != []
    held = {p.id: p.to_dict() for p in decisions.positions(run.opened())}
    for position in again["positions"]:
        if position["instrument"] not in ("BINANCEUSDM:BTCUSDT", "BINANCEUSDM:DOGEUSDT"):
            assert held[position["id"]] == position


def test_a_second_live_run_is_refused(live) -> None:
    """One lake, one desk; the second is told so and harms nothing."""
    run = live(4, 60.0)
    run.start()
    run.until(run.head, "the first bar time")
    first, run.process = run.process, None
    run.start("--for", "5s")
    assert run.process.wait(HANGS) == 1
    assert f"is looked after by process {first.pid} (gapless live)" in run.log()
    run.process = first
    run.on()
    run.stop()


def test_a_stop_drains_within_its_time_though_the_venue_hangs(live, proof) -> None:
    """SIGTERM while every request hangs: the run ends within ``drain``, and the next one is right."""
    patient = 'attempts = 100\n\n[live]\ndrain = "3s"'  # a stop that waited for its requests would take many minutes
    run = live(5, 60.0, changed=lambda text: text.replace("[live]", patient, 1))
    run.start()
    run.on()
    run.venue.ask("/sim/faults", post=True, plan="timeout:1.0,ws_missing:0.5")
    run.on()
    run.stop(code=None)
    run.venue.ask("/sim/faults", post=True, plan="")
    run.start()
    run.on()
    run.stop()
    proof["settled"](run)
    assert proof["true_bars"](run)
    assert iso(run.head())
