"""A plan: named expressions, understood once; what they need, what they are, and their resumable batch run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gapless.errors import ExpressionError, InputError, UnknownName, UsageError
from gapless.features.expr import Call, Term, build, parse
from gapless.features.graph import CONST, INPUT, KERNEL_VERSION, Graph, Node
from gapless.features.program import Floats, Program
from gapless.features.registry import Bounds, Feature, Library, Param, catalogue
from gapless.features.stages import Stages, crossings_of, split
from gapless.features.whole import dtype

if TYPE_CHECKING:
    from gapless.features.ops import Kernels

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]{0,99}$")
_RESERVED = ("instrument", "ts", "version")
_MAGIC = b"gapless state 1\n"


@dataclass(frozen=True)
class FeaturePlan:
    """Named expressions as one graph and one program. Made by ``plan``.

    ``inputs``: bar columns read. ``others``: ``(column, instrument)`` of other series, whose joined input column is
    called ``column@instrument``. ``memory``: bars, the current included, that decide every value, None when a
    recursion remembers for ever. ``warmup``: bars before the first value, by name.
    """

    names: tuple[str, ...]
    terms: tuple[Term, ...]
    graph: Graph = field(repr=False)
    roots: tuple[Node, ...] = field(repr=False)

    @cached_property
    def stages(self) -> Stages:
        """The programs of one instrument, and what crosses instruments between them."""
        return split(self.graph, self.roots)

    @property
    def program(self) -> Program:
        """What the kernels run; UsageError when the features compare instruments."""
        self.refuse_crossing("run on one alone", "compute a frame of several instruments, or use Stream")
        return self.stages.parts[0].program

    @cached_property
    def crossing(self) -> tuple[str, ...]:
        """The features that compare instruments."""
        found = (name for name, root in zip(self.names, self.roots, strict=True) if crossings_of(self.graph, (root,)))
        return tuple(found)

    def refuse_crossing(self, what: str, hint: str) -> None:
        """Raise UsageError when there is one."""
        if self.crossing:
            name = self.crossing[0]
            raise UsageError(
                f"feature '{name}' compares instruments ({self.expression(name)}): it cannot be {what}.", hint=hint
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every input column of the program, other series' joined ones included."""
        used = {i for root in self.roots for i in self.graph.closure(root.id)}
        return tuple(self.graph.entries[i].name for i in sorted(used) if self.graph.entries[i].op == INPUT)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if "@" not in name)

    @property
    def others(self) -> tuple[tuple[str, str], ...]:
        split = (name.partition("@") for name in self.columns if "@" in name)
        return tuple((column, instrument) for column, _, instrument in split)

    @property
    def memory(self) -> int | None:
        spans = [root.memory for root in self.roots]
        return None if None in spans else max((s for s in spans if s is not None), default=0)

    @property
    def warmup(self) -> dict[str, int]:
        return {name: root.warmup for name, root in zip(self.names, self.roots, strict=True)}

    @cached_property
    def bounds(self) -> dict[str, Bounds]:
        """Declared bounds of the features that have any, for ``schema.gate``."""
        found = {n: t.feature.bounds for n, t in zip(self.names, self.terms, strict=True) if isinstance(t, Call)}
        return {name: bounds for name, bounds in found.items() if bounds != (None, None)}

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """The type of each column: Int8 (null where missing) for what can only be -1, 0 or 1, else Float64."""
        return {name: dtype(root) for name, root in zip(self.names, self.roots, strict=True)}

    def version(self, name: str) -> str:
        """16 hex digits over the feature's operators, parameters and inputs, its type, and the kernels' version."""
        root, kind = self._root(name), self.schema[name]
        text = f"{KERNEL_VERSION}|{self.graph.facts[root.id].digest}|{root.at}|{self.bounds.get(name)}"
        text += "" if kind.is_float() else f"|{kind}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def version_all(self) -> str:
        """16 hex digits over every name and its version, in order."""
        text = "|".join(f"{name}={self.version(name)}" for name in self.names)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def expression(self, name: str) -> str:
        """The canonical text."""
        self._root(name)
        return str(self.terms[self.names.index(name)])

    def explain(self, name: str) -> dict[str, Any]:
        """One feature as a dict fit for JSON: what it is, needs and remembers, and the nodes of its graph."""
        root = self._root(name)
        nodes = self.graph.closure(root.id)
        inputs = [self.graph.entries[i].name for i in nodes if self.graph.entries[i].op == INPUT]
        low, high = self.bounds.get(name, (None, None))
        return {
            "name": name,
            "expression": self.expression(name),
            "version": self.version(name),
            "inputs": inputs,
            "warmup": root.warmup,
            "memory": root.memory,
            "memory_kind": "decaying" if root.memory is None else "finite",
            "bounds": {"low": low, "high": high},
            "dtype": str(self.schema[name]),
            "nodes": len(nodes),
            "graph": [self._describe(i) for i in nodes],
            "result": f"#{root.id}" + (f"[{root.at}]" if root.at else ""),
        }

    def _describe(self, i: int) -> str:
        entry = self.graph.entries[i]
        if entry.op == INPUT:
            return f"#{i} = {entry.name}"
        if entry.op == CONST:
            return f"#{i} = {entry.params[0]:g}"
        operands = [f"#{j}" + (f"[{lag}]" if lag else "") for j, lag in entry.inputs]
        operands += [entry.name] if entry.name else []
        return f"#{i} = {entry.op}({', '.join(operands + [f'{p:g}' for p in entry.params])})"

    def _root(self, name: str) -> Node:
        if name not in self.names:
            raise UnknownName("feature of this plan", name, self.names)
        return self.roots[self.names.index(name)]


