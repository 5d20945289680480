"""What is missing in a lake, and why: facts from the store, calendars from the configuration, classes from coverage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import polars as pl

from gapless.app.markets import dense, market, settle
from gapless.config import Config
from gapless.coverage.classify import classify
from gapless.coverage.gap import CLASSES, Gap
from gapless.coverage.lane import extent
from gapless.coverage.matrix import matrix
from gapless.coverage.why import why as explain
from gapless.errors import UnknownName
from gapless.folds import DERIVED
from gapless.protocols import Facts
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, Span, SpanSet, Timeframe, iso
from gapless.stores.lake import Lake as Store


def assess(
    store: Store,
    config: Config,
    timeframe: Timeframe,
    *,
    facts: Sequence[Facts] | None = None,
    within: Span | None = None,
    now: int | None = None,
    delay: int | None = None,
) -> list[Gap]:
    """All gaps of one timeframe, venue by venue (outages need everybody's silence).

    ``now``: final by then, µs; None: by now. ``delay``: µs after its close before an absent bar counts as missing;
    None: as the venue's sources say. A span with an open start (EARLIEST) starts for each series where it was first
    asked for.
    """
    found = store.facts(timeframe) if facts is None else list(facts)
    firsts = {f.series: e.start for f in found if (e := extent(f))} if within and within.start == EARLIEST else {}
    if firsts and within:
        within = Span(min(within.end, *firsts.values()), within.end)
    evidence = Traded(store, timeframe)
    gaps: list[Gap] = []
    for venue, group in by_venue(found):
        wait = settle(config, venue, timeframe) if delay is None else delay
        gaps += classify(
            group, market(config, venue), within=within, now=now or store.clock(), settle=wait, traded=evidence,
            dense=dense(config, venue),
        )  # fmt: skip
    return [g for g in gaps if g.span.start >= firsts.get(g.series, g.span.start)]


def by_venue(facts: Iterable[Facts]) -> Iterable[tuple[str, list[Facts]]]:
    """Facts grouped by venue."""
    ordered = sorted(facts, key=lambda f: f.series)
    for venue, group in groupby(ordered, key=lambda f: f.series.instrument.venue):
        yield venue, list(group)


class Traded:
    """Says where a longer timeframe in the lake saw volume."""

    def __init__(self, store: Store, timeframe: Timeframe) -> None:
        self.store = store
        self.longer = [t for t in store.timeframes() if t > timeframe and t.micros % timeframe.micros == 0]
        self.present = {t: store.present(t) for t in self.longer}

    def __call__(self, instrument: Instrument, span: Span) -> tuple[str, SpanSet] | None:
        """(what says so, the bars with volume) inside ``span``; None when nothing longer is stored there.

        A bar that was derived is none: it says nothing but what shorter bars said.
        """
        name = str(instrument)
        for timeframe in self.longer:
            inside = Span(timeframe.ceil(span.start), timeframe.floor(span.end))
            if inside and self.present[timeframe].get(name, SpanSet.of()).clip(inside):
                rows = self.store.rows(timeframe, [name], inside).filter(~pl.col("source").str.starts_with(DERIVED))
                traded = rows.filter(pl.col("volume") > 0)["ts"].to_physical().to_numpy()
                if rows.height:
                    return f"{timeframe} bars", SpanSet.from_bars(traded, timeframe)
        return None


def gaps(
    store: Store,
    config: Config,
    *,
    instruments: Sequence[Instrument] | None,
    timeframes: Sequence[Timeframe],
    within: Span | None,
    classes: Sequence[str],
) -> list[Gap]:
    """Gaps of the chosen series and classes; the whole venue is looked at, so that outages are seen as such."""
    for name in classes:
        if name not in CLASSES:
            raise UnknownName("gap class", name, CLASSES)
    chosen = None if instruments is None else set(instruments)
    facts = {timeframe: store.facts(timeframe) for timeframe in timeframes}
    check_known(instruments or (), (f.series.instrument for found in facts.values() for f in found))
    return [
        gap
        for timeframe, found in facts.items()
        for gap in assess(store, config, timeframe, facts=found, within=within)
        if (chosen is None or gap.series.instrument in chosen) and (not classes or gap.cls in classes)
    ]


def check_known(asked: Iterable[Instrument], known: Iterable[Instrument]) -> None:
    """UnknownName for an instrument of which nothing is stored and nobody was asked: of it nothing can be said."""
    there = {str(instrument) for instrument in known}
    for instrument in asked:
        if str(instrument) not in there:
            hint = "" if there else "import or backfill it first"
            raise UnknownName("instrument of the lake", str(instrument), sorted(there), hint=hint)


def check_stored(store: Store, instruments: Sequence[str]) -> None:
    """``check_known`` of some instruments in the whole lake; what has bars is found without asking the ledger."""
    timeframes = store.timeframes()
    held = {name for timeframe in timeframes for name in store.present(timeframe)} if instruments else set()
    asked = [one for one in map(Instrument.parse, instruments) if str(one) not in held]
    if not asked:
        return
    facts = (fact for timeframe in timeframes for fact in store.facts(timeframe))
    check_known(asked, (fact.series.instrument for fact in facts))


def stored_spans(store: Store, instrument: str) -> dict[Timeframe, Span]:
    """From the first to the last stored bar of an instrument, by timeframe; UnknownName for one nobody knows."""
    check_stored(store, [instrument])
    name = str(Instrument.parse(instrument))
    hulls = {t: store.present(t).get(name, SpanSet.of()).hull for t in store.timeframes()}
    return {timeframe: hull for timeframe, hull in hulls.items() if hull}


def status(store: Store, config: Config, timeframes: Sequence[Timeframe]) -> list[dict[str, Any]]:
    """The completeness matrix, a dict a series, in the shape of ``status``."""
    rows: list[dict[str, Any]] = []
    for timeframe in timeframes:
        found = store.facts(timeframe)
        for venue, group in by_venue(found):
            calendar, wait = market(config, venue), settle(config, venue, timeframe)
            lacks = assess(store, config, timeframe, facts=group)
            rows += [r.to_dict() for r in matrix(group, lacks, calendar, now=store.clock(), settle=wait)]
    return rows


def why(store: Store, config: Config, series: Series, ts: int) -> dict[str, Any]:
    """Class, evidence and history of one expected bar."""
    timeframe, name, market_name = series.timeframe, str(series.instrument), series.instrument.venue
    at = timeframe.floor(ts)
    bar = Span(at, at + timeframe.micros)
    calendar, wait, now = market(config, market_name), settle(config, market_name, timeframe), store.clock()
    venue = [f for f in store.facts(timeframe) if f.series.instrument.venue == market_name]
    mine = next((f for f in venue if f.series == series), Facts(series, SpanSet.of(), SpanSet.of()))
    everyone = venue if mine in venue else [*venue, mine]
    lacks = classify(
        everyone, calendar, within=None if mine in venue else bar, now=now, settle=wait,
        traded=Traded(store, timeframe), dense=dense(config, market_name),
    )  # fmt: skip
    answer = explain(mine, lacks, calendar, at, now=now, settle=wait)
    answer["history"] = [_history_line(line) for line in store.meta.history(series, bar)]
    if answer["class"] == "present":
        answer["bar"] = _row(store.rows(timeframe, [name], bar))
        answer["revisions"] = [_row(r) for r in store.revisions(timeframe, [name], bar).iter_slices(1)]
        base = str(answer["bar"]["source"]).partition(DERIVED)[2]
        answer["evidence"] += [f"folded from stored {base} bars: no source has said it"] if base else []
    return answer


def _history_line(line: dict[str, Any]) -> dict[str, Any]:
    """A ledger line with times in words."""
    return {k: iso(v) if v is not None and k.endswith(("_start", "_end", "_at")) else v for k, v in line.items()}


def _row(frame: pl.DataFrame) -> dict[str, Any]:
    row = frame.row(0, named=True)
    return {
        k: v.isoformat().replace("+00:00", "Z") if hasattr(v, "isoformat") else v
        for k, v in row.items()
        if v is not None
    }
