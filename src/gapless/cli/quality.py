"""Verbs about trust: reconcile."""

from __future__ import annotations

from typing import Any, Literal

from cyclopts import App

from gapless.cli.options import COMMON, Common, End, Output, Start, Symbols, Timeframes, show, split


def register(app: App) -> None:
    """Add the verbs."""
    app.command(reconcile)


def reconcile(
    *against: str,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    start: Start = None,
    end: End = None,
    policy: Literal["report", "priority", "agreement"] = "report",
    prefer: str | None = None,
    base_url: str | None = None,
    undo: str | None = None,
    limit: int = 100,
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
        A run whose overrides are to be taken back, instead of comparing.
    limit
        How many disagreements to show, the largest first; --output writes all.
    """
    from gapless.app import reconciling
    from gapless.app.lake import span_of
    from gapless.app.runs import running
    from gapless.cli import render_quality, write
    from gapless.observe.progress import progress

    lake = common.open(create=False)
    if undo is not None:
        with running(lake.store, "reconcile-undo", progress()) as run:
            done = reconciling.undo(lake, run, undo)
        return _told(run, done, common, render_quality.undone)
    asked = reconciling.wanted(
        lake, against, symbols=split(symbols), timeframes=split(timeframes), span=span_of(start, end), policy=policy,
        prefer=split(prefer) or (), base_url=base_url,
    )  # fmt: skip
    with running(lake.store, "reconcile", progress()) as run:
        found = reconciling.reconcile(asked, run)
    if output:
        write.table(found.table, output)
    return _told(run, {"policy": policy} | found.to_dict(limit), common, render_quality.reconciled)


def _told(run: Any, document: dict[str, Any], common: Common, render: Any) -> int:
    document = {"run": run.id} | document | {"errors": run.document["errors"]}
    show(document) if common.json else render(document)
    return int(run.exit_code)
