"""Verbs about what there is: instruments, universes, corporate actions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, AsOf, Common, Symbols, show, split


def register(app: App) -> None:
    """Add the verbs."""
    actions = App(name="actions", help="Corporate actions: splits and dividends.")
    actions.command(import_actions, name="import")
    actions.command(show_actions, name="show")
    app.command(actions)


def import_actions(
    paths: Annotated[list[Path], Parameter(consume_multiple=True)],
    *,
    venue: str,
    known_by: Literal["import", "ex"] = "import",
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
    """
    from gapless.app.actions import import_actions as read
    from gapless.cli import render_universe as render

    lake = common.open()
    found = read(lake.store, lake.config, paths, venue, known_by=known_by)
    show(found) if common.json else render.imported(found)
    return 0


def show_actions(*, symbols: Symbols = None, as_of: AsOf = None, common: Common = COMMON) -> int:
    """List corporate actions by instrument and ex-date."""
    from gapless.app.actions import action_lines
    from gapless.cli import render_universe as render
    from gapless.spans import parse_time

    known = None if as_of is None else parse_time(as_of)
    lines = action_lines(common.open(create=False).store, split(symbols), as_of=known)
    show(lines) if common.json else render.actions(lines)
    return 0
