"""Features per second: the program against polars expressions and plain numpy, on the same bars in one run.

    python -m benchmarks features

Seven features of 500,000 random 1-minute bars of one symbol; one core; the best of three runs. The answers are compared
first: a fast wrong number is no figure. Ratios are to gapless in the same run. Live, the medians of one bar of 1000
symbols, against talipp, whose indicators are objects of one symbol each: 50 symbols are timed and taken twenty times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np
import polars as pl

from benchmarks.rows import Row
from gapless.features import Stream, compute, plan
from gapless.features import run as run_plan

FEATURES = {
    "sma": "sma(close, 20)",
    "ema": "ema(close, 20)",
    "rma": "rma(close, 14)",
    "rsi": "rsi(close, 14)",
    "atr": "atr(14)",
    "log_return": "log_return(close, 1)",
    "zscore": "zscore(close, 720)",
}
BARS, SLOW_BARS, SYMBOLS = 500_000, 50_000, 1000
Columns = dict[str, np.ndarray]


def bars(count: int) -> Columns:
    """A random walk."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    opened = np.concatenate(([100.0], close[:-1]))
    return {
        "high": np.maximum(opened, close) * (1 + 3e-4 * rng.random(count)),
        "low": np.minimum(opened, close) * (1 - 3e-4 * rng.random(count)),
        "close": close,
    }


def by_program(columns: Columns) -> Columns:
    return run_plan(plan(FEATURES), columns)[0]


def by_polars(columns: Columns) -> Columns:
    """The same seven as lazily optimised expressions (their EMA starts from the first value, not from a mean)."""
    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    change, before = close.diff(), close.shift(1)
    rises = change.clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False)
    falls = (-change).clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False)
    reach = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())
    frame = pl.LazyFrame(columns).select(
        sma=close.rolling_mean(20),
        ema=close.ewm_mean(span=20, adjust=False),
        rma=close.ewm_mean(alpha=1 / 14, adjust=False),
        rsi=100 - 100 / (1 + rises / falls),
        atr=reach.ewm_mean(alpha=1 / 14, adjust=False),
        log_return=(close / before).log(),
        zscore=(close - close.rolling_mean(720)) / close.rolling_std(720, ddof=0),
    )
    return {name: x.to_numpy() for name, x in frame.collect().to_dict(as_series=True).items()}


def recursion(x: np.ndarray, length: int, alpha: float) -> np.ndarray:
    """A seeded exponential mean as a plain loop."""
    found = np.full(len(x), np.nan)
    first = int(np.argmax(~np.isnan(x)))
    y = float(x[first : first + length].mean())
    found[first + length - 1] = y
    for i in range(first + length, len(x)):
        y += alpha * (x[i] - y)
        found[i] = y
    return found


def by_numpy(columns: Columns) -> Columns:
    """The same seven as one writes them in numpy: sliding windows, and loops for the recursions."""
    close, high, low = columns["close"], columns["high"], columns["low"]
    before = np.concatenate(([np.nan], close[:-1]))
    change = close - before
    rises, falls = (recursion(np.maximum(s * change, 0), 14, 1 / 14) for s in (1, -1))
    reach = np.fmax(high - low, np.fmax(np.abs(high - before), np.abs(low - before)))

    def window(length: int, reduce: Callable[..., np.ndarray]) -> np.ndarray:
        values = reduce(np.lib.stride_tricks.sliding_window_view(close, length), axis=1)
        return np.concatenate((np.full(length - 1, np.nan), values))

    return {
        "sma": window(20, np.mean),
        "ema": recursion(close, 20, 2 / 21),
        "rma": recursion(close, 14, 1 / 14),
        "rsi": 100 - 100 / (1 + rises / falls),
        "atr": recursion(reach, 14, 1 / 14),
        "log_return": np.log(close / before),
        "zscore": (close - window(720, np.mean)) / window(720, np.std),
    }


