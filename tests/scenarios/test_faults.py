"""A venue that lies: every fault ends in the right bars, or in a gap that is listed and makes the exit code 1."""

from __future__ import annotations

import pytest

from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import wanted
from gapless.observe.progress import Silent
from gapless.spans import DAY, HOUR, MINUTE, iso

KEY = ["instrument", "ts"]
CONTENT = ("short", "empty", "duplicate", "disorder", "micros")
TRANSPORT = ("429", "5xx", "timeout", "reset", "truncate")
ALONE = [
    "ban:1x", "skew:2m", "skew:-2m", *(f"{n}:0.3" for n in CONTENT), *(f"{n}:1x" for n in TRANSPORT),
    *(pytest.param(f"{n}:0.3", marks=pytest.mark.slow) for n in TRANSPORT),
]  # fmt: skip
TOGETHER = (
    "429:0.05,5xx:0.08,timeout:0.05,reset:0.08,truncate:0.08,ban:1x,short:0.1,empty:0.1,duplicate:0.1,disorder:0.1,"
    "micros:0.1,skew:2s"
)
QUICK = {"hold": 0.05, "ban": 1.0}


def honest_end(shell, v, check) -> int:
    """Backfill, then repair until all is there; at every end the exit code tells the truth. How many runs it took."""
    truth, (_, *rest) = v.truth(), v.words()
    for run, verb in enumerate(["backfill", *["repair"] * 8], 1):
        done = shell.here(verb, *rest)
        with shell.store() as store:
            rows = check(store, truth)
        listed = shell.here("gaps", "--start", v.start, "--end", v.end, "--json")
        left = [g for g in listed.json if g["class"] in ("never_asked", "failed", "vendor_hole")]
        assert done.code == listed.code == (1 if left else 0), done.told
        assert done.json["gaps"] == left
        if done.code == 0:
            assert rows.sort(KEY).equals(truth)
            assert shell.here(*v.words(), code=0).json["totals"]["written"] == 0
            return run
        assert sum(g["bars"] for g in left) >= truth.height - rows.height
    raise AssertionError("eight repairs did not complete the lake")


@pytest.mark.parametrize("fault", ALONE)
def test_each_fault_alone_ends_in_the_right_bars_or_in_a_listed_gap(shell, venue, check, fault: str) -> None:
    """Whatever one fault does to the pages, no wrong bar is stored, and exit code 0 means all bars are there."""
    with venue(symbols=3, start="2024-06-01", end="2024-06-03", delisted=0, faults=fault, **QUICK) as v:
        honest_end(shell, v, check)
        assert v.sim.injected[fault.partition(":")[0]] > 0


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])
def test_all_faults_together_end_in_the_right_bars(shell, venue, check, seed: int) -> None:
    """With every fault at once the end is the truth all the same."""
    with venue(symbols=3 + 3 * (seed > 1), start="2024-05-31", faults=TOGETHER, seed=seed, **QUICK) as v:
        honest_end(shell, v, check)
        assert sum(v.sim.injected.values()) > 5


def test_a_source_that_never_answers_leaves_listed_gaps(shell, venue) -> None:
    """A source that only fails: exit code 1, and every bar is in a gap of class failed that names the error."""
    with venue(symbols=2, start="2024-06-01", end="2024-06-03", faults="5xx:1.0") as v:
        (shell.home / "gapless.toml").write_text('[sources.binance]\nattempts = 2\npatience = "1s"\n')
        done = shell.here(*v.words(), code=1)
        gaps = shell.here("gaps", "--json", code=1).json
        assert {g["class"] for g in gaps} == {"failed"}
        assert sum(g["bars"] for g in gaps) == sum(g["bars"] for g in done.json["gaps"]) == 2 * 2880
        assert all("binance" in " ".join(g["evidence"]) for g in gaps)
        v.sim.exchange.plan_faults("")
        shell.here("repair", "--base-url", v.sim.url, code=0)
        assert shell.rows().sort(KEY).equals(v.truth())


def test_late_bars_are_asked_again_and_the_first_values_stay_readable(shell, venue, monkeypatch) -> None:
    """Bars that were incomplete when first asked are corrected once they have settled; --as-of shows what was known."""
    import gapless.engine.fetch as engine_fetch
    import gapless.stores.lake as stores_lake

    ahead = 0
    real = stores_lake.wall_clock
    for module in (stores_lake, engine_fetch):
        monkeypatch.setattr(module, "wall_clock", lambda: real() + ahead)
    with venue(symbols=3, start=iso(real() - DAY), end=iso(real()), now=None, speed=1.0, faults="late:1.0") as v:
        lake = Lake(shell.lake)
        lake.store.clock = lambda: real() + ahead
        words = {"symbols": ",".join(f"BINANCE:{s}" for s in v.symbols), "base_url": v.sim.url, "days": 0.2}
        assert fetch(wanted(lake, "backfill", **words), Silent()).exit_code == 0
        first, known = lake.store.rows(lake.store.timeframes()[0], None, None), lake.store.clock()
        truth = v.truth().join(first.select(KEY), on=KEY, how="semi")
        late = first.select(truth.columns).join(truth, on=truth.columns, how="anti")
        assert 0 < late.height <= 3 * 6
        provisional = lake.store.meta.provisional(lake.store.timeframes()[0], known + DAY)
        assert all(provisional[r["instrument"]].contains(int(r["ts"].timestamp() * 1e6)) for r in late.to_dicts())
        ahead = 2 * HOUR
        v.sim.clock.advance(2 * HOUR)
        run = fetch(wanted(lake, "backfill", **words), Silent())
        assert run.exit_code == 0
        assert run.document["totals"]["corrected"] == late.height
        now = lake.store.rows(lake.store.timeframes()[0], None, None).select(truth.columns)
        assert truth.join(now, on=truth.columns, how="anti").height == 0
        name, at = late.row(0)[:2]
        words = ("bars", name, "1m", "--start", at.isoformat(), "--end", iso(int(at.timestamp()) * 1_000_000 + MINUTE))
        assert shell.here(*words, "--as-of", iso(known), "--json", code=0).json[0]["volume"] == late.row(0)[6]
        assert shell.here(*words, "--json", code=0).json[0]["volume"] > late.row(0)[6]
