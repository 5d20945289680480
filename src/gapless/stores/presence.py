"""Which bars are held, from content: followed from change to change, so that a look costs what changed.

1. The versions of the tail and of the log are looked at first; the same as last time: so is the answer.
2. The tail comes before the log: rows that a fold moves meanwhile are seen twice, never not at all.
3. Of the tail only chunks that are new are read; when some were dropped, all that remain.
4. Of the log only files that are new are looked up in the index, and read where the index does not know them.
5. Only instruments of which something changed are joined anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gapless.bars import STORED
from gapless.spans import SpanSet, Timeframe
from gapless.stores import parquet
from gapless.stores.delta import LiveFile
from gapless.stores.tail import union

if TYPE_CHECKING:
    from gapless.stores.lake import Lake


class Presence:
    """The bars of one timeframe of a lake, per instrument."""

    def __init__(self, lake: Lake, timeframe: Timeframe) -> None:
        self.lake, self.timeframe = lake, timeframe
        self._lock = threading.RLock()
        self._key: object = None
        self._found: dict[str, SpanSet] = {}
        self._changed: set[str] = set()  # outlives a look that failed on a damaged file
        self._chunks: set[int] = set()
        self._tail: dict[str, SpanSet] = {}
        self._live: Sequence[LiveFile] = ()
        self._runs: dict[str, SpanSet] = {}
        self._files: dict[str, SpanSet] = {}

    def now(self) -> dict[str, SpanSet]:
        """The bars held; the dictionary is nobody's to change."""
        with self._lock:
            log = self.lake.log("bars", self.timeframe)
            key = (self.lake.tail.database.version(), log.refresh())  # first: no change must be missed next time
            if key != self._key:
                self._follow_tail()
                self._follow_files(log.live())
                news = {name: self._joined(name) for name in self._changed}
                self._found = {n: s for n, s in (self._found | news).items() if s}
                self._key, self._changed = key, set()
            return self._found

    def _joined(self, name: str) -> SpanSet:
        return union([s for s in (self._files.get(name), self._tail.get(name)) if s] or [SpanSet.of()])

    def _follow_tail(self) -> None:
        """Step 3."""
        chunks = self.lake.tail.numbers(self.timeframe)
        if not self._chunks <= chunks:
            self._changed |= set(self._tail)
            self._chunks, self._tail = set(), {}
        news = self.lake.tail.held(self.timeframe, after=max(self._chunks, default=0))
        for name, runs in news.items():
            self._tail[name] = self._tail[name] | runs if name in self._tail else runs
        self._changed |= set(news)
        self._chunks = chunks

    def _follow_files(self, live: Sequence[LiveFile]) -> None:
        """Step 4."""
        if live is self._live:
            return
        gone = {f.path: f.instrument for f in self._live}
        fresh = [f for f in live if gone.pop(f.path, None) is None]
        self._runs |= self._look_up(fresh)
        changed = set(gone.values()) | {f.instrument for f in fresh}
        sets: dict[str, list[SpanSet]] = {name: [] for name in changed}
        for file in live:
            if file.instrument in changed:
                sets[file.instrument].append(self._runs[file.path])
        self._files |= {name: union(runs or [SpanSet.of()]) for name, runs in sets.items()}
        for path in gone:
            self._runs.pop(path, None)
        self._changed |= changed
        self._live = live

    def _look_up(self, files: Sequence[LiveFile]) -> dict[str, SpanSet]:
        """Runs per file; a file that the index does not know is read."""
        directory = f"bars/{self.timeframe.name}"
        found = self.lake.meta.file_runs(directory, [f.path for f in files])
        for file in files:
            if file.path not in found:
                frame = parquet.read([self.lake.root / directory / file.path], STORED, ["ts"])
                found[file.path] = SpanSet.from_bars(frame["ts"].to_physical().to_numpy(), self.timeframe)
        return found
