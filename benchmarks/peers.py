"""The 43 columns of the ratings benchmark as users of polars, TA-Lib and pandas-ta write them today.

Each peer computes every column: the 32 indicator lines, the 26 votes and their three ratings, returns, volatility,
beta, excess return and both z-scores. The rules of the votes are written once, for whatever has comparisons and &.
Missing values are not guarded against, a step that the program takes: an advantage for the peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

LENGTHS = (10, 20, 30, 50, 100, 200)
AVERAGES = [f"{kind}{n}" for n in LENGTHS for kind in ("sma", "ema")]
Columns = Mapping[str, np.ndarray]
Was = Callable[[Any, int], Any]


def votes(x: Mapping[str, Any], was: Was) -> list[tuple[Any, Any]]:
    """Buy and sell of each of the 26: 15 averages, then 11 oscillators. ``was`` is a value some bars ago."""
    c, a, b, trend = x["close"], was(x["lead_a"], 26), was(x["lead_b"], 26), x["ema50"]
    found = [(c > x[name], c < x[name]) for name in (*AVERAGES, "hma", "vwma")]
    fast, slow = x["conversion"], x["ichimoku"]
    found.append((
        (a > b) & (slow > a) & (fast > slow) & (c > fast),
        (a < b) & (slow < a) & (fast < slow) & (c < fast),
    ))  # fmt: skip

    def turn(v: Any, low: float, high: float) -> tuple[Any, Any]:
        before = was(v, 1)
        return (v < low) & (v > before), (v > high) & (v < before)

    def lines(k: Any, d: Any) -> tuple[Any, Any]:
        return (k < 20) & (d < 20) & (k > d), (k > 80) & (d > 80) & (k < d)

    strong = (x["adx"] > 20) & (x["adx"] > was(x["adx"], 1))
    ao, ao1, ao2, mom, mom1 = x["ao"], was(x["ao"], 1), was(x["ao"], 2), x["mom"], was(x["mom"], 1)
    rise, fall = (ao > 0) & (ao1 > 0) & (ao > ao1) & (ao2 > ao1), (ao < 0) & (ao1 < 0) & (ao < ao1) & (ao2 < ao1)
    against = lines(x["stochrsi_k"], x["stochrsi_d"])
    bull, bear = x["bull"], x["bear"]
    return [
        *found, turn(x["rsi"], 30, 70), lines(x["k"], x["d"]), turn(x["cci"], -100, 100),
        (strong & (x["plus"] > x["minus"]), strong & (x["plus"] < x["minus"])),
        (((ao > 0) & (ao1 <= 0)) | rise, ((ao < 0) & (ao1 >= 0)) | fall),
        (mom > mom1, mom < mom1), (x["macd"] > x["signal"], x["macd"] < x["signal"]),
        (against[0] & (c < trend), against[1] & (c > trend)), turn(x["wpr"], -80, -20),
        ((c > trend) & (bear < 0) & (bear > was(bear, 1)), (c < trend) & (bull > 0) & (bull < was(bull, 1))),
        (x["uo"] > 70, x["uo"] < 30),
    ]  # fmt: skip


def ratings(x: Mapping[str, Any], was: Was, number: Callable[[Any], Any]) -> dict[str, Any]:
    """The three ratings: means of the votes."""
    cast = [number(buy) - number(sell) for buy, sell in votes(x, was)]
    averages, oscillators = sum(cast[1:15], cast[0]) / 15, sum(cast[16:], cast[15]) / 11
    return {"rating_ma": averages, "rating_other": oscillators, "rating_all": (averages + oscillators) / 2}


def by_polars(columns: Columns) -> pl.DataFrame:
    """As lazily optimised expressions, a common table of lines first; recursions start from the first value."""
    frame = pl.LazyFrame(dict(columns)).with_columns(**_polars_lines()).with_columns(**_polars_second())
    rated = ratings(_Names(), lambda v, n: v.shift(n), lambda flag: flag.cast(pl.Int8))
    return frame.with_columns(**rated).collect()


class _Names(dict[str, pl.Expr]):
    """Any column by its name."""

    def __missing__(self, name: str) -> pl.Expr:
        return pl.col(name)


def _wilder(x: pl.Expr) -> pl.Expr:
    return x.ewm_mean(alpha=1 / 14, adjust=False, ignore_nulls=True)


def _wma(x: pl.Expr, n: int) -> pl.Expr:
    return x.rolling_mean(n, weights=[2 * (i + 1) / (n + 1) for i in range(n)])


def _polars_lines() -> dict[str, pl.Expr]:
    """What needs bars only."""
    c, h, low, v, btc = (pl.col(name) for name in ("close", "high", "low", "volume", "btc"))
    before = c.shift(1)
    reach = pl.max_horizontal(h - low, (h - before).abs(), (low - before).abs())
    up, down, floor = h.diff(), -low.diff(), pl.min_horizontal(low, before)
    rsi = 100 - 100 / (1 + _wilder(c.diff().clip(0)) / _wilder((-c.diff()).clip(0)))
    mean, trend = c.rolling_mean(20), c.ewm_mean(span=13, adjust=False)
    shares = [(c - floor).rolling_sum(n) / (pl.max_horizontal(h, before) - floor).rolling_sum(n) for n in (7, 14, 28)]
    away = sum(((c.shift(i) - mean).abs() for i in range(20)), start=pl.lit(0.0)) / 20
    middles = {n: (h.rolling_max(n) + low.rolling_min(n)) / 2 for n in (9, 26, 52)}
    return {
        **{f"sma{n}": c.rolling_mean(n) for n in LENGTHS},
        **{f"ema{n}": c.ewm_mean(span=n, adjust=False) for n in LENGTHS},
        "vwma": (c * v).rolling_sum(20) / v.rolling_sum(20),
        # no nulls under weights: polars refuses them
        "hma": _wma((2 * _wma(c, 4) - _wma(c, 9)).fill_null(0), 3),
        "conversion": middles[9], "ichimoku": middles[26], "lead_b": middles[52], "rsi": rsi,
        "raw_k": 100 * (c - low.rolling_min(14)) / (h.rolling_max(14) - low.rolling_min(14)),
        "cci": (c - mean) / (0.015 * away), "atr": _wilder(reach),
        "plus": 100 * _wilder(pl.when((up > down) & (up > 0)).then(up).otherwise(0)) / _wilder(reach),
        "minus": 100 * _wilder(pl.when((down > up) & (down > 0)).then(down).otherwise(0)) / _wilder(reach),
        "ao": ((h + low) / 2).rolling_mean(5) - ((h + low) / 2).rolling_mean(34), "mom": c - c.shift(10),
        "macd": c.ewm_mean(span=12, adjust=False) - c.ewm_mean(span=26, adjust=False),
        "wpr": 100 * (c - h.rolling_max(14)) / (h.rolling_max(14) - low.rolling_min(14)),
        "bull": h - trend, "bear": low - trend, "uo": 100 * (4 * shares[0] + 2 * shares[1] + shares[2]) / 7,
        "r1": (c / before).log(), "r15": (c / c.shift(15)).log(), "btc1": (btc / btc.shift(1)).log(),
        "excess": (c / c.shift(15)).log() - (btc / btc.shift(15)).log(),
        "z_volume": (v - v.rolling_mean(720)) / v.rolling_std(720, ddof=0),
    }  # fmt: skip


def _polars_second() -> dict[str, pl.Expr]:
    """What needs those lines."""
    k, rsi, r1, r15, btc, plus, minus = (
        pl.col(name) for name in ("raw_k", "rsi", "r1", "r15", "btc1", "plus", "minus")
    )
    smooth = k.rolling_mean(3)
    rk = (100 * (rsi - rsi.rolling_min(14)) / (rsi.rolling_max(14) - rsi.rolling_min(14))).rolling_mean(3)
    return {
        "lead_a": (pl.col("conversion") + pl.col("ichimoku")) / 2, "k": smooth, "d": smooth.rolling_mean(3),
        "adx": _wilder((100 * (plus - minus).abs() / (plus + minus)).fill_nan(None)),
        "signal": pl.col("macd").ewm_mean(span=9, adjust=False), "stochrsi_k": rk, "stochrsi_d": rk.rolling_mean(3),
        "vol": r1.rolling_std(20, ddof=0),
        "beta": pl.rolling_cov(r1, btc, window_size=240, ddof=0) / btc.rolling_var(240, ddof=0),
        "z_return": (r15 - r15.rolling_mean(720)) / r15.rolling_std(720, ddof=0),
    }  # fmt: skip


def _shifted(x: np.ndarray, n: int) -> np.ndarray:
    found = np.empty_like(x)
    found[:n], found[n:] = np.nan, x[:-n]
    return found


def by_talib(ta: ModuleType, columns: Columns) -> dict[str, np.ndarray]:
    """TA-Lib where it has them, numpy where it does not."""
    c, h, low, v, btc = (columns[name] for name in ("close", "high", "low", "volume", "btc"))
    middles = {n: (ta.MAX(h, n) + ta.MIN(low, n)) / 2 for n in (9, 26, 52)}
    middle, trend = (h + low) / 2, ta.EMA(c, 13)
    x = {f"sma{n}": ta.SMA(c, n) for n in LENGTHS} | {f"ema{n}": ta.EMA(c, n) for n in LENGTHS}
    x |= {"close": c, "vwma": ta.SUM(c * v, 20) / ta.SUM(v, 20), "hma": ta.WMA(2 * ta.WMA(c, 4) - ta.WMA(c, 9), 3)}
    x |= {"conversion": middles[9], "ichimoku": middles[26], "lead_a": (middles[9] + middles[26]) / 2}
    x |= {"lead_b": middles[52], "rsi": ta.RSI(c, 14), "cci": ta.CCI(c, c, c, 20), "adx": ta.ADX(h, low, c, 14)}
    x["k"], x["d"] = ta.STOCH(h, low, c, 14, 3, 0, 3, 0)
    x |= {"plus": ta.PLUS_DI(h, low, c, 14), "minus": ta.MINUS_DI(h, low, c, 14)}
    x |= {"ao": ta.SMA(middle, 5) - ta.SMA(middle, 34), "mom": ta.MOM(c, 10)}
    x["macd"], x["signal"], _ = ta.MACD(c, 12, 26, 9)
    x["stochrsi_k"], x["stochrsi_d"] = _stochrsi(ta, x["rsi"])
    x |= {"wpr": ta.WILLR(h, low, c, 14), "bull": h - trend, "bear": low - trend, "uo": ta.ULTOSC(h, low, c, 7, 14, 28)}
    x |= ratings(x, _shifted, lambda flag: flag.view(np.int8))
    x |= {"atr": ta.ATR(h, low, c, 14), "r1": np.log(c / _shifted(c, 1)), "r15": np.log(c / _shifted(c, 15))}
    x |= {"vol": ta.STDDEV(x["r1"], 20), "excess": x["r15"] - np.log(btc / _shifted(btc, 15))}
    one, two = x["r1"], np.log(btc / _shifted(btc, 1))
    mean = ta.SMA(two, 240)
    x["beta"] = (ta.SMA(one * two, 240) - ta.SMA(one, 240) * mean) / (ta.SMA(two * two, 240) - mean * mean)
    for name, of in (("z_return", x["r15"]), ("z_volume", v)):
        x[name] = (of - ta.SMA(of, 720)) / ta.STDDEV(of, 720)
    return x


def _stochrsi(ta: ModuleType, rsi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed, which TA-Lib's own is not."""
    least, most = ta.MIN(rsi, 14), ta.MAX(rsi, 14)
    k = ta.SMA(100 * (rsi - least) / (most - least), 3)
    return k, ta.SMA(k, 3)


