"""kill -9 at any instant: nothing committed is lost, nothing half-written is seen, the end is the truth."""

from __future__ import annotations

import polars as pl
import pytest

BACKFILL = ("tail.sqlite-wal", "meta.sqlite-wal", "bars/1m/.staged-*", "bars/1m/*.parquet", "bars/1m/_delta_log/*.json")


def survive(shell, killer, words, truth, check, kills: int) -> int:
    """Start, kill, look, start again; True kills that were left when the command got to its end."""
    seen = shell.rows()
    while kills:
        process = shell.start(*words)
        struck = killer.strike(process, shell.lake)
        if not struck:
            return kills
        kills -= 1
        if not (shell.lake / "meta.sqlite").exists():
            continue
        with shell.store() as store:
            rows = check(store, truth)
        assert seen.height == 0 or seen.join(rows, on=seen.columns, how="anti").height == 0, "a bar seen before is lost"
        seen = rows
    return 0


def finish(shell, words, truth: pl.DataFrame, check) -> None:
    """Run to the end: the lake equals the truth, and once more: nothing is written."""
    shell.run(*words, code=0)
    with shell.store() as store:
        assert check(store, truth).sort("instrument", "ts").equals(truth)
    again = shell.run(*words, code=0).json["totals"]
    assert (again["written"], again["corrected"]) == (0, 0)
    assert shell.run("lake", "verify", "--json", code=0).json == {"problems": []}


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_backfill_killed_again_and_again_ends_with_the_truth(shells, venue, killer, check, kills: int) -> None:
    """Whatever instant a backfill is killed at, a restart goes on, and the finished lake equals the venue's truth."""
    with venue(symbols=24) as v:
        truth, death, lakes = v.truth(), killer(kills, 2.2, *BACKFILL), 0
        while kills:
            shell = shells(f"lake{lakes}")
            kills, lakes = survive(shell, death, v.words(), truth, check, kills), lakes + 1
            finish(shell, v.words(), truth, check)
