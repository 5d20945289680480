"""``backfill`` and ``repair``: a plan (``planning``), carried out.

1. The engine carries the plan out, page by page, durably; sources are asked side by side, each at its own pace.
2. What the first source left open goes to the venue's further sources (``fallback``), where it has any.
3. What all of them left open is folded from shorter bars, where those are whole (``deriving``). With ``derive="first"``
   that comes before anybody is asked, timeframe by timeframe from the shortest on, so that 1 and 2 are for the rest.
4. The store is read again: what repairable gaps remain decides the outcome. Nothing else does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gapless.app import deriving, fallback
from gapless.app.markets import archive, market, patience
from gapless.app.planning import NONE, Plans, Wanted, make_plan, open_gaps, stale
from gapless.app.runs import Run, running
from gapless.coverage.gap import Gap
from gapless.engine.backfill import Options, Part, fetch_listings, run_together
from gapless.engine.plan import Plan
from gapless.errors import SourceError
from gapless.events import RunStarted
from gapless.observe.progress import Progress
from gapless.protocols import Source, WriteReport
from gapless.series import Series

if TYPE_CHECKING:
    from gapless.engine.fetch import Patience

OUTAGE = 30.0  # seconds without an answer, before a venue's next source is asked
TAIL_LEFT = 5_000  # rows a series may leave in the tail at the end of a run


def fetch(asked: Wanted, progress: Progress) -> Run:
    """Carry out a backfill or a repair; the run's document and exit code tell the truth."""
    store = asked.lake.store
    with running(store, asked.verb, progress) as run:
        plans = make_plan(asked)
        if any(p.tasks for _, p in plans.parts):
            plans = _with_listings(asked, plans)
        run.observe(_announcement(run, asked.verb, plans))
        for stage in _stages(asked):
            _do(stage, run, plans if stage is asked else make_plan(stage))
        _settle(asked)
        run.gaps = _remaining(asked)
        run.audit.made_good({gap.series for gap in run.gaps})
    return run


def _stages(asked: Wanted) -> Iterator[Wanted]:
    """Timeframe by timeframe where longer bars are to be made of those just fetched; else all at once."""
    if asked.derive != "first":
        yield asked
        return
    for timeframe in sorted({s.timeframe for _, series in asked.series for s in series}):
        parts = ((src, tuple(s for s in series if s.timeframe == timeframe)) for src, series in asked.series)
        yield replace(asked, series=tuple((src, series) for src, series in parts if series))


def _do(asked: Wanted, run: Run, plans: Plans) -> None:
    if run.interrupted:
        return
    if asked.derive == "first":
        deriving.carry_out(run, asked.lake.config, plans.derived)
    _carry_out(asked, run, plans.parts)
    for src, series in asked.series:
        _fill(asked, run, src, series)
    _derive_rest(asked, run)


def _derive_rest(asked: Wanted, run: Run) -> None:
    """What is open now that everybody was asked, and what was corrected beneath."""
    lake, every = asked.lake, {s.timeframe for _, series in asked.series for s in series}
    shorter = any(t < longest for longest in every for t in lake.store.timeframes())
    if asked.derive == "never" or run.interrupted or not shorter:
        return
    wanted = stale(asked)
    for src, series in asked.series:
        for one, spans in deriving.open_spans(open_gaps(asked, src, series)).items():
            wanted[one] = wanted.get(one, NONE) | spans
    deriving.carry_out(run, lake.config, deriving.choose(lake.store, lake.config, wanted, {}))


def _announcement(run: Run, verb: str, plans: Plans) -> RunStarted:
    """How much is to be done, in all and of each series."""
    tasks = [t for _, p in plans.parts for t in p.tasks]
    bars: Counter[Series] = Counter()
    for task in tasks:
        bars[task.series] += task.span.bars(task.series.timeframe)
    return RunStarted(run.id, verb, len(tasks) + len(plans.derived), bars.total(), dict(bars))


def _with_listings(asked: Wanted, plans: Plans) -> Plans:
    """Learn when instruments were listed before asking for bars they cannot have."""
    store = asked.lake.store
    for src, found in plans.parts:
        if not found.tasks:
            continue
        try:
            listed = fetch_listings(src, patience=_patience(asked, src))
        except SourceError:
            continue  # the tasks will meet the same trouble, and tell it
        with store.writing("store listings"):
            store.meta.store_listings(listed, how=f"{src.name} says so", now=store.clock())
    return make_plan(asked)


def _carry_out(asked: Wanted, run: Run, plans: Sequence[tuple[Source, Plan]]) -> None:
    parts = [_part(asked, src, found) for src, found in plans if found.tasks]
    if parts:
        outcomes, run.interrupted = run_together(parts, asked.lake.store, run=run.id, observer=run.observe)
        for outcome in outcomes:
            run.wrote(WriteReport({outcome.series: outcome.counts}))


def _part(asked: Wanted, src: Source, found: Plan) -> Part:
    config = asked.lake.config
    options = Options(concurrency=asked.concurrency, patience=_patience(asked, src), sessions=market(config, src.venue))
    return Part(found, src, archive(config, src) if any(task.files for task in found.tasks) else None, options)


def _patience(asked: Wanted, src: Source) -> Patience:
    """Less with a source that answers nothing while there is another to turn to."""
    found = patience(asked.lake.config, src.name)
    others = [] if asked.alone else fallback.further(asked.lake.config, src)
    return replace(found, outage=min(found.outage, OUTAGE)) if others else found


def _fill(asked: Wanted, run: Run, src: Source, series: Sequence[Series]) -> None:
    """Hand what is open still to the venue's further sources, unless the call named one."""
    others = [] if asked.alone or run.interrupted else fallback.further(asked.lake.config, src)
    if others:
        fallback.fill(
            run, src, others, lambda: open_gaps(asked, src, series),
            lambda other, found: _carry_out(asked, run, [(other, found)]), asked.concurrency,
        )  # fmt: skip


def _settle(asked: Wanted) -> None:
    """Fold the tail when few series hold many rows in it, so that other readers of the tables see them too."""
    store = asked.lake.store
    for timeframe in sorted({s.timeframe for _, series in asked.series for s in series}):
        waiting = store.tail.rows(timeframe)
        if waiting and waiting > TAIL_LEFT * len(store.tail.held(timeframe)):
            with store.writing("fold"):
                store.folder.fold(timeframe)


def _remaining(asked: Wanted) -> list[Gap]:
    """Repairable gaps of the wanted series in the wanted span, from what is stored now."""
    return [g for src, series in asked.series for g in open_gaps(asked, src, series) if g.repairable]
