"""`features verify` over a desk's own rows: computed again from the bars, bit by bit, while they are in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.app.desks import desk
from gapless.app.lake import Lake
from gapless.app.live_rows import verify_live
from gapless.bars import TS
from gapless.config import parse
from gapless.engine.rows import moments
from gapless.engine.track import Track
from gapless.events import Verified
from gapless.series import Series
from gapless.spans import DAY, MINUTE, Timeframe, parse_time
from gapless.stores.journal import JOURNAL, Journal

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-06-03T00:00")
NAMES = ("X:A", "X:B", "X:C")
CONFIG = parse({"features": {"slow": "ema(close, 9)", "place": "rank(log_return(close, 2))"}})


def market(begin: int, end: int) -> pl.DataFrame:
    """Bars of minutes from ``begin`` to ``end``, the same ones whichever are asked."""
    frames = []
    for number, name in enumerate(NAMES):
        minute = np.arange(begin, end)
        close = 100 + 3 * np.sin(minute / (5.0 + number)) + number
        frame = pl.DataFrame({"instrument": [name] * len(minute), "ts": T0 + minute * MINUTE, "close": close})
        frames.append(frame.with_columns(open="close", high="close", low="close", volume=pl.lit(5.0)))
    return pl.concat(frames).with_columns(pl.col("ts").cast(TS))


def lived(lake: Lake, begin: int, end: int, names: Sequence[str] = NAMES) -> None:
    """Bars come and are decided, as a live run does it."""
    journal = Journal(lake.path / JOURNAL)
    track = Track(desk(CONFIG, M1, names, features=None), lake.store, journal, clock=lambda: T0 + DAY)
    lake.store.write(M1, market(begin, begin + 1), source="x")
    track.open()
    rows = market(begin + 1, end)
    lake.store.write(M1, rows, source="x")
    full = lake.store.rows(M1, list(names), None).filter(pl.col("ts").to_physical() > T0 + begin * MINUTE)
    for moment in moments(full, names):
        track.advance(moment)
    track.write()
    track.checkpoint()
    journal.database.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(tmp_path / "lake", config=CONFIG)
    found.store.clock = lambda: T0 + DAY
    return found


def test_live_rows_are_computed_again_from_their_bars(lake: Lake) -> None:
    """All values of all series agree; after a bar changed that nobody decided again, those it touches do not."""
    assert verify_live(lake, 0, 0, None) == []
    lived(lake, 0, 120)
    heard: list[object] = []
    lines = verify_live(lake, 0, 0, None, observer=heard.append)
    assert [(x["instrument"], x["live"], x["values"], x["differing"]) for x in lines] == [
        (name, True, 2 * 119, 0) for name in NAMES
    ]
    assert heard == [Verified(Series.parse(name, "1m"), 2 * 119, 0) for name in NAMES]
    assert len(verify_live(lake, 2, 0, None)) == 2
    changed = market(100, 101).with_columns(close=pl.lit(90.0), low=pl.lit(90.0)).filter(pl.col("instrument") == "X:B")
    lake.store.write(M1, changed, source="y")
    wrong = {x["instrument"]: x["differing"] for x in verify_live(lake, 0, 0, None)}
    assert wrong["X:B"] >= 20  # its average from there on
    assert 0 < wrong["X:A"] <= 2  # its place among the others, at that bar and two later
    assert [x["instrument"] for x in verify_live(lake, 0, 0, ["X:C"])] == ["X:C"]


def test_rows_of_before_an_instrument_joined_are_compared_among_those_of_then(lake: Lake) -> None:
    """A third instrument changes nobody's place in bars that were decided without it."""
    lived(lake, 0, 60, NAMES[:2])
    lived(lake, 60, 120)
    lines = {x["instrument"]: x for x in verify_live(lake, 0, 0, None)}
    assert {name: x["differing"] for name, x in lines.items()} == dict.fromkeys(NAMES, 0)
    assert lines["X:A"]["values"] > lines["X:C"]["values"] > 0


def test_rows_of_another_configuration_are_not_judged(lake: Lake) -> None:
    """Nobody knows any more what they were."""
    lived(lake, 0, 30)
    other = Lake(lake.path, config=parse({"features": {"fast": "ema(close, 3)"}}))
    assert verify_live(other, 0, 0, None) == []
