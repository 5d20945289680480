"""One channel at work: a thread that sends what it is handed, and what the notifier knows of the channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from gapless.notify.channel import Channel
from gapless.notify.notice import notice
from gapless.notify.outbox import Delivery
from gapless.notify.pace import Pace
from gapless.notify.sender import Outcome, Sender, guarded


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch, and how long that took (seconds)."""

    lane: Lane
    batch: Sequence[Delivery]
    outcome: Outcome
    seconds: float


class Lane:
    """Of one channel. It is handed a batch only when it has none, so that a channel's messages keep their order.

    A sender that hangs keeps this thread and nothing else; the thread is a daemon, so it never keeps a process.
    """

    def __init__(self, channel: Channel, sender: Sender, tell: Callable[[Result], None]) -> None:
        self.channel = channel
        self.pace = Pace(channel.rate, channel.backoff)
        self.busy = False
        self.error, self.last_sent = "", 0

        def send(batch: Sequence[Delivery]) -> Outcome:
            return sender(notice(channel, batch))

        self._send, self._tell = guarded(send), tell
        self._work: SimpleQueue[Sequence[Delivery] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"notify-{channel.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hand(self, batch: Sequence[Delivery]) -> None:
        """Send these; the result is told when it is known."""
        self.busy = True
        self._work.put(batch)

    def stop(self) -> None:
        """No more work: the thread ends after what it is doing."""
        self._work.put(None)

    def _run(self) -> None:
        while (batch := self._work.get()) is not None:
            began = time.monotonic()
            outcome = self._send(batch)
            self._tell(Result(self, batch, outcome, time.monotonic() - began))
