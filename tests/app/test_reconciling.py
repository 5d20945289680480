"""Stored bars against other witnesses, through the app: what is told, what is overridden, and that it can be undone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from gapless.app.lake import Lake
from gapless.app.reconciling import Findings, reconcile, undo, wanted
from gapless.app.runs import Run, running
from gapless.config import Config, parse
from gapless.errors import SourceError, UnknownName, UsageError
from gapless.sim import Running, SimConfig
from gapless.sim import running as simulated
from gapless.spans import Span, Timeframe

M1 = Timeframe.parse("1m")
DAY = Span.parse("2024-06-01", "2024-06-02")
BTC, ETH = "BINANCE:BTCUSDT", "BINANCE:ETHUSDT"


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    """A venue whose clock stands still, two symbols that never fall silent."""
    options = {"outages_per_month": 0, "halts_per_month": 0, "listed_late": 0, "delisted": 0, "weight_limit": 0}
    made = SimConfig(
        symbols=("BTCUSDT", "ETHUSDT"), start="2024-05-01", now="2024-06-03T12:34:20Z", speed=0.0, **options
    )  # fmt: skip
    with simulated(made) as sim:
        yield sim


def settings(sim: Running) -> Config:
    """Two more sources at the venue's address; the mirror is trusted least."""
    sources = {name: {"kind": "binance", "base_url": sim.url} for name in ("origin", "second")}
    return parse({"sources": sources, "venues": {"BINANCE": {"sources": ["origin", "second", "mirror"]}}})


@pytest.fixture
def lake(tmp_path: Path, venue: Running) -> Lake:
    """A day of two symbols as a mirror tells it: every 100th close of BTCUSDT is half a percent too high."""
    made = Lake(tmp_path / "lake", config=settings(venue))
    for name in (BTC, ETH):
        made.write(name, "1m", wrong(venue, name), source="mirror")
    return made


def truth(sim: Running, name: str) -> pl.DataFrame:
    return sim.market.truth(name.partition(":")[2], "1m", DAY)


def wrong(sim: Running, name: str) -> pl.DataFrame:
    rows = truth(sim, name).with_row_index()
    if name == ETH:
        return rows.drop("index")
    bad = (pl.col("index") % 100 == 0) & pl.lit(True)
    close = pl.when(bad).then(pl.col("high")).otherwise(pl.col("close"))
    volume = pl.when(bad).then(pl.col("volume") + 1).otherwise(pl.col("volume"))
    return rows.with_columns(close.alias("close"), volume.alias("volume")).drop("index")


def run_it(lake: Lake, against: list[str], **words: object) -> tuple[Run, Findings]:
    asked = wanted(lake, against, timeframes=["1m"], **words)
    with running(lake.store, "reconcile") as run:
        found = reconcile(asked, run)
    return run, found


def test_a_source_is_asked_anew_and_nothing_it_says_is_stored(lake: Lake, venue: Running) -> None:
    """Fifteen bars differ, all of BTCUSDT; the lake is as it was, and what was asked is no answer of the ledger."""
    before = lake.bars(None, "1m", provenance=True)
    run, found = run_it(lake, ["origin"])
    told = found.to_dict(5)
    assert {s["instrument"]: (s["compared"], s["differing"]) for s in told["series"]} == {
        BTC: (1440, 15),
        ETH: (1440, 0),
    }
    assert len(told["disagreements"]) == 5
    assert found.table["ts"].n_unique() == 15
    assert (run.exit_code, found.overridden.total()) == (0, 0)
    assert lake.bars(None, "1m", provenance=True).equals(before)
    assert not any(f.answered for f in lake.store.facts(M1))


