"""Corporate actions: learn them from files and vendors. What they do to bars when these are read: adjusting.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from gapless.adjust import (
    Action,
    dividend,
    from_factors,
    same,
    split,
)
from gapless.app.deriving import withdraw_split
from gapless.app.markets import market, patience
from gapless.config import Config
from gapless.engine.reference import TellsActions, fetch_actions
from gapless.engine.reference import Told as VendorTold
from gapless.errors import InputError, UsageError
from gapless.protocols import Source
from gapless.series import Instrument
from gapless.sources.files import expand
from gapless.sources.files_actions import Told, read_actions
from gapless.spans import DAY, WEEK, Span, Timeframe, iso, parse_time
from gapless.stores.lake import Lake as Store

Known = Literal["import", "ex"]
_SAME = 10 * DAY  # the same split told twice with two dates, by two vendors or one
_ONE_DAY = Timeframe.parse("1d")


@dataclass
class Found:
    """What was said: actions of so many rows, of which (instrument, source) it is all, and what could not be used."""

    read: int = 0
    actions: list[Action] = field(default_factory=list)
    whole: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_actions(
    store: Store,
    config: Config,
    paths: Sequence[str | Path],
    venue: str,
    *,
    known_by: Known = "import",
    replace: bool = False,
) -> dict[str, Any]:
    """Read files and remember their actions; counts and notes. Nothing is stored when a file cannot be read.

    ``replace``: of the instruments they speak of this is all there is: what else was known of them is withdrawn.
    ``known_by="ex"``: take them as known from their ex-dates on, so that they can be asked for "as of" a past time.
    """
    market(config, venue)  # an unknown venue is told first
    found = Found()
    for path in expand(paths):
        _read_one(store, config, path, venue, found)
    if replace:
        names = sorted({a.instrument for a in found.actions})
        found.whole += [(a.instrument, a.source) for a in store.meta.actions.of(names)]
    return keep_actions(store, found, known_by=known_by)


def sync_actions(
    store: Store, config: Config, src: Source, instruments: Sequence[Instrument], *, known_by: Known = "import"
) -> dict[str, Any]:
    """Ask a source for every action of some instruments, and remember them; what it says no more is withdrawn.

    A dividend needs a stored daily close before its ex-date. Raises UsageError for a source that knows no actions.
    """
    if not isinstance(src, TellsActions):
        raise UsageError(
            f"source {src.name} knows no corporate actions.", hint="gapless actions import FILE… reads files"
        )
    found = Found()
    told = fetch_actions(src, [i.symbol for i in instruments], patience=patience(config, src.name))
    for instrument, of_one in zip(instruments, told, strict=True):
        found.whole.append((str(instrument), src.name))
        found.read += len(of_one.splits) + len(of_one.dividends)
        found.actions += _of_vendor(store, config, instrument, of_one, src.name, found.notes)
    return keep_actions(store, found, known_by=known_by)


def _of_vendor(
    store: Store, config: Config, instrument: Instrument, of_one: VendorTold, source: str, notes: list[str]
) -> Iterator[Action]:
    foreign = [d for d in of_one.dividends if d.currency not in ("", "USD")]
    notes += [f"{instrument} {d.ex}: a dividend in {d.currency}; left out" for d in foreign]
    splits = [s for s in of_one.splits if s.before > 0 and s.after > 0]
    odd = [s for s in of_one.splits if s not in splits]
    notes += [f"{instrument} {s.ex}: a split of {s.after:g} for {s.before:g}; left out" for s in odd]
    rows = [
        *(Told("", _midnight(s.ex), ratio=Fraction(repr(s.after)) / Fraction(repr(s.before))) for s in splits),
        *(Told("", _midnight(d.ex), amount=Fraction(repr(d.cash))) for d in of_one.dividends if d not in foreign),
    ]
    for row in rows:
        if action := _action(store, config, instrument, row, source, notes):
            yield action


def _midnight(day: date) -> int:
    return parse_time(day.isoformat())


def check_files(config: Config, paths: Sequence[str | Path], venue: str, read: Callable[[Path], object]) -> None:
    """Raise what is wrong with a call before a lake is made for it."""
    market(config, venue)
    for path in expand(paths):
        read(path)


def keep_actions(store: Store, found: Found, *, known_by: Known = "import") -> dict[str, Any]:
    """Remember actions: those of one day and kind as one; a split that is told a second time days later is left out."""
    actions = _without_echoes(_one_a_day(found.actions), _standing(store, found), found.notes)
    if known_by == "ex":
        actions = [dataclasses.replace(a, known_at=a.ex) for a in actions]
    with store.writing("store corporate actions"):
        counts = store.meta.actions.store(actions, now=store.clock(), whole=found.whole)
    found.notes += withdraw_split(store)
    return {"read": found.read, **counts, "notes": found.notes}


def _read_one(store: Store, config: Config, path: Path, venue: str, found: Found) -> None:
    content, source = read_actions(path), f"file:{path.name}"
    for symbol, rows in content.factors.items():
        name = str(Instrument(venue, symbol))
        actions = from_factors(name, rows, lambda day: next_session(config, venue, day), source=source)
        found.read, found.actions = found.read + len(actions), found.actions + actions
        found.whole.append((name, source))
    found.read += len(content.told)
    for told in content.told:
        action = _action(store, config, Instrument(venue, told.symbol), told, source, found.notes)
        found.actions += [action] if action else []


def _action(
    store: Store, config: Config, instrument: Instrument, told: Told, source: str, notes: list[str]
) -> Action | None:
    if told.ratio == 1:
        notes.append(f"{instrument} {iso(told.ex)[:10]}: a split of 1 for 1 changes nothing; left out")
        return None
    if told.ratio is not None:
        return split(str(instrument), told.ex, told.ratio, source=source)
    close = float(told.close) if told.close is not None else _close_before(store, config, instrument, told.ex)
    if close is None:
        notes.append(f"{instrument} {iso(told.ex)[:10]}: a dividend, and no close before it; import daily bars first")
        return None
    cash = told.amount or Fraction(0)
    if not 0 < cash < (told.close or Fraction(repr(close))):
        notes.append(
            f"{instrument} {iso(told.ex)[:10]}: a dividend of {float(cash):g} on a close of {close:g}; left out"
        )
        return None
    return dividend(str(instrument), told.ex, cash, close=told.close or close, source=source)


def _close_before(store: Store, config: Config, instrument: Instrument, ex: int) -> float | None:
    """The last daily close before an ex-date, as traded; None while it may still be to come, as it is of the future.

    It is that of the session before, or of an earlier one where bars from the ex-date on are stored already.
    """
    rows = store.rows(_ONE_DAY, [str(instrument)], Span(ex - 2 * WEEK, ex + 2 * WEEK), ["ts", "close"])
    opens = rows["ts"].to_physical().to_list()
    before = [float(close) for ts, close in zip(opens, rows["close"], strict=True) if ts < ex]
    sessions = market(config, instrument.venue).days(Span(ex - 2 * WEEK, ex)).labels
    if not before or (len(before) == len(opens) and len(sessions) and opens[-1] < sessions[-1]):
        return None
    return before[-1]


def _one_a_day(actions: Sequence[Action]) -> list[Action]:
    """Actions of one kind and day are one: a regular and a special dividend."""
    ordered = sorted(actions, key=lambda a: (a.instrument, a.kind, a.ex))
    return [_joined(list(group)) for _, group in groupby(ordered, key=lambda a: (a.instrument, a.kind, a.ex))]


def _joined(group: Sequence[Action]) -> Action:
    first, *others = dict.fromkeys(group)  # the same row twice is one
    if not others:
        return first
    if first.kind == "split":
        ratios = " and ".join(f"{a.value:g} for 1" for a in (first, *others))
        raise InputError(
            f"{first.instrument} {iso(first.ex)[:10]} has splits that differ: {ratios}.",
            hint="import one source at a time, or mend the file",
        )
    cash = sum((a.value for a in others), first.value)
    return dividend(first.instrument, first.ex, cash, close=first.close or 0, source=first.source)


def _standing(store: Store, found: Found) -> list[Action]:
    """What stands of these instruments and will not be withdrawn."""
    names = sorted({a.instrument for a in found.actions})
    return [a for a in store.meta.actions.of(names) if (a.instrument, a.source) not in found.whole]


def _without_echoes(actions: Sequence[Action], standing: Sequence[Action], notes: list[str]) -> list[Action]:
    by_name: dict[str, list[Action]] = {}
    for action in standing:
        by_name.setdefault(action.instrument, []).append(action)
    kept: list[Action] = []
    for action in actions:
        others = by_name.setdefault(action.instrument, [])
        before = next((k for k in others if _echo(k, action)), None)
        if before is None:
            kept.append(action)
            others.append(action)
        else:
            notes.append(
                f"{action.instrument}: the split of {iso(action.ex)[:10]} is that of {iso(before.ex)[:10]} again; "
                "left out"
            )
    return kept


def _echo(a: Action, b: Action) -> bool:
    """Is one the split of the other, told with another date?"""
    return a.kind == "split" and same(a, b) and 0 < abs(b.ex - a.ex) <= _SAME


def next_session(config: Config, venue: str, day: int) -> int:
    """The date of the first session after ``day`` (both 00:00 UTC, µs)."""
    labels = market(config, venue).days(Span(day + DAY, day + 2 * WEEK)).labels
    later = labels[labels > day]
    return int(later[0]) if len(later) else day + DAY
