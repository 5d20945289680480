"""What ``plan``, ``backfill`` and ``repair`` are asked for, what of it is missing, and where each bar is to come from.

1. The call names series and a span; the span ends where the venue's bars may be final.
2. Coverage says which gaps are repairable, and which bars were learned so early that they must be asked again.
3. What is going to be folded from shorter bars is taken out of that (``deriving``): with ``derive="first"`` all that
   can be; otherwise what the venue has answered for in vain, and nobody else is there to be asked.
4. The engine's plan puts a price on the rest, for the first source of the venue; holes that it is known to have are the
   next source's (``fallback``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby

from gapless.app import deriving, fallback, selecting
from gapless.app.coverage import assess, check_stored
from gapless.app.lake import Lake
from gapless.app.markets import ARCHIVE, archive, source, source_name, source_names, vendor_of
from gapless.config import Derive
from gapless.coverage.gap import Gap
from gapless.engine.budget import quota_of
from gapless.engine.final import settle_of
from gapless.engine.plan import Plan, Task, plan
from gapless.errors import UsageError
from gapless.protocols import Facts, Offer, Source
from gapless.series import Instrument, Series
from gapless.spans import DAY, EARLIEST, Span, SpanSet, Timeframe, iso, parse_time

NONE = SpanSet.of()
_FIRST = EARLIEST + 1  # EARLIEST itself is how repair says: from where it was first asked for


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
    derive: Derive = "gaps"


@dataclass(frozen=True)
class Plans:
    """One plan a source, and what is derived."""

    parts: tuple[tuple[Source, Plan], ...]
    derived: tuple[Task, ...] = ()
    derived_bars: int = 0
    unlisted: tuple[str, ...] = ()  # instruments asked for bars before any known one, though they may be younger

    def to_dict(self) -> dict[str, object]:
        """All sources' tasks and costs in one document, as ``gapless plan --json`` prints it."""
        plans = [p for _, p in self.parts]
        tasks = [t for p in plans for t in p.tasks] + list(self.derived)
        return {
            "tasks": [t.to_dict() for t in tasks],
            "bars": sum(p.bars for p in plans) + self.derived_bars,
            "derived": self.derived_bars,
            "requests": sum(p.requests for p in plans),
            "sources": _requests(tasks),
            "quota": {src.name: quota for src, p in self.parts if (quota := _quota(src, p))},
            "weight": sum(p.weight for p in plans),
            "seconds": round(self.seconds, 3),
            "bytes": sum(p.bytes for p in plans),
            "residual": [dict(g) for p in plans for g in p.residual],
            "unlisted": list(self.unlisted),
        }

    @property
    def seconds(self) -> float:
        """Of the slowest source: they are asked side by side."""
        each: dict[str, float] = {}
        for src, part in self.parts:
            each[src.name] = each.get(src.name, 0.0) + part.seconds
        return max(each.values(), default=0.0)


def _quota(src: Source, found: Plan) -> dict[str, object] | None:
    """What is left of the allowance that all processes of this machine share, and what the plan will take."""
    now = quota_of(src.base_url, src.limits)
    return None if now is None else now.to_dict() | {"planned": found.weight}


def _requests(tasks: Iterable[Task]) -> dict[str, int]:
    """Requests by source; none for what is derived."""
    found: dict[str, int] = {}
    for task in tasks:
        found[task.source] = found.get(task.source, 0) + task.requests
    return found


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
    derive: str | None = None,
) -> Wanted:
    """Understand the options of a call; UsageError for what is missing or contradicts."""
    bars = _timeframes(lake, verb, timeframes)
    instruments = _instruments(lake, verb, symbols, universe, source, bars)
    series = [Series(i, t) for i in instruments for t in bars]
    now = lake.store.clock()
    span = _span(verb, now, days, start, end)
    parts = tuple(_by_source(lake, series, source, base_url))
    wide = lake.config.backfill.max_concurrent if max_concurrent is None else max_concurrent
    if wide < 1:
        raise UsageError(f"--max-concurrent {wide} asks nobody.", hint="give 1 or more, or leave it out")
    only_files = source is not None and source.endswith(ARCHIVE)
    alone = source is not None
    return Wanted(
        lake, verb, parts, span, wide, now, alone, verify=verify, files=only_files or not alone, pages=not only_files,
        derive=deriving.mode(lake.config.backfill.derive if derive is None else derive),
    )  # fmt: skip


def _timeframes(lake: Lake, verb: str, text: str | None) -> list[Timeframe]:
    if text is None and verb == "repair":
        return lake.store.timeframes()
    names = list(lake.config.backfill.timeframes) if text is None else text.split(",")
    found = [Timeframe.parse(n.strip()) for n in names if n.strip()]
    if not found:
        raise UsageError(f"--timeframes '{text}' names none.", hint="give --timeframes 1m,1h or leave it out")
    return found


