"""Feature expressions: text ↔ terms → graph.

Text is read by ``ast`` against a whitelist and never evaluated: numbers, column names, ``column@VENUE:SYMBOL``,
``+ - * /`` and unary minus, comparisons, and calls of catalogued features. A term prints as its canonical text, which
is its identity: every parameter written out by position, one space around operators, parentheses only where needed.
A feature whose parameters all have defaults may be named without parentheses: ``er_15m`` is ``er_15m(…)``; a series
with a default may be left out before a number: ``rsi(14)`` is ``rsi(close, 14)``.
A symbol ends at a space, a comma, a parenthesis or ``+ * / < > !``; write spaces around a minus that follows one.

>>> str(parse("rsi( close )*2 - ema(length=20, x=volume)"))
'rsi(close, 14) * 2 - ema(volume, 20)'
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapless.errors import ExpressionError, UnknownName, UsageError
from gapless.features.graph import Graph, Node
from gapless.features.registry import COLUMNS, Feature, Library, Param, Value, catalogue, check_value
from gapless.series import Instrument

MAX_TEXT, MAX_DEPTH, MAX_TERMS = 4000, 60, 1000
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARE = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_OPS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div",
    ">": "greater", ">=": "greater_equal", "<": "greater", "<=": "greater_equal", "==": "equal", "!=": "not_equal",
}  # fmt: skip
_STRENGTH = {"+": 2, "-": 2, "*": 3, "/": 3}  # comparisons bind weakest
_EXAMPLE = "write columns, numbers, + - * /, comparisons and features: close / sma(close, 20) - 1"
# What people write who know Python, Pine or SQL, and how it is said here.
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BoolOp: "marks are 1 and 0: (a > b) * (c > d) is and, greatest(a > b, c > d) is or",
    ast.Not: "marks are 1 and 0: 1 - (a > b) is not",
    ast.UAdd: "leave the + out",
    ast.Pow: "write x * x, or sqrt(x)",
    ast.BitXor: "write x * x, or sqrt(x)",
    ast.Mod: "x - y * floor(x / y) is the rest",
    ast.FloorDiv: "write floor(x / y)",
    ast.BitAnd: "marks are 1 and 0: (a > b) * (c > d) is and",
    ast.BitOr: "marks are 1 and 0: greatest(a > b, c > d) is or",
    ast.MatMult: "another series is column@VENUE:SYMBOL, for example close@BINANCE:BTCUSDT",
    ast.IfExp: "write where(mask, then, otherwise)",
    ast.Subscript: "earlier values are lag(close, 1)",
    ast.Compare: "compare two at a time: (a < b) * (b < c)",
    ast.Attribute: "columns and features have plain names: close, rsi(close, 14)",
    ast.Call: "a feature is called by its name: rsi(close, 14)",
}
_ELSEWHERE = re.compile(r"\b([A-Za-z_]\w*)@([A-Za-z][A-Za-z0-9_]*:[\w^][\w.=^-]*)")


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float

    def __str__(self) -> str:
        whole = self.value and abs(self.value) < 1e15 and self.value == int(self.value)
        return repr(int(self.value) if whole else self.value)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the bar, or of another instrument's bar of the same time."""

    name: str
    instrument: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.instrument}" if self.instrument else self.name


@dataclass(frozen=True, slots=True)
class Negative:
    term: Term

    def __str__(self) -> str:
        return f"-({self.term})" if isinstance(self.term, Binary | Negative) else f"-{self.term}"


@dataclass(frozen=True, slots=True)
class Binary:
    sign: str
    left: Term
    right: Term

    def __str__(self) -> str:
        mine = _STRENGTH.get(self.sign, 1)
        return f"{_wrapped(self.left, max(mine, 2))} {self.sign} {_wrapped(self.right, mine + 1)}"


@dataclass(frozen=True, slots=True)
class Call:
    """A catalogued feature with every parameter, in the order of its signature."""

    feature: Feature
    values: tuple[Term | Value, ...]

    def __str__(self) -> str:
        return f"{self.feature.name}({', '.join(_quoted(v) for v in self.values)})"


Term = Number | Column | Negative | Binary | Call


