"""One writer at a time, told apart by process: a second one waits, then is told who holds the lake."""

from __future__ import annotations

import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gapless.errors import LakeLocked


class WriterLock:
    """An advisory lock on a file; the kernel frees it when its process dies, however it dies.

    Re-entrant in one thread. ``patience`` is how many seconds a second writer waits before LakeLocked.
    """

    def __init__(self, path: Path, patience: float = 60.0) -> None:
        self.path = path
        self.patience = patience
        self._thread = threading.RLock()
        self._depth = 0
        self._file: IO[str] | None = None

    @contextmanager
    def hold(self, what: str) -> Iterator[None]:
        """Hold the lake for one write; ``what`` is shown to whoever waits in vain."""
        with self._thread:
            if self._depth == 0:
                self._acquire(what)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._release()

    def _acquire(self, what: str) -> None:
        file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open while the lock is held
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = self._holder(file)
                    file.close()
                    raise LakeLocked(
                        f"the lake at {self.path.parent} is being written by {holder}.",
                        hint="wait for it to end, or give --lake another directory",
                    ) from None
                time.sleep(random.uniform(0.002, 0.02))
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "doing": what}, file)
        file.flush()
        self._file = file

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _holder(file: IO[str]) -> str:
        file.seek(0)
        try:
            said = json.loads(file.read())
            return f"process {said['pid']} ({said['doing']})"
        except (ValueError, KeyError):
            return "another process"
