"""Ctrl-C and SIGTERM: what is done is kept, the exit code is 130, and the message says how to go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inside import strike

KEY = ["instrument", "ts"]


def catches(process, number: int) -> bool:
    """Has the process, past its interpreter's start, said what it does on this signal?"""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return process.poll() is not None
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backfill_keeps_what_it_fetched(shell, venue, check, number: int) -> None:
    """A signal in a backfill: exit 130, the pages fetched are stored, and the next run asks for the rest."""
    with venue(symbols=10, start="2024-05-15", end="2024-06-03") as v:
        truth, words = v.truth(), [*v.words()[:-1], "--source", "binance", "--json"]  # page by page
        process = shell.start(*words[:-1])  # as a person reads it
        v.when_asked(30, lambda: os.kill(process.pid, number))
        assert "run it again" in shell.end(process, code=130).out
        with shell.store() as store:
            kept = check(store, truth).height
            last = store.meta.runs(1)[0]
        assert (last["outcome"], json.loads(last["document"])["totals"]["written"]) == ("interrupted", kept)
        assert 0 < kept < truth.height
        rest = shell.here(*words, code=0).json["totals"]
        assert rest["written"] == truth.height - kept
        assert shell.rows().sort(KEY).equals(truth)


@pytest.fixture
def ignored() -> Iterator[None]:
    """As in the background of a script: whoever is started here ignores SIGINT at first."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_keeps_whole_files(shell, files, truth_of, check, number: int) -> None:
    """A signal in the middle of an import: exit 130, the lake is whole, and the same import again completes it."""
    truth = truth_of("2023-11-20", "2024-01-10")
    words = ("import", *map(str, files("in", truth, every="1d")), "--venue", "BINANCE", "--timeframe", "1m", "--json")
    shell.env = strike(shell.home, number, "open", "writer.lock", 20)
    done = shell.run(*words, code=130)
    shell.env = {}
    assert done.json["error"]["type"] == "Interrupted"
    assert "run the same command again" in done.json["error"]["hint"]
    with shell.store() as store:
        assert 0 < check(store, truth).height < truth.height
        assert store.meta.runs(1)[0]["outcome"] == "interrupted"
    shell.here(*words, code=0)
    assert shell.rows().sort(KEY).equals(truth)


NAP = """
import sys, time
from gapless import cli

class Last:
    def __del__(self):
        raise KeyboardInterrupt

def nap() -> int:
    "Meet an interrupt where Python would only print it."
    Last()
    for _ in range(2000):
        time.sleep(0.01)
    return 0

cli.app.command(nap)
sys.argv = ["gapless", "nap"]
cli.main()
"""


def test_an_interrupt_that_meets_an_object_at_its_end_is_not_lost() -> None:
    """It ends the verb as any other, and nothing but the sentence is shown."""
    done = subprocess.run([sys.executable, "-c", NAP], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert "run the same command again" in done.stderr


@pytest.mark.parametrize("times", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_sigterm_is_never_lost_nor_rude(shells, venue, times: int) -> None:
    """SIGTERM at any instant ends a backfill with 130 (or 0 when it was done), never by death and never unheard.

    Any instant of ours: while the interpreter starts it does what it likes.
    """
    chance = random.Random(times)
    with venue(symbols=10) as v:
        for turn in range(times):
            shell = shells(f"lake{turn}")
            process = shell.start(*v.words())
            while not catches(process, signal.SIGTERM) and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 1.6))
            alive = process.poll() is None
            os.kill(process.pid, signal.SIGTERM) if alive else None
            done = shell.end(process)
            assert done.code in (130, 0), (done.code, done.told)
            outcome = json.loads(done.out)
            assert done.code == 0 or "error" in outcome or outcome["outcome"] == "interrupted"


def test_an_interrupted_build_says_so_and_goes_on(shell, files, truth_of) -> None:
    """SIGTERM while features are built: exit 130; the next build makes the rest."""
    truth = truth_of("2022-01-01", "2022-04-01")
    shell.here("import", *files("in", truth), "--venue", "BINANCE", "--timeframe", "1m", code=0)
    words = (
        "features",
        "build",
        "--features",
        "a=ema(close,200)-sma(close,50);b=rsi(close,9)",
        "--timeframes",
        "1m",
        "--json",
    )
    shell.env = strike(shell.home, signal.SIGTERM, "os.rename", "/features/", 2)
    done = shell.run(*words, code=130)
    shell.env = {}
    assert done.json["error"]["type"] == "Interrupted"
    rows = shell.here(*words, code=0).json["sets"][0]["rows"]
    assert 0 < rows <= truth.height
    assert shell.here("lake", "verify", "--json", code=0).json == {"problems": []}
