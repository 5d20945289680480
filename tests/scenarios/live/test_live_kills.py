"""kill -9 at any instant: after a restart it is as if nothing had happened."""

from __future__ import annotations

import random
import time

import pytest

FAULTS = "ws_missing:0.02,ws_late:0.03,ws_corrected:0.03,ws_dup:0.02,ws_drop:0.02,429:0.02,reset:0.02,truncate:0.02"
KILLS = 30


@pytest.mark.slow
def test_a_killed_desk_goes_on_as_if_nothing_had_happened(live, hook, proof) -> None:
    """No bar, alert or message is lost, no message has two ids; cooldowns and positions are those of a replay."""
    chance = random.Random(30)
    run = live(30, 60.0, FAULTS, hook=hook)
    run.start()
    run.until(run.head, "the first bar time")
    for number in range(KILLS):
        time.sleep(chance.uniform(0.0, 2.0))
        run.kill()
        run.start()
        if number % 3 != 2:  # every third time it is killed while it starts
            run.until(run.head, "a bar time after a restart")
    run.on(3)
    run.stop()
    proof["settled"](run)
    run.venue.ask("/sim/faults", post=True, plan="")
    run.start()
    run.until(run.head, "a bar time without faults")
    run.until(lambda: not run.opened_journal().sent().get("queued"), "all messages sent")
    run.stop()
    done = proof["settled"](run)
    assert proof["true_bars"](run) > 0
    assert proof["all_told"](run, hook) == done["alerts"] > 0
