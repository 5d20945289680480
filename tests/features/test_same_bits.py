"""One definition: whatever the way, the order and the chunks, the same bits."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import InputError, UsageError
from gapless.features import catalogue, drivers, listing, plan, run
from gapless.features.graph import KERNEL_VERSION
from gapless.features.ops import COMPILED
from gapless.features.proof import random_bars
from gapless.features.registry import Feature

SEVEN = {
    "sma": "sma(close, 20)",
    "ema": "ema(close, 20)",
    "rma": "rma(close, 14)",
    "rsi": "rsi(close, 14)",
    "atr": "atr(14)",
    "log_return": "log_return(close, 15)",
    "zscore": "zscore(close, 37)",
}
PLAN = plan(SEVEN)
FINITE = plan({name: SEVEN[name] for name in ("sma", "log_return", "zscore")} | {"top": "max(high, 9) - min(low, 13)"})


def bits(values: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: x.tobytes() for name, x in values.items()}


def part(bars: dict[str, np.ndarray], start: int, end: int | None = None) -> dict[str, np.ndarray]:
    return {name: x[start:end] for name, x in bars.items()}


@given(st.integers(0, 10**6), st.lists(st.integers(0, 500), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_chunking(seed: int, cuts: list[int]) -> None:
    """run(all) = run(piece after piece, each from the state before), values and final state; empty pieces too."""
    bars = random_bars(PLAN.columns, 500, seed)
    whole, end = run(PLAN, bars)
    state, pieces = None, []
    edges = [0, *sorted(cuts), 500]
    for start, stop in pairwise(edges):
        values, state = run(PLAN, part(bars, start, stop), state)
        pieces.append(values)
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in SEVEN}
    assert bits(joined) == bits(whole)
    assert state == end


@pytest.mark.parametrize("block", [1, 40, 1000, 2048, 10_000])
def test_the_block_size_does_not_show(block: int) -> None:
    """However many bars the driver takes at once, and in stretches of any length: the same bits and the same state."""
    bars = random_bars(PLAN.columns, 2500, 11)
    bars["close"][700:] = np.abs(bars["close"][700:1000].mean()) + np.arange(1800) % 7  # no hole: the fast loops run
    whole, end = drivers.run_time(PLAN.program, bars, PLAN.program.fresh_state())
    for stretch in (7, 1024):
        kernels = COMPILED._replace(run_batch=partial(COMPILED.run_batch, stretch=stretch))
        found, state = drivers.run_time(PLAN.program, bars, PLAN.program.fresh_state(), kernels, block)
        assert [x.tobytes() for x in found] == [x.tobytes() for x in whole]
        assert state.tobytes() == end.tobytes()


@given(st.integers(0, 10**6), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_prepending_history(seed: int, more: int) -> None:
    """With finite memory, bars before the first change no row once the window is full."""
    bars = random_bars(FINITE.columns, 200 + more, seed)
    late, whole = run(FINITE, part(bars, more))[0], run(FINITE, bars)[0]
    warm = (FINITE.memory or 0) - 1
    assert bits(part(late, warm)) == bits(part(whole, more + warm))


@given(st.integers(0, 10**6), st.integers(0, 299))
@settings(max_examples=25, deadline=None)
def test_inserting_a_bar(seed: int, at: int) -> None:
    """With finite memory, an inserted bar changes the rows whose window holds it, and no other bit."""
    bars = random_bars(FINITE.columns, 300, seed)
    before = run(FINITE, bars)[0]
    after = run(FINITE, {name: np.insert(x, at, 101.25) for name, x in bars.items()})[0]
    assert bits(part(after, 0, at)) == bits(part(before, 0, at))
    clean = at + (FINITE.memory or 0)
    assert bits(part(after, clean)) == bits(part(before, clean - 1))


def test_recursions_meet_again_after_a_correction() -> None:
    """A corrected bar's trace in an EMA dies out: the states become equal bit for bit, which ends a repair."""
    understood = plan({"x": "ema(close, 5)"})
    bars = {"close": 100 + np.random.default_rng(1).normal(0, 1, 2000)}
    wrong = {"close": bars["close"].copy()}
    wrong["close"][500] *= 1.5
    assert run(understood, part(bars, 0, 520))[1] != run(understood, part(wrong, 0, 520))[1]
    assert run(understood, bars)[1] == run(understood, wrong)[1]


