"""Many readers, two writers, one lake: nothing is doubled, nothing is lost, whoever must wait is told for whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import gapless as gl
from inside import strike

KEY = ["instrument", "ts"]


def poll(shell, truth, problems: list[str], stop: threading.Event) -> None:
    """A reader: every look sees whole, true bars, and never fewer than the look before."""
    seen, looks = 0, 0
    while not stop.is_set():
        rows = shell.rows()
        looks += 1
        if not rows.height:
            continue
        if rows.select(KEY).is_duplicated().any():
            problems.append("a bar was seen twice")
        if rows.join(truth, on=rows.columns, how="anti").height:
            problems.append("a bar was seen that is not true")
        if rows.height < seen:
            problems.append(f"{seen} bars were seen, then {rows.height}")
        seen = rows.height
    if looks < 2:
        problems.append("the reader did not look")


def test_two_backfills_and_an_import_at_once_share_a_lake(shell, venue, files, check) -> None:
    """Two backfills of overlapping series and an import, with readers looking: every bar is there once."""
    with venue(symbols=14, start="2024-05-20", end="2024-06-03") as v:
        truth, first, second = v.truth(), v.symbols[:9], v.symbols[5:]
        archive = files("archive", v.truth(v.symbols[3:6]), every="1w")
        problems: list[str] = []
        stop = threading.Event()
        readers = [threading.Thread(target=poll, args=(shell, truth, problems, stop)) for _ in range(2)]
        writers = [
            shell.start(*v.words(symbols=first)),
            shell.start(*v.words(symbols=second)),
            shell.start("import", *archive, "--venue", "BINANCE", "--timeframe", "1m", "--json"),
        ]
        for reader in readers:
            reader.start()
        done = [shell.end(w, code=0).json["totals"] for w in writers]
        stop.set()
        for reader in readers:
            reader.join()
        assert problems == []
        with shell.store() as store:
            assert check(store, truth).sort(KEY).equals(truth)
            assert store.revisions(store.timeframes()[0], None, None).height == 0
        assert sum(d["written"] for d in done) == truth.height
        assert sum(d["corrected"] for d in done) == 0


@pytest.mark.parametrize("turns", [1, pytest.param(15, marks=pytest.mark.slow)])
def test_two_writers_may_make_the_lake_at_the_same_time(shells, files, truth_of, check, market, turns: int) -> None:
    """Two imports that both find no lake: one makes it, both write into it."""
    truth = truth_of("2023-12-30", "2024-01-02", market.symbols[:2])
    half = truth["instrument"].unique(maintain_order=True).to_list()
    parts = [truth.filter(instrument=name) for name in half]
    words = [
        ("import", *files(f"in{n}", part), "--venue", "BINANCE", "--timeframe", "1m", "--json")
        for n, part in enumerate(parts)
    ]
    for turn in range(turns):
        shell = shells(f"home{turn}")
        for process in [shell.start(*w) for w in words]:
            shell.end(process, code=0)
        with shell.store() as store:
            assert check(store, truth).sort(KEY).equals(truth)


def test_a_second_writer_waits_and_is_told_who_holds_the_lake(shell, files, truth_of, market) -> None:
    """A writer stopped in the middle holds the lake: another waits, then names the process; then goes on."""
    truth = truth_of("2023-11-01", "2024-01-01", market.symbols[:2])
    big = ("import", *files("big", truth), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    small = ("import", *files("small", truth.tail(100)), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    shell.run(*small, code=0)
    (shell.home / "gapless.toml").write_text("[lake]\npatience = 0.3\n")
    plain, shell.env = shell.env, strike(shell.home, signal.SIGSTOP, "os.rename", ".staged-")  # it holds the lock
    first = shell.start(*big)
    shell.env = plain
    stopped(first)
    began = time.monotonic()
    error = shell.run(*small, code=1).json["error"]
    assert time.monotonic() - began >= 0.3
    assert error["type"] == "LakeLocked"
    assert f"is being written by process {first.pid} (write)" in error["message"]
    assert error["hint"]
    assert shell.run("status", "--json", code=0).json["series"]  # readers do not wait
    (shell.home / "gapless.toml").write_text("[lake]\npatience = 120.0\n")
    second = shell.start(*small)
    while not waits(second):
        assert second.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGCONT)
    shell.end(second, code=0)
    shell.end(first, code=0)
    assert shell.rows().sort(KEY).equals(truth)


def stopped(process) -> None:
    """Wait until a process has stopped itself."""
    pid, status = os.waitpid(process.pid, os.WUNTRACED)
    assert (pid, os.WIFSTOPPED(status)) == (process.pid, True), "it ended before it was stopped"


def waits(process) -> bool:
    """Has it opened the file whose lock somebody else holds?"""
    with suppress(OSError):  # it closes and opens others meanwhile
        return any(os.readlink(fd).endswith("writer.lock") for fd in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


OPEN_AT = """
import sys
from gapless.app import Lake
print("ready", file=sys.stderr, flush=True)
sys.stdin.read()  # until all are let go at once
lake = Lake(sys.argv[1])
with lake.store.writing("say hello"):
    lake.store.meta.start_run(sys.argv[2], "import", 0)
"""


def test_many_processes_may_open_a_new_lake_at_the_same_instant(tmp_path) -> None:
    """Six processes that open a lake which is not there yet, at one instant, all get it and can all write."""
    for turn in range(2):
        gate, opener = os.pipe()
        words = [sys.executable, "-c", OPEN_AT, str(tmp_path / f"lake{turn}")]
        processes = [
            subprocess.Popen([*words, str(n)], stdin=gate, stderr=subprocess.PIPE, text=True) for n in range(6)
        ]
        assert [p.stderr.readline() for p in processes if p.stderr] == ["ready\n"] * 6
        os.close(opener)
        os.close(gate)
        assert [p.communicate()[1] for p in processes] == [""] * 6
        assert len(gl.open(tmp_path / f"lake{turn}").store.meta.runs()) == 6
