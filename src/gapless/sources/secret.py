"""A credential that is never shown."""

from __future__ import annotations

import os
import re

from gapless.errors import ConfigError

_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")


class Secret:
    """A key, or the environment variables that may hold it (the first that is set counts). Printed without the key.

    >>> Secret("abc123"), Secret("env:MY_KEY"), Secret(None, "MASSIVE_API_KEY", "POLYGON_API_KEY")
    (Secret('…'), Secret('env:MY_KEY'), Secret('env:MASSIVE_API_KEY or env:POLYGON_API_KEY'))
    """

    __slots__ = ("_text", "_variables")

    def __init__(self, text: str | None, *usual: str) -> None:
        named = _VARIABLE.match(text or "")
        self._variables = (named[1],) if named else () if text else usual
        self._text = "" if named else text or ""

    def reveal(self) -> str:
        """The key itself, for the request that needs it. Raises ConfigError when no variable is set."""
        found = self._text or next((v for name in self._variables if (v := os.environ.get(name, "").strip())), "")
        if not found:
            raise ConfigError(
                f"a key is needed, and {self} is not set.",
                hint=f'export {(self._variables or ("NAME",))[0]}=…, or key = "env:NAME" in the source\'s section',
            )
        return found

    def taken_out(self, body: bytes) -> bytes:
        """``body`` without the key, wherever a server repeats it."""
        held = self._text or next((v for name in self._variables if (v := os.environ.get(name, "").strip())), "")
        return body.replace(held.encode(), "…".encode()) if held else body

    def __str__(self) -> str:
        return "…" if self._text else " or ".join(f"env:{name}" for name in self._variables)

    def __repr__(self) -> str:
        return f"Secret('{self}')"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not written anywhere")
