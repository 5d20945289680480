"""Verbs about values at times beside bars: funding rates and open interest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, AsOf, Common, End, Output, Start, Universe, mapping, show


def register(app: App) -> None:
    """Add the verbs."""
    values = App(name="values", help="Funding rates and open interest: values at times, beside bars.")
    values.command(sync)
    values.command(import_, name="import")
    values.command(show_values, name="show")
    values.command(list_values, name="list")
    app.command(values)


def sync(
    *,
    symbols: str | None = None,
    universe: Universe = None,
    names: str | None = None,
    days: float | None = None,
    start: Start = None,
    end: End = None,
    source: str | None = None,
    base_url: str | None = None,
    again: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Fetch the values that are missing, durably page by page; run again to go on after any interruption.

    What pages do not reach comes from the files of the source's archive, where it has one.

    Parameters
    ----------
    symbols
        VENUE:SYMBOL,… (a bare symbol needs --source).
    names
        funding_rate,open_interest; both if left out.
    days
        The last N days.
    source
        binance-usdm: its pages alone; binance-usdm-archive: its files alone; otherwise the venue's own, both ways.
    base_url
        Another address of the source.
    again
        Ask for what was answered too: finds what the source revised since.
    dry_run
        Only show what would be asked of whom, and what nobody tells.
    """
    from gapless.app.valuing import plan, wanted
    from gapless.app.valuing import sync as fetch
    from gapless.cli import render_values as render
    from gapless.observe.progress import progress

    options = {
        "symbols": symbols, "universe": universe, "names": names, "days": days, "start": start, "end": end,
        "source": source, "base_url": base_url, "again": again,
    }  # fmt: skip
    with common.trial() as lake:
        asked = wanted(lake, **options)  # type: ignore[arg-type] # a wrong call leaves no lake behind
        if dry_run:
            found = plan(asked).to_dict()
            show(found) if common.json else render.planned(found)
            return 0
    run = fetch(wanted(common.open(), **options), progress())  # type: ignore[arg-type]
    show(run.document) if common.json else render.synced(run.document)
    return run.exit_code


def import_(
    paths: Annotated[list[Path], Parameter(consume_multiple=True)],
    *,
    venue: str,
    name: str | None = None,
    symbol: str | None = None,
    format: str = "auto",  # noqa: A002 - the option is called --format
    tz: str | None = None,
    time_format: str | None = None,
    columns: str | None = None,
    common: Common = COMMON,
) -> int:
    """Import files of values: CSV, zip, Parquet, Feather, JSON; Binance's archives are recognised by their content.

    Parameters
    ----------
    paths
        Files, directories or patterns.
    venue
        The venue the values are of, for example BINANCEUSDM.
    name
        funding_rate or open_interest, where no column is called so.
    symbol
        The symbol, where neither a column nor the file's name says it.
    format
        csv, parquet, feather, json or zip; auto sniffs.
    tz
        Time zone of times that do not say theirs; UTC if left out.
    time_format
        How times are written, where that is ambiguous, for example %d/%m/%Y %H:%M.
    columns
        Column mapping, for example ts=When,value=Rate.
    """
    from gapless.app.importing_values import check, import_values
    from gapless.app.runs import running
    from gapless.cli import render_values as render
    from gapless.observe.progress import progress
    from gapless.sources.files_values import ValueOptions

    options = ValueOptions(venue, name, symbol, format, tz, mapping(columns), time_format)
    if common.missing():  # a wrong call leaves no lake behind
        check(common.settings(), paths, options)
    lake = common.open()
    with running(lake.store, "import", progress()) as run:
        told = import_values(lake.store, lake.config, run, paths, options)
    found = run.document | {"notes": told.notes, "refused": told.refused}
    show(found) if common.json else render.imported(found)
    return run.exit_code


def show_values(
    name: str,
    instrument: str,
    *,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    output: Output = "",
    common: Common = COMMON,
) -> int:
    """Read values of one instrument: to the terminal, or to a file.

    Parameters
    ----------
    name
        funding_rate or open_interest
    instrument
        VENUE:SYMBOL
    """
    from gapless.cli import render, write

    frame = common.open(create=False).values(name, instrument, start=start, end=end, as_of=as_of)
    write.rows(frame, output, common.json, lambda rows: render.frame(rows, f"{instrument} {name}"))
    return 0


def list_values(*, common: Common = COMMON) -> int:
    """List what there is of each instrument, and for which spans a source has answered."""
    from gapless.app.valuing import lines
    from gapless.cli import render_values as render

    found = lines(common.open(create=False).store)
    show(found) if common.json else render.listed(found)
    return 0