def best(work: Callable[[], object], runs: int = 3) -> float:
    """Seconds of the fastest run."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def check(columns: Columns) -> None:
    """The three agree where they define the same thing, far from the start."""
    ours, numpy, polars = by_program(columns), by_numpy(columns), by_polars(columns)
    for name in FEATURES:
        for theirs in (numpy[name], polars[name]):
            np.testing.assert_allclose(ours[name][2000:], theirs[2000:], rtol=1e-6, atol=1e-7, err_msg=name)


def live() -> tuple[float, float, float]:
    """One bar of many symbols: p50 and p99 of a Stream's step, and p50 of its kernels, in milliseconds."""
    stream = Stream(FEATURES, [f"X:S{i}" for i in range(SYMBOLS)])
    data, steps, kernels, who = bars(SYMBOLS * 4), [], [], np.arange(SYMBOLS)
    for i in range(1200):
        ts = pl.Series("ts", [i * 120_000_000] * SYMBOLS, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        part = {name: np.roll(x, i)[:SYMBOLS] for name, x in data.items()}
        frame = pl.DataFrame({"instrument": stream.instruments, "ts": ts, **part})
        start = time.perf_counter()
        stream.step(frame)
        steps.append(time.perf_counter() - start)
        start = time.perf_counter()
        stream.step_columns(i * 120_000_000 + 60_000_000, who, part)
        kernels.append(time.perf_counter() - start)
    p50, p99 = np.percentile(np.array(steps[800:]) * 1e3, [50, 99])
    return float(p50), float(p99), float(np.percentile(np.array(kernels[800:]) * 1e3, 50))


# What a desk watches and talipp has too.
SHARED = {f"{kind}{n}": f"{kind}(close, {n})" for kind in ("sma", "ema") for n in (10, 20, 30, 50, 100, 200)} | {
    "vwma": "vwma(close, 20)", "hma": "hma(close, 9)", "conversion": "ichimoku_conversion()",
    "base": "ichimoku_base()", "lead_b": "ichimoku_lead_b()", "rsi": "rsi()", "k": "stoch_k()", "d": "stoch_d()",
    "cci": "cci(hlc3(), 20)", "adx": "adx()", "plus": "plus_di()", "minus": "minus_di()", "ao": "ao()",
    "roc": "roc(close, 10)", "macd": "macd()", "signal": "macd_signal()", "rk": "stochrsi_k()", "rd": "stochrsi_d()",
    "wpr": "wpr()", "e13": "ema(close, 13)", "uo": "uo()", "atr": "atr()", "upper": "bb_upper()",
    "lower": "bb_lower()", "std": "std(close, 20)", "obv": "obv()",
}  # fmt: skip
FEW_SYMBOLS, WARM = 50, 250


def talipp_set(ta: ModuleType) -> tuple[list[object], list[object]]:
    """Of one symbol: 20 indicators of the close, 10 of the whole bar."""
    lengths = (10, 20, 30, 50, 100, 200)
    closes = [kind(n) for kind in (ta.SMA, ta.EMA) for n in lengths]
    closes += [ta.HMA(9), ta.RSI(14), ta.ROC(10), ta.MACD(12, 26, 9), ta.StochRSI(14, 14, 3, 3), ta.EMA(13)]
    closes += [ta.BB(20, 2.0), ta.StdDev(20)]
    whole = [ta.VWMA(20), ta.Ichimoku(26, 9, 26, 52, 26), ta.Stoch(14, 3), ta.CCI(20), ta.ADX(14, 14), ta.AO(5, 34)]
    return closes, [*whole, ta.Williams(14), ta.UO(7, 14, 28), ta.ATR(14), ta.OBV()]


def by_talipp(columns: Columns) -> float | None:
    """Milliseconds for one bar of ``SYMBOLS`` symbols, from the median bar of a few; None without talipp."""
    try:
        ta, OHLCV = import_module("talipp.indicators"), import_module("talipp.ohlcv").OHLCV  # noqa: N806
    except ImportError:
        return None
    sets, found = [talipp_set(ta) for _ in range(FEW_SYMBOLS)], []
    for i in range(WARM + 30):
        h, low, c = (float(columns[name][i]) for name in ("high", "low", "close"))
        start = time.perf_counter()
        for closes, whole in sets:
            bar = OHLCV(c, h, low, c, 1.0)
            for indicator in closes:
                indicator.add(c)
            for indicator in whole:
                indicator.add(bar)
        found.append(time.perf_counter() - start)
    return float(np.median(found[WARM:])) * 1e3 * SYMBOLS / FEW_SYMBOLS


def shared_live(columns: Columns) -> float:
    """Milliseconds for one bar of ``SYMBOLS`` symbols in arrays, the median; the bars are those of ``by_talipp``."""
    stream, who, found = Stream(SHARED, [f"X:S{i}" for i in range(SYMBOLS)]), np.arange(SYMBOLS), []
    whole = columns | {"volume": np.ones(len(columns["close"]))}
    for i in range(WARM + 200):
        part = {name: np.full(SYMBOLS, whole[name][i]) for name in stream.plan.columns}
        start = time.perf_counter()
        stream.step_columns(i * 60_000_000, who, part)
        found.append(time.perf_counter() - start)
    return float(np.median(found[WARM:])) * 1e3


def run() -> list[Row]:
    """The same seven features, by each."""
    columns, few = bars(BARS), bars(SLOW_BARS)
    check(few)
    floor = best(lambda: [x.copy() for x in [*columns.values(), *columns.values(), columns["close"]]]) / BARS
    mine = best(lambda: by_program(columns)) / BARS
    theirs = best(lambda: by_polars(columns)) / BARS
    plain = best(lambda: by_numpy(few), 1) / SLOW_BARS
    frame = pl.DataFrame({"ts": pl.Series(np.arange(BARS) * 60_000_000).cast(pl.Datetime("us", "UTC")), **columns})
    framed = best(lambda: compute(frame, FEATURES)) / BARS
    p50, p99, kernels = live()
    rows = [
        ("copy of as many columns (the floor)", f"{floor * 1e9:.0f} ns/bar", f"{floor / mine:.2f}"),
        ("gapless: 7 features, one symbol, one core", f"{mine * 1e9:.0f} ns/bar", "1.00"),
        ("gapless: the same through frames (compute)", f"{framed * 1e9:.0f} ns/bar", f"{framed / mine:.2f}"),
        ("polars expressions, all cores", f"{theirs * 1e9:.0f} ns/bar", f"{theirs / mine:.2f}"),
        ("numpy windows and loops", f"{plain * 1e9:.0f} ns/bar", f"{plain / mine:.0f}"),
        (f"gapless live: one bar of {SYMBOLS} symbols, frames, p50", f"{p50:.2f} ms", ""),
        (f"gapless live: one bar of {SYMBOLS} symbols, frames, p99", f"{p99:.2f} ms", ""),
        (f"gapless live: the same in arrays, p50, {len(plan(FEATURES).program.rows)} steps", f"{kernels:.2f} ms", ""),
    ]
    found = [
        Row(name, figure, "gapless, one core" if ratio else "", f"{ratio}× its time" if ratio else "")
        for name, figure, ratio in rows
    ]
    return [*found, *against_talipp(columns)]


def against_talipp(columns: Columns) -> list[Row]:
    """Live: the same indicators in both."""
    mine, theirs = shared_live(columns), by_talipp(columns)
    rows = [Row(f"gapless live: {len(SHARED)} columns, {SYMBOLS} symbols, median", f"{mine:.2f} ms")]
    if theirs is not None:
        ratio = theirs / mine
        name = f"talipp: the same indicators, {SYMBOLS} symbols, median"
        rows.append(Row(name, f"{theirs:.0f} ms", "gapless live", f"{ratio:.0f}× its time", "200×", ratio >= 200))
    return rows


if __name__ == "__main__":
    for row in run():
        print(f"{row.name:<70}{row.figure:>14}  {row.ratio}")
