"""Universes: who belongs to them at a time, and why.

1. A universe is decided on a grid of times (``every``); between two of them it does not change.
2. Candidates are all instruments ever heard of: listed, delisted, or with bars. Each is looked at as it was at the
   time: its metadata by the version that held, its listing, and what was measured on bars that were final by then.
3. ``selection`` judges them. Nothing after the time is looked at, so that a selection for the past is the one that
   would have been made then, of the bars and metadata that are stored now.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gapless.adjust import chosen
from gapless.app import reading
from gapless.app.adjusting import View, in_effect
from gapless.config import Config
from gapless.engine.views import Adjusted, BarStore
from gapless.errors import UnknownName, UsageError
from gapless.selection import LIQUIDITY, Candidate, Verdict, select
from gapless.selection.written import TURNOVER, UniverseSection
from gapless.series import Instrument
from gapless.spans import DAY, EARLIEST, LATEST, Micros, Span, SpanSet, Timeframe, iso, parse_duration
from gapless.stores.instruments import Version, lives, timeline
from gapless.stores.lake import Lake as Store
from gapless.stores.universes import Stored

if TYPE_CHECKING:
    from gapless.app.lake import Lake

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "DAI", "USD", "EUR", "BTC", "ETH", "BNB")


@dataclass
class _Known:
    """What is stored of one candidate, of all times."""

    instrument: str
    versions: Sequence[Version]  # by the time they hold from
    lives: SpanSet
    bars: Span | None  # from the first stored bar to the last
    heard: int | None  # when the universe was decided last before anybody told of it

    def version(self, at: int) -> Version | None:
        """What held at a time; the first before that."""
        found = bisect_right(self.versions, at, key=attrgetter("valid_from"))
        return self.versions[max(found - 1, 0)] if self.versions else None

    @cached_property
    def alive(self) -> SpanSet:
        """When it could be traded: by its listings; where none has a date, since we first saw or heard of it."""
        if any(v.listed_at is not None for v in self.versions):
            return self.lives
        seen = [at for at in (self.heard, self.bars.start if self.bars else None) if at is not None]
        always = self.lives if self.versions else SpanSet.of((EARLIEST, LATEST))
        return always.clip(Span(min(seen), LATEST)) if seen else SpanSet.of()


@dataclass(frozen=True)
class _Measured:
    """One candidate's measures at the times of their bars: when each could be known, and the values by name."""

    available: Micros
    values: Mapping[str, np.ndarray]

    def at(self, time: int, fresh: int) -> tuple[int | None, dict[str, float]]:
        """How long ago the last bar was final, and the values of it; none that are not fresh."""
        row = int(np.searchsorted(self.available, time, side="right")) - 1
        if row < 0:
            return None, {}
        idle = time - int(self.available[row])
        return idle, {} if idle > fresh else {n: float(v[row]) for n, v in self.values.items()}


