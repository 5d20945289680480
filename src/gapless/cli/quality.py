"""Verbs about trust: reconcile, quality."""

from __future__ import annotations

from typing import Any, Literal

from cyclopts import App

from gapless.cli.options import COMMON, Common, End, Output, Start, Symbols, Timeframes, Universe, show, split
from gapless.errors import UsageError


def register(app: App) -> None:
    """Add the verbs."""
    for verb in (reconcile, quality):
        app.command(verb)


def reconcile(
    *against: str,
    symbols: Symbols = None,
    universe: Universe = None,
    timeframes: Timeframes = None,
    start: Start = None,
    end: End = None,
    policy: Literal["report", "priority", "agreement"] = "report",
    prefer: str | None = None,
    base_url: str | None = None,
    undo: str | None = None,
    limit: int | None = None,
    output: Output = "",
    common: Common = COMMON,
) -> int:
    """Compare stored bars with other witnesses, bar by bar; with a policy, let the better one stand.

    Parameters
    ----------
    against
        A source to ask anew, a shorter timeframe to fold (1m), another lake's directory, or VENUE:SYMBOL.
    policy
        report only tells. priority: the most trusted source stands. agreement: what two sources agree on stands.
    prefer
        Sources, the most trusted first; otherwise [venues.NAME] sources.
    base_url
        Another address of the source, for example a simulated venue.
    undo
        A run whose overrides are to be taken back, instead of comparing; no other option goes with it.
    limit
        How many disagreements to show, the largest first (30, in JSON 100, if left out); --output writes all.
    """
    from gapless.app import reconciling
    from gapless.app.lake import span_of
    from gapless.app.runs import running
    from gapless.app.selecting import named
    from gapless.cli import render_quality, write
    from gapless.observe.progress import progress

    write.check(output)
    if limit is not None and limit < 0:
        raise UsageError(f"--limit {limit} is no number of rows.", hint="0 or more")
    lake = common.open(create=False)
    if undo is not None:
        _alone(against, symbols, universe, timeframes, start, end, prefer, base_url, output, policy != "report")
        with running(lake.store, "reconcile-undo", progress()) as run:
            done = reconciling.undo(lake, run, undo)
        return _told(run, done, common, render_quality.undone)
    asked = reconciling.wanted(
        lake, against, symbols=named(lake, split(symbols), universe), timeframes=split(timeframes),
        span=span_of(start, end), policy=policy, prefer=split(prefer) or (), base_url=base_url,
    )  # fmt: skip
    with running(lake.store, "reconcile", progress()) as run:
        found = reconciling.reconcile(asked, run)
    if output:
        write.table(found.table, output)
    document = {"policy": policy} | found.to_dict((100 if common.json else 30) if limit is None else limit)
    return _told(run, document, common, render_quality.reconciled)


def _alone(*others: object) -> None:
    """UsageError where something else was asked for with an undo."""
    if any(others):
        raise UsageError("--undo takes back what one run did; nothing else goes with it.", hint="give --undo RUN alone")


def _told(run: Any, document: dict[str, Any], common: Common, render: Any) -> int:
    document = {"run": run.id} | document | {"errors": run.document["errors"]}
    show(document) if common.json else render(document)
    return int(run.exit_code)


def quality(
    *,
    symbols: Symbols = None,
    universe: Universe = None,
    timeframes: Timeframes = None,
    start: Start = None,
    end: End = None,
    against: str | None = None,
    base_url: str | None = None,
    confidence: float = 0.0,
    output: Output = "",
    common: Common = COMMON,
) -> int:
    """Look for what is wrong in stored bars: a score a series, and flags beside the data; nothing is changed.

    Parameters
    ----------
    against
        A witness to hear about every flag: a source to ask, a shorter timeframe (1m), or another lake's directory.
    base_url
        Another address of the source, for example a simulated venue.
    confidence
        Show flags of at least this confidence, 0 to 1.
    output
        A .parquet, .csv or .feather file for the flags (- is CSV on stdout).
    """
    from gapless.app import scoring
    from gapless.app.lake import span_of
    from gapless.app.selecting import named
    from gapless.cli import render_quality, write
    from gapless.observe.progress import progress
    from gapless.series import Instrument
    from gapless.spans import Timeframe

    write.check(output)
    if not 0 <= confidence <= 1:
        raise UsageError(f"--confidence {confidence:g} is no confidence.", hint="0 to 1")
    lake = common.open(create=False)
    names = named(lake, split(symbols), universe)
    bars = [Timeframe.parse(t) for t in split(timeframes) or ()] or lake.store.timeframes()
    report = scoring.quality(
        lake, None if names is None else [Instrument.parse(n) for n in names], bars, span=span_of(start, end),
        against=against, base_url=base_url, progress=progress(),
    )  # fmt: skip
    report.flags = [f for f in report.flags if f.confidence >= confidence]
    if output:
        write.table(report.table, output)
    else:
        show(report.to_dict()) if common.json else render_quality.scored(report.to_dict())
    return report.exit_code
