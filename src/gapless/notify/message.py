"""What there is to say, in words for people and fields for machines."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from gapless.alerts.alert import Alert, Severity
from gapless.spans import Timeframe, iso

Kind = Literal["fired", "withdrawn", "opened", "partial", "closed", "degraded", "recovered", "report", "test"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WITHDRAWN = "-withdrawn"  # what the id of a withdrawal adds to the alert's
ALERT_FIELDS = (
    "id", "kind", "rule", "instrument", "timeframe", "ts", "close", "direction", "severity", "level", "evidence",
    "members",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell. The same event always makes the same ``id``; ``about`` is the id of what it takes back.

    ``subject`` is one line, ``text`` the body; ``fields`` hold the event for machines (JSON).
    """

    id: str
    kind: Kind
    severity: Severity
    subject: str
    text: str
    about: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """What an outbox keeps; ``from_json`` reads it."""
        return json.dumps({**asdict(self), "fields": _plain(self.fields)}, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Message:
        return cls(**json.loads(text))

    @property
    def short(self) -> str:
        """Enough of the id to find the event again."""
        return self.id[:8]


def fired(alert: Alert) -> Message:
    """An alert fired.

    >>> fired(Alert("spike", "X:A", "1m", 0, direction="up", evidence={"z_er_15m": 3.41})).text
    'spike up on X:A, 1m bar of 1970-01-01T00:00:00Z. z_er_15m 3.41'
    """
    return Message(alert.id, "fired", alert.severity, _subject(alert), _sentence(alert), "", _fields(alert))


def withdrawn(message: Message, reason: str) -> Message:
    """A later correction of the bars took back what a message (of an alert, or of a position) said.

    >>> withdrawn(fired(Alert("spike", "X:A", "1m", 0)), "its bar was corrected").subject
    'withdrawn: warning: spike X:A'
    """
    text = f"Withdrawn: {message.text}\n{reason}"
    fields = {**message.fields, "kind": "withdrawn", "reason": reason}
    subject = "withdrawn: " + message.subject
    return Message(message.id + WITHDRAWN, "withdrawn", message.severity, subject, text, message.id, fields)


def position(event: Mapping[str, Any]) -> Message:
    """A paper position was opened, closed, or closed in part: a position's event as its ``to_dict`` gives it.

    >>> position({"position": "ab12", "number": 2, "instrument": "X:A", "ts": "2025-05-01T00:00:00Z", "kind": "opened",
    ...           "price": 1.5, "fraction": 1.0, "reason": "pullback", "data": {"stop": 1.4}}).text
    'Paper position opened: X:A at 1.5, pullback, bar of 2025-05-01T00:00:00Z. stop 1.4'
    """
    kind: Kind = event["kind"]
    part = f"{event['fraction']:.0%} of it" if kind == "partial" else ""
    words = [f"{event['instrument']} at {_shown(event['price'])}", part, event["reason"], f"bar of {event['ts']}"]
    text = ". ".join(p for p in (", ".join(w for w in words if w), _pairs(event["data"])) if p)
    name = _id("position", event["position"], event["number"])
    subject = f"position {kind}: {event['instrument']}"
    return Message(name, kind, "warning", subject, f"Paper position {kind}: {text}", "", dict(event))


def degraded(part: str, since: int, reason: str) -> Message:
    """A part of the live run (a feed, the store, a channel) is not well, since ``since`` (µs)."""
    fields = {"part": part, "since": iso(since), "reason": reason}
    return Message(
        _id("degraded", part, since), "degraded", "critical", f"degraded: {part}",
        f"{part} is degraded since {iso(since)}: {reason}", "", fields,
    )  # fmt: skip


def recovered(part: str, since: int, until: int) -> Message:
    """What was degraded since ``since`` is well again."""
    fields = {"part": part, "since": iso(since), "until": iso(until)}
    return Message(
        _id("recovered", part, since), "recovered", "critical", f"recovered: {part}",
        f"{part} is well again; it was degraded from {iso(since)} to {iso(until)}", "", fields,
    )  # fmt: skip


def report(day: str, text: str, fields: Mapping[str, Any]) -> Message:
    """The report of a day (YYYY-MM-DD), in the reporter's words."""
    return Message(_id("report", day), "report", "info", f"gapless report {day}", text, "", dict(fields))


def probe(now: int) -> Message:
    """A notice that means nothing but that the channel works."""
    return Message(
        _id("test", now), "test", "info", "gapless test", f"This channel works. Sent {iso(now)}, on request."
    )


def told(fields: Mapping[str, Any]) -> dict[str, str]:
    """An alert's fields as its templates show them.

    >>> told({"evidence": {"z": 3.0}, "members": ["X:A", "X:B"], "level": ""})
    {'evidence': 'z 3', 'members': 'X:A, X:B', 'level': ''}
    """
    return {name: _shown(value) for name, value in fields.items()}


def _fields(alert: Alert) -> dict[str, Any]:
    closes = alert.ts + Timeframe.parse(alert.timeframe).micros
    return {**alert.to_dict(), "close": iso(closes)}


def _subject(alert: Alert) -> str:
    verb = "spread" if alert.kind == "spread" else alert.direction
    return " ".join(part for part in (alert.severity + ":", alert.rule, verb, alert.instrument) if part)


def _sentence(alert: Alert) -> str:
    words = [alert.rule, alert.direction, "spread from" if alert.kind == "spread" else "on"]
    head = " ".join(w for w in words if w) + f" {alert.instrument}, {alert.timeframe} bar of {iso(alert.ts)}"
    parts = [head, alert.level, "with " + ", ".join(alert.members) if alert.members else "", _pairs(alert.evidence)]
    return ". ".join(p for p in parts if p)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _plain(value: Any) -> Any:
    """For JSON, which knows no NaN and no infinity: they are null."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return _pairs(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _id(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
