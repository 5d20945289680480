"""One writer at a time, told apart by process: a second one waits, then is told who holds the lake."""

from __future__ import annotations

import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gapless.errors import LakeLocked


class WriterLock:
    """An advisory lock on a file; the kernel frees it when its process dies, however it dies.

    Re-entrant in one thread. ``patience`` is how many seconds a second writer waits before LakeLocked, which says what
    is done to the lake by whom, and ``hint``.
    """

    def __init__(
        self,
        path: Path,
        patience: float = 60.0,
        *,
        done: str = "being written",
        hint: str = "wait for it to end, or give --lake another directory",
    ) -> None:
        self.path = path
        self.patience, self.done, self.hint = patience, done, hint
        self._thread = threading.RLock()
        self._depth = 0
        self._file: BinaryIO | None = None

    @contextmanager
    def hold(self, what: str) -> Iterator[None]:
        """Hold the lake for one write; ``what`` is shown to whoever waits in vain."""
        with self._thread:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._acquire(what)
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._release()

    def _acquire(self, what: str) -> None:
        file = self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - open while the lock is held
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LakeLocked(
                        f"the lake at {self.path.parent} is {self.done} by {self._holder(file)}.", hint=self.hint
                    ) from None
                time.sleep(random.uniform(0.002, 0.02))
        with suppress(OSError):  # a note for those who wait; a full disk must not keep anyone from making room
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "doing": what}).encode())

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _holder(file: BinaryIO) -> str:
        file.seek(0)
        try:
            said = json.loads(file.read())
            return f"process {said['pid']} ({said['doing']})"
        except (ValueError, KeyError):
            return "another process"
