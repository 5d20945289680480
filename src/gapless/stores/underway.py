"""Which runs are under way: each holds a lock on a file of its own for as long as its process lives.

The kernel frees the lock when the process dies, however it dies. So nobody compares process numbers, which are used
again, or times, which jump; and in a copy of the lake, on this machine or another, no run is under way.

1. A run takes its lock before it is written down, and gives it back after its end is written down.
2. Whoever finds a run that has no end tries its lock. Where that is free, and a second look finds no end either, the
   run was killed.
3. The next run writes that down, and takes the file away.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from gapless.stores.meta import Meta

KILLED = "killed"  # how a run ended whose process is gone without having said how


class Underway:
    """The locks of a lake's runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def hold(self, run: str) -> Iterator[None]:
        """Be under way. Raises OSError where there is no space for that."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / run
        with open(path, "wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(OSError):  # a note for whoever looks
                file.write(json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())
            try:
                yield
            finally:
                with suppress(OSError):  # its run has ended, and that is written down
                    path.unlink()

    def of(self, run: str) -> dict[str, Any] | None:
        """The process of a run, ``pid`` and ``host``; None where none holds its lock."""
        try:
            with open(self.directory / run, "rb") as file:
                return _told(file) if _held(file) else None
        except FileNotFoundError:
            return None
        except OSError:  # somebody else's, or a file system that cannot say: nothing is claimed of it
            return {}

    def forget(self, runs: Iterable[str]) -> None:
        """Take the files of dead runs away."""
        for run in runs:
            (self.directory / run).unlink(missing_ok=True)


def _held(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _told(file: BinaryIO) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read()))
    except ValueError:  # it was just made
        return {}


def listed(meta: Meta, underway: Underway, limit: int) -> list[dict[str, Any]]:
    """Runs, newest first; of those without an end the ``process``, or that it was killed."""
    found = {row["id"]: underway.of(row["id"]) for row in meta.runs(limit) if row["outcome"] == "running"}
    rows = meta.runs(limit)  # step 2: one that has ended meanwhile has let go of its lock
    return [row | _now(found[row["id"]]) if row["outcome"] == "running" and row["id"] in found else row for row in rows]


def _now(process: dict[str, Any] | None) -> dict[str, Any]:
    return {"process": process} if process is not None else {"outcome": KILLED}


def write_down(meta: Meta, underway: Underway) -> None:
    """Step 3; under the writer's lock."""
    dead = [run for run in meta.unended() if underway.of(run) is None]
    if dead:
        meta.give_up(dead, KILLED)
        underway.forget(dead)
