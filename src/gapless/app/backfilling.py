"""``plan``, ``backfill`` and ``repair``.

1. The call names series and a span; the span ends where the venue's bars may be final.
2. Coverage says which gaps are repairable, and which bars were learned so early that they must be asked again.
3. The engine's plan puts a price on that; the engine carries it out, page by page, durably.
4. What the first source left open goes to the venue's further sources (``fallback``), where it has any.
5. The store is read again: what repairable gaps remain decides the outcome. Nothing else does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from gapless.app import fallback, selecting
from gapless.app.coverage import assess
from gapless.app.lake import Lake
from gapless.app.markets import ARCHIVE, VENDORS, archive, patience, source, source_name
from gapless.app.runs import Run, running
from gapless.coverage.gap import Gap
from gapless.engine.backfill import Options, fetch_listings, run_backfill
from gapless.engine.plan import Plan, plan
from gapless.errors import SourceError, UsageError
from gapless.events import RunStarted
from gapless.observe.progress import Progress
from gapless.protocols import Facts, Offer, Source, WriteReport
from gapless.series import Instrument, Series
from gapless.spans import DAY, EARLIEST, Span, SpanSet, Timeframe, parse_time

if TYPE_CHECKING:
    from gapless.engine.fetch import Patience

OUTAGE = 60.0  # seconds without an answer, before a venue's next source is asked
TAIL_LEFT = 5_000  # rows a series may leave in the tail at the end of a run


@dataclass(frozen=True)
class Wanted:
    """What a call asks for: series by source, a span (None: what was ever asked), and how hard to lean."""

    lake: Lake
    verb: str
    series: tuple[tuple[Source, tuple[Series, ...]], ...]
    span: Span | None
    concurrency: int
    now: int  # when it was called: a bar that becomes final later is the next call's
    alone: bool = False  # a source was named: no other is asked
    verify: bool = False  # ask again for what is old enough to be looked at once more
    files: bool = True  # of the archive beside a source
    pages: bool = True  # of the source itself


@dataclass(frozen=True)
class Plans:
    """One plan a source."""

    parts: tuple[tuple[Source, Plan], ...]

    def to_dict(self) -> dict[str, object]:
        """All sources' tasks and costs in one document, as ``gapless plan --json`` prints it."""
        plans = [p for _, p in self.parts]
        return {
            "tasks": [t.to_dict() for p in plans for t in p.tasks],
            "bars": sum(p.bars for p in plans),
            "requests": sum(p.requests for p in plans),
            "sources": dict(sum((p.sources for p in plans), Counter[str]())),
            "weight": sum(p.weight for p in plans),
            "seconds": round(sum(p.seconds for p in plans), 3),
            "bytes": sum(p.bytes for p in plans),
            "residual": [dict(g) for p in plans for g in p.residual],
        }


def wanted(
    lake: Lake,
    verb: str,
    *,
    symbols: str | None = None,
    universe: str | None = None,
    timeframes: str | None = None,
    days: float | None = None,
    start: str | None = None,
    end: str | None = None,
    source: str | None = None,
    base_url: str | None = None,
    max_concurrent: int | None = None,
    verify: bool = False,
) -> Wanted:
    """Understand the options of a call; UsageError for what is missing or contradicts."""
    bars = _timeframes(lake, verb, timeframes)
    instruments = _instruments(lake, verb, symbols, universe, source, bars)
    series = [Series(i, t) for i in instruments for t in bars]
    now = lake.store.clock()
    span = _span(verb, now, days, start, end)
    parts = tuple(_by_source(lake, series, source, base_url))
    wide = max_concurrent or lake.config.backfill.max_concurrent
    only_files = source is not None and source.endswith(ARCHIVE)
    alone = source is not None
    return Wanted(
        lake, verb, parts, span, wide, now, alone, verify=verify, files=only_files or not alone, pages=not only_files
    )


def _timeframes(lake: Lake, verb: str, text: str | None) -> list[Timeframe]:
    if text is None and verb == "repair":
        return lake.store.timeframes()
    names = text.split(",") if text else list(lake.config.backfill.timeframes)
    return [Timeframe.parse(n.strip()) for n in names if n.strip()]


