"""Conditions: comparisons of features, joined by ``and``, ``or`` and ``not``.

Text is read by ``ast`` and never evaluated. What stands on a side of a comparison is left as text, for whoever computes
features to read: ``abs(z_er_15m) >= 3`` needs a column called ``abs(z_er_15m)``. A chain ``0.1 <= b <= 3`` is two
comparisons.

A comparison with a missing value (NaN) is neither true nor false but unknown, and so is its opposite: only what is
known to be true passes. ``not`` is moved inwards when the text is read (``not (a > 3)`` is ``a <= 3``), so that every
part of a condition is a comparison that has to pass.

>>> c = Condition.parse("abs(z) >= 3 and not (share > 0.35 and share < 0.65)")
>>> c.inputs, [p.text for p in c.parts]
(('abs(z)', 'share'), ['abs(z) >= 3', 'share <= 0.35', 'share >= 0.65'])
>>> c.evaluate({"abs(z)": np.array([3.0, 9.0, np.nan]), "share": np.array([0.7, 0.5, 0.7])}).tolist()
[True, False, False]
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import ExpressionError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Columns = Mapping[str, FloatArray]
MAX_TEXT = 4000
_SIGNS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_SIDES = (
    ast.Name, ast.Constant, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare, ast.expr_context,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, *_SIGNS,
)  # fmt: skip
_ELSEWHERE = re.compile(r"\b([A-Za-z_]\w*)@([A-Za-z][A-Za-z0-9_]*:[\w^][\w.=^-]*)")  # as feature expressions have it
_MEANINGLESS = re.compile(r"[^ -~\s]|[#\\;]|(?<![\w:])_")  # names with a leading _ stand for other series here
_MARK = re.compile(r"(?<!\w)_\d+_*(?!\w)")


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison; a side is a feature's text or a number."""

    text: str
    left: str | float
    sign: str
    right: str | float

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(side for side in (self.left, self.right) if isinstance(side, str))

    def passes(self, columns: Columns) -> BoolArray:
        """Where it is known to hold."""
        left, right = (columns[s] if isinstance(s, str) else s for s in (self.left, self.right))
        held: BoolArray = _COMPARE[self.sign](left, right)
        return held & self.known(columns) if self.sign == "!=" else held  # alone of all, NaN != x holds

    def known(self, columns: Columns) -> BoolArray:
        """Where it can be said whether it holds."""
        first, *rest = (~np.isnan(columns[name]) for name in self.inputs)
        return first & rest[0] if rest else first


@dataclass(frozen=True, slots=True)
class Group:
    """``all`` or ``any`` of its members, which are groups or numbers of parts."""

    every: bool
    members: tuple[Tree, ...]

    def combine(self, passes: Sequence[BoolArray]) -> BoolArray:
        held = [passes[m] if isinstance(m, int) else m.combine(passes) for m in self.members]
        return np.asarray((np.logical_and if self.every else np.logical_or).reduce(held), dtype=np.bool_)


Tree = int | Group


