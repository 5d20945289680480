"""Statistics of two series, straight lines and ordered windows, against exact arithmetic and plain restatements."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import ExpressionError
from gapless.features import plan, run


def ours(texts: dict[str, str], **columns: np.ndarray) -> dict[str, np.ndarray]:
    understood = plan(texts)
    return run(understood, {name: columns[name] for name in understood.columns})[0]


def one(text: str, **columns: np.ndarray) -> np.ndarray:
    return ours({"x": text}, **columns)["x"]


def moments(x: np.ndarray, y: np.ndarray) -> tuple[Fraction, Fraction, Fraction]:
    """Exact centred second moments of two windows: of the pair, of x, of y."""
    a, b = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    p, q = sum(a) / len(a), sum(b) / len(b)
    return (
        sum(((u - p) * (v - q) for u, v in zip(a, b, strict=True)), Fraction()),
        sum(((u - p) ** 2 for u in a), Fraction()),
        sum(((v - q) ** 2 for v in b), Fraction()),
    )


def root(x: Fraction) -> Fraction:
    """A square root to 40 digits."""
    with localcontext() as context:
        context.prec = 60
        return Fraction((Decimal(x.numerator) / Decimal(x.denominator)).sqrt())


@pytest.mark.parametrize("length", [7, 20, 240])
def test_pairs_are_right_to_1e_13(adversary: np.ndarray, other_adversary: np.ndarray, length: int) -> None:
    """cov, beta and corr err by 1e-13 of themselves; where the pair hardly moves together, by 1e-15 of its scale."""
    x, y = adversary, 0.5 * adversary + other_adversary
    texts = {"cov": f"cov(close, open, {length})", "beta": f"beta(close, open, {length})"}
    found = ours(texts | {"corr": f"corr(close, open, {length})"}, close=x, open=y)
    for t in np.random.default_rng(2).integers(length, len(x), 4):
        both, of_x, of_y = moments(x[t - length + 1 : t + 1], y[t - length + 1 : t + 1])
        if not of_x or not of_y:
            assert np.isnan(found["corr"][t])
            continue
        answers = {
            "cov": (both / length, root(of_x * of_y) / length),
            "beta": (both / of_y, root(of_x / of_y)),
            "corr": (both / root(of_x * of_y), Fraction(1)),
        }
        for key, (answer, scale) in answers.items():
            off = abs(Fraction(found[key][t]) - answer)
            assert off <= Fraction(1e-13) * abs(answer) or off <= Fraction(1e-15) * scale, (key, t)


@pytest.mark.parametrize("length", [2, 9, 50])
def test_lines_and_weights(adversary: np.ndarray, length: int) -> None:
    """slope, linreg and wma against exact fractions, relative to the spread of the window where values cancel."""
    x = adversary
    texts = {"slope": f"slope(close, {length})", "line": f"linreg(close, {length})", "wma": f"wma(close, {length})"}
    found = ours(texts, close=x)
    steps = [Fraction(2 * i - length + 1, 2) for i in range(length)]
    for t in np.random.default_rng(3).integers(length, len(x), 8):
        window = [Fraction(v) for v in x[t - length + 1 : t + 1].tolist()]
        spread, size = max(window) - min(window), max(window)
        slope = sum(i * v for i, v in zip(steps, window, strict=True)) / sum(i * i for i in steps)
        line = sum(window) / length + slope * Fraction(length - 1, 2)
        weighted = sum((i + 1) * v for i, v in enumerate(window)) / Fraction(length * (length + 1), 2)
        assert abs(Fraction(found["slope"][t]) - slope) <= Fraction(1e-13) * spread
        assert abs(Fraction(found["line"][t]) - line) <= Fraction(1e-13) * size
        assert abs(Fraction(found["wma"][t]) - weighted) <= Fraction(1e-15) * size


def test_a_series_beta_to_itself_is_one(adversaries: dict[str, np.ndarray]) -> None:
    """beta(x, x) is 1 and corr(x, x) is 1 to the last bits; flat series have neither."""
    x = adversaries["60000 walk"]
    assert (one("beta(close, open, 20)", close=x, open=x)[19:] == 1.0).all()
    np.testing.assert_allclose(one("corr(close, open, 20)", close=x, open=x)[19:], 1.0, rtol=3e-16)
    flat = np.full(60, 0.1 + 0.2)
    for text in ("beta(close, open, 20)", "corr(close, open, 20)"):
        assert np.isnan(one(text, close=x[:60], open=flat)).all()
    assert (one("cov(close, open, 20)", close=x[:60], open=flat)[19:] == 0).all()


def test_a_pair_with_a_missing_side_is_missing(adversaries: dict[str, np.ndarray]) -> None:
    """A hole on either side takes exactly its window with it."""
    x, y = adversaries["60000 walk"][:100], adversaries["60000 ± one tick"][:100].copy()
    whole = one("beta(close, open, 10)", close=x, open=y)
    y[50] = np.nan
    found = one("beta(close, open, 10)", close=x, open=y)
    assert np.isnan(found[50:60]).all()
    assert found[60:].tobytes() == whole[60:].tobytes()
    assert found[:50].tobytes() == whole[:50].tobytes()


# No subnormal numbers: half of the least of them is 0, and which half is taken first decides the score.
values = st.one_of(
    st.floats(-1e6, 1e6, allow_subnormal=False), st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf")])
)


@given(st.lists(values, min_size=1, max_size=60), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=150, deadline=None)
def test_ordered_windows_against_numpy(x: list[float], length: int, least: int) -> None:
    """Median, MAD and the robust score of the known values, whatever holes and ties the window has."""
    least = min(least, length)
    column = np.array(x)
    texts = {n: f"{n}(close, {length}, {least})" for n in ("median", "mad", "robust_zscore")}
    found = ours(texts, close=column)
    for t in range(len(x)):
        window = column[max(t - length + 1, 0) : t + 1]
        known = np.sort(window[np.isfinite(window)])
        if not np.isfinite(column[t]) or len(known) < least:
            assert all(np.isnan(found[name][t]) for name in texts)
            continue
        n = len(known)
        middle = 0.5 * known[(n - 1) // 2] + 0.5 * known[n // 2]
        away = np.sort(np.abs(known - middle))
        spread = 0.5 * away[(n - 1) // 2] + 0.5 * away[n // 2]
        assert found["median"][t] == pytest.approx(middle, rel=1e-15, abs=1e-300)
        assert found["mad"][t] == pytest.approx(spread, rel=1e-15, abs=1e-300)
        score = (column[t] - middle) / (1.4826 * spread) if spread > 0 else np.nan
        np.testing.assert_allclose(found["robust_zscore"][t], score, rtol=1e-12)


def test_ordered_windows_are_pure(adversaries: dict[str, np.ndarray]) -> None:
    """The same window gives the same bits from any start, in any block, and after an outlier has left."""
    from gapless.features import drivers

    x = adversaries["60000 walk"].copy()
    x[200] = 1e16
    understood = plan({"z": "robust_zscore(close, 97)", "m": "mad(close, 40)"})
    whole, _ = run(understood, {"close": x})
    late, _ = run(understood, {"close": x[900:]})
    for name in ("z", "m"):
        assert late[name][96:].tobytes() == whole[name][996:].tobytes()
    fresh = understood.program.fresh_state
    blocks = [drivers.run_time(understood.program, {"close": x}, fresh(), block=b)[0] for b in (97, 500, 4096)]
    assert len({b"".join(o.tobytes() for o in outputs) for outputs in blocks}) == 1


@pytest.mark.parametrize(
    "text", ["median(close, 5, 6)", "mad(close, 5, 6)", "robust_zscore(close, 5, 1)", "cov(close, open, 3, 3)"]
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """More values than the window has, a score of one value, a divisor of nothing."""
    with pytest.raises(ExpressionError):
        plan({"x": text})
