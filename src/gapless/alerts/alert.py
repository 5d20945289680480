"""What a rule says when it fires."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gapless.spans import iso, parse_time

Direction = Literal["up", "down", ""]
Severity = Literal["info", "warning", "critical"]
Kind = Literal["fired", "spread"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One firing of one rule, at the close of one bar.

    ``ts`` is the bar's open time, µs. ``level`` says how far other series confirm it, ``evidence`` holds the values the
    rule looked at. ``kind`` is ``fired``, or ``spread`` when enough of a group followed the ``members``' first one.
    ``muted`` says why nobody is to be told (throttled, quiet hours); an empty text when somebody is.

    >>> Alert("spike", "X:A", "1m", 0, direction="up").id == Alert("spike", "X:A", "1m", 0, severity="critical").id
    True
    """

    rule: str
    instrument: str
    timeframe: str
    ts: int
    kind: Kind = "fired"
    direction: Direction = ""
    severity: Severity = "warning"
    level: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    muted: str = ""

    @property
    def id(self) -> str:
        """The same firing always has the same name, however often and in whatever process it is worked out."""
        text = "\n".join((self.rule, self.instrument, self.timeframe, str(self.ts), self.kind))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id, "rule": self.rule, "kind": self.kind, "instrument": self.instrument,
            "timeframe": self.timeframe, "ts": iso(self.ts), "direction": self.direction, "severity": self.severity,
            "level": self.level, "evidence": {k: None if v != v else v for k, v in self.evidence.items()},
            "members": list(self.members), "muted": self.muted,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Alert:
        """The alert that ``to_dict`` told of; more keys are no harm.

        >>> spike = Alert("spike", "X:A", "1m", 60_000_000, direction="up", evidence={"z": 3.5})
        >>> Alert.from_dict(spike.to_dict()) == spike
        True
        """
        names = ("rule", "instrument", "timeframe", "kind", "direction", "severity", "level", "muted")
        evidence = {k: float("nan") if v is None else v for k, v in found["evidence"].items()}
        return cls(
            **{name: found[name] for name in names},
            ts=parse_time(found["ts"]), evidence=evidence, members=tuple(found["members"]),
        )  # fmt: skip