def _quoted(value: Term | Value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _wrapped(term: Term, least: int) -> str:
    weak = isinstance(term, Binary) and _STRENGTH.get(term.sign, 1) < least
    return f"({term})" if weak else str(term)


def parse(text: str, library: Library | None = None, named: Mapping[str, Term] | None = None) -> Term:
    """The term of an expression; ``named`` terms may be used by their names.

    Raises ExpressionError, or UnknownName with the nearest name; both name the column of the text, counted from 1.
    """
    return _Reader(text, catalogue() if library is None else library, named or {}).read()


def build(term: Term, graph: Graph) -> Node:
    """Add a term to a graph; its node."""
    match term:
        case Number(value):
            return graph.const(value)
        case Column():
            return graph.column(str(term))
        case Negative(inner):
            return -build(inner, graph)
        case Binary(sign, left, right):
            a, b = build(left, graph), build(right, graph)
            return graph.node(_OPS[sign], *((b, a) if sign in ("<", "<=") else (a, b)))
        case Call(entry, values):
            given = zip(entry.params, values, strict=True)
            return entry.build(graph, {p.name: v if isinstance(v, Value) else _operand(v, graph) for p, v in given})


def _operand(term: Term, graph: Graph) -> Node | Value:
    """A number stays one: what takes series and numbers decides itself."""
    return term.value if isinstance(term, Number) else build(term, graph)


@dataclass(slots=True)
class _Reader:
    """One text being read."""

    text: str
    library: Library
    named: Mapping[str, Term]
    elsewhere: dict[str, str] = field(default_factory=dict)
    blank: int = 0  # leading spaces, which ast does not see

    def read(self) -> Term:
        tree = self._tree()
        self._check_size(tree)
        term = self._term(tree)
        if isinstance(term, Number):
            raise ExpressionError(f"the expression '{self.text}' names no column.", hint="for example sma(close, 20)")
        return term

    def _tree(self) -> ast.expr:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ExpressionError("an expression is empty.", hint="for example sma(close, 20)")
        if len(self.text) > MAX_TEXT:
            raise ExpressionError(
                f"an expression has {len(self.text)} characters; at most {MAX_TEXT} are read.", hint="name its parts"
            )
        bad = re.search(r"[^ -~\s]|[#\\;]|(?<![\w:])_", self.text)  # names with a leading _ stand for other series
        if bad:
            raise self._error(f"the character {bad[0]!r} has no meaning", bad.start(), _EXAMPLE)
        flat = re.sub(r"\s", " ", _ELSEWHERE.sub(self._mark, self.text))
        self.blank = len(flat) - len(flat.lstrip())
        try:
            return ast.parse(flat.strip(), mode="eval").body
        except SyntaxError as error:
            at = (error.offset or len(flat.strip()) + 1) - 1
            raise self._error(f"not an expression ({error.msg})", at, _mend(flat.strip())) from None
        except (RecursionError, MemoryError, ValueError):
            raise ExpressionError("the expression is nested too deeply.", hint="name its parts") from None

    def _mark(self, found: re.Match[str]) -> str:
        """An identifier of the same length, so that columns stay right."""
        mark = f"_{len(self.elsewhere)}".ljust(len(found[0]), "_")
        self.elsewhere[mark] = found[0]
        return mark

    def _check_size(self, tree: ast.expr) -> None:
        """Refuse what would exhaust the stack; walked without recursion."""
        stack: list[tuple[ast.AST, int]] = [(tree, 1)]
        count = 0
        while stack:
            node, depth = stack.pop()
            count += 1
            if depth > MAX_DEPTH or count > 4 * MAX_TERMS:
                raise ExpressionError(
                    f"the expression has more than {MAX_DEPTH} levels or {MAX_TERMS} terms.", hint="split it"
                )
            stack += [(child, depth + isinstance(child, ast.expr)) for child in ast.iter_child_nodes(node)]

    def _term(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant():
                return self._number(node)
            case ast.Name():
                return self._column(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._term(operand)
                return Number(-inner.value) if isinstance(inner, Number) else Negative(inner)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return Binary(_ARITHMETIC[type(op)], self._term(left), self._term(right))
            case ast.Compare(ops=[op], left=left, comparators=[right]) if type(op) in _COMPARE:
                return Binary(_COMPARE[type(op)], self._term(left), self._term(right))
            case ast.Call(func=ast.Name()):
                return self._call(node)
        part: ast.AST = node.op if isinstance(node, ast.BinOp | ast.UnaryOp) else node
        written = self.text[self.blank + node.col_offset : self.blank + (node.end_col_offset or 0)]
        hint = _INSTEAD.get(type(part), _EXAMPLE)
        raise self._error(f"'{written}' is not part of the language", node.col_offset, hint)

    def _number(self, node: ast.Constant) -> Number:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            hint = 'words stand only where a feature takes one: vote("RSI")' if isinstance(value, str) else _EXAMPLE
            raise self._error(f"{value!r} is not a finite number", node.col_offset, hint)
        return Number(value)

    def _column(self, node: ast.Name) -> Term:
        text, instrument = node.id, ""
        if text in self.elsewhere:
            text, _, instrument = self.elsewhere[text].partition("@")
            try:
                Instrument.parse(instrument)
            except UsageError as error:
                raise self._error(error.message.rstrip("."), node.col_offset, error.hint) from None
        if text in COLUMNS:
            return Column(text, instrument)
        if not instrument and text in self.named:
            return self.named[text]
        if not instrument and text in self.library:
            return self._bare(self.library[text], node)
        raise self._unknown("column", text, [*COLUMNS, *self.named], node.col_offset)

    def _bare(self, entry: Feature, node: ast.Name) -> Call:
        """A feature named without parentheses."""
        if any(p.default is None for p in entry.params):
            raise self._error(
                f"'{entry.name}' is a feature, not a column", node.col_offset, f"write {self._example(entry.name)}"
            )
        return Call(entry, tuple(self._default(p) for p in entry.params))

    def _default(self, param: Param) -> Term | Value:
        """A parameter's default; that of a series is an expression."""
        if isinstance(param.default, str) and param.kind != "text":
            return parse(param.default, self.library)
        return param.default if param.default is not None else 0

    def _example(self, name: str) -> str:
        return self.library[name].signature

    def _call(self, node: ast.Call) -> Call:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in self.library:
            raise self._unknown("feature", name, [*self.library], node.col_offset)
        entry = self.library[name]
        given = self._bind(entry, node)
        return Call(entry, tuple(self._argument(entry, p, given.get(p.name), node) for p in entry.params))

    def _bind(self, entry: Feature, node: ast.Call) -> dict[str, ast.expr]:
        """Argument by parameter name."""
        names = [p.name for p in entry.params]
        given: dict[str, ast.expr] = {}
        free = list(entry.params)
        for argument in node.args:
            while free and free[0].kind == "series" and free[0].default is not None and _is_value(argument):
                free.pop(0)
            if not free:
                raise self._error(
                    f"{entry.name} takes {len(names)} values at most", argument.col_offset, entry.signature
                )
            given[free.pop(0).name] = argument
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in names:
                raise self._unknown(f"parameter of {entry.name}", str(keyword.arg), names, keyword.value.col_offset)
            if keyword.arg in given:
                raise self._error(
                    f"{entry.name}: {keyword.arg} is given twice", keyword.value.col_offset, entry.signature
                )
            given[keyword.arg] = keyword.value
        return given

    def _argument(self, entry: Feature, param: Param, node: ast.expr | None, call: ast.Call) -> Term | Value:
        hint = f"the signature is {entry.signature}"
        if node is None:
            if param.default is None:
                raise self._error(f"{entry.name}: {param.name} is missing", call.col_offset, hint)
            return self._default(param)
        if param.kind == "text":
            return self._checked(entry, param, getattr(node, "value", None), node)
        term = self._term(node)
        if param.kind == "operand":
            return term
        if param.kind == "series":
            if isinstance(term, Number):
                raise self._error(f"{entry.name}: {param.name} must be a series, not {term}", node.col_offset, hint)
            return term
        if not isinstance(term, Number):
            raise self._error(f"{entry.name}: {param.name} must be a number, not {term}", node.col_offset, hint)
        return self._checked(entry, param, term.value, node)

    def _checked(self, entry: Feature, param: Param, value: object, node: ast.expr) -> Value:
        try:
            return check_value(entry, param, value)
        except (ExpressionError, UnknownName) as error:
            error.message = self._error(error.message.rstrip("."), node.col_offset).message
            raise

    def _error(self, reason: str, at: int, hint: str = "") -> ExpressionError:
        return ExpressionError(f"{reason}, at column {at + self.blank + 1} of '{self.text}'.", hint=hint)

    def _unknown(self, kind: str, name: str, known: list[str], at: int) -> UnknownName:
        error = UnknownName(kind, name, known)
        error.message = f"{error.message.rstrip('.')}, at column {at + self.blank + 1} of '{self.text}'."
        return error


def _mend(text: str) -> str:
    """What is probably wrong with a text that is not an expression."""
    opened = text.count("(") - text.count(")")
    if opened:
        return (
            f"{abs(opened)} parenthes{'is' if abs(opened) == 1 else 'es'} {'not closed' if opened > 0 else 'too many'}"
        )
    if re.search(r"(?<![<>=!])=(?!=)", re.sub(r"\([^()]*\)", "", text)):
        return "= names nothing inside an expression; == compares"
    if re.search(r"&&|\|\|", text):
        return _INSTEAD[ast.BoolOp]
    if "?" in text:
        return _INSTEAD[ast.IfExp]
    if re.search(r"[-+*/<>=!]\s*$", text):
        return "something must follow the last sign"
    return _EXAMPLE


def _is_value(node: ast.expr) -> bool:
    """A number or a word: nothing that could be a series."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant))
