"""Wrong answers, made from right ones without knowing the vendor's format.

Rows are the longest list of an answer, or all lists of that length where an answer keeps a list for each column.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gapless.conformance.subject import Json
from gapless.spans import Span

_UNITS = (1, 1_000, 1_000_000)  # of microseconds, milliseconds, seconds


class Timed(Protocol):
    """What is true near some times."""

    @property
    def span(self) -> Span: ...


def with_rows(doc: Json, change: Callable[[list[Json]], list[Json]]) -> Json:
    """The answer with its rows changed."""
    longest = max((len(found) for found in _lists(doc)), default=0)

    def changed(node: Json) -> Json:
        if isinstance(node, list):
            return change(node) if len(node) == longest else [changed(n) for n in node]
        return {k: changed(v) for k, v in node.items()} if isinstance(node, dict) else node

    return changed(copy.deepcopy(doc))


def more(doc: Json) -> Json:
    """The answer with a field that nobody knows in every object."""
    if isinstance(doc, dict):
        return {**{k: more(v) for k, v in doc.items()}, "zz_unheard_of": {"x": [1]}}
    return [more(v) for v in doc] if isinstance(doc, list) else doc


def less(doc: Json) -> Iterator[Json]:
    """The answer without one field, each in turn: keys of objects, cells of rows. One row stands for all."""
    for path in _fields(doc):
        part = copy.deepcopy(doc)
        node = part
        for step in path[:-1]:
            node = node[step]
        del node[path[-1]]
        yield part


def micros_in(subject: Timed, row: Json) -> Json:
    """The row with its times in microseconds, where they are in milliseconds."""
    return _mapped(row, lambda value: value * 1000 if _unit(subject, value) == _UNITS[1] else value)


def other_values(subject: Timed, row: Json) -> Json:
    """The row with other prices and volumes, and the same times."""
    return _mapped(row, lambda value: _bumped(subject, value))


def _bumped(subject: Timed, value: Json) -> Json:
    if isinstance(value, bool) or _unit(subject, value):
        return value
    if isinstance(value, int | float):
        return value * 2 + 1
    try:
        return str(float(value) * 2 + 1) if isinstance(value, str) else value
    except ValueError:
        return value


def _unit(subject: Timed, value: Json) -> int | None:
    """What one of a time is in µs; None for what is no time near the truth."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    near = subject.span
    return next((unit for unit in _UNITS if near.start <= value * unit <= near.end), None)


def _mapped(row: Json, change: Callable[[Json], Json]) -> Json:
    if isinstance(row, dict):
        return {k: _mapped(v, change) for k, v in row.items()}
    return [_mapped(v, change) for v in row] if isinstance(row, list) else change(row)


def _lists(doc: Json) -> Iterator[list[Json]]:
    if isinstance(doc, list):
        yield doc
    for node in doc.values() if isinstance(doc, dict) else doc if isinstance(doc, list) else ():
        yield from _lists(node)


def _fields(doc: Json) -> Iterator[list[Any]]:
    """Paths to every field; of a list of alike things only those of the second."""
    if isinstance(doc, dict):
        for key, value in doc.items():
            yield [key]
            yield from ([key, *rest] for rest in _fields(value))
    elif isinstance(doc, list) and doc and isinstance(doc[-1], list | dict):
        at = min(1, len(doc) - 1)
        if isinstance(doc[at], list) and doc[at] and not isinstance(doc[at][0], list | dict):
            yield from ([at, cell] for cell in range(len(doc[at])))
        yield from ([at, *rest] for rest in _fields(doc[at]))
