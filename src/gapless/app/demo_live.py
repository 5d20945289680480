"""The live part of the demo: a market that runs sixty times as fast, streams that misbehave, and proof at the end."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from gapless import sim
from gapless.app import decisions
from gapless.app.desks import desk
from gapless.app.lake import Lake
from gapless.app.living import Desktop, Wanted
from gapless.app.runs import running
from gapless.bars import KEY, VALUES
from gapless.config import parse
from gapless.engine.build import set_name
from gapless.features import plan
from gapless.series import Instrument
from gapless.spans import Span, Timeframe, parse_time

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")
FAULTS = "ws_late:0.06,ws_missing:0.04,ws_corrected:0.05,ws_dup:0.05,ws_reorder:0.05,ws_garbage:0.02,5xx:0.03"
SECONDS, SPEED, MORE, MOST = 15.0, 60.0, 4.0, 5
M1 = Timeframe.parse("1m")
CONFIG: Mapping[str, Any] = {
    "live": {"symbols": [f"BINANCEUSDM:{s}" for s in SYMBOLS], "history": "18h", "drain": "60s"},
    "features": {"rating": "recommend_all()", "z": "z_er_15m", "z_volume": "z_vol_15m"},
    "alerts": {
        "unusual": {
            "when": "abs(z) >= 1.5 and z_volume >= 0", "direction": "er_15m", "cooldown": "15m", "opens": "quick"
        },
    },
    "positions": {
        "quick": {"stop": {"atr": 1.5}, "targets": [{"atr": 1.0, "fraction": 0.5}, {"atr": 2.0, "fraction": 0.5}]}
    },
}  # fmt: skip


def look_after_a_market() -> dict[str, Any]:
    """Run live, stop, run again; then compare with the venue and with history. What happened, and what was checked."""
    config = sim.SimConfig(
        symbols=SYMBOLS, faults=FAULTS, speed=SPEED, now="2025-06-03T00:00", start="2025-05-20", seed=3,
        outages_per_month=0.0, halts_per_month=0.0, listed_late=0.0, delisted=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gapless-live-") as scratch, sim.running(config) as venue:
        settings = parse({**CONFIG, "sources": {"binance-usdm": {"base_url": venue.url}}})
        lake = Lake(Path(scratch) / "lake", config=settings)
        states = [_once(lake, seconds) for seconds in (SECONDS, MORE)]
        while _open(states[-1]) and len(states) < MOST:  # a stop leaves to the next run what it has no time to ask for
            states.append(_once(lake, MORE))
        return _told(lake, states) | _compared(lake, venue) | {"faults": dict(venue.injected)}


def _once(lake: Lake, seconds: float) -> dict[str, Any]:
    with running(lake.store, "live") as run:
        desktop = Desktop(lake, Wanted(seconds=seconds), run.observe, run.id)
        desktop.run()
    return desktop.state()


def _open(state: Mapping[str, Any]) -> bool:
    """Was something still to be asked for when it stopped?"""
    return any(feed["asking"] for feed in state["feeds"])


def _told(lake: Lake, states: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(s["counts"].get(name, 0) for s in states) for name in ("bars", "late", "healed")}
    return counts | {
        "alerts": len(decisions.alerts(lake)),
        "withdrawn": len(decisions.alerts(lake, withdrawn=True)) - len(decisions.alerts(lake)),
        "positions": len(decisions.positions(lake)),
        "well": not any(s["degraded"] for s in states),
    }  # fmt: skip


def _compared(lake: Lake, venue: sim.Running) -> dict[str, Any]:
    """Bars against the venue's truth, feature rows against a batch run, alerts against a replay.

    The newest bar is compared with nobody's: the venue may still correct it.
    """
    journal = decisions.journal(lake)
    head = journal.decided(M1) if journal is not None else None
    if journal is None or head is None:
        return {"decided": 0, "true": False, "same_features": False, "same_alerts": False}
    names = lake.config.live.symbols
    span = Span(parse_time("2025-06-02T12:00"), head)
    features = dict(desk(lake.config, M1, names, features=None).duties.features)
    rows = journal.moments(set_name(plan(features)), M1)
    batch = lake.features(names, "1m", features).drop("available_at")
    live = rows.sort("instrument", "ts") if rows is not None else batch.clear()
    told, again = decisions.alerts(lake), decisions.replay(lake)["alerts"]
    return {
        "decided": live["ts"].n_unique(),
        "rows": live.height,
        "true": all(_true(lake, venue, name, span) for name in names),
        "same_features": live.height > 0 and live.equals(batch.join(live.select(KEY), on=KEY)),
        "same_alerts": sorted(map(_text, told)) == sorted(map(_text, again)),
    }  # fmt: skip


def _true(lake: Lake, venue: sim.Running, name: str, span: Span) -> bool:
    mine = lake.bars(name, "1m", start=span.start, end=span.end).select("ts", *VALUES)
    theirs = venue.markets["BINANCEUSDM"].truth(Instrument.parse(name).symbol, M1, span).select("ts", *VALUES)
    return bool(mine.equals(theirs.with_columns(pl.col("ts").cast(mine.schema["ts"]))))


def _text(alert: Mapping[str, Any]) -> str:
    """An alert without when it was learned."""
    return json.dumps({k: v for k, v in alert.items() if k not in ("known_at", "withdrawn_at")}, sort_keys=True)