def plan(features: Mapping[str, str], *, library: Library | None = None) -> FeaturePlan:
    """Understand named expressions; equal parts are computed once. An expression may use the names before it.

    Raises ExpressionError or UnknownName, with the feature's name and the column of the text that is wrong.

    >>> p = plan({"fast": "sma(close, 5)", "slow": "sma(close, 20)"})
    >>> p.warmup, p.memory, p.inputs
    ({'fast': 4, 'slow': 19}, 20, ('close',))
    """
    for name, text in features.items():
        if not isinstance(text, str):
            raise UsageError(f"feature '{name}': {text!r} is not an expression.", hint="write text: 'rsi(close, 14)'")
    if library is None:
        return _plan(tuple(features.items()))
    return _understand(tuple(features.items()), library)


@lru_cache(maxsize=128)
def _plan(features: tuple[tuple[str, str], ...]) -> FeaturePlan:
    return _understand(features, None)


def _understand(features: tuple[tuple[str, str], ...], library: Library | None) -> FeaturePlan:
    if not features:
        raise UsageError("no features are named.", hint="for example {'rsi14': 'rsi(close, 14)'}")
    graph, roots = Graph(), []
    known: dict[str, Term] = {}
    for name, text in features:
        _check_name(name)
        try:
            known[name] = parse(text, library, known)
            roots.append(build(known[name], graph))
        except UsageError as error:
            error.message = f"feature '{name}': {error.message}"
            raise
        if roots[-1].is_const:
            raise ExpressionError(f"feature '{name}': '{text}' names no column.", hint="for example sma(close, 20)")
    return FeaturePlan(tuple(name for name, _ in features), tuple(known.values()), graph, tuple(roots))


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.match(name) or name in _RESERVED:
        raise UsageError(
            f"'{name}' cannot name a feature.",
            hint=f"letters, digits, _ and ., not starting with a digit; not {', '.join(_RESERVED)}",
        )


