"""A run: a name, an audit, a line in the lake, a document on disk, and the truth at the end of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from gapless.coverage.gap import Gap
from gapless.errors import GaplessError
from gapless.events import RunEnded
from gapless.observe.audit import Audit, run_name, save
from gapless.observe.progress import Progress, Silent
from gapless.protocols import WriteReport
from gapless.spans import iso
from gapless.stores import underway
from gapless.stores.lake import Lake as Store


@dataclass
class Run:
    """One import, backfill, repair or build in progress."""

    store: Store
    audit: Audit
    progress: Progress
    gaps: list[Gap] = field(default_factory=list)
    interrupted: bool = False
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.audit.run

    def observe(self, event: Any) -> None:
        """Hand one event to the audit and to the progress."""
        self.audit.observe(event)
        self.progress.observe(event)

    def wrote(self, report: WriteReport) -> None:
        """Add a write report, rows without a readable symbol included."""
        self.audit.wrote(report.series, report.reasons)
        self.audit.nameless = self.audit.nameless + report.nameless

    @property
    def outcome(self) -> str:
        """complete · incomplete (something failed or repairable gaps remain) · interrupted."""
        if self.interrupted:
            return "interrupted"
        return "incomplete" if self.audit.failed or self.gaps else "complete"

    @property
    def exit_code(self) -> int:
        return {"complete": 0, "incomplete": 1, "interrupted": 130}[self.outcome]


def run_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored run in a few words."""
    ended = row["ended"]
    return {
        "run": row["id"], "verb": row["verb"], "started": iso(row["started"]),
        "ended": iso(ended) if ended is not None else None, "outcome": row["outcome"],
    } | {name: row[name] for name in ("process",) if name in row}  # fmt: skip


def runs(store: Store, limit: int) -> list[dict[str, Any]]:
    """Stored runs, newest first, each with what is true of it now: one whose process is gone is not running."""
    return underway.listed(store.meta, store.underway, limit)


@contextmanager
def running(store: Store, verb: str, progress: Progress | None = None) -> Iterator[Run]:
    """Begin a run; end it with a document, whatever happens inside."""
    started = store.clock()
    run = Run(store, Audit(run_name(verb, started), verb, started), progress or Silent())
    with _alive(run):
        failure = ""
        try:
            with run.progress:
                yield run
        except BaseException as error:
            failure = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {error}"
            raise
        finally:
            _end(run, failure)


@contextmanager
def _alive(run: Run) -> Iterator[None]:
    """Under way, and written down as that; of runs that were killed before, that is written down."""
    with ExitStack() as held:
        with run.store.writing("start a run"):
            held.enter_context(run.store.underway.hold(run.id))
            underway.write_down(run.store.meta, run.store.underway)
            run.store.meta.start_run(run.id, run.audit.verb, run.audit.started)
        yield


def _end(run: Run, failure: str) -> None:
    ended, outcome = run.store.clock(), failure or run.outcome
    run.progress.observe(RunEnded(run.id, outcome, (ended - run.audit.started) / 1e6))
    run.document = run.audit.document(ended=ended, outcome=outcome, gaps=[g.to_dict() for g in run.gaps])
    try:
        with run.store.writing("end a run"):
            save(run.document, run.store.root / "audit")
            run.store.meta.end_run(run.id, outcome, run.document, ended)
    except GaplessError:
        if not failure:  # a full disk that already failed the run has been told; do not bury it
            raise
