"""The lake keeps what it was given, tells what changed, and shows nothing half-done."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.bars import SCHEMA
from gapless.errors import LakeDamaged, LakeError, LakeLocked
from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.spans import DAY, MINUTE, Span, SpanSet, Timeframe, parse_time
from gapless.stores import refusals
from gapless.stores.compare import compare
from gapless.stores.delta import Change
from gapless.stores.lake import DIRECT_ROWS, Lake
from gapless.stores.maintain import compact, vacuum, verify
from gapless.stores.parquet import stage

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-01-30")
NOW = parse_time("2026-06-01")


def bars(name: str = "SIM:AAA", start: int = T0, count: int = 10, seed: int = 1) -> pl.DataFrame:
    """Valid bars of one instrument."""
    rng = np.random.default_rng(seed)
    close = np.round(100 + rng.normal(0, 1, count).cumsum() * 0.01, 2)
    return pl.DataFrame(
        {
            "instrument": [name] * count,
            "ts": start + np.arange(count) * MINUTE,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.round(rng.lognormal(3, 1, count), 3),
        }
    ).with_columns(pl.col("ts").cast(SCHEMA["ts"]))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", clock=Ticking(NOW))


class Ticking:
    """A clock that moves a microsecond at every look."""

    def __init__(self, start: int) -> None:
        self.now = start

    def __call__(self) -> int:
        self.now += 1
        return self.now


def values(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("instrument", "ts", "open", "high", "low", "close", "volume")


@pytest.mark.parametrize("count", [7, DIRECT_ROWS + 7])
def test_the_same_thing_twice_writes_nothing_the_second_time(lake: Lake, count: int) -> None:
    """Small writes go to the tail, large ones to Parquet; both are idempotent."""
    frame = bars(count=count)
    assert lake.write(M1, frame, source="a").total.written == count
    again = lake.write(M1, frame, source="a").total
    assert (again.written, again.unchanged, again.corrected) == (0, count, 0)
    assert values(lake.bars(None, M1)).equals(frame)


@pytest.mark.parametrize("count", [50, DIRECT_ROWS + 50])
def test_a_correction_is_readable_before_and_after(lake: Lake, count: int) -> None:
    """The old value stays readable as known at the time, also after folding and compacting."""
    frame = bars(count=count)
    lake.write(M1, frame, source="a")
    before = lake.clock()
    changed = frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("volume") + 1).otherwise("volume")
    )
    report = lake.write(M1, changed, source="b").total
    assert (report.corrected, report.unchanged) == ((count + 1) // 2, count // 2)
    for step in ("tail", "folded", "compacted"):
        if step == "folded":
            with lake.writing("fold"):
                lake.folder.fold(M1)
        if step == "compacted":
            compact(lake)
        assert values(lake.bars(None, M1)).equals(changed), step
        assert values(lake.bars(None, M1, as_of=before)).equals(frame), step
        assert lake.revisions(M1, None, None).height == (count + 1) // 2, step
    assert lake.bars(None, M1, as_of=NOW - DAY).height == 0
    assert verify(lake) == []


def test_corrections_of_corrections_keep_every_version(lake: Lake) -> None:
    """Each value is readable at each moment it stood."""
    times = []
    for k in range(5):
        lake.write(M1, bars(count=3).with_columns(volume=pl.lit(float(k))), source="a")
        times.append(lake.clock())
        if k == 2:
            compact(lake)
    for k, at in enumerate(times):
        assert lake.bars(None, M1, as_of=at)["volume"].to_list() == [float(k)] * 3


def test_presence_comes_from_content_wherever_rows_are(lake: Lake) -> None:
    """Tail and files count alike; a lost coverage index is read again from the files."""
    lake.write(M1, bars(count=DIRECT_ROWS + 1), source="a")
    lake.write(M1, bars(start=T0 + 40_000 * MINUTE, count=5), source="a")
    wanted = SpanSet.of((T0, T0 + (DIRECT_ROWS + 1) * MINUTE), (T0 + 40_000 * MINUTE, T0 + 40_005 * MINUTE))
    assert lake.present(M1)["SIM:AAA"] == wanted
    lake.meta.database.rows("DELETE FROM file")
    assert Lake(lake.root).present(M1)["SIM:AAA"] == wanted


def test_one_file_holds_one_instrument_and_one_period(lake: Lake) -> None:
    """Minutes live in month files until the year is over and compaction joins them."""
    frame = pl.concat([bars("SIM:AAA", count=30_000), bars("SIM:BBB", count=30_000)])
    lake.write(M1, frame, source="a")
    assert sorted({f.period for f in lake.log("bars", M1).live()}) == ["2025-01", "2025-02"]
    assert compact(lake)["files_saved"] == 2
    assert [f.period for f in lake.log("bars", M1).live()] == ["2025", "2025"]
    late = bars("SIM:AAA", start=T0 - MINUTE, count=1)
    lake.write(M1, late, source="a")
    compact(lake)
    assert [f.rows for f in lake.log("bars", M1).live()] == [30_001, 30_000]
    assert values(lake.bars(None, M1)).equals(pl.concat([late, frame]).sort("instrument", "ts"))


def test_vacuum_deletes_only_what_nothing_refers_to(lake: Lake) -> None:
    """Replaced and orphaned files go after the grace; live ones stay."""
    lake.write(M1, bars(count=DIRECT_ROWS + 1), source="a")
    (lake.root / "bars" / "1m" / ".staged-dead").write_bytes(b"x")
    compact(lake)
    assert vacuum(lake)["deleted"] == 0
    deleted = vacuum(lake, grace=-10 * 365 * DAY)["deleted"]
    assert deleted >= 1
    assert lake.bars(None, M1).height == DIRECT_ROWS + 1
    assert verify(lake) == []


def test_damage_is_found_and_named(lake: Lake) -> None:
    """A flipped byte, a truncated file and a missing file each have a name."""
    lake.write(M1, bars(count=DIRECT_ROWS + 1), source="a")
    file = next(iter(sorted((lake.root / "bars" / "1m").glob("*.parquet"))))
    good = file.read_bytes()
    file.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
    assert any("checksum" in p for p in verify(lake))
    file.write_bytes(good[: len(good) // 2])
    assert any("size" in p for p in verify(lake))
    with pytest.raises(LakeDamaged, match=file.name):
        lake.bars(None, M1)
    file.unlink()
    assert any("missing" in p for p in verify(lake))


def test_bad_rows_are_refused_once_and_the_rest_flows(lake: Lake) -> None:
    """A refused row keeps its values and reason; the same row again is not kept twice."""
    frame = bars(count=6).with_columns(
        close=pl.when(pl.int_range(pl.len()) == 2).then(float("nan")).otherwise("close"),
        low=pl.when(pl.int_range(pl.len()) == 3).then(-1.0).otherwise("low"),
        row=pl.int_range(1, 7, dtype=pl.Int64),
    )
    for _ in range(2):
        report = lake.write(M1, frame, source="file:x.csv")
        assert report.total.quarantined == 2
        assert dict(report.reasons) == {"not_a_number": 1, "not_positive": 1}
    kept = refusals.table(lake.meta)
    assert kept.select("row", "reason").rows() == [(3, "not_a_number"), (4, "not_positive")]
    assert lake.bars(None, M1).height == 4
    assert lake.facts(M1)[0].refused == SpanSet.of((T0 + 2 * MINUTE, T0 + 4 * MINUTE))


def test_of_snapshots_of_a_forming_bar_the_most_complete_stands(lake: Lake) -> None:
    """Rows with one key differ only because the bar grew: the one with most trades is the bar."""
    one = bars(count=1)
    snapshots = pl.concat([one.with_columns(volume=pl.lit(float(v)), trades=pl.lit(float(v))) for v in (5, 9, 7)])
    report = lake.write(M1, snapshots, source="a").total
    assert (report.written, report.duplicate) == (1, 2)
    assert lake.bars(None, M1)["volume"].to_list() == [9.0]


def test_a_snapshot_with_unknown_trades_does_not_win(lake: Lake) -> None:
    """NaN is unknown, not the greatest number."""
    one = bars(count=1)
    snapshots = pl.concat(
        [one.with_columns(volume=pl.lit(v), trades=pl.lit(t)) for v, t in ((9.0, 9.0), (5.0, np.nan))]
    )
    lake.write(M1, snapshots, source="a")
    assert lake.bars(None, M1)["volume"].to_list() == [9.0]


def test_a_source_that_knows_fewer_columns_contradicts_nothing(lake: Lake) -> None:
    """An optional column that is absent leaves the stored value alone."""
    lake.write(M1, bars(count=3).with_columns(trades=pl.lit(4.0)), source="a")
    assert lake.write(M1, bars(count=3), source="b").total.unchanged == 3
    assert lake.bars(None, M1)["trades"].to_list() == [4.0] * 3


def answer(start: int, end: int, *, status: str = "ok", known_at: int = NOW, source: str = "sim") -> Answer:
    span = Span(T0 + start * MINUTE, T0 + end * MINUTE)
    series = Series.parse("SIM:AAA", "1m")
    failed = status == "failed"
    return Answer(
        source, series, span, None if failed else span, 0, status, 2, "boom" if failed else "", "", "r", known_at
    )  # type: ignore[arg-type]


def test_the_ledger_merges_what_was_answered_and_settles_failures(lake: Lake) -> None:
    """Touching answers become one span; an answer over a failed span settles just that part."""
    lake.record([answer(0, 10), answer(20, 30), answer(10, 20, status="failed"), answer(40, 60, status="failed")])
    lake.record([answer(10, 20), answer(45, 50)])
    facts = lake.facts(M1)[0]
    assert facts.answered == SpanSet.of((T0, T0 + 30 * MINUTE), (T0 + 45 * MINUTE, T0 + 50 * MINUTE))
    assert [(f.asked.start - T0) // MINUTE for f in facts.failed] == [40, 50]
    assert [len(lake.meta.history(facts.series, Span(T0, T0 + DAY)))] == [6]


def test_a_bar_learned_right_after_its_close_is_provisional_for_an_hour(lake: Lake) -> None:
    """It is asked once more when the hour has passed; the second answer settles it."""
    early = T0 + 10 * MINUTE + 5
    lake.record([answer(0, 10, known_at=early)])
    assert lake.facts(M1)[0].provisional == SpanSet.of((T0, T0 + 10 * MINUTE))
    lake.record([answer(0, 10)])
    assert not lake.facts(M1)[0].provisional


def test_a_second_writer_waits_or_is_told_who_holds_the_lake(tmp_path: Path) -> None:
    """The lock dies with its process, and names it while it lives."""
    lake = Lake(tmp_path / "lake", patience=0.1)
    script = (
        "import sys,time; from gapless.stores.lake import Lake\n"
        f"with Lake({str(tmp_path / 'lake')!r}).writing('a long job'): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(LakeLocked, match=f"process {other.pid} .a long job."):
            lake.write(M1, bars(), source="a")
    finally:
        other.kill()
        other.wait()
    assert lake.write(M1, bars(), source="a").total.written == 10


def test_readers_see_whole_writes_while_a_writer_folds(lake: Lake) -> None:
    """Whatever moves between tail and files, a reader sees each committed minute exactly once."""
    lake.write(M1, bars(count=5), source="a")
    wrong: list[str] = []
    stop = threading.Event()

    def read() -> None:
        mine = Lake(lake.root)
        while not stop.is_set():
            frame = mine.bars(None, M1)
            ts = frame["ts"].to_physical().to_numpy()
            if frame.height < 5 or (np.diff(ts) != MINUTE).any():
                wrong.append(f"{frame.height} rows, steps {set(np.diff(ts))}")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for k in range(1, 30):
        lake.write(M1, bars(start=T0 + 5 * k * MINUTE, count=5), source="a")
        if k % 4 == 0:
            with lake.writing("fold"):
                lake.folder.fold(M1)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert lake.bars(None, M1).height == 150


def test_opening_what_is_not_there_says_so(tmp_path: Path) -> None:
    """A reader never makes a lake by mistake."""
    with pytest.raises(LakeError, match="there is no lake"):
        Lake(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_rows_without_a_symbol_are_refused_with_a_reason(lake: Lake) -> None:
    """They count in the total and are listed."""
    frame = pl.concat([bars(count=2), bars(count=1, start=T0 + DAY).with_columns(instrument=pl.lit(None, pl.String))])
    report = lake.write(M1, frame, source="a")
    assert (report.total.read, report.total.written, report.total.quarantined) == (3, 2, 1)
    assert dict(report.reasons) == {"bad_symbol": 1}


def test_instruments_are_read_alone_or_together(lake: Lake) -> None:
    """Reading by instrument and span returns exactly these rows."""
    frame = pl.concat([bars("SIM:AAA", count=30_000), bars("SIM:BBB", count=30_000)])
    lake.write(M1, frame, source="a")
    lake.write(M1, bars("SIM:AAA", start=T0 + 30_000 * MINUTE, count=3), source="a")
    span = Span(T0 + 29_999 * MINUTE, T0 + 30_002 * MINUTE)
    got = lake.bars([Instrument.parse("SIM:AAA")], M1, span)
    assert [(t - T0) // MINUTE for t in got["ts"].to_physical()] == [29_999, 30_000, 30_001]
    assert lake.bars([Instrument.parse("SIM:CCC")], M1).height == 0


def test_a_staged_file_that_vanished_is_not_committed(lake: Lake) -> None:
    """A vacuum without grace may take what another process has staged: the commit notices, the lake stays whole."""
    log = lake.log("bars", M1)
    staged = stage(log.prepare(), lake_rows(bars(count=3)), period="2025-01", timeframe=M1)
    (log.directory / staged.path).unlink()
    with pytest.raises(LakeError, match="deleted before it was committed"):
        log.commit(lambda _: Change([staged]))
    assert verify(lake) == []


def lake_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Bars as they are stored."""
    return compare(frame, None, source="a", known_at=NOW).keep


def test_the_snapshot_followed_from_commit_to_commit_is_the_one_in_the_log(lake: Lake) -> None:
    """Two writers of one lake, new files, files replaced, months joined: each sees what a fresh look sees."""
    other = Lake(lake.root, clock=Ticking(NOW + DAY))
    steps = [
        (lake, "SIM:BBB", T0), (lake, "SIM:AAA", T0), (other, "SIM:AB", T0), (lake, "SIM:AAA", T0 + 3 * DAY),
        (lake, "SIM:AAA", T0 - 90 * DAY), (other, "SIM:BBB", T0 + DAY), (lake, "SIM:CCC", T0),
    ]  # fmt: skip
    for at, (writer, name, start) in enumerate(steps):
        writer.write(M1, bars(name, start, count=200, seed=at), source="sim")
        writer.folder.fold(M1)
        for one in (writer, lake, other):
            assert one.log("bars", M1).live() == Lake(lake.root).log("bars", M1).live()
    lake.folder.compact(M1)
    assert lake.log("bars", M1).live() == Lake(lake.root).log("bars", M1).live()
