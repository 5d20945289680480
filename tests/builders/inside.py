"""A signal that a process sends to itself at an exact place: no test must be quick enough to meet it from outside."""

from __future__ import annotations

import os
from pathlib import Path

SITE = """
import os, sys
_event, _part, _times, _number = os.environ["STRIKE"].split("|")
_left = int(_times)

def _look(event, words):
    global _left
    if event == _event and _part in str(words[0]):
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), int(_number))

sys.addaudithook(_look)
"""


def strike(home: Path, number: int, event: str, part: str, times: int = 1) -> dict[str, str]:
    """The environment of a process that meets a signal just before it opens, renames … such a path for the n-th time.

    ``event`` is one of Python's audit events, ``part`` a piece of the path it is about; ``home`` gets a file.
    """
    site = home / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE, encoding="ascii")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "STRIKE": f"{event}|{part}|{times}|{int(number)}"}
