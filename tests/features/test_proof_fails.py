"""A proof that cannot fail proves nothing: each check is seen to fail on something broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gapless.errors import UsageError
from gapless.features import catalogue, prove
from gapless.features.graph import Node
from gapless.features.ops import COMPILED, Kernels, interpreted
from gapless.features.registry import describe

NAN = float("nan")


def failed(text: str, kernels: Kernels = COMPILED, **library) -> set[str]:
    entries = catalogue() | {name: describe(f, "test", name=name) for name, f in library.items()}
    checks = prove(text, kernels=kernels, library=entries, seeds=[1, 2]).checks
    return {name for name, outcome in checks.items() if outcome != "pass"}


def test_a_sound_feature_passes_everything() -> None:
    """The same expression with the sound kernels, interpreted and compiled, passes."""
    assert failed("ema(close, 9) - sma(close, 5)") == set()
    assert failed("ema(close, 9)", interpreted()) == set()


def broken_ema(v, y, c, e, n, alpha):
    """Restarts its seed count from the value itself on every missing input: a hole kills the state."""
    if v - v != 0.0:
        return NAN, NAN, c, e
    y = v if c == 0 else y + alpha * (v - y)
    return y, y, c + 1, e


def test_a_different_recursion_in_the_compiled_code_is_found() -> None:
    """Another EMA than the one interpreted: compiled ≠ interpreted."""
    assert "compiled_equals_interpreted" in failed("ema(close, 9)", interpreted(ema_step=broken_ema))


def test_a_driver_that_forgets_its_state_is_found() -> None:
    """Batch that starts recursions afresh on every run: chunks, resumption and corrections differ."""

    def forgetful(program, buf, st, *rest):
        st[:] = 0.0
        COMPILED.run_batch(program, buf, st, *rest)

    found = failed("ema(close, 9)", COMPILED._replace(run_batch=forgetful))
    assert {"chunked", "resumed", "late", "corrected"} <= found


def test_a_driver_that_looks_ahead_is_found() -> None:
    """Batch that reads the next bar: the future changes the past, prefixes and steps differ."""

    def seer(program, buf, st, out, a, b, at):
        ahead = buf.copy()
        ahead[:, a : b - 1] = buf[:, a + 1 : b]
        COMPILED.run_batch(program, ahead, st, out, a, b, at)
        buf[:] = ahead

    found = failed("close * 2", COMPILED._replace(run_batch=seer))
    assert {"no_look_ahead", "prefix_stable", "batch_equals_step", "chunked"} <= found


def test_a_window_kept_by_adding_and_subtracting_is_found() -> None:
    """A running total depends on its start and never forgets an outlier: start, late and corrected rows differ."""

    def running(program, buf, st, out, a, b, at):
        COMPILED.run_batch(program, buf, st, out, a, b, at)
        x, total = buf[program.rows[0, 2]], 0.0
        for t in range(a, b):
            total = np.nansum([total, x[t]]) - (x[t - 5] if t - 5 >= a and x[t - 5] == x[t - 5] else 0.0)
            out[0, at + t - a] = total / 5

    found = failed("sma(volume, 5)", COMPILED._replace(run_batch=running))
    assert {"start_independent", "chunked", "batch_equals_step"} <= found


def test_a_live_driver_that_rounds_is_found() -> None:
    """Live in single precision: batch ≠ step."""

    def coarse(program, cur, *rest):
        cur[:] = cur.astype(np.float32)
        COMPILED.run_live(program, cur, *rest)

    assert "batch_equals_step" in failed("sma(close, 4)", COMPILED._replace(run_live=coarse))


def test_a_parameter_that_does_nothing_is_found() -> None:
    """An option without effect is an error."""

    def deaf(x: Node, length: int) -> Node:
        """Ignores its length."""
        return x - x.lag(1)

    assert failed("deaf(close, 7)", deaf=deaf) == {"parameters_matter"}


def test_a_memory_declared_too_short_is_found() -> None:
    """Values that depend on more bars than the declared memory: rows beyond it change."""
    from gapless.features.graph import Graph

    sound = Graph._facts
    try:
        Graph._facts = lambda self, entry: replace(sound(self, entry), memory=2)
        assert {"start_independent", "late", "corrected"} <= failed("sma(close, 9) + lag(close, 11)")
    finally:
        Graph._facts = sound


def test_the_certificate_names_the_first_difference() -> None:
    """Seed, row, expected and found stand in the certificate, in the contract's shape."""
    found = prove("ema(close, 9)", kernels=interpreted(ema_step=broken_ema), seeds=[3]).as_dict()
    assert set(found) == {"expression", "version", "checks", "passed"}
    assert found["passed"] is False
    difference = found["checks"]["compiled_equals_interpreted"]["first_difference"]
    assert difference["seed"] == 3
    assert difference["row"] >= 0
    assert {"expected", "found"} <= set(difference)


def test_proofs_are_deterministic() -> None:
    """The same expression and seeds give the same certificate."""
    assert prove("zscore(close, 30)", seeds=[5]) == prove("zscore(close, 30)", seeds=[5])


def test_what_cannot_be_proved_says_so() -> None:
    """No seeds, or a warm-up of more bars than a proof runs."""
    with pytest.raises(UsageError, match="seed"):
        prove("close - open", seeds=[])
    with pytest.raises(UsageError, match="warms up"):
        prove("sma(close, 100000)")
