"""Technical Ratings and the indicators behind them: the program against polars, TA-Lib and pandas-ta.

    python -m benchmarks ratings

43 columns of 200,000 random 1-minute bars of one symbol, one core, the best of three runs: the three ratings and what a
desk plots beside them. The peers compute the indicators only, no votes: an advantage for them. A peer that is not
installed is left out. Answers are compared first where both define the same thing.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
import polars as pl

from benchmarks.features import bars, best
from benchmarks.rows import Row
from gapless.features import plan
from gapless.features import run as run_plan
from gapless.features.drivers import Live
from gapless.features.library.votes import VOTES

LENGTHS = (10, 20, 30, 50, 100, 200)
INDICATORS = [
    *(f"{kind}(close, {n})" for n in LENGTHS for kind in ("sma", "ema")),
    "vwma(close, 20)", "hma(close, 9)", "ichimoku_conversion()", "ichimoku_base()", "ichimoku_lead_a()",
    "ichimoku_lead_b()", "rsi()", "stoch_k()", "stoch_d()", "cci(close, 20)", "adx()", "plus_di()", "minus_di()",
    "ao()", "mom()", "macd()", "macd_signal()", "stochrsi_k()", "stochrsi_d()", "wpr()", "bull_power()", "bear_power()",
    "uo()", "atr()", "bb_upper()", "bb_lower()", "zscore(close, 20)", "obv()",
]  # fmt: skip
RATINGS = {"all": "recommend_all()", "ma": "recommend_ma()", "other": "recommend_other()"}
FEATURES = {f"c{i}": text for i, text in enumerate(INDICATORS)} | RATINGS
BARS, FEW, SYMBOLS = 200_000, 20_000, 1000
Columns = dict[str, np.ndarray]


def market(count: int) -> Columns:
    """A random walk with volume."""
    found = bars(count)
    return found | {"volume": np.random.default_rng(2).lognormal(3, 1, count)}


def by_program(features: dict[str, str], columns: Columns) -> Columns:
    understood = plan(features)
    return run_plan(understood, {name: columns[name] for name in understood.columns})[0]


def by_polars(columns: Columns) -> pl.DataFrame:
    """The 40 indicators as lazily optimised expressions; recursions start from the first value, not from a mean."""
    c, h, low, v = (pl.col(name) for name in ("close", "high", "low", "volume"))
    before, middle = c.shift(1), (h + low) / 2

    def wilder(x: pl.Expr) -> pl.Expr:
        return x.ewm_mean(alpha=1 / 14, adjust=False, ignore_nulls=True)

    def wma(x: pl.Expr, n: int) -> pl.Expr:
        return x.rolling_mean(n, weights=[2 * (i + 1) / (n + 1) for i in range(n)])

    def mid(n: int) -> pl.Expr:
        return (h.rolling_max(n) + low.rolling_min(n)) / 2

    def raw(x: pl.Expr, top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
        return 100 * (x - bottom.rolling_min(14)) / (top.rolling_max(14) - bottom.rolling_min(14))

    reach = pl.max_horizontal(h - low, (h - before).abs(), (low - before).abs())
    up, down = h.diff(), -low.diff()
    plus = 100 * wilder(pl.when((up > down) & (up > 0)).then(up).otherwise(0)) / wilder(reach)
    minus = 100 * wilder(pl.when((down > up) & (down > 0)).then(down).otherwise(0)) / wilder(reach)
    rsi = 100 - 100 / (1 + wilder(c.diff().clip(0)) / wilder((-c.diff()).clip(0)))
    k, rk = raw(c, h, low).rolling_mean(3), raw(rsi, rsi, rsi).rolling_mean(3)
    line = c.ewm_mean(span=12, adjust=False) - c.ewm_mean(span=26, adjust=False)
    floor = pl.min_horizontal(low, before)
    shares = [(c - floor).rolling_sum(n) / (pl.max_horizontal(h, before) - floor).rolling_sum(n) for n in (7, 14, 28)]
    mean, deviation = c.rolling_mean(20), c.rolling_std(20, ddof=0)
    away = sum(((c.shift(i) - mean).abs() for i in range(20)), start=pl.lit(0.0)) / 20
    found = [x for n in LENGTHS for x in (c.rolling_mean(n), c.ewm_mean(span=n, adjust=False))]
    # no nulls under weights: polars refuses them
    found += [(c * v).rolling_sum(20) / v.rolling_sum(20), wma((2 * wma(c, 4) - wma(c, 9)).fill_null(0), 3)]
    found += [mid(9), mid(26), (mid(9) + mid(26)) / 2, mid(52), rsi, k, k.rolling_mean(3), (c - mean) / (0.015 * away)]
    found += [wilder((100 * (plus - minus).abs() / (plus + minus)).fill_nan(None)), plus, minus]
    found += [
        middle.rolling_mean(5) - middle.rolling_mean(34),
        c - c.shift(10),
        line,
        line.ewm_mean(span=9, adjust=False),
    ]
    found += [rk, rk.rolling_mean(3), 100 * (c - h.rolling_max(14)) / (h.rolling_max(14) - low.rolling_min(14))]
    found += [h - c.ewm_mean(span=13, adjust=False), low - c.ewm_mean(span=13, adjust=False)]
    found += [100 * (4 * shares[0] + 2 * shares[1] + shares[2]) / 7, wilder(reach), mean + 2 * deviation]
    found += [mean - 2 * deviation, (c - mean) / deviation, (c.diff().sign() * v).cum_sum()]
    return pl.LazyFrame(columns).select(x.alias(f"c{i}") for i, x in enumerate(found)).collect()


def by_talib(ta: ModuleType, columns: Columns) -> list[np.ndarray]:
    """The same with TA-Lib where it has them, numpy where it does not."""
    c, h, low, v = (columns[name] for name in ("close", "high", "low", "volume"))
    middle = (h + low) / 2

    def mid(n: int) -> np.ndarray:
        return (ta.MAX(h, n) + ta.MIN(low, n)) / 2

    found = [x for n in LENGTHS for x in (ta.SMA(c, n), ta.EMA(c, n))]
    found += [ta.SUM(c * v, 20) / ta.SUM(v, 20), ta.WMA(2 * ta.WMA(c, 4) - ta.WMA(c, 9), 3)]
    found += [mid(9), mid(26), (mid(9) + mid(26)) / 2, mid(52), ta.RSI(c, 14), *ta.STOCH(h, low, c, 14, 3, 0, 3, 0)]
    found += [ta.CCI(c, c, c, 20), ta.ADX(h, low, c, 14), ta.PLUS_DI(h, low, c, 14), ta.MINUS_DI(h, low, c, 14)]
    found += [ta.SMA(middle, 5) - ta.SMA(middle, 34), ta.MOM(c, 10), *ta.MACD(c, 12, 26, 9)[:2]]
    found += [*ta.STOCHRSI(c, 14, 14, 3, 0), ta.WILLR(h, low, c, 14)]
    found += [h - ta.EMA(c, 13), low - ta.EMA(c, 13), ta.ULTOSC(h, low, c, 7, 14, 28), ta.ATR(h, low, c, 14)]
    upper, mean, lower = ta.BBANDS(c, 20, 2.0, 2.0)
    return [*found, upper, lower, (c - mean) / ta.STDDEV(c, 20), ta.OBV(c, v)]


def by_pandas_ta(ta: ModuleType, columns: Columns) -> list[object]:
    """The same with pandas-ta, whose functions return frames of several columns."""
    import pandas as pd

    c, h, low, v = (pd.Series(columns[name]) for name in ("close", "high", "low", "volume"))
    found: list[object] = [x for n in LENGTHS for x in (ta.sma(c, length=n), ta.ema(c, length=n))]
    found += [
        ta.vwma(c, v, length=20),
        ta.hma(c, length=9),
        ta.ichimoku(h, low, c, as_dataframe=True),
        ta.rsi(c),
        ta.stoch(h, low, c),
    ]
    found += [ta.cci(h, low, c, length=20), ta.adx(h, low, c), ta.ao(h, low), ta.mom(c), ta.macd(c), ta.stochrsi(c)]
    found += [ta.willr(h, low, c), ta.ema(c, length=13), ta.uo(h, low, c), ta.atr(h, low, c), ta.bbands(c, length=20)]
    return [*found, ta.zscore(c, length=20), ta.obv(c, v)]


def installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def check(columns: Columns) -> None:
    """Peers and program agree far from the start, so that everyone computes the same."""
    ours = by_program(FEATURES, columns)
    theirs = by_polars(columns)
    for i, text in enumerate(INDICATORS):
        np.testing.assert_allclose(ours[f"c{i}"][5000:], theirs[f"c{i}"][5000:], rtol=1e-6, atol=1e-6, err_msg=text)


def together(works: list[Callable[[], object]], rounds: int = 9) -> list[float]:
    """Seconds of each one's fastest run; they take turns, so that a busy moment hits all alike."""
    found = [float("inf")] * len(works)
    for _ in range(rounds):
        for i, work in enumerate(works):
            begin = time.perf_counter()
            work()
            found[i] = min(found[i], time.perf_counter() - begin)
    return found


