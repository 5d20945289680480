"""Proof of one expression: every way to compute it gives the same bits, and the future never changes the past.

Each check runs the real code on deterministic random bars (missing and infinite values, flat stretches, no volume,
jumps) and compares bits; the certificate carries the first difference found. Passing on some bars proves nothing about
all bars, but each check has been seen to fail on an operator broken on purpose.

``MEANINGS`` says what each check compares; docs/features.md says it at length.

What compares instruments is proved on panels of several (panel_proof.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from gapless.errors import UsageError
from gapless.features.expr import Binary, Call, Negative, Term
from gapless.features.ops import COMPILED, Kernels, interpreted
from gapless.features.planning import FeaturePlan, decode, encode, plan, run
from gapless.features.program import Floats
from gapless.features.registry import Library, Value

Check = str | dict[str, Any]
Columns = dict[str, Floats]
MAX_BARS = 20_000
MEANINGS = {
    "batch_equals_step": "one run over all bars = bar by bar",
    "order_invariant": "the order of rows and instruments does not show",
    "chunked": "in pieces of any size, each from the state before",
    "resumed": "the state through bytes, batch to live and back",
    "late": "a late bar, folded in from the state before it",
    "corrected": "a changed bar, folded in from the state before it",
    "prefix_stable": "the first bars alone give the first rows",
    "no_look_ahead": "no change of later bars changes an earlier row",
    "start_independent": "finite memory: any start, the same rows once warm",
    "compiled_equals_interpreted": "Numba and plain Python give the same bits",
    "parameters_matter": "every parameter changes some value",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """The outcome of ``prove``: for each check ``pass``, or a dict with the ``first_difference``."""

    expression: str
    version: str
    checks: dict[str, Check]

    @property
    def passed(self) -> bool:
        return all(check == "pass" for check in self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "expression": self.expression,
            "version": self.version,
            "checks": self.checks,
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """One expression on one set of bars."""

    plan: FeaturePlan
    bars: Columns
    fresh: Floats
    kernels: Kernels
    seed: int
    library: Library | None

    @property
    def count(self) -> int:
        return len(self.fresh)

    def run(self, bars: Columns, state: bytes | None = None) -> tuple[Floats, bytes]:
        values, state = run(self.plan, bars, state, kernels=self.kernels)
        return values["x"], state

    def run_other(self, other: FeaturePlan) -> Floats:
        """Another expression over the same bars; it reads the same columns, for only parameters differ."""
        return run(other, self.bars, kernels=self.kernels)[0]["x"]

    def cuts(self) -> list[int]:
        """Some bars, in order: early, around the warm-up, late."""
        picks = np.random.default_rng(self.seed).integers(1, self.count, 6)
        return sorted({1, *picks.tolist(), min(self.plan.warmup["x"] + 1, self.count - 1), self.count - 1})


def prove(
    expression: str, *, seeds: Sequence[int] = (1, 2, 3), kernels: Kernels = COMPILED, library: Library | None = None
) -> Certificate:
    """Run every check on the bars of each seed. ``kernels`` and ``library`` let a test break an operator.

    >>> prove("sma(close, 5)", seeds=[1]).passed
    True
    """
    understood = plan({"x": expression}, library=library)
    if not seeds:
        raise UsageError("a proof needs at least one seed.", hint="seeds=[1, 2, 3]")
    with np.errstate(all="ignore"):  # interpreted kernels meet NaN and infinity on purpose
        if understood.crossing:
            from gapless.features.panel_proof import prove_panel

            found = prove_panel(understood, seeds, kernels, library)
        else:
            found = _checks([_case(understood, seed, kernels, library) for seed in seeds])
    return Certificate(understood.expression("x"), understood.version("x"), found)


def _checks(cases: Sequence[Case]) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for name, check in CHECKS.items():
        difference = first((d := check(case)) and {"seed": case.seed, **d} for case in cases)
        found[name] = {"first_difference": difference} if difference else "pass"
    idle = next(_idle_parameters(cases[0].plan.terms[0], cases), None)
    found["parameters_matter"] = {"first_difference": {"row": None, "same_with": idle}} if idle else "pass"
    return found


def _case(understood: FeaturePlan, seed: int, kernels: Kernels, library: Library | None) -> Case:
    warmup = understood.warmup["x"]
    count = 3 * warmup + 300
    if count > MAX_BARS:
        raise UsageError(
            f"{understood.expression('x')} warms up in {warmup} bars; a proof runs {MAX_BARS} at most.",
            hint="prove the same expression with shorter lengths: the code is the same",
        )
    bars = random_bars(understood.columns, count, seed)
    fresh = run(understood, bars, kernels=kernels)[0]["x"]
    return Case(understood, bars, fresh, kernels, seed, library)


def random_bars(columns: Sequence[str], count: int, seed: int) -> Columns:
    """Deterministic random bars: jumps, flat stretches, volumes of 0; seed by seed rarer or commoner missing values."""
    rng = np.random.default_rng(seed)
    found: Columns = {}
    for series in {name.partition("@")[2] for name in columns} | {""}:
        found |= {name + ("@" + series if series else ""): x for name, x in _one_series(rng, count).items()}
    ready = {name: found[name].copy() for name in sorted(columns)}
    for i, x in enumerate(ready.values()):
        if (seed + i) % 3 == 1:
            x[rng.random(count) < 0.01] = np.nan
        if (seed + i) % 4 == 3:
            x[rng.integers(0, count)] = np.inf
    return ready


def _one_series(rng: np.random.Generator, count: int) -> Columns:
    moves = rng.normal(0, 1e-3, count) + np.where(rng.random(count) < 0.01, rng.normal(0, 0.2, count), 0)
    flat = rng.integers(0, max(count - 40, 1))
    moves[flat : flat + 40] = 0.0
    close = np.round(100 * np.exp(np.cumsum(moves)), 2)
    opened = np.concatenate(([close[0]], close[:-1]))
    stretch = np.abs(rng.normal(0, 5e-4, (2, count))) * (moves != 0)
    volume = np.where(rng.random(count) < 0.05, 0.0, rng.lognormal(3, 1, count))
    interest = 1e6 + np.cumsum(rng.normal(0, 100, count))
    return {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + stretch[0]),
        "low": np.minimum(opened, close) * (1 - stretch[1]),
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
        "trades": np.floor(volume),
        "taker_buy_volume": volume * rng.random(count),
        "open_interest": interest,
        "funding_rate": rng.normal(0, 1e-4, count),
        "session": np.floor(np.arange(count) / 70.0),
    }


def difference(expected: Floats, found: Floats, offset: int = 0, **more: Any) -> dict[str, Any] | None:
    """The first row whose bits differ."""
    if len(expected) != len(found):
        return {"rows": [len(expected), len(found)], **more}
    rows = np.flatnonzero(expected.view(np.int64) != found.view(np.int64))
    if not len(rows):
        return None
    row = int(rows[0])
    return {"row": row + offset, "expected": repr(float(expected[row])), "found": repr(float(found[row])), **more}


def first(differences: Iterator[dict[str, Any] | None]) -> dict[str, Any] | None:
    return next((found for found in differences if found), None)


def _slice(bars: Columns, start: int, end: int | None = None) -> Columns:
    return {name: x[start:end] for name, x in bars.items()}


def _steps(case: Case, bars: Columns, state: bytes | None = None) -> tuple[Floats, bytes]:
    """One bar at a time through the live driver, beside a symbol that steps only now and then."""
    from gapless.features.drivers import Live

    count = len(next(iter(bars.values())))
    live, found = Live(case.plan.program, 2, case.kernels), np.empty(count)
    if state is not None:
        live.restore(1, decode(case.plan, state))
    for i in range(count):
        who = np.array([0, 1] if i % 3 == 0 else [1], dtype=np.int64)
        found[i] = live.step({name: np.full(len(who), x[i]) for name, x in bars.items()}, who)[0][-1]
    return found, encode(case.plan, live.state_of(1))


def _batch_equals_step(case: Case) -> dict[str, Any] | None:
    return difference(case.fresh, _steps(case, case.bars)[0])


def _chunked(case: Case) -> dict[str, Any] | None:
    state, start, parts = None, 0, []
    for cut in [*case.cuts(), case.count]:
        values, state = case.run(_slice(case.bars, start, cut), state)
        parts.append(values)
        start = cut
    return difference(case.fresh, np.concatenate(parts), cuts=case.cuts())


def _resumed(case: Case) -> dict[str, Any] | None:
    """Batch to a cut, live over some bars, batch to the end; and the states at the end are equal."""
    end_state = case.run(case.bars)[1]

    def at(cut: int) -> dict[str, Any] | None:
        stop = min(cut + 25, case.count)
        _, state = case.run(_slice(case.bars, 0, cut))
        live, state = _steps(case, _slice(case.bars, cut, stop), state)
        rest, state = case.run(_slice(case.bars, stop), state)
        if state != end_state:
            return {"row": case.count - 1, "state": "differs", "cut": cut}
        return difference(case.fresh[cut:], np.concatenate([live, rest]), cut, cut=cut)

    return first(at(cut) for cut in case.cuts())


def _edited(case: Case, bars: Columns, cut: int) -> dict[str, Any] | None:
    """From the checkpoint before ``cut`` over the edited bars, against a fresh run over them."""
    _, state = case.run(_slice(case.bars, 0, cut))
    tail, _ = case.run(_slice(bars, cut), state)
    fresh, _ = case.run(bars)
    return difference(fresh, np.concatenate([case.fresh[:cut], tail]), cut=cut)


def _late(case: Case) -> dict[str, Any] | None:
    def at(cut: int) -> dict[str, Any] | None:
        bars = {name: np.insert(x, cut, x[cut] * 1.01) for name, x in case.bars.items()}
        found = _edited(case, bars, cut)
        if found or case.plan.memory is None:
            return found
        clean = cut + case.plan.memory  # rows from here on do not see the inserted bar
        return difference(case.fresh[clean - 1 :], case.run(bars)[0][clean:], clean, cut=cut)

    return first(at(cut) for cut in case.cuts())


def _corrected(case: Case) -> dict[str, Any] | None:
    def at(cut: int) -> dict[str, Any] | None:
        bars = {name: x.copy() for name, x in case.bars.items()}
        for x in bars.values():
            x[cut] = x[cut] * 0.97
        found = _edited(case, bars, cut)
        if found or case.plan.memory is None:
            return found
        clean = cut + case.plan.memory
        return difference(case.fresh[clean:], case.run(bars)[0][clean:], clean, cut=cut)

    return first(at(cut) for cut in case.cuts())


def _prefix_stable(case: Case) -> dict[str, Any] | None:
    return first(difference(case.fresh[:cut], case.run(_slice(case.bars, 0, cut))[0], cut=cut) for cut in case.cuts())


def _no_look_ahead(case: Case) -> dict[str, Any] | None:
    def at(cut: int) -> dict[str, Any] | None:
        bars = {name: np.concatenate([x[:cut], x[cut:][::-1] * 3.0 + 1.0]) for name, x in case.bars.items()}
        return difference(case.fresh[:cut], case.run(bars)[0][:cut], cut=cut)

    return first(at(cut) for cut in case.cuts())


def _start_independent(case: Case) -> dict[str, Any] | None:
    memory = case.plan.memory
    if memory is None:  # a recursion's value is a function of the whole series: there is no other start
        return None

    def at(cut: int) -> dict[str, Any] | None:
        warm = cut + memory - 1
        return difference(case.fresh[warm:], case.run(_slice(case.bars, cut))[0][memory - 1 :], warm, cut=cut)

    return first(at(cut) for cut in case.cuts())


def _compiled_equals_interpreted(case: Case) -> dict[str, Any] | None:
    bars = _slice(case.bars, 0, min(case.count, case.plan.warmup["x"] + 150))
    plain, _ = run(case.plan, bars, kernels=interpreted())
    return difference(plain["x"], case.fresh[: len(plain["x"])])


def _idle_parameters(term: Term, cases: Sequence[Case]) -> Iterator[str]:
    """For each parameter in the text that changes no value, the expression with it changed."""
    for texts in zip_longest(*(variants(term, by) for by in (1, 5, 30))):
        tried = [text for text in texts if text and any(_differs(case, text) is not False for case in cases)]
        if not tried and any(texts):
            yield next(text for text in texts if text)


def _differs(case: Case, text: str) -> bool | None:
    """Does the other expression give other values? None when it makes no sense or the bars are too few to tell."""
    try:
        other = plan({"x": text}, library=case.library)
    except UsageError:
        return False
    values = case.run_other(other)
    if np.isnan(case.fresh).all() and np.isnan(values).all():
        return None
    return difference(case.fresh, values) is not None


def variants(term: Term, by: int) -> list[str]:
    """The expression with one parameter of one call raised, for every parameter.

    >>> from gapless.features.expr import parse
    >>> variants(parse("ema(rsi(close, 14), 9)"), 1)
    ['ema(rsi(close, 15), 9)', 'ema(rsi(close, 14), 10)']
    """
    return [str(changed) for changed in _changed(term, by)]


def _changed(term: Term, by: int) -> Iterator[Term]:
    match term:
        case Negative(inner):
            yield from (Negative(x) for x in _changed(inner, by))
        case Binary(_, left, right):
            yield from (replace(term, left=x) for x in _changed(left, by))
            yield from (replace(term, right=x) for x in _changed(right, by))
        case Call(entry, values):
            for i, value in enumerate(values):
                new: Iterable[Term | Value] = _raised(value, by) if isinstance(value, Value) else _changed(value, by)
                yield from (Call(entry, (*values[:i], x, *values[i + 1 :])) for x in new)


def _raised(value: Value, by: int) -> list[Value]:
    """A number raised; a word is a name, not an amount."""
    return [] if isinstance(value, str) else [value + by]


CHECKS: dict[str, Callable[[Case], dict[str, Any] | None]] = {
    "batch_equals_step": _batch_equals_step,
    "chunked": _chunked,
    "resumed": _resumed,
    "late": _late,
    "corrected": _corrected,
    "prefix_stable": _prefix_stable,
    "no_look_ahead": _no_look_ahead,
    "start_independent": _start_independent,
    "compiled_equals_interpreted": _compiled_equals_interpreted,
}