class Universe:
    """A universe of a lake: who belongs to it at any time. Made by ``Lake.universe``."""

    def __init__(self, store: Store, config: Config, name: str) -> None:
        if name not in config.universes:
            hint = "" if config.universes else "write it as [universes.NAME] in gapless.toml"
            raise UnknownName("universe", name, config.universes, hint=hint)
        self.store, self.config, self.name = store, config, name
        self.section: UniverseSection = config.universes[name]
        self.every = parse_duration(self.section.every)
        self._fresh = parse_duration(self.section.fresh)

    # ------------------------------------------------------------ who belongs

    def at(self, time: Any = None) -> list[str]:
        """The members at a time (now if left out), best first; nothing later is looked at."""
        return [v.instrument for v in self.select(time) if v.member]

    def select(self, time: Any = None) -> list[Verdict]:
        """Every candidate with every test at a time: members by their place, then the others."""
        at = self.decided_at(time)
        return dict(self._judge([at]))[at]

    def members(self, start: Any, end: Any) -> dict[str, SpanSet]:
        """When each instrument belonged, between two times: what ``lake.features(members=…)`` takes."""
        span = Span.parse(start, end)
        times = list(range(self.decided_at(span.start), span.end, self.every))
        found: dict[str, list[tuple[int, int]]] = {}
        for at, verdicts in self._judge(times):
            for verdict in verdicts:
                if verdict.member:
                    found.setdefault(verdict.instrument, []).append((at, at + self.every))
        return {name: SpanSet.of(*pairs).clip(span) for name, pairs in sorted(found.items())}

    def decided_at(self, time: Any = None) -> int:
        """When the selection that holds at a time was due (µs)."""
        moment = self.store.clock() if time is None else Span.parse(time, LATEST).start
        return moment // self.every * self.every

    # ------------------------------------------------------------ dated selections

    def decide(self, time: Any = None) -> Stored:
        """Select as of a time, with a document that says why; UsageError for a time that has not come."""
        if time is not None and Span.parse(time, LATEST).start > self.store.clock():
            raise UsageError(f"nobody knows who belongs to {self.name} on {time}.", hint="leave the time out for now")
        verdicts, at = self.select(time), self.decided_at(time)
        members = tuple(v.instrument for v in verdicts if v.member)
        now = self.store.clock()
        document = {
            "universe": self.name, "at": iso(at), "known_at": iso(now), "definition": self.section.digest,
            "members": list(members), "candidates": [v.to_dict() for v in verdicts],
            "notes": list(self._notes(verdicts)),
        }  # fmt: skip
        return Stored(at, now, self.section.digest, members, document)

    def _notes(self, verdicts: Sequence[Verdict]) -> Iterator[str]:
        """Why a selection may not be what was meant."""
        if not verdicts:
            of = f" of {', '.join(self.section.venues)}" if self.section.venues else ""
            yield f"no instrument{of} is known; gapless instruments sync --source …, or bars, come first"
            return
        for bars, wanted in _by_bars(self.section).items():
            tests = {name: [v.tests[name].value for v in verdicts if name in v.tests] for name in wanted}
            vain = [name for name, values in tests.items() if values and all(_missing(value) for value in values)]
            if vain:
                yield f"{', '.join(vain)}: too few {bars} bars of any candidate to measure it"
        if verdicts and all("traded" in v.tests and not v.tests["traded"].passed for v in verdicts):
            yield "nothing has a fresh bar at this time; --as-of looks at another"

    def remember(self, time: Any = None) -> Stored:
        """Select as of a time, and store the selection."""
        decided = self.decide(time)
        with self.store.writing("store a selection"):
            self.store.meta.selections.store(self.name, decided)
        return decided

    def stored(self, time: Any = None) -> Stored | None:
        """The newest stored selection as of a time that is not later; of a list, which is never selected, itself."""
        if not self.section.selects:
            return self.decide(time)
        at = LATEST if time is None else Span.parse(time, LATEST).start
        return self.store.meta.selections.latest(self.name, at=at)

    def current(self) -> list[str]:
        """The members of the newest stored selection by the present definition; selected now where there is none."""
        if not self.section.selects:
            return list(self.section.symbols)
        found = self.store.meta.selections.latest(self.name, at=LATEST, definition=self.section.digest)
        members = self.at() if found is None else list(found.members)
        if not members:
            raise UsageError(
                f"nothing belongs to universe {self.name}.",
                hint=f"gapless universe select {self.name} says why; gapless instruments sync --source … comes first",
            )
        return members

    # ------------------------------------------------------------ judging

    def _judge(self, times: Sequence[int]) -> Iterator[tuple[int, list[Verdict]]]:
        """The verdicts of each time, one time after the other."""
        known, rules = self._known(), self.section.rules
        for some in self._alike(known, times):
            measured = self._measure(known, some)
            for at in some:
                yield at, select(rules, (self._candidate(k, measured.get(k.instrument, ()), at) for k in known))

    def _alike(self, known: Sequence[_Known], times: Sequence[int]) -> Iterable[list[int]]:
        """Times between which no action took effect and no name was used again: they see the same bars."""
        if not self.section.measures:
            return [list(times)] if times else []
        turns = {a.ex for a in chosen(self.store.meta.actions.of(None), self.section.adjust)}
        turns |= {life.start for k in known for life in list(k.lives)[1:]}
        ordered = np.array(sorted(turns), dtype=np.int64)
        return [list(g) for _, g in groupby(times, key=lambda at: int(np.searchsorted(ordered, at, side="right")))]

    def _known(self) -> list[_Known]:
        """Step 2: every candidate."""
        bars = spans_of(self.store)
        history = self.store.meta.instruments.history()
        names = set(self.section.symbols) or (bars.keys() | history.keys())
        names |= set(self.section.include)
        venues = self.section.venues
        asked = [n for n in sorted(names) if not venues or n.partition(":")[0] in venues or n in self.section.include]
        return [self._one(n, history.get(n, ()), bars.get(n)) for n in asked]

    def _one(self, name: str, versions: Sequence[Version], bars: Span | None) -> _Known:
        heard = self.decided_at(min(v.known_at for v in versions)) if versions else None
        return _Known(name, timeline(versions), lives(versions), bars, heard)

    def _measure(self, known: Sequence[_Known], times: Sequence[int]) -> dict[str, list[_Measured]]:
        """Step 2: the measures of those with bars, per timeframe on which any is computed."""
        instruments = [Instrument.parse(k.instrument) for k in known if k.bars is not None]
        found: dict[str, list[_Measured]] = {}
        for bars, wanted in _by_bars(self.section).items() if instruments else ():
            # What was final in the last ``fresh`` before a time opened at most its length, and a holiday, earlier.
            span = Span(max(EARLIEST, times[0] - self._fresh - bars.micros - 4 * DAY), times[-1] + 1)
            members = {k.instrument: k.alive for k in known}
            rows = reading.features(
                self.store, self.config, wanted, instruments, bars, span,
                scope=reading.scope_of(self.config, wanted, members),
                adjust=self._view(known, times[0]),
            )  # fmt: skip
            for part in rows.partition_by("instrument"):
                found.setdefault(str(part["instrument"][0]), []).append(_measured(part, wanted))
        return found

    def _view(self, known: Sequence[_Known], at: int) -> View:
        """Bars as they are seen at a time: of the present life of a name, without actions that took effect."""
        adjust = in_effect(self.store, self.config, self.section.adjust, at)
        return lambda stored: adjust(_of_this_life(stored, known, at))

    def _candidate(self, k: _Known, measured: Sequence[_Measured], at: int) -> Candidate:
        version = k.version(at)
        told = dict(version.metadata) if version else {}
        base, quote = self._assets(k.instrument, told)
        life = next((span for span in k.alive if span.start <= at < span.end), None)
        seen = [m.at(at, self._fresh) for m in measured]
        idle = min((i for i, _ in seen if i is not None), default=None)
        values = {name: value for _, some in seen for name, value in some.items()}
        return Candidate(
            k.instrument, life is not None, base, quote, _type(told),
            version.status if version and self.decided_at(version.known_at) <= at else "",
            at - life.start if life else None, idle, _liquid(values),
        )  # fmt: skip

    def _assets(self, instrument: str, told: Mapping[str, str]) -> tuple[str, str]:
        """Base and quote as the venue says; otherwise by how the symbol ends."""
        if told.get("base") or told.get("quote"):
            return told.get("base", ""), told.get("quote", "")
        symbol = instrument.partition(":")[2]
        ends = (q for q in (*self.section.quote, *_QUOTES) if symbol.endswith(q) and len(symbol) > len(q))
        quote = next(ends, "")
        return symbol.removesuffix(quote).rstrip("-_") if quote else symbol, quote


