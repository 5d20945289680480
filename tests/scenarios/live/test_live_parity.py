"""Live equals history: after simulated market with every fault, nothing is missing and nothing is different.

A seed that fails is run again, alone, by

    GAPLESS_SEEDS=17 pytest tests/scenarios/live/test_live_parity.py -m slow

and ``GAPLESS_MINUTES=60`` makes each of them an hour of market.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

FAULTS = (
    "ws_missing:0.01,ws_late:0.01,ws_corrected:0.01,ws_dup:0.02,ws_reorder:0.02,ws_garbage:0.01,ws_drop:0.03,"
    "ws_halfopen:0.002,ws_burst:0.01,ws_silence:0.01,ws_refuse:0.1,"
    "429:0.03,5xx:0.03,timeout:0.01,reset:0.03,truncate:0.02,short:0.05,duplicate:0.05,disorder:0.05,"
    "late:0.02,empty:0.02,micros:0.05,skew:300ms"
)
SEEDS = [int(seed) for seed in os.environ.get("GAPLESS_SEEDS", "").split(",") if seed] or range(1, 21)
MINUTES = int(os.environ.get("GAPLESS_MINUTES", "20"))


def lived(live, hook, proof, seed: int, minutes: int, kills: int = 0) -> dict[str, int]:
    """Live through so many minutes of faults, stop, and be right; live on without faults, and be whole."""
    run = live(seed, 120.0, FAULTS, hook=hook)
    run.start()
    for _ in range(kills):
        run.on(minutes // (kills + 1))
        run.kill()
        run.start()
    run.on(minutes // (kills + 1))
    run.stop(code=None)  # the last of a fault may not be over: that is told by the exit code
    proof["settled"](run)
    run.venue.ask("/sim/faults", post=True, plan="")
    run.start()
    run.until(run.head, "a bar time without faults")
    run.until(lambda: not run.opened_journal().sent().get("queued"), "all messages sent")
    run.stop()
    return proof["settled"](run) | {"true": proof["true_bars"](run), "told": proof["all_told"](run, hook)}


@pytest.mark.slow
def test_live_equals_history(live, hook, shell, proof) -> None:
    """Bars are the venue's truth, feature rows a batch run bit for bit, alerts and positions those of a replay.

    It is killed twice on the way; what was told is all, and never twice under two ids. `features verify` agrees.
    """
    done = lived(live, hook, proof, 1, 21, kills=2)
    assert done["rows"] >= 6 * 20
    assert done["alerts"] == done["told"] > 0
    assert done["true"] > 13 * 60 * 6
    run = live.runs[0]
    shell.home, shell.lake = run.home, run.lake
    lines = shell.run("features", "verify", "--sample", "0", "--json").json
    assert sum(line["values"] for line in lines if line["live"]) == 7 * done["rows"]
    assert {line["differing"] for line in lines} == {0}


@pytest.mark.slow
def test_live_equals_history_whatever_the_seed(live, hooks, proof) -> None:
    """Twenty seeds: other markets, other faults."""
    with ThreadPoolExecutor(4) as pool:  # each is a process or two; this one waits for them
        runs = {seed: pool.submit(lived, live, hooks(), proof, seed, MINUTES) for seed in SEEDS}
        wrong = {seed: error for seed, run in runs.items() if (error := run.exception()) is not None}
    assert not wrong, f"run again: GAPLESS_SEEDS={','.join(map(str, wrong))}; {wrong}"