def by_pandas_ta(ta: ModuleType, columns: Columns) -> dict[str, Any]:
    """pandas-ta, whose functions return frames of several columns, and pandas where it has none."""
    import pandas as pd

    c, h, low, v, btc = (pd.Series(columns[name]) for name in ("close", "high", "low", "volume", "btc"))
    x = {f"sma{n}": ta.sma(c, length=n) for n in LENGTHS} | {f"ema{n}": ta.ema(c, length=n) for n in LENGTHS}
    cloud = ta.ichimoku(h, low, c, as_dataframe=False, include_chikou=False)[0]
    x |= {"close": c, "vwma": ta.vwma(c, v, length=20), "hma": ta.hma(c, length=9)}
    x |= {"lead_a": cloud.iloc[:, 0], "lead_b": cloud.iloc[:, 1]}
    x |= {"conversion": cloud.iloc[:, 2], "ichimoku": cloud.iloc[:, 3]}
    stoch, moving, rsis = ta.stoch(h, low, c), ta.adx(h, low, c), ta.stochrsi(c)
    x |= {"k": stoch.iloc[:, 0], "d": stoch.iloc[:, 1], "rsi": ta.rsi(c), "cci": ta.cci(c, c, c, length=20)}
    plus, minus = (next(n for n in moving.columns if n.startswith(kind)) for kind in ("DMP", "DMN"))
    x |= {"adx": moving.iloc[:, 0], "plus": moving[plus], "minus": moving[minus]}
    lines, trend = ta.macd(c), ta.ema(c, length=13)
    x |= {"ao": ta.ao(h, low), "mom": ta.mom(c), "macd": lines.iloc[:, 0], "signal": lines.iloc[:, 2]}
    x |= {"stochrsi_k": rsis.iloc[:, 0], "stochrsi_d": rsis.iloc[:, 1], "wpr": ta.willr(h, low, c)}
    x |= {"bull": h - trend, "bear": low - trend, "uo": ta.uo(h, low, c), "atr": ta.atr(h, low, c)}
    x |= ratings(x, lambda s, n: s.shift(n), lambda flag: flag.astype("int8"))
    r1, r15, two = np.log(c / c.shift(1)), np.log(c / c.shift(15)), np.log(btc / btc.shift(1))
    x |= {"r1": r1, "r15": r15, "vol": r1.rolling(20).std(ddof=0), "excess": r15 - np.log(btc / btc.shift(15))}
    x["beta"] = r1.rolling(240).cov(two, ddof=0) / two.rolling(240).var(ddof=0)
    for name, of in (("z_return", r15), ("z_volume", v)):
        x[name] = (of - of.rolling(720).mean()) / of.rolling(720).std(ddof=0)  # the library's divides by n − 1
    return x
