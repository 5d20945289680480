"""Longer bars from stored shorter ones, where nobody has them: ``--derive``.

1. ``gaps``: what every source left open. ``first``: whatever can be derived, before anybody is asked for it. A bar that
   is not final yet is nobody's.
2. A plan counts the shorter bars that it means to fetch as there (``choose``); when it is carried out, only what is
   stored counts. Timeframes go from the shortest on, so that what was derived can be derived from.
3. Bars beneath which one was corrected since are derived again, whichever of the two it is. A week of which it is
   learned later that a split took effect in it is withdrawn.
4. A derived bar is written with the name ``derived-1m``, as any other; the ledger gets a line for the spans. It is
   nobody's answer: it does not count as asked, and a source that has the bar takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import polars as pl

from gapless.app.markets import market
from gapless.app.runs import Run
from gapless.config import Config, Derive
from gapless.coverage.gap import Gap
from gapless.engine import derive
from gapless.engine.plan import Task
from gapless.errors import UnknownName
from gapless.events import TaskDone
from gapless.folds import DERIVED, open_of
from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.spans import DAY, Micros, Span, SpanSet, Timeframe, hull, iso
from gapless.stores.derived import Line
from gapless.stores.lake import Lake as Store
from gapless.stores.withdraw import withdraw


def mode(text: str) -> Derive:
    """The mode of that name; UnknownName with the nearest one."""
    if text not in get_args(Derive):
        raise UnknownName("way to derive", text, get_args(Derive))
    return text  # type: ignore[return-value]


def open_spans(gaps: Iterable[Gap]) -> dict[Series, SpanSet]:
    """Where final bars are missing, whatever the reason."""
    found: dict[Series, list[tuple[int, int]]] = defaultdict(list)
    for gap in gaps:
        if gap.bars and gap.cls != "pending":
            found[gap.series].append((gap.span.start, gap.span.end))
    return {series: SpanSet.of(*spans) for series, spans in found.items()}


def choose(
    store: Store, config: Config, wanted: Mapping[Series, SpanSet], coming: Mapping[Series, SpanSet]
) -> list[Task]:
    """Tasks for those of the ``wanted`` bars that can be derived of bars that are stored, or ``coming``."""
    found: list[Task] = []
    here: dict[Series, SpanSet] = dict(coming)
    stored = {t: store.present(t) for t in {*store.timeframes(), *(s.timeframe for s in (*wanted, *coming))}}
    for series in sorted((s for s in wanted if wanted[s]), key=lambda s: (s.timeframe, s)):
        calendar, left = market(config, series.instrument.venue), wanted[series] - _split(store, series)
        for base, spans in derive.parts(series.timeframe, left, _held(stored, series, here), calendar):
            found += derive.tasks(series, base, spans, calendar)
            here[series] = here.get(series, SpanSet.of()) | spans
    return found


def _split(store: Store, series: Series) -> SpanSet:
    """Weeks in which a split took effect: bars are as traded, and prices before it are no prices after it."""
    weeks = (w for w, _ in _splits(store, series))
    return SpanSet.of(*((week, week + series.timeframe.micros) for week in weeks))


def _splits(store: Store, series: Series) -> list[tuple[int, int]]:
    """The open of each such week, and when the split took effect."""
    if series.timeframe.micros <= DAY:
        return []
    splits = [a.ex for a in store.meta.actions.of([str(series.instrument)]) if a.kind == "split"]
    return [(week, ex) for ex in splits if (week := series.timeframe.floor(ex)) < ex]


def derived_bars(store: Store, series: Series, within: Span) -> SpanSet:
    """The stored bars of a series that no source has said."""
    known = spans_stored(store, series.timeframe).get(str(series.instrument), SpanSet.of())
    span = known.clip(within).hull
    if span is None:
        return SpanSet.of()
    rows = store.rows(series.timeframe, [str(series.instrument)], span, ["ts", "source"])
    mine = rows.filter(rows["source"].str.starts_with(DERIVED))["ts"].to_physical().to_numpy()
    return SpanSet.from_bars(mine, series.timeframe)


def _held(
    stored: Mapping[Timeframe, Mapping[str, SpanSet]], series: Series, here: Mapping[Series, SpanSet]
) -> dict[Timeframe, SpanSet]:
    """The shorter bars of an instrument: stored, or counted as there."""
    name, held = str(series.instrument), {}
    for base in (t for t in stored if t < series.timeframe):
        there = stored[base].get(name, SpanSet.of())
        coming = here.get(Series(series.instrument, base))
        held[base] = there if coming is None else there | coming
    return held


def spans_of(tasks: Iterable[Task]) -> dict[Series, SpanSet]:
    """What tasks speak of, by series."""
    found: dict[Series, SpanSet] = {}
    for task in tasks:
        found[task.series] = found.get(task.series, SpanSet.of()) | SpanSet.of(task.span)
    return found


def less(tasks: Iterable[Task], spans: Mapping[Series, SpanSet], config: Config) -> list[Task]:
    """The tasks without the bars in ``spans``."""
    left: list[Task] = []
    for task in tasks:
        if not (gone := spans.get(task.series, SpanSet.of()).clip(task.span)):
            left.append(task)
            continue
        calendar = market(config, task.series.instrument.venue)
        kept = calendar.expected(task.series.timeframe, task.span) - gone
        left += derive.tasks(task.series, Timeframe.parse(task.source.removeprefix(DERIVED)), kept, calendar)
    return left


def bars_of(task: Task, config: Config) -> int:
    """How many bars a task speaks of."""
    calendar = market(config, task.series.instrument.venue)
    return calendar.expected(task.series.timeframe, task.span).bars(task.series.timeframe)


def without(gaps: Iterable[Gap], taken: Mapping[Series, SpanSet], config: Config) -> list[Gap]:
    """The gaps, less the bars that are taken care of."""
    left: list[Gap] = []
    for gap in gaps:
        mine = taken.get(gap.series, SpanSet.of()).clip(gap.span)
        left += _pieces(gap, mine, config) if mine else [gap]
    return left


def _pieces(gap: Gap, taken: SpanSet, config: Config) -> Iterable[Gap]:
    expected = market(config, gap.series.instrument.venue).expected(gap.series.timeframe, gap.span)
    for span in SpanSet.of(gap.span) - taken:
        bars = expected.clip(span).bars(gap.series.timeframe)
        if bars:
            yield replace(gap, span=span, bars=bars)


# ---------------------------------------------------------------- out of date


def spans_stored(store: Store, timeframe: Timeframe) -> dict[str, SpanSet]:
    """Where bars were derived, by instrument."""
    found: dict[str, list[Span]] = defaultdict(list)
    for line in store.meta.derived.of(timeframe):
        found[line.instrument].append(line.span)
    return {name: SpanSet.of(*spans) for name, spans in found.items()}


def stale(store: Store, config: Config, timeframe: Timeframe, mine: set[Series]) -> dict[Series, SpanSet]:
    """Derived bars of some series beneath which a bar was corrected after they were derived."""
    lines: dict[tuple[str, Timeframe], list[Line]] = defaultdict(list)
    for line in store.meta.derived.of(timeframe):
        if Series(Instrument.parse(line.instrument), timeframe) in mine:
            lines[line.instrument, line.base].append(line)
    found: dict[Series, SpanSet] = {}
    for (name, base), known in lines.items():
        series = Series(Instrument.parse(name), timeframe)
        opens = _overtaken(store, config, series, base, known)
        if len(opens):
            spans = SpanSet.from_bars(opens, timeframe)
            found[series] = found.get(series, SpanSet.of()) | spans
    return found


def _overtaken(store: Store, config: Config, series: Series, base: Timeframe, lines: Sequence[Line]) -> Micros:
    """Opens of the bars of these lines that are derived still, and of which a bar beneath changed since."""
    within, nothing = hull(line.span for line in lines), np.empty(0, np.int64)
    if within is None:
        return nothing
    around, name = derive.reach(within, series.timeframe), str(series.instrument)
    old = store.revisions(base, [name], around)
    if not old.height:
        return nothing
    ts, changed = old["ts"].to_physical().to_numpy(), old["known_to"].to_physical().to_numpy()
    opens = open_of(ts, base, series.timeframe, market(config, series.instrument.venue), around)
    at = np.searchsorted(np.array([line.span.start for line in lines]), opens, side="right") - 1
    ends, known = (np.array(values) for values in zip(*((x.span.end, x.known_at) for x in lines), strict=True))
    late = np.unique(opens[(at >= 0) & (opens < ends[at]) & (changed > known[at])])
    if not len(late):
        return late
    still = derived_bars(store, series, Span(int(late[0]), int(late[-1]) + series.timeframe.micros))
    return np.asarray(late[still.mask(late)], dtype=np.int64)


def withdraw_split(store: Store, run: str = "") -> list[str]:
    """Take out weeks that were derived before it was known that a split took effect in them; what was done.

    Nothing can be put in their place: a split does not divide a week's bar, it makes one of two units. The old values
    stay readable as of then, and the ledger says why the bar is gone. Where the split is taken back, the week is open,
    and derived again.
    """
    done: list[str] = []
    for timeframe in (t for t in store.timeframes() if t.micros > DAY):
        known = spans_stored(store, timeframe)
        for name in known.keys() & {*store.meta.actions.instruments()}:
            series = Series(Instrument.parse(name), timeframe)
            done += [
                f"{series} of {iso(week)[:10]} {said}" for week, said in _withdrawn(store, series, known[name], run)
            ]
    return sorted(done)


def _withdrawn(store: Store, series: Series, known: SpanSet, run: str) -> Iterable[tuple[int, str]]:
    for week, ex in _splits(store, series):
        span = Span(week, week + series.timeframe.micros)
        if known.clip(span) and withdraw(store, series, derived_bars(store, series, span).starts):
            said = f"was folded across the split of {iso(ex)[:10]}, and is withdrawn"
            base = next(line.base for line in store.meta.derived.of(series.timeframe) if line.span.intersect(span))
            line = Answer(DERIVED + base.name, series, span, None, 0, "withdrawn", 0, said, "", run, store.clock())
            store.record([line])
            yield week, said


# ---------------------------------------------------------------- doing


def carry_out(run: Run, config: Config, tasks: Iterable[Task]) -> None:
    """Derive and write, shortest timeframe first; the run's account gets a line a task."""
    for task in tasks:
        base = Timeframe.parse(task.source.removeprefix(DERIVED))
        bars = sum(_derived(run, config, task.series, base, span) for span in _portions(task, base))
        run.audit.derived_from(task.series, base, task.span, bars)
        run.observe(TaskDone(task.series, task.span, ""))


