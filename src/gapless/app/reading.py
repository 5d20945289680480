"""Feature rows for people: several timeframes in one table, point in time, and when each value could be known.

A feature may be followed by ``@ 1h``: it is computed on the longer bars and joined to the shorter ones without looking
ahead: each row has the value of the last longer bar that was final when the row's own bar was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from gapless.app.markets import market
from gapless.bars import TS
from gapless.config import Config
from gapless.engine import across
from gapless.engine.across import Scope
from gapless.engine.valued import Valued, reader
from gapless.engine.views import AsKnown, BarStore, Folded
from gapless.errors import UsageError
from gapless.features import plan
from gapless.features.frames import check_options
from gapless.series import Instrument
from gapless.spans import DAY, EARLIEST, LATEST, WEEK, Micros, Span, SpanSet, Timeframe
from gapless.stores.lake import Lake as Store

_SUFFIX = re.compile(r"^(?P<body>.*\S)\s*@\s*(?P<timeframe>\d+[mhdw])\s*$", re.DOTALL)
Layout = Literal["wide", "long"]


def by_timeframe(features: Mapping[str, str], timeframe: Timeframe) -> dict[Timeframe, dict[str, str]]:
    """Features by the timeframe they are computed on; UsageError for one shorter than the rows asked for."""
    found: dict[Timeframe, dict[str, str]] = {timeframe: {}}
    for name, text in features.items():
        body, longer = own_bars(text)
        bars = longer or timeframe
        if bars < timeframe:
            raise UsageError(
                f"feature '{name}' is of {bars} bars, shorter than the {timeframe} rows asked for.",
                hint=f"ask for {bars} rows, or leave '@ {bars}' out",
            )
        found.setdefault(bars, {})[name] = body
    return found


def own_bars(text: str) -> tuple[str, Timeframe | None]:
    """A feature's expression, and the timeframe that it asks for itself.

    >>> body, bars = own_bars("rsi(close, 14) @ 1h")
    >>> body, str(bars), own_bars("close@BINANCE:BTCUSDT")[1]
    ('rsi(close, 14)', '1h', None)
    """
    suffix = _SUFFIX.match(text)
    return (suffix["body"], Timeframe.parse(suffix["timeframe"])) if suffix else (text, None)


def view(
    store: Store, config: Config, *, as_of: int | None = None, adjust: Callable[[BarStore], BarStore] | None = None
) -> Valued:
    """The bars of a lake, longer ones folded where they are not stored, with the values beside them; as known at a time
    if one is given.

    ``adjust`` lays another view over the stored bars, before any are folded.
    """
    bars: BarStore = store if as_of is None else AsKnown(store, as_of)  # type: ignore[assignment]
    bars = bars if adjust is None else adjust(bars)
    folded = Folded(bars, store.timeframes(), lambda venue: market(config, venue))
    return Valued(folded, reader(store.values, as_of=as_of))


def features(
    store: Store,
    config: Config,
    wanted: Mapping[str, str],
    instruments: Sequence[Instrument] | None,
    timeframe: Timeframe,
    span: Span | None,
    *,
    as_of: int | None = None,
    layout: Layout = "wide",
    scope: Scope | None = None,
    universe: str | None = None,
    adjust: Callable[[BarStore], BarStore] | None = None,
) -> pl.DataFrame:
    """instrument, ts, available_at, and a column a feature; long: instrument, ts, available_at, feature, value.

    ``scope`` is how features that compare instruments do so; left out, with the configured groups. ``universe``: they
    compare the instruments of that configured list; rows are of ``instruments``, or of the list.
    """
    bars = view(store, config, as_of=as_of, adjust=adjust)
    groups = by_timeframe(wanted, timeframe)
    scope, asked = scope or Scope(config.groups), instruments
    if universe is not None:
        from gapless.app.selecting import population  # which reads features itself

        names, when = population(store, config, universe, span)
        instruments, scope = _among(names, when, asked, scope, groups)
    scope = _scope(scope, groups)
    own = groups.pop(timeframe)
    rows = _own(bars, own, instruments, timeframe, span, scope)
    rows = with_availability(rows, timeframe, config, together=_compares(own))
    for longer, group in sorted(groups.items()):
        reach = None if span is None else Span(span.start - 2 * longer.micros - WEEK, span.end)
        theirs = across.read(bars, group, instruments, longer, reach, scope)
        theirs = with_availability(theirs, longer, config, together=_compares(group))
        rows = _join(rows, theirs, [n for n in theirs.columns if n not in ("instrument", "ts", "available_at")])
    seen = [n for n in rows.columns if n not in ("instrument", "ts", "available_at", *wanted)]
    rows = rows.select("instrument", "ts", "available_at", *wanted, *seen)
    if universe is not None:
        rows = _while_members(rows, when) if asked is None else _of(rows, asked)
    if layout == "wide":
        return rows
    long = rows.unpivot(index=["instrument", "ts", "available_at"], variable_name="feature", value_name="value")
    return long.with_columns(pl.col("value").cast(pl.Float64).fill_null(float("nan")))  # one column holds all types


def _among(
    universe: Sequence[Instrument],
    when: Mapping[str, SpanSet] | None,
    asked: Sequence[Instrument] | None,
    scope: Scope,
    groups: Mapping[Timeframe, Mapping[str, str]],
) -> tuple[Sequence[Instrument], Scope]:
    """Whose bars to read, and that only members of the universe are compared."""
    if not any(_compares(features) for features in groups.values()):
        if asked is not None:
            raise UsageError(
                "instruments and a universe were both given, and no feature compares instruments.",
                hint="give one of them",
            )
        return universe, scope
    always = SpanSet.of((EARLIEST, LATEST))
    names = [str(i) for i in universe]
    told = when if scope.members is None else scope.members
    members = dict.fromkeys(names, always) if told is None else told
    own = {n: members[n] for n in names if n in members}
    return sorted({*universe, *(asked or ())}), replace(scope, members=own)


def _of(rows: pl.DataFrame, asked: Sequence[Instrument]) -> pl.DataFrame:
    return rows.filter(pl.col("instrument").is_in([str(i) for i in asked]))


def _while_members(rows: pl.DataFrame, when: Mapping[str, SpanSet] | None) -> pl.DataFrame:
    """The rows of the times at which their instruments belonged."""
    if when is None or not rows.height:
        return rows
    parts = rows.partition_by("instrument", maintain_order=True)
    return pl.concat(p.filter(when[str(p["instrument"][0])].mask(p["ts"].to_physical().to_numpy())) for p in parts)


def _own(
    bars: Valued,
    own: Mapping[str, str],
    instruments: Sequence[Instrument] | None,
    timeframe: Timeframe,
    span: Span | None,
    scope: Scope,
) -> pl.DataFrame:
    if own:
        return across.read(bars, own, instruments, timeframe, span, scope)
    names = None if instruments is None else [str(i) for i in instruments]
    return bars.rows(timeframe, names, span).select("instrument", "ts")


def _compares(features: Mapping[str, str]) -> bool:
    """Does one of them compare instruments?"""
    return bool(features) and bool(plan(features).crossing)


def scope_of(config: Config, wanted: Mapping[str, str], members: Mapping[str, SpanSet]) -> Scope:
    """How the features of a call compare instruments, if any does: the configured groups, among these members."""
    crossing = any(_compares({name: own_bars(text)[0]}) for name, text in wanted.items())
    return Scope(config.groups, members if crossing else None)


def _scope(scope: Scope, groups: Mapping[Timeframe, Mapping[str, str]]) -> Scope:
    """The scope, unless it says more than any feature asks for: UsageError."""
    if not any(_compares(features) for features in groups.values()):
        check_options(plan({"x": "close"}), None, scope.members, scope.coverage)
    return scope


def with_availability(
    rows: pl.DataFrame, timeframe: Timeframe, config: Config, *, together: bool = False
) -> pl.DataFrame:
    """Add ``available_at``: when the bar of each row is final, and so its values could first be known.

    ``together``: the rows of one time compare instruments, and can be known when the last of their bars is final.
    """
    found = _available(rows, timeframe, config)
    return found.with_columns(pl.col("available_at").max().over("ts")) if together else found


def _available(rows: pl.DataFrame, timeframe: Timeframe, config: Config) -> pl.DataFrame:
    if timeframe.micros < DAY or not rows.height:
        return rows.with_columns((pl.col("ts") + pl.duration(microseconds=timeframe.micros)).alias("available_at"))
    parts = []
    for part in rows.partition_by("instrument", maintain_order=True):
        calendar = market(config, Instrument.parse(str(part["instrument"][0])).venue)
        ts = part["ts"].to_physical().to_numpy()
        final: Micros = np.array([calendar.final_at(timeframe, int(t)) for t in ts], dtype=np.int64)
        parts.append(part.with_columns(pl.Series("available_at", final).cast(TS)))
    return pl.concat(parts)


def _join(rows: pl.DataFrame, longer: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The last longer bar that was final by the time each row was: never one that closes later."""
    theirs = longer.select("instrument", "available_at", *names).sort("available_at")
    ordered = rows.with_row_index("_row").sort("available_at")
    joined = ordered.join_asof(theirs, on="available_at", by="instrument", strategy="backward", check_sortedness=False)
    floats = [n for n in names if longer.schema[n].is_float()]
    return joined.sort("_row").drop("_row").with_columns(pl.col(n).fill_null(float("nan")) for n in floats)
