"""What asking for values will cost: requests, seconds and bytes of tasks that nobody has carried out. Pure.

Requests of pages are counted for values that come as often as is usual; those of files with one list a folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gapless.engine.prices import ROUND_TRIP, WIRE_BYTES, moved
from gapless.engine.value_tasks import NO_FILE, TOO_OLD, ValueTask, pages_of, reachable, usual_step
from gapless.protocols import Endpoint
from gapless.spans import SpanSet, iso


@dataclass(frozen=True, slots=True)
class ValuePlan:
    """Tasks with their requests, what they take, and what nobody will tell (``residual``)."""

    tasks: tuple[Mapping[str, object], ...]
    sources: Mapping[str, int]
    weight: int
    seconds: float
    bytes: int
    residual: tuple[Mapping[str, object], ...]

    def to_dict(self) -> dict[str, object]:
        """In the manner of ``Plan.to_dict``."""
        return {
            "tasks": [dict(task) for task in self.tasks],
            "requests": sum(self.sources.values()),
            "sources": dict(self.sources),
            "weight": self.weight,
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "residual": [dict(line) for line in self.residual],
        }


def plan_values(tasks: Sequence[ValueTask], now: int) -> ValuePlan:
    """The plan of tasks that are carried out at ``now`` (µs)."""
    lines: list[Mapping[str, object]] = []
    residual: list[Mapping[str, object]] = []
    requests: dict[int, tuple[Endpoint, int]] = {}
    folders, size = set[str](), 0
    for task in tasks:
        asked, lost = _asked(task, now)
        residual += [_names(task) | _edges(lost, n) | {"reason": _why(task)} for n in range(len(lost))]
        count = _requests(task, asked, folders)
        if not count:
            continue
        one: Endpoint = task.archive if task.files and task.archive else task.source
        requests[id(one)] = one, requests.get(id(one), (one, 0))[1] + count
        size += sum(o.bytes for o in task.files) or asked.total // usual_step(task.source) * WIRE_BYTES
        lines.append({"source": one.name} | _names(task) | _edges(asked, 0) | {"requests": count})
    sources: Counter[str] = Counter()
    for one, count in requests.values():
        sources[one.name] += count
    weight = sum(count for one, count in requests.values() if one.limits.weight)
    seconds = max((_seconds(one, count) for one, count in requests.values()), default=0.0) + moved(size)
    return ValuePlan(tuple(lines), sources, weight, seconds, size, tuple(residual))


def _asked(task: ValueTask, now: int) -> tuple[SpanSet, SpanSet]:
    """What of a task will be asked for, and what nobody can be asked for."""
    whole = SpanSet.of(task.span)
    asked = whole if task.files else reachable(task.source, whole, now) if task.pages else SpanSet.of()
    return asked, whole - asked


def _requests(task: ValueTask, asked: SpanSet, folders: set[str]) -> int:
    """Of files: each, and the list of a folder that is not among ``folders`` yet."""
    if not task.files:
        return sum(pages_of(task.source, span) for span in asked)
    listed = task.files[0].folder in folders
    folders.add(task.files[0].folder)
    return len(task.files) + (not listed)


def _seconds(one: Endpoint, count: int) -> float:
    """The slower of the two limits: requests a window, and round trips side by side."""
    limits = one.limits
    paced = max(0.0, count / limits.weight - 1.0) * limits.window if limits.weight else 0.0
    return max(paced, count * ROUND_TRIP / limits.concurrency)


def _why(task: ValueTask) -> str:
    return TOO_OLD if task.pages else NO_FILE


def _names(task: ValueTask) -> dict[str, object]:
    return {"instrument": str(task.instrument), "name": task.source.value}


def _edges(spans: SpanSet, at: int) -> dict[str, object]:
    span = list(spans)[at]
    return {"start": iso(span.start), "end": iso(span.end)}