def test_features_do_not_disturb_each_other() -> None:
    """Alone or in company, a feature's bits and version are the same: sharing nodes and slots does not show."""
    bars = random_bars(PLAN.columns, 700, 5)
    together = run(PLAN, bars)[0]
    for name, text in SEVEN.items():
        alone = plan({name: text})
        assert run(alone, bars)[0][name].tobytes() == together[name].tobytes()
        assert alone.version(name) == PLAN.version(name)


def test_equal_parts_are_computed_once() -> None:
    """Asking for the same thing twice, or for a part of another feature, adds no instruction."""
    once = plan({"a": "zscore(close, 20)"})
    twice = plan(
        {"a": "zscore(close, 20)", "b": "zscore(close, 20)", "c": "std(close, 20)", "d": "lag(std(close, 20), 5)"}
    )
    assert len(twice.program.rows) == len(once.program.rows) + 1  # the copy that gives the lagged output its lane


def test_the_kernels_are_those_of_this_version() -> None:
    """A pin: if this digest changes, results have changed, and KERNEL_VERSION must be raised with it."""
    everything = plan(SEVEN | {entry.name: text for entry, text in defaults()})
    found = hashlib.sha256()
    for x in run(everything, random_bars(everything.columns, 3000, 11))[0].values():
        found.update(x.tobytes())
    assert (KERNEL_VERSION, found.hexdigest()[:16]) == (2, "99c7f1d75febbf6b")


def defaults() -> list[tuple[Feature, str]]:
    """Every feature of one instrument at its default parameters; test_panel.py pins those that compare several."""
    rows = [row for row in listing() if not plan({"x": row["example"]}).crossing]
    return [(catalogue()[row["name"]], row["example"]) for row in rows]


def test_foreign_and_damaged_states_are_refused() -> None:
    """A state of another plan, a cut one, a flipped bit, or anything else is refused, never guessed."""
    bars = random_bars(PLAN.columns, 50, 1)
    _, state = run(PLAN, bars)
    flipped = bytearray(state)
    flipped[-3] ^= 1
    _, foreign = run(plan({"x": "ema(close, 3)"}), bars)
    for blob in (foreign, state[:-8], bytes(flipped), b"", b"nonsense" * 30):
        with pytest.raises(UsageError, match="state"):
            run(PLAN, bars, blob)


def test_columns_must_fit() -> None:
    """A missing column and columns of different lengths are named."""
    with pytest.raises(InputError, match="close is missing"):
        run(plan({"x": "ema(close, 3)"}), {"open": np.ones(3)})
    with pytest.raises(InputError, match="differ in length"):
        run(plan({"x": "high - low"}), {"high": np.ones(3), "low": np.ones(2)})


def test_the_plan_says_what_it_needs() -> None:
    """Inputs, other series, memory, warm-up and schema of several features."""
    found = plan({"a": "sma(close, 20)", "b": "close - close@X:Y", "c": "lag(volume, 30)"})
    assert (found.inputs, found.others) == (("close", "volume"), (("close", "X:Y"),))
    assert found.warmup == {"a": 19, "b": 0, "c": 30}
    assert found.memory == 31
    assert found.schema == dict.fromkeys("abc", pl.Float64())
    assert plan({"a": "sma(ema(close, 3), 20)"}).memory is None


def test_explain_fits_json() -> None:
    """What ``explain`` gives can be printed as JSON and names inputs, memory, warm-up, version and nodes."""
    import json

    found = json.loads(json.dumps(plan({"r": "rsi( close )"}).explain("r")))
    assert found["expression"] == "rsi(close, 14)"
    assert (found["warmup"], found["memory"], found["memory_kind"]) == (14, None, "decaying")
    assert found["bounds"] == {"low": 0.0, "high": 100.0}
    assert found["nodes"] == len(found["graph"])
