"""How many alerts of a rule are told in a stretch of time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gapless.errors import UsageError
from gapless.spans import parse_duration

_FORM = re.compile(r"^\s*(\d+)\s+per\s+(\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most ``count`` in any ``window`` µs.

    >>> Throttle.parse("5 per 10m").count
    5
    """

    count: int
    window: int

    @classmethod
    def parse(cls, text: str) -> Throttle:
        """From ``5 per 10m``; raises UsageError."""
        found = _FORM.match(text)
        window = parse_duration(found[2]) if found else 0
        if not found or not int(found[1]) or not window:
            raise UsageError(
                f"'{text}' is not a throttle.", hint="write how many, and in how long: 5 per 10m; at least 1"
            )
        return cls(int(found[1]), window)

    def lets_pass(self, told: list[int], ts: int) -> bool:
        """Whether one more may be told at ``ts``; ``told`` holds the times of the last ones and is kept short."""
        told[:] = [t for t in told if ts - t < self.window]
        return len(told) < self.count
