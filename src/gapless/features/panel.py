"""Features that compare instruments: who is compared with whom, and the two drivers around the stages.

1. The graph is cut where instruments meet (stages.py). Each stage's program runs over the bars of each instrument.
2. Rows of one time, of members, and of one group form a *section*, in the order of names. Operators across instruments
   run over sections (kernels/across.py) and give each instrument one more lane, which later stages read.
3. Batch does this for stretches of time, live for one time; both hold the same state of each instrument, call the same
   kernels on the same sections, and so give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gapless.errors import UnknownName, UsageError
from gapless.features.operators import ACROSS
from gapless.features.planning import FeaturePlan, plan
from gapless.features.program import Floats, Ints
from gapless.features.stages import Crossing, Stage
from gapless.spans import SpanSet

if TYPE_CHECKING:
    from gapless.features.drivers import Live
    from gapless.features.ops import Kernels

Groups = Mapping[str, Mapping[str, str]]
Members = Mapping[str, SpanSet]
Rows = slice | Ints
SEEN = "_coverage"  # what the column of a feature's coverage is called, after the feature's name


@dataclass(frozen=True, slots=True)
class Grouping:
    """Of each name of a population the number of its group, −1 without one; how many are expected, by (group, slot)."""

    codes: Ints
    expected: Ints


@dataclass(frozen=True, slots=True)
class Sections:
    """Rows in the order of sections, and where each ends; ``expected``: members of each row's section by right."""

    order: Ints
    ends: Ints
    expected: Ints


class Population:
    """The instruments of a call: to which group each belongs, and when it is a member.

    ``members`` says when an instrument belongs; one that it does not name never does, and one that has no bars is still
    expected. Without it all belong always. ``groups``: grouping → instrument → group. Between two edges of membership
    (a *slot*) nothing changes.
    """

    def __init__(self, names: Iterable[str], groups: Groups | None = None, members: Members | None = None) -> None:
        own = set(names)
        if members is not None and own and not own & set(members):
            raise UsageError("members names none of the instruments.", hint="give {'VENUE:SYMBOL': SpanSet.of(…)}")
        self.names = tuple(sorted(own | set(members or {})))
        self.number = {name: i for i, name in enumerate(self.names)}
        self.groups = groups or {}
        spans = list((members or {}).values())
        if not all(isinstance(each, SpanSet) for each in spans):
            raise UsageError("members takes a SpanSet for each instrument.", hint="SpanSet.of(Span.parse(start, end))")
        self.edges: Ints = np.unique(
            np.concatenate([np.empty(0, np.int64), *(e for s in spans for e in (s.starts, s.ends))])
        )
        self.belongs = np.ones((len(self.names), len(self.edges) + 1), dtype=np.bool_)
        if members is not None:
            self.belongs[:] = False
            for name, belongs in members.items():
                self.belongs[self.number[name], 1:] = belongs.mask(self.edges)
        self._groupings: dict[str, Grouping] = {}

    def check(self, understood: FeaturePlan) -> None:
        """Raise UnknownName for a grouping that an expression names and nobody knows."""
        for entry in (
            understood.graph.entries[i] for root in understood.roots for i in understood.graph.closure(root.id)
        ):
            if entry.op in ACROSS:
                self.grouping(entry.name)

    def grouping(self, by: str) -> Grouping:
        """The grouping of that name; without a name all are one group."""
        if by not in self._groupings:
            self._groupings[by] = self._grouped(by)
        return self._groupings[by]

    def _grouped(self, by: str) -> Grouping:
        if by and by not in self.groups:
            raise UnknownName("grouping", by, self.groups, hint="" if self.groups else _no_groups(by))
        group = {n: g for n, g in self.groups[by].items() if g is not None} if by else dict.fromkeys(self.names, "")
        if odd := next((n for n, g in group.items() if not isinstance(g, str)), None):
            raise UsageError(
                f"the group of {odd} in '{by}' is {group[odd]!r}, not a name.", hint="text, or leave it out"
            )
        code = {name: i for i, name in enumerate(sorted(set(group.values())))}
        codes = np.array([code[group[name]] if name in group else -1 for name in self.names], dtype=np.int64)
        expected = np.zeros((len(code), self.belongs.shape[1]), dtype=np.int64)
        np.add.at(expected, codes[codes >= 0], self.belongs[codes >= 0].astype(np.int64))
        return Grouping(codes, expected)

    def sections(self, by: str, ts: Ints, who: Ints) -> Sections:
        """The sections of rows: instrument ``who`` (by number) at time ``ts``, each pair once, in any order."""
        grouping = self.grouping(by)
        slot = np.searchsorted(self.edges, ts, side="right")
        code = grouping.codes[who]
        rows = np.flatnonzero(self.belongs[who, slot] & (code >= 0))
        order = rows[np.lexsort((who[rows], code[rows], ts[rows]))]
        if not len(order):
            return Sections(order, order, order)
        ends = np.flatnonzero((np.diff(ts[order]) != 0) | (np.diff(code[order]) != 0)) + 1
        return Sections(order, np.append(ends, len(order)), grouping.expected[code[order], slot[order]])


