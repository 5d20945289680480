"""Every error gapless raises on purpose.

    GaplessError                      exit code 1 unless stated
    ├── UsageError                    the call or the configuration is wrong: exit code 2
    │   ├── ConfigError               gapless.toml
    │   ├── UnknownName               a name that does not exist, with the nearest that does
    │   ├── ExpressionError           a feature expression, with the column that is wrong
    │   └── LeakError                 a data set that would see its own future
    ├── InputError                    a file or frame that cannot be read as bars
    ├── SourceError                   a source did not give what was asked
    │   ├── Throttled                 slow down: too many requests, or banned until a time
    │   ├── Refused                   asking again will not help (bad symbol, not entitled)
    │   └── Faulty                    asking again may help (5xx, time-out, reset, broken body)
    │       └── Damaged               a file came, and is not what it should be: that file, not who gave it
    ├── LakeError                     the store
    │   ├── LakeLocked                another process is writing
    │   ├── LakeFull                  no space left
    │   └── LakeDamaged               a file is missing or its checksum differs
    ├── SchemaViolation               computed values outside their declared bounds
    └── Interrupted                   Ctrl-C or SIGTERM: exit code 130

Each message says what and where; ``hint`` says what to do. A class exists only where a caller reacts differently.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GaplessError(Exception):
    """Base of all. ``str(error)`` is the message, then the hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class UsageError(GaplessError):
    """The call or the configuration is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """gapless.toml is wrong; the message lists every problem with its path."""


class UnknownName(UsageError):  # noqa: N818 - reads as what it says
    """A name that does not exist; ``kind``, ``name`` and ``known`` for whoever knows of more names.

    >>> str(UnknownName("timeframe", "1min", ["1m", "5m"]))
    "unknown timeframe '1min'. Hint: did you mean '1m'? Known: 1m, 5m"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, (known := list(known))
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        parts = [f"did you mean '{near[0]}'?"] if near else []
        if known and len(known) <= 40:
            parts.append("Known: " + ", ".join(known))
        super().__init__(f"unknown {kind} '{name}'.", hint=hint or " ".join(parts))


class ExpressionError(UsageError):
    """A feature expression cannot be read or makes no sense."""


class LeakError(UsageError):
    """A data set that would see its own future."""


class InputError(GaplessError):
    """A file or frame that cannot be read as bars."""


class SourceError(GaplessError):
    """A source did not give what was asked."""


class Throttled(SourceError):  # noqa: N818
    """Slow down. ``retry_at`` is µs since the epoch, None when the source did not say; ``banned`` closes the source."""

    def __init__(self, message: str, *, retry_at: int | None = None, banned: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_at = retry_at
        self.banned = banned


class Refused(SourceError):  # noqa: N818
    """The source will not answer this, however often it is asked."""


class Faulty(SourceError):  # noqa: N818
    """The answer did not come or cannot be used; another try may work."""


class Damaged(Faulty):
    """A file of an archive that is not what it should be; others of it may be well."""


class LakeError(GaplessError):
    """The store cannot do what was asked."""


class LakeLocked(LakeError):  # noqa: N818
    """Another process is writing."""


class LakeFull(LakeError):  # noqa: N818
    """No space left; nothing of the refused write is visible."""


class LakeDamaged(LakeError):  # noqa: N818
    """A stored file is missing, or differs from what was written."""


class SchemaViolation(GaplessError):  # noqa: N818
    """Computed values outside their declared bounds; nothing of that series was stored."""


class Interrupted(GaplessError):  # noqa: N818
    """Stopped by Ctrl-C or SIGTERM after what was done had been kept."""

    exit_code = 130