def live() -> tuple[float, float]:
    """p50 and p99 in milliseconds of one bar of many symbols, all columns out."""
    understood, data, found = plan(FEATURES), market(SYMBOLS + 400), []
    engine, who = Live(understood.program, SYMBOLS), np.arange(SYMBOLS)
    for i in range(400):
        part = {name: np.ascontiguousarray(data[name][i : i + SYMBOLS]) for name in understood.columns}
        begin = time.perf_counter()
        engine.step(part, who)
        found.append(time.perf_counter() - begin)
    p50, p99 = np.percentile(np.array(found[200:]) * 1e3, [50, 99])
    return float(p50), float(p99)


def peers(columns: Columns, few: Columns) -> list[tuple[str, Callable[[], object], int]]:
    """Who is installed, with what to run and over how many bars."""
    found: list[tuple[str, Callable[[], object], int]] = [
        ("polars expressions, all cores", lambda: by_polars(columns), BARS)
    ]
    if ta := installed("talib"):
        found.append(("TA-Lib and numpy", lambda: by_talib(ta, columns), BARS))
    if classic := installed("pandas_ta_classic"):
        found.append(("pandas-ta-classic", lambda: by_pandas_ta(classic, few), FEW))
    return found


def run() -> list[Row]:
    """The ratings' own cost, then the 43 columns, by each."""
    columns, few = market(BARS), market(FEW)
    check(few)
    votes = {name: f'vote("{name}")' for name in VOTES}
    sets = ({"all": "recommend_all()"}, RATINGS, RATINGS | votes, FEATURES)
    works: list[Callable[[], object]] = [partial(by_program, features, columns) for features in sets]
    alone, three, every, mine = (seconds / BARS for seconds in together(works))
    p50, p99 = live()
    rows = [
        Row("recommend_all alone", f"{alone * 1e9:.0f} ns/bar"),
        Row(
            "all three ratings",
            f"{three * 1e9:.0f} ns/bar",
            "recommend_all",
            f"{three / alone:.2f}×",
            "< 1.1×",
            three < 1.1 * alone,
        ),
        Row(
            "three ratings and 26 votes",
            f"{every * 1e9:.0f} ns/bar",
            "recommend_all alone",
            f"{every / alone:.2f}× its time",
        ),
        Row("gapless: 43 columns, one core", f"{1e-6 / mine:.1f} M bars/s", "", "", "4 M bars/s", mine < 250e-9),
    ]
    for name, work, count in peers(columns, few):
        theirs = best(work, 2) / count
        rows.append(Row(name, f"{1e-6 / theirs:.2f} M bars/s", "gapless", f"{theirs / mine:.1f}× its time"))
    rows.append(Row(f"live: one bar of {SYMBOLS} symbols, p50", f"{p50:.2f} ms", "", "", "0.3 ms", p50 < 0.3))
    return [*rows, Row(f"live: one bar of {SYMBOLS} symbols, p99", f"{p99:.2f} ms")]


if __name__ == "__main__":
    for row in run():
        print(f"{row.name:<50}{row.figure:>16}  {row.ratio}")