def named(lake: Lake, symbols: Sequence[str] | None, universe: str | None) -> Sequence[str] | None:
    """The instruments of a call, from one of two ways to name them; None for all, UsageError for both, and for none."""
    if symbols and universe:
        raise UsageError("--symbols and --universe were both given.", hint="give one of them")
    if symbols is not None and not symbols:
        raise UsageError("--symbols names none.", hint="give --symbols BINANCE:BTCUSDT,…")
    return symbols if universe is None else lake.universe(universe).current()


def instruments(
    lake: Lake, symbols: str | Sequence[str] | None, universe: str | None, *, venue: str | None = None
) -> list[Instrument] | None:
    """The same as instruments, in order and each once; a bare symbol is one of ``venue``."""
    texts = symbols.split(",") if isinstance(symbols, str) else symbols
    names = named(lake, None if texts is None else [t.strip() for t in texts if t.strip()], universe)
    return None if names is None else sorted({Instrument.parse(n, venue=venue) for n in names})


def population(
    store: Store, config: Config, name: str, span: Span | None
) -> tuple[list[Instrument], dict[str, SpanSet] | None]:
    """Who ever belonged to a universe in a span, and when; None where it is a list, whose members always belong."""
    found = Universe(store, config, name)
    if not found.section.selects:
        return [Instrument.parse(s) for s in found.section.symbols], None
    hulls = list(spans_of(store).values())
    if not hulls:
        return [], {}
    start, end = min(h.start for h in hulls), max(h.end for h in hulls)
    if span is not None:
        start, end = max(start, span.start), min(end, span.end)
    members = found.members(start, end) if start < end else {}
    return [Instrument.parse(n) for n in members], members


