"""The graph of a set of features: operators over columns, equal nodes being one node.

A ``Node`` is a value at a lag: ``x.lag(3)`` is the same graph node read three bars earlier, so lags cost nothing. What
all inputs of an operator share as lag is pulled out of it (``f(x[3], y[5])`` is ``f(x, y[2])[3]``): shifted windows
share their levels with unshifted ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from gapless.errors import ExpressionError
from gapless.features.operators import traits

# Raised with any change in ops.py that can alter a bit of any result; part of every feature's version.
KERNEL_VERSION = 2

INPUT, CONST = "input", "const"
MAX_NODES = 20_000
Operand = tuple[int, int]  # node, lag


@dataclass(frozen=True, slots=True)
class Entry:
    """One node: operator, inputs with lags, parameters; ``name`` of a column, or of the grouping of a crossing."""

    op: str
    inputs: tuple[Operand, ...] = ()
    params: tuple[float, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What follows from an entry without running it.

    ``warmup``: bars before the first value on inputs without holes. ``memory``: bars, the current included, that the
    value is a function of; None when a recursion remembers for ever.
    """

    warmup: int
    memory: int | None
    digest: str


@dataclass(slots=True)
class Graph:
    """Entries in the order they were made: inputs always stand before their users."""

    entries: list[Entry] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    index: dict[Entry, int] = field(default_factory=dict)

    def column(self, name: str) -> Node:
        return self._add(Entry(INPUT, name=name))

    def const(self, value: float) -> Node:
        return self._add(Entry(CONST, params=(float(value),)))

    def node(self, op: str, *operands: Node | float, params: tuple[float, ...] = ()) -> Node:
        """The operator over the operands; numbers become constant nodes, and operators over constants a constant."""
        nodes = [x if isinstance(x, Node) else self.const(x) for x in operands]
        moving = [x.at for x in nodes if not x.is_const]
        if not moving:
            return self.const(_fold(op, [x.value for x in nodes]))
        shared = min(moving)
        inputs = tuple((x.id, 0 if x.is_const else x.at - shared) for x in nodes)
        return self._add(Entry(op, inputs, params)).lag(shared)

    def across(self, op: str, x: Node, by: str, least: int) -> Node:
        """An operator across instruments at one time; a lag inside is not pulled out: it is not the same outside."""
        return self._add(Entry(op, ((self.lane_of(x), 0),), (float(least),), by))

    def _add(self, entry: Entry) -> Node:
        if entry not in self.index:
            if len(self.entries) >= MAX_NODES:
                raise ExpressionError(
                    f"the features need more than {MAX_NODES} operators.", hint="split them into several sets"
                )
            self.index[entry] = len(self.entries)
            self.entries.append(entry)
            self.facts.append(self._facts(entry))
        return Node(self, self.index[entry])

    def _facts(self, entry: Entry) -> Facts:
        kind = traits(entry.op)
        delay = kind.delay(entry.params)  # of the first operand: the others are read at their newest value
        first = [self.facts[i].warmup + lag + delay * (n == 0) for n, (i, lag) in enumerate(entry.inputs)]
        warmup = _first_value(kind.waits, first, [self.entries[i].op == CONST for i, _ in entry.inputs])
        known = [(self.facts[i], lag) for i, lag in self.reads(entry) if self.entries[i].op != CONST]
        spans = [None if f.memory is None else f.memory + lag for f, lag in known]
        finite = [s for s in spans if s is not None]
        forgets = len(finite) == len(spans) and not kind.state(entry.params)
        text = [entry.op, entry.name, *(p.hex() for p in entry.params)]
        text += [f"{self.facts[i].digest}@{lag}" for i, lag in entry.inputs]
        digest = hashlib.sha256("|".join(text).encode()).hexdigest()
        return Facts(warmup, max(finite, default=1) if forgets else None, digest)

    def reads(self, entry: Entry) -> list[Operand]:
        """The inputs, each with the greatest lag at which it is read: a window's first one back to its oldest bar."""
        reach = traits(entry.op).reach(entry.params) if entry.inputs else 0
        return [(i, lag + reach * (n == 0)) for n, (i, lag) in enumerate(entry.inputs)]

    def lane_of(self, value: Node) -> int:
        """The node whose own lane is the value: itself, or a copy where it is read at a lag."""
        return value.id if not value.at else self._add(Entry("copy", ((value.id, value.at),))).id

    def closure(self, root: int) -> list[int]:
        """``root`` and all it is computed from, in order."""
        seen, stack = {root}, [root]
        while stack:
            fresh = {i for i, _ in self.entries[stack.pop()].inputs} - seen
            seen |= fresh
            stack += fresh
        return sorted(seen)


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a graph, ``at`` bars ago. Arithmetic makes new nodes."""

    graph: Graph
    id: int
    at: int = 0

    def lag(self, bars: int) -> Node:
        """The value ``bars`` bars earlier."""
        return self if self.is_const or not bars else Node(self.graph, self.id, self.at + bars)

    @property
    def is_const(self) -> bool:
        return self.graph.entries[self.id].op == CONST

    @property
    def value(self) -> float:
        """The number of a constant node."""
        return self.graph.entries[self.id].params[0]

    @property
    def warmup(self) -> int:
        return self.graph.facts[self.id].warmup + self.at

    @property
    def memory(self) -> int | None:
        memory = self.graph.facts[self.id].memory
        return None if memory is None else memory + self.at

    def of(self, op: str, *others: Node | float, params: tuple[float, ...] = ()) -> Node:
        """The operator with this value as first operand."""
        return self.graph.node(op, self, *others, params=params)

    def __add__(self, other: Node | float) -> Node:
        return self.of("add", other)

    def __radd__(self, other: float) -> Node:
        return self.graph.node("add", other, self)

    def __sub__(self, other: Node | float) -> Node:
        return self.of("sub", other)

    def __rsub__(self, other: float) -> Node:
        return self.graph.node("sub", other, self)

    def __mul__(self, other: Node | float) -> Node:
        return self.of("mul", other)

    def __rmul__(self, other: float) -> Node:
        return self.graph.node("mul", other, self)

    def __truediv__(self, other: Node | float) -> Node:
        return self.of("div", other)

    def __rtruediv__(self, other: float) -> Node:
        return self.graph.node("div", other, self)

    def __neg__(self) -> Node:
        return self.of("mul", -1.0)

    def __abs__(self) -> Node:
        return self.of("abs")


def _first_value(waits: str, first: list[int], fixed: list[bool]) -> int:
    """Bars before an operator's first value, from those of its operands; ``fixed`` says which are numbers."""
    if waits == "none" or not first:
        return 0
    if waits == "guard":
        return first[-1]
    if waits == "chosen":
        return max(first[0], min(first[1:]))
    if waits == "any":
        return min(first)
    if waits == "one":
        return min(bars for bars, number in zip(first, fixed, strict=True) if not number)
    return max(first)


_FOLDS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def _fold(op: str, values: list[float]) -> float:
    """An operator over numbers, now."""
    if op not in _FOLDS:
        raise ExpressionError(f"{op} of numbers only.", hint="name a column, for example close")
    with np.errstate(all="ignore"):
        result = float(_FOLDS[op](np.float64(values[0]), np.float64(values[1])))
    if not np.isfinite(result):
        raise ExpressionError(f"{op} of {values} is not a finite number.", hint="check the constants")
    return result
