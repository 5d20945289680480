"""Verbs about what there is: instruments, universes, corporate actions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, Common, Symbols, Universe, show, split


def register(app: App) -> None:
    """Add the verbs."""
    actions = App(name="actions", help="Corporate actions: splits and dividends.")
    actions.command(import_actions, name="import")
    actions.command(sync_actions, name="sync")
    actions.command(show_actions, name="show")
    listings = App(name="instruments", help="What venues list, and since when; the names instruments went by.")
    listings.command(sync)
    listings.command(show_instruments, name="show")
    listings.command(import_maps, name="import")
    universes = App(name="universe", help="Who belongs to a universe at a time, and why.")
    universes.command(select)
    universes.command(show_universe, name="show")
    for group in (listings, universes, actions):
        app.command(group)


def sync(
    *,
    source: str | None = None,
    symbols: str | None = None,
    universe: Universe = None,
    file: Path | None = None,
    base_url: str | None = None,
    common: Common = COMMON,
) -> int:
    """Learn what sources list, and since when; what changed of an instrument opens a new version of it.

    Parameters
    ----------
    source
        binance or binance-usdm; otherwise the venues' own.
    symbols
        Of these only: VENUE:SYMBOL,… (a bare symbol needs --source).
    file
        Of the symbols of this file only: a symbol a line, or a JSON list.
    base_url
        Another address of the source.
    """
    from gapless.app.instruments import scope
    from gapless.app.instruments import sync as learn
    from gapless.cli import render_universe as render

    with common.trial() as lake:
        scope(lake, source, symbols, universe, file)  # a wrong call leaves no lake behind
    found = learn(common.open(), name=source, base_url=base_url, symbols=symbols, universe=universe, file=file)
    show(found) if common.json else render.imported(found)
    return 0


def show_instruments(symbol: str | None = None, *, as_of: str | None = None, common: Common = COMMON) -> int:
    """Show what is known of every instrument, or every version of one.

    Parameters
    ----------
    symbol
        VENUE:SYMBOL; with --as-of also a ticker of that time.
    as_of
        What held at this time.
    """
    from gapless.app.instruments import lines
    from gapless.cli import render_universe as render
    from gapless.spans import parse_time

    rows = lines(common.open(create=False), symbol, as_of=None if as_of is None else parse_time(as_of))
    show(rows) if common.json else render.instruments(rows)
    return 0


def import_maps(
    paths: Annotated[list[Path], Parameter(consume_multiple=True)], *, venue: str, common: Common = COMMON
) -> int:
    """Import map files: the tickers that instruments went by, their listings and delistings.

    Parameters
    ----------
    paths
        Files, directories or patterns; a file is called after its instrument.
    venue
        The venue of the instruments, for example XNAS.
    """
    from gapless.app.actions import check_files
    from gapless.app.instruments import import_maps as read
    from gapless.cli import render_universe as render
    from gapless.sources.files_names import read_map

    if common.missing():  # a wrong call leaves no lake behind
        check_files(common.settings(), paths, venue, read_map)
    found = read(common.open(), paths, venue)
    show(found) if common.json else render.imported(found)
    return 0


def select(name: str, *, as_of: str | None = None, every: bool = False, common: Common = COMMON) -> int:
    """Select the members of a universe, show each candidate with every test, and store the selection, dated.

    Parameters
    ----------
    name
        A universe of gapless.toml.
    as_of
        As it would have been then; now if left out. Nothing later is looked at.
    every
        Show those too that failed a test of words (quote, base, type, status, exclude, venue).
    """
    from gapless.cli import render_universe as render

    found = common.open(create=False).universe(name).remember(as_of)
    show(found.document) if common.json else render.selection(found.document, every)
    return 0


def show_universe(name: str, *, as_of: str | None = None, every: bool = False, common: Common = COMMON) -> int:
    """Show the newest stored selection of a universe.

    Parameters
    ----------
    name
        A universe of gapless.toml.
    as_of
        The one that held at this time.
    every
        Show those too that failed a test of words.
    """
    from gapless.cli import render_universe as render
    from gapless.errors import UsageError

    found = common.open(create=False).universe(name).stored(as_of)
    if found is None:
        when = f" by {as_of}" if as_of else ""
        raise UsageError(f"universe {name} was not selected{when}.", hint=f"gapless universe select {name}")
    show(found.document) if common.json else render.selection(found.document, every)
    return 0


def import_actions(
    paths: Annotated[list[Path], Parameter(consume_multiple=True)],
    *,
    venue: str,
    known_by: Literal["import", "ex"] = "import",
    replace: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Import splits and dividends: factor files, tables, or vendors' JSON; told again, they change nothing.

    Parameters
    ----------
    paths
        Files, directories or patterns.
    venue
        The venue of the symbols, for example XNAS; it decides the calendar.
    known_by
        ex takes each action as known from its ex-date on, so that --adjust-as-of works for times before this import.
    replace
        Of the instruments of these files this is all there is: what else was known of them is withdrawn.
    """
    from gapless.app.actions import check_files
    from gapless.app.actions import import_actions as read
    from gapless.cli import render_universe as render
    from gapless.sources.files_actions import read_actions

    if common.missing():  # a wrong call leaves no lake behind
        check_files(common.settings(), paths, venue, read_actions)
    lake = common.open()
    found = read(lake.store, lake.config, paths, venue, known_by=known_by, replace=replace)
    show(found) if common.json else render.imported(found)
    return 0


def sync_actions(
    *,
    symbols: str | None = None,
    universe: Universe = None,
    file: Path | None = None,
    source: str | None = None,
    known_by: Literal["import", "ex"] = "import",
    base_url: str | None = None,
    common: Common = COMMON,
) -> int:
    """Ask sources for the splits and dividends of instruments; what a source says no more is withdrawn.

    Parameters
    ----------
    symbols
        VENUE:SYMBOL,… (a bare symbol needs --source).
    file
        The symbols of this file: a symbol a line, or a JSON list.
    source
        Which source; otherwise the venues' own.
    known_by
        ex takes each action as known from its ex-date on.
    base_url
        Another address of the source.
    """
    from gapless.app.instruments import scope
    from gapless.app.instruments import sync_actions as learn
    from gapless.cli import render_universe as render
    from gapless.errors import UsageError

    lake = common.open(create=False)
    chosen = scope(lake, source, symbols, universe, file)
    if chosen is None:
        raise UsageError("actions of what?", hint="give --symbols A,B, --universe NAME or --file FILE")
    found = learn(lake, chosen, name=source, base_url=base_url, known_by=known_by)
    show(found) if common.json else render.imported(found)
    return 0


def show_actions(
    *, symbols: Symbols = None, universe: Universe = None, as_of: str | None = None, common: Common = COMMON
) -> int:
    """List corporate actions by instrument and ex-date.

    Parameters
    ----------
    as_of
        Those that were known at this time.
    """
    from gapless.app.adjusting import action_lines
    from gapless.app.selecting import named
    from gapless.cli import render_universe as render
    from gapless.spans import parse_time

    known = None if as_of is None else parse_time(as_of)
    lake = common.open(create=False)
    lines = action_lines(lake.store, named(lake, split(symbols), universe), as_of=known)
    show(lines) if common.json else render.actions(lines)
    return 0
