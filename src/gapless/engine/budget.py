"""The weight that every process of this machine has sent to a venue: what one spends the others do not.

A venue counts by address, so two backfills, or a backfill beside a live desk, share one allowance. What was sent, and
until when the venue asked everybody to wait, stands in a small file for each venue below ``$GAPLESS_STATE`` (otherwise
``$XDG_STATE_HOME/gapless``, ``~/.local/state/gapless``), locked for the length of one look; it outlives the process. A
venue on the loopback is nobody else's, and is shared only where ``$GAPLESS_STATE`` is set. Where it cannot be written
each process counts for itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gapless.engine.pacing import HEADROOM, Pause, Window
from gapless.protocols import Limits

_BUCKET = 0.1  # seconds: what is sent within them is one line, counted from its last
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SharedWindow:
    """A ``Window`` in a file. Times are the host's clock; what lies in its future is of a clock that was set back."""

    def __init__(self, path: Path, allowance: int, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self.path, self.allowance, self.seconds, self.clock = path, allowance, seconds, clock
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def wait(self, weight: int, _: float) -> float:
        """As ``Window.wait``, but for every process together; a pause that another one was told holds too."""
        with self._held() as (window, pause, now):
            paused = pause.wait(now)
            return paused or window.wait(weight, now)

    def heed(self, used: int, _: float) -> None:
        """As ``Window.heed``."""
        with self._held() as (window, _pause, now):
            window.heed(used, now)

    def pause(self, seconds: float, reason: str) -> None:
        """The venue asked this address to wait: nobody here goes before that."""
        with self._held() as (_, pause, now):
            pause.extend(seconds, now, reason)

    @property
    def spent(self) -> int:
        """Weight within the window, of all processes."""
        with self._held() as (window, _, now):
            window.heed(0, now)
            return window.spent

    @contextmanager
    def _held(self) -> Iterator[tuple[Window, Pause, float]]:
        with open(self.path, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = self.clock()
            window, pause = _read(file.read(), self.allowance, self.seconds, now)
            yield window, pause, now
            text = json.dumps({"sent": _joined(window), "until": pause.until, "reason": pause.reason})
            file.seek(0)
            file.write(text)
            file.truncate()


def _read(text: str, allowance: int, seconds: float, now: float) -> tuple[Window, Pause]:
    try:
        found: dict[str, Any] = json.loads(text) if text else {}
    except ValueError:  # a machine that died while it was written: a minute's memory, not worth an error
        found = {}
    sent = deque((float(at), int(weight)) for at, weight in found.get("sent", ()) if at <= now + _BUCKET)
    window = Window(allowance, seconds, sum(weight for _, weight in sent), sent)
    until = float(found.get("until", 0.0))
    return window, Pause(until if until <= now + 86_400 else 0.0, str(found.get("reason", "")))


def _joined(window: Window) -> list[tuple[float, int]]:
    """What was sent, a line for each tenth of a second; each counts from the last of its requests on."""
    lines: list[tuple[float, int]] = []
    for at, weight in window.sent:
        if lines and at - lines[-1][0] < _BUCKET:
            lines[-1] = (at, lines[-1][1] + weight)
        else:
            lines.append((at, weight))
    return lines


def window_of(base_url: str, limits: Limits) -> Window | SharedWindow:
    """The window of a venue: shared where that makes sense and can be done."""
    path = _path(base_url)
    if path is None or not limits.weight:
        return Window(limits.weight, limits.window)
    try:
        return SharedWindow(path, limits.weight, limits.window)
    except OSError:
        return Window(limits.weight, limits.window)


@dataclass(frozen=True, slots=True)
class Quota:
    """How things stand with a venue: weight it allows in so many seconds, spent of that by this machine, and left.

    ``paused``: seconds until it may be asked again, where it has told this machine to wait.
    """

    weight: int
    seconds: float
    used: int
    left: int
    paused: float

    def to_dict(self) -> dict[str, object]:
        """As ``gapless plan --json`` prints it."""
        return {
            "weight": self.weight,
            "seconds": self.seconds,
            "used": self.used,
            "left": self.left,
            "paused": round(self.paused, 1),
        }


def quota_of(base_url: str, limits: Limits, clock: Callable[[], float] = time.time) -> Quota | None:
    """What is left of the allowance now; None where there is no limit. Nobody is asked, and nothing changed."""
    if not limits.weight:
        return None
    path, text, now = _path(base_url), "", clock()
    if path is not None and path.exists():
        with suppress(OSError), open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            text = file.read()
    window, pause = _read(text, limits.weight, limits.window, now)
    window.heed(0, now)
    left = max(0, int(limits.weight * HEADROOM) - window.spent)
    return Quota(limits.weight, limits.window, window.spent, left, pause.wait(now))


def _path(base_url: str) -> Path | None:
    """The file of a venue; None where it is not shared."""
    home = _state(base_url)
    name = hashlib.sha256(base_url.rstrip("/").encode()).hexdigest()[:16]
    return None if home is None else home / "budgets" / f"{name}.json"


def _state(base_url: str) -> Path | None:
    named = os.environ.get("GAPLESS_STATE")
    if named:
        return Path(named)
    if (urlsplit(base_url).hostname or "") in _LOOPBACK:
        return None
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "gapless"
