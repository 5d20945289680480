"""Technical Ratings and the 43 columns of a desk: the program against polars, TA-Lib and pandas-ta.

    python -m benchmarks ratings

15 averages, 17 oscillator lines, 26 votes in three ratings, range, returns, volatility, beta and excess return against
another series, two z-scores over 720 bars: of 200,000 random 1-minute bars of one symbol, one core. Everyone computes
every column (peers.py) and nobody writes any to disk. They take turns and the fastest run of each counts, so that a
busy moment hits all alike. A peer that is not installed is left out. Answers are compared first.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import numpy as np
import polars as pl

from benchmarks.features import bars
from benchmarks.peers import LENGTHS, by_pandas_ta, by_polars, by_talib
from benchmarks.rows import Row
from gapless.features import compute, plan
from gapless.features import run as run_plan
from gapless.features.drivers import Live
from gapless.features.library.votes import VOTES

BTC = "X:BTC"
RATINGS = {"rating_all": "recommend_all()", "rating_ma": "recommend_ma()", "rating_other": "recommend_other()"}
FEATURES = {f"{kind}{n}": f"{kind}(close, {n})" for n in LENGTHS for kind in ("sma", "ema")} | {
    "hma": "hma(close, 9)", "vwma": "vwma(close, 20)", "ichimoku": "ichimoku_base()",
    "rsi": "rsi()", "k": "stoch_k()", "d": "stoch_d()", "cci": "cci(close, 20)", "adx": "adx()", "plus": "plus_di()",
    "minus": "minus_di()", "ao": "ao()", "mom": "mom()", "macd": "macd()", "signal": "macd_signal()",
    "stochrsi_k": "stochrsi_k()", "stochrsi_d": "stochrsi_d()", "wpr": "wpr()", "bull": "bull_power()",
    "bear": "bear_power()", "uo": "uo()", **RATINGS, "atr": "atr()", "r1": "log_return(close, 1)",
    "r15": "log_return(close, 15)", "vol": "std(log_return(close, 1), 20)",
    "beta": f"beta(log_return(close, 1), log_return(close@{BTC}, 1), 240)",
    "excess": f"log_return(close, 15) - log_return(close@{BTC}, 15)",
    "z_return": "zscore(log_return(close, 15), 720)", "z_volume": "zscore(volume, 720)",
}  # fmt: skip
BARS, FEW, SYMBOLS = 200_000, 20_000, 1000
Columns = dict[str, np.ndarray]


def market(count: int) -> Columns:
    """A random walk with volume, and another symbol that it partly follows."""
    found, rng = bars(count), np.random.default_rng(2)
    btc = np.sqrt(found["close"]) * np.exp(np.cumsum(rng.normal(0, 5e-4, count)))
    return found | {"open": found["close"], "volume": rng.lognormal(3, 1, count), "btc": btc}


def by_program(features: dict[str, str], columns: Columns) -> Columns:
    understood = plan(features)
    return run_plan(understood, {name: columns["btc" if "@" in name else name] for name in understood.columns})[0]


def installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def check(columns: Columns) -> None:
    """Peers and program agree far from the start: everyone computes the same.

    A vote is a jump: where two numbers are equal but for rounding, as saturated stochastics of the RSI are, the peers
    vote by chance; one rating in a hundred may differ.
    """
    ours = by_program(FEATURES, columns)
    answers = {"polars": {name: x.to_numpy() for name, x in by_polars(columns).to_dict().items()}}
    if ta := installed("talib"):
        answers["TA-Lib"] = by_talib(ta, columns)
    for peer, theirs in answers.items():
        for name in FEATURES:
            mine, other = ours[name][5000:], theirs[name][5000:]
            if name in RATINGS:
                assert (np.abs(mine - other) < 1e-9).mean() > 0.99, (peer, name)
            else:
                np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6, err_msg=f"{peer} {name}")


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
    understood, data, found = plan(FEATURES), market(SYMBOLS + 1200), []
    engine, who = Live(understood.program, SYMBOLS), np.arange(SYMBOLS)
    for i in range(1200):
        part = {name: data["btc" if "@" in name else name][i : i + SYMBOLS].copy() for name in understood.columns}
        begin = time.perf_counter()
        engine.step(part, who)
        found.append(time.perf_counter() - begin)
    p50, p99 = np.percentile(np.array(found[800:]) * 1e3, [50, 99])
    return float(p50), float(p99)


def peers(columns: Columns, few: Columns) -> Iterator[tuple[str, Callable[[], object], int, float]]:
    """Who is installed, with what to run, over how many bars, and how many times our time it is to take."""
    yield "polars expressions, all cores", lambda: by_polars(columns), BARS, 6.0
    if ta := installed("talib"):
        yield "TA-Lib and numpy", lambda: by_talib(ta, columns), BARS, 2.0
    if classic := installed("pandas_ta_classic"):
        yield "pandas-ta-classic", lambda: by_pandas_ta(classic, few), FEW, 25.0


def scaling() -> Row:
    """Many symbols through ``compute`` on all cores and on one; seconds of each one's fastest run."""
    count, names = 20_000, [f"X:S{i:02}" for i in range(16)]
    one = market(count)
    ts = pl.Series("ts", np.arange(count) * 60_000_000).cast(pl.Datetime("us", "UTC"))
    frame = pl.concat([pl.DataFrame({"instrument": pl.repeat(n, count, eager=True), "ts": ts, **one}) for n in names])
    others = {BTC: pl.DataFrame({"ts": ts, "close": one["btc"]})}
    cores = os.sched_getaffinity(0)

    def on(chosen: set[int]) -> None:
        os.sched_setaffinity(0, chosen)
        compute(frame, FEATURES, others=others)

    try:
        single, every = together([partial(on, {min(cores)}), partial(on, cores)], 5)
    finally:
        os.sched_setaffinity(0, cores)
    share = single / every
    figure = f"{len(names) * count / every * 1e-6:.1f} M bars/s"
    return Row(f"gapless: compute, {len(names)} symbols, {len(cores)} cores", figure, "one core", f"{share:.2f}×",
               "1.8×", share >= 1.8 if len(cores) == 2 else None)  # fmt: skip


