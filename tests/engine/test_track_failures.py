"""A write that fails in the middle of deciding again leaves nothing undecided: the next try does it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gapless.app.desks import desk
from gapless.bars import TS
from gapless.config import Config
from gapless.engine.barrier import FIELDS, Barrier, Moment
from gapless.engine.rows import bars_frame, moments, rows_heard
from gapless.engine.track import Track
from gapless.engine.warm import warm
from gapless.errors import LakeFull
from gapless.protocols import Heard
from gapless.spans import DAY, MINUTE, SECOND, Span, Timeframe, parse_time
from gapless.stores.journal import Journal
from gapless.stores.lake import Lake
from gapless.stores.moments import MomentWriter

M1 = Timeframe.parse("1m")
T0 = parse_time("2025-06-03T00:00")
NAMES = ("X:A", "X:B", "X:C")
HISTORY, MINUTES = 40, 600
CONFIG = Config.model_validate(
    {
        "features": {"slow": "ema(close, 9)", "place": "rank(log_return(close, 2))"},
        "alerts": {"jump": {"when": "abs(log_return(close, 3)) >= 0.01", "cooldown": "5m"}},
    }
)


def market() -> pl.DataFrame:
    chance, count = np.random.default_rng(7), HISTORY + MINUTES
    frames = []
    for name in NAMES:
        close = 100 * np.exp(np.cumsum(chance.normal(0, 0.004, count)))
        ts = T0 + (np.arange(count) - HISTORY) * MINUTE
        frame = pl.DataFrame({"instrument": [name] * count, "ts": ts, "open": close, "close": close})
        frames.append(frame.with_columns(high=pl.col("close") + 0.1, low=pl.col("close") - 0.1, volume=pl.lit(5.0)))
    return pl.concat(frames).with_columns(pl.col("ts").cast(TS))


class Room:
    """A journal whose file may have so many more pages, and no more."""

    def __init__(self, journal: Journal) -> None:
        self.database = journal.database

    def more(self, pages: int) -> None:
        used = self.database.rows("PRAGMA page_count")[0][0]
        self.database.rows(f"PRAGMA max_page_count={used + pages}")


def keyed(bodies: list[dict[str, Any]]) -> list[str]:
    kept = [{k: v for k, v in b.items() if k not in ("seq", "known_at", "withdrawn_at")} for b in bodies]
    return sorted(json.dumps(b, sort_keys=True) for b in kept)


def straight(lake: Lake) -> tuple[list[str], pl.DataFrame]:
    """Alerts and feature rows of the bars from minute 0 on, in order."""
    table = desk(CONFIG, M1, NAMES, features=None)
    warm(table, lake, T0 - MINUTE)
    rows = lake.rows(M1, list(NAMES), None).filter(pl.col("ts").to_physical() >= T0)
    decided = [table.step(moment) for moment in moments(rows, NAMES)]
    return keyed([a.to_dict() for d in decided for a in d.alerts]), pl.concat([table.table(d) for d in decided])


@pytest.mark.parametrize("pages", [0, 40, 120])
def test_a_full_disk_while_deciding_again_leaves_nothing_undecided(tmp_path: Path, pages: int) -> None:
    """Opening and correcting fail at some transaction and are tried again: the journal is that of bars in order."""
    bars = market()
    lake, journal = Lake(tmp_path / "lake", clock=lambda: T0 + DAY), Journal(tmp_path / "live.sqlite")
    room = Room(journal)

    def track() -> Track:
        return Track(desk(CONFIG, M1, NAMES, features=None), lake, journal, clock=lambda: T0 + DAY)

    lake.write(M1, bars.filter(pl.col("ts").to_physical() < T0), source="x")
    track().open()
    lake.write(M1, bars, source="x")
    second = track()
    room.more(pages)
    with pytest.raises(LakeFull):
        second.open()
    room.more(10**6)
    second.open()
    assert second.head == T0 + (MINUTES - 1) * MINUTE

    wrong = bars.filter((pl.col("ts").to_physical() == T0) & (pl.col("instrument") == "X:B"))
    right = wrong.with_columns(close=pl.col("close") + 0.05)
    lake.write(M1, right, source="y")
    values = right.select("open", "high", "low", "close", "volume").row(0)
    bar = Heard("X:B", "1m", T0, values, True, 0)
    with journal.database.transaction() as db:
        db.execute("DELETE FROM moment")  # so that there is something to write, and room for none of it
    journal.database.rows("VACUUM")
    room.more(pages)
    with pytest.raises(LakeFull):
        second.revise([bar])
    room.more(10**6)
    second.revise([bar])
    alerts, rows = straight(lake)
    assert keyed(journal.entries("alert")) == alerts != []
    found = journal.moments(second.set, M1)
    assert found is not None
    keys = ["ts", "instrument"]
    assert found.sort(keys).equals(rows.sort(keys), null_equal=True)


def test_history_that_comes_after_the_start_warms_and_is_not_decided(tmp_path: Path) -> None:
    """A first run that REST answered late: nothing of before it is said, what follows is as if it had been in time."""
    bars = market()
    ts = pl.col("ts").to_physical()
    lake, journal = Lake(tmp_path / "lake", clock=lambda: T0 + DAY), Journal(tmp_path / "live.sqlite")
    track = Track(desk(CONFIG, M1, NAMES, features=None), lake, journal, clock=lambda: T0 + 5 * SECOND)
    track.open()
    gate = Barrier(NAMES, M1, grace=SECOND, after=track.head)
    for begin, end in ((0, 20), (-HISTORY, 0), (20, 60)):
        part = bars.filter((ts >= T0 + begin * MINUTE) & (ts < T0 + end * MINUTE))
        lake.write(M1, part, source="x")
        late = gate.add(rows_heard(lake.rows(M1, list(NAMES), Span(T0 + begin * MINUTE, T0 + end * MINUTE)), M1))
        for moment in gate.ready(T0 + DAY):
            track.advance(moment)
        track.write()
        track.revise(late)
    alerts, rows = straight(lake)
    assert keyed(journal.entries("alert")) == alerts
    found = journal.moments(track.set, M1)
    assert found is not None
    key = ["instrument", "ts"]
    assert found.sort(key).equals(rows.sort(key), null_equal=True)


def test_a_bar_that_the_store_does_not_keep_is_not_decided(tmp_path: Path) -> None:
    """Whatever is wrong with it, its time too: it is left out of its bar time, the others stay."""
    lake, journal = Lake(tmp_path / "lake", clock=lambda: T0 + 5 * MINUTE), Journal(tmp_path / "live.sqlite")
    track = Track(desk(CONFIG, M1, NAMES, features=None), lake, journal, clock=lambda: T0)
    writer = MomentWriter(lake, M1, source="live")

    def told(minute: int, high: float) -> tuple[bool, ...]:
        values = np.full((len(FIELDS), len(NAMES)), 1.0)
        values[FIELDS.index("high")] = (2.0, high, 2.0)
        moment = Moment(T0 + minute * MINUTE, np.ones(len(NAMES), dtype=np.bool_), values)
        track.leave_out(moment, writer.append(bars_frame(NAMES, moment)))
        return tuple(moment.present.tolist())

    assert told(1, 2.0) == (True, True, True)
    assert told(2, 0.5) == (True, False, True)  # its high is below its low
    assert told(9, 2.0) == (False, False, False)  # it is not that late yet
