"""Indicators against plain restatements of their published rules, bar by bar in Python, on a random walk."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gapless.features import Stream, compute, plan, run

COUNT = 600
NAN = float("nan")


def market(seed: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 8e-3, COUNT))), 2)
    opened = np.round(np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0, 2e-3, COUNT)), 2)
    volume = np.floor(rng.lognormal(5, 1, COUNT))
    return {
        "open": opened,
        "high": np.round(np.maximum(opened, close) * (1 + 4e-3 * rng.random(COUNT)), 2),
        "low": np.round(np.minimum(opened, close) * (1 - 4e-3 * rng.random(COUNT)), 2),
        "close": close,
        "volume": volume,
        "taker_buy_volume": np.floor(volume * rng.random(COUNT)),
        "open_interest": 1e6 + np.cumsum(rng.normal(0, 100, COUNT)),
        "session": np.floor(np.arange(COUNT) / 90),
    }


BARS = market()
OPEN, HIGH, LOW, CLOSE, VOLUME = (BARS[name] for name in ("open", "high", "low", "close", "volume"))


def ours(text: str, **changed: np.ndarray) -> np.ndarray:
    understood = plan({"x": text})
    return run(understood, {name: (BARS | changed)[name] for name in understood.columns})[0]["x"]


def rolled(x: np.ndarray, length: int, reduce) -> np.ndarray:
    found = np.full(len(x), NAN)
    for t in range(length - 1, len(x)):
        found[t] = reduce(x[t - length + 1 : t + 1])
    return found


def same(text: str, answer: np.ndarray, *, relative: float = 1e-11) -> None:
    found = ours(text)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(answer), err_msg=text)
    np.testing.assert_allclose(found, answer, rtol=relative, atol=1e-12, err_msg=text)
    assert np.isfinite(answer).sum() > COUNT // 2


def parabolic(start: float, step: float, limit: float) -> np.ndarray:
    """TradingView's published reference of ta.sar, restated."""
    found, sar, extreme, pace, rising = np.full(COUNT, NAN), NAN, NAN, start, False
    for t in range(1, COUNT):
        fresh = t == 1
        if fresh:
            rising = CLOSE[1] > CLOSE[0]
            extreme, sar = (HIGH[1], LOW[0]) if rising else (LOW[1], HIGH[0])
        sar += pace * (extreme - sar)
        if rising and sar > LOW[t]:
            fresh, rising, sar, extreme, pace = True, False, max(HIGH[t], extreme), LOW[t], start
        elif not rising and sar < HIGH[t]:
            fresh, rising, sar, extreme, pace = True, True, min(LOW[t], extreme), HIGH[t], start
        if not fresh and rising and HIGH[t] > extreme:
            extreme, pace = HIGH[t], min(pace + step, limit)
        if not fresh and not rising and LOW[t] < extreme:
            extreme, pace = LOW[t], min(pace + step, limit)
        before = slice(max(t - 2, 0), t)
        sar = min(sar, *LOW[before]) if rising else max(sar, *HIGH[before])
        found[t] = sar
    return found


@pytest.mark.parametrize("settings", [(0.02, 0.02, 0.2), (0.05, 0.01, 0.1)])
def test_parabolic_stop(settings: tuple[float, float, float]) -> None:
    """psar follows Pine's reference from the second bar on, through every turn."""
    same(f"psar({', '.join(map(str, settings))})", parabolic(*settings))


@pytest.mark.parametrize(("length", "factor"), [(10, 3.0), (7, 1.5)])
def test_supertrend(length: int, factor: float) -> None:
    """supertrend follows Pine's reference: bands that tighten, turned by the close."""
    reach, middle = ours(f"atr({length})"), (HIGH + LOW) / 2
    answer, up, down, falling = np.full(COUNT, NAN), NAN, NAN, True
    for t in range(length - 1, COUNT):
        high, low = middle[t] + factor * reach[t], middle[t] - factor * reach[t]
        if t == length - 1:
            up, down, falling = high, low, True
        else:
            down = low if low > down or CLOSE[t - 1] < down else down
            up = high if high < up or CLOSE[t - 1] > up else up
            falling = CLOSE[t] <= up if falling else CLOSE[t] < down
        answer[t] = up if falling else down
    same(f"supertrend({length}, {factor})", answer)


def test_kaufmans_average() -> None:
    """kama with its efficiency ratio, from the value before its first."""
    answer, y = np.full(COUNT, NAN), CLOSE[9]
    for t in range(10, COUNT):
        way = np.abs(np.diff(CLOSE[t - 10 : t + 1])).sum()
        rate = ((abs(CLOSE[t] - CLOSE[t - 10]) / way if way else 0.0) * (2 / 3 - 2 / 31) + 2 / 31) ** 2
        y += rate * (CLOSE[t] - y)
        answer[t] = y
    same("kama(close, 10)", answer)


