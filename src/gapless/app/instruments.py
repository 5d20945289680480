"""Instruments: learn what venues list, tell what held when, and which instrument a ticker meant at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from gapless.app import actions, selecting
from gapless.app.lake import Lake
from gapless.app.markets import market, patience, source, source_name, vendor_of
from gapless.engine.backfill import fetch_listings
from gapless.errors import UnknownName, UsageError
from gapless.protocols import Listing, Source
from gapless.series import Instrument
from gapless.sources.files import expand
from gapless.sources.files_names import read_map, read_symbols
from gapless.spans import LATEST, iso
from gapless.stores.instruments import Name, Version, lives, timeline, valid_at
from gapless.stores.lake import Lake as Store

_SHARE_GONE, _SOME_GONE = 0.2, 5  # more than both vanishing at once is an answer to mistrust


def sync(
    lake: Lake,
    *,
    name: str | None = None,
    base_url: str | None = None,
    symbols: str | None = None,
    universe: str | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """Ask sources what they list and remember what changed; of all a source lists, or of some instruments only.

    Returns how many instruments were told of, how many versions opened, how many are listed no more, and notes.
    """
    chosen = scope(lake, name, symbols, universe, file)
    found: dict[str, Any] = {"instruments": 0, "versions": 0, "gone": 0, "notes": []}
    before = lake.store.meta.instruments.count()
    for key, wanted in _by_source(lake, name, chosen):
        _sync_one(lake, source(lake.config, key, base_url=base_url), key, wanted, found)
    found["versions"] = lake.store.meta.instruments.count() - before
    return found


def scope(
    lake: Lake, name: str | None, symbols: str | None, group: str | None, file: Path | None
) -> list[Instrument] | None:
    """The instruments of a call, however they are named; None for all. UsageError for a call that means nothing."""
    if name is None and symbols is None and group is None and file is None:
        raise UsageError("sync what?", hint="give --source NAME, --symbols A,B, --universe NAME or --file FILE")
    venue = None if name is None else vendor_of(lake.config, name).venue
    if sum(x is not None for x in (symbols, group, file)) > 1:
        raise UsageError("--symbols, --universe and --file name instruments each.", hint="give one of them")
    found = selecting.instruments(lake, symbols if file is None else read_symbols(file), group, venue=venue)
    foreign = [i for i in found or () if venue not in (None, i.venue)]
    if foreign:
        raise UsageError(f"source {name} has no {foreign[0]}.", hint=f"it serves {venue} only")
    return found


def sync_actions(
    lake: Lake,
    chosen: Sequence[Instrument],
    *,
    name: str | None = None,
    base_url: str | None = None,
    known_by: actions.Known = "import",
) -> dict[str, Any]:
    """Ask the instruments' sources for their splits and dividends; counts and notes."""
    total: dict[str, Any] = {"notes": []}
    for key, mine in _by_source(lake, name, list(chosen)):
        src = source(lake.config, key, base_url=base_url)
        found = actions.sync_actions(lake.store, lake.config, src, mine or [], known_by=known_by)
        total = {k: v + total.get(k, type(v)()) for k, v in found.items()}
    return total


def _by_source(
    lake: Lake, name: str | None, chosen: list[Instrument] | None
) -> Iterable[tuple[str, list[Instrument] | None]]:
    if chosen is None:
        yield str(name), None
        return
    named = sorted((name or source_name(lake.config, i.venue), i) for i in chosen)
    for key, group in groupby(named, key=lambda pair: pair[0]):
        yield key, [i for _, i in group]


def _sync_one(lake: Lake, src: Source, key: str, wanted: list[Instrument] | None, found: dict[str, Any]) -> None:
    told = fetch_listings(src, patience=patience(lake.config, key))
    chosen = told if wanted is None else [x for x in told if x.instrument in set(wanted)]
    listed = {x.instrument for x in told}
    missing = [str(i) for i in wanted or () if i not in listed]
    if missing:
        found["notes"].append(f"{key} lists no {', '.join(missing[:5])}" + " …" * (len(missing) > 5))
    if not told and not wanted:
        found["notes"].append(f"{key} has no list of instruments")
    gone = _gone(lake, src, told, found["notes"]) if wanted is None else []
    now = lake.store.clock()
    with lake.store.writing("store listings"):
        lake.store.meta.store_listings(chosen, how=f"{key} says so", now=now)
        lake.store.meta.store_listings(gone, how=f"{key} lists it no more", now=now)
    found["instruments"] += len(chosen)
    found["gone"] += len(gone)


def _gone(lake: Lake, src: Source, told: Sequence[Listing], notes: list[str]) -> list[Listing]:
    """What this source listed before and does not now: delisted after its last bar, as far as we can know."""
    listed = {str(x.instrument) for x in told}
    before = [
        row
        for row in lake.store.meta.listing_rows()
        if row["instrument"].partition(":")[0] == src.venue and row["how"] == f"{src.name} says so"
        and row["status"] != "delisted"
    ]  # fmt: skip
    lost = [row for row in before if row["instrument"] not in listed]
    if len(lost) > max(_SOME_GONE, _SHARE_GONE * len(before)):
        notes.append(
            f"{src.name} lists {len(lost)} of {len(before)} instruments no more: not believed, nothing delisted"
        )
        return []
    return [_delisted(lake.store, row) for row in lost]


def _delisted(store: Store, row: dict[str, Any]) -> Listing:
    ends = [int(s.ends[-1]) for t in store.timeframes() if (s := store.present(t).get(row["instrument"]))]
    end = row["delisted_at"] or (max(ends) if ends else store.clock())
    instrument = Instrument.parse(row["instrument"])
    return Listing(instrument, "delisted", row["listed_at"], end, json.loads(row["metadata"]))


