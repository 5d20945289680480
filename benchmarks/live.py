"""From the last bar of a minute to alerts decided and rows durable, for many symbols; and a day replayed.

Every minute goes the live way: rows are stored and synced, all columns of the detector and of the ratings are computed,
rules look at them, and what was decided is stored and synced. No sockets: ``feed`` measures those.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rows import M1, Row
from gapless.app.desks import desk
from gapless.bars import TS
from gapless.config import parse
from gapless.engine.barrier import FIELDS, Moment
from gapless.engine.desk import Desk
from gapless.engine.rows import bars_frame
from gapless.engine.track import Track
from gapless.spans import MINUTE
from gapless.stores.journal import JOURNAL, Journal
from gapless.stores.lake import Lake
from gapless.stores.moments import MomentWriter

BASE = 29_000_000 * MINUTE
SYMBOLS, WARM, MEASURED = 1000, 1000, 300
CONFIG = {
    "features": {
        **{name: f"{name}()" for name in ("recommend_all", "recommend_ma", "recommend_other")},
        **{name: name for name in ("r_1m", "r_15m", "er_15m", "z_er_15m", "z_vol_15m", "taker_buy_share_15m")},
    },
    "alerts": {
        "initiator": {
            "when": "abs(z_er_15m) >= 3 and z_vol_15m >= 3"
            " and (taker_buy_share_15m >= 0.65 or taker_buy_share_15m <= 0.35)",
            "direction": "er_15m",
            "cooldown": "60m",
            "opposite_cooldown": "15m",
        },
        "rated": {"when": "abs(recommend_all) >= 0.5", "for_bars": 3, "cooldown": "4h"},
    },
}


def market(symbols: int, minutes: int, seed: int = 5) -> np.ndarray:
    """(fields, minutes, symbols): a random walk with volumes."""
    chance = np.random.default_rng(seed)
    steps = chance.standard_t(4, (minutes, symbols)) * 5e-4
    close = 100 * np.exp(np.cumsum(steps, axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0003, np.minimum(opened, close) * 0.9997
    volume = chance.lognormal(3, 1, (minutes, symbols))
    taker = volume * chance.beta(5, 5, (minutes, symbols))
    nothing = np.full((minutes, symbols), np.nan)
    return np.stack([opened, high, low, close, volume, volume * close, np.floor(volume), taker, nothing, nothing])


def run() -> list[Row]:
    """Latencies of 1000 symbols, and a day of them replayed."""
    names = ["BINANCEUSDM:BTCUSDT", *(f"BINANCEUSDM:S{i:04d}USDT" for i in range(SYMBOLS - 1))]
    values = market(SYMBOLS, WARM + MEASURED)
    root = Path(tempfile.mkdtemp(prefix="gapless-live-", dir=Path.cwd()))
    try:
        return _measure(root, names, values)
    finally:
        shutil.rmtree(root)


def _measure(root: Path, names: list[str], values: np.ndarray) -> list[Row]:
    lake = Lake(root / "lake", clock=lambda: BASE + 10**7 * MINUTE)
    _history(lake, names, values[:, :WARM])
    track = Track(desk(parse(CONFIG), M1, names, features=None), lake, Journal(lake.root / JOURNAL), clock=lake.clock)
    track.open()
    writer = MomentWriter(lake, M1, source="live")
    took = np.array([_minute(track, writer, values[:, k], k) for k in range(WARM, values.shape[1])]) * 1e3
    p50, p99 = np.percentile(took.sum(axis=1), [50, 99])
    each = zip(("bars stored", "decided", "written"), np.median(took, axis=0), strict=True)
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in each)
    stepping = _replayed(desk(parse(CONFIG), M1, names, features=()), values)
    day = 1440 * stepping / values.shape[1]
    return [
        Row("1000 symbols live: a minute, p50", f"{p50:.1f} ms ({parts})", goal="< 20 ms", met=bool(p50 < 20)),
        Row("1000 symbols live: a minute, p99", f"{p99:.1f} ms", goal="< 60 ms", met=bool(p99 < 60)),
        Row("a day of 1000 symbols replayed", f"{day:.1f} s", goal="< 120 s", met=day < 120),
    ]


def _replayed(table: Desk, values: np.ndarray) -> float:
    """Seconds to step a desk over all minutes."""
    started = time.perf_counter()
    for k in range(values.shape[1]):
        table.step(Moment(BASE + k * MINUTE, np.ones(values.shape[2], dtype=np.bool_), values[:, k]))
    return time.perf_counter() - started


def _history(lake: Lake, names: list[str], values: np.ndarray) -> None:
    minutes, count = values.shape[1:]
    order = np.argsort(np.array(names))
    columns = {name: values[k][:, order].T.ravel() for k, name in enumerate(FIELDS)}
    ts = np.tile(BASE + np.arange(minutes) * MINUTE, count)
    frame = pl.DataFrame({"instrument": np.repeat(np.array(names)[order], minutes), "ts": ts, **columns})
    lake.write(M1, frame.with_columns(pl.col("ts").cast(TS)), source="history")


def _minute(track: Track, writer: MomentWriter, values: np.ndarray, k: int) -> tuple[float, float, float]:
    moment = Moment(BASE + k * MINUTE, np.ones(values.shape[1], dtype=np.bool_), values)
    a = time.perf_counter()
    assert writer.append(bars_frame(track.desk.instruments, moment)) is None
    b = time.perf_counter()
    track.advance(moment)
    c = time.perf_counter()
    track.write()
    d = time.perf_counter()
    track.rest()
    writer.gather()
    return b - a, c - b, d - c
