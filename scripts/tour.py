"""Walk the README's tour: run its commands as they stand, and write what they print under each.

``python scripts/tour.py`` rewrites the output shown in README.md; the tests run the same walk and compare. A command's
exit code is 0 unless it ends in ``# exit N``. A line that is only ``…`` ends what is shown of an output.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
PORT = "8900"  # as the README has it; the walk takes a free one
WIDTH = 128

# What differs from run to run: names of runs, times of now, seconds, rates, and how often a venue misbehaved.
VARYING = (
    (r"\d{8}T\d{6}-(\w+)-[0-9a-f]{4}", r"RUN-\1"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "NOW"),
    (r"[\d,]+ requests(, [\d,]+ retries)?", "REQUESTS"),
    (r"\d+(\.\d+)? m?s\b", "SECONDS"),
    (r"[\d,]+ bars/s", "RATE"),
    (r"1e-\d+", "CHANCE"),
    (r"\d+ segments", "SEGMENTS"),
)


@dataclass(frozen=True)
class Step:
    """One command of the tour: its lines, the exit code it is said to have, and what it is said to print."""

    command: tuple[str, ...]
    code: int
    shown: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.command)


@dataclass(frozen=True)
class Done:
    """How one command went."""

    code: int
    printed: str
    told: str  # on stderr


def steps(text: str) -> list[Step]:
    """All commands of all console blocks of a page."""
    found = []
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            head, *rest = part.splitlines()
            more = [line[2:] for line in rest if line.startswith("> ")]
            code = re.search(r"# exit (\d+)$", head)
            shown = tuple(line for line in rest if not line.startswith("> "))
            found.append(Step((head, *more), int(code[1]) if code else 0, shown))
    return found


def walk(found: Sequence[Step], where: Path) -> list[Done]:
    """Run the commands in one shell, in order, and leave nothing running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GAPLESS_")} | {"PATH": path}
    shell = subprocess.Popen(["bash", "-c", _script(found, port)], cwd=where, env=clean, start_new_session=True)
    try:
        shell.wait(timeout=300)
    finally:
        with suppress(ProcessLookupError):  # nothing of it is left, as it should be
            os.killpg(shell.pid, signal.SIGKILL)
    return [_done(where, i) for i in range(len(found))]


def _script(found: Iterable[Step], port: int) -> str:
    """Every command in this one shell, so that variables and jobs live on; output and exit code into files."""
    lines = []
    for i, step in enumerate(found):
        command = step.text.replace(PORT, str(port))
        if command.endswith("&"):
            lines.append(f"{command[:-1]} >.out.{i} 2>.err.{i} &")
        else:
            lines.append(f"{{ {command}\n}} >.out.{i} 2>.err.{i}")
        lines.append(f"echo $? >.rc.{i}")
    return "\n".join(lines)


def _done(where: Path, i: int) -> Done:
    out, err = ((where / f".{kind}.{i}").read_text(encoding="utf-8") for kind in ("out", "err"))
    return Done(int((where / f".rc.{i}").read_text()), out, err)


def not_printed(shown: Iterable[str], printed: str) -> str | None:
    """The first line shown that was not printed, in the order of the page; None when all were. Line ends may differ."""
    text, at = f" {normal(printed)} ", 0
    for line in shown:
        if line not in ("", "…"):
            wanted = f" {normal(line[:-1])}" if line.endswith("…") else f" {normal(line)} "
            at = text.find(wanted, at)
            if at < 0:
                return line
            at += len(wanted) - 1
    return None


def normal(text: str) -> str:
    """A text without what differs from run to run, and with single blanks."""
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return " ".join(text.split())


def rewritten(text: str, found: Sequence[Step], done: Sequence[Done]) -> str:
    """The page with what was really printed, where that is not what it shows."""
    pairs = iter(zip(found, done, strict=True))

    def block(match: re.Match[str]) -> str:
        count = len(re.findall(r"^\$ ", match[0], re.MULTILINE))
        return "".join(_shown(*next(pairs)) for _ in range(count))

    return BLOCK.sub(block, text)


def _shown(step: Step, done: Done) -> str:
    head, *more = step.command
    lines = list(step.shown)
    if not_printed(lines, done.printed) is not None or not any(lines):
        lines = _cut(done.printed, len(lines) - 1 if lines and lines[-1] == "…" else None)
    return "\n".join([f"$ {head}", *(f"> {line}" for line in more), *lines, ""])


def _cut(printed: str, count: int | None) -> list[str]:
    """Lines fit for the page; of them the first ``count``, and the mark of what was left out."""
    lines = [line.rstrip() for line in printed.splitlines()]
    if count is not None:
        lines = [*lines[:count], "…"]
    return [line if len(line) <= WIDTH else line[: WIDTH - 2].rstrip() + " …" for line in lines]


def main() -> int:
    """Rewrite the README; 1 when a command did not end as stated."""
    text = README.read_text(encoding="utf-8")
    found = steps(text)
    with tempfile.TemporaryDirectory() as where:
        done = walk(found, Path(where))
    wrong = [(s, d) for s, d in zip(found, done, strict=True) if s.code != d.code]
    for step, end in wrong:
        print(f"{step.text}\nended with {end.code}, not {step.code}:\n{end.printed}{end.told}", file=sys.stderr)
    if not wrong:
        README.write_text(rewritten(text, found, done), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
