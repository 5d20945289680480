"""Every catalogued feature, walked from the registry with random parameters: no exemptions."""

from __future__ import annotations

import doctest
import json
import random
from typing import Any

import numpy as np
import pytest

from gapless.features import FeaturePlan, catalogue, listing, plan, prove, run
from gapless.features.panel import Panel, Population
from gapless.features.proof import random_bars
from gapless.features.registry import Feature, Param
from gapless.features.schema import gate

SERIES = ["close", "volume", "high", "quote_volume", "open_interest"]


def expression(entry: Feature, seed: int) -> str:
    """A call with random parameters, none at its default, no two numbers alike."""
    rng = random.Random(f"{entry.name} {seed}")
    given: list[str] = []
    for param in entry.params:
        given.append(value(entry, param, rng, given))
    return f"{entry.name}({', '.join(given)})"


def value(entry: Feature, param: Param, rng: random.Random, taken: list[str]) -> str:
    """One random value of a parameter."""
    if param.kind == "series":
        return "session" if param.default == "session" else rng.choice(SERIES)
    if param.kind == "operand":
        return rng.choice([*SERIES, "1.5"])
    if param.default == "":
        return '"sector"'
    if param.kind == "text":
        return f'"{rng.choice([c for c in param.choices if c != param.default] or ["X:B"])}"'
    if param.kind == "float":
        return f"{float(param.default or 1) * rng.uniform(0.4, 0.9):.4f}"
    if param.name == "ddof":
        return "0" if param.default else "1"
    if param.name == "least":
        return str(rng.choice((2, 3)))
    low, high = (max(param.least, 3), 41) if param.name == "length" else (2, 12)
    return str(rng.choice([n for n in range(low, high) if n != param.default and str(n) not in taken]))


ALL = sorted(catalogue())
CASES = [(name, expression(catalogue()[name], seed)) for name in ALL for seed in (1, 2)]


@pytest.mark.parametrize(("name", "text"), CASES, ids=[text for _, text in CASES])
def test_every_way_to_compute_it_gives_the_same_bits(name: str, text: str) -> None:
    """Batch, steps, chunks, resumed, late, corrected, prefixes, interpreted; no look-ahead; every parameter matters."""
    certificate = prove(text, seeds=[1, 2])
    assert certificate.passed, certificate.as_dict()


@pytest.mark.parametrize(("name", "text"), CASES, ids=[text for _, text in CASES])
def test_warmup_is_where_the_first_value_stands(name: str, text: str) -> None:
    """On bars without holes the declared warm-up is exact: missing before, values from it on."""
    understood = plan({"x": text})
    values = through(understood, clean(understood.columns))[0]
    warmup = understood.warmup["x"]
    assert np.isnan(values[:warmup]).all()
    assert np.isfinite(values[warmup:]).all()


@pytest.mark.parametrize(("name", "text"), CASES, ids=[text for _, text in CASES])
def test_values_stay_within_declared_bounds(name: str, text: str) -> None:
    """Jumps, flat stretches, holes and volumes of 0 stay inside the bounds but for rounding, which the gate clips."""
    understood = plan({"x": text})
    for seed in range(5):
        bars = random_bars(understood.columns, 600, seed)
        for x in bars.values():
            x[np.isinf(x)] = np.nan  # an infinite close between finite highs is no bar: the gate refuses it
        values = through(understood, bars)[0]
        gate({"x": values}, {"x": catalogue()[name].bounds})


@pytest.mark.parametrize("name", ALL)
def test_it_is_documented(name: str) -> None:
    """A one-line summary that ends with a full stop, a group, and a signature with ``length`` after the series."""
    entry = catalogue()[name]
    assert entry.summary.endswith((".", ":", "t − n].", "n."))
    assert entry.group
    assert entry.signature.startswith(f"{name}(")
    kinds = [p.kind for p in entry.params]
    assert kinds == sorted(kinds, key=lambda kind: kind != "series"), "series come first"


@pytest.mark.parametrize("name", ALL)
def test_its_documentation_runs(name: str) -> None:
    """Each feature carries an example, and the example gives what it says."""
    found = doctest.DocTestParser().get_doctest(catalogue()[name].doc, {}, name, None, None)
    assert len(found.examples) > 1
    assert doctest.DocTestRunner().run(found).failed == 0


