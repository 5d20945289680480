"""kill -9 at any instant: nothing committed is lost, nothing half-written is seen, the end is the truth."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

import gapless as gl
from gapless.engine.build import set_name
from gapless.features import plan
from gapless.series import Series
from gapless.stores.maintain import logs

KEY = ["instrument", "ts"]
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
        assert not seen.height or not seen.join(rows, on=KEY, how="anti").height, "a bar seen before is lost"
        seen = rows
    return 0


def finish(shell, words, truth: pl.DataFrame, check) -> None:
    """Run to the end: the lake equals the truth, and once more: nothing is written."""
    shell.run(*words, code=0)
    with shell.store() as store:
        assert check(store, truth).sort("instrument", "ts").equals(truth)
    again = shell.here(*words, code=0).json["totals"]
    assert (again["written"], again["corrected"]) == (0, 0)
    assert shell.here("lake", "verify", "--json", code=0).json == {"problems": []}


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_backfill_killed_again_and_again_ends_with_the_truth(shells, venue, killer, check, kills: int) -> None:
    """Whatever instant a backfill is killed at, a restart goes on, and the finished lake equals the venue's truth."""
    with venue(symbols=24) as v:
        truth, death, lakes = v.truth(), killer(kills, 2.2, *BACKFILL), 0
        while kills:
            shell = shells(f"lake{lakes}")
            kills, lakes = survive(shell, death, v.words(), truth, check, kills), lakes + 1
            finish(shell, v.words(), truth, check)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_an_import_killed_again_and_again_ends_with_the_truth(
    shells, files, truth_of, killer, check, kills: int
) -> None:
    """An import with corrections, killed anywhere, ends with the true bars, and every replaced value once as it was."""
    truth = truth_of("2023-11-20", "2024-01-10")
    wrong = truth.filter(pl.col("ts").dt.day() % 5 == 0).with_columns(pl.col("volume") + 1.0)
    before = [str(p) for p in files("wrong", wrong)]
    words = ("import", *map(str, files("right", truth)), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    death, lakes = killer(kills, 2.0, *BACKFILL), 0
    first = shells("first")
    first.run("import", *before, *words[-5:], code=0)
    while kills:
        shell = shells(f"lake{lakes}")
        shutil.copytree(first.lake, shell.lake)
        kills, lakes = survive(shell, death, words, pl.concat([truth, wrong]), check, kills), lakes + 1
        finish(shell, words, truth, check)
        with shell.store() as store:
            old = store.revisions(store.timeframes()[0], None, None)
        assert old.select(wrong.columns).sort(KEY).equals(wrong)


@pytest.fixture(scope="module")
def months(tmp_path_factory, truth_of, market):
    """A lake with month files of years that are over, and its bars; copy it before use."""
    truth = truth_of("2022-11-01", "2023-02-10", market.symbols[:2])
    lake = gl.open(tmp_path_factory.mktemp("months") / "lake")
    for part in truth.with_columns(pl.col("ts").dt.quarter().alias("q")).partition_by("instrument", "q"):
        lake.write(part["instrument"][0], "1m", part.drop("instrument", "q"))
    early = truth.filter(pl.col("ts").dt.day() == 1)
    for part in early.with_columns(pl.col("volume") + 1.0).partition_by("instrument"):
        lake.write(part["instrument"][0], "1m", part.drop("instrument"))  # corrections, waiting in the tail
    return lake.path, truth.update(early.with_columns(pl.col("volume") + 1.0), on=KEY)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_compaction_killed_again_and_again_changes_no_bar(shells, months, killer, check, kills: int) -> None:
    """Compact and vacuum, killed anywhere, leave the same bars; in the end only live files are on the disk."""
    source, truth = months
    death, lakes = killer(kills, 1.6, *BACKFILL[2:], "tail.sqlite-wal"), 0
    while kills:
        shell = shells(f"lake{lakes}")
        shutil.copytree(source, shell.lake)
        for words in (("lake", "compact", "--json"), ("lake", "vacuum", "--grace", "0s", "--json")):
            kills = survive(shell, death, words, truth, check, kills)
            shell.run(*words, code=0)
        lakes += 1
        assert shell.rows().equals(truth)
        with shell.store() as store:
            for log in logs(store):
                assert {p.name for p in log.directory.glob("*") if p.is_file()} == {f.path for f in log.live()}
                assert {f.period for f in log.live()} <= {"2022", "2023", "all"}


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_build_killed_again_and_again_equals_one_batch(shells, months, killer, kills: int) -> None:
    """A build killed anywhere, and built again, holds the bits of one batch over the stored bars."""
    source, truth = months
    features = {"rsi14": "rsi(close, 14)", "ema9": "ema(close, 9)", "sma20": "sma(close, 20)"}
    text = ";".join(f"{n}={e}" for n, e in features.items())
    words = ("features", "build", "--features", text, "--timeframes", "1m", "--json")
    planned = plan(features)
    batch, name = gl.compute(truth, features).select(*KEY, *features), set_name(planned)
    events = (
        "features/*/1m/.staged-*",
        "features/*/1m/*.parquet",
        "features/*/1m/_delta_log/*.json",
        "meta.sqlite-wal",
    )
    death, lakes = killer(kills, 2.5, *events), 0
    while kills:
        shell = shells(f"lake{lakes}")
        shutil.copytree(source, shell.lake)
        lakes += 1
        while kills:
            if not death.strike(shell.start(*words), shell.lake):
                break
            kills -= 1
            assert (
                gl.open(shell.lake).features(None, "1m", features).select(batch.columns).equals(batch, null_equal=True)
            )
        shell.run(*words, code=0)
        assert gl.open(shell.lake).features(None, "1m", features).select(batch.columns).equals(batch, null_equal=True)
        with shell.store() as store:
            for (who,), part in batch.group_by("instrument"):
                rows = store.read_features(name, Series.parse(who, "1m").timeframe, who, None, planned.schema)
                assert rows.equals(part, null_equal=True)
        assert shell.here(*words, code=0).json["sets"][0]["rows"] == 0


@pytest.mark.slow
def test_an_import_of_many_commits_killed_among_checkpoints_ends_with_the_truth(
    shells, files, truth_of, killer, check, market
) -> None:
    """An import that makes a commit a file, so that the log is checkpointed and cut on the way, survives every kill."""
    truth = truth_of("2023-01-05", "2023-09-28", market.symbols)
    words = ("import", *files("in", truth, every="2w"), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    death, lakes, kills = killer(8, 4.0, *BACKFILL, "bars/1m/_delta_log/*"), 0, 15
    while kills:
        shell = shells(f"lake{lakes}")
        kills, lakes = survive(shell, death, words, truth, check, kills), lakes + 1
        finish(shell, words, truth, check)
        assert any(shell.lake.glob("bars/1m/_delta_log/*.checkpoint.parquet"))
