"""Values at times beside bars: fetch what is missing, say what there is, read it, and lay it beside bars.

1. A call names instruments, kinds of values and a span. What was answered for is not asked for again.
2. Whichever source of the venue tells such values is asked, page by page and file by file, durably (engine/values.py).
3. The store is read again: what was asked for, is old enough to be known and was not answered decides the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import polars as pl

from gapless.app.markets import ARCHIVE, archive, patience, source, source_names
from gapless.app.planning import asked_span
from gapless.app.runs import Run, running
from gapless.config import Config
from gapless.engine.value_plan import ValuePlan, plan_values
from gapless.engine.value_tasks import ValueOutcome, ValueTask, of_archive, of_source, tasks
from gapless.engine.values import run_values
from gapless.errors import InputError, UsageError
from gapless.events import RunStarted
from gapless.observe.progress import Progress
from gapless.protocols import Counts, Source, ValueAnswer
from gapless.series import Instrument
from gapless.spans import Span, SpanSet, iso
from gapless.stores.lake import Lake as Store
from gapless.values import AGES, check_name

if TYPE_CHECKING:
    from gapless.app.lake import Lake


@dataclass(frozen=True)
class WantedValues:
    """What a call asks for: instruments by source, kinds of values, a span; ``again``: what was answered too."""

    lake: Lake
    parts: tuple[tuple[Source, tuple[Instrument, ...]], ...]
    names: tuple[str, ...]
    span: Span
    again: bool = False
    files: bool = True  # of the archive beside a source
    pages: bool = True  # of the source itself


def wanted(
    lake: Lake,
    *,
    symbols: str | None = None,
    universe: str | None = None,
    names: str | None = None,
    days: float | None = None,
    start: str | None = None,
    end: str | None = None,
    source: str | None = None,
    base_url: str | None = None,
    again: bool = False,
) -> WantedValues:
    """Understand the options of a call; UsageError for what is missing or contradicts."""
    kinds = tuple(dict.fromkeys(check_name(n.strip()) for n in names.split(","))) if names else tuple(AGES)
    span = asked_span("values", lake.store.clock(), days, start, end)
    chosen = _instruments(lake, symbols, universe, source and source.removesuffix(ARCHIVE))
    only_files = source is not None and source.endswith(ARCHIVE)
    parts = tuple(_by_source(lake.config, chosen, kinds, source, base_url))
    for src, _ in parts if only_files else ():
        if not of_archive(archive(lake.config, src), kinds):
            words = f"{src.name} has no archive of {' or '.join(kinds)}."
            raise UsageError(words, hint=f"leave --source out, or give --source {src.name}: its pages are asked")
    files, pages = only_files or source is None, not only_files
    return WantedValues(lake, parts, kinds, span, again, files, pages)


def _instruments(lake: Lake, symbols: str | None, universe: str | None, name: str | None) -> list[Instrument]:
    from gapless.app.instruments import scope

    if symbols is None and universe is None:
        raise UsageError("values of what?", hint="give --symbols BINANCEUSDM:BTCUSDT,… or --universe NAME")
    return scope(lake, name, symbols, universe, None) or []


def _by_source(
    config: Config, chosen: Sequence[Instrument], kinds: Sequence[str], name: str | None, base_url: str | None
) -> Iterator[tuple[Source, tuple[Instrument, ...]]]:
    for venue, group in groupby(sorted(chosen), key=lambda i: i.venue):
        mine, tellers = tuple(group), [name.removesuffix(ARCHIVE)] if name else source_names(config, venue)
        made = [source(config, teller, base_url=base_url) for teller in tellers]
        told = [s for s in made if s.venue == venue and of_source(s, kinds)]
        if not told:
            raise UsageError(
                f"no source of {mine[0]} tells {' or '.join(kinds)}.",
                hint="binance-usdm does, of BINANCEUSDM; lake.write_values(…) takes what you have from elsewhere",
            )
        yield told[0], mine


def sync(asked: WantedValues, progress: Progress) -> Run:
    """Fetch what is missing; the run's document and exit code tell the truth."""
    store = asked.lake.store
    with running(store, "values", progress) as run:
        planned = [(src, list(_tasks(asked, src, mine))) for src, mine in asked.parts]
        run.observe(RunStarted(run.id, "values", sum(len(found) for _, found in planned), 0))
        outcomes: list[ValueOutcome] = []
        for src, found in planned:
            if found and not run.interrupted:
                outcomes += _carry_out(asked, run, src, found)
        for outcome in () if run.interrupted else outcomes:
            outcome.errors += _unanswered(asked, outcome)
        _account(asked, run, outcomes)
    return run


def plan(asked: WantedValues) -> ValuePlan:
    """What ``sync`` would ask of whom; nobody is asked, and nothing is changed."""
    found = [task for src, mine in asked.parts for task in _tasks(asked, src, mine)]
    return plan_values(found, asked.lake.store.clock())


