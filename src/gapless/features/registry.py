"""The register of features: a function that composes nodes becomes a feature by one decorator.

A parameter annotated ``Node`` is a series, ``Bars`` the bar's own columns, ``int`` a length or count, ``float`` a
number. The signature people type is the function's own, without ``Bars``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gapless.bars import EXTRAS, VALUES
from gapless.errors import ExpressionError
from gapless.features.graph import Graph, Node

COLUMNS = (*VALUES, *EXTRAS)
MAX_LENGTH = 250_000  # half a year of minutes; a z-score of it takes a third of a gigabyte while it runs
Value = int | float
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
class Param:
    """One parameter: ``series``, ``int`` or ``float``; ``default`` None when it must be given."""

    name: str
    kind: str
    default: Value | None
    least: int

    def __str__(self) -> str:
        return self.name if self.default is None else f"{self.name}={self.default}"


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
    group: str, *, name: str = "", bounds: Bounds = (None, None), source: str = "", least: int = 1
) -> Callable[[F], F]:
    """Register a composition. ``least`` is the smallest ``length`` that makes sense."""

    def register(compose: F) -> F:
        entry = describe(compose, group, name=name, bounds=bounds, source=source, least=least)
        if entry.name in LIBRARY:
            raise ExpressionError(f"the feature {entry.name} is defined twice.")
        LIBRARY[entry.name] = entry
        return compose

    return register


def describe(
    compose: Callable[..., Node], group: str, *, name: str = "", bounds: Bounds = (None, None), source: str = "",
    least: int = 1,
) -> Feature:  # fmt: skip
    """The catalogue entry of a composition, not registered."""
    found = list(inspect.signature(compose).parameters.values())
    wants_bars = bool(found) and found[0].annotation == "Bars"
    params = tuple(_param(p, least) for p in found[wants_bars:])
    return Feature(name or compose.__name__, group, params, compose, wants_bars, bounds, source)


def _param(found: inspect.Parameter, least: int) -> Param:
    kind = {"Node": "series", "int": "int", "float": "float"}[str(found.annotation)]
    default = None if found.default is inspect.Parameter.empty else found.default
    return Param(found.name, kind, default, least if found.name == "length" else 0)


def check_value(entry: Feature, param: Param, value: object) -> Value:
    """The value as the parameter's type; raises ExpressionError with the reason."""
    say = f"{entry.name}: {param.name}"
    hint = f"the signature is {entry.signature}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"{say} must be a number, not {value!r}.", hint=hint)
    if param.kind == "float":
        return float(value)
    if not isinstance(value, int):
        raise ExpressionError(f"{say} must be a whole number, not {value!r}.", hint=hint)
    if not param.least <= value <= MAX_LENGTH:
        raise ExpressionError(f"{say} must lie in {param.least} … {MAX_LENGTH}, not {value}.", hint=hint)
    return value


def catalogue() -> Library:
    """Every feature by name, the library loaded.

    >>> catalogue()["rsi"].signature
    'rsi(x, length=14)'
    """
    import gapless.features.library  # noqa: F401 - fills LIBRARY

    return LIBRARY
