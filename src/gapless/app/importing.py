"""``gapless import``: files in, bars and an honest account out.

1. Every path is opened by the reader, which sniffs its layout and yields batches; memory does not follow its size.
2. The store checks each batch, refuses bad rows, and compares the rest with what stands.
3. What a file may claim to have answered is worked out from the bars it holds, and recorded in the ledger.
4. The store is read again: repairable gaps inside what this import claims to have answered are reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from gapless.app.coverage import assess
from gapless.app.markets import market
from gapless.app.runs import Run
from gapless.config import Config
from gapless.coverage.asked import asked_by_table
from gapless.coverage.gap import Gap
from gapless.errors import InputError, UsageError
from gapless.events import Fetched, RunStarted, TaskDone
from gapless.protocols import Answer
from gapless.series import Instrument, Series
from gapless.sources.files import ReadOptions, expand, read
from gapless.spans import Span, SpanSet
from gapless.stores.lake import Lake as Store

_Held = dict[Instrument, SpanSet]
Rename = Callable[[pl.DataFrame], pl.DataFrame]


def unchanged(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows are of the instruments that the file names."""
    return frame


def check(config: Config, paths: Sequence[str | Path], options: ReadOptions) -> None:
    """Raise what is wrong with a call before a lake is made for it: venue, paths, and how a single file is read."""
    market(config, options.venue)
    files = expand(paths)
    if len(files) == 1:  # of several, one that cannot be read does not stop the others
        next(iter(read(files[0], options)), None)


def import_files(
    store: Store,
    config: Config,
    run: Run,
    paths: Sequence[str | Path],
    options: ReadOptions,
    *,
    rename: Rename = unchanged,
) -> list[str]:
    """Import files into the lake; returns notes on how they were read. One bad file does not stop the others.

    ``rename`` puts rows under other instruments than the file names, for example by the tickers of their time.
    """
    calendar = market(config, options.venue)  # an unknown venue is told before anything is read
    files = [f for f in expand(paths) if not f.resolve().is_relative_to(store.root.resolve())]  # never the lake itself
    run.observe(RunStarted(run.id, "import", len(files), 0))
    notes: list[str] = []
    claims: _Held = {}
    for path in files:
        try:
            held = _import_one(store, run, path, options, notes, rename)
        except (InputError, UsageError) as error:
            if len(files) == 1:
                raise
            run.audit.errors.append({"series": "", "span": "", "file": str(path), "error": str(error)})
            run.audit.tally["failed"] += 1
            continue
        asked = asked_by_table(held, options.timeframe, calendar)
        store.record(_answers(run, path, options, held, asked))
        for name, spans in asked.items():
            claims[name] = claims.get(name, SpanSet.of()) | spans
    run.gaps = _left(store, config, options, claims)
    return notes


def _import_one(store: Store, run: Run, path: Path, options: ReadOptions, notes: list[str], rename: Rename) -> _Held:
    """Steps 1 and 2 for one file; the bars it holds per instrument."""
    held: _Held = {}
    run.audit.tally["bytes"] += path.stat().st_size
    for reading in read(path, options):
        notes += [f"{path.name}: {note}" for note in reading.notes if f"{path.name}: {note}" not in notes]
        report = store.write(options.timeframe, rename(reading.frame), source=f"file:{path.name}", run=run.id)
        run.wrote(report)
        for series, spans in report.refused.items():  # the file spoke of these bars too
            held[series.instrument] = held.get(series.instrument, SpanSet.of()) | spans
        for series, spans in report.held.items():
            held[series.instrument] = held.get(series.instrument, SpanSet.of()) | spans
            hull = spans.hull
            if hull is not None:
                rows = report.series[series].read
                run.progress.observe(Fetched(series, path.name, hull, rows, 0, 0.0))
    for instrument, spans in held.items():
        whole = spans.hull or Span(0, 0)
        run.progress.observe(TaskDone(Series(instrument, options.timeframe), whole, ""))
    return held


def _answers(run: Run, path: Path, options: ReadOptions, held: _Held, asked: _Held) -> list[Answer]:
    digest = hashlib.sha256(f"{path.name}:{path.stat().st_size}".encode()).hexdigest()[:16]
    now = run.store.clock()
    return [
        Answer(
            source=f"file:{path.name}", series=Series(name, options.timeframe), asked=span, answered=span,
            rows=held[name].clip(span).bars(options.timeframe), status="ok", attempts=1, error="", digest=digest,
            run=run.id, known_at=now,
        )
        for name, spans in asked.items()
        for span in spans
    ]  # fmt: skip


def _left(store: Store, config: Config, options: ReadOptions, claims: _Held) -> list[Gap]:
    """Repairable gaps inside what this import claims to have answered."""
    if not claims:
        return []
    facts = [f for f in store.facts(options.timeframe) if f.series.instrument.venue == options.venue]
    return [
        gap
        for gap in assess(store, config, options.timeframe, facts=facts)
        if gap.repairable and claims.get(gap.series.instrument, SpanSet.of()).clip(gap.span)
    ]
