"""Hours in which nobody is to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gapless.errors import UsageError
from gapless.spans import to_datetime

_FORM = re.compile(r"^\s*(\d\d:\d\d)\s*-\s*(\d\d:\d\d)(?:\s+([A-Za-z][\w/+-]*))?\s*$")


@dataclass(frozen=True, slots=True)
class Quiet:
    """From ``start`` (included) to ``end`` (not included) of a zone's wall clock, over midnight where end is earlier.

    >>> from gapless.spans import parse_time
    >>> night = Quiet.parse("22:00-07:00 Europe/Berlin")
    >>> [night.holds(parse_time(t)) for t in ("2025-07-01T19:59", "2025-07-01T20:00", "2025-07-02T05:00")]
    [False, True, False]
    """

    start: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str) -> Quiet:
        """From ``22:00-07:00 Europe/Berlin``, UTC where no zone is named; raises UsageError."""
        found = _FORM.match(text)
        try:
            if not found:
                raise ValueError(text)
            start, end = time.fromisoformat(found[1]), time.fromisoformat(found[2])
        except ValueError:
            raise UsageError(f"'{text}' is not a stretch of hours.", hint="write 22:00-07:00 Europe/Berlin") from None
        if start == end:
            raise UsageError(f"'{text}' begins where it ends.", hint="a rule that tells nobody needs no quiet hours")
        zone = found[3] or "UTC"
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise UsageError(f"'{zone}' is not a time zone.", hint="for example Europe/Berlin or UTC") from None
        return cls(start, end, zone)

    def holds(self, moment: int) -> bool:
        """Whether ``moment``, µs, lies inside."""
        wall = to_datetime(moment).astimezone(ZoneInfo(self.zone)).time()
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end
