"""From graph to flat program: the order of the nodes, a slot for each, and where state and history stand.

1. Only what the outputs need is kept, in stages: what needs no recursion, the recursions over that, what needs only
   these, and so on; within a stage in graph order. Inputs stand before users, and equal recursions of a stage, which
   do not need each other, stand together: batch runs them side by side.
2. A node that someone reads at a lag, an input and a constant own their slot; the others' slots are used again once
   their last reader has run. A slot is never written by its own reader: aliased lanes do not vectorise.
3. Recursions and machines get as many numbers of state as their traits say.
4. The state of one symbol is a vector: the recursions' numbers, then of every node read at a lag its last values,
   oldest first. Batch and live share it, so either continues what the other began.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gapless.features.graph import CONST, INPUT, Graph, Node
from gapless.features.operators import CODES, PARAMS, RECURSIONS, traits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernels run.

    ``rows`` (instruction, 10) and ``params`` (instruction, 3), see ops.py; ``used``: the operators in them; ``inputs``:
    column → slot; ``consts``: slot → value; ``kept``: (slot, bars) of the nodes that are read at a lag; ``outputs``:
    slots in the order asked; ``base``: of each slot −1 when it holds all bars side by side, 0 when a stretch of
    them; ``numbers``: of the recursions' state; ``layout``: 32 hex digits over what stands where in the state.
    """

    rows: Ints
    params: Floats
    used: tuple[int, ...]
    slots: int
    inputs: tuple[tuple[str, int], ...]
    consts: tuple[tuple[int, float], ...]
    kept: Ints
    outputs: Ints
    base: Ints
    numbers: int
    layout: str

    @property
    def reach(self) -> int:
        """The greatest lag."""
        return int(self.kept[:, 1].max(initial=0))

    @property
    def state_size(self) -> int:
        """Numbers in the state vector of one symbol."""
        return self.numbers + int(self.kept[:, 1].sum())

    def fresh_state(self) -> Floats:
        """The state before the first bar: nothing counted, nothing known."""
        state = np.full(self.state_size, np.nan)
        state[: self.numbers] = 0.0
        return state


def compile_program(graph: Graph, roots: list[Node]) -> Program:
    """The program that computes ``roots``, see the steps above."""
    return _Compiler(graph, [_materialised(root) for root in roots]).run()


def _materialised(root: Node) -> int:
    """The node of an output; one that is only read at a lag needs a lane of its own."""
    return root.graph.lane_of(root)


def _kind(op: str) -> int:
    """Equal recursions stand together, after all else of their stage."""
    return 1 + RECURSIONS.index(op) if op in RECURSIONS else 0


class _Compiler:
    """One compilation: liveness first, then slots and rows in one pass."""

    def __init__(self, graph: Graph, roots: list[int]) -> None:
        self.code = {name: number for number, name in enumerate(CODES)}
        self.graph, self.roots = graph, roots
        self.stage: dict[int, int] = {}
        for i in sorted({i for root in roots for i in graph.closure(root)}):
            self.stage[i] = self._stage(i)
        self.order = sorted(self.stage, key=lambda i: (self.stage[i], _kind(graph.entries[i].op), i))
        self.lags = dict.fromkeys(self.order, 0)
        self.last = {i: i for i in self.order}
        for i in self.order:
            for j, lag in graph.reads(graph.entries[i]):
                self.lags[j] = max(self.lags[j], lag)
                self.last[j] = i
        self.slot: dict[int, int] = {}
        self.free: list[int] = []
        self.count = self.numbers = 0
        self.rows: list[tuple[int, ...]] = []
        self.params: list[tuple[float, ...]] = []

    def _stage(self, i: int) -> int:
        """Even: 2 × the recursions passed on the way; odd: a recursion itself."""
        entry = self.graph.entries[i]
        before = max((self.stage[j] + self.stage[j] % 2 for j, _ in entry.inputs), default=0)
        return before + bool(self._state(i))

    def run(self) -> Program:
        for i in self.order:
            self._place(i)
        entry = self.graph.entries
        return Program(
            rows=np.array(self.rows, dtype=np.int64).reshape(-1, 10),
            params=np.array(self.params, dtype=np.float64).reshape(-1, PARAMS),
            used=tuple(sorted({row[0] for row in self.rows})),
            slots=self.count,
            inputs=tuple((entry[i].name, self.slot[i]) for i in self.order if entry[i].op == INPUT),
            consts=tuple((self.slot[i], entry[i].params[0]) for i in self.order if entry[i].op == CONST),
            kept=np.array([(self.slot[i], self.lags[i]) for i in self.order if self.lags[i]], np.int64).reshape(-1, 2),
            outputs=np.array([self.slot[i] for i in self.roots], dtype=np.int64),
            base=self._base(),
            numbers=self.numbers,
            layout=self._layout(),
        )

    def _base(self) -> Ints:
        """Inputs, and what is read at a lag, stand bar by bar; all else is over with its stretch of bars."""
        base = np.zeros(self.count, dtype=np.int64)
        base[[self.slot[i] for i in self.order if self.lags[i] or self.graph.entries[i].op == INPUT]] = -1
        return base

    def _layout(self) -> str:
        """Whose numbers, then whose last values, in the order of the state vector."""
        facts = self.graph.facts
        parts = [facts[i].digest for i in self.order if self._state(i)]
        parts += [f"{facts[i].digest}@{self.lags[i]}" for i in self.order if self.lags[i]]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    def _state(self, i: int) -> int:
        """Numbers that a node keeps."""
        entry = self.graph.entries[i]
        return traits(entry.op).state(entry.params)

    def _owns(self, i: int) -> bool:
        """Must this node's slot never be used again?"""
        return self.lags[i] > 0 or i in self.roots or self.graph.entries[i].op in (INPUT, CONST)

    def _place(self, i: int) -> None:
        if self._owns(i) or not self.free:
            self.slot[i], self.count = self.count, self.count + 1
        else:
            self.slot[i] = self.free.pop()
        entry = self.graph.entries[i]
        if entry.op in (INPUT, CONST):
            return
        operands = [(self.slot[j], lag) for j, lag in entry.inputs]
        operands += [operands[0]] * (3 - len(operands))
        flat = [number for operand in operands for number in operand]
        self.rows.append((self.code[entry.op], self.slot[i], *flat, self.numbers, self.stage[i]))
        self.params.append((*entry.params, *[0.0] * (PARAMS - len(entry.params))))
        self.numbers += self._state(i)
        for j in {j for j, _ in entry.inputs}:
            if self.last[j] == i and not self._owns(j):
                self.free.append(self.slot[j])