def test_what_priority_overrides_says_whose_it_is_and_can_be_undone(lake: Lake, venue: Running) -> None:
    """The trusted source's bars stand with its name, the old ones stay readable, and an undo brings them back."""
    before, known = lake.bars(None, "1m", provenance=True), lake.store.clock()
    run, found = run_it(lake, ["origin"], policy="priority")
    assert found.overridden.total() == 15
    assert run.document["totals"]["corrected"] == 15
    now = lake.bars(None, "1m", provenance=True)
    assert now.filter(pl.col("source") == "origin").height == 15
    assert (
        now.filter(pl.col("instrument") == BTC)
        .select("close", "volume")
        .equals(truth(venue, BTC).select("close", "volume"))
    )
    assert lake.bars(None, "1m", as_of=known).equals(before.drop("source", "known_at"))
    with running(lake.store, "reconcile-undo") as back:
        assert undo(lake, back, run.id) == {"of": run.id, "restored": 15, "standing": 0, "changed_since": 0}
    assert lake.bars(None, "1m", provenance=True).drop("known_at").equals(before.drop("known_at"))
    with running(lake.store, "reconcile-undo") as again:  # an undo is an override, and is undone as one
        assert undo(lake, again, back.id)["restored"] == 15
    assert lake.bars(None, "1m", provenance=True).drop("known_at").equals(now.drop("known_at"))


def test_an_undo_leaves_alone_what_was_changed_since(lake: Lake, venue: Running) -> None:
    """A bar that was corrected after the override is not put back; the call says how many."""
    run, _ = run_it(lake, ["origin"], policy="priority")
    newer = truth(venue, BTC).head(1).with_columns(pl.col("volume") + 7)
    lake.write(BTC, "1m", newer, source="venue")
    with running(lake.store, "reconcile-undo") as back:
        assert undo(lake, back, run.id) == {"of": run.id, "restored": 14, "standing": 0, "changed_since": 1}
    assert lake.bars(BTC, "1m", end="2024-06-01T00:01")["volume"].to_list() == newer["volume"].to_list()


KILLED = """
import os, signal, sys
from gapless.app import reconciling
from gapless.app.lake import Lake
from gapless.app.runs import running
lake = Lake(sys.argv[1])
reconciling._write = lambda *of: os.kill(os.getpid(), signal.SIGKILL)
with running(lake.store, "reconcile") as run:
    print(run.id, flush=True)
    reconciling.reconcile(reconciling.wanted(lake, [sys.argv[2]], policy="priority", prefer=["two"]), run)
"""


def test_a_run_that_is_killed_between_its_note_and_its_write_changed_nothing(tmp_path: Path, venue: Running) -> None:
    """Its note is seen to have had no effect; the next run overrides, and an undo of that one puts everything back."""
    for name, source in (("lake", "one"), ("other", "two")):
        Lake(tmp_path / name).write(BTC, "1m", (wrong if source == "one" else truth)(venue, BTC), source=source)
    where = [str(tmp_path / name) for name in ("lake", "other")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *where], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    lake = Lake(where[0])
    with running(lake.store, "reconcile-undo") as back:
        told = undo(lake, back, killed.stdout.strip())
    assert (told["restored"], told["standing"], told["changed_since"]) == (0, 15, 0)
    before = lake.bars(BTC, "1m")
    run, found = run_it(lake, [where[1]], policy="priority", prefer=["two"])
    assert found.overridden.total() == 15
    for restored in (15, 0):
        with running(lake.store, "reconcile-undo") as back:
            assert undo(lake, back, run.id) == {
                "of": run.id, "restored": restored, "standing": 15 - restored, "changed_since": 0,
            }  # fmt: skip
    assert lake.bars(BTC, "1m").equals(before)


def test_agreement_of_two_sources_overrides_a_third(lake: Lake) -> None:
    """Two sources that say the same stand against the mirror; the mirror is the outlier of every line."""
    _, found = run_it(lake, ["origin", "second"], policy="agreement")
    assert found.overridden.total() == 15
    assert set(found.table["outlier"]) == {"stored"}
    _, again = run_it(lake, ["origin", "second"], policy="agreement")
    assert (again.overridden.total(), again.table.height) == (0, 0)


