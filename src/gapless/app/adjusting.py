"""Bars without the effect of corporate actions: which actions, of what time, and when an ex-date begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from gapless.adjust import ADJUSTMENTS, Action, Cut, adjusted, check_whole, chosen, known
from gapless.app.markets import market
from gapless.config import Config
from gapless.engine.views import Adjusted, BarStore
from gapless.errors import UnknownName, UsageError
from gapless.series import Instrument
from gapless.spans import DAY, WEEK, Span, Timeframe, iso
from gapless.stores.lake import Lake as Store

View = Callable[[BarStore], BarStore]


def cut_of(config: Config, venue: str, timeframe: Timeframe) -> Cut:
    """When an ex-date begins for bars of a timeframe: its date for daily bars; half-way between the sessions otherwise.

    Half-way lies after the hours that follow one session and before those that precede the next, in any time zone.
    """
    calendar = market(config, venue)

    def cut(ex: int) -> int:
        if timeframe.micros >= DAY:
            return ex
        days = calendar.days(Span(ex - 2 * WEEK, ex + DAY))
        start, before = days.starts[days.labels >= ex], days.ends[days.labels < ex]
        return (int(start[0]) + int(before[-1])) // 2 if len(start) and len(before) else ex

    return cut


def adjust_bars(
    store: Store, config: Config, frame: pl.DataFrame, timeframe: Timeframe, adjust: str, *, as_of: int | None
) -> pl.DataFrame:
    """Bars with splits, or all actions, taken out: those that were known and had taken effect at ``as_of``, or now."""
    names = frame["instrument"].unique().to_list()
    _check_venues(store, names, adjust)
    at = store.clock() if as_of is None else as_of
    return _taken_out(frame, known(chosen(store.meta.actions.of(names, as_of=as_of), adjust), at), config, timeframe)


def view_of(store: Store, config: Config, adjust: str, *, as_of: int | None) -> View:
    """The bars of a lake as ``adjust_bars`` would have them."""
    check_adjust(adjust, None)
    found = store.meta.actions.of(None, as_of=as_of)
    if adjust != "none" and not store.meta.actions.instruments():
        raise UsageError(
            f"adjust {adjust}: the lake holds no corporate actions.",
            hint="gapless actions sync --symbols …, or import FILE… --venue V",
        )
    return _without(known(chosen(found, adjust), store.clock() if as_of is None else as_of), config)


def in_effect(store: Store, config: Config, adjust: str, at: int) -> View:
    """The bars of a lake without the actions that had taken effect at a time, whenever we learned of them."""
    return _without([a for a in chosen(store.meta.actions.of(None), adjust) if a.ex <= at], config)


def _without(actions: Sequence[Action], config: Config) -> View:
    if not actions:
        return lambda bars: bars  # what is built may be read
    return lambda bars: Adjusted(bars, lambda timeframe, frame: _taken_out(frame, actions, config, timeframe))


def _taken_out(frame: pl.DataFrame, actions: Sequence[Action], config: Config, timeframe: Timeframe) -> pl.DataFrame:
    by_name: dict[str, list[Action]] = {}
    for action in actions:
        by_name.setdefault(action.instrument, []).append(action)
    parts = frame.partition_by("instrument", maintain_order=True) if by_name else []
    return pl.concat(_adjust_one(part, by_name, config, timeframe) for part in parts) if parts else frame


def _check_venues(store: Store, names: Sequence[str], adjust: str) -> None:
    """UsageError where nothing could be adjusted: an instrument may have no actions, a whole venue has some."""
    covered = {name.partition(":")[0] for name in store.meta.actions.instruments()}
    bare = sorted({name.partition(":")[0] for name in names} - covered)
    if bare:
        raise UsageError(
            f"adjust {adjust}: the lake holds no corporate actions of {', '.join(bare)}.",
            hint=f"gapless actions sync --symbols …, or import FILE… --venue {bare[0]}; or leave adjust out",
        )


def _adjust_one(
    part: pl.DataFrame, by_name: dict[str, list[Action]], config: Config, timeframe: Timeframe
) -> pl.DataFrame:
    actions = by_name.get(str(part["instrument"][0]), [])
    if not actions:
        return part
    cut = cut_of(config, Instrument.parse(actions[0].instrument).venue, timeframe)
    check_whole(part, actions, timeframe, cut)
    return adjusted(part, actions, cut)


def action_lines(
    store: Store, instruments: Sequence[str] | None = None, *, as_of: int | None = None
) -> list[dict[str, Any]]:
    """Actions in words, by instrument and ex-date, as known at a time."""
    names = None if instruments is None else [str(Instrument.parse(n)) for n in instruments]
    return [
        {
            "instrument": a.instrument, "kind": a.kind, "ex": iso(a.ex)[:10], "value": a.value,
            "factor": float(a.factor), "close": a.close, "source": a.source, "known_at": iso(a.known_at),
        }
        for a in store.meta.actions.of(names, as_of=as_of)
    ]  # fmt: skip


def check_adjust(adjust: str, as_of: object) -> None:
    """Raise UnknownName; UsageError for a time that would do nothing."""
    if adjust not in ADJUSTMENTS:
        raise UnknownName("adjust", adjust, ADJUSTMENTS)
    if adjust == "none" and as_of is not None:
        raise UsageError(
            "a time for corporate actions was given, and no adjustment.", hint="adjust splits or all, or leave it out"
        )