def _instruments(
    lake: Lake, verb: str, symbols: str | None, universe: str | None, source: str | None, bars: Sequence[Timeframe]
) -> list[Instrument]:
    plain = (source or "").removesuffix(ARCHIVE)
    venue = vendor_of(lake.config, plain).venue if plain else None
    found = selecting.instruments(lake, symbols, universe, venue=venue)
    if found is not None:
        if verb == "repair" and universe is None:
            check_stored(lake.store, [str(one) for one in found])
        return found
    if verb == "repair":
        known = {f.series.instrument for t in bars for f in lake.store.facts(t)}
        venues = {i.venue for i in known}
        served = {v for v in venues if v in lake.config.venues or source_names(lake.config, v)}
        return sorted(i for i in known if i.venue in served)
    raise UsageError(f"{verb} of what?", hint="give --symbols BINANCE:BTCUSDT,… or --universe NAME")


def _span(verb: str, now: int, days: float | None, start: str | None, end: str | None) -> Span | None:
    if verb == "repair" and days is None and start is None:
        return None if end is None else Span.parse(EARLIEST, end)
    return asked_span(verb, now, days, start, end)


def asked_span(what: str, now: int, days: float | None, start: str | None, end: str | None) -> Span:
    """The span of a call, which ends now at the latest; UsageError where it says none, or two."""
    if days is not None and (start is not None or end is not None):
        hint = "give one of them: either --days N alone, or --start and --end"
        raise UsageError("--days and --start/--end were both given.", hint=hint)
    since = _FIRST if start is None else max(_FIRST, parse_time(start))
    if days is not None:
        if not days > 0:
            raise UsageError(f"--days {days:g} is no span.", hint="give a number above 0")
        return Span(max(_FIRST, now - round(min(days * DAY, now - _FIRST))), now)
    if start is None:
        raise UsageError(f"{what} of which span?", hint="give --days N, or --start and --end")
    if since >= now:
        raise UsageError(f"{iso(since)} has not come yet.", hint=f"nobody has bars of it; it is {iso(now)} now")
    span = Span.parse(since, now if end is None else min(parse_time(end), now))
    if not span:
        raise UsageError(f"{span} is no span.", hint="the end is exclusive: give --end after --start")
    return span


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


@dataclass(frozen=True)
class _Lack:
    """What some series of one source lack, and what is to be asked again though it is there."""

    src: Source
    series: tuple[Series, ...]
    gaps: list[Gap]
    again: Mapping[Series, SpanSet]
    said: Mapping[Series, SpanSet]  # by the venue itself, with bars or without


def make_plan(asked: Wanted) -> Plans:
    """What is missing and what it will cost; touches nothing and asks nobody."""
    lacks = [_lack(asked, src, series) for src, series in asked.series]
    derived = _derivable(asked, lacks) if asked.derive != "never" else []
    taken = deriving.spans_of(derived)
    parts = [(lack.src, _plan_one(asked, lack, taken)) for lack in lacks]
    for lack in () if asked.alone else lacks:
        parts += _known_holes(asked, lack, taken)
    derived = _not_asked(asked, derived, parts, lacks)
    bars = sum(deriving.bars_of(task, asked.lake.config) for task in derived)
    return Plans(tuple(parts), tuple(derived), bars, _unlisted(asked, [task for _, p in parts for task in p.tasks]))