def _no_groups(by: str) -> str:
    return f"give groups={{'{by}': {{'VENUE:SYMBOL': 'group', …}}}}, in a lake [groups.{by}] of gapless.toml"


class _Crossings:
    """The operators across instruments over the rows of one call."""

    def __init__(self, population: Population, ts: Ints, who: Ints, kernels: Kernels, coverage: bool) -> None:
        self.population, self.ts, self.who, self.kernels = population, ts, who, kernels
        self.known: dict[str, Sections] = {}
        self.coverage: dict[str, Floats] | None = {} if coverage else None

    def run(self, stage: Stage, lanes: dict[str, Floats]) -> None:
        """Add the results of a stage's crossings to the lanes."""
        for crossing in stage.crossings:
            sections = self._sections(crossing.by)
            found, result = np.empty(len(self.ts)), np.empty(len(self.ts))
            operand = np.ascontiguousarray(lanes[crossing.operand])
            self.kernels.run_across(
                ACROSS.index(crossing.op), operand, sections.order, sections.ends, crossing.least, found
            )
            self.kernels.copy(found, result)
            lanes[crossing.result] = result
            if self.coverage is not None:
                self.coverage[crossing.result] = self._covered(crossing, sections, operand)

    def _sections(self, by: str) -> Sections:
        if by not in self.known:
            self.known[by] = self.population.sections(by, self.ts, self.who)
        return self.known[by]

    def _covered(self, crossing: Crossing, sections: Sections, operand: Floats) -> Floats:
        """Members with a value ÷ members expected, of each row's section; NaN where the row is in none."""
        found = np.full(len(self.ts), np.nan)
        if len(sections.order):
            starts = np.concatenate(([0], sections.ends[:-1]))
            valued = np.isfinite(operand[sections.order]).astype(np.int64)
            counts = np.repeat(np.add.reduceat(valued, starts), np.diff(sections.ends, prepend=0))
            found[sections.order] = counts / sections.expected
        return found

    def seen(self, needs: Sequence[str]) -> Floats:
        """The least coverage of several crossings."""
        found = np.full(len(self.ts), np.inf)
        for name in needs:
            found = np.minimum(found, (self.coverage or {})[name])
        return found


