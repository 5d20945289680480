"""Verbs about bars: import, plan, backfill, repair, gaps, why, status, bars, quarantine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gapless.cli.options import (
    COMMON,
    WHAT,
    AsOf,
    Common,
    End,
    OneTimeframe,
    Output,
    Start,
    Symbols,
    Timeframes,
    Universe,
    What,
    mapping,
    show,
    split,
)


def register(app: App) -> None:
    """Add the verbs."""
    app.command(import_, name="import")
    for verb in (plan, backfill, repair, gaps, why, status, bars, quarantine):
        app.command(verb)


def import_(
    paths: Annotated[list[Path], Parameter(consume_multiple=True)],
    *,
    venue: str,
    timeframe: OneTimeframe,
    symbol: str | None = None,
    format: str = "auto",  # noqa: A002 - the option is called --format
    tz: str | None = None,
    label: Literal["open", "close"] | None = None,
    time_format: str | None = None,
    columns: str | None = None,
    tickers: Literal["today", "then"] = "today",
    common: Common = COMMON,
) -> int:
    """Import files: CSV, zip, Parquet, Feather, JSON; vendor archives are recognised by their content.

    Parameters
    ----------
    paths
        Files, directories or patterns.
    venue
        The venue the bars are of, for example BINANCE or XNAS; it decides the calendar.
    symbol
        The symbol, where neither a column nor the file's name says it.
    format
        csv, parquet, feather, json or zip; auto sniffs.
    tz
        Time zone of times that do not say theirs, for example America/New_York.
    label
        Whether a bar is labelled by its open or by its close.
    time_format
        How times are written, where that is ambiguous, for example %d/%m/%Y %H:%M.
    columns
        Column mapping, for example open=First,close=Last,ts=When.
    tickers
        then: rows are named by the ticker of their own time, and go to the instrument that had it (see instruments
        import).
    """
    from collections import Counter
    from functools import partial

    from gapless.app.importing import check, import_files, unchanged
    from gapless.app.instruments import by_ticker
    from gapless.app.runs import running
    from gapless.cli import render
    from gapless.observe.progress import progress
    from gapless.sources.files import ReadOptions
    from gapless.spans import Timeframe

    options = ReadOptions(
        venue, Timeframe.parse(timeframe), symbol, format, tz, label, mapping(columns), time_format=time_format
    )  # fmt: skip
    if common.missing():  # a wrong call leaves no lake behind
        check(common.settings(), paths, options)
    lake = common.open()
    with running(lake.store, "import", progress()) as run:
        strays = Counter[str]()
        rename = partial(by_ticker, lake.store, venue, strays=strays) if tickers == "then" else unchanged
        notes = import_files(lake.store, lake.config, run, paths, options, rename=rename)
    notes += [f"{n:,} rows of {of} are of times at which no instrument went by it" for of, n in strays.items()]
    show(run.document | {"notes": notes}) if common.json else render.run(run.document, notes)
    return run.exit_code


def plan(*, what: What = WHAT, common: Common = COMMON) -> int:
    """Show what is missing and what fetching it will cost; change nothing."""
    return _plan(common, "plan", what)


def backfill(
    *, what: What = WHAT, dry_run: Annotated[bool, Parameter(negative="")] = False, common: Common = COMMON
) -> int:
    """Fetch what is missing of the chosen series, durably page by page; run again to go on after any interruption.

    Parameters
    ----------
    dry_run
        Only show the plan.
    """
    return _plan(common, "backfill", what) if dry_run else _fetch(common, "backfill", what)


def repair(
    *, what: What = WHAT, dry_run: Annotated[bool, Parameter(negative="")] = False, common: Common = COMMON
) -> int:
    """Fetch only repairable gaps of series the lake already knows: never asked, failed, vendor holes.

    Without symbols and timeframes: of everything the lake knows. Without a span: inside what was ever asked.

    Parameters
    ----------
    dry_run
        Only show the plan.
    """
    return _plan(common, "repair", what) if dry_run else _fetch(common, "repair", what)


def _plan(common: Common, verb: str, what: What) -> int:
    from gapless.app.planning import make_plan, wanted
    from gapless.cli import render

    with common.trial() as lake:
        found = make_plan(wanted(lake, verb, **asdict(what))).to_dict()
    show(found) if common.json else render.plan(found)
    return 0


def _fetch(common: Common, verb: str, what: What) -> int:
    from gapless.app.backfilling import fetch
    from gapless.app.planning import wanted
    from gapless.cli import render
    from gapless.observe.progress import progress

    if verb != "repair":
        with common.trial() as lake:
            wanted(lake, verb, **asdict(what))  # a wrong call leaves no lake behind
    run = fetch(wanted(common.open(create=verb != "repair"), verb, **asdict(what)), progress())
    show(run.document) if common.json else render.run(run.document, [])
    return run.exit_code


def gaps(
    *,
    symbols: Symbols = None,
    universe: Universe = None,
    timeframes: Timeframes = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    start: Start = None,
    end: str | None = None,
    common: Common = COMMON,
) -> int:
    """List every gap with its class, severity and evidence; exit 1 while repairable ones remain.

    Parameters
    ----------
    class_
        never_asked,failed,vendor_hole,venue_outage,halt,no_trade,before_listing,after_delisting,pending,calendar_conflict
    end
        … to here; without a span, inside what was ever asked.
    """
    from gapless.app.selecting import named
    from gapless.cli import render

    lake = common.open(create=False)
    names = named(lake, split(symbols), universe)
    found = lake.find_gaps(names, split(timeframes), start=start, end=end, classes=split(class_) or ())
    show([g.to_dict() for g in found]) if common.json else render.gaps([g.to_dict() for g in found])
    return 1 if any(g.repairable for g in found) else 0


def why(instrument: str, timeframe: OneTimeframe, time: str, *, common: Common = COMMON) -> int:
    """Tell why one bar is present or absent: class, evidence and history.

    Parameters
    ----------
    instrument
        VENUE:SYMBOL
    time
        A time inside the bar, ISO-8601, UTC.
    """
    from gapless.cli import render

    found = common.open(create=False).why(instrument, timeframe, time)
    show(found) if common.json else render.why(found)
    return 0


def status(*, timeframes: Timeframes = None, common: Common = COMMON) -> int:
    """Show the completeness matrix: series by day, coverage, freshness, the last run."""
    from gapless.cli import render

    found = common.open(create=False).status(split(timeframes))
    show(found) if common.json else render.status(found)
    return 0


def bars(
    instrument: str,
    timeframe: OneTimeframe,
    *,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    fill: Literal["none", "flat"] = "none",
    adjust: Literal["none", "splits", "all"] = "none",
    adjust_as_of: str | None = None,
    values: bool = True,
    output: Output = "",
    common: Common = COMMON,
) -> int:
    """Read bars: to the terminal, or to a .parquet, .csv or .feather file (- is CSV on stdout).

    Parameters
    ----------
    instrument
        VENUE:SYMBOL
    fill
        flat adds expected bars that are missing, at the previous close, marked.
    adjust
        Take the effect of splits, or of splits and dividends, out of prices and volumes.
    adjust_as_of
        Of those that had taken effect and were known by then; as --as-of if left out.
    values
        Give bars that have none the funding rate and open interest known at their open; --no-values: bars as stored.
    """
    from gapless.app.coverage import stored_spans
    from gapless.cli import render, write

    lake = common.open(create=False)
    frame = lake.bars(
        instrument, timeframe, start=start, end=end, as_of=as_of, fill=fill, adjust=adjust, adjust_as_of=adjust_as_of,
        provenance=True, values=values,
    )  # fmt: skip
    if frame.is_empty():
        render.stored(stored_spans(lake.store, instrument))  # none of what is not there is no answer
    frame = lake.mark_sessions(frame, timeframe)
    write.rows(frame, output, common.json, lambda rows: render.frame(rows, f"{instrument} {timeframe}"))
    return 0


def quarantine(*, timeframe: str | None = None, output: Output = "", common: Common = COMMON) -> int:
    """List refused rows with file, row and reason, or export them to mend and import again.

    Parameters
    ----------
    timeframe
        Of bars of this timeframe only.
    """
    from gapless.cli import render, write

    frame = common.open(create=False).quarantine(timeframe)
    write.rows(frame, output, common.json, render.quarantine)
    return 0
