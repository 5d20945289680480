"""What a vendor revised is found by asking again, when it is due."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import make_plan, wanted
from gapless.config import parse
from gapless.observe.progress import Silent
from gapless.sim import Running, SimConfig, running
from gapless.spans import DAY, Span, Timeframe, iso
from gapless.stores import lake as stores_lake

M1 = Timeframe.parse("1m")
QUIET = {
    "symbols": ("BTCUSDT",), "weight_limit": 0, "outages_per_month": 0, "halts_per_month": 0, "listed_late": 0,
    "delisted": 0,
}  # fmt: skip


def test_a_bar_revised_after_two_days_is_found_by_verifying_and_only_then(tmp_path: Path, monkeypatch) -> None:
    """Bars that were wrong when first heard are corrected by the run that verifies; the plan says what it will ask."""
    now, ahead = stores_lake.wall_clock(), 0
    monkeypatch.setattr(stores_lake, "wall_clock", lambda: now + ahead)
    with running(SimConfig(start=iso(now - 9 * DAY), faults="late:1.0", late_window=DAY // 2, **QUIET)) as sim:
        lake = Lake(tmp_path / "lake", config=parse({"sources": {"binance": {"base_url": sim.url}}}))
        lake.store.clock = lambda: now + ahead
        words = {"symbols": "BINANCE:BTCUSDT", "timeframes": "1m", "start": iso(now - DAY), "end": iso(now)}
        assert fetch(wanted(lake, "backfill", **words), Silent()).exit_code == 0
        wrong = _wrong(lake, sim).height
        assert wrong >= 700
        ahead = 2 * DAY
        sim.clock.advance(2 * DAY)
        corrected = fetch(wanted(lake, "backfill", **words), Silent()).document["totals"]["corrected"]
        assert 50 <= corrected <= 61  # those of the last hour, learned too soon
        asked = wanted(lake, "backfill", verify=True, **words)
        assert make_plan(asked).to_dict()["bars"] >= 1370
        assert fetch(asked, Silent()).document["totals"]["corrected"] == wrong - corrected
        assert _wrong(lake, sim).height == 0


def _wrong(lake: Lake, sim: Running) -> pl.DataFrame:
    rows = lake.bars(None, "1m").select("ts", "open", "high", "low", "close", "volume")
    ts = rows["ts"].to_physical()
    truth = sim.market.truth("BTCUSDT", M1, Span(int(ts[0]), int(ts[-1]) + M1.micros))
    return rows.join(truth, on=["ts", "close", "volume"], how="anti")
