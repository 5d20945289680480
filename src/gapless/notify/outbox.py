"""What is to be sent, kept until it is: the seam between who has something to say and the worker that says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gapless.notify.channel import Channel
from gapless.notify.message import Message
from gapless.spans import MINUTE

State = Literal["queued", "sending", "sent", "failed", "suppressed"]
LONGEST = 5 * MINUTE  # between two tries of a delivery


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to one channel.

    ``id`` is the message's id and the channel's name: the same message never makes two deliveries to a channel.
    ``payload`` is the message as JSON. Times in µs; ``next_try`` is 0 until a try has failed.
    """

    id: str
    channel: str
    kind: str
    subject: str
    payload: str
    made_at: int
    state: State = "queued"
    attempts: int = 0
    error: str = ""
    next_try: int = 0


def due(delivery: Delivery, now: int) -> bool:
    """May it be tried? A next try further away than any wait says that the clock has been set back.

    >>> due(Delivery("a@ops", "ops", "fired", "", "{}", 0, next_try=90), now=60)
    False
    """
    return delivery.next_try <= now or delivery.next_try > now + LONGEST


def deliveries(message: Message, channels: Iterable[Channel], now: int) -> list[Delivery]:
    """One delivery of a message to each of the channels that want it: what to put into an outbox."""
    payload = message.to_json()
    return [
        Delivery(f"{message.id}@{channel.name}", channel.name, message.kind, message.subject, payload, now)
        for channel in channels
        if channel.wants(message)
    ]


class Outbox(Protocol):
    """The durable list. One notifier at a time works on it, and calls it from one thread of its own.

    ``put`` may be called from any thread. What it raises is told in the notifier's ``trouble``, and tried again.
    """

    def put(self, deliveries: Iterable[Delivery]) -> None:
        """Add those whose id is not known yet; one that is known stays as it is. Durable on return."""
        ...

    def pending(self, channel: str, now: int, limit: int) -> Sequence[Delivery]:
        """The channel's deliveries that are ``queued`` or ``sending`` and ``due`` at ``now``, oldest first.

        ``sending`` are those whose worker died before it could say how it went: they are sent again.
        """
        ...

    def mark(self, deliveries: Sequence[Delivery]) -> None:
        """Keep state, attempts, error and next_try of these, in one go. Durable on return."""
        ...