def _unlisted(asked: Wanted, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Whose tasks begin before every bar there is, while nobody has said since when there are any."""
    store, found = asked.lake.store, set[str]()
    known = {name for name, (listed_at, _, _) in store.meta.listings().items() if listed_at is not None}
    present = {timeframe: store.present(timeframe) for timeframe in {task.series.timeframe for task in tasks}}
    for task in tasks:
        name = str(task.series.instrument)
        held = present[task.series.timeframe].get(name)
        if name not in known and not (held and held.starts[0] <= task.span.start):
            found.add(name)
    return tuple(sorted(found))


def plan_of(asked: Wanted, src: Source) -> Plan:
    """The part of the plan that is to be asked of one of the call's sources."""
    mine = tuple((one, series) for one, series in asked.series if one is src)
    return make_plan(replace(asked, series=mine)).parts[0][1]


def _not_asked(
    asked: Wanted, derived: Sequence[Task], parts: Sequence[tuple[Source, Plan]], lacks: Sequence[_Lack]
) -> list[Task]:
    """Less the bars that come by the way: near spans are asked for as one, with what lies between them."""
    said = {series: spans for lack in lacks for series, spans in lack.said.items()}
    coming: dict[Series, SpanSet] = {}
    for task in (task for _, part in parts for task in part.tasks):
        new = SpanSet.of(task.span) - said.get(task.series, NONE)
        coming[task.series] = coming.get(task.series, NONE) | new
    return deriving.less(derived, coming, asked.lake.config)


def _lack(asked: Wanted, src: Source, series: tuple[Series, ...]) -> _Lack:
    gaps: list[Gap] = []
    again: dict[Series, SpanSet] = {}
    said: dict[Series, SpanSet] = {}
    for timeframe in sorted({s.timeframe for s in series}):
        mine = {s for s in series if s.timeframe == timeframe}
        facts = _facts(asked, timeframe, src.venue, mine)
        gaps += [gap for gap in _gaps(asked, src, timeframe, facts) if gap.series in mine]
        again.update(_again(asked, timeframe, [f for f in facts if f.series in mine]))
        said |= {f.series: f.confirmed for f in facts if f.series in mine}
    return _Lack(src, series, gaps, again, said)


def _derivable(asked: Wanted, lacks: Sequence[_Lack]) -> list[Task]:
    """What to fold, of bars that are stored or will be fetched: all that can be, or what nobody will be asked for."""
    lake = asked.lake
    wanted, coming = stale(asked), deriving.open_spans(gap for lack in lacks for gap in lack.gaps if gap.repairable)
    for lack in lacks:
        others = fallback.further(lake.config, lack.src) if not asked.alone and asked.derive == "gaps" else []
        silence = fallback.tells_silence((lack.src, *others))
        holes = [
            fallback.lacking(lake.store, other.name, lack.gaps, repairable=False, silence=silence) for other in others
        ]
        for series, spans in deriving.open_spans(lack.gaps).items():
            theirs = [hole.get(series, NONE) for hole in holes]
            if asked.derive == "gaps":
                theirs.append(coming.get(series, NONE) - lack.said.get(series, NONE))
            left = reduce(SpanSet.__sub__, theirs, spans)
            wanted[series] = wanted.get(series, NONE) | left
    return deriving.choose(lake.store, lake.config, wanted, coming)


def stale(asked: Wanted) -> dict[Series, SpanSet]:
    """Derived bars of the wanted series and span that must be derived again."""
    store, found = asked.lake.store, dict[Series, SpanSet]()
    every = {s for _, series in asked.series for s in series}
    for timeframe in {s.timeframe for s in every}:
        found |= deriving.stale(store, asked.lake.config, timeframe, every)
    return found if asked.span is None else {s: spans.clip(asked.span) for s, spans in found.items()}


def _known_holes(asked: Wanted, lack: _Lack, taken: Mapping[Series, SpanSet]) -> list[tuple[Source, Plan]]:
    """What the first source is known not to have, planned for the next that was not asked for it."""
    others = fallback.further(asked.lake.config, lack.src)
    gaps = deriving.without(lack.gaps, taken, asked.lake.config) if others else []
    return fallback.planned(asked.lake.store, lack.src, others, gaps, asked.concurrency)


def _plan_one(asked: Wanted, lack: _Lack, taken: Mapping[Series, SpanSet]) -> Plan:
    spans = dict(lack.again)
    residual: list[Gap] = []
    for gap in deriving.without(lack.gaps, taken, asked.lake.config):
        if gap.repairable:
            spans[gap.series] = spans.get(gap.series, NONE) | SpanSet.of(gap.span)
        else:
            residual.append(gap)
    ordered = [(s, spans[s]) for s in sorted(spans)]
    residue, offers = [g.to_dict() for g in residual], _offers(asked, lack.src, ordered)
    return plan(ordered, lack.src, offers=offers, pages=asked.pages, residual=residue, concurrency=asked.concurrency)


def _offers(asked: Wanted, src: Source, wanted: Sequence[tuple[Series, SpanSet]]) -> dict[Series, Sequence[Offer]]:
    """What the archive beside a source should have of the wanted spans by now."""
    beside, now = archive(asked.lake.config, src) if asked.files else None, asked.lake.store.clock()
    if beside is None:
        return {}
    hulls = {series: spans.hull for series, spans in wanted}
    return {series: beside.offers(series, hull, now) for series, hull in hulls.items() if hull}


def _again(asked: Wanted, timeframe: Timeframe, facts: Sequence[Facts]) -> Iterable[tuple[Series, SpanSet]]:
    """What was learned too soon and, to verify, what the source may have revised since or was never asked for."""
    store = asked.lake.store
    due = store.meta.due(timeframe, store.clock()) if asked.verify else {}
    derived = deriving.spans_stored(store, timeframe) if asked.verify else {}
    for fact in facts:
        name = str(fact.series.instrument)
        spans = fact.provisional | due.get(name, NONE) | (derived.get(name, NONE) - fact.answered)
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
    delay = settle_of(src, timeframe) if asked.alone else None
    store, config = asked.lake.store, asked.lake.config
    return assess(store, config, timeframe, facts=facts, within=asked.span, now=asked.now, delay=delay)


def open_gaps(asked: Wanted, src: Source, series: Sequence[Series]) -> list[Gap]:
    """All gaps of some series, from what is stored now."""
    found: list[Gap] = []
    for timeframe in sorted({s.timeframe for s in series}):
        mine = {s for s in series if s.timeframe == timeframe}
        facts = _facts(asked, timeframe, src.venue, mine)
        found += [g for g in _gaps(asked, src, timeframe, facts) if g.series in mine]
    return found
