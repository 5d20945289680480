"""Numbers against exact arithmetic, on series made to break running sums."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.features import plan, run


def ours(text: str, x: np.ndarray) -> np.ndarray:
    return run(plan({"x": text}), {"close": x})[0]["x"]


def windows(x: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Some bars, and the window of each, exact as long doubles can be."""
    at = np.random.default_rng(2).integers(length, len(x), 150)
    return at, np.array([x[t - length + 1 : t + 1] for t in at]).astype(np.longdouble)


@pytest.mark.parametrize("length", [2, 7, 20, 720])
def test_mean_and_std_are_right_to_1e_13(adversary: np.ndarray, length: int) -> None:
    """Mean and standard deviation differ from long doubles by less than 1e-13 of themselves."""
    x = adversary
    at, window = windows(x, length)
    for text, answer in (("mean", window.mean(1)), ("std", window.std(1))):
        found = ours(f"{text}(close, {length})", x)[at]
        worst = np.abs(found - answer)[answer > 0] / answer[answer > 0]
        assert worst.max() < 1e-13, text
        assert (found[answer == 0] == 0).all()


@pytest.mark.parametrize("length", [7, 20, 720])
def test_zscore_is_right_to_1e_13(adversary: np.ndarray, length: int) -> None:
    """The score's error is below 1e-13 of a standard deviation, however far the prices lie from zero."""
    x = adversary
    at, window = windows(x, length)
    window = window - window[:, -1:]  # exact in long double; its own mean of 60000s would be off by 1e-13 of a tick
    spread = window.std(1)
    keep = spread > 0
    answer = -window[keep].mean(1) / spread[keep]
    found = ours(f"zscore(close, {length})", x)[at]
    assert np.isnan(found[~keep]).all()
    assert (np.abs(found[keep] - answer) / (1 + np.abs(answer))).max() < 1e-13


@given(st.lists(st.floats(-1e9, 1e9), min_size=8, max_size=40), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_variance_against_fractions(values: list[float], length: int) -> None:
    """Against exact fractions the variance errs by 1e-12 of itself, whatever the window holds."""
    found = ours(f"var(close, {length})", np.array(values))
    for t in range(length - 1, len(values)):
        window = [Fraction(v) for v in values[t - length + 1 : t + 1]]
        mean = sum(window) / length
        answer = float(sum((v - mean) ** 2 for v in window) / length)
        assert found[t] == pytest.approx(answer, rel=1e-12, abs=1e-300)


def test_an_outlier_leaves_with_its_window() -> None:
    """After 1e16 has left the window the bits are those of a series that never had it."""
    x = 100 + np.random.default_rng(3).normal(0, 1, 400)
    spiked = x.copy()
    spiked[100] = 1e16
    for text in ("sum(close, 50)", "std(close, 50)", "zscore(close, 50)", "max(close, 50)"):
        assert ours(text, spiked)[150:].tobytes() == ours(text, x)[150:].tobytes()


def test_flat_prices() -> None:
    """Flat prices have no deviation at all: std 0, no score, the RSI unknown, returns 0."""
    x = np.full(300, 0.1 + 0.2)
    assert (ours("std(close, 37)", x)[36:] == 0).all()
    assert np.isnan(ours("zscore(close, 37)", x)).all()
    assert np.isnan(ours("rsi(close, 14)", x)).all()
    assert (ours("log_return(close)", x)[1:] == 0).all()
    assert (ours("ema(close, 9)", x)[8:] == x[0]).all()


def test_rsi_of_one_way_markets() -> None:
    """Only rises give 100, only falls 0."""
    up = np.arange(1.0, 60.0)
    assert (ours("rsi(close, 14)", up)[14:] == 100).all()
    assert (ours("rsi(close, 14)", up[::-1].copy())[14:] == 0).all()


def test_log_is_within_one_ulp_everywhere() -> None:
    """The portable logarithm: normal, tiny, subnormal and huge numbers, and close to 1, where digits are lost."""
    rng = np.random.default_rng(4)
    near = 1 + rng.normal(0, 1, 200_000) * 10.0 ** rng.uniform(-15, -1, 200_000)
    x = np.concatenate([np.exp(rng.uniform(-744, 709, 200_000)), near, [5e-324, 2.2e-308, 1.7e308, 1.0, 2.0, 0.5]])
    found = ours("log(close)", x)
    answer = np.log(x.astype(np.longdouble))
    ulp = np.abs(found - answer) / np.spacing(np.abs(answer.astype(np.float64)))
    assert ulp.max() <= 1.0
    assert (found[x == 1.0] == 0.0).all()


def test_log_at_the_edges() -> None:
    """0 gives −inf, below NaN, infinity itself, NaN NaN."""
    x = np.array([0.0, -0.0, -1.0, np.inf, -np.inf, np.nan])
    found = ours("log(close)", x)
    np.testing.assert_array_equal(found, [-np.inf, -np.inf, np.nan, np.inf, np.nan, np.nan])


def test_every_nan_is_the_same_nan() -> None:
    """Missing values carry one bit pattern, whichever operation made them: state bytes can be compared."""
    x = np.array([np.nan, -np.nan, 0.0, np.inf, 1.0, 2.0, np.nan, 0.0])
    for text in ("close / close", "close - close", "-close", "sqrt(-close)", "max(close, 2)", "close"):
        found = ours(text, x)
        bits = found[np.isnan(found)].view(np.int64)
        assert set(bits.tolist()) <= {np.array([np.nan]).view(np.int64)[0]}


def test_the_dispatch_knows_its_numbers() -> None:
    """Operator numbers and names are one list."""
    from gapless.features import operators

    assert [getattr(operators, name.upper()) for name in operators.CODES] == list(range(len(operators.CODES)))
    assert set(operators.TRAITS) <= set(operators.CODES)
