"""Trouble while live: told, survived without help, and nothing is lost."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gapless.spans import HOUR, MINUTE, iso

pytestmark = pytest.mark.slow


def well(run, part: str) -> None:
    run.until(lambda: part not in run.degraded(), f"{part} well again")


def ill(run, part: str) -> str:
    """Wait until a part is told to be degraded; the reason."""
    found: list[str] = []
    run.until(lambda: found.append(run.degraded().get(part, "")) or found[-1], f"degraded: {part}")
    assert not run.state()["ready"]
    return found[-1]


@contextmanager
def small_disk(path: Path, kilobytes: int) -> Iterator[None]:
    path.mkdir()
    size = f"size={kilobytes}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], capture_output=True, check=False)
    if done.returncode:
        path.rmdir()
        pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path) -> Path:
    """Leave no room; the file that takes it."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


def test_a_full_disk_is_survived(live, hook, proof, tmp_path: Path) -> None:
    """No room: bars wait, the state says so; with room everything is decided, and the trouble is told by message."""
    disk = tmp_path / "disk"
    with small_disk(disk, 65536):
        run = live(1, 30.0, hook=hook, lake=disk / "lake")
        run.start()
        run.on()
        filler = fill(disk)
        assert "no space left" in ill(run, "store")
        time.sleep(3.0)
        filler.unlink()
        well(run, "store")
        run.on()
        run.stop()
        told = [e["kind"] for e in hook.events() if e["data"].get("part") == "store"]
        assert told == ["degraded", "recovered"]
        proof["settled"](run)
        assert proof["true_bars"](run)
        proof["all_told"](run, hook)


@pytest.mark.parametrize("name", ["tail.sqlite", "live.sqlite", "writer.lock"])
def test_a_locked_store_is_survived(live, proof, name: str) -> None:
    """Somebody else holds a file of the lake for a while: the desk waits, says so, and goes on."""
    run = live(2, 30.0)
    run.start()
    run.on()
    if name == "writer.lock":
        with open(run.lake / name, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert "is being written by" in ill(run, "store")
    else:
        holder = sqlite3.connect(run.lake / name, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        assert "another program holds" in ill(run, "store")
        holder.execute("ROLLBACK")
        holder.close()
    well(run, "store")
    run.on()
    run.stop()
    proof["settled"](run)
    assert proof["true_bars"](run)


def test_a_receiver_that_is_down_hears_everything_later(live, hook, proof) -> None:
    """Messages wait for their channel; the feed does not; the state says which channel is down."""
    run = live(3, 60.0, hook=hook)
    hook.up = False
    run.start()
    run.until(lambda: hook.refused, "a message tried in vain")
    assert "503" in ill(run, "channel hook")
    run.on(5)
    hook.up = True
    run.until(lambda: hook.posts, "a message told")
    well(run, "channel hook")
    run.until(lambda: not run.opened_journal().sent().get("queued"), "all messages sent")
    run.stop()
    assert proof["all_told"](run, hook) == proof["settled"](run)["alerts"] > 0


def test_a_venue_that_is_gone_for_ten_minutes(live, proof) -> None:
    """The feed and the source are degraded; when the venue is back, what it has of the time between is decided."""
    run = live(4, 90.0)
    run.start()
    run.on()
    gone, at = run.venue.stop(), time.monotonic()
    assert ill(run, "feed binance-usdm")
    time.sleep(max(0.0, 7.0 - (time.monotonic() - at)))
    run.venue.start(iso(gone + int((time.monotonic() - at) * 90.0) * 1_000_000))
    well(run, "feed binance-usdm")
    back = run.venue.now()
    assert back - gone >= 10 * MINUTE
    run.until(lambda: run.head() >= back and run.state()["ready"], "decided beyond the outage, and well")
    run.on()
    run.stop()
    proof["settled"](run)
    assert proof["true_bars"](run)


CLOCK = """
import os, time
_time, _time_ns = time.time, time.time_ns
_path = os.environ["CLOCK_OFFSET"]
def _offset():
    with open(_path) as file:
        return int(file.read() or 0)
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 10**9
"""


def test_a_host_whose_clock_is_set_changes_nothing(live, hook, proof, tmp_path: Path) -> None:
    """An hour ahead, an hour behind, right again, a restart at each: the wall clock is in no bar, value or decision."""
    offset = tmp_path / "offset"
    (tmp_path / "sitecustomize.py").write_text(CLOCK, encoding="ascii")
    offset.write_text("0", encoding="ascii")
    run = live(6, 60.0, hook=hook, env={"PYTHONPATH": str(tmp_path), "CLOCK_OFFSET": str(offset)})
    run.env["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    run.start()
    run.on(3)
    for hours in (1, -1, 0):
        new = offset.with_suffix(".new")
        new.write_text(str(hours * 3600), encoding="ascii")
        new.replace(offset)
        run.on(4)
        run.until(lambda: not run.degraded(), "all well")
        run.kill()
        run.start()
        run.on(2)
    run.until(lambda: not run.opened_journal().sent().get("queued"), "all messages sent")
    run.stop()
    done = proof["settled"](run)
    assert proof["true_bars"](run)
    assert proof["all_told"](run, hook) == done["alerts"]


def test_a_venue_whose_clock_jumps_by_an_hour(live, proof) -> None:
    """The bars of an hour that nobody streamed are asked for and decided."""
    run = live(5, 120.0)
    run.start()
    run.on()
    before = run.head()
    run.venue.ask("/sim/clock", post=True, advance="1h")
    run.until(lambda: run.head() >= before + HOUR, "decided beyond the jump")
    run.on(20)
    run.stop()
    proof["settled"](run)
    assert proof["true_bars"](run)