@dataclass(frozen=True)
class Panel:
    """A plan over a population: the batch driver. ``coverage`` adds ``NAME_coverage`` to features that cross."""

    plan: FeaturePlan
    population: Population
    coverage: bool = False
    kernels: Kernels | None = None

    def __post_init__(self) -> None:
        self.population.check(self.plan)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that come out: the features, then the coverage of those that compare instruments."""
        return self.plan.names + tuple(name + SEEN for name in self.plan.crossing if self.coverage)

    def run(
        self, ts: Ints, rows: Mapping[str, Rows], columns: Mapping[str, Floats], states: dict[str, Floats] | None = None
    ) -> dict[str, Floats]:
        """Bars of several instruments, a row each; ``rows`` of each instrument by time; ``columns`` as ``run`` takes.

        ``states`` holds the state of each instrument before its first bar here, and holds that after its last one
        when it is done.
        """
        from gapless.features import ops

        kernels, number = self.kernels or ops.COMPILED, self.population.number
        who = np.zeros(len(ts), dtype=np.int64)
        for name, mine in rows.items():
            who[mine] = number[name]
        crossings = _Crossings(self.population, ts, who, kernels, self.coverage)
        lanes = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in self.plan.columns}
        self._along_time(lanes, rows, crossings, {} if states is None else states, kernels)
        return _results(self.plan, lanes, crossings, kernels)

    def _along_time(
        self,
        lanes: dict[str, Floats],
        rows: Mapping[str, Rows],
        crossings: _Crossings,
        states: dict[str, Floats],
        kernels: Kernels,
    ) -> None:
        stages = self.plan.stages
        parts = {name: stages.cut_state(states.get(name, stages.fresh_state())) for name in rows}
        for k, stage in enumerate(stages.parts):
            lanes.update((name, np.full(len(crossings.ts), np.nan)) for name in stage.lanes)
            if stage.lanes:
                on_all_cores(partial(_run_stage, stage, k, lanes, parts, kernels), rows)
            crossings.run(stage, lanes)
        states.update({name: np.concatenate(part) for name, part in parts.items()})


def _run_stage(
    stage: Stage, k: int, lanes: dict[str, Floats], parts: dict[str, list[Floats]], kernels: Kernels,
    instrument: str, mine: Rows,
) -> None:  # fmt: skip
    """One instrument through stage ``k``: its rows of the lanes, and its state after."""
    from gapless.features.drivers import run_time

    inputs = {name: lanes[name][mine] for name, _ in stage.program.inputs}
    outputs, parts[instrument][k] = run_time(stage.program, inputs, parts[instrument][k], kernels)
    for name, values in zip(stage.lanes, outputs, strict=True):
        lanes[name][mine] = values


def on_all_cores(work: Callable[[str, Rows], None], rows: Mapping[str, Rows]) -> None:
    """The work of every instrument, side by side where there are cores; raises the first error in their order."""
    workers = min(len(rows), os.cpu_count() or 1)
    if workers < 2:
        for name, mine in rows.items():
            work(name, mine)
        return
    with ThreadPoolExecutor(workers) as pool:
        # Each in a copy of the caller's context: numpy's errstate stands there.
        tasks = [pool.submit(copy_context().run, work, name, mine) for name, mine in rows.items()]
        try:
            for task in tasks:
                task.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after an error nothing more is begun


def _results(
    plan: FeaturePlan, lanes: Mapping[str, Floats], crossings: _Crossings, kernels: Kernels
) -> dict[str, Floats]:
    """The named columns, each its own memory."""
    found: dict[str, Floats] = {}
    for name, lane in zip(plan.names, plan.stages.outputs, strict=True):
        found[name] = np.empty(len(crossings.ts))
        kernels.copy(lanes[lane], found[name])
    if crossings.coverage is not None:
        for name, needs in zip(plan.names, plan.stages.needs, strict=True):
            if needs:
                found[name + SEEN] = crossings.seen(needs)
    return found


class LivePanel:
    """Many instruments, one time at a step; the live driver. Instruments are numbered in the order of ``names``."""

    def __init__(self, panel: Panel, names: Sequence[str]) -> None:
        from gapless.features import ops
        from gapless.features.drivers import Live

        self.panel, self.kernels = panel, panel.kernels or ops.COMPILED
        self.stages = panel.plan.stages
        self.numbers: Ints = np.array([panel.population.number[name] for name in names], dtype=np.int64)
        self.lives: list[Live] = [Live(part.program, len(names), self.kernels) for part in self.stages.parts]

    def step(self, columns: Mapping[str, Floats], who: Ints, ts: int) -> dict[str, Floats]:
        """The bars of one time of the instruments ``who`` (their numbers, each once); the columns in that order."""
        lanes = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in self.panel.plan.columns}
        times = np.full(len(who), ts, dtype=np.int64)
        crossings = _Crossings(self.panel.population, times, self.numbers[who], self.kernels, self.panel.coverage)
        for stage, live in zip(self.stages.parts, self.lives, strict=True):
            if stage.lanes:
                lanes.update(zip(stage.lanes, live.step(lanes, who), strict=True))
            crossings.run(stage, lanes)
        return _results(self.panel.plan, lanes, crossings, self.kernels)

    @property
    def memory(self) -> tuple[npt.NDArray[Any], ...]:
        """As ``Live.memory``, of all stages."""
        return tuple(array for live in self.lives for array in live.memory)

    def forget(self) -> None:
        """As ``Live.forget``, of all stages."""
        for live in self.lives:
            live.forget()

    def state_of(self, instrument: int) -> Floats:
        """The state of one instrument, as ``Panel.run`` takes and gives it."""
        return np.concatenate([live.state_of(instrument) for live in self.lives])

    def restore(self, instrument: int, state: Floats) -> None:
        """Put one instrument where the state was taken."""
        for live, part in zip(self.lives, self.stages.cut_state(state), strict=True):
            live.restore(instrument, part)


def sample_across(expression: str, groups: Sequence[str] = (), **columns: Sequence[float | None]) -> list[float]:
    """An expression on one bar of several instruments, rounded to 6 digits: for documentation and the console.

    ``columns`` hold a number an instrument; ``groups``, where given, its group, whatever the grouping is called.

    >>> sample_across("rank(close) - 0.5", close=[7, 3, 5])
    [0.5, -0.5, 0.0]
    """
    understood = plan({"x": expression})
    ready = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    names = [f"{i:06d}" for i in range(max(map(len, ready.values())))]
    grouping = dict(zip(names, groups, strict=True)) if groups else {}
    named = {e.name: grouping for e in understood.graph.entries if e.op in ACROSS and grouping}
    panel = Panel(understood, Population(names, named))
    rows = {name: slice(i, i + 1) for i, name in enumerate(names)}
    return [round(v, 6) for v in panel.run(np.zeros(len(names), np.int64), rows, ready)["x"].tolist()]