# ---------------------------------------------------------------- names


def import_maps(lake: Lake, paths: Sequence[str | Path], venue: str) -> dict[str, Any]:
    """Read map files: the tickers that instruments went by, and their listing and delisting."""
    market(lake.config, venue)
    names: list[Name] = []
    listings: list[Listing] = []
    for path in expand(paths):
        instrument, spans = Instrument(venue, path.stem.upper()), read_map(path)
        names += [Name(venue, s.ticker, s.start, s.end or LATEST, str(instrument)) for s in spans]
        last = spans[-1]
        status = "trading" if last.end is None else "delisted"
        metadata = {k: v for k, v in (("ticker", last.ticker), ("exchange", last.exchange)) if v}
        listings.append(Listing(instrument, status, spans[0].start, last.end, metadata))
    now = lake.store.clock()
    with lake.store.writing("store names"):
        moved = lake.store.meta.instruments.store_names(names, source="map files", now=now)
        lake.store.meta.store_listings(listings, how="map file", now=now)
    return {"instruments": len(listings), "names": len(names), "written": moved, "notes": _clashes(names)}


def _clashes(names: Sequence[Name]) -> list[str]:
    """Two instruments that went by one ticker at one time."""
    ordered = sorted(names, key=lambda n: (n.ticker, n.start))
    return [
        f"{a.instrument} and {b.instrument} both went by {a.ticker} on {iso(b.start)[:10]}"
        for a, b in pairwise(ordered)
        if a.ticker == b.ticker and b.start < a.end
    ]


def resolve(store: Store, instrument: Instrument, at: int) -> Instrument:
    """The instrument that went by this name at a time; the name itself where no map says otherwise."""
    for name in store.meta.instruments.names(instrument.venue):
        if name.ticker == instrument.symbol and name.start <= at < name.end:
            return Instrument.parse(name.instrument)
    return instrument


def by_ticker(store: Store, venue: str, frame: pl.DataFrame, *, strays: Counter[str] | None = None) -> pl.DataFrame:
    """Bars named by the ticker of their own time, under their instruments: renames join, reused tickers part.

    ``frame`` has ``instrument`` and ``ts``. Rows of a ticker that no map knows at that time stay as they are, and are
    counted in ``strays`` where maps know it at others. Raises UsageError where no map of the venue was imported.
    """
    known: dict[str, list[Name]] = {}
    for name in store.meta.instruments.names(venue):
        known.setdefault(f"{name.venue}:{name.ticker}", []).append(name)
    if not known:
        raise UsageError(f"no names of {venue} are known.", hint=f"gapless instruments import FILE… --venue {venue}")
    touched = [n for n in frame["instrument"].unique().drop_nulls() if n in known]
    renamed = pl.col("instrument")
    ts = pl.col("ts").to_physical()
    for ticker in touched:
        theirs = pl.col("instrument") == ticker
        inside = [ts.is_between(name.start, name.end, closed="left") for name in known[ticker]]
        if strays is not None and (stray := frame.filter(theirs & ~pl.any_horizontal(inside)).height):
            strays[ticker] += stray
        for name, then in zip(known[ticker], inside, strict=True):
            mine = theirs & then
            renamed = pl.when(mine).then(pl.lit(name.instrument)).otherwise(renamed)
    return frame.with_columns(renamed.alias("instrument")) if touched else frame


# ---------------------------------------------------------------- telling


def lines(lake: Lake, symbol: str | None, *, as_of: int | None) -> list[dict[str, Any]]:
    """Every instrument as it is, or was at a time; of one, every version (or the one that held then)."""
    if symbol is None:
        history = lake.store.meta.instruments.history()
        at = lake.store.clock() if as_of is None else as_of
        return [_line(valid_at(v, at)) if as_of is None else _then(v, at) for v in history.values()]
    instrument = Instrument.parse(symbol)
    if as_of is not None:
        instrument = resolve(lake.store, instrument, as_of)
    versions = lake.store.meta.instruments.history([str(instrument)]).get(str(instrument))
    if versions is None:
        known = lake.store.meta.listings()
        raise UnknownName("instrument", str(instrument), known, hint="" if known else "gapless instruments sync first")
    found = [_line(v) for v in timeline(versions)] if as_of is None else [_then(versions, as_of)]
    return [line | {"names": _names(lake.store, str(instrument))} for line in found]


def _then(versions: Sequence[Version], at: int) -> dict[str, Any]:
    """What held at a time. Whether it was listed by its dates: a status may have been told when it was over."""
    line, own = _line(valid_at(timeline(versions), at)), lives(versions)
    if not any(life.start <= at < life.end for life in own):
        line["status"] = "delisted" if any(life.end <= at for life in own) else "not listed"
    elif line["status"] == "delisted":
        line["status"] = "listed"
    return line


def _names(store: Store, instrument: str) -> list[dict[str, Any]]:
    venue = instrument.partition(":")[0]
    return [
        {"ticker": n.ticker, "start": iso(n.start)[:10], "end": None if n.end == LATEST else iso(n.end)[:10]}
        for n in sorted(store.meta.instruments.names(venue), key=lambda n: n.start)
        if n.instrument == instrument
    ]


def _line(v: Version) -> dict[str, Any]:
    times = {"listed_at": v.listed_at, "delisted_at": v.delisted_at, "valid_from": v.valid_from,
             "valid_to": v.valid_to, "known_at": v.known_at}  # fmt: skip
    told = {k: None if at is None else iso(at) for k, at in times.items()}
    return {"instrument": v.instrument, "status": v.status, **told, "how": v.how, "metadata": dict(v.metadata)}
