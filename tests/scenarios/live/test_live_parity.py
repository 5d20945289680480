"""Live equals history: after simulated market with every fault, nothing is missing and nothing is different."""

from __future__ import annotations

import pytest

FAULTS = (
    "ws_missing:0.01,ws_late:0.01,ws_corrected:0.01,ws_dup:0.02,ws_reorder:0.02,ws_garbage:0.01,ws_drop:0.01,"
    "ws_halfopen:0.002,ws_burst:0.01,ws_silence:0.01,ws_refuse:0.1,"
    "429:0.03,5xx:0.03,timeout:0.01,reset:0.03,truncate:0.02,short:0.05,duplicate:0.05,disorder:0.05,skew:300ms"
)


@pytest.mark.parametrize("seed", [1])
def test_live_equals_history(live, proof, seed: int) -> None:
    """Bars are the venue's truth, feature rows a batch run bit for bit, alerts and positions those of a replay."""
    run = live(seed, 60.0, FAULTS)
    run.start()
    run.until(run.head, "the first bar time")
    begin = run.head()
    run.until(lambda: run.head() >= begin + 20 * 60_000_000, "20 minutes of market", 90)
    run.stop()
    print(proof["settled"](run), run.venue.ask("/sim/faults"), run.state())
    run.venue.ask("/sim/faults", post=True, plan="")
    run.start()
    run.until(run.head, "the first bar time")
    run.stop()
    print(proof["settled"](run), proof["true_bars"](run))
