"""A graph with operators across instruments, cut into programs of one instrument each.

1. The level of a node is the number of crossings (operators across instruments) on the longest way down from it.
2. Stage k is one program over the bars of each instrument. It makes the *lanes* that others ask for: the operands of
   crossings of level k + 1, outputs of level k, and whatever later stages read of it.
3. What a stage reads of earlier ones, crossings included, are input columns of its program. So nothing is computed
   twice, and the state of each instrument is that of all stages, one after the other.

A graph without crossings is one stage.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from gapless.features.graph import CONST, INPUT, Graph, Node
from gapless.features.operators import ACROSS
from gapless.features.program import Floats, Program, compile_program

Lane = tuple[int, int]  # node, lag


@dataclass(frozen=True, slots=True)
class Crossing:
    """One operator across instruments: the lane it reads, the lane it gives, its grouping and least membership."""

    op: str
    operand: str
    result: str
    by: str
    least: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A program of one instrument, the names of the lanes it makes, its memory in bars, and the crossings after it."""

    program: Program
    lanes: tuple[str, ...]
    memory: int | None
    crossings: tuple[Crossing, ...]


@dataclass(frozen=True)
class Stages:
    """All stages in order; ``outputs``: the lane of each root, ``needs``: the crossings each root depends on."""

    parts: tuple[Stage, ...]
    outputs: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]

    @property
    def layout(self) -> str:
        """32 hex digits over what stands where in the state of one instrument."""
        layouts = [part.program.layout for part in self.parts]
        return layouts[0] if len(layouts) == 1 else hashlib.sha256("|".join(layouts).encode()).hexdigest()[:32]

    @property
    def state_size(self) -> int:
        return sum(part.program.state_size for part in self.parts)

    def fresh_state(self) -> Floats:
        """The state of an instrument before its first bar."""
        return np.concatenate([part.program.fresh_state() for part in self.parts])

    def cut_state(self, state: Floats) -> list[Floats]:
        """The state of each stage."""
        sizes = [part.program.state_size for part in self.parts]
        return np.split(state, np.cumsum(sizes)[:-1])


def crossings_of(graph: Graph, roots: tuple[Node, ...]) -> list[int]:
    """The operators across instruments that the roots depend on, inputs first."""
    return sorted(i for i in {i for root in roots for i in graph.closure(root.id)} if graph.entries[i].op in ACROSS)


def split(graph: Graph, roots: tuple[Node, ...]) -> Stages:
    """The stages of some roots, see the steps above."""
    crossings = crossings_of(graph, roots)
    if not crossings:
        program = compile_program(graph, list(roots))
        names = tuple(_lane(graph, (root.id, root.at)) for root in roots)
        return Stages((Stage(program, names, _longest([r.memory for r in roots]), ()),), names, ((),) * len(roots))
    return _Cut(graph, crossings).run(roots)


def _lane(graph: Graph, lane: Lane) -> str:
    """The name of a lane; bar columns have their own, the others one that no column can have."""
    node, lag = lane
    entry = graph.entries[node]
    return entry.name if entry.op == INPUT and not lag else f"#{node}" + (f"[{lag}]" if lag else "")


def _longest(memories: list[int | None]) -> int | None:
    return None if None in memories else max((m for m in memories if m is not None), default=1)


class _Cut:
    """One cutting: levels first, then the stages from the last to the first, each asking earlier ones for lanes."""

    def __init__(self, graph: Graph, crossings: list[int]) -> None:
        self.graph, self.crossings = graph, crossings
        self.level: dict[int, int] = {}
        for i, entry in enumerate(graph.entries):  # inputs stand before their users
            below = max((self.level[j] for j, _ in entry.inputs), default=0)
            self.level[i] = below + (entry.op in ACROSS)
        self.asked: list[dict[Lane, None]] = [{} for _ in range(max(self.level.values()) + 1)]

    def run(self, roots: tuple[Node, ...]) -> Stages:
        wanted = [(root.id, root.at) for root in roots]
        for lane in [*wanted, *(self.graph.entries[i].inputs[0] for i in self.crossings)]:
            self._ask(lane)
        last = max(self.level[i] for i, _ in wanted)
        parts = [self._stage(level) for level in range(last, -1, -1)]
        needs = tuple(tuple(_lane(self.graph, (i, 0)) for i in crossings_of(self.graph, (root,))) for root in roots)
        return Stages(tuple(reversed(parts)), tuple(_lane(self.graph, lane) for lane in wanted), needs)

    def _ask(self, lane: Lane) -> None:
        """Have the lane's own stage make it, unless it is there anyway: a bar column, or a crossing's result."""
        node, lag = lane
        if lag or self.graph.entries[node].op not in (INPUT, *ACROSS):
            self.asked[self.level[node]][lane] = None

    def _stage(self, level: int) -> Stage:
        graph, made = Graph(), dict[int, Node]()
        lanes = sorted(self.asked[level])
        for i in sorted({i for node, _ in lanes for i in self._inside(node, level)}):
            made[i] = self._translated(i, level, graph, made)
        roots = [made[node].lag(lag) for node, lag in lanes]
        after = tuple(self._crossing(i) for i in self.crossings if self.level[i] == level + 1)
        names = tuple(_lane(self.graph, lane) for lane in lanes)
        return Stage(compile_program(graph, roots), names, _longest([root.memory for root in roots]), after)

    def _inside(self, node: int, level: int) -> set[int]:
        """The node and what it reads, down to what is there before the stage runs."""
        seen, stack = {node}, [node]
        while stack:
            here = stack.pop()
            if not self._given(here, level):
                fresh = {i for i, _ in self.graph.entries[here].inputs} - seen
                seen |= fresh
                stack += fresh
        return seen

    def _given(self, node: int, level: int) -> bool:
        """Is it there before the stage runs?"""
        return self.graph.entries[node].op in (INPUT, CONST, *ACROSS) or self.level[node] < level

    def _translated(self, i: int, level: int, graph: Graph, made: dict[int, Node]) -> Node:
        """The node in the stage's own graph."""
        entry = self.graph.entries[i]
        if entry.op == CONST:
            return graph.const(entry.params[0])
        if self._given(i, level):
            self._ask((i, 0))
            return graph.column(_lane(self.graph, (i, 0)))
        return graph.node(entry.op, *(made[j].lag(lag) for j, lag in entry.inputs), params=entry.params)

    def _crossing(self, i: int) -> Crossing:
        entry = self.graph.entries[i]
        operand, result = _lane(self.graph, entry.inputs[0]), _lane(self.graph, (i, 0))
        return Crossing(entry.op, operand, result, entry.name, int(entry.params[0]))
