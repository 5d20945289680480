"""Texts with ``{fields}`` in them: names and number formats, nothing that could reach into an object."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

from gapless.errors import UnknownName, UsageError


def check(text: str, known: Iterable[str]) -> str:
    """The same text, when every field in it is one of ``known``; raises UsageError or UnknownName.

    >>> check("{instruments} moved", ["instrument", "rule"])
    Traceback (most recent call last):
    ...
    gapless.errors.UnknownName: unknown field 'instruments'. Hint: did you mean 'instrument'? Known: instrument, rule
    """
    known = list(known)
    for name, form, conversion in _fields(text):
        if name not in known:
            raise UnknownName("field", name, known)
        if form or conversion:
            raise UsageError(f"field '{{{name}}}' takes no format.", hint=f"write {{{name}}} alone")
    return text


def render(text: str, fields: Mapping[str, Any]) -> str:
    """The text with its fields filled in; braces are written twice to stand for themselves.

    >>> render("{rule} {{as is}}", {"rule": "spike"})
    'spike {as is}'
    """
    return text.format_map(fields)


def _fields(text: str) -> list[tuple[str, str, str]]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f"'{text}' is no template: {error}.", hint="write {{ and }} for braces") from None
    return [(name, form or "", conversion or "") for _, name, form, conversion in parts if name is not None]