@dataclass(frozen=True, slots=True)
class Condition:
    """A tree of comparisons. ``str`` gives its canonical text, ``inputs`` the columns it needs."""

    text: str
    parts: tuple[Part, ...]
    tree: Group
    inputs: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition of a text; raises ExpressionError with the column of the text, counted from 1."""
        return _Reader(text).condition()

    def check(self, columns: Columns) -> list[BoolArray]:
        """Where each part passes, in the order of ``parts``."""
        return [part.passes(columns) for part in self.parts]

    def evaluate(self, columns: Columns) -> BoolArray:
        """Where the whole is known to be true. Shape: that of the columns."""
        return self.tree.combine(self.check(columns))

    def __str__(self) -> str:
        return self.text


def canonical(text: str) -> str:
    """The canonical text of a feature expression on its own.

    >>> canonical("close@X:A-1 /  2")
    'close@X:A-1 / 2'
    """
    return _Reader(text).expression()


@dataclass(slots=True)
class _Reader:
    """One text being read."""

    text: str
    elsewhere: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    blank: int = 0  # leading spaces, which ast does not see

    def condition(self) -> Condition:
        try:
            tree = self._node(self._tree(), negated=False)
            text = self._back(self._tree())
        except (RecursionError, MemoryError):
            raise ExpressionError("the condition is nested too deeply.", hint="split it") from None
        parts = tuple(self.parts.values())
        inputs = tuple(dict.fromkeys(name for part in parts for name in part.inputs))
        return Condition(text, parts, Group(True, (tree,)) if isinstance(tree, int) else tree, inputs)

    def expression(self) -> str:
        try:
            side = self._side(self._tree())
        except (RecursionError, MemoryError):
            raise ExpressionError("the expression is nested too deeply.", hint="name its parts") from None
        if not isinstance(side, str):
            raise self._error("a number is no feature", 0, "for example er_15m")
        return side

    def _tree(self) -> ast.expr:
        if not self.text.strip():
            raise ExpressionError("a text is empty.", hint="for example abs(z_er_15m) >= 3")
        if len(self.text) > MAX_TEXT:
            raise ExpressionError(f"a text has {len(self.text)} characters; at most {MAX_TEXT} are read.")
        bad = _MEANINGLESS.search(self.text)
        if bad:
            raise self._error(f"the character {bad[0]!r} has no meaning", bad.start())
        self.elsewhere.clear()
        flat = re.sub(r"\s", " ", _ELSEWHERE.sub(self._mark, self.text))
        self.blank = len(flat) - len(flat.lstrip())
        try:
            return ast.parse(flat.strip(), mode="eval").body
        except SyntaxError as error:
            at = (error.offset or len(flat.strip()) + 1) - 1
            raise self._error(f"it cannot be read ({error.msg})", at, _instead(flat)) from None
        except ValueError:
            raise self._error("it cannot be read", 0) from None

    def _mark(self, found: re.Match[str]) -> str:
        """An identifier of the same length, so that columns stay right."""
        mark = f"_{len(self.elsewhere)}".ljust(len(found[0]), "_")
        self.elsewhere[mark] = found[0]
        return mark

    def _back(self, node: ast.expr) -> str:
        """A node's canonical text."""
        return _MARK.sub(lambda m: self.elsewhere.get(m[0], m[0]), ast.unparse(node))

    def _node(self, node: ast.expr, *, negated: bool) -> Tree:
        match node:
            case ast.BoolOp(op=op, values=values):
                return Group(isinstance(op, ast.And) != negated, tuple(self._node(v, negated=negated) for v in values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._node(operand, negated=not negated)
            case ast.Compare():
                return self._chain(node, negated)
        raise self._error(
            f"'{self._back(node)}' is no condition", node.col_offset, f"compare it: {self._back(node)} >= 1"
        )

    def _chain(self, node: ast.Compare, negated: bool) -> Tree:
        """``a < b < c``: both hold; negated: one does not."""
        sides = [node.left, *node.comparators]
        links = zip(sides, node.ops, sides[1:], strict=False)
        found = [self._part(a, op, b, negated) for a, op, b in links]
        return found[0] if len(found) == 1 else Group(not negated, tuple(found))

    def _part(self, left: ast.expr, op: ast.cmpop, right: ast.expr, negated: bool) -> int:
        """The number of a comparison; an equal one that stands there already is the same part."""
        if type(op) not in _SIGNS:
            raise self._error("only > >= < <= == != compare", right.col_offset)
        op = _OPPOSITE[type(op)]() if negated else op
        a, b = self._side(left), self._side(right)
        if not isinstance(a, str) and not isinstance(b, str):
            raise self._error("two numbers are compared, which is always the same", left.col_offset, "name a feature")
        text = self._back(ast.Compare(left, [op], [right]))
        self.parts.setdefault(text, Part(text, a, _SIGNS[type(op)], b))
        return list(self.parts).index(text)

    def _side(self, node: ast.expr) -> str | float:
        for inner in ast.walk(node):
            if isinstance(inner, ast.BoolOp | ast.Not):
                at = getattr(inner, "col_offset", node.col_offset)
                raise self._error("and, or and not join comparisons, they are not inside one", at, "mind brackets")
            if not isinstance(inner, _SIDES):
                name = type(inner).__name__
                raise self._error(f"{name} is not part of the language", node.col_offset, _instead(self.text))
        number = self._number(node)
        return self._back(node) if number is None else number

    def _number(self, node: ast.expr) -> float | None:
        """The value of a number, None for anything else."""
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._number(operand)
                return None if inner is None else -inner
            case ast.Constant(value=value):
                if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
                    raise self._error(f"{value!r} is not a finite number", node.col_offset)
                return float(value)
        return None

    def _error(self, reason: str, at: int, hint: str = "") -> ExpressionError:
        return ExpressionError(f"{reason}, at column {at + self.blank + 1} of '{self.text}'.", hint=hint)


def _instead(text: str) -> str:
    """What was probably meant."""
    for wrong, right in (("&", "and"), ("|", "or"), ("!", "not, or !="), ("AND", "and"), ("OR", "or"), ("NOT", "not")):
        if re.search(rf"(?<!\w){re.escape(wrong)}(?![\w=])", text):
            return f"write {right} for {wrong}"
    return "brackets and quotes come in pairs; for example rsi(close, 14) > 70 and volume > 0"
