"""Proof of an expression that compares instruments: the checks of ``proof``, on random panels.

A panel is seven instruments with their own missing bars, in two groups, one in none, one that is a member only for a
while. Beside the checks of one instrument, ``order_invariant``: the order of rows and instruments does not show.
Every check is put to the values and to their coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import UsageError
from gapless.features.ops import Kernels, interpreted
from gapless.features.panel import SEEN, LivePanel, Panel, Population
from gapless.features.planning import FeaturePlan, decode, encode, plan
from gapless.features.program import Floats, Ints
from gapless.features.proof import Check, Columns, difference, first, random_bars, variants
from gapless.features.registry import Library
from gapless.features.stages import crossings_of
from gapless.spans import LATEST, MINUTE, SpanSet

NAMES = tuple(f"P:{letter}" for letter in "ABCDEFG")
GROUPS = {"P:A": "x", "P:B": "y", "P:C": "x", "P:D": "y", "P:E": "x", "P:F": "y"}
MAX_BARS = 6_000  # of each instrument
States = dict[str, Floats]
Difference = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Market:
    """Bars of the instruments, row by row: ``who`` numbers ``NAMES``; sorted by instrument and time unless shuffled."""

    ts: Ints
    who: Ints
    columns: Columns

    def rows(self) -> dict[str, Ints]:
        found = ((NAMES[i], np.flatnonzero(self.who == i)) for i in np.unique(self.who)[::-1])
        return {name: rows[np.argsort(self.ts[rows], kind="stable")] for name, rows in found}

    def take(self, rows: npt.NDArray[Any]) -> Market:
        return Market(self.ts[rows], self.who[rows], {name: x[rows] for name, x in self.columns.items()})

    def edited(self, rows: npt.NDArray[np.bool_], change: Callable[[Floats], Floats]) -> Market:
        """With other values in some rows."""
        columns = {name: np.where(rows, change(x), x) for name, x in self.columns.items()}
        return replace(self, columns=columns)


@dataclass(frozen=True, slots=True)
class Case:
    """One column, the values or their coverage, of one expression on one panel."""

    column: str
    panel: Panel
    market: Market
    fresh: Floats
    seed: int
    library: Library | None

    def run(self, market: Market, states: States | None = None, panel: Panel | None = None) -> tuple[Floats, States]:
        after = dict(states or {})
        values = (panel or self.panel).run(market.ts, market.rows(), market.columns, after)
        return values[self.column], after

    def cuts(self) -> list[int]:
        """Some times, in order."""
        times = np.unique(self.market.ts)
        picks = np.random.default_rng(self.seed).integers(1, len(times), 3)
        early = min(self.panel.plan.warmup["x"] + 1, len(times) - 1)
        return sorted({int(times[i]) for i in (1, early, *picks, len(times) - 1)})


def prove_panel(
    understood: FeaturePlan, seeds: Sequence[int], kernels: Kernels, library: Library | None
) -> dict[str, Check]:
    """The outcome of every check."""
    cases = [case for seed in seeds for case in _cases(understood, seed, kernels, library)]
    found: dict[str, Check] = {}
    for name, check in CHECKS.items():
        wrong = first((d := check(case)) and {"seed": case.seed, "column": case.column, **d} for case in cases)
        found[name] = {"first_difference": wrong} if wrong else "pass"
    idle = next(_idle_parameters([case for case in cases if case.column == "x"]), None)
    found["parameters_matter"] = {"first_difference": {"row": None, "same_with": idle}} if idle else "pass"
    return found


def _cases(understood: FeaturePlan, seed: int, kernels: Kernels, library: Library | None) -> list[Case]:
    count = 3 * understood.warmup["x"] + 150
    if count > MAX_BARS:
        raise UsageError(
            f"{understood.expression('x')} warms up in {understood.warmup['x']} bars; a proof runs {MAX_BARS} at most.",
            hint="prove the same expression with shorter lengths: the code is the same",
        )
    panel = Panel(understood, _population(understood, count), coverage=True, kernels=kernels)
    market = random_market(understood.columns, count, seed)
    fresh = panel.run(market.ts, market.rows(), market.columns)
    return [Case(column, panel, market, fresh[column], seed, library) for column in ("x", "x" + SEEN)]


def _population(understood: FeaturePlan, count: int) -> Population:
    graph = understood.graph
    groupings = {graph.entries[i].name for i in crossings_of(graph, understood.roots)} - {""}
    always = SpanSet.of((0, LATEST))
    passing = SpanSet.of((count // 5 * MINUTE, count // 2 * MINUTE), (count // 2 * MINUTE + 7 * MINUTE, LATEST))
    members = dict.fromkeys(NAMES, always) | {"P:D": passing}
    return Population(NAMES, dict.fromkeys(groupings, GROUPS), members)


def random_market(columns: Sequence[str], count: int, seed: int, missing: float = 0.05) -> Market:
    """Deterministic random bars of every instrument, some of its own missing; what is joined is the same for all."""
    rng = np.random.default_rng(seed)
    parts = [random_bars([c for c in columns if "@" not in c], count, 100 * seed + i) for i in range(len(NAMES))]
    joined = random_bars([c for c in columns if "@" in c], count, 100 * seed + 50)
    found = {name: np.concatenate([(joined | part)[name] for part in parts]) for name in columns}
    whole = Market(np.tile(MINUTE * np.arange(count), len(NAMES)), np.repeat(np.arange(len(NAMES)), count), found)
    return whole.take(rng.random(len(whole.ts)) >= missing)


def _steps(case: Case, market: Market, states: States | None = None) -> tuple[Floats, States]:
    """One time at a step, the rows of each in random order."""
    live, found = LivePanel(case.panel, NAMES), np.full(len(market.ts), np.nan)
    rng = np.random.default_rng(case.seed)
    for name, state in (states or {}).items():
        live.restore(NAMES.index(name), decode(case.panel.plan, encode(case.panel.plan, state)))
    order = np.argsort(market.ts, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(market.ts[order])) + 1) if len(order) else ():
        mixed = rng.permutation(rows)
        columns = {name: x[mixed] for name, x in market.columns.items()}
        found[mixed] = live.step(columns, market.who[mixed], int(market.ts[mixed[0]]))[case.column]
    return found, {name: live.state_of(i) for i, name in enumerate(NAMES)}


def _same_states(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in set(one) & set(other))


def _batch_equals_step(case: Case) -> Difference:
    return difference(case.fresh, _steps(case, case.market)[0])


def _order_invariant(case: Case) -> Difference:
    """Shuffled rows, and instruments in another order, give each row the same value."""
    mixed = np.random.default_rng(case.seed).permutation(len(case.market.ts))
    return difference(case.fresh[mixed], case.run(case.market.take(mixed))[0])


def _chunked(case: Case) -> Difference:
    found, states, start = np.empty(len(case.fresh)), States(), 0
    for cut in [*case.cuts(), LATEST]:
        rows = (case.market.ts >= start) & (case.market.ts < cut)
        found[rows], states = case.run(case.market.take(rows), states)
        start = cut
    return difference(case.fresh, found, cuts=case.cuts())


def _resumed(case: Case) -> Difference:
    """Batch to a cut, live over some bars, batch to the end; and the states at the end are equal."""
    end = case.run(case.market)[1]

    def at(cut: int) -> Difference:
        stop, ts = cut + 15 * MINUTE, case.market.ts
        found, states = np.empty(len(ts)), States()
        for rows, way in ((ts < cut, case.run), ((ts >= cut) & (ts < stop), _live(case)), (ts >= stop, case.run)):
            found[rows], states = way(case.market.take(rows), states)
        wrong = difference(case.fresh, found, cut=cut)
        return wrong or (None if _same_states(end, states) else {"row": None, "state": "differs", "cut": cut})

    return first(at(cut) for cut in case.cuts())


def _live(case: Case) -> Callable[[Market, States], tuple[Floats, States]]:
    return lambda market, states: _steps(case, market, states)


def _from_checkpoint(case: Case, before: Market, after: Market, cut: int) -> Difference:
    """From the states before ``cut`` over the edited bars, against a fresh run over them; and earlier rows stand."""
    _, states = case.run(before.take(before.ts < cut))
    fresh = case.run(after)[0]
    late = after.ts >= cut
    wrong = difference(fresh[late], case.run(after.take(late), states)[0], cut=cut)
    return wrong or difference(case.run(before)[0][before.ts < cut], fresh[~late], cut=cut)


def _late(case: Case) -> Difference:
    """A bar of one instrument that was not there at first changes the sections of its time and later ones only."""

    def at(cut: int) -> Difference:
        gone = (case.market.ts == cut) & (case.market.who == case.market.who[case.market.ts == cut][0])
        return _from_checkpoint(case, case.market.take(~gone), case.market, cut)

    return first(at(cut) for cut in case.cuts())


def _corrected(case: Case) -> Difference:
    def at(cut: int) -> Difference:
        after = case.market.edited(case.market.ts == cut, lambda x: x * 0.97)
        return _from_checkpoint(case, case.market, after, cut)

    return first(at(cut) for cut in case.cuts())


def _prefix_stable(case: Case) -> Difference:
    def at(cut: int) -> Difference:
        rows = case.market.ts < cut
        return difference(case.fresh[rows], case.run(case.market.take(rows))[0], cut=cut)

    return first(at(cut) for cut in case.cuts())


def _no_look_ahead(case: Case) -> Difference:
    """Other later values of every instrument, and no later bars of one, change no earlier row."""

    def at(cut: int) -> Difference:
        past = case.market.ts < cut
        other = case.market.edited(~past, lambda x: x[::-1] * 3.0 + 1.0)
        rows = past | (case.market.who != 0)
        return difference(case.fresh[past], case.run(other.take(rows))[0][other.take(rows).ts < cut], cut=cut)

    return first(at(cut) for cut in case.cuts())


def _start_independent(case: Case) -> Difference:
    """With finite memory, and bars of all at all times, a later start gives the same rows once warm."""
    memory = case.panel.plan.memory
    if memory is None:
        return None
    whole = random_market(case.panel.plan.columns, len(np.unique(case.market.ts)), case.seed, missing=0.0)
    fresh = case.run(whole)[0]

    def at(cut: int) -> Difference:
        part, warm = whole.ts >= cut, cut + (memory - 1) * MINUTE
        found = case.run(whole.take(part))[0][whole.ts[part] >= warm]
        return difference(fresh[whole.ts >= warm], found, cut=cut)

    return first(at(cut) for cut in case.cuts())


def _compiled_equals_interpreted(case: Case) -> Difference:
    rows = case.market.ts < (case.panel.plan.warmup["x"] + 40) * MINUTE
    plain = replace(case.panel, kernels=interpreted())
    return difference(case.run(case.market.take(rows), None, plain)[0], case.fresh[rows])


def _idle_parameters(cases: Sequence[Case]) -> Iterator[str]:
    """For each parameter in the text that changes no value, the expression with it changed."""
    term = cases[0].panel.plan.terms[0]
    for texts in zip_longest(*(variants(term, by) for by in (1, 5, 30))):
        told = [text for text in texts if text]
        if told and not any(_differs(case, text) for case in cases for text in told):
            yield told[0]


def _differs(case: Case, text: str) -> bool:
    try:
        other = plan({"x": text}, library=case.library)
    except UsageError:
        return False
    values = case.run(case.market, None, replace(case.panel, plan=other))[0]
    return difference(case.fresh, values) is not None


CHECKS: dict[str, Callable[[Case], Difference]] = {
    "batch_equals_step": _batch_equals_step,
    "order_invariant": _order_invariant,
    "chunked": _chunked,
    "resumed": _resumed,
    "late": _late,
    "corrected": _corrected,
    "prefix_stable": _prefix_stable,
    "no_look_ahead": _no_look_ahead,
    "start_independent": _start_independent,
    "compiled_equals_interpreted": _compiled_equals_interpreted,
}
