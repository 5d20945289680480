"""One allowance for all processes of a machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.engine.budget import Quota, SharedWindow, quota_of, window_of
from gapless.engine.pacing import HEADROOM, Window
from gapless.protocols import Limits


class Clock:
    """A clock that is set by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 20), st.booleans()), max_size=40))
def test_two_processes_never_spend_more_than_one_may(asks: list[tuple[int, float, bool]]) -> None:
    """However two windows over one file are used, no stretch of a minute holds more than the allowance."""
    import tempfile

    clock = Clock()
    with tempfile.TemporaryDirectory() as home:
        both = [SharedWindow(Path(home) / "b.json", 100, 60.0, clock) for _ in range(2)]
        sent: list[tuple[float, int]] = []
        for weight, later, which in asks:
            clock.now += later
            if both[which].wait(weight, 0.0) == 0.0:
                sent.append((clock.now, weight))
            within = sum(w for at, w in sent if at > clock.now - 60.0)
            assert within <= 100 * HEADROOM or len([1 for at, _ in sent if at > clock.now - 60.0]) == 1


def test_it_waits_as_one_window_would(tmp_path: Path) -> None:
    """Requests a second apart: the file gives the answers of a window in memory."""
    clock, plain = Clock(), Window(10, 60.0)
    shared = SharedWindow(tmp_path / "b.json", 10, 60.0, clock)
    for _ in range(30):
        clock.now += 1.0
        assert shared.wait(4, 0.0) == pytest.approx(plain.wait(4, clock.now))


def test_a_ban_told_to_one_holds_for_the_other(tmp_path: Path) -> None:
    """A pause outlives the process that was told; afterwards requests go again."""
    clock = Clock()
    SharedWindow(tmp_path / "b.json", 10, 60.0, clock).pause(30.0, "429")
    other = SharedWindow(tmp_path / "b.json", 10, 60.0, clock)
    assert other.wait(1, 0.0) == pytest.approx(30.0)
    clock.now += 31.0
    assert other.wait(1, 0.0) == 0.0


def test_a_clock_set_back_and_a_torn_file_stop_nobody(tmp_path: Path) -> None:
    """Lines of the future and half a file are forgotten; the worst is a minute of weight counted too little."""
    clock, path = Clock(), tmp_path / "b.json"
    shared = SharedWindow(path, 10, 60.0, clock)
    shared.wait(9, 0.0)
    clock.now -= 3600.0
    assert shared.wait(9, 0.0) == 0.0
    path.write_text('{"sent": [[1.0')
    assert shared.wait(9, 0.0) == 0.0
    assert json.loads(path.read_text())["sent"] == [[clock.now, 9]]


SPEND = """
import sys
from pathlib import Path
from gapless.engine.budget import SharedWindow
window = SharedWindow(Path(sys.argv[1]), 10_000, 600.0)
assert [window.wait(1, 0.0) for _ in range(50)] == [0.0] * 50
"""


def test_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Four processes at once: every request is counted."""
    path = tmp_path / "b.json"
    workers = [subprocess.Popen([sys.executable, "-c", SPEND, str(path)]) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert SharedWindow(path, 10_000, 600.0).spent == 200


def test_which_venues_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real venue shares; one on this machine only where a state directory is named; one without limits never."""
    limits = Limits(page_bars=10, weight=100, window=60.0, concurrency=1)
    monkeypatch.delenv("GAPLESS_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert isinstance(window_of("https://api.example.com", limits), SharedWindow)
    assert isinstance(window_of("http://127.0.0.1:8900", limits), Window)
    assert isinstance(window_of("https://api.example.com", Limits(10, 0, 60.0, 1)), Window)
    monkeypatch.setenv("GAPLESS_STATE", str(tmp_path / "named"))
    assert isinstance(window_of("http://127.0.0.1:8900", limits), SharedWindow)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GAPLESS_STATE", str(blocked))
    assert isinstance(window_of("http://127.0.0.1:8900", limits), Window)


def test_a_quota_is_what_all_processes_left_and_looking_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Used and left of the window, the pause that was told; no file where nobody asked yet, none without a limit."""
    monkeypatch.setenv("GAPLESS_STATE", str(tmp_path / "state"))
    url, limits, clock = "https://example.com", Limits(1000, 100, 60.0, 4), Clock()
    assert quota_of(url, Limits(1000, 0, 60.0, 4)) is None
    assert quota_of(url, limits, clock) == Quota(100, 60.0, 0, 95, 0.0)
    assert not (tmp_path / "state").exists()
    window = window_of(url, limits)
    assert isinstance(window, SharedWindow)
    window.clock = clock
    for weight in (30, 20):
        assert window.wait(weight, 0.0) == 0.0
    window.pause(30.0, "429")
    before = window.path.read_text()
    assert quota_of(url + "/", limits, clock) == Quota(100, 60.0, 50, 45, 30.0)
    assert window.path.read_text() == before
    clock.now += 61.0
    assert quota_of(url, limits, clock) == Quota(100, 60.0, 0, 95, 0.0)
    window.path.write_text("{")
    assert quota_of(url, limits, clock) == Quota(100, 60.0, 0, 95, 0.0)