def _tasks(asked: WantedValues, src: Source, mine: Sequence[Instrument]) -> Iterator[ValueTask]:
    values, now = asked.lake.store.values, asked.lake.store.clock()
    held = of_archive(archive(asked.lake.config, src) if asked.files else None, asked.names)
    for teller in of_source(src, asked.names):
        known = {} if asked.again else values.answered(teller.value)
        until = {} if asked.again else values.asked_until(teller.value)
        yield from tasks(
            teller, mine, asked.span, known, until, archive=held.get(teller.value), pages=asked.pages, now=now
        )


def _carry_out(asked: WantedValues, run: Run, src: Source, found: Sequence[ValueTask]) -> list[ValueOutcome]:
    store = asked.lake.store
    outcomes, stopped = run_values(
        found, src, store.keep_values, run=run.id, patience=patience(asked.lake.config, src.name),
        observer=run.observe, clock=store.clock,
    )  # fmt: skip
    run.interrupted = stopped
    return outcomes


def _unanswered(asked: WantedValues, outcome: ValueOutcome) -> list[str]:
    """What of the span no answer speaks for, though none failed: as the store has it now."""
    end = min(asked.span.end, outcome.until) - AGES[outcome.name]
    known = asked.lake.store.values.answered(outcome.name).get(str(outcome.instrument), SpanSet.of())
    left = SpanSet.of(Span(asked.span.start, max(asked.span.start, end))) - known - outcome.untold
    return [f"no answer for {span}" for span in left] if not outcome.errors else []


def _account(asked: WantedValues, run: Run, outcomes: Sequence[ValueOutcome]) -> None:
    """What came of it, into the run's audit: a line for each wanted kind and instrument, asked for or not."""
    done = {(o.name, str(o.instrument)): o for o in outcomes}
    for src, mine in asked.parts:
        for teller in of_source(src, asked.names):
            for instrument in mine:
                key = (teller.value, str(instrument))
                _line(run, done.get(key) or ValueOutcome(teller.value, instrument))
    for outcome in outcomes:
        run.audit.residual += [_residual(outcome, s, why) for why, told in outcome.residual.items() for s in told]


def _line(run: Run, outcome: ValueOutcome) -> None:
    name = f"{outcome.instrument} {outcome.name}"
    run.audit.told(
        str(outcome.instrument), outcome.name, outcome.counts,
        requests=outcome.requests, bytes=outcome.bytes, failed=len(outcome.errors),
    )  # fmt: skip
    run.audit.errors += [{"series": name, "span": "", "error": error} for error in outcome.errors]


def _residual(outcome: ValueOutcome, span: Span, reason: str) -> dict[str, str]:
    return {
        "instrument": str(outcome.instrument), "name": outcome.name, "start": iso(span.start), "end": iso(span.end),
        "reason": reason,
    }  # fmt: skip


# ---------------------------------------------------------------- reading


def lines(store: Store) -> list[dict[str, Any]]:
    """What there is: a line for each kind and instrument."""
    answered = {name: store.values.answered(name) for name in AGES}
    return [
        {
            "name": h.name, "instrument": h.instrument, "values": h.values, "first": iso(h.first), "last": iso(h.last),
            "superseded": h.superseded, "known_at": iso(h.known_at),
            "answered": [[iso(s.start), iso(s.end)] for s in answered[h.name].get(h.instrument, ())],
        }
        for h in store.values.held()
    ]  # fmt: skip


def write(store: Store, name: str, instrument: Instrument, frame: pl.DataFrame, origin: str) -> Counts:
    """Store values that came from elsewhere: ``ts`` (with a time zone) and ``value``, or a column of the name."""
    check_name(name)
    column = "value" if "value" in frame.columns else name
    missing = [n for n in ("ts", column) if n not in frame.columns]
    if missing:
        raise InputError(f"column {missing[0]} is missing; the table has: {', '.join(frame.columns)}.", hint="rename")
    if getattr(frame.schema["ts"], "time_zone", None) is None:
        raise InputError("ts is no time with a zone.", hint="say which: dt.replace_time_zone('UTC')")
    rows = frame.select(pl.col("ts").dt.convert_time_zone("UTC").dt.cast_time_unit("us"), pl.col(column).alias("value"))
    rows = rows.with_columns(pl.col("value").cast(pl.Float64)).unique(maintain_order=True).sort("ts")
    if not rows["value"].is_finite().fill_null(False).all() or rows["ts"].null_count():
        raise InputError("a time or a value is missing, or is no number.", hint="drop such rows")
    if not rows["ts"].is_unique().all():
        raise InputError("a time stands twice with different values.", hint="keep one of them")
    return store.keep_values(_brought(name, instrument, rows, origin, store.clock()), rows)


def _brought(name: str, instrument: Instrument, rows: pl.DataFrame, origin: str, now: int) -> ValueAnswer:
    """What is brought claims nothing of what is not in it: the venue may still be asked."""
    ts = rows["ts"].to_physical()
    span = Span(int(ts[0]), int(ts[-1]) + 1) if len(ts) else Span(now, now)
    return ValueAnswer(origin, name, instrument, span, None, rows.height, 0, "", "", now)
