"""What live runs decided, read back: alerts, positions, a report; and what the rules would have said of history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapless.alerts.position import Position, fold, stories
from gapless.alerts.results import summary
from gapless.app.desks import desk, unwatched
from gapless.app.lake import Lake
from gapless.engine.desk import Desk
from gapless.engine.rows import moments
from gapless.engine.valued import LiveView
from gapless.engine.warm import warm
from gapless.errors import UnknownName, UsageError
from gapless.spans import DAY, Span, Timeframe, iso, parse_time
from gapless.stores.journal import JOURNAL, Journal


def journal(lake: Lake) -> Journal | None:
    """What live runs decided; None where there never was one."""
    path = lake.path / JOURNAL
    return Journal(path) if path.exists() else None


def alerts(
    lake: Lake, *, span: Span | None = None, rule: str | None = None, withdrawn: bool = False, limit: int | None = None
) -> list[dict[str, Any]]:
    """Alerts that stand (or, asked for, those withdrawn too), by time."""
    known = journal(lake)
    found = known.entries("alert", span=span, withdrawn=withdrawn) if known is not None else []
    chosen = [_times(a) for a in found if rule is None or a["rule"] == rule]
    return chosen[-limit:] if limit else chosen


def _times(entry: Mapping[str, Any]) -> dict[str, Any]:
    gone = entry["withdrawn_at"]
    rest = {k: v for k, v in entry.items() if k not in ("seq", "withdrawn_at")}
    return rest | {"known_at": iso(entry["known_at"])} | ({"withdrawn_at": iso(gone)} if gone is not None else {})


def sent(lake: Lake, *, channel: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """What was to be told to whom, and how that went: the newest ``limit``, oldest first."""
    known = journal(lake)
    found = known.told(channel, limit) if known is not None else []
    return [
        {k: v for k, v in letter.items() if k not in ("payload", "made_at", "next_try")}
        | {"made_at": iso(letter["made_at"])}
        for letter in found
    ]


def positions(lake: Lake, *, state: str | None = None) -> list[Position]:
    """Positions by the time of their signal."""
    known = journal(lake)
    return folded(known.entries("position"), state) if known is not None else []


def folded(bodies: Sequence[Mapping[str, Any]], state: str | None = None) -> list[Position]:
    """Positions from the bodies of their events."""
    found = [fold(story) for story in stories(bodies).values()]
    return sorted((p for p in found if state in (None, p.state)), key=lambda p: (p.signalled_at, p.id))


def replay(
    lake: Lake,
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
) -> dict[str, Any]:
    """Run rules and positions over stored bars through the code that decides live; nothing is stored, nobody is told.

    Without ``start``: from where the live run of this lake began, with the instruments it looked after; then the
    alerts are those of ``gapless alerts list``. With one, rules begin there without memory. ``unwatched``: instruments
    that rules name and that have no part in it.
    """
    bars = Timeframe.parse(timeframe) if timeframe else _only_timeframe(lake)
    names = _names(lake, bars, symbols)
    since = _since(lake, bars, start)
    until = parse_time(end) if end is not None else None
    table = desk(lake.config, bars, names, features=())
    newest = max((int(s.ends[-1]) for n, s in lake.store.present(bars).items() if n in names), default=0)
    upto = min(until, newest) if until is not None else newest
    if upto <= since:
        raise UsageError(f"no {bars} bars between {iso(since)} and {iso(upto)}.", hint="gapless status shows what is")
    fired, events, seen = run(lake, table, since, upto)
    return {
        "timeframe": bars.name, "start": iso(since), "end": iso(upto), "instruments": len(names), "bars": seen,
        "alerts": fired,
        "positions": [p.to_dict() for p in folded(events)],
        "rules": {name: count.to_dict() for name, count in table.rules.counts().items()},
        "never_passing": [str(n) for n in table.rules.never_passing(1)],
        "unwatched": unwatched(table.rules.rules, names),
    }  # fmt: skip


def run(lake: Lake, table: Desk, since: int, upto: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Step a desk over the stored bars that open in ``[since, upto)``: alerts, position events, and bars seen."""
    bars = LiveView(lake.store, lake.store.values, table.reads)
    warm(table, bars, since - 1)
    fired: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    seen = 0
    for start in range(since, upto, DAY):
        rows = bars.rows(table.duties.timeframe, list(table.instruments), Span(start, min(start + DAY, upto)))
        for moment in moments(rows, table.instruments):
            decided = table.step(moment)
            fired += [alert.to_dict() for alert in decided.alerts]
            events += [event.to_dict() for event in decided.events]
            seen += int(np.count_nonzero(moment.present))
    return fired, events, seen


def report(lake: Lake) -> dict[str, Any]:
    """The live run's health, alerts by rule and severity, and what came of positions."""
    path = lake.path / "live.json"
    health = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    every, held = alerts(lake, withdrawn=True), positions(lake)
    found = [alert for alert in every if "withdrawn_at" not in alert]
    known = journal(lake)
    return {
        "live": health,
        "alerts": {
            "total": len(found),
            "by_rule": dict(Counter(a["rule"] for a in found)),
            "by_severity": dict(Counter(a["severity"] for a in found)),
            "by_instrument": dict(Counter(a["instrument"] for a in found).most_common(10)),
            "withdrawn": len(every) - len(found),
        },
        "positions": summary(held),
        "sent": known.sent() if known is not None else {},
    }  # fmt: skip


def _only_timeframe(lake: Lake) -> Timeframe:
    found = {rule.timeframe for rule in lake.config.rules()}
    if not found:
        raise UsageError("there are no rules.", hint="write [alerts.NAME] in gapless.toml; docs/alerts.md shows how")
    if len(found) > 1:
        raise UsageError("the rules are for several timeframes.", hint="give --timeframe")
    return found.pop()


def _names(lake: Lake, bars: Timeframe, symbols: Sequence[str] | None) -> tuple[str, ...]:
    present = lake.store.present(bars)
    known = _desk(lake, bars)
    names = tuple(symbols or (known["instruments"] if known else sorted(present)))
    absent = [name for name in names if name not in present]
    if absent and symbols:
        raise UnknownName(f"instrument with {bars} bars", absent[0], present)
    return names


def _since(lake: Lake, bars: Timeframe, start: str | None) -> int:
    if start is not None:
        return parse_time(start)
    known = _desk(lake, bars)
    if known is None:
        raise UsageError("replay from when?", hint="give --start; without it a replay begins where the live run began")
    return int(known["since"])


def _desk(lake: Lake, bars: Timeframe) -> Any:
    """Since when and for which instruments a live run decided these bars."""
    known = journal(lake)
    return known.fact(f"desk {bars.name}") if known is not None else None
