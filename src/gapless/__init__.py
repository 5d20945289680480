"""gapless: market bars and their features, complete, correct, current, and proven so.

>>> import gapless as gl
>>> gl.__version__
'0.1.0'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.errors import (
    ConfigError,
    ExpressionError,
    GaplessError,
    InputError,
    Interrupted,
    LakeError,
    LeakError,
    SchemaViolation,
    SourceError,
    UnknownName,
    UsageError,
)

if TYPE_CHECKING:
    from gapless.app import Lake, open  # noqa: A004 - `gapless.open` is the name users type
    from gapless.features import Stream, compute, prove

__version__ = "0.1.0"
__all__ = [
    "ConfigError", "ExpressionError", "GaplessError", "InputError", "Interrupted", "Lake", "LakeError", "LeakError",
    "SchemaViolation", "SourceError", "Stream", "UnknownName", "UsageError", "__version__", "compute", "open", "prove",
]  # fmt: skip
_HOMES = {"Lake": "app", "open": "app", "Stream": "features", "compute": "features", "prove": "features"}


def __getattr__(name: str) -> Any:
    """Import the heavy parts when they are first used: `import gapless` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gapless' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"gapless.{_HOMES[name]}"), name)
