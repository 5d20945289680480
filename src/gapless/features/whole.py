"""Which outputs can only be -1, 0 or 1, by construction: votes, comparisons, and what is made of these.

Such a column is Int8 wherever it is stored or handed out, and null where it is missing: one byte instead of eight, and
no negative zero. What a node can be follows from its operator and its operands; the values are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from gapless.features.graph import CONST, Graph, Node

Ends = tuple[float, float]
_LEAST, _GREATEST = -1.0, 1.0  # a wider one would overflow in the first sum that somebody makes of it


def dtype(root: Node) -> pl.DataType:
    """The type of an output's column.

    >>> from gapless.features import plan
    >>> plan({"up": "close > open", "rsi": "rsi(close, 14)"}).schema
    {'up': Int8, 'rsi': Float64}
    """
    ends = _Ends(root.graph).of(root.id)
    return pl.Float64() if ends is None or ends[0] < _LEAST or ends[1] > _GREATEST else pl.Int8()


def _product(x: Ends, y: Ends) -> Ends:
    corners = [a * b for a in x for b in y]
    return min(corners), max(corners)


def _either(x: Ends, y: Ends) -> Ends:
    return min(x[0], y[0]), max(x[1], y[1])


_FIXED: dict[str, Ends] = {
    **dict.fromkeys(("greater", "greater_equal", "equal", "not_equal", "above"), (0.0, 1.0)),
    "side": (-1.0, 1.0),
}
# From the ends of the operands those of the result. Of ``where`` the condition does not matter.
_JOINED: dict[str, Callable[..., Ends]] = {
    "copy": lambda x: x,
    "abs": lambda x: (max(x[0], -x[1], 0.0), max(-x[0], x[1])),
    "positive": lambda x: (max(x[0], 0.0), max(x[1], 0.0)),
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "ballot": lambda x, y, _: (x[0] - y[1], x[1] - y[0]),
    "mul": _product,
    "max": _either, "min": _either, "known_max": _either, "known_min": _either, "first_known": _either,
    "where": lambda _, y, z: _either(y, z),
}  # fmt: skip
_IGNORED = {"where": 0, "ballot": 2}  # an operand that decides, but is not part of the result


class _Ends:
    """The least and greatest whole number that nodes of a graph can be; None where they need not be whole."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.known: dict[int, Ends | None] = {}

    def of(self, root: int) -> Ends | None:
        for i in self.graph.closure(root):
            self.known[i] = self._ends(i)
        return self.known[root]

    def _ends(self, i: int) -> Ends | None:
        entry = self.graph.entries[i]
        if entry.op == CONST:
            value = entry.params[0]
            return (value, value) if value == round(value) else None
        if entry.op in _FIXED or entry.op not in _JOINED:
            return _FIXED.get(entry.op)
        found = [self.known[j] for j, _ in entry.inputs]
        skipped = _IGNORED.get(entry.op)
        if any(ends is None for n, ends in enumerate(found) if n != skipped):
            return None
        return _JOINED[entry.op](*found)
