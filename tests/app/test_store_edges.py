"""Edges of the embedded lake, each found or feared in review: what a stranger with money on it would try."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from gapless.bars import SCHEMA
from gapless.errors import LakeDamaged, LakeError, LakeFull, UsageError
from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.spans import DAY, HOUR, MINUTE, Span, Timeframe, parse_time
from gapless.stores import lake as module
from gapless.stores import parquet, refusals
from gapless.stores.lake import Lake
from gapless.stores.maintain import compact, vacuum, verify

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-01-30")
NOW = parse_time("2026-06-01")


def bars(
    name: str = "SIM:AAA", *, start: int = T0, count: int = 5, close: float = 2.0, size: int = MINUTE
) -> pl.DataFrame:
    """Flat bars of one instrument."""
    ts = pl.Series([start + k * size for k in range(count)]).cast(SCHEMA["ts"])
    price = pl.lit(close)
    return pl.DataFrame({"ts": ts}).select(
        pl.lit(name).alias("instrument"), "ts",
        *(price.alias(n) for n in ("open", "high", "low", "close")), pl.lit(1.0).alias("volume"),
    )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", clock=lambda: NOW)


def fold(lake: Lake) -> None:
    with lake.writing("fold"):
        lake.folder.fold(M1)


def test_a_time_beyond_all_calendars_is_refused_and_listed(lake: Lake) -> None:
    """Times that Python cannot hold are refused like any other bad time, and listing them works."""
    far = bars(count=2).with_columns(ts=pl.Series([2**63 - 1, -(2**63) + 1]).cast(SCHEMA["ts"]))
    report = lake.write(M1, pl.concat([bars(), far]), source="a")
    assert dict(report.reasons) == {"time_out_of_range": 2}
    assert refusals.table(lake.meta)["ts"].to_list() == [None, None]
    assert not lake.facts(M1)[0].refused


def test_a_lost_tail_does_not_swallow_what_is_written_after(lake: Lake) -> None:
    """Chunk numbers start again when tail.sqlite is lost or restored; a fold must not take them for folded ones."""
    for k in range(3):
        lake.write(M1, bars(start=T0 + k * HOUR), source="a")
    fold(lake)
    lake.close()
    for path in lake.root.glob("tail.sqlite*"):
        path.unlink()
    again = Lake(lake.root, clock=lambda: NOW)
    again.write(M1, bars(start=T0 + DAY), source="a")
    again.write(M1, bars(start=T0 + DAY, close=3.0), source="b")
    fold(again)
    assert again.bars(None, M1).height == 20
    assert again.revisions(M1, None, None).height == 5


def test_presence_never_lags_behind_a_commit_that_came_while_it_was_read(lake: Lake) -> None:
    """What another process commits between two looks is seen by the next look."""
    lake.write(M1, bars(), source="a")
    other = Lake(lake.root, clock=lambda: NOW)
    log = lake.log("bars", M1)
    real = log.live

    def live() -> object:
        seen = real()
        with other.writing("direct"):
            other.folder.upsert(M1, other.rows(M1, None, None).with_columns(pl.lit("SIM:BBB").alias("instrument")))
        return seen

    log.live = live  # type: ignore[method-assign, assignment]
    lake.present(M1)
    log.live = real  # type: ignore[method-assign]
    assert set(lake.present(M1)) == {"SIM:AAA", "SIM:BBB"}


def test_a_file_replaced_a_moment_ago_outlives_a_vacuum(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace counts from when a file was replaced, not from when it was written: a reader may still hold it."""
    monkeypatch.setattr(module, "DIRECT_ROWS", 3)
    lake.clock = module.wall_clock
    lake.write(M1, bars(), source="a")
    old = [lake.root / "bars" / "1m" / f.path for f in lake.log("bars", M1).live()]
    for path in old:
        os.utime(path, (0, time.time() - 30 * 86_400))
    lake.write(M1, bars(close=3.0), source="a")
    assert vacuum(lake)["deleted"] == 0
    assert all(path.exists() for path in old)


