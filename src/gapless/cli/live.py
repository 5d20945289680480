"""Verbs of the live desk: live, alerts, positions, report."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, Common, Universe, show, split


def register(app: App) -> None:
    """Add the verbs."""
    app.command(live)
    app.command(positions)
    app.command(report)
    told = App(name="alerts", help="What the rules said, and would have said.")
    for verb, name in ((list_alerts, "list"), (replay, "replay"), (try_channel, "test"), (list_sent, "sent")):
        told.command(verb, name=name)
    app.command(told)


def live(
    *,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    symbols: str | None = None,
    universe: str | None = None,
    timeframes: str | None = None,
    source: str | None = None,
    base_url: str | None = None,
    common: Common = COMMON,
) -> int:
    """Look after instruments live: catch up, stream, decide, tell, follow paper positions; until SIGTERM or Ctrl-C.

    No orders are placed: positions are on paper.

    Parameters
    ----------
    for_
        End by itself after so long: 3m, 1h.
    symbols
        VENUE:SYMBOL,…; otherwise [live] of gapless.toml.
    universe
        A universe of gapless.toml: its list, or the members of its newest selection.
    timeframes
        1m,1h,…; otherwise [live] of gapless.toml.
    source
        binance or binance-usdm; otherwise the venue's own.
    base_url
        Another address of the source, for example a simulated venue.
    """
    from gapless.app.living import Wanted, check, look_after
    from gapless.cli import render_live as render
    from gapless.observe.watching import Lines, Screen
    from gapless.spans import SECOND, parse_duration

    seconds = parse_duration(for_) / SECOND if for_ is not None else None
    wanted = Wanted(symbols, universe, timeframes, source, base_url, seconds)
    if common.missing():
        with common.trial() as blank:  # a wrong call leaves no lake
            check(blank, wanted)
    view = Screen() if sys.stderr.isatty() and not common.json else Lines(sys.stderr)
    document, code = look_after(common.open(), wanted, view)
    show(document) if common.json else render.lived(document)
    return code


def list_alerts(
    *,
    rule: str | None = None,
    start: str | None = None,
    end: str | None = None,
    withdrawn: Annotated[bool, Parameter(negative="")] = False,
    limit: int = 100,
    common: Common = COMMON,
) -> int:
    """Alerts that stand, the newest last.

    Parameters
    ----------
    rule
        Only this rule's.
    start
        Of bars from here …
    end
        … to here (exclusive).
    withdrawn
        Those too that a later correction took back.
    limit
        So many of the newest; 0 for all.
    """
    from gapless.app import decisions
    from gapless.app.lake import span_of
    from gapless.cli import render_live as render

    lake = common.open(create=False)
    found = decisions.alerts(lake, span=span_of(start, end), rule=rule, withdrawn=withdrawn, limit=limit or None)
    show(found) if common.json else render.alerts(found)
    return 0


def replay(
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: str | None = None,
    universe: Universe = None,
    timeframe: str | None = None,
    common: Common = COMMON,
) -> int:
    """Run the rules over stored bars through the live code: what would have fired. Nothing is stored or sent.

    Parameters
    ----------
    start
        From this bar on, rules without memory; where the live run of this lake began, if left out.
    end
        To here (exclusive); the newest bar if left out.
    symbols
        VENUE:SYMBOL,…; those of the live run, or all that are stored, if left out.
    timeframe
        The rules' own if left out.
    """
    from gapless.app import decisions
    from gapless.app.selecting import named
    from gapless.cli import render_live as render

    lake = common.open(create=False)
    names = named(lake, split(symbols), universe)
    found = decisions.replay(lake, start=start, end=end, symbols=names, timeframe=timeframe)
    show(found) if common.json else render.replayed(found)
    return 0


def try_channel(name: str, *, common: Common = COMMON) -> int:
    """Send a test notice through a channel of gapless.toml.

    Parameters
    ----------
    name
        As under [notify.NAME].
    """
    from gapless.app import living
    from gapless.config import load

    outcome = living.try_channel(load(common.config), name)
    if common.json:
        show({"channel": name, "sent": not outcome, "error": outcome})
    else:
        print(f"{name}: {outcome or 'sent'}")
    return 1 if outcome else 0


def list_sent(*, channel: str | None = None, limit: int = 100, common: Common = COMMON) -> int:
    """What was told to whom: alerts, positions, trouble; sent, waiting or given up.

    Parameters
    ----------
    channel
        Only this one's.
    limit
        So many of the newest.
    """
    from gapless.app import decisions
    from gapless.cli import render_live as render

    found = decisions.sent(common.open(create=False), channel=channel, limit=limit)
    show(found) if common.json else render.sent(found)
    return 0


def positions(
    *,
    state: Literal["pending", "open", "partial", "closed", "invalidated", "expired"] | None = None,
    common: Common = COMMON,
) -> int:
    """Paper positions with entry, exit, MFE, MAE and result.

    Parameters
    ----------
    state
        Only those in this state.
    """
    from gapless.app import decisions
    from gapless.cli import render_live as render

    found = [p.to_dict() for p in decisions.positions(common.open(create=False), state=state)]
    show(found) if common.json else render.positions(found)
    return 0


def report(*, output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None, common: Common = COMMON) -> int:
    """Health of the live run, alerts by rule, results of positions.

    Parameters
    ----------
    output
        Write the JSON document to this file.
    """
    import json
    from pathlib import Path

    from gapless.app import decisions
    from gapless.cli import render_live as render

    found = decisions.report(common.open(create=False))
    if output is not None:
        Path(output).write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
    show(found) if common.json else render.report(found)
    return 0
