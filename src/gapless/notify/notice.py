"""Deliveries as one thing to send: title and body for people, the event itself for machines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapless.alerts.alert import Severity
from gapless.notify.channel import LEVELS, Channel
from gapless.notify.message import ALERT_FIELDS, Message, told
from gapless.notify.outbox import Delivery
from gapless.notify.template import render

LISTED = 10  # lines of a group that are written out; of the others it says how many


@dataclass(frozen=True, slots=True)
class Notice:
    """What a sender gets. ``id`` is the same however often it is sent; ``data`` goes to channels that take JSON."""

    id: str
    title: str
    body: str
    severity: Severity
    good: bool = False
    data: Mapping[str, Any] | None = None


def notice(channel: Channel, deliveries: Sequence[Delivery]) -> Notice:
    """One delivery as itself, several as a group."""
    messages = [Message.from_json(d.payload) for d in deliveries]
    if len(messages) == 1:
        return single(channel, messages[0], deliveries[0].attempts + 1)
    return _group(messages)


def single(channel: Channel, message: Message, attempt: int = 1) -> Notice:
    """One message, in the channel's own words where it has any for an alert."""
    title, body = message.subject, message.text
    if "rule" in message.fields:
        fields = {**dict.fromkeys(ALERT_FIELDS, ""), **told(message.fields)}
        back = "withdrawn: " if message.kind == "withdrawn" else ""
        title = back + render(channel.title, fields) if channel.title else title
        body = back + render(channel.template, fields) if channel.template else body
    data = {**_event(message), "attempt": attempt}
    return Notice(message.id, title, f"{body}\n#{message.short}", message.severity, message.kind == "recovered", data)


def _group(messages: Sequence[Message]) -> Notice:
    """More than the channel's rate lets through one by one: the first lines, and how many more."""
    ids = [m.id for m in messages]
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    lines = [f"{m.subject} #{m.short}" for m in messages[:LISTED]]
    if len(messages) > LISTED:
        lines.append(f"+{len(messages) - LISTED} more")
    severity = max((m.severity for m in messages), key=LEVELS.index)
    data = {"id": name, "kind": "group", "severity": severity, "ids": ids, "events": [_event(m) for m in messages]}
    return Notice(name, f"{len(messages)} messages", "\n".join(lines), severity, data=data)


def _event(message: Message) -> dict[str, Any]:
    return {
        "id": message.id, "kind": message.kind, "severity": message.severity, "subject": message.subject,
        "about": message.about, "data": dict(message.fields),
    }  # fmt: skip