def test_volatility_estimators() -> None:
    """The estimators of their papers, per bar and per year."""
    hl, co = np.log(HIGH / LOW), np.log(CLOSE / OPEN)
    rs = np.log(HIGH / CLOSE) * np.log(HIGH / OPEN) + np.log(LOW / CLOSE) * np.log(LOW / OPEN)
    gk = 0.5 * hl**2 - (2 * np.log(2) - 1) * co**2
    same("parkinson(20)", rolled(hl**2, 20, lambda w: np.sqrt(w.mean() / (4 * np.log(2)))))
    same("garman_klass(20, 252)", rolled(gk, 20, lambda w: np.sqrt(252 * w.mean())))
    same("rogers_satchell(20, 525600)", rolled(rs, 20, lambda w: np.sqrt(525600 * w.mean())))
    jump = np.concatenate(([NAN], np.log(OPEN[1:] / CLOSE[:-1])))
    k = 0.34 / (1.34 + 21 / 19)
    yz = rolled(jump, 20, lambda w: w.var(ddof=1)) + k * rolled(co, 20, lambda w: w.var(ddof=1))
    same("yang_zhang(20, 252)", np.sqrt(252 * (yz + (1 - k) * rolled(rs, 20, np.mean))))
    returns = np.concatenate(([NAN], np.diff(np.log(CLOSE))))
    same("realized_vol(close, 20, 98280)", rolled(returns, 20, lambda w: np.sqrt(98280) * w.std(ddof=1)), relative=1e-9)