def _instruments(
    lake: Lake, verb: str, symbols: str | None, universe: str | None, source: str | None, bars: Sequence[Timeframe]
) -> list[Instrument]:
    if symbols and universe:
        raise UsageError("--symbols and --universe were both given.", hint="give one of them")
    if universe is not None:
        return selecting.universe(lake.store, lake.config, universe)
    if symbols:
        plain = (source or "").removesuffix(ARCHIVE)
        venue = VENDORS[plain].venue if plain in VENDORS else None
        found = [Instrument.parse(s, venue=venue) for s in symbols.split(",") if s.strip()]
        return sorted(set(found))
    if verb == "repair":
        known = {f.series.instrument for t in bars for f in lake.store.facts(t)}
        served = {v.venue for v in VENDORS.values()}
        return sorted(i for i in known if i.venue in served or i.venue in lake.config.venues)
    raise UsageError(f"{verb} of what?", hint="give --symbols BINANCE:BTCUSDT,… or --universe NAME")


def _span(verb: str, now: int, days: float | None, start: str | None, end: str | None) -> Span | None:
    if days is not None and (start is not None or end is not None):
        raise UsageError("--days and --start/--end were both given.", hint="give one of them")
    if days is not None:
        if days <= 0:
            raise UsageError(f"--days {days:g} is no span.", hint="give a number above 0")
        return Span(now - round(days * DAY), now)
    if start is None:
        if verb != "repair":
            raise UsageError(f"{verb} of which span?", hint="give --days N, or --start and --end")
        return None if end is None else Span.parse(EARLIEST, end)
    return Span.parse(start, min(parse_time(end), now) if end is not None else now)


def _by_source(
    lake: Lake, series: Iterable[Series], name: str | None, base_url: str | None
) -> Iterable[tuple[Source, tuple[Series, ...]]]:
    named = sorted((name or source_name(lake.config, s.instrument.venue), s) for s in series)
    for key, group in groupby(named, key=lambda pair: pair[0]):
        maker = source(lake.config, key.removesuffix(ARCHIVE), base_url=base_url)
        mine = tuple(s for _, s in group)
        foreign = [s for s in mine if s.instrument.venue != maker.venue]
        if foreign:
            raise UsageError(f"source {key} has no {foreign[0].instrument}.", hint=f"it serves {maker.venue} only")
        yield maker, mine


# ---------------------------------------------------------------- planning


def make_plan(asked: Wanted) -> Plans:
    """What is missing and what it will cost; touches nothing and asks nobody."""
    parts = [(src, _plan_one(asked, src, series)) for src, series in asked.series]
    for src, series in () if asked.alone else asked.series:
        parts += _known_holes(asked, src, series)
    return Plans(tuple(parts))


def _known_holes(asked: Wanted, src: Source, series: Sequence[Series]) -> list[tuple[Source, Plan]]:
    """What the first source is known not to have, planned for the next that was not asked for it."""
    others = fallback.further(asked.lake.config, src)
    return fallback.planned(asked.lake.store, others, _open(asked, src, series), asked.concurrency) if others else []


def _plan_one(asked: Wanted, src: Source, series: Sequence[Series]) -> Plan:
    spans: dict[Series, SpanSet] = {}
    residual: list[Gap] = []
    for timeframe in sorted({s.timeframe for s in series}):
        mine = {s for s in series if s.timeframe == timeframe}
        facts = _facts(asked, timeframe, src.venue, mine)
        for gap in _gaps(asked, src, timeframe, facts):
            if gap.series not in mine:
                continue
            if gap.repairable:
                spans[gap.series] = spans.get(gap.series, SpanSet.of()) | SpanSet.of(gap.span)
            else:
                residual.append(gap)
        for one, again in _again(asked, timeframe, [f for f in facts if f.series in mine]):
            spans[one] = spans.get(one, SpanSet.of()) | again
    ordered = [(s, spans[s]) for s in sorted(spans)]
    residue, offers = [g.to_dict() for g in residual], _offers(asked, src, ordered)
    return plan(ordered, src, offers=offers, pages=asked.pages, residual=residue, concurrency=asked.concurrency)


def _offers(asked: Wanted, src: Source, wanted: Sequence[tuple[Series, SpanSet]]) -> dict[Series, Sequence[Offer]]:
    """What the archive beside a source should have of the wanted spans by now."""
    beside, now = archive(asked.lake.config, src) if asked.files else None, asked.lake.store.clock()
    if beside is None:
        return {}
    hulls = {series: spans.hull for series, spans in wanted}
    return {series: beside.offers(series, hull, now) for series, hull in hulls.items() if hull}


def _again(asked: Wanted, timeframe: Timeframe, facts: Sequence[Facts]) -> Iterable[tuple[Series, SpanSet]]:
    """What was learned too soon and, to verify, what the source may have revised since."""
    store = asked.lake.store
    due = store.meta.due(timeframe, store.clock()) if asked.verify else {}
    for fact in facts:
        spans = fact.provisional | due.get(str(fact.series.instrument), SpanSet.of())
        spans = spans if asked.span is None else spans.clip(asked.span)
        if spans:
            yield fact.series, spans


