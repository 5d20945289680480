"""What is said of runs that did not end: whether they are under way, and what is known of those that were killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gapless.app.lake import Lake
from gapless.app.operating import audit_document, audit_lines
from gapless.app.runs import running
from gapless.cli import render

RUN = """
import sys
from gapless.app.lake import Lake
from gapless.app.runs import running
from gapless.protocols import Answer
from gapless.series import Series
from gapless.spans import MINUTE, Span

lake = Lake(sys.argv[1])
with running(lake.store, "backfill") as run:
    asked, series = Span(0, 7 * MINUTE), Series.parse("BINANCE:BTCUSDT", "1m")
    lake.store.record([Answer("binance", series, asked, asked, 7, "ok", 1, "", "", run.id, lake.store.clock())])
    print(run.id, flush=True)
    sys.stdin.read()
"""


@contextmanager
def elsewhere(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run of another process, which ends when its stdin does; and its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_killed_run_is_killed_at_once_and_one_under_way_says_whose_it_is(tmp_path: Path, capsys) -> None:
    """In status, in audit, in its own document; a copy of the lake has no run under way; the next writes it down."""
    with elsewhere(tmp_path / "lake") as (process, name):
        lake = Lake(tmp_path / "lake", create=False)
        last = lake.status()["last_run"]
        assert (last["outcome"], last["ended"], last["process"]["pid"]) == ("running", None, process.pid)
        assert audit_document(lake, name)["outcome"] == "running"
        render.status(lake.status())
        render.audit(audit_lines(lake, 9))
        assert capsys.readouterr().out.count(f"running (process {process.pid} on ") == 2
        shutil.copytree(tmp_path / "lake", tmp_path / "copy")
        assert Lake(tmp_path / "copy").status()["last_run"]["outcome"] == "killed"
        process.kill()
        process.wait()
        assert [(line["run"], line["outcome"]) for line in audit_lines(lake, 9)] == [(name, "killed")]
        assert "process" not in lake.status()["last_run"]
        render.status(lake.status())
        render.document(audit_document(lake, name))
        assert capsys.readouterr().out.count("killed: its process is gone") == 2
    assert audit_document(lake, name)["totals"]["read"] == 7
    assert lake.store.meta.unended() == [name]
    with running(lake.store, "import") as run:
        assert lake.store.meta.unended() == [run.id]
        assert lake.status()["last_run"]["process"]["pid"] == os.getpid()
    assert [line["outcome"] for line in audit_lines(lake, 9)] == ["complete", "killed"]
    assert not list((tmp_path / "lake" / "underway").iterdir())


def test_two_runs_at_once_do_not_give_each_other_up(tmp_path: Path) -> None:
    """The second leaves the first alone; what was complete stays so, whoever looks."""
    with elsewhere(tmp_path / "lake") as (process, name):
        lake = Lake(tmp_path / "lake", create=False)
        with running(lake.store, "import"):
            assert [line["outcome"] for line in audit_lines(lake, 9)] == ["running", "running"]
        process.communicate("")
        assert [line["outcome"] for line in audit_lines(lake, 9)] == ["complete", "complete"]
    assert audit_document(lake, name)["outcome"] == "complete"


def test_a_run_of_which_nothing_is_left_but_its_line_was_killed(tmp_path: Path) -> None:
    """As an older version wrote it, which held no lock."""
    lake = Lake(tmp_path / "lake")
    lake.store.meta.start_run("20200101T000000-backfill-abcd", "backfill", 0)
    assert lake.status()["last_run"]["outcome"] == "killed"
    assert audit_document(lake, "20200101")["outcome"] == "killed"
