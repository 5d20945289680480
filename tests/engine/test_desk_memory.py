"""What a live run holds in memory and on disk does not grow with what went through it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest

from gapless.app.desks import desk
from gapless.config import Config
from gapless.engine.barrier import FIELDS, Moment
from gapless.engine.rows import bars_frame
from gapless.engine.track import Track
from gapless.spans import DAY, MINUTE, SECOND, Timeframe, parse_time
from gapless.stores.journal import Journal
from gapless.stores.lake import Lake
from gapless.stores.maintain import verify
from gapless.stores.moments import MomentWriter

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-06-03T00:00")
CONFIG = Config.model_validate(
    {
        "features": {"e": "ema(close, 20)", "rsi": "rsi(close, 14)", "r": "rank(log_return(close, 15))"},
        "alerts": {
            "a": {
                "when": "abs(log_return(close, 5)) >= 0.015",
                "direction": "log_return(close, 5)",
                "cooldown": "2h",
                "opens": "fast",
            }
        },
        "positions": {"fast": {"stop": {"atr": 1.0}, "targets": [{"atr": 1.0, "fraction": 0.5}]}},
    }
)


def moment(k: int, price: np.ndarray, chance: np.random.Generator) -> tuple[Moment, np.ndarray]:
    close = price * np.exp(chance.normal(0, 0.002, len(price)))
    values = np.full((len(FIELDS), len(price)), np.nan)
    values[:4] = price, np.maximum(price, close), np.minimum(price, close), close
    values[4] = 5 + k % 7
    return Moment(T0 + k * MINUTE, np.ones(len(price), np.bool_), values), close


@pytest.mark.parametrize(
    ("instruments", "minutes"), [(20, 400), pytest.param(200, 5000, marks=pytest.mark.slow)], ids=["small", "million"]
)
def test_memory_stays_flat(tmp_path: Path, instruments: int, minutes: int) -> None:
    """Bars are stored, decided, folded and forgotten: the memory of the first fifth is enough for all of them."""
    names = tuple(f"X:S{i:04d}" for i in range(instruments))
    now = [T0]
    lake, journal = Lake(tmp_path / "lake", clock=lambda: now[0]), Journal(tmp_path / "live.sqlite")
    writer = MomentWriter(lake, M1, source="live")
    track = Track(desk(CONFIG, M1, names, features=None), lake, journal, clock=lambda: now[0])
    track.open()
    chance, price, process, resident = np.random.default_rng(1), np.full(instruments, 100.0), psutil.Process(), []
    for k in range(minutes):
        one, price = moment(k, price, chance)
        now[0] = one.ts + MINUTE + SECOND
        assert writer.append(bars_frame(names, one)) is None
        track.advance(one)
        track.write()
        track.rest()
        writer.gather()
        writer.fold(least=instruments * minutes // 8)
        if k % 60 == 59:
            track.checkpoint()
        resident.append(process.memory_info().rss)
    first, last = max(resident[: minutes // 5]), resident[-1]
    assert last < first + 160e6, f"{first / 1e6:.0f} MB became {last / 1e6:.0f} MB"  # a fold's buffers stay with us
    assert lake.tail.rows(M1) < instruments * minutes // 4
    rows = journal.moments(track.set, M1)
    assert rows is not None
    assert rows["ts"].n_unique() <= 2 * DAY // MINUTE + 60
    assert len(journal.checkpoints("1m")) <= 3 + 7
    assert verify(lake) == []
    held = lake.rows(M1, None, None)
    assert held.height == instruments * minutes
    assert held.select(pl.col("close").last().over("instrument").alias("c"))["c"].tail(1).item() == price[-1]
    assert os.path.getsize(tmp_path / "lake" / "tail.sqlite") < 200 * instruments * minutes // 4
