"""Chunks of the tail that were decoded already: one look at a series decodes each of them once, not once a question."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import polars as pl

_BYTES = 32 << 20
_MOST = 256  # frames: every question names them all, and a live desk stores a small one each minute


class Decoded:
    """Frames by chunk number, those used last, up to so many and so many bytes. Chunks never change, nor their numbers.

    >>> kept = Decoded(limit=20)
    >>> for number in (1, 2, 3):
    ...     kept.keep(number, pl.DataFrame({"ts": [number]}))
    >>> sorted(kept.among())
    [2, 3]
    """

    def __init__(self, limit: int = _BYTES, most: int = _MOST) -> None:
        self.limit, self.most = limit, most
        self._frames: OrderedDict[int, tuple[pl.DataFrame, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def among(self) -> Mapping[int, pl.DataFrame]:
        """All that are kept now; they stay in the caller's hands, whatever is given up meanwhile."""
        with self._lock:
            return {number: frame for number, (frame, _) in self._frames.items()}

    def keep(self, number: int, frame: pl.DataFrame) -> None:
        """Keep one more, or note that it was used again; what was not used for longest is given up."""
        size = int(frame.estimated_size())
        with self._lock:
            if number in self._frames:
                self._frames.move_to_end(number)
                return
            self._frames[number] = frame, size
            self._bytes += size
            while self._bytes > self.limit or len(self._frames) > self.most:
                _, (_, gone) = self._frames.popitem(last=False)
                self._bytes -= gone
