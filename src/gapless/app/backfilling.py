"""``backfill`` and ``repair``: a plan (``planning``), carried out.

1. The engine carries the plan out, page by page, durably; sources are asked side by side, each at its own pace. Each
   says first what it lists, and its part is planned anew.
2. What the first source left open goes to the venue's further sources (``fallback``), where it has any.
3. What all of them left open is folded from shorter bars, where those are whole (``deriving``). With ``derive="first"``
   only what cannot be folded is asked for in 1 and 2, timeframe by timeframe from the shortest on. It is folded last
   all the same: bars that lie between those asked for come with them, and are not to be stored twice.
4. The store is read again: what repairable gaps remain decides the outcome. Nothing else does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gapless.app import deriving, fallback
from gapless.app.markets import archive, check_key, market, patience
from gapless.app.planning import NONE, Plans, Wanted, make_plan, open_gaps, plan_of, stale
from gapless.app.runs import Run, running
from gapless.coverage.gap import Gap
from gapless.engine.backfill import Learn, Options, Part, run_together
from gapless.engine.plan import Plan, Task
from gapless.events import Replanned, RunStarted
from gapless.observe.progress import Progress
from gapless.protocols import Listing, Source, WriteReport
from gapless.series import Series

if TYPE_CHECKING:
    from gapless.engine.fetch import Patience

OUTAGE = 30.0  # seconds without an answer, before a venue's next source is asked
TAIL_LEFT = 5_000  # rows a series may leave in the tail at the end of a run


def fetch(asked: Wanted, progress: Progress) -> Run:
    """Carry out a backfill or a repair; the run's document and exit code tell the truth."""
    store = asked.lake.store
    with running(store, asked.verb, progress) as run:
        deriving.withdraw_split(store, run.id)
        plans = make_plan(asked)
        for src in (src for src, part in plans.parts if part.tasks):
            check_key(src)  # before anybody is asked
        tasks = [task for _, part in plans.parts for task in part.tasks]
        bars = _bars(tasks)
        run.observe(RunStarted(run.id, asked.verb, len(tasks) + len(plans.derived), bars.total(), dict(bars)))
        listed: set[str] = set()  # sources that were asked what they list
        for stage in _stages(asked):
            _do(stage, run, plans if stage is asked else make_plan(stage), listed)
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


def _do(asked: Wanted, run: Run, plans: Plans, listed: set[str]) -> None:
    if run.interrupted:
        return
    _carry_out(asked, run, plans.parts, listed)
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


def _bars(tasks: Iterable[Task]) -> Counter[Series]:
    """How much is to be asked for of each series."""
    bars: Counter[Series] = Counter()
    for task in tasks:
        bars[task.series] += task.span.bars(task.series.timeframe)
    return bars


def _learner(asked: Wanted, run: Run, src: Source, before: Plan) -> Learn:
    """Plans anew when it is known when instruments were listed: nobody is asked for bars that cannot be."""
    store = asked.lake.store

    def learn(listed: Sequence[Listing]) -> Plan:
        with store.writing("store listings"):
            store.meta.store_listings(listed, how=f"{src.name} says so", now=store.clock())
        found = plan_of(asked, src)
        bars = _bars(found.tasks)
        bars.subtract(_bars(before.tasks))
        run.observe(Replanned(len(found.tasks) - len(before.tasks), bars.total(), dict(bars)))
        return found

    return learn


def _carry_out(asked: Wanted, run: Run, plans: Sequence[tuple[Source, Plan]], listed: set[str]) -> None:
    parts = [_part(asked, run, src, found, listed) for src, found in plans if found.tasks]
    if parts:
        outcomes, run.interrupted = run_together(parts, asked.lake.store, run=run.id, observer=run.observe)
        for outcome in outcomes:
            run.wrote(WriteReport({outcome.series: outcome.counts}))


def _part(asked: Wanted, run: Run, src: Source, found: Plan, listed: set[str]) -> Part:
    config = asked.lake.config
    options = Options(concurrency=asked.concurrency, patience=_patience(asked, src), sessions=market(config, src.venue))
    files = archive(config, src) if any(task.files for task in found.tasks) else None
    mine = src.name not in listed and any(src is one for one, _ in asked.series)
    listed.add(src.name)
    return Part(found, src, files, options, _learner(asked, run, src, found) if mine else None)


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
            run, src, others, lambda: _for_others(asked, src, series),
            lambda other, found: _carry_out(asked, run, [(other, found)], {other.name}), asked.concurrency,
        )  # fmt: skip


def _for_others(asked: Wanted, src: Source, series: Sequence[Series]) -> list[Gap]:
    """What is open; with ``derive="first"`` less what is going to be folded."""
    gaps, lake = open_gaps(asked, src, series), asked.lake
    if asked.derive != "first":
        return gaps
    tasks = deriving.choose(lake.store, lake.config, deriving.open_spans(gaps), {})
    return deriving.without(gaps, deriving.spans_of(tasks), lake.config)


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
