"""Rows that wait go into Parquet beside the live run: nothing is lost, doubled or held up."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.bars import TS
from gapless.spans import MINUTE, Timeframe
from gapless.stores.lake import Lake
from gapless.stores.maintain import verify
from gapless.stores.moments import MomentWriter

M1 = Timeframe.parse("1m")
BASE = 28_000_000 * MINUTE
NAMES = [f"X:S{i:02d}" for i in range(12)]


def minute(k: int, price: float = 10.0) -> pl.DataFrame:
    x = price + np.arange(len(NAMES)) + k
    data = {"instrument": NAMES, "ts": [BASE + k * MINUTE] * len(NAMES), "open": x, "high": x + 1, "low": x - 1}
    return pl.DataFrame(data | {"close": x, "volume": x}).with_columns(pl.col("ts").cast(TS))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_bars_come_while_others_are_folded(lake: Lake) -> None:
    """Appends go on in one thread while another folds again and again: every bar is there once, and true."""
    writer, over, folded = MomentWriter(lake, M1, source="x"), threading.Event(), []

    def fold() -> None:
        while not over.is_set():
            folded.append(writer.fold(least=120))

    thread = threading.Thread(target=fold)
    thread.start()
    for k in range(80):
        assert writer.append(minute(k)) is None, "our own fold is no stranger's write"
        if k % 10 == 9:
            writer.gather(least=5)
    over.set()
    thread.join()
    while writer.fold(least=1):
        pass
    assert sum(folded) > 0
    assert lake.tail.rows(M1) == 0
    straight = pl.concat([minute(k) for k in range(80)]).sort("instrument", "ts")
    assert lake.rows(M1, None, None).select(straight.columns).equals(straight)
    assert verify(lake) == []
    assert writer.disturbed() is None


def test_a_fold_gives_way_to_whoever_commits_meanwhile(lake: Lake) -> None:
    """Another process compacts between the two halves of a fold: the fold is dropped, and done the next time."""
    writer = MomentWriter(lake, M1, source="x")
    for k in range(20):
        writer.append(minute(k))
    begun = lake.folder.begin(M1)
    other = Lake(lake.root)
    with other.writing("fold"):
        other.folder.fold(M1)
    with lake.writing("fold"):
        assert lake.folder.finish(M1, begun) == 0
    writer.append(minute(3, price=99.0))
    writer.append(minute(20))
    assert writer.disturbed() is not None
    assert writer.fold(least=1) > 0
    found = lake.rows(M1, ["X:S04"], None)
    assert found["close"].to_list() == [14.0 + k if k != 3 else 106.0 for k in range(21)]
    assert lake.revisions(M1, ["X:S04"], None)["close"].to_list() == [17.0]
    assert verify(lake) == []