def test_volume_and_flow() -> None:
    """Accumulation, money flow and session averages, added up plainly."""
    share = ((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW)
    same("ad()", np.cumsum(share * VOLUME))
    same("cmf(20)", rolled(share * VOLUME, 20, np.sum) / rolled(VOLUME, 20, np.sum))
    typical = (HIGH + LOW + CLOSE) / 3
    days = np.split(np.arange(COUNT), np.flatnonzero(np.diff(BARS["session"])) + 1)
    answer = [np.cumsum((typical * VOLUME)[d]) / np.cumsum(VOLUME[d]) for d in days]
    same("vwap(session)", np.concatenate(answer))
    same("obv()", np.cumsum(np.concatenate(([0.0], np.sign(np.diff(CLOSE)))) * VOLUME))
    same("taker_buy_share_15m()", rolled(BARS["taker_buy_volume"], 15, np.sum) / rolled(VOLUME, 15, np.sum))
    interest = BARS["open_interest"]
    same("oi_delta_1h()", np.concatenate((np.full(60, NAN), interest[60:] - interest[:-60])))


def test_sums_since_the_beginning_do_not_drift() -> None:
    """A running sum carries its rounding errors: after a 1e16 spike of money flow the small change is still right."""
    volume = np.ones(200)
    volume[3], volume[4] = 1e16, 1e16
    close = np.where(np.arange(200) % 2, 1.0, 2.0)
    close[:6] = [1, 2, 3, 4, 3, 3]
    answer = [0]
    for t in range(1, 200):
        answer.append(answer[-1] + int(np.sign(close[t] - close[t - 1])) * int(volume[t]))
    assert ours("obv()", close=close, volume=volume).tolist() == [float(v) for v in answer]


def test_a_session_is_the_utc_day_or_the_bars_own_column() -> None:
    """Without a session column vwap begins anew at midnight UTC; with one, where that changes; live as in batch."""
    ts = pl.datetime_range(pl.datetime(2025, 3, 1, 22), pl.datetime(2025, 3, 2, 3), "1h", eager=True, time_zone="UTC")
    price = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    bars = pl.DataFrame({"instrument": "X:A", "ts": ts, "close": price, "volume": 1.0})
    features = {"v": "vwap(session, close)"}
    assert compute(bars, features)["v"].to_list() == [1.0, 1.5, 3.0, 3.5, 4.0, 4.5]
    own = bars.with_columns(session=pl.Series(["2025-03-01"] * 4 + ["2025-03-02"] * 2).str.to_date())
    assert compute(own, features)["v"].to_list() == [1.0, 1.5, 2.0, 2.5, 5.0, 5.5]
    stream = Stream(features, ["X:A"])
    assert [stream.step(own.slice(i, 1))["v"].item() for i in range(6)] == [1.0, 1.5, 2.0, 2.5, 5.0, 5.5]


def test_other_averages() -> None:
    """dema, tema, Keltner's and Donchian's channels, the powers and the rates, from their parts."""
    first = ours("ema(close, 9)")
    second, third = ours("ema(ema(close, 9), 9)"), ours("ema(ema(ema(close, 9), 9), 9)")
    same("dema(close, 9)", 2 * first - second)
    same("tema(close, 9)", 3 * first - 3 * second + third)
    same("kc_upper()", ours("ema(close, 20)") + 2 * ours("atr(10)"))
    same("kc_lower()", ours("ema(close, 20)") - 2 * ours("atr(10)"))
    same("donchian_middle(20)", (rolled(HIGH, 20, np.max) + rolled(LOW, 20, np.min)) / 2)
    same("donchian_upper(20) - donchian_lower(20)", rolled(HIGH, 20, np.max) - rolled(LOW, 20, np.min))
    same("roc(close, 12)", np.concatenate((np.full(12, NAN), 100 * (CLOSE[12:] / CLOSE[:-12] - 1))), relative=1e-9)
    same("natr(14)", 100 * ours("atr(14)") / CLOSE)
    same("bull_power() - bear_power()", np.where(np.isnan(ours("ema(close, 13)")), NAN, HIGH - LOW), relative=1e-9)
    deviation = rolled(CLOSE, 20, lambda w: (w[-1] - w.mean()) / (0.015 * np.abs(w - w.mean()).mean()))
    same("cci(close, 20)", deviation, relative=1e-9)


def joined(seed: int = 8) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A symbol and a benchmark in one-minute bars, each without some minutes."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0, 1e-3, 900)
    frames = []
    for name, beta, skip in (("X:A", 1.5, {40, 500}), ("X:B", 1.0, {300})):
        close = 100 * np.exp(np.cumsum(beta * market + rng.normal(0, 2e-4, 900)))
        keep = [i for i in range(900) if i not in skip]
        ts = pl.Series("ts", np.array(keep) * 60_000_000).cast(pl.Datetime("us", "UTC"))
        frames.append(
            pl.DataFrame({"instrument": name, "ts": ts, "close": close[keep], "volume": 1.0 + np.array(keep) % 7})
        )
    return frames[0], frames[1]


def test_excess_returns_are_joined_by_time() -> None:
    """er_15m from its parts, with the benchmark's bars of the same minutes and a beta of the bars up to now."""
    mine, theirs = joined()
    found = compute(mine, {"er": 'er_15m("X:B", 240)'}, others={"X:B": theirs})["er"].to_numpy()
    both = mine.join(theirs.select("ts", other="close"), on="ts", how="left")
    a, b = both["close"].log().to_numpy(), both["other"].log().fill_null(NAN).to_numpy()
    ra, rb = np.diff(a, prepend=NAN), np.diff(b, prepend=NAN)
    for t in range(len(a)):
        x, y = ra[max(t - 239, 0) : t + 1], rb[max(t - 239, 0) : t + 1]
        if len(x) < 240 or np.isnan(x + y).any() or t < 15:
            assert np.isnan(found[t])
            continue
        beta = np.cov(x, y, ddof=0)[0, 1] / y.var()
        assert found[t] == pytest.approx(a[t] - a[t - 15] - beta * (b[t] - b[t - 15]), rel=1e-8, abs=1e-12)
    assert np.isfinite(found).sum() > 300


def test_the_benchmark_has_no_excess() -> None:
    """Of the benchmark itself beta is 1, the excess 0 and its score missing, not 0."""
    _, theirs = joined()
    features = {"er": 'er_15m("X:B")', "z": 'z_er_15m("X:B", 300, 240, 150)'}
    found = compute(theirs, features)
    assert set(found["er"].drop_nans()) == {0.0}
    assert found["z"].is_nan().all()


def test_scores_are_robust_and_say_nothing_early() -> None:
    """z_er_15m and z_vol_15m: median and MAD of the known values of the window, missing until half of them exist."""
    mine, theirs = joined()
    features = {"er": 'er_15m("X:B", 60)', "z": 'z_er_15m("X:B", 200, 60, 100)', "v": "z_vol_15m(200, 15, 100)"}
    found = compute(mine, features, others={"X:B": theirs})
    for column, score in (
        (found["er"].to_numpy(), found["z"].to_numpy()),
        (rolled(mine["volume"].to_numpy(), 15, np.sum), found["v"].to_numpy()),
    ):
        for t in range(len(column)):
            window = column[max(t - 199, 0) : t + 1]
            known = window[~np.isnan(window)]
            if np.isnan(column[t]) or len(known) < 100:
                assert np.isnan(score[t])
                continue
            spread = 1.4826 * np.median(np.abs(known - np.median(known)))
            assert score[t] == pytest.approx((column[t] - np.median(known)) / spread, rel=1e-9, abs=1e-9)
        assert np.isfinite(score).sum() > 200


def test_flow_on_bars_without_trades() -> None:
    """No volume and no move: shares and scores are missing, changes 0; never an exception."""
    still = {name: np.full(COUNT, 100.0) for name in ("open", "high", "low", "close")}
    still |= {"volume": np.zeros(COUNT), "taker_buy_volume": np.zeros(COUNT)}
    assert np.isnan(ours("taker_buy_share_15m()", **still)).all()
    assert np.isnan(ours("z_vol_15m(50, 15, 25)", **still)).all()
    assert np.isnan(ours("vwap()", **still)).all()
    assert np.isnan(ours("cmf()", **still)).all()
    assert np.isnan(ours("bb_percent()", **still)).all()
    assert (ours("ad()", **still) == 0).all()
    assert (ours("r_15m()", **still)[15:] == 0).all()
    assert (ours("yang_zhang(20)", **still)[20:] == 0).all()
    assert (ours("kama(close, 10)", **still)[10:] == 100).all()
