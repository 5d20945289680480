"""How long a user waits before anything happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.rows import Row, median


def run() -> Iterator[Row]:
    """`import gapless` and `gapless --help`, in fresh processes."""
    for name, words in {
        "import gapless": ["-c", "import gapless"],
        "gapless --help": ["-m", "gapless", "--help"],
        "python alone": ["-c", "pass"],
    }.items():
        seconds = median(lambda w=words: subprocess.run([sys.executable, *w], capture_output=True, check=True), 7)  # type: ignore[misc]
        goal = name != "python alone"
        yield Row(name, f"{seconds * 1e3:.0f} ms", "", "", "< 200 ms" if goal else "", seconds < 0.2 if goal else None)
