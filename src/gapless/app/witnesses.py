"""Who else has the bars: a source asked anew, a shorter timeframe, another lake, another instrument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from gapless.app import deriving, markets
from gapless.app.coverage import check_stored
from gapless.app.lake import Lake
from gapless.app.runs import Run
from gapless.bars import KEY, check_bars, conform, empty
from gapless.engine.backfill import Options, run_backfill
from gapless.engine.plan import plan
from gapless.errors import UnknownName, UsageError
from gapless.folds import fold
from gapless.protocols import Answer, Facts, Source, WriteReport
from gapless.series import Instrument, Series
from gapless.spans import DAY, LATEST, WEEK, Span, SpanSet, Timeframe
from gapless.stores.lake import Lake as Store

Asked = Mapping[Instrument, SpanSet]  # whose bars, and where


class Witness(Protocol):
    """Somebody else who has the bars. ``name`` heads the column of what it says."""

    @property
    def name(self) -> str: ...

    def bars(self, timeframe: Timeframe, asked: Asked, run: Run) -> pl.DataFrame:
        """Bars by (instrument, ts), with ``source``."""
        ...


def witness(lake: Lake, text: str, base_url: str | None) -> Witness:
    """The witness that a call names; UnknownName for what is none."""
    if text in Timeframe.ALL:
        return Shorter(lake, Timeframe.parse(text))
    if ":" in text:
        check_stored(lake.store, [text])
        return Other(lake.store, Instrument.parse(text))
    if (Path(text) / "meta.sqlite").exists():
        return Elsewhere(Store(text, create=False))
    if text not in lake.config.sources and text not in markets.VENDORS:
        known = [*markets.VENDORS, *lake.config.sources, *(t.name for t in lake.store.timeframes())]
        raise UnknownName("witness", text, dict.fromkeys(known), hint="" if "/" not in text else "is it a lake?")
    return Asking(lake, markets.source(lake.config, text, base_url=base_url))


@dataclass(frozen=True)
class Shorter:
    """A shorter timeframe of the same lake, folded where it is complete.

    It says nothing of bars that were derived themselves, and derived bars of its own are not heard.
    """

    lake: Lake
    base: Timeframe

    @property
    def name(self) -> str:
        return f"fold:{self.base}"

    def bars(self, timeframe: Timeframe, asked: Asked, run: Run) -> pl.DataFrame:
        if timeframe <= self.base:
            raise UsageError(f"{self.base} bars cannot be folded to {timeframe}.", hint="name longer --timeframes")
        facts = {f.series.instrument: f for f in self.lake.store.facts(self.base, list(asked))}
        parts = [self._folded(i, timeframe, spans, facts[i]) for i, spans in asked.items()]
        found = pl.concat([p for p in parts if p.height] or parts[:1])
        return found.with_columns(pl.lit(self.name).alias("source"))

    def _folded(self, instrument: Instrument, timeframe: Timeframe, spans: SpanSet, facts: Facts) -> pl.DataFrame:
        within = spans.hull or Span(0, 0)
        beyond = WEEK if timeframe.micros >= DAY else 0  # a session may begin on the day before its date
        reach = Span(timeframe.floor(within.start) - beyond, timeframe.ceil(within.end) + beyond)
        store, calendar = self.lake.store, markets.market(self.lake.config, instrument.venue)
        own = deriving.derived_bars(store, facts.series, reach)
        rows = store.rows(self.base, [str(instrument)], reach)
        folded = fold(rows, self.base, timeframe, calendar, settled=(facts.present | facts.answered) - own)
        return _inside(folded, spans - deriving.derived_bars(store, Series(instrument, timeframe), within), instrument)


@dataclass(frozen=True)
class Other:
    """Another instrument of the same lake, say of another venue."""

    store: Store
    instrument: Instrument

    @property
    def name(self) -> str:
        return str(self.instrument)

    def bars(self, timeframe: Timeframe, asked: Asked, run: Run) -> pl.DataFrame:
        own = self.store.rows(timeframe, [str(self.instrument)], None)
        return pl.concat([_inside(own, spans, i) for i, spans in asked.items()])


@dataclass(frozen=True)
class Elsewhere:
    """The same instruments in another lake."""

    store: Store

    @property
    def name(self) -> str:
        return str(self.store.root)

    def bars(self, timeframe: Timeframe, asked: Asked, run: Run) -> pl.DataFrame:
        rows = self.store.rows(timeframe, [str(i) for i in asked], None)
        mine = {name: part for (name,), part in rows.group_by("instrument", maintain_order=True)}
        return pl.concat([_inside(mine.get(str(i), rows.clear()), spans, i) for i, spans in asked.items()])


def _inside(rows: pl.DataFrame, spans: SpanSet, instrument: Instrument) -> pl.DataFrame:
    """The rows of some spans, as the instrument's."""
    kept = rows.filter(pl.Series(spans.mask(rows["ts"].to_physical().to_numpy()), dtype=pl.Boolean))
    return kept.with_columns(pl.lit(str(instrument)).alias("instrument"))


@dataclass(frozen=True)
class Asking:
    """A source, asked for the bars anew; nothing of what it says is stored."""

    lake: Lake
    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    def bars(self, timeframe: Timeframe, asked: Asked, run: Run) -> pl.DataFrame:
        foreign = [i for i in asked if i.venue != self.source.venue]
        if foreign:
            raise UsageError(f"source {self.name} has no {foreign[0]}.", hint=f"it serves {self.source.venue} only")
        wanted = [(Series(i, timeframe), spans) for i, spans in asked.items()]
        tasks = plan(wanted, self.source)
        heard = Heard()
        config = self.lake.config
        options = Options(
            patience=markets.patience(config, self.name), sessions=markets.market(config, self.source.venue)
        )
        _, run.interrupted = run_backfill(tasks, self.source, heard, run=run.id, observer=run.observe, options=options)
        return heard.frame(self.name).filter(pl.col("instrument").is_in([str(i) for i in asked]))


class Heard:
    """A store that only listens: it keeps a source's valid rows in memory, for comparison."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def write(self, timeframe: Timeframe, frame: pl.DataFrame, *, source: str, run: str = "") -> WriteReport:
        self._parts.append(check_bars(conform(frame), timeframe, now=LATEST).clean)
        return WriteReport({})

    def bars(
        self, instruments: Sequence[Instrument] | None, timeframe: Timeframe, span: Span | None, *, as_of: int | None
    ) -> pl.DataFrame:
        return self.frame("")

    def record(self, answers: Iterable[Answer]) -> None:
        """What was answered is of no use here: bars are only compared where they are."""

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]:
        return []

    def frame(self, source: str) -> pl.DataFrame:
        """All rows, of equal keys the one heard last."""
        rows = pl.concat([empty(), *self._parts], how="diagonal").unique(KEY, keep="last").sort(KEY)
        return rows.with_columns(pl.lit(source).alias("source"))