def test_one_source_alone_convinces_nobody(lake: Lake) -> None:
    """Agreement of two needs two: against one other source nothing is overridden."""
    assert run_it(lake, ["origin"], policy="agreement")[1].overridden.total() == 0


def test_a_vendor_and_its_archive_are_one_source(lake: Lake, tmp_path: Path, venue: Running) -> None:
    """What origin and its archive say is the word of one; and the archive is trusted as origin is."""
    other = Lake(tmp_path / "other", config=lake.config)
    other.write(BTC, "1m", truth(venue, BTC), source="origin-archive")
    where = str(tmp_path / "other")
    assert run_it(lake, ["origin", where], symbols=[BTC], policy="agreement")[1].overridden.total() == 0
    assert run_it(lake, [where], symbols=[BTC], policy="priority")[1].overridden.total() == 15
    assert "origin-archive" in set(lake.bars(BTC, "1m", provenance=True)["source"])


def test_a_source_that_fails_makes_the_run_incomplete(lake: Lake) -> None:
    """What could not be asked is an error of the run, not silence."""
    sources = {"origin": {"kind": "binance", "base_url": "http://127.0.0.1:9", "attempts": 1, "patience": "1s"}}
    lake.config = parse({"sources": sources})
    run, found = run_it(lake, ["origin"], symbols=[BTC])
    assert run.exit_code == 1
    assert found.to_dict(1)["compared"] == 0


def test_longer_bars_are_compared_with_the_fold_of_shorter_ones(lake: Lake, venue: Running) -> None:
    """A stored 5m bar that its minutes contradict is told; where minutes are not complete nothing is."""
    five = venue.market.truth("BTCUSDT", "5m", DAY)
    lake.write(BTC, "5m", five, source="origin")
    asked = wanted(lake, ["1m"])
    with running(lake.store, "reconcile") as run:
        told = reconcile(asked, run).to_dict(100)
    assert [(s["instrument"], s["timeframe"], s["compared"]) for s in told["series"]] == [(BTC, "5m", 288)]
    assert told["differing"] == 15
    assert {row["ts"][14:16] for row in told["disagreements"]} <= {"00", "20", "40"}
    part = Span.parse("2024-06-01T01:02", "2024-06-01T01:33")  # no bar of it is folded of some of its minutes
    with running(lake.store, "reconcile") as run:
        told = reconcile(wanted(lake, ["1m"], span=part), run).to_dict(100)
    assert (told["compared"], told["differing"], told["series"][0]["only"]) == (6, 0, {"stored": 0, "fold:1m": 0})


def test_another_lake_and_another_instrument_are_witnesses(lake: Lake, tmp_path: Path, venue: Running) -> None:
    """Both are compared; only a lake may stand, for another instrument's bars are never these."""
    other = Lake(tmp_path / "other", config=lake.config)
    other.write(BTC, "1m", truth(venue, BTC), source="origin")
    _, found = run_it(lake, [str(tmp_path / "other")], symbols=[BTC], policy="priority")
    assert found.overridden.total() == 15
    assert set(lake.bars(BTC, "1m", provenance=True)["source"]) == {"mirror", "origin"}
    _, found = run_it(lake, [ETH], symbols=[BTC])
    assert found.to_dict(0)["differing"] == 1440
    with pytest.raises(UsageError, match="cannot stand"):
        run_it(lake, [ETH], symbols=[BTC], policy="priority")