def test_the_listing_fits_json() -> None:
    """Every feature with signature, documentation, bounds, warm-up, memory and version, as plain JSON."""
    rows = json.loads(json.dumps(listing()))
    assert [row["name"] for row in rows] == list(catalogue())
    assert {row["name"]: (row["warmup"], row["memory"]) for row in rows}["zscore"] == (19, 20)
    assert all(plan({"x": row["example"]}).version("x") == row["version"] for row in rows)


@pytest.mark.parametrize("name", ALL)
def test_a_hole_does_not_kill_it(name: str) -> None:
    """Values come back after a missing bar: within the memory, or at once for a recursion."""
    understood = plan({"x": expression(catalogue()[name], 1)})
    bars = clean(understood.columns)
    warmup = understood.warmup["x"]
    hole = warmup + 5
    for x in bars.values():
        x[hole] = np.nan
    values = through(understood, bars)[0]
    clear = max(warmup, understood.memory or 0)
    assert np.isfinite(values[:hole][warmup:]).all()
    assert np.isfinite(values[hole + clear + 2 :]).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_bars_and_few_bars(name: str, count: int) -> None:
    """No bars give no rows, one or two give rows; the state they leave is resumable."""
    understood = plan({"x": expression(catalogue()[name], 1)})
    bars = clean(understood.columns)
    first, state = through(understood, {c: x[:count] for c, x in bars.items()})
    rest, _ = through(understood, {c: x[count:] for c, x in bars.items()}, state)
    whole, _ = through(understood, bars)
    assert np.concatenate([first, rest]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_its_version_names_its_parameters(name: str) -> None:
    """Other parameters, another version; the same text, the same version."""
    one, two = expression(catalogue()[name], 1), expression(catalogue()[name], 2)
    versions = {text: plan({"x": text}).version("x") for text in (one, two)}
    assert len(set(versions.values())) == len(set(versions))
    assert plan({"other": one}).version("other") == versions[one]


def through(understood: FeaturePlan, bars: dict[str, np.ndarray], state: Any = None) -> tuple[np.ndarray, Any]:
    """Values and state after; what compares instruments runs beside four others, whose bars follow from these."""
    if not understood.crossing:
        values, state = run(understood, bars, state)
        return values["x"], state
    count, after = len(next(iter(bars.values()))), dict(state or {})
    names = [f"P:{i}" for i in range(5)]
    panel = Panel(understood, Population(names, {"sector": dict.fromkeys(names[:4], "a")}))
    with np.errstate(all="ignore"):
        columns = {c: np.concatenate([x * (1 + 0.3 * np.sin(i * x)) for i in range(5)]) for c, x in bars.items()}
    rows = {name: slice(i * count, (i + 1) * count) for i, name in enumerate(names)}
    values = panel.run(np.tile(np.arange(count), 5), rows, columns, after)
    return values["x"][:count], after


def clean(columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Bars with nothing missing, never flat."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-2, 400)))
    made = {"close": close, "open": close * 0.999, "high": close * 1.01, "low": close * 0.98}
    made |= {"session": np.floor(np.arange(400) / 50)}
    return {c: made.get(c, rng.lognormal(3, 1, 400)).copy() for c in columns}


@pytest.mark.parametrize("name", ALL)
def test_markets_without_life(name: str) -> None:
    """Flat prices, no volume, nothing known, one bar, no bars: values or NaN within the bounds, never an error."""
    for text in (expression(catalogue()[name], 1), plan_of(name)):
        understood = plan({"x": text})
        for bars in dead(understood.columns):
            values = through(understood, bars)[0]
            gate({"x": values}, {"x": catalogue()[name].bounds})
            if bars and all(np.isnan(x).all() for x in bars.values()):
                assert not np.isinf(values).any()


def plan_of(name: str) -> str:
    """The feature at its default parameters."""
    return next(row["example"] for row in listing() if row["name"] == name)


def dead(columns: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
    """Markets in which nothing happens."""
    price = {c: 0.0 if "volume" in c or c == "trades" else 61234.56 for c in columns}
    flat = {c: np.full(300, price[c]) for c in columns}
    return [flat, {c: x * np.nan for c, x in flat.items()}, *({c: x[:n] for c, x in flat.items()} for n in (1, 0))]
