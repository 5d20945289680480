"""Live bars: a moment is one row of the tail, and yet any reader sees every bar."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.bars import TS
from gapless.series import Instrument
from gapless.spans import MINUTE, Span, SpanSet, Timeframe
from gapless.stores.decoded import Decoded
from gapless.stores.lake import Lake
from gapless.stores.moments import MomentWriter

M1 = Timeframe.parse("1m")
BASE = 28_000_000 * MINUTE
NAMES = [f"X:S{i:02d}" for i in range(12)]


def minute(k: int, names: list[str] = NAMES, price: float = 10.0) -> pl.DataFrame:
    """Bars of one minute."""
    x = price + np.arange(len(names)) + k
    data = {"instrument": names, "ts": [BASE + k * MINUTE] * len(names), "open": x, "high": x + 1, "low": x - 1}
    return pl.DataFrame(data | {"close": x, "volume": x}).with_columns(pl.col("ts").cast(TS))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_minute_is_one_row_and_is_seen_whole(lake: Lake) -> None:
    """Twelve instruments cost one chunk and one line of who holds what; coverage and reads know them all."""
    writer = MomentWriter(lake, M1, source="x")
    assert [writer.append(minute(k)) for k in range(3)] == [None] * 3
    assert lake.tail.database.rows("SELECT count(*) FROM held") == [(3,)]
    span = SpanSet.of((BASE, BASE + 3 * MINUTE))
    assert lake.present(M1) == dict.fromkeys(NAMES, span)
    assert lake.rows(M1, ["X:S03"], None)["close"].to_list() == [13.0, 14.0, 15.0]
    assert lake.rows(M1, None, Span(BASE + MINUTE, BASE + 2 * MINUTE)).height == 12


def test_gathering_changes_nothing_anyone_sees(lake: Lake) -> None:
    """Moments joined into one chunk: the same rows, the same presence, fewer lines to look through."""
    writer = MomentWriter(lake, M1, source="x")
    for k in range(5):
        writer.append(minute(k, NAMES if k != 2 else NAMES[3:]))
    before, held = lake.rows(M1, None, None), lake.present(M1)
    assert writer.gather(least=6) == 0
    assert writer.gather(least=5) == 5
    assert lake.rows(M1, None, None).equals(before)
    assert lake.present(M1) == held
    assert Lake(lake.root).present(M1) == held
    assert lake.tail.database.rows("SELECT count(*) FROM roster") == [(0,)]
    assert writer.append(minute(5)) is None, "gathering is no stranger's write"


def test_an_old_or_changed_bar_is_compared(lake: Lake) -> None:
    """What is not plainly new is compared: the same again is unchanged, another value is a revision."""
    writer = MomentWriter(lake, M1, source="x")
    writer.append(minute(0))
    again = writer.append(minute(0))
    assert again is not None
    assert again.unchanged == 12
    changed = writer.append(minute(0, price=11.0))
    assert changed is not None
    assert changed.corrected == 12
    assert lake.revisions(M1, ["X:S00"], None).height == 1
    assert writer.append(minute(1)) is None


def test_a_correction_is_noticed_though_the_hosts_clock_was_set_back(lake: Lake) -> None:
    """Its file seems older than the memory that it contradicts, which was made while the clock was an hour ahead."""
    lake.write(M1, minute(0), source="x")
    since = lake.clock()
    lake.write(M1, minute(0, price=11.0), source="y")
    assert lake.folder.fold(M1) > 0
    made = time.time() + 3600
    assert lake.learned(M1, NAMES, since, made, BASE + MINUTE) == BASE
    for file in (lake.root / "bars").rglob("*.parquet"):
        os.utime(file, (made - 7200, made - 7200))
    assert lake.learned(M1, NAMES, since, made, BASE + MINUTE) == BASE
    assert lake.learned(M1, NAMES, since, made - 3700, BASE + MINUTE) is None, "files of before are not opened"


def test_a_corrected_row_survives_the_gathering(lake: Lake) -> None:
    """Of a bar in a moment and its later correction the correction stands, before and after they are joined."""
    writer = MomentWriter(lake, M1, source="x")
    for k in range(3):
        writer.append(minute(k))
    writer.append(minute(1, ["X:S04"], price=99.0))
    writer.gather(least=3)
    assert lake.rows(M1, ["X:S04"], None)["close"].to_list() == [14.0, 100.0, 16.0]


def test_another_writer_is_noticed(lake: Lake) -> None:
    """A backfill beside the desk may have stored the very bar that comes next: it is compared, not doubled."""
    writer = MomentWriter(lake, M1, source="x")
    writer.append(minute(0))
    Lake(lake.root).write(M1, minute(1, ["X:S05"], price=50.0), source="other")
    report = writer.append(minute(1))
    assert report is not None
    assert (report.written, report.corrected) == (11, 1)
    assert lake.rows(M1, ["X:S05"], None).height == 2


def test_bad_rows_are_refused_and_the_others_kept(lake: Lake) -> None:
    """A live bar whose high lies below its low goes to quarantine; its neighbours are stored."""
    writer = MomentWriter(lake, M1, source="x")
    frame = minute(0).with_columns(high=pl.when(pl.col("instrument") == "X:S02").then(0.5).otherwise("high"))
    report = writer.append(frame)
    assert report is not None
    assert (report.written, report.quarantined) == (11, 1)


def test_a_fold_takes_moments_to_parquet(lake: Lake) -> None:
    """Folding moments and gathered chunks leaves the same rows, now in files."""
    writer = MomentWriter(lake, M1, source="x")
    for k in range(4):
        writer.append(minute(k))
    writer.gather(least=2)
    writer.append(minute(4))
    before = lake.rows(M1, None, None)
    with lake.writing("fold"):
        lake.folder.fold(M1)
    assert lake.tail.rows(M1) == 0
    assert lake.rows(M1, None, None).equals(before)
    assert lake.present(M1)[str(Instrument.parse("X:S00"))] == SpanSet.of((BASE, BASE + 5 * MINUTE))


def test_what_is_kept_decoded_is_bounded_by_number_too() -> None:
    """A live desk stores a small chunk each minute; a question names all that are kept, so that they must be few."""
    kept = Decoded(most=3)
    frames = [minute(k, NAMES[:1]) for k in range(5)]
    for number, frame in enumerate(frames):
        kept.keep(number, frame)
        kept.keep(0, frames[0])
    assert sorted(kept.among()) == [0, 3, 4]
    assert kept.among()[4] is frames[4]
