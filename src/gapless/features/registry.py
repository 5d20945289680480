"""The register of features: a function that composes nodes becomes a feature by one decorator.

A parameter annotated ``Node`` is a series, ``Node | float`` a series or a number, ``Bars`` the bar's own columns,
``int`` a length or count, ``float`` a number, ``str`` a word in quotes: one of ``choices``, or an instrument. The
signature people type is the function's own, without ``Bars``. A series may have a default: ``= CLOSE``, or any
``Default``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gapless.bars import EXTRAS, VALUES
from gapless.errors import ExpressionError, UnknownName, UsageError
from gapless.features.graph import Graph, Node
from gapless.series import Instrument

SESSION = "session"  # the trading day a bar belongs to: the bars' own column of that name, else the UTC day
COLUMNS = (*VALUES, *EXTRAS, SESSION)
MAX_LENGTH = 250_000  # half a year of minutes; a z-score of it takes a third of a gigabyte while it runs
Value = int | float | str
Choices = Mapping[str, tuple[str, ...]]
_GROUPING = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,99}$")
Bounds = tuple[float | None, float | None]
F = TypeVar("F", bound=Callable[..., Node])


@dataclass(frozen=True, slots=True)
class Bars:
    """The bar's columns as nodes."""

    graph: Graph

    def __getattr__(self, name: str) -> Node:
        if name not in COLUMNS:
            raise AttributeError(name)
        return self.graph.column(name)


@dataclass(frozen=True, slots=True)
class Default:
    """The expression that stands for a series when none is given."""

    text: str


# What indicators are usually computed from: ``def rsi(x: Node = CLOSE, length: int = 14)``.
CLOSE: Any = Default("close")
TYPICAL: Any = Default("hlc3()")
DAY: Any = Default("session")


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: ``series``, ``operand``, ``int``, ``float`` or ``text``; ``default`` None when it must be given.

    An ``operand`` is a series or a number; a series' default is an expression. A ``text`` is one of ``choices``, or,
    where there are none, ``VENUE:SYMBOL``; one that may be empty names a grouping of instruments.
    """

    name: str
    kind: str
    default: Value | None
    least: int
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f'"{self.default}"' if self.kind == "text" else self.default
        return self.name if self.default is None else f"{self.name}={shown}"


@dataclass(frozen=True, slots=True)
class Feature:
    """One catalogue entry. ``bounds`` of its values, None where open; ``dtype`` of its column."""

    name: str
    group: str
    params: tuple[Param, ...]
    compose: Callable[..., Node]
    wants_bars: bool
    bounds: Bounds
    source: str
    dtype: str = "Float64"

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(map(str, self.params))})"

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return self.doc.partition("\n")[0]

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.compose.__doc__ or "")

    def build(self, graph: Graph, values: dict[str, Node | Value]) -> Node:
        """The feature's nodes, for parameters already checked."""
        return self.compose(Bars(graph), **values) if self.wants_bars else self.compose(**values)


Library = dict[str, Feature]
LIBRARY: Library = {}


def feature(
    group: str, *, name: str = "", bounds: Bounds = (None, None), source: str = "", least: int = 1,
    choices: Choices | None = None,
) -> Callable[[F], F]:  # fmt: skip
    """Register a composition. ``least`` is the smallest ``length`` that makes sense."""

    def register(compose: F) -> F:
        entry = describe(compose, group, name=name, bounds=bounds, source=source, least=least, choices=choices)
        if entry.name in LIBRARY:
            raise ExpressionError(f"the feature {entry.name} is defined twice.")
        LIBRARY[entry.name] = entry
        return compose

    return register


def describe(
    compose: Callable[..., Node], group: str, *, name: str = "", bounds: Bounds = (None, None), source: str = "",
    least: int = 1, choices: Choices | None = None,
) -> Feature:  # fmt: skip
    """The catalogue entry of a composition, not registered."""
    found = list(inspect.signature(compose).parameters.values())
    wants_bars = bool(found) and _spelled(found[0]) == "Bars"
    params = tuple(_param(p, least, (choices or {}).get(p.name, ())) for p in found[wants_bars:])
    return Feature(name or compose.__name__, group, params, compose, wants_bars, bounds, source)


_KINDS = {"Node": "series", "Node | float": "operand", "int": "int", "float": "float", "str": "text"}


def _spelled(param: inspect.Parameter) -> str:
    """An annotation as it is written, whether the module evaluates annotations or not."""
    found = param.annotation
    text = found.__name__ if isinstance(found, type) else str(found)
    return " | ".join(part.strip().rpartition(".")[2] for part in text.split("|"))


def _param(found: inspect.Parameter, least: int, choices: tuple[str, ...]) -> Param:
    default = None if found.default is inspect.Parameter.empty else found.default
    if isinstance(default, Default):
        default = default.text
    kind = _KINDS.get(_spelled(found))
    if kind is None:
        raise ExpressionError(
            f"the parameter {found.name} is annotated {_spelled(found)}.", hint=f"use one of {', '.join(_KINDS)}"
        )
    return Param(found.name, kind, default, _least(found.name, default, least), choices)


def _least(name: str, default: Value | None, least: int) -> int:
    """The smallest whole number that makes sense: other lengths than ``length`` have a default above 0."""
    return least if name == "length" else int(isinstance(default, int) and default > 0 and name != "ddof")


def check_value(entry: Feature, param: Param, value: object) -> Value:
    """The value as the parameter's type; raises ExpressionError, or UnknownName for a choice, with the reason."""
    say = f"{entry.name}: {param.name}"
    hint = f"the signature is {entry.signature}"
    if param.kind == "text":
        return _check_text(say, param, value, hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"{say} must be a number, not {value!r}.", hint=hint)
    if param.kind == "float":
        return float(value)
    if not isinstance(value, int):
        raise ExpressionError(f"{say} must be a whole number, not {value!r}.", hint=hint)
    if not param.least <= value <= MAX_LENGTH:
        raise ExpressionError(f"{say} must lie in {param.least} … {MAX_LENGTH}, not {value}.", hint=hint)
    return value


def _check_text(say: str, param: Param, value: object, hint: str) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"{say} must be a word in quotes, not {value!r}.", hint=hint)
    if param.default == "":
        if value and not _GROUPING.match(value):
            raise ExpressionError(f"{say}: '{value}' cannot name a grouping.", hint="letters, digits and _")
        return value
    if not param.choices:
        try:
            return str(Instrument.parse(value))
        except UsageError as error:
            raise ExpressionError(f"{say}: {error.message}", hint=error.hint) from None
    if value not in param.choices:
        raise UnknownName(f"{param.name} of {say.partition(':')[0]}", value, param.choices)
    return value


def catalogue() -> Library:
    """Every feature by name, the library loaded.

    >>> catalogue()["rsi"].signature
    'rsi(x=close, length=14)'
    """
    import gapless.features.library  # noqa: F401 - fills LIBRARY

    return LIBRARY
