"""Deliveries over real HTTP: once each, in order, whatever the other side does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.alerts.throttle import Throttle
from gapless.notify.channel import Address, Channel
from gapless.notify.message import fired, report, withdrawn
from gapless.notify.notifier import Notifier
from gapless.notify.outbox import LONGEST, deliveries
from gapless.notify.sender import Outcome, sender
from gapless.spans import HOUR, MINUTE, SECOND

STILL = 0.15  # seconds in which nothing more comes


def test_a_webhook_gets_the_alert_its_id_and_its_words(hook, channel, started, send, alerts, until, outbox, events):
    """The body has the id, the text ends with it, the header too; the outbox and the observer hear that it was sent."""
    ops = channel(hook)
    (alert,) = alerts(1)
    send([alert], ops)
    started(ops)
    until(lambda: outbox.states() == ["sent"] and len(events) == 1)
    (body,) = hook.got
    assert (body["id"], body["kind"], body["severity"], body["attempt"]) == (alert.id, "fired", "warning", 1)
    assert body["data"]["evidence"] == {"z_er_15m": 3.41}
    assert body["data"]["close"] == "2023-11-14T22:15:00Z"
    assert body["title"] == "warning: spike up BINANCE:BTCUSDT"
    assert body["message"].endswith(f"z_er_15m 3.41\n#{alert.id[:8]}")
    assert hook.headers[0]["X-Gapless-Id"] == alert.id
    assert (events[0].channel, events[0].id, events[0].outcome) == ("ops", f"{alert.id}@ops", "sent")


def test_messages_keep_their_order_and_come_once(hook, channel, started, send, alerts, until, outbox):
    """Thirty alerts arrive as they were put, none twice, however often the worker is woken or the same are put."""
    ops = channel(hook, rate=Throttle(1000, MINUTE))
    ids = send(alerts(30), ops)
    notifier = started(ops)
    for _ in range(5):
        send(alerts(30), ops)
        notifier.wake()
    until(lambda: outbox.states() == ["sent"] * 30)
    assert hook.ids == ids


def test_a_server_that_was_down_gets_everything_once(hook, channel, started, send, alerts, until, outbox, watch):
    """While the address refuses connections nothing is lost or given up; once it is back all arrive, in order."""
    ops = channel(hook, rate=Throttle(1000, MINUTE), attempts=50)
    hook.down()
    ids = send(alerts(5), ops)
    notifier = started(ops)
    until(lambda: notifier.health()["ops"].failures > 0)
    assert notifier.health()["ops"].error == "it did not answer: no connection, or too slow"
    for _ in range(3):
        watch.now += LONGEST
    hook.up()

    def all_sent() -> bool:
        watch.now += SECOND
        return outbox.states() == ["sent"] * 5

    until(all_sent)
    assert hook.ids == ids
    assert notifier.health()["ops"].error == ""


def test_a_500_is_tried_again_later(hook, channel, started, send, alerts, until, outbox, events, watch):
    """Two 503s: the delivery waits, each time twice as long, then arrives; the observer hears of each try."""
    ops = channel(hook, backoff=10 * SECOND)
    hook.statuses = [503, 503]
    send(alerts(1), ops)
    started(ops)
    begin = watch.now
    until(lambda: len(events) == 1)
    (row,) = outbox.rows.values()
    assert (row.state, row.attempts, row.error, row.next_try) == ("queued", 1, "it answered 503", begin + 10 * SECOND)
    watch.now += 10 * SECOND
    until(lambda: len(events) == 2)
    assert next(iter(outbox.rows.values())).next_try == watch.now + 20 * SECOND
    assert hook.got == []
    watch.now += 20 * SECOND
    until(lambda: outbox.states() == ["sent"])
    assert [e.outcome for e in events] == ["retried", "retried", "sent"]
    assert hook.got[0]["attempt"] == 3


def test_a_message_is_given_up_on_record(hook, channel, started, send, alerts, until, outbox, watch, events):
    """After the last attempt the state is failed, with the reason; it is never tried again, and others go on."""
    ops = channel(hook, attempts=2)
    hook.statuses = [400, 400]
    (first,) = send(alerts(1), ops)
    notifier = started(ops)

    def given_up() -> bool:
        watch.now += SECOND
        return outbox.states() == ["failed"]

    until(given_up)
    row = outbox.rows[f"{first}@ops"]
    assert (row.attempts, row.error) == (2, "it answered 400")
    ids = send(alerts(3), ops)
    notifier.wake()
    until(lambda: hook.ids == ids[1:])
    assert [e.outcome for e in events][:2] == ["retried", "failed"]


def test_a_refused_message_does_not_hold_up_the_others(hook, channel, started, send, alerts, until, outbox):
    """A 400 is about that message: while it waits for its next try the one after it goes out."""
    ops = channel(hook, backoff=MINUTE)
    hook.statuses = [400]
    first, second = send(alerts(2), ops)
    started(ops)
    until(lambda: hook.ids == [second])
    assert (outbox.rows[f"{first}@ops"].state, outbox.rows[f"{first}@ops"].attempts) == ("queued", 1)


def test_a_slow_channel_delays_nobody_else(hook, other_hook, channel, send, alerts, until, outbox):
    """While one server sits on its first request, another gets all its messages."""
    gate = threading.Event()
    slow, quick = (
        channel(hook, "slow", rate=Throttle(99, MINUTE)),
        channel(other_hook, "quick", rate=Throttle(99, MINUTE)),
    )

    def make(which):
        def wait_and_send(_):
            gate.wait(10)
            return Outcome()

        return wait_and_send if which.name == "slow" else sender(which)

    send(alerts(10), slow, quick)
    notifier = Notifier([slow, quick], outbox, lambda: 1_700_000_000 * SECOND, make=make, poll=0.01).start()
    until(lambda: len(other_hook.got) == 10)
    assert notifier.health()["slow"].busy
    assert [d.state for d in outbox.rows.values() if d.channel == "slow"] == ["sending"] + ["queued"] * 9
    gate.set()
    assert notifier.close(10)
    assert outbox.states() == ["sent"] * 20


def test_a_server_slower_than_the_timeout_has_failed(hook, channel, started, send, alerts, until, outbox, events):
    """An answer that takes longer than the channel's timeout is a failure, and is tried again."""
    ops = channel(hook, timeout=SECOND // 20, backoff=MINUTE)
    hook.delay = 0.4
    send(alerts(1), ops)
    started(ops)
    until(lambda: len(events) == 1)
    assert (events[0].outcome, events[0].error) == ("retried", "it did not answer: no connection, or too slow")


def test_what_is_beyond_the_rate_comes_as_a_group(hook, channel, started, send, alerts, until, outbox, watch):
    """Of 30 alerts at 3 a minute two come alone and 28 as one group that names ten and says how many more."""
    ops = channel(hook, rate=Throttle(3, MINUTE))
    ids = send(alerts(30), ops)
    started(ops)
    until(lambda: outbox.states() == ["sent"] * 30)
    assert [b["kind"] for b in hook.got] == ["fired", "fired", "group"]
    assert hook.ids == ids
    lines = hook.got[2]["message"].splitlines()
    assert (len(lines), lines[-1]) == (11, "+18 more")
    assert lines[0].endswith("#" + ids[2][:8])
    assert hook.got[2]["events"][0]["data"]["ts"] == "2023-11-14T22:16:00Z"


def test_beyond_the_rate_nothing_is_sent_before_its_time(hook, channel, started, send, alerts, until, outbox, watch):
    """When the window is used up, what comes waits until the oldest use is a window ago."""
    ops = channel(hook, rate=Throttle(2, MINUTE))
    started(ops)
    send(alerts(2), ops)
    until(lambda: len(hook.ids) == 2)
    send(alerts(5), ops)
    time.sleep(STILL)
    assert len(hook.got) == 2
    watch.now += MINUTE - 1
    time.sleep(STILL)
    assert len(hook.got) == 2
    watch.now += 1
    until(lambda: outbox.states() == ["sent"] * 5)
    assert len(hook.ids) == len(set(hook.ids)) == 5


def test_killed_between_sending_and_marking_the_same_id_comes_again(
    hook, channel, started, send, alerts, until, outbox
):
    """What says `sending` is sent again by the next process, with the same id, so that the receiver can tell."""
    ops = channel(hook)
    (name,) = send(alerts(1), ops)
    assert started(ops).close(10)
    row = outbox.rows[f"{name}@ops"]
    outbox.rows[row.id] = replace(row, state="sending", attempts=0)  # as a process that died there leaves it
    started(ops)
    until(lambda: outbox.states() == ["sent"] and len(hook.got) == 2)
    assert hook.ids == [name, name]
    assert hook.headers[0]["X-Gapless-Id"] == hook.headers[1]["X-Gapless-Id"] == name


def test_a_full_disk_does_not_make_it_send_twice(hook, channel, started, send, alerts, until, outbox):
    """While the outbox cannot be written what was sent is remembered, nothing else is sent, and the trouble is told."""
    ops = channel(hook)
    ids = send(alerts(1), ops)
    hook.delay = 0.1
    notifier = started(ops)
    until(lambda: outbox.states() == ["sending"])
    outbox.fails = 10**9
    until(lambda: hook.ids == ids and "no space left" in notifier.trouble)
    send(alerts(2), ops)
    time.sleep(STILL)
    assert hook.ids == ids
    outbox.fails = 0
    until(lambda: outbox.states() == ["sent", "sent"])
    assert len(hook.ids) == len(set(hook.ids)) == 2
    until(lambda: notifier.trouble == "")


def test_an_alert_withdrawn_before_it_was_sent_is_not(hook, channel, started, send, alerts, until, outbox, events):
    """Neither it nor its withdrawal goes out, and the outbox says why; after one that was sent its withdrawal comes."""
    ops = channel(hook)
    early, late = alerts(2)
    send([early], ops)
    outbox.put(deliveries(withdrawn(fired(early), "the bar was corrected"), [ops], 0))
    send([late], ops)
    notifier = started(ops)
    until(lambda: hook.ids == [late.id])
    outbox.put(deliveries(withdrawn(fired(late), "the bar was corrected"), [ops], 0))
    notifier.wake()
    until(lambda: len(hook.ids) == 2)
    assert hook.got[1]["about"] == late.id
    until(lambda: outbox.states() == ["suppressed", "suppressed", "sent", "sent"])
    assert next(iter(outbox.rows.values())).error == "withdrawn before it was sent"
    assert [e.outcome for e in events][:2] == ["suppressed", "suppressed"]


def test_closing_sends_what_may_be_sent_and_leaves_the_rest(hook, channel, started, send, alerts, outbox):
    """All that waits goes out before close returns; what its rate forbids stays queued, and close does not wait."""
    free, tight = channel(hook, "free", rate=Throttle(99, MINUTE)), channel(hook, "tight", rate=Throttle(1, HOUR))
    send(alerts(1), tight)
    notifier = started(free, tight)
    send(alerts(20), free)
    assert notifier.close(10)
    send(alerts(3), tight)
    assert sorted(outbox.states()) == ["queued"] * 2 + ["sent"] * 21
    assert not notifier._thread.is_alive()


def test_a_sender_that_hangs_does_not_keep_close(channel, hook, send, alerts, outbox, until):
    """close returns False after its timeout; the delivery still says sending, and the next process sends it again."""
    gate = threading.Event()
    ops = channel(hook)
    send(alerts(1), ops)

    def hang(_: object) -> Outcome:
        gate.wait(20)
        return Outcome()

    notifier = Notifier([ops], outbox, lambda: 0, make=lambda _: hang, poll=0.01).start()
    until(lambda: outbox.states() == ["sending"])
    assert notifier.close(0.05) is False
    assert outbox.states() == ["sending"]
    gate.set()


def test_a_sender_that_breaks_is_a_failed_try(channel, hook, send, alerts, outbox, until, events):
    """An exception in a sender is told by its type only, and the thread goes on."""
    ops = channel(hook, attempts=2, backoff=1)
    send(alerts(1), ops)

    def broken(_: object) -> Outcome:
        raise ValueError("tgram://token")

    ticks = iter(range(0, 10**12, SECOND))
    notifier = Notifier([ops], outbox, lambda: next(ticks), events.append, make=lambda _: broken, poll=0.01).start()
    until(lambda: outbox.states() == ["failed"])
    assert notifier.close(5)
    assert [e.outcome for e in events] == ["retried", "failed"]
    assert all("ValueError in broken" in e.error and "token" not in e.error for e in events)


def test_a_clock_set_back_stops_nothing(hook, channel, started, send, alerts, until, outbox, events, watch):
    """After a failure the clock falls back by an hour: the next try comes at once rather than an hour late."""
    ops = channel(hook, backoff=MINUTE)
    hook.statuses = [503]
    send(alerts(1), ops)
    started(ops)
    until(lambda: len(events) == 1)
    watch.now -= HOUR
    until(lambda: outbox.states() == ["sent"])


def test_a_long_outage_fails_no_backlog(channel, hook, send, alerts, outbox, until, watch):
    """While a channel is down only its oldest message is tried: what waits behind it uses up no attempts."""
    ops = channel(hook, attempts=3, rate=Throttle(1, MINUTE))
    tries: list[str] = []

    def dead(notice) -> Outcome:
        tries.append(notice.id)
        return Outcome("it answered 503", down=True)

    ids = send(alerts(50), ops)

    def clock() -> int:
        watch.now += SECOND
        return watch.now

    notifier = Notifier([ops], outbox, clock, make=lambda _: dead, poll=0.001).start()
    until(lambda: outbox.states().count("failed") == 2)
    notifier.close(5)
    rows = [outbox.rows[f"{i}@ops"] for i in ids]
    assert [d.attempts for d in rows[:2]] == [3, 3]
    assert sum(d.attempts for d in rows[3:]) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["", "", "", "refused", "down"]), max_size=40),
    st.lists(st.booleans(), max_size=20),
    st.integers(1, 4),
)
def test_whatever_goes_wrong_every_message_has_one_end(memory, tries, marks, count):
    """Refusals, outages and a store that fails at random: each message is received once, or given up on record."""
    now, received, outbox = iter(range(0, 10**15, 10 * SECOND)), [], memory()
    ops = Channel("ops", Address("json://a"), rate=Throttle(count, MINUTE), attempts=3, backoff=SECOND)
    outbox.put([d for i in range(12) for d in deliveries(report(str(i), "", {}), [ops], 0)])
    outcomes, storms, mark = iter(tries), iter(marks), outbox.mark

    def receive(notice) -> Outcome:
        error = next(outcomes, "")
        if not error:
            received.extend(notice.data.get("ids", [notice.id]))
        return Outcome(error, down=error == "down")

    def stormy(found) -> None:
        if next(storms, False):
            raise OSError("locked")
        mark(found)

    outbox.mark = stormy
    notifier = Notifier([ops], outbox, lambda: next(now), make=lambda _: receive, poll=0.0005).start()
    deadline = time.monotonic() + 10
    while set(outbox.states()) - {"sent", "failed"} and time.monotonic() < deadline:
        time.sleep(0.001)
    assert notifier.close(5)
    ends = {i.removesuffix("@ops"): d for i, d in outbox.rows.items()}
    assert sorted(received) == sorted(i for i, d in ends.items() if d.state == "sent")
    assert all(d.attempts == 3 for d in ends.values() if d.state != "sent")
    assert len(ends) == 12
