"""Writing live bars: a moment (the bars of one time) costs one row of the tail and one sync.

Most moments are new: every bar is later than anything stored of its instrument, so that there is nothing to compare.
Who writes moments follows the newest bar of each instrument, and looks again when anybody else has written. Whatever is
not plainly new takes the way of any other write: check, compare, revise.

A stranger is another process that writes to the same lake: an import, a repair. What it stored must be decided too, so
every look, made under the writer's lock, notes whether one was here since the look before. So is whoever stores values
(funding rates, open interest), even this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import polars as pl

from gapless.bars import check_bars, conform
from gapless.spans import Timeframe
from gapless.stores.compare import stamped
from gapless.stores.lake import FOLD_ROWS, no_space

if TYPE_CHECKING:
    from gapless.protocols import WriteReport
    from gapless.stores.lake import Lake

GATHER = 60  # moments joined into one chunk


class MomentWriter:
    """Writes the live bars of one timeframe of a lake. One of them; other writers may write beside it."""

    def __init__(self, lake: Lake, timeframe: Timeframe, *, source: str, run: str = "") -> None:
        self.lake, self.timeframe, self.source, self.run = lake, timeframe, source, run
        self._newest: dict[str, int] = {}  # per instrument: when its newest bar closes
        self._seen: object = None
        self._strangers: object = None  # what changes when another process writes
        self._looked = (0, 0.0)  # when we looked last: by the lake's clock (µs), and the host's (seconds)
        self._disturbed: tuple[int, float] | None = None

    def append(self, frame: pl.DataFrame) -> WriteReport | None:
        """Keep bars, durable on return. None when all were new; otherwise how the comparison went."""
        frame = conform(frame)
        with self.lake.writing("live bars"):
            self._look_for_strangers()
            checked = check_bars(frame, self.timeframe, now=self.lake.clock())
            if checked.clean.height < frame.height or not self._all_new(checked.clean):
                return self._compare(frame)
            rows = stamped(checked.clean, self.source, self.lake.clock())
            self.lake.tail.append_moment(self.timeframe, rows)
            self._note(rows)
            return None

    def gather(self, least: int = GATHER) -> int:
        """Join waiting moments where there are enough of them; how many it were."""
        with self.lake.writing("gather live bars"):
            self._look_for_strangers()
            untouched = self._seen == self._version()
            joined = self.lake.tail.gather(self.timeframe, least=least)
            if untouched:
                self._seen = self._version()
            return joined

    def fold(self, least: int = FOLD_ROWS) -> int:
        """Move what waits into Parquet, where it is much; how many rows. Beside ``append``, in another thread."""
        if self.lake.tail.rows(self.timeframe) < least:
            return 0
        with no_space(self.lake.root):
            begun = self.lake.folder.begin(self.timeframe)
        with self.lake.writing("fold live bars"):
            self._look_for_strangers()
            untouched = self._seen == self._version()
            folded = self.lake.folder.finish(self.timeframe, begun)
            self._strangers = self._others()
            if untouched:
                self._seen = self._version()
            return folded

    def disturbed(self) -> tuple[int, float] | None:
        """Since when a stranger may have stored something, told once: by the lake's clock (µs) and the host's (s)."""
        found, self._disturbed = self._disturbed, None
        return found

    def _look_for_strangers(self) -> None:
        """Under the lock: whatever a stranger stores later is stamped later."""
        now = self._others()
        if self._strangers is not None and now != self._strangers and self._disturbed is None:
            self._disturbed = self._looked
        self._strangers, self._looked = now, (self.lake.clock(), time.time())

    def _others(self) -> object:
        bars = self.lake.tail.database.version()[0], self.lake.log("bars", self.timeframe).refresh()
        return *bars, self.lake.values.version()

    def _compare(self, frame: pl.DataFrame) -> WriteReport:
        report = self.lake.write(self.timeframe, frame, source=self.source, run=self.run)
        self._look()
        return report

    def _all_new(self, rows: pl.DataFrame) -> bool:
        """One time, and later than every stored bar of its instruments?"""
        if not rows.height:
            return False
        ts = rows["ts"].to_physical().to_numpy()
        if ts[0] != ts[-1] or (ts != ts[0]).any():
            return False
        if self._seen != self._version():
            self._look()
        return max(self._newest.get(name, 0) for name in rows["instrument"]) <= int(ts[0])

    def _note(self, rows: pl.DataFrame) -> None:
        close = int(rows["ts"].to_physical()[0]) + self.timeframe.micros
        self._newest.update(dict.fromkeys(rows["instrument"], close))
        self._seen = self._version()

    def _look(self) -> None:
        self._seen = self._version()
        self._newest = {name: int(spans.ends[-1]) for name, spans in self.lake.present(self.timeframe).items()}

    def _version(self) -> object:
        return self.lake.tail.database.version(), self.lake.log("bars", self.timeframe).refresh()
