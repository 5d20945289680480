"""The worker between an outbox and the channels. One turn of it:

1. Decide what became of the deliveries whose batches came back (`_settle`): sent; queued again, with a wait twice as
   long as the last; failed, when they have been tried often enough.
2. Mark those in the outbox (`_keep`). Nothing else happens before the outbox has taken them: what was sent is not
   sent again because the store was locked or the disk was full.
3. For each channel that is idle and may be used (`Pace`), take its oldest deliveries (`_next`): one; or, when its rate
   allows no more than one message now, all that wait, as a group. Alerts withdrawn before they were sent are not sent.
4. Mark them as sending, and hand them to the channel's thread (`Lane`).

Whoever is killed between 3 and 1 leaves deliveries that say `sending`: they are sent again, with the same id.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from gapless.events import Notified, NotifyOutcome, Observer, nobody
from gapless.notify.channel import Channel
from gapless.notify.lane import Lane, Result
from gapless.notify.message import WITHDRAWN
from gapless.notify.outbox import Delivery, Outbox, State
from gapless.notify.sender import Sender, sender
from gapless.protocols import Clock

GROUP = 500  # deliveries in one group at most
_OUTCOMES: Mapping[State, NotifyOutcome] = {
    "queued": "retried", "sent": "sent", "failed": "failed", "suppressed": "suppressed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """How a channel is: ``error`` is why its last try failed (empty: it did not), ``last_sent`` µs (0: never yet)."""

    channel: str
    error: str
    failures: int
    busy: bool
    last_sent: int


class Notifier:
    """Sends what an outbox holds. ``start`` it, ``wake`` it after every ``put``, ``close`` it.

    Raises ConfigError at once for a channel that cannot work: no apprise, a bad address, an unset variable.
    ``poll`` is how often (seconds) it looks without being woken: for waits that are over.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        outbox: Outbox,
        clock: Clock,
        observe: Observer = nobody,
        *,
        make: Callable[[Channel], Sender] = sender,
        poll: float = 1.0,
    ) -> None:
        self.trouble = ""  # what is wrong with the outbox; empty when nothing is
        self._outbox, self._clock, self._observe, self._poll = outbox, clock, observe, poll
        self._inbox: SimpleQueue[Result | None] = SimpleQueue()
        self._lanes = {c.name: Lane(c, make(c), self._inbox.put) for c in channels}
        self._results: list[Result] = []
        self._unmarked: list[tuple[Result, list[Delivery]]] = []
        self._deadline: float | None = None
        self._drained = False
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> Notifier:
        """Begin to send."""
        for lane in self._lanes.values():
            lane.start()
        self._thread.start()
        return self

    def wake(self) -> None:
        """There is something new in the outbox. Returns at once, from any thread."""
        self._inbox.put(None)

    def close(self, timeout: float = 10.0) -> bool:
        """Send what may be sent now, for at most ``timeout`` seconds, then stop; what is left stays in the outbox.

        True when nothing was under way any more. Deliveries that wait (for a rate, or after a failure) are not
        waited for.
        """
        self._deadline = time.monotonic() + timeout
        self.wake()
        if self._thread.is_alive():
            self._thread.join(timeout + 5)
        return self._drained

    def health(self) -> Mapping[str, Health]:
        """How each channel is."""
        return {
            name: Health(name, lane.error, lane.pace.failures, lane.busy, lane.last_sent)
            for name, lane in self._lanes.items()
        }

    def _run(self) -> None:
        while not self._finished():
            self._hear()
        for lane in self._lanes.values():
            lane.stop()

    def _finished(self) -> bool:
        deadline = self._deadline  # before the turn: it must have seen all that was put before `close`
        self._drained = self._turn()
        return deadline is not None and (self._drained or time.monotonic() >= deadline)

    def _turn(self) -> bool:
        """One turn; says whether nothing is under way. Whatever the store raises is told, and tried again."""
        try:
            self._keep()
            now = self._clock()
            for lane in self._lanes.values():
                self._feed(lane, now)
        except Exception as error:  # noqa: BLE001 - the boundary of one turn; the cause is kept in `trouble`
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.trouble = f"{type(error).__name__} in {where.name}: {error}"
            return False
        self.trouble = ""
        return not any(lane.busy for lane in self._lanes.values())

    def _hear(self) -> None:
        """Wait for a result, for `wake`, or for the next look; then take all there is."""
        wait = self._poll
        if self._deadline is not None:
            wait = max(0.0, min(wait, self._deadline - time.monotonic()))
        with contextlib.suppress(Empty):
            self._take(self._inbox.get(timeout=wait))
            while True:
                self._take(self._inbox.get_nowait())

    def _take(self, heard: Result | None) -> None:
        if heard:
            self._results.append(heard)

    def _settle(self, result: Result) -> list[Delivery]:
        now, lane, error = self._clock(), result.lane, result.outcome.error
        lane.error = error
        if not error:
            lane.pace.succeeded()
            lane.last_sent = now
            return [replace(d, state="sent", attempts=d.attempts + 1, error="") for d in result.batch]
        grouped = len(result.batch) > 1
        if result.outcome.down or grouped:
            lane.pace.failed(now)
        if grouped:  # a group that fails is no try of its members: after the wait one of them goes alone
            return [replace(d, state="queued", error=error) for d in result.batch]
        return [self._again(lane, d, error, now) for d in result.batch]

    def _again(self, lane: Lane, delivery: Delivery, error: str, now: int) -> Delivery:
        attempts = delivery.attempts + 1
        if attempts >= lane.channel.attempts:
            return replace(delivery, state="failed", attempts=attempts, error=error)
        later = now + lane.pace.wait(attempts)
        return replace(delivery, state="queued", attempts=attempts, error=error, next_try=later)

    def _keep(self) -> None:
        """Steps 1 and 2."""
        while self._results:
            self._unmarked.append((self._results[0], self._settle(self._results[0])))
            self._results.pop(0)
        while self._unmarked:
            result, marked = self._unmarked[0]
            self._outbox.mark(marked)
            self._unmarked.pop(0)
            result.lane.busy = False
            for delivery in marked:
                self._say(delivery, result.seconds)

    def _feed(self, lane: Lane, now: int) -> None:
        """Steps 3 and 4."""
        if lane.busy or not (batch := self._next(lane, now)):
            return
        sending = [replace(d, state="sending") for d in batch]
        self._outbox.mark(sending)
        lane.pace.use(now)
        lane.hand(sending)

    def _next(self, lane: Lane, now: int) -> Sequence[Delivery]:
        room = lane.pace.room(now)
        if not room:
            return []
        waiting = self._without_withdrawn(self._outbox.pending(lane.channel.name, now, GROUP))
        alone = room > 1 or lane.pace.failures > 0  # after a failure one message tries whether the channel is back
        return waiting[:1] if alone else waiting

    def _without_withdrawn(self, waiting: Sequence[Delivery]) -> Sequence[Delivery]:
        """Leave out (and mark) alerts that were never tried and have been withdrawn, and what withdraws them."""
        fresh = {_told(d): d for d in waiting if d.state == "queued" and not d.attempts}
        back = {_told(d).removesuffix(WITHDRAWN): d for d in waiting if d.kind == "withdrawn"}
        gone = [d for about in back.keys() & fresh.keys() for d in (fresh[about], back[about])]
        if not gone:
            return waiting
        marked = [replace(d, state="suppressed", error="withdrawn before it was sent") for d in gone]
        self._outbox.mark(marked)
        for delivery in marked:
            self._say(delivery, 0.0)
        return [d for d in waiting if d not in gone]

    def _say(self, delivery: Delivery, seconds: float) -> None:
        outcome = _OUTCOMES[delivery.state]
        self._observe(Notified(delivery.channel, delivery.id, outcome, seconds, delivery.error))


def _told(delivery: Delivery) -> str:
    """The id of the message that it delivers."""
    return delivery.id.removesuffix("@" + delivery.channel)
