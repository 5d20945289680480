"""Features and rules that read funding rates and open interest, live: asked for beside the stream, decided alike."""

from __future__ import annotations

import polars as pl
import pytest

from gapless.app import decisions
from gapless.spans import Timeframe

pytestmark = pytest.mark.slow
M1 = Timeframe.parse("1m")


def with_values(text: str) -> str:
    """The usual desk, that looks at values too."""
    text = text.replace(
        "[features]",
        '[features]\noi = "oi_delta_1h(10)"\nfunding = "funding_rate * 1"\nlevel = "ema(open_interest, 5)"',
        1,
    )
    return text + (
        '\n[alerts.crowded]\nwhen = "abs(funding_rate) >= 0.00001 and rank(oi_delta_1h(10)) >= 0.5"\ncooldown = "5m"\n'
    )


def test_values_reach_the_bars_of_a_live_run_with_the_bits_of_history(live, shell, proof) -> None:
    """What is polled is found by the run, and what was decided without it is decided again: live rows, alerts and
    positions are those of a batch over stored bars and values, through a stop, a correction from beside, and a kill."""
    run = live(4, 60.0, changed=with_values)
    run.start()
    run.until(lambda: run.state().get("counts", {}).get("disturbed"), "values found")
    run.on(12)
    run.stop()
    assert proof["settled"](run)["rows"] > 0
    lake = run.opened()
    names = {"oi": "oi_delta_1h(10)", "funding": "funding_rate * 1"}
    known = decisions.journal(lake)
    assert known is not None
    rows = lake.features("BINANCEUSDM:BTCUSDT", "1m", names)
    assert rows.tail(10)["funding"].is_not_nan().all()
    assert rows.tail(10)["oi"].is_not_nan().all()
    assert lake.store.rows(M1, None, None)["open_interest"].null_count() == lake.store.rows(M1, None, None).height
    held = {(h.name, h.instrument) for h in lake.store.values.held()}
    assert len(held) == 2 * len(run.symbols)

    when = lake.values("open_interest", "BINANCEUSDM:BTCUSDT")["ts"][-3]
    wrong = pl.DataFrame({"ts": [when], "value": [1.0]})
    run.start()
    run.on(2)
    assert run.opened().write_values("open_interest", "BINANCEUSDM:BTCUSDT", wrong).corrected == 1
    run.on(8)
    run.until(lambda: {a["rule"] for a in decisions.alerts(run.opened())} >= {"crowded"}, "an alert that reads values")
    run.stop()
    proof["settled"](run)
    run.start()
    run.on(3)
    run.kill()
    run.start()
    run.on(2)
    run.stop()
    proof["settled"](run)
