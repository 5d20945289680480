"""A full disk: one clear sentence, exit code 1, a whole lake; with more room the same command completes."""

from __future__ import annotations

import gc
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import gapless as gl
from gapless.errors import LakeFull

KEY = ["instrument", "ts"]
FEATURES = {"rsi14": "rsi(close, 14)", "sma20": "sma(close, 20)", "ema50": "ema(close, 50)"}
BUILD = ("features", "build", "--features", ";".join(f"{n}={e}" for n, e in FEATURES.items()), "--json")


class Disk:
    """A file system of a chosen size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def mount(self, kilobytes: int) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", self.path], capture_output=True, check=False
        )
        if done.returncode:
            self.path.rmdir()
            pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")

    def resize(self, kilobytes: int) -> None:
        gc.collect()  # a lake this process read and forgot holds its deleted files until then
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", self.path], check=True)

    def used(self) -> int:
        """Kilobytes in use."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    disk.mount(65536)
    yield disk
    disk.unmount()


def fails_clearly(shell, words) -> None:
    """The command meets the full disk: exit code 1, one sentence with where and how much, and the fix."""
    done = shell.run(*words, code=1)
    error = done.json["error"]
    assert error["type"] == "LakeFull", done
    assert error["message"].startswith(f"no space left for the lake at {shell.lake} (")
    assert error["message"].count("\n") == 0
    assert "free some space and run the same command again" in error["hint"]


def readable(shell, disk, check, truth: pl.DataFrame) -> None:
    """The lake is whole, and every reading verb works on the disk that is still full."""
    if not (shell.lake / "meta.sqlite").exists():
        return
    disk.resize(disk.used())  # not one free block
    try:
        with shell.store() as store:
            check(store, truth)
    except LakeFull:  # only where not even the lake itself could be made
        assert not list(shell.lake.glob("bars/*")) + list(shell.lake.glob("audit/*"))
        return
    assert shell.run("lake", "verify", "--json", code=0).json == {"problems": []}
    assert shell.run("gaps", "--json").code in (0, 1)


def sizes(turns: int, low: int, high: int) -> list[int]:
    """Kilobytes, spread over a range with some chance."""
    chance, step = random.Random(turns), (high - low) / turns
    return [int(low + (n + chance.random()) * step) for n in range(turns)]


TURNS = pytest.mark.parametrize("turns", [1, pytest.param(20, marks=pytest.mark.slow)])


@TURNS
def test_an_import_onto_a_full_disk_completes_after_room_was_made(
    shells, disk, files, truth_of, check, market, turns: int
) -> None:
    """However much fits, an import that meets a full disk leaves a whole lake; with room it ends with the truth."""
    truth = truth_of("2023-12-15", "2024-01-20", market.symbols[:2])
    words = ("import", *files("in", truth), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    for size in sizes(turns, 100, 2600):
        shell = shells(f"home{size}")
        shell.lake = disk.path / "lake"
        disk.resize(size)
        fails_clearly(shell, words)
        readable(shell, disk, check, truth)
        disk.resize(65536)
        shell.run(*words, code=0)
        assert shell.rows().sort(KEY).equals(truth)
        assert shell.here("lake", "verify", "--json", code=0).json == {"problems": []}
        shutil.rmtree(shell.lake)


@TURNS
def test_a_backfill_onto_a_full_disk_completes_after_room_was_made(shells, disk, venue, check, turns: int) -> None:
    """However much fits, a backfill that meets a full disk leaves a whole lake; with room it ends with the truth."""
    with venue(symbols=12, start="2024-05-25", end="2024-06-03") as v:
        truth = v.truth()
        for size in sizes(turns, 120, 3500):
            shell = shells(f"home{size}")
            shell.lake = disk.path / "lake"
            disk.resize(size)
            fails_clearly(shell, v.words())
            readable(shell, disk, check, truth)
            disk.resize(65536)
            shell.run(*v.words(), code=0)
            assert shell.rows().sort(KEY).equals(truth)
            shutil.rmtree(shell.lake)


@TURNS
def test_compact_and_build_on_a_full_disk_complete_after_room_was_made(
    shell, disk, truth_of, check, market, turns: int
) -> None:
    """Compact and build on a disk that is nearly full change no bar, and complete once there is room."""
    truth = truth_of("2022-12-01", "2023-01-20", market.symbols[:2])
    lake = gl.open(shell.home / "source")
    for part in truth.with_columns(pl.col("ts").dt.month().alias("m")).partition_by("instrument", "m"):
        lake.write(part["instrument"][0], "1m", part.drop("instrument", "m"))
    batch = gl.compute(truth, FEATURES).select(*KEY, *FEATURES)
    shell.lake = disk.path / "lake"
    for room in sizes(turns, 0, 700):
        shutil.copytree(lake.path, shell.lake)
        disk.resize(disk.used() + room)
        for words in (("lake", "compact", "--json"), BUILD):
            fails_clearly(shell, words)
            readable(shell, disk, check, truth)
        disk.resize(65536)
        for words in (("lake", "compact", "--json"), BUILD):
            shell.run(*words, code=0)
        assert shell.rows().sort(KEY).equals(truth)
        assert gl.open(shell.lake).features(None, "1m", FEATURES).select(batch.columns).equals(batch, null_equal=True)
        shutil.rmtree(shell.lake)


def test_a_vacuum_makes_room_on_a_full_disk(shell, disk, truth_of, market) -> None:
    """On a disk without one free block, vacuum still deletes what no snapshot refers to."""
    shell.lake = disk.path / "lake"
    lake = gl.open(shell.lake)
    truth = truth_of("2022-12-01", "2023-01-20", market.symbols[:1])
    for part in truth.with_columns(pl.col("ts").dt.month().alias("m")).partition_by("m"):
        lake.write(part["instrument"][0], "1m", part.drop("instrument", "m"))
    lake.store.close()
    shell.run("lake", "compact", code=0)
    disk.resize(disk.used())
    before = disk.used()
    assert shell.run("lake", "vacuum", "--grace", "0s", "--json", code=0).json["deleted"] == 2
    assert disk.used() < before
    assert shell.rows().equals(truth)