def test_everything_a_commit_needs_is_synced(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may fail after a write returns: every log entry, every file and every new directory was synced before."""
    synced: set[str] = set()
    real = os.fsync

    def spy(handle: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(module, "DIRECT_ROWS", 3)
    lake.write(M1, bars(), source="a")
    table = lake.root / "bars" / "1m"
    entries = {str(p) for p in (table / "_delta_log").glob("*.json")}
    assert len(entries) == 2
    assert entries <= synced
    assert {str(p) for p in (table / "_delta_log", table, table.parent, lake.root)} <= synced


def test_a_full_database_is_told_as_such_and_can_be_used_again(lake: Lake) -> None:
    """SQLite ends a transaction itself when the disk is full; that must not hide what happened, nor wedge the lake."""
    lake.write(M1, bars(), source="a")
    lake.tail.database.rows("PRAGMA max_page_count=1")
    written = 0

    def fill() -> None:
        nonlocal written
        for k in range(200):
            written += lake.write(M1, bars(start=T0 + (k + 1) * DAY, count=500), source="a").total.written

    with pytest.raises(LakeFull):
        fill()
    kept = lake.bars(None, M1).height
    assert kept == written + 5
    lake.tail.database.rows("PRAGMA max_page_count=1000000")
    assert lake.write(M1, bars(start=T0 - DAY), source="a").total.written == 5
    assert lake.bars(None, M1).height == kept + 5
    assert verify(lake) == []


@pytest.mark.parametrize("name", ["../../etc", "no colon", "BINANCE:", "sim:aaa", "SIM:BBB\n"])
def test_a_name_that_is_none_is_refused_before_anything_is_kept(lake: Lake, name: str) -> None:
    """A bad name must not get into the lake, where it would break every later look at it."""
    with pytest.raises(UsageError):
        lake.write(M1, pl.concat([bars(), bars(name)]), source="a")
    assert lake.bars(None, M1).height == 0


@pytest.mark.parametrize("timeframe", list(Timeframe.ALL))
def test_a_bar_learned_early_is_asked_again_whatever_its_length(lake: Lake, timeframe: str) -> None:
    """The newest bar opens inside the provisional span: a span without a bar's open asks for nothing."""
    bar = Timeframe.parse(timeframe)
    close = bar.floor(parse_time("2025-06-02"))
    span = Span(close - 200 * bar.micros, close)
    series = Series.parse("SIM:AAA", timeframe)
    lake.record([Answer("sim", series, span, span, 200, "ok", 1, "", "", "r", close + 5 * MINUTE)])
    again = lake.facts(bar)[0].provisional
    assert again.contains(close - bar.micros)
    closes_before = close + 5 * MINUTE - HOUR
    assert again.clip(span).bars(bar) == len(
        [t for t in range(span.start, close, bar.micros) if t + bar.micros > closes_before]
    )


def test_two_corrections_in_the_same_microsecond_are_two_versions(lake: Lake) -> None:
    """A clock that stands still never makes a value unreadable."""
    for k in range(4):
        lake.write(M1, bars(close=2.0 + k), source="a")
        if k == 1:
            fold(lake)
    for k in range(4):
        assert lake.bars(None, M1, as_of=NOW + k)["close"].to_list() == [2.0 + k] * 5
    compact(lake)
    assert lake.bars(None, M1, as_of=NOW)["close"].to_list() == [2.0] * 5


def test_more_than_five_hundred_names_are_read_like_few(lake: Lake) -> None:
    """The tail is filtered by name however many are asked for."""
    lake.write(M1, pl.concat([bars("SIM:AAA"), bars("SIM:BBB")]), source="a")
    many = [Instrument.parse(f"SIM:N{k}") for k in range(600)]
    assert lake.bars([*many, Instrument.parse("SIM:BBB")], M1)["instrument"].unique().to_list() == ["SIM:BBB"]
    assert lake.bars([], M1).height == 0


def test_a_commit_that_raised_after_it_landed_is_made_durable(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen to have landed, done once, and its log entry is synced all the same."""
    log = lake.log("bars", M1)
    real_write, real_sync, synced = log._write, log._sync_log, []

    def landed_but_raised(*arguments: object) -> None:
        real_write(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("connection lost")

    monkeypatch.setattr(log, "_write", landed_but_raised)
    monkeypatch.setattr(log, "_sync_log", lambda: synced.append(real_sync()))
    monkeypatch.setattr(module, "DIRECT_ROWS", 3)
    lake.write(M1, bars(), source="a")
    assert lake.bars(None, M1).height == 5
    assert len(log.live()) == 1
    assert synced


def test_two_writers_who_read_the_same_snapshot_do_not_both_win(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan made from an older snapshot than the one it is committed to is refused, never merged."""
    monkeypatch.setattr(module, "DIRECT_ROWS", 3)
    lake.write(M1, bars(), source="a")
    log = lake.log("bars", M1)
    (file,) = log.live()
    other = Lake(lake.root, clock=lambda: NOW + 1)
    other.write(M1, bars(close=3.0), source="b")
    mine = parquet.stage(log.directory, lake.rows(M1, None, None), period="2025-01", timeframe=M1)
    from gapless.stores.delta import Change

    with pytest.raises(LakeError, match="replaced by another writer"):
        log.commit(lambda _: Change([mine], [file]))
    with pytest.raises(LakeError, match="overlap"):
        log.commit(lambda _: Change([mine]))
    assert lake.bars(None, M1)["close"].to_list() == [3.0] * 5


def test_a_venue_that_says_an_instrument_trades_again_takes_the_end_back(lake: Lake) -> None:
    """A delisting that the venue no longer states is no longer believed."""
    from gapless.protocols import Listing

    name = Instrument.parse("SIM:AAA")
    lake.meta.store_listings([Listing(name, "break", T0, NOW)], how="sim says so", now=NOW)
    lake.meta.store_listings([Listing(name, "trading")], how="sim says so", now=NOW + 1)
    assert lake.meta.listings()[str(name)][:2] == (T0, None)


def test_threads_of_one_process_share_a_lake(lake: Lake) -> None:
    """Writers and readers in threads: every row once, nothing lost, no error."""
    wrong: list[str] = []

    def write(k: int) -> None:
        for j in range(5):
            lake.write(M1, bars(f"SIM:T{k}", start=T0 + j * HOUR, count=60), source="a")

    def look() -> None:
        for _ in range(20):
            frame = lake.bars(None, M1)
            total = sum(s.bars(M1) for s in lake.present(M1).values())
            if frame.height % 60 or total < frame.height:
                wrong.append(f"{frame.height} rows, {total} present")

    threads = [threading.Thread(target=write, args=(k,)) for k in range(3)] + [threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert lake.bars(None, M1).height == 3 * 5 * 60


def test_presence_costs_what_changed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small write looks up no file of the index, a large one only its own: nothing follows the size of the lake."""
    monkeypatch.setattr(module, "DIRECT_ROWS", 30)
    lake.write(M1, pl.concat([bars(f"SIM:N{k}", start=T0 + k * 40 * DAY) for k in range(9)]), source="a")
    asked: list[int] = []
    real = lake.meta.file_runs
    monkeypatch.setattr(lake.meta, "file_runs", lambda d, p: asked.append(len(p)) or real(d, p))
    assert len(lake.present(M1)) == 9
    lake.write(M1, bars("SIM:N3", start=T0), source="a")
    lake.write(M1, bars("SIM:N4", start=T0 + 400 * DAY, count=40), source="a")
    assert lake.present(M1)["SIM:N4"].bars(M1) == 45
    assert sorted(asked) == [1, 9]


def test_presence_recovers_from_a_file_that_could_not_be_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed before the failure is not forgotten when the file is back."""
    lake.write(M1, bars(), source="a")
    assert lake.present(M1)
    other = Lake(lake.root, clock=lambda: NOW)
    monkeypatch.setattr(module, "DIRECT_ROWS", 3)
    other.write(M1, bars("SIM:BBB"), source="a")
    monkeypatch.setattr(module, "DIRECT_ROWS", 30)
    other.write(M1, bars("SIM:CCC"), source="a")
    with other.meta.database.transaction() as db:
        db.execute("DELETE FROM file")
    (path,) = (lake.root / "bars" / "1m").glob("*.parquet")
    path.rename(path.with_suffix(".away"))
    with pytest.raises(LakeDamaged):
        lake.present(M1)
    path.with_suffix(".away").rename(path)
    assert set(lake.present(M1)) == {"SIM:AAA", "SIM:BBB", "SIM:CCC"}
