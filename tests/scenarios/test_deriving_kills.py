"""Deriving through the command line: what is shown and printed, and kill -9 at any instant of it."""

from __future__ import annotations

import polars as pl
import pytest

from gapless.calendars import calendar
from gapless.engine.derive import folded
from gapless.spans import Span, SpanSet, Timeframe, parse_time

M1, M5, H1 = (Timeframe.ALL[name] for name in ("1m", "5m", "1h"))
SPAN = ("--start", "2024-05-31", "--end", "2024-06-03")
EVENTS = ("tail.sqlite-wal", "meta.sqlite-wal", "bars/5m/*.parquet", "bars/5m/.staged-*", "bars/5m/_delta_log/*.json")


def configured(shell, url: str) -> None:
    """The venue's address from now on, in a file as a user has it."""
    (shell.home / "gapless.toml").write_text(f'[sources.binance]\nbase_url = "{url}"\n', encoding="utf-8")


def derived_is_the_fold(store, span: Span) -> int:
    """Assert that each derived bar is the fold of what is stored beneath it now; how many there are."""
    count = 0
    for to in (M5, H1):
        rows = store.rows(to, None, None)
        for (name,), part in rows.filter(pl.col("source") == "derived-1m").group_by("instrument"):
            minutes = store.rows(M1, [str(name)], None)
            again = folded(minutes, M1, to, calendar("24/7"), span).drop("source", "known_at")
            same = part.drop("source", "known_at").join(again, on=again.columns, how="semi", nulls_equal=True)
            assert same.height == part.height, f"{name} {to}"
            count += part.height
    return count


def test_a_hole_is_shown_folded_and_told(shell, venue) -> None:
    """plan, repair, why and audit --json say who said it; the table has a line for it; repair asks nobody."""
    hole = SpanSet.of((parse_time("2024-06-01T03:00"), parse_time("2024-06-01T06:00")))
    names = {"symbols": ("BTCUSDT",), "outages_per_month": 0, "halts_per_month": 0, "listed_late": 0, "delisted": 0}
    words = ("--symbols", "BINANCE:BTCUSDT", *SPAN, "--timeframes")
    with venue(**names) as whole, venue(**names, outages=hole) as holey:
        configured(shell, whole.sim.url)
        shell.here("backfill", *words, "1m", code=0)
        configured(shell, holey.sim.url)
        shell.here("backfill", *words, "5m", "--derive", "never", code=0)
        found = shell.here("plan", *words, "1m,5m", "--json", code=0).json
        assert found["tasks"] == [
            {
                "source": "derived-1m", "instrument": "BINANCE:BTCUSDT", "timeframe": "5m",
                "start": "2024-06-01T03:00:00Z", "end": "2024-06-01T06:00:00Z", "requests": 0,
            }
        ]  # fmt: skip
        assert (found["derived"], found["bars"], found["requests"], found["residual"]) == (36, 36, 0, [])
        told = shell.here("plan", *words, "1m,5m", code=0).out
        assert "derived-1m  BINANCE:BTCUSDT  5m" in told
        assert "36 bars are folded from shorter ones" in told
        asked = holey.sim.requests
        run = shell.run("repair", "--json", code=0).json
        assert (run["totals"]["requests"], run["totals"]["written"], holey.sim.requests) == (0, 36, asked)
        assert [(d["from"], d["timeframe"], d["bars"]) for d in run["derived"]] == [("1m", "5m", 36)]
        assert shell.here("audit", run["run"], "--json", code=0).json["derived"] == run["derived"]
        answer = shell.here("why", "BINANCE:BTCUSDT", "5m", "2024-06-01T04:00", "--json", code=0).json
        assert (answer["bar"]["source"], answer["history"][-1]["source"]) == ("derived-1m", "derived-1m")
        assert shell.here("gaps", "--json", code=0).json == []


def test_wrong_words_name_the_right_ones_and_leave_no_lake(shell) -> None:
    """A way to derive that is none is a wrong call."""
    words = ("--symbols", "BINANCE:BTCUSDT", "--days", "1", "--timeframes", "5m", "--derive", "frist")
    for verb in ("plan", "backfill"):
        done = shell.here(verb, *words, code=2)
        assert "unknown way to derive 'frist'" in done.err
        assert "did you mean 'first'? Known: never, gaps, first" in done.err
        assert shell.here(verb, *words, "--json", code=2).json["error"]["type"] == "UnknownName"
    assert not shell.lake.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [30])
def test_deriving_killed_again_and_again_ends_with_the_same(shells, venue, killer, check, kills: int) -> None:
    """Whatever instant it dies at, each derived bar is that of its minutes; the end is that of a run left alone."""
    with venue(symbols=6, outages_per_month=0, halts_per_month=0) as v:
        words = (*v.words(timeframes="1m,5m,1h"), "--derive", "first")
        alone = shells("alone")
        alone.run(*words, code=0)
        death, lakes = killer(kills, 3.0, *EVENTS), 0
        while kills:
            shell, lakes = shells(f"lake{lakes}"), lakes + 1
            kills -= 1
            while death.strike(shell.start(*words), shell.lake):
                if (shell.lake / "meta.sqlite").exists():
                    with shell.store() as store:
                        check(store, v.truth())
                        derived_is_the_fold(store, v.span)
                if not kills:
                    break
                kills -= 1
            shell.run(*words, code=0)
            with shell.store() as store:
                check(store, v.truth())
                assert derived_is_the_fold(store, v.span) > 0
            for bars in (M1, M5, H1):
                assert shell.rows(bars).equals(alone.rows(bars))
            assert shell.here(*words, code=0).json["derived"] == []


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_a_correction_overtaken_by_a_kill_is_derived_again(shells, venue, killer, kills: int) -> None:
    """Minutes are corrected, the run that derives anew is killed at any instant: the next one leaves nothing stale."""
    with venue(symbols=("BTCUSDT",), outages_per_month=0, halts_per_month=0, listed_late=0, delisted=0) as v:
        words = ("backfill", "--symbols", "BINANCE:BTCUSDT", *SPAN, "--timeframes", "1m,5m,1h", "--derive", "first")
        for seed in range(kills):
            shell = shells(f"lake{seed}")
            configured(shell, v.sim.url)
            shell.run(*words, code=0)
            with shell.store() as store:
                rows = store.rows(M1, None, None).filter(pl.int_range(pl.len()) % 7 == 0).drop("source", "known_at")
                report = store.write(M1, rows.with_columns(high=pl.col("high") * 2), source="mine")
                assert report.corrected == rows.height
            killer(seed, 2.0, *EVENTS).strike(shell.start(*words), shell.lake)
            shell.run(*words, code=0)
            with shell.store() as store:
                assert derived_is_the_fold(store, v.span) == 3 * (288 + 24)
            assert shell.here(*words, "--json", code=0).json["derived"] == []