def test_a_call_that_makes_no_sense_is_told_how_to_be_one(lake: Lake) -> None:
    """An unknown witness, no witness, a policy without an order, an undo of nothing."""
    with pytest.raises(UnknownName, match="did you mean 'origin'"):
        wanted(lake, ["orign"])
    with pytest.raises(UsageError, match="no such bars of BINANCE:NOPE"):
        wanted(lake, ["origin"], symbols=["BINANCE:NOPE", BTC])
    with pytest.raises(UsageError, match="with whom"):
        wanted(lake, [])
    lake.config = parse({"sources": {"origin": {"kind": "binance"}}})
    with pytest.raises(UsageError, match="--prefer"):
        wanted(lake, ["origin"], policy="priority")
    with running(lake.store, "reconcile-undo") as run, pytest.raises(UsageError, match="overrode nothing"):
        undo(lake, run, "20240101T000000-reconcile-0000")


def test_from_python_it_is_one_call(lake: Lake, venue: Running) -> None:
    """The findings; a witness that cannot be asked is an error; the flags of quality, each heard by a witness."""
    found = lake.reconcile("origin", instruments=BTC, timeframes="1m")
    assert (found.table["ts"].n_unique(), found.overridden.total()) == (15, 0)
    assert lake.reconcile("origin", instruments=BTC, policy="priority", prefer=["origin"]).overridden.total() == 15
    assert lake.reconcile("origin", instruments=BTC).table.is_empty()
    gone = {"kind": "binance", "base_url": "http://127.0.0.1:1", "attempts": 1}
    lake.config = parse({"sources": {"gone": gone}})
    with pytest.raises(SourceError, match="gone"):
        lake.reconcile("gone", instruments=BTC, timeframes="1m")
    assert {s.series.instrument.symbol: s.score for s in lake.quality(timeframes="1m").scores} == {
        "BTCUSDT": 1.0,
        "ETHUSDT": 1.0,
    }


def test_a_whole_bar_stands_and_an_undo_brings_the_whole_one_back(tmp_path: Path) -> None:
    """What only one of two sources says is never mixed with the other's prices; a derived bar comes back, too."""
    lake, other = Lake(tmp_path / "lake"), Lake(tmp_path / "other")
    ts = pl.datetime_range(pl.datetime(2024, 5, 1), pl.datetime(2024, 5, 1, 0, 4), "1m", time_zone="UTC", eager=True)
    bars = pl.DataFrame({"ts": ts, "open": 2.0, "high": 2.0, "low": 2.0, "close": 2.0, "volume": 1.0})
    lake.write(BTC, "1m", bars.with_columns(trades=9.0), source="one")
    lake.write(ETH, "1m", bars, source="derived-1s")
    for name in (BTC, ETH):
        other.write(name, "1m", bars.with_columns(high=3.0, quote_volume=7.0), source="two")
    before = lake.bars(None, "1m", provenance=True).drop("known_at")
    run, found = run_it(lake, [str(tmp_path / "other")], policy="priority", prefer=["two"])
    assert found.overridden.total() == 10
    assert lake.bars(BTC, "1m").select("high", "quote_volume").row(0) == (3.0, 7.0)
    assert "trades" not in lake.bars(BTC, "1m").columns
    with running(lake.store, "reconcile-undo") as back:
        assert undo(lake, back, run.id)["restored"] == 10
    assert lake.bars(None, "1m", provenance=True).drop("known_at").equals(before)


def test_nobody_is_a_witness_twice_and_nobody_unknown_is_preferred(lake: Lake) -> None:
    """The lake itself, a name given twice, an instrument without bars, a misspelt source."""
    with pytest.raises(UsageError, match="this lake itself"):
        wanted(lake, [str(lake.store.root)])
    with pytest.raises(UsageError, match="named twice"):
        wanted(lake, ["origin", "second", "origin"])
    with pytest.raises(UnknownName, match="BINANCE:NOPE"):
        wanted(lake, ["BINANCE:NOPE"])
    with pytest.raises(UnknownName, match="did you mean 'mirror'"):
        wanted(lake, ["origin"], policy="priority", prefer=["origin", "miror"])
    assert wanted(lake, ["origin"], policy="priority", prefer=["mirror"]).order == ("mirror",)
