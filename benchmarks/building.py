"""From bars in the lake to features durable in the lake: three ratings, averages, oscillators, two z-scores.

Four series of five years of minutes. The parts are the seconds of all workers together: they run side by side, and wait
for each other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import M1, Row, walk
from gapless.app import open as open_lake
from gapless.engine.build import build
from gapless.series import Instrument
from gapless.spans import DAY, MINUTE, parse_time

BTC = "BINANCE:S0000"
AVERAGES = {f"{kind}{n}": f"{kind}(close, {n})" for kind in ("sma", "ema") for n in (10, 20, 30, 50, 100, 200)}
FEATURES = AVERAGES | {
    "hma9": "hma(close, 9)", "vwma20": "vwma(close, 20)", "ichimoku": "ichimoku_base()",
    "rsi": "rsi(close, 14)", "k": "stoch_k()", "d": "stoch_d()", "cci": "cci(close, 20)", "adx": "adx()",
    "ao": "ao()", "mom": "mom(close, 10)", "macd": "macd()", "macd_signal": "macd_signal()", "srsi": "stochrsi_k()",
    "wpr": "wpr(14)", "bull": "bull_power()", "bear": "bear_power()", "uo": "uo()",
    "ma": "recommend_ma()", "other": "recommend_other()", "all": "recommend_all()",
    "atr": "atr(14)", "r1": "log_return(close, 1)", "r15": "log_return(close, 15)",
    "vol": "std(log_return(close, 1), 20)",
    "beta": f"beta(log_return(close, 1), log_return(close@{BTC}, 1), 240)",
    "excess": f"log_return(close, 15) - log_return(close@{BTC}, 15)",
    "z_return": "zscore(log_return(close, 15), 720)", "z_volume": "zscore(volume, 720)",
    "bb_upper": "bb_upper()", "bb_lower": "bb_lower()", "srsi_d": "stochrsi_d()",
}  # fmt: skip
SERIES, DAYS, FIRST = 4, 1826, parse_time("2020-05-20")
NAMES = [f"BINANCE:S{i:04}" for i in range(SERIES)]
BARS = DAYS * 1440


def run() -> Iterator[Row]:
    """The whole, its parts, how it scales, and what a day more, a correction and a definition cost."""
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(Path(folder) / "lake")
        for k, name in enumerate(NAMES):
            lake.store.write(M1, walk(name, BARS, k, FIRST), source="made up")
        _build(lake, NAMES[:1], {"warm": "ema(close, 3)"})  # compiles
        yield from _scaling(lake)
        whole = _build(lake)
        speed = SERIES * BARS / whole.processor / 1e6
        yield Row(
            f"build {len(FEATURES)} columns, durable", f"{SERIES * BARS / whole.seconds / 1e6:.2f} M bars/s",
            f"{speed:.2f} M a second of one core", "", "1.0 M a core", speed >= 1.0,
        )  # fmt: skip
        total = sum(whole.parts.values())
        for part, seconds in whole.parts.items():
            yield Row(f"  {part}", f"{seconds / SERIES / BARS * 1e9:.0f} ns/bar", "all parts", f"{seconds / total:.0%}")
        yield Row(
            f"  on disk, {len(FEATURES)} columns", f"{_size(Path(folder)) / SERIES / BARS:.0f} B/bar", "plain numbers",
            f"{_size(Path(folder)) / SERIES / BARS / 8 / len(FEATURES):.0%}",
        )  # fmt: skip
        yield from _changes(lake, whole)


@dataclass(frozen=True)
class Took:
    """What a build took: seconds, processor seconds, and seconds of all workers by what they did."""

    seconds: float
    processor: float
    parts: dict[str, float]


def _build(lake: Any, names: list[str] = NAMES, features: dict[str, str] = FEATURES) -> Took:
    begin, processor = time.perf_counter(), time.process_time()
    report = build(lake.store, features, [Instrument.parse(n) for n in names], M1)
    return Took(time.perf_counter() - begin, time.process_time() - processor, report.parts)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "lake" / "features").rglob("*.parquet"))


def _forget(lake: Any) -> None:
    for name in lake.store.feature_sets(M1):
        lake.store.forget_set(name, M1.name)
        shutil.rmtree(lake.store.root / "features" / name, ignore_errors=True)


def _scaling(lake: Any) -> Iterator[Row]:
    """Two series on one core, and on two."""
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) < 2:
        return
    took = []
    for few in ({min(cores)}, set(sorted(cores)[:2])):
        _forget(lake)
        os.sched_setaffinity(0, few)  # threads made from here on inherit it
        took.append(_build(lake, NAMES[1:3]).seconds)
    os.sched_setaffinity(0, cores)
    _forget(lake)
    ratio = took[0] / took[1]
    yield Row("two cores instead of one", f"{took[1]:.1f} s", f"{took[0]:.1f} s", f"{ratio:.2f}×", "1.8×", ratio >= 1.8)


def _changes(lake: Any, whole: Took) -> Iterator[Row]:
    end = FIRST + BARS * MINUTE
    yield _cost("the same again", _build(lake), whole)
    days = []
    for day in range(5):
        for k, name in enumerate(NAMES):
            lake.store.write(M1, walk(name, 1440, 50 + k, end + day * DAY), source="made up")
        days.append(_build(lake))
    yield _cost("one day more of each", sorted(days, key=lambda took: took.seconds)[2], whole, 0.01)
    for k, days in ((3, 30), (0, 30)):
        at = end - days * DAY
        one = lake.bars(NAMES[k], "1m", start=at, end=at + MINUTE)
        lake.write(NAMES[k], "1m", one.with_columns(one["volume"] + 1))
        what = "one bar a month back corrected" + (", of the series all join" if not k else "")
        yield _cost(what, _build(lake), whole, 0.03)
    yield _cost("one column more", _build(lake, features=FEATURES | {"more": "rsi(close, 15)"}), whole)


def _cost(what: str, took: Took, whole: Took, goal: float | None = None) -> Row:
    ratio = took.seconds / whole.seconds
    met = None if goal is None else ratio <= goal
    shown = f"{took.seconds * 1e3:.0f} ms"
    peer = f"five years; of processor time {took.processor / whole.processor:.2%}"
    return Row(f"  {what}", shown, peer, f"{ratio:.2%}", f"{goal:.0%}" if goal else "", met)
