"""What the first source of a venue leaves open, the next one is asked for: ``sources = ["a", "b"]`` of a venue.

1. Left open is what is repairable still (the first failed there, or was never reached), and every *hole*: a bar that it
   answered for and does not have, though nothing says that it cannot exist.
2. A hole is asked of each further source once: the ledger knows what each has answered. What failed is asked again.
3. What came is written with the name of the source that said it; the run's account has a line for each hand-over, and
   an error of the first source that a further one made good is no failure of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from gapless.app.markets import source, source_names
from gapless.app.runs import Run
from gapless.config import Config
from gapless.coverage.gap import Gap
from gapless.engine.plan import Plan, plan
from gapless.errors import UsageError
from gapless.protocols import Source
from gapless.series import Series
from gapless.spans import SpanSet
from gapless.stores.lake import Lake as Store

_HOLES = frozenset({"venue_outage", "halt", "calendar_conflict", "vendor_hole"})
Lacking = Mapping[Series, SpanSet]


def further(config: Config, first: Source) -> list[Source]:
    """The sources of the venue after the first, in order; UsageError for one that does not serve it."""
    names = source_names(config, first.venue)
    after = names[names.index(first.name) + 1 :] if first.name in names else ()
    made = [source(config, name) for name in after]
    for other in made:
        if other.venue != first.venue:
            raise UsageError(
                f"source {other.name} serves {other.venue}, and stands in sources of [venues.{first.venue}].",
                hint=f"name sources of {first.venue} only",
            )
    return made


def tells_silence(sources: Iterable[Source]) -> bool:
    """Does any of a venue's sources send silent bars too? Then silence is a hole like any other."""
    return any(source.dense for source in sources)


def lacking(store: Store, name: str, gaps: Iterable[Gap], *, repairable: bool, silence: bool) -> dict[Series, SpanSet]:
    """What to ask the source called ``name`` for: holes that it has not answered for, ``repairable`` gaps if wanted.

    ``silence``: bars that nobody traded in are holes too.
    """
    spans: dict[Series, list[tuple[int, int]]] = defaultdict(list)
    for gap in gaps:
        if (repairable and gap.repairable) or _is_hole(gap, silence):
            spans[gap.series].append((gap.span.start, gap.span.end))
    found = {s: SpanSet.of(*spans[s]) - store.meta.answered_by(name, s) for s in sorted(spans)}
    return {s: left for s, left in found.items() if left}


def _is_hole(gap: Gap, silence: bool) -> bool:
    """Might another source have these bars?"""
    return bool(gap.bars) and (gap.cls in _HOLES or (silence and gap.cls == "no_trade"))


def planned(
    store: Store, first: Source, others: Sequence[Source], gaps: Sequence[Gap], concurrency: int
) -> list[tuple[Source, Plan]]:
    """The holes that are known already, for the next source that was not asked for them."""
    silence = tells_silence((first, *others))
    for other in others:
        spans = lacking(store, other.name, gaps, repairable=False, silence=silence)
        if spans:
            return [(other, plan(spans.items(), other, concurrency=concurrency))]
    return []


def fill(
    run: Run,
    first: Source,
    others: Sequence[Source],
    gaps: Callable[[], Sequence[Gap]],
    carry_out: Callable[[Source, Plan], None],
    concurrency: int,
) -> None:
    """Ask each further source for what those before it left open. ``gaps`` looks at the store anew."""
    before, silence = first.name, tells_silence((first, *others))
    for other in others:
        spans = lacking(run.store, other.name, gaps(), repairable=True, silence=silence)
        if run.interrupted or not spans:
            continue
        carry_out(other, plan(spans.items(), other, concurrency=concurrency))
        for series, asked in spans.items():
            filled = asked & run.store.present(series.timeframe).get(str(series.instrument), SpanSet.of())
            run.audit.handed_over(series, asked, filled, before=before, to=other.name)
        before = other.name