def _type(told: Mapping[str, str]) -> str:
    """What kind of instrument: as the venue says, a contract's kind, or spot where assets are exchanged."""
    said = told.get("type") or told.get("contract") or ("spot" if told.get("quote") else "")
    return said.lower()


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _liquid(values: dict[str, float]) -> dict[str, float]:
    """Turnover stands in where the venue does not say the quote volume."""
    turnover = values.pop(TURNOVER, math.nan)
    if LIQUIDITY in values and math.isnan(values[LIQUIDITY]):
        values[LIQUIDITY] = turnover
    return values


def _of_this_life(stored: BarStore, known: Sequence[_Known], at: int) -> BarStore:
    """The bars without those of earlier lives, of names that had been used before: they are of something else."""
    born = {k.instrument: [s.start for s in k.lives if s.start <= at] for k in known if len(list(k.lives)) > 1}
    starts = {name: lives[-1] for name, lives in born.items() if len(lives) > 1}
    if not starts:
        return stored  # what is built may be read
    first = pl.col("instrument").replace_strict(starts, default=EARLIEST, return_dtype=pl.Int64)
    return Adjusted(stored, lambda _, frame: frame.filter(pl.col("ts").to_physical() >= first))


def _by_bars(section: UniverseSection) -> dict[Timeframe, dict[str, str]]:
    """The measures of a universe by the bars they are computed on."""
    found: dict[Timeframe, dict[str, str]] = {}
    for name, text in section.measures.items():
        body, own = reading.own_bars(text)
        found.setdefault(own or Timeframe.parse(section.timeframe), {})[name] = body
    return found


def _measured(part: pl.DataFrame, wanted: Mapping[str, str]) -> _Measured:
    values = {n: part[n].cast(pl.Float64).to_numpy() for n in wanted}
    return _Measured(part["available_at"].to_physical().to_numpy(), values)


def spans_of(store: Store) -> dict[str, Span]:
    """From the first stored bar of each instrument to its last, of any timeframe."""
    found: dict[str, Span] = {}
    for timeframe in store.timeframes():
        for name, spans in store.present(timeframe).items():
            if (own := spans.hull) is not None:
                other = found.get(name, own)
                found[name] = Span(min(other.start, own.start), max(other.end, own.end))
    return found