def _portions(task: Task, base: Timeframe) -> Iterable[Span]:
    return derive.portions(task.span, base, task.series.timeframe)


def _derived(run: Run, config: Config, series: Series, base: Timeframe, span: Span) -> int:
    """One portion: read, folded, written, told to the ledger. Returns how many bars."""
    store, to, as_of = run.store, series.timeframe, run.store.clock()
    calendar = market(config, series.instrument.venue)
    rows = store.rows(base, [str(series.instrument)], derive.reach(span, to))
    bars = derive.folded(rows, base, to, calendar, span) if rows.height else rows
    bars = bars.filter(~pl.Series(_split(store, series).mask(bars["ts"].to_physical().to_numpy()), dtype=pl.Boolean))
    if not bars.height:
        return 0
    known = max(as_of, int(rows["known_at"].to_physical().max()))  # type: ignore[arg-type]
    held = SpanSet.from_bars(bars["ts"].to_physical().to_numpy(), to)
    found = [task.span for task in derive.tasks(series, base, held, calendar)]
    with store.writing("derive"):
        store.meta.derived.expect(series, found, base, known)
    run.wrote(store.write(to, bars, source=DERIVED + base.name, run=run.id))
    store.record(_line(series, base, part, held, run.id, known) for part in found)
    return bars.height


def _line(series: Series, base: Timeframe, span: Span, held: SpanSet, run: str, known: int) -> Answer:
    rows = held.clip(span).bars(series.timeframe)
    return Answer(DERIVED + base.name, series, span, span, rows, "ok", 0, "", "", run, known)