def run(
    plan: FeaturePlan,
    columns: Mapping[str, Floats],
    state: bytes | None = None,
    *,
    kernels: Kernels | None = None,
    into: tuple[Floats, int] | None = None,
) -> tuple[dict[str, Floats], bytes]:
    """One symbol's bars through the program, from ``state`` on: the named columns, and the state after the last bar.

    ``columns`` holds ``plan.columns`` as float64 arrays of one length, one value a bar, NaN where missing. In any
    chunking the bits are the same: run(all) is run(first part), then run(rest, its state). Raises InputError for
    columns that do not fit, UsageError for a state that another plan, another kernel version or damage made. ``into``
    saves a copy: a table (feature, bar) to put the values in, and the bar in it where they begin.
    """
    from gapless.features import drivers, ops

    ready = _conform(plan, columns)
    before = plan.program.fresh_state() if state is None else decode(plan, state)
    outputs, after = drivers.run_time(plan.program, ready, before, kernels or ops.COMPILED, into=into)
    return dict(zip(plan.names, outputs, strict=True)), encode(plan, after)


def sample(expression: str, **columns: Sequence[float | None]) -> list[float]:
    """An expression on a few numbers, rounded to 6 digits: for documentation and the console.

    >>> sample("close - open", close=[1, 2], open=[0.5, 4])
    [0.5, -2.0]
    """
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return [round(v, 6) for v in run(plan({"x": expression}), arrays)[0]["x"].tolist()]


def listing(length: int = 20) -> list[dict[str, Any]]:
    """The catalogue as rows fit for JSON; warm-up and memory at default parameters, and ``length`` where none is.

    >>> next(row["signature"] for row in listing() if row["name"] == "abs")
    'abs(x)'
    """
    return [_list(entry, length) for entry in catalogue().values()]


def _list(entry: Feature, length: int) -> dict[str, Any]:
    given = [_written(p, length) for p in entry.params]
    example = f"{entry.name}({', '.join(given)})"
    facts = plan({"x": example}).explain("x")
    texts = {"name": entry.name, "signature": entry.signature, "group": entry.group, "summary": entry.summary}
    kept = {key: facts[key] for key in ("warmup", "memory", "memory_kind", "bounds", "dtype", "inputs", "version")}
    return texts | {"doc": entry.doc, "source": entry.source, "example": example} | kept


def _written(param: Param, length: int) -> str:
    """A parameter's value in an example."""
    if param.default is not None:
        return f'"{param.default}"' if param.kind == "text" else str(param.default)
    if param.kind == "text":
        return f'"{param.choices[0] if param.choices else "BINANCE:BTCUSDT"}"'
    return "close" if param.kind in ("series", "operand") else str(length)


def _conform(plan: FeaturePlan, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    missing = [name for name in plan.columns if name not in columns]
    if missing:
        raise InputError(
            f"column {', '.join(missing)} is missing; there are: {', '.join(columns)}.",
            hint="the features " + ", ".join(plan.names) + " read it",
        )
    ready = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in plan.columns}
    lengths = {name: len(x) for name, x in ready.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns differ in length: {lengths}.", hint="one value for every bar, NaN where missing")
    return ready


def encode(plan: FeaturePlan, state: Floats) -> bytes:
    """A state vector as portable bytes: magic, version of the plan, digest, numbers."""
    body = state.astype("<f8").tobytes()
    head = _MAGIC + f"{plan.version_all} {plan.stages.layout}\n".encode()
    return head + hashlib.sha256(head + body).digest() + body


def decode(plan: FeaturePlan, blob: bytes) -> Floats:
    """The state vector of ``encode``; raises UsageError when the bytes are not this plan's or are damaged."""
    hint = "rebuild from the bars; a state is never guessed"
    end = len(_MAGIC) + 50
    head, digest, body = blob[:end], blob[end : end + 32], blob[end + 32 :]
    if not head.startswith(_MAGIC) or hashlib.sha256(head + body).digest() != digest:
        raise UsageError("the state is damaged, or is no feature state.", hint=hint)
    made_by, mine = head[len(_MAGIC) : -1].decode(), f"{plan.version_all} {plan.stages.layout}"
    if made_by != mine or len(body) != 8 * plan.stages.state_size:
        raise UsageError(f"the state was made by version {made_by}, this plan is {mine}.", hint=hint)
    return np.frombuffer(body, dtype="<f8").astype(np.float64)