def _facts(asked: Wanted, timeframe: Timeframe, venue: str, mine: set[Series]) -> list[Facts]:
    """Facts of the whole venue (outages need everybody), and of wanted series nobody has heard of."""
    store = asked.lake.store
    known = [f for f in store.facts(timeframe) if f.series.instrument.venue == venue]
    fresh = sorted(s.instrument for s in mine - {f.series for f in known})
    return known + (store.facts(timeframe, fresh) if fresh else [])


def _gaps(asked: Wanted, src: Source, timeframe: Timeframe, facts: Sequence[Facts]) -> list[Gap]:
    """As the venue's sources settle; where one was named, as that one does."""
    delay = src.settle if asked.alone else None
    store, config = asked.lake.store, asked.lake.config
    return assess(store, config, timeframe, facts=facts, within=asked.span, now=asked.now, delay=delay)


# ---------------------------------------------------------------- doing


def fetch(asked: Wanted, progress: Progress) -> Run:
    """Carry out a backfill or a repair; the run's document and exit code tell the truth."""
    store = asked.lake.store
    with running(store, asked.verb, progress) as run:
        plans = make_plan(asked)
        if any(p.tasks for _, p in plans.parts):
            plans = _with_listings(asked, plans)
        run.observe(_announcement(run, asked.verb, plans))
        for src, found in plans.parts:
            if found.tasks and not run.interrupted:
                _carry_out(asked, run, src, found)
        for src, series in asked.series:
            _fill(asked, run, src, series)
        _settle(asked)
        run.gaps = _remaining(asked)
    return run


def _announcement(run: Run, verb: str, plans: Plans) -> RunStarted:
    """How much is to be done, in all and of each series."""
    tasks = [t for _, p in plans.parts for t in p.tasks]
    bars: Counter[Series] = Counter()
    for task in tasks:
        bars[task.series] += task.span.bars(task.series.timeframe)
    return RunStarted(run.id, verb, len(tasks), bars.total(), dict(bars))


def _with_listings(asked: Wanted, plans: Plans) -> Plans:
    """Learn when instruments were listed before asking for bars they cannot have."""
    store = asked.lake.store
    for src, found in plans.parts:
        if not found.tasks:
            continue
        try:
            listed = fetch_listings(src, patience=patience(asked.lake.config, src.name))
        except SourceError:
            continue  # the tasks will meet the same trouble, and tell it
        with store.writing("store listings"):
            store.meta.store_listings(listed, how=f"{src.name} says so", now=store.clock())
    return make_plan(asked)


def _carry_out(asked: Wanted, run: Run, src: Source, found: Plan) -> None:
    options = Options(concurrency=asked.concurrency, patience=_patience(asked, src))
    beside = archive(asked.lake.config, src) if any(task.files for task in found.tasks) else None
    outcomes, stopped = run_backfill(
        found, src, asked.lake.store, run=run.id, archive=beside, observer=run.observe, options=options
    )
    run.wrote(WriteReport({o.series: o.counts for o in outcomes}))
    run.interrupted = stopped


def _patience(asked: Wanted, src: Source) -> Patience:
    """Less with a source that answers nothing while there is another to turn to."""
    found = patience(asked.lake.config, src.name)
    others = [] if asked.alone else fallback.further(asked.lake.config, src)
    return replace(found, outage=min(found.outage, OUTAGE)) if others else found


def _fill(asked: Wanted, run: Run, src: Source, series: Sequence[Series]) -> None:
    """Hand what is open still to the venue's further sources, unless the call named one."""
    others = [] if asked.alone or run.interrupted else fallback.further(asked.lake.config, src)
    if others:
        ask = partial(_carry_out, asked, run)
        fallback.fill(run, src, others, lambda: _open(asked, src, series), ask, asked.concurrency)


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
    return [g for src, series in asked.series for g in _open(asked, src, series) if g.repairable]


def _open(asked: Wanted, src: Source, series: Sequence[Series]) -> list[Gap]:
    """All gaps of some series, from what is stored now."""
    found: list[Gap] = []
    for timeframe in sorted({s.timeframe for s in series}):
        mine = {s for s in series if s.timeframe == timeframe}
        facts = _facts(asked, timeframe, src.venue, mine)
        found += [g for g in _gaps(asked, src, timeframe, facts) if g.series in mine]
    return found
