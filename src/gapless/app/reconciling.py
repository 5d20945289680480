"""``reconcile``: stored bars against whoever else has them, and what is done about it.

1. The call names series, and witnesses beside the lake itself: a source (asked anew), a shorter timeframe (folded),
   another lake, or another instrument of this one.
2. Series go in batches that fit in memory; each witness brings its bars, and they are laid side by side.
3. What differs is told. Where a policy says that another bar stands than the stored one, that is noted, then written
   as any correction is: the old value stays readable, the row says whose it is.
4. ``undo`` writes back what a run overrode, where nobody has changed the bar since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import polars as pl

from gapless.app import markets
from gapless.app.lake import Lake
from gapless.app.runs import Run
from gapless.app.witnesses import Asked, Elsewhere, Other, Witness, witness
from gapless.bars import KEY
from gapless.coverage.reconcile import Comparison, Policy, Summary, lay_out, tick_of
from gapless.errors import UnknownName, UsageError
from gapless.events import RunStarted
from gapless.series import Instrument, Series
from gapless.spans import Span, SpanSet, Timeframe, iso, parse_time
from gapless.stores import overrides
from gapless.stores.lake import Lake as Store
from gapless.stores.overrides import Override

BATCH = 2_000_000  # bars of one witness that are in memory at once
STORED_AS = "stored"
_vendor = pl.col("source").str.strip_suffix(markets.ARCHIVE)  # a vendor and its archive are one source, not two


@dataclass(frozen=True)
class Wanted:
    """What a call asks for."""

    lake: Lake
    series: tuple[Series, ...]
    witnesses: tuple[Witness, ...]
    span: Span | None
    policy: Policy
    order: tuple[str, ...]


@dataclass
class Findings:
    """What came of it: summaries by timeframe, every disagreement, and how many bars were overridden by series."""

    summaries: list[tuple[Timeframe, Summary]] = field(default_factory=list)
    disagreements: list[pl.DataFrame] = field(default_factory=list)
    overridden: Counter[Series] = field(default_factory=Counter)

    @property
    def table(self) -> pl.DataFrame:
        """Every disagreement: timeframe, instrument, ts, field, a column a witness, the sizes, the outlier."""
        return pl.concat(self.disagreements, how="diagonal") if self.disagreements else pl.DataFrame()

    def to_dict(self, limit: int) -> dict[str, Any]:
        """As ``gapless reconcile --json`` prints it, the ``limit`` largest disagreements included."""
        table = self.table
        largest = table.sort("relative", descending=True).head(limit) if table.height else table
        return {
            "compared": sum(s.compared for _, s in self.summaries),
            "differing": sum(s.differing for _, s in self.summaries),
            "overridden": self.overridden.total(),
            "series": [self._line(t, s) for t, s in self.summaries],
            "disagreements": [_plain(row) for row in largest.iter_rows(named=True)],
        }

    def _line(self, timeframe: Timeframe, s: Summary) -> dict[str, Any]:
        return {
            "instrument": s.instrument, "timeframe": timeframe.name, "compared": s.compared, "equal": s.equal,
            "differing": s.differing, "share": round(s.share, 8), "prices": s.prices, "fields": dict(s.fields),
            "worst": s.worst, "worst_at": None if s.worst_at is None else iso(s.worst_at), "only": dict(s.only),
            "overridden": self.overridden[Series.parse(s.instrument, timeframe)],
        }  # fmt: skip


def wanted(
    lake: Lake,
    against: Sequence[str],
    *,
    symbols: Sequence[str] | None = None,
    timeframes: Sequence[str] | None = None,
    span: Span | None = None,
    policy: Policy = "report",
    prefer: Sequence[str] = (),
    base_url: str | None = None,
) -> Wanted:
    """Understand a call; UsageError for what is missing or contradicts."""
    if policy not in get_args(Policy):
        raise UnknownName("policy", policy, get_args(Policy))
    instruments = None if symbols is None else [Instrument.parse(s) for s in symbols]
    _check_witnesses(lake, against)
    bars = [Timeframe.parse(t) for t in timeframes] if timeframes else _longer_than(lake, against)
    series = tuple(Series(i, t) for t in bars for i in _stored(lake.store, t) if not instruments or i in instruments)
    strange = set(instruments or ()) - {s.instrument for s in series}
    if strange or not series:
        of = f" of {min(strange)}" if strange else ""
        raise UsageError(f"there are no such bars{of} in the lake.", hint="gapless status shows what there is")
    witnesses = tuple(witness(lake, name, base_url) for name in against)
    if not witnesses:
        raise UsageError("reconcile with whom?", hint="name a source, a shorter timeframe such as 1m, or a lake")
    if policy != "report" and any(isinstance(w, Other) for w in witnesses):
        raise UsageError("another instrument's bars cannot stand for these.", hint="leave --policy out to compare them")
    if prefer:
        _check_order(lake, prefer, witnesses, series)
    order = tuple(prefer) or _configured(lake, series)
    if policy == "priority" and not order:
        raise UsageError(
            "priority needs to know whom to prefer.", hint='--prefer a,b, or sources = ["a", "b"] under [venues.NAME]'
        )
    return Wanted(lake, series, witnesses, span, policy, order)


def _check_witnesses(lake: Lake, against: Sequence[str]) -> None:
    """UsageError for a witness that is heard twice: by one name, or because it is the lake itself."""
    twice = [name for name, count in Counter(against).items() if count > 1]
    if twice:
        raise UsageError(f"witness {twice[0]} was named twice.", hint="name each once")
    here = lake.store.root.resolve()
    itself = [name for name in against if Path(name).is_dir() and Path(name).resolve() == here]
    if itself:
        raise UsageError(f"{itself[0]} is this lake itself.", hint="its bars are compared anyway; name somebody else")


def _check_order(lake: Lake, prefer: Sequence[str], witnesses: Sequence[Witness], series: Sequence[Series]) -> None:
    """UnknownName for somebody to prefer who is no source and has no bar here."""
    known = {*markets.VENDORS, *lake.config.sources, *(w.name for w in witnesses)}
    if set(prefer) <= known:
        return
    stores = [lake.store, *(w.store for w in witnesses if isinstance(w, Elsewhere))]
    for timeframe in sorted({s.timeframe for s in series}):  # who said the bars is asked of the bars
        names = [str(s.instrument) for s in series if s.timeframe == timeframe]
        for store in stores:
            known.update(store.rows(timeframe, names, None, ["source"]).select(_vendor.unique())["source"])
    for name in prefer:
        if name not in known and not name.startswith(markets.CCXT):
            raise UnknownName("source to prefer", name, sorted(known))


def _longer_than(lake: Lake, against: Sequence[str]) -> list[Timeframe]:
    """The timeframes to compare where none are named: those that are longer than every one named as a witness."""
    folded = [Timeframe.ALL[name] for name in against if name in Timeframe.ALL]
    return [t for t in lake.store.timeframes() if all(t > f for f in folded)]


def _stored(store: Store, timeframe: Timeframe) -> list[Instrument]:
    return [Instrument.parse(name) for name in sorted(store.present(timeframe))]


def _configured(lake: Lake, series: Iterable[Series]) -> tuple[str, ...]:
    """The order of the sources of the venue, where all series are of one and it has one."""
    orders = {markets.source_names(lake.config, s.instrument.venue) for s in series}
    found = orders.pop() if len(orders) == 1 else ()
    return found if len(found) > 1 else ()


# ---------------------------------------------------------------- doing


def reconcile(asked: Wanted, run: Run) -> Findings:
    """Compare, tell, and where the policy says so, override."""
    found = Findings()
    run.observe(RunStarted(run.id, "reconcile", len(asked.series), 0))
    for timeframe, batch in _batches(asked):
        if run.interrupted:
            break
        _compare(asked, run, timeframe, batch, found)
    return found


def _batches(asked: Wanted) -> Iterator[tuple[Timeframe, dict[Instrument, SpanSet]]]:
    """Stored spans by instrument, in portions that fit in memory."""
    for timeframe in sorted({s.timeframe for s in asked.series}):
        present = asked.lake.store.present(timeframe)
        batch: dict[Instrument, SpanSet] = {}
        bars = 0
        for series in (s for s in asked.series if s.timeframe == timeframe):
            spans = present.get(str(series.instrument), SpanSet.of())
            spans = spans if asked.span is None else spans.clip(asked.span)
            if not spans:
                continue
            if batch and bars + spans.bars(timeframe) > BATCH:
                yield timeframe, batch
                batch, bars = {}, 0
            batch[series.instrument], bars = spans, bars + spans.bars(timeframe)
        if batch:
            yield timeframe, batch


def _compare(asked: Wanted, run: Run, timeframe: Timeframe, batch: Asked, found: Findings) -> None:
    stored = asked.lake.store.rows(timeframe, [str(i) for i in batch], asked.span)
    said = {STORED_AS: stored} | {w.name: w.bars(timeframe, batch, run) for w in asked.witnesses}
    side = lay_out({name: frame.with_columns(_vendor) for name, frame in said.items()})
    found.summaries += [(timeframe, s) for s in side.summaries()]
    ticks = {str(name): tick_of(rows["close"].to_numpy()) for (name,), rows in stored.group_by("instrument")}
    table = side.disagreements({n: t for n, t in ticks.items() if t is not None})
    found.disagreements.append(table.select(pl.lit(timeframe.name).alias("timeframe"), pl.all()))
    if asked.policy != "report" and not run.interrupted:
        found.overridden += _override(asked, run, timeframe, said, side)


def _override(
    asked: Wanted, run: Run, timeframe: Timeframe, said: Mapping[str, pl.DataFrame], side: Comparison
) -> Counter[Series]:
    """Write what stands in the place of what was stored; note it first."""
    stands = side.standing(asked.policy, asked.order)
    at = side.overrides(stands)
    store, count = asked.lake.store, Counter[Series]()
    for number, name in enumerate(side.names):
        keys = side.keys[at[stands[at] == number]]
        if not keys.height:
            continue
        rows = said[name].join(keys, on=KEY, how="semi").sort(KEY)
        old = said[STORED_AS].join(keys, on=KEY, how="semi").sort(KEY)
        overrides.note(store, _notes(timeframe, run.id, old, rows))
        _write(store, run, timeframe, rows)
        count.update(Series.parse(of, timeframe) for of in rows["instrument"])
    return count


def _notes(timeframe: Timeframe, run: str, old: pl.DataFrame, new: pl.DataFrame) -> Iterator[Override]:
    times = old["ts"].to_physical().to_list()
    for ts, was, became in zip(times, old.iter_rows(named=True), new.iter_rows(named=True), strict=True):
        values = overrides.values_of(was)
        yield Override(timeframe, was["instrument"], ts, run, values, overrides.values_of(became))


def _write(store: Store, run: Run, timeframe: Timeframe, rows: pl.DataFrame) -> None:
    """The normal way to write, once for each source the rows are of; nothing is kept of the bars they replace."""
    for (source,), part in rows.group_by("source", maintain_order=True):
        run.wrote(store.write(timeframe, part, source=str(source), run=run.id, whole=True))


def undo(lake: Lake, run: Run, of: str) -> dict[str, Any]:
    """Put back what a run overrode, where the bar is still as that run left it.

    How many were put back, how many stand as they were before already (an undo again, or a run that was killed between
    its note and its write), and how many were changed since.
    """
    noted = overrides.of_run(lake.store, of)
    if not noted:
        raise UsageError(f"run {of} overrode nothing.", hint="gapless audit lists the runs")
    restored = standing = changed = 0
    for timeframe in sorted({o.timeframe for o in noted}):
        mine = [o for o in noted if o.timeframe == timeframe]
        pairs = list(zip(mine, _current(lake.store, timeframe, mine), strict=True))
        back = [o for o, now in pairs if now == dict(o.became)]
        same = sum(now == dict(o.was) for o, now in pairs)
        if back:
            overrides.note(lake.store, (Override(timeframe, o.instrument, o.ts, run.id, o.became, o.was) for o in back))
            _write(lake.store, run, timeframe, overrides.as_bars((o.instrument, o.ts, o.was) for o in back))
        restored, standing = restored + len(back), standing + same
        changed += len(mine) - len(back) - same
    return {"of": of, "restored": restored, "standing": standing, "changed_since": changed}


def _current(store: Store, timeframe: Timeframe, of: Sequence[Override]) -> list[dict[str, Any]]:
    """What stands now at each of these bars."""
    times = [o.ts for o in of]
    rows = store.rows(timeframe, sorted({o.instrument for o in of}), Span(min(times), max(times) + 1))
    wanted = pl.DataFrame({"instrument": [o.instrument for o in of], "ts": times}).cast({"ts": rows.schema["ts"]})
    found = wanted.join(rows, on=KEY, how="left", maintain_order="left")
    return [overrides.values_of(row) for row in found.iter_rows(named=True)]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: iso(parse_time(v)) if k == "ts" else v for k, v in row.items() if v is not None}
