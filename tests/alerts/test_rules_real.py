"""Rules over real minutes of sixteen perpetuals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.alerts.conditions import Condition
from gapless.alerts.rule import Rule
from gapless.alerts.rules import Rules
from gapless.features import compute
from gapless.spans import MINUTE

PERPETUALS = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "perp_1m_2025-05.parquet"
RULE = Rule(
    "initiator", Condition.parse("abs(z_er_15m) >= 3 and z_vol_15m >= 3"), direction="er_15m",
    cooldown=60 * MINUTE, opposite_cooldown=15 * MINUTE,
)  # fmt: skip


def features() -> pl.DataFrame:
    """Two and a half days, with the rule's inputs as columns; the first of them are warm-up."""
    bars = pl.read_parquet(PERPETUALS).rename({"open_time": "ts"})
    bars = bars.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")), instrument="BINANCEUSDM:" + pl.col("symbol"))
    bars = bars.filter(pl.col("ts") < pl.col("ts").min() + pl.duration(hours=60)).drop("symbol")
    names = {f"f{i}": text for i, text in enumerate(RULE.inputs)}
    return compute(bars.sort("instrument", "ts"), names).rename(names)


@pytest.mark.skipif(not PERPETUALS.exists(), reason="the shared market data is not here")
def test_real_firings_are_those_of_a_filter() -> None:
    """Every alert is a row that polars' filter finds, the filter's other rows lie in a cooldown, and there are some."""
    frame = features()
    names = frame["instrument"].unique().sort().to_list()
    rules = Rules([RULE], names, "1m")
    alerts = []
    for (ts,), rows in frame.sort("ts", "instrument").group_by("ts", maintain_order=True):
        columns = {text: np.full(len(names), np.nan) for text in RULE.inputs}
        here = [names.index(name) for name in rows["instrument"]]  # they do not all begin at the same minute
        for text, values in columns.items():
            values[here] = rows[text].to_numpy()
        alerts += rules.step(int(ts.timestamp()) * 1_000_000, columns, np.isin(np.arange(len(names)), here))

    z, volume, er = (pl.col(text) for text in ("abs(z_er_15m)", "z_vol_15m", "er_15m"))
    hot = frame.filter(z.is_not_nan() & volume.is_not_nan() & er.is_not_nan() & (z >= 3) & (volume >= 3) & (er != 0))
    told = {(a.instrument, a.ts): a.direction for a in alerts}
    silent = 0
    last: dict[str, tuple[int, str]] = {}
    for name, ts, value in hot.select("instrument", pl.col("ts").dt.timestamp("us"), er).sort("ts").iter_rows():
        direction = "up" if value > 0 else "down"
        before, way = last.get(name, (-(10**18), ""))
        if ts - before >= (60 if way == direction else 15) * MINUTE:
            assert told.pop((name, ts)) == direction
            last[name] = ts, direction
        else:
            silent += 1
    assert told == {}
    assert len(alerts) > 20
    assert rules.counts()["initiator"].cooling == silent > 0
    assert rules.never_passing(1) == []
