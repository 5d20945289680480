"""What must hold of a live desk whenever it has stopped."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl

from gapless.app import decisions
from gapless.app.desks import desk
from gapless.app.lake import Lake
from gapless.engine.build import set_name
from gapless.features import plan
from gapless.spans import HOUR, MINUTE, Span, Timeframe, iso
from live_run import Run
from live_venue import VALUES, Hook

M1 = Timeframe.parse("1m")
TOLD = ("id", "kind", "rule", "instrument", "ts", "direction", "severity", "level", "evidence", "members", "muted")


def alert_keys(found: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps({k: alert[k] for k in TOLD}, sort_keys=True) for alert in found)


def settled(run: Run) -> dict[str, Any]:
    """Assert that what was decided is what the stored bars say: feature rows, alerts, positions; how much it was."""
    lake = run.opened()
    decided = run.opened_journal().decided(M1)
    assert decided is not None
    replayed = decisions.replay(lake, end=iso(decided + MINUTE))
    stands, again = alert_keys(decisions.alerts(lake)), alert_keys(replayed["alerts"])
    assert stands == again, {
        "only live": [*set(stands) - set(again)][:3],
        "only replay": [*set(again) - set(stands)][:3],
    }
    held = sorted(json.dumps(p.to_dict(), sort_keys=True) for p in decisions.positions(lake))
    assert held == sorted(json.dumps(p, sort_keys=True) for p in replayed["positions"])
    return {"alerts": len(stands), "positions": len(held), "rows": same_features(lake), "bars": replayed["bars"]}


def same_features(lake: Lake) -> int:
    """Assert that live feature rows are bit for bit those of a batch over the stored bars; how many rows."""
    known = decisions.journal(lake)
    assert known is not None
    names = tuple(known.fact("desk 1m")["instruments"])
    duties = desk(lake.config, M1, names, features=None).duties
    live = known.moments(set_name(plan(duties.features)), M1)
    assert live is not None
    columns = list(duties.features)
    first, last = live["ts"].min(), live["ts"].max()
    batch = lake.features(list(names), "1m", dict(duties.features))
    batch = batch.filter(pl.col("ts").is_between(first, last)).select("instrument", "ts", *columns)
    live = live.select("instrument", "ts", *columns).sort("instrument", "ts")
    batch = batch.sort("instrument", "ts")
    keys = ["instrument", "ts"]
    absent, extra = batch.join(live, on=keys, how="anti"), live.join(batch, on=keys, how="anti")
    assert not absent.height, f"{absent.height} feature rows are missing: {absent.head(3)}"
    assert not extra.height, f"{extra.height} feature rows have no bar: {extra.head(3)}"
    for name in columns:
        assert live[name].dtype == batch[name].dtype
        assert bits(live[name]) == bits(batch[name]), name
    return live.height


def bits(column: pl.Series) -> bytes:
    """A column's bits; every NaN is the same."""
    if not column.dtype.is_float():
        return repr(column.to_list()).encode()
    values = column.fill_null(np.nan).to_numpy()
    return np.where(np.isnan(values), np.nan, values).tobytes()


def true_bars(run: Run) -> int:
    """Assert that the lake holds the venue's truth from history to the newest bar time decided; how many bars.

    That one itself is left out: what the feed left out of it REST tells only once it has settled, maybe after the stop.
    So are those after ``whole_until``.
    """
    lake = run.opened()
    known = decisions.journal(lake)
    assert known is not None
    decided = known.decided(M1)
    assert decided is not None
    span = Span(int(known.fact("desk 1m")["since"]) - 13 * HOUR, min(decided, run.whole_until or decided))
    total = 0
    for symbol in run.symbols:
        truth = run.venue.truth(symbol, span)
        held = lake.store.rows(M1, [f"BINANCEUSDM:{symbol}"], span)
        held = held.select(pl.col("ts").to_physical(), *VALUES)
        wrong = truth.join(held, on="ts", how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} lacks {len(wrong)} bars: {[iso(t) for t in wrong[:5]]}"
        wrong = held.join(truth, on="ts", how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} has {len(wrong)} bars that never were: {[iso(t) for t in wrong[:5]]}"
        wrong = truth.join(held, on=["ts", *VALUES], how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} has {len(wrong)} bars with other values: {[iso(t) for t in wrong[:5]]}"
        total += truth.height
    return total


def all_told(run: Run, hook: Hook) -> int:
    """Assert that the channel's last word on every alert that stands is that it fired; how many stand."""
    lake = run.opened()
    stand = {a["id"] for a in decisions.alerts(lake) if not a["muted"]}
    ever = {a["id"] for a in decisions.alerts(lake, withdrawn=True)}
    seen: dict[str, dict[str, Any]] = {}
    for event in hook.events():
        if event["kind"] in ("fired", "withdrawn") and event["data"].get("rule"):
            first = seen.setdefault(event["id"], event)  # a repetition has the same id and says the same
            assert (first["kind"], first["data"]["id"]) == (event["kind"], event["data"]["id"])
    words: dict[str, str] = {event["data"]["id"]: event["kind"] for event in seen.values()}
    assert words.keys() <= ever
    assert stand <= words.keys(), f"never told: {stand - words.keys()}"
    assert {name for name in stand if words[name] != "fired"} == set(), "the last word on it is that it is withdrawn"
    return len(stand)