COLD = """
import sys, time
begin = time.perf_counter()
import numpy as np
from benchmarks.ratings import FEATURES, by_program, market
from gapless.features import Stream
by_program(FEATURES, market(2000))
stream, one = Stream(FEATURES, ["X:A"]), market(1)
stream.step_columns(0, np.array([0]), {name: one["btc" if "@" in name else name] for name in stream.plan.columns})
print(time.perf_counter() - begin)
"""


def first_runs() -> Iterator[Row]:
    """Imports, all 43 columns in batch and one live step, in a process: with nothing compiled yet, then once more."""
    with tempfile.TemporaryDirectory() as cache:
        for name, goal in (("first run: compiles batch and live", 6.0), ("second run", 0.5)):
            words = [sys.executable, "-c", COLD]
            done = subprocess.run(words, env=os.environ | {"NUMBA_CACHE_DIR": cache}, capture_output=True, check=True)
            seconds = float(done.stdout)
            yield Row(f"gapless: {name}", f"{seconds:.2f} s", "", "", f"{goal:g} s", seconds < goal)


def run() -> list[Row]:
    """The ratings' own cost, then the 43 columns, by each."""
    columns, few = market(BARS), market(FEW)
    check(few)
    votes = {name: f'vote("{name}")' for name in VOTES}
    sets = ({"all": "recommend_all()"}, RATINGS, RATINGS | votes)
    alone, three, every = (s / BARS for s in together([partial(by_program, chosen, columns) for chosen in sets]))
    found = list(peers(columns, few))
    mine, *theirs = together([partial(by_program, FEATURES, columns), *(work for _, work, _, _ in found)], 5)
    ours = mine / BARS
    rows = [
        Row("recommend_all alone", f"{alone * 1e9:.0f} ns/bar"),
        Row("all three ratings", f"{three * 1e9:.0f} ns/bar", "recommend_all", f"{three / alone:.2f}×", "< 1.1×",
            three < 1.1 * alone),
        Row("three ratings and 26 votes", f"{every * 1e9:.0f} ns/bar", "recommend_all", f"{every / alone:.2f}×"),
        Row(f"gapless: {len(FEATURES)} columns, one core", f"{1e-6 / ours:.1f} M bars/s", "", "", "4 M bars/s",
            ours < 250e-9),
    ]  # fmt: skip
    for (name, _, count, goal), seconds in zip(found, theirs, strict=True):
        ratio = seconds / count / ours
        figure = f"{count / seconds * 1e-6:.2f} M bars/s"
        rows.append(Row(name, figure, "gapless, one core", f"{ratio:.1f}× its time", f"{goal:.0f}×", ratio >= goal))
    p50, p99 = live()
    rows += [scaling(), Row(f"live: one bar of {SYMBOLS} symbols, p50", f"{p50:.2f} ms", "", "", "0.3 ms", p50 < 0.3)]
    rows.append(Row(f"live: one bar of {SYMBOLS} symbols, p99", f"{p99:.2f} ms", "", "", "1 ms", p99 < 1.0))
    return [*rows, *first_runs()]


if __name__ == "__main__":
    for row in run():
        print(f"{row.name:<50}{row.figure:>16}  {row.ratio}")
