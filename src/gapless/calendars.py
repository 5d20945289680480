"""When markets are open: the always-open calendar "24/7", and every calendar of exchange_calendars, by name.

A calendar answers in spans, so that its cost follows the number of sessions, never the number of bars. Bars sit on the
epoch-aligned grid of their timeframe. A bar inside the day is expected when it overlaps trading time; a daily bar is
labelled by its session's date at 00:00 UTC; a weekly bar (Monday) is expected when its week has a session.

exchange_calendars (and pandas with it) is imported when the first market calendar is asked something, always with
explicit bounds: those of the question, widened to whole decades and kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np

from gapless.errors import UnknownName, UsageError
from gapless.spans import DAY, HOUR, WEEK, Micros, Span, SpanSet, Timeframe, hull, iso, parse_time, to_datetime

ALWAYS = "24/7"
_NONE = np.empty(0, dtype=np.int64)
_ALWAYS_OPEN = """
    BINANCE BINANCEUS BINANCEUSDM BINANCECOINM BITFINEX BITFLYER BITGET BITHUMB BITMART BITMEX BITSTAMP BYBIT COINBASE
    COINEX CRYPTO CRYPTOCOM DERIBIT DYDX FTX GATE GATEIO GEMINI HTX HUOBI HYPERLIQUID KRAKEN KRAKENFUTURES KUCOIN
    KUCOINFUTURES LBANK MEXC OKX POLONIEX SIM UPBIT WHITEBIT
"""
_MARKETS = {
    "XNYS": "NASDAQ NYSE ARCA NYSEARCA AMEX NYSEAMERICAN BATS IEX OTC XNAS XNGS XNCM XNMS XNYS ARCX XASE IEXG",
    "CMES": "CME CME_MINI CBOT COMEX NYMEX GLOBEX XCME XCBT XCEC XNYM",
    "XLON": "LSE LON",
    "XETR": "XETRA",
    "XTKS": "TSE JPX",
    "XHKG": "HKEX",
    "XTSE": "TSX",
    "XASX": "ASX",
    "24/5": "FOREX FX OANDA FXCM",
}
VENUES: Mapping[str, str] = {
    **dict.fromkeys(_ALWAYS_OPEN.split(), ALWAYS),
    **{venue: name for name, venues in _MARKETS.items() for venue in venues.split()},
}


@dataclass(frozen=True, slots=True)
class Override:
    """One session that differs from what the calendar says. Times are UTC: ``HH:MM`` of that date, or ISO-8601.

    >>> Override("2025-01-09", closed=True).day == parse_time("2025-01-09")
    True
    """

    date: str
    closed: bool = False
    open: str = ""
    close: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.date) != 10 or self.day % DAY:
            raise UsageError(f"override '{self.date}' is not a date.", hint="write YYYY-MM-DD")
        if self.closed == bool(self.open or self.close):
            raise UsageError(
                f"the override of {self.date} must say either closed = true, or when it opens or closes.",
                hint='write closed = true, or open = "14:30" and close = "18:00" (UTC)',
            )

    @property
    def day(self) -> int:
        """The session's date at 00:00 UTC, in µs."""
        return parse_time(self.date)

    def apply(self, usual: tuple[int, int] | None) -> tuple[int, int] | None:
        """(open, close) of the session in place of the ``usual`` one; None when closed."""
        if self.closed:
            return None
        if usual is None and not (self.open and self.close):
            raise UsageError(
                f"{self.date} is no session, so its override needs both times.", hint="give open and close (UTC)"
            )
        first, last = usual or (0, 0)
        opens, closes = self._time(self.open, first), self._time(self.close, last)
        if closes <= opens:
            raise UsageError(f"the override of {self.date} closes before it opens.", hint="times are UTC")
        return opens, closes

    def _time(self, text: str, usual: int) -> int:
        if not text:
            return usual
        return parse_time(f"{self.date}T{text}" if len(text) <= 8 else text)


def _juneteenth(year: int) -> str:
    """The date on which the United States keep Juneteenth: Friday for a Saturday, Monday for a Sunday."""
    day = date(year, 6, 19)
    return str(day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0)))


# What exchange_calendars 4.13 does not know yet. CME Group closes its equity products at noon in Chicago on Juneteenth.
CORRECTIONS: Mapping[str, tuple[Override, ...]] = {
    "CMES": tuple(Override(_juneteenth(year), close="17:00", reason="Juneteenth") for year in range(2022, 2100)),
}


class Days(NamedTuple):
    """Sessions as arrays, one entry each: the date at 00:00 UTC, when trading starts, when it ends (µs)."""

    labels: Micros
    starts: Micros
    ends: Micros

    def take(self, keep: Any) -> Days:
        return Days(self.labels[keep], self.starts[keep], self.ends[keep])


@dataclass(frozen=True)
class _Table:
    """Everything known of a stretch of a calendar: its days, and trading time with the breaks left out."""

    known: Span
    days: Days
    trading: SpanSet
    grids: dict[Timeframe, SpanSet] = field(default_factory=dict)  # filled on demand: asked for again for every series

    def grid(self, timeframe: Timeframe) -> SpanSet:
        """All expected bars of this stretch."""
        if timeframe not in self.grids:
            self.grids[timeframe] = _grid(self, timeframe)
        return self.grids[timeframe]


class MarketCalendar:
    """When one market is open. Made by ``calendar``; satisfies ``protocols.Calendar``."""

    def __init__(self, name: str, overrides: Sequence[Override], extended: bool) -> None:
        self.name = name
        self.extended = extended
        self.always_open = name == ALWAYS
        self.overrides = {o.day: o for o in (*CORRECTIONS.get(name, ()), *overrides)}  # the caller's word is the last
        self._table = _Table(Span(0, 0), Days(_NONE, _NONE, _NONE), SpanSet.of())

    def sessions(self, within: Span) -> SpanSet:
        """Trading time inside ``within``, breaks left out."""
        if self.always_open and not self.overrides:
            return SpanSet.of(within)
        return self._over(within).trading.clip(within)

    def expected(self, timeframe: Timeframe, within: Span) -> SpanSet:
        """The union of ``[open, open + timeframe)`` of all bars that open inside ``within``."""
        inside = Span(timeframe.ceil(within.start), timeframe.ceil(within.end))
        if self.always_open and not self.overrides:
            return SpanSet.of(inside)
        return self._over(inside).grid(timeframe).clip(inside)

    def opens(self, timeframe: Timeframe, within: Span) -> Micros:
        """The open times of all expected bars inside ``within``, sorted."""
        return bar_opens(self.expected(timeframe, within), timeframe)

    def days(self, within: Span) -> Days:
        """The sessions that trade, or whose date lies, inside ``within``."""
        days = self._over(within).days
        traded = (days.ends > within.start) & (days.starts < within.end)
        dated = (days.labels >= within.start) & (days.labels < within.end)
        return days.take(traded | dated)

    def pending(self, timeframe: Timeframe, within: Span, at: int) -> SpanSet:
        """The expected bars inside ``within`` that are not final at ``at``."""
        if at >= within.end + 2 * WEEK:
            return SpanSet.of()
        expected = self.expected(timeframe, within)
        return expected.clip(Span(self.horizon(timeframe, at), max(at, within.end) + 2 * WEEK))

    def final_at(self, timeframe: Timeframe, ts: int) -> int:
        """When the bar that opens at ``ts`` is final: its end; a daily or weekly bar of a session market: the close."""
        end = ts + timeframe.micros
        if timeframe.micros < DAY or self.always_open:
            return end
        days = self._over(Span(ts, end)).days
        closes = days.ends[(days.labels >= ts) & (days.labels < end)]
        return int(closes[-1]) if len(closes) else end

    def closes(self, session: int) -> int | None:
        """When trading ends on the session of that date (µs at 00:00 UTC); None when the market is closed all day."""
        days = self._over(Span(session, session + DAY)).days
        found = np.flatnonzero(days.labels == session)
        return int(days.ends[found[0]]) if len(found) else None

    def horizon(self, timeframe: Timeframe, at: int) -> int:
        """All bars that open before this time are final at ``at``; of days and weeks it may lie after ``at``."""
        if timeframe.micros < DAY or self.always_open:
            return timeframe.floor(at)
        days = self._over(Span(at - WEEK, at + WEEK)).days
        first = int(np.searchsorted(days.ends, at, side="right"))
        return timeframe.floor(int(days.labels[first])) if first < len(days.labels) else at

    def _over(self, within: Span) -> _Table:
        """The table, grown to hold ``within`` and a week on either side."""
        table = self._table
        if within and not (table.known.start <= within.start and within.end <= table.known.end):
            wide = hull((table.known, within)) or within
            table = self._build(within, Span(wide.start - WEEK, wide.end + WEEK))
            self._table = table  # one assignment: a reader in another thread sees the old table or the new one
        return table

    def _build(self, asked: Span, wide: Span) -> _Table:
        if self.always_open:
            labels = np.arange(wide.start // DAY * DAY, wide.end + DAY, DAY, dtype=np.int64)
            known, days = Span(int(labels[0]), int(labels[-1]) + DAY), Days(labels, labels, labels + DAY)
            trading = SpanSet.of(known)
        else:
            known, days, trading = _market_table(self.name, asked, _decades(wide))
        if self.extended:
            days = _extend(days)
            trading = SpanSet.merge(days.starts, days.ends)
        return _Table(known, *_overridden(days, trading, self.overrides, known))


def calendar(name: str, *, overrides: Iterable[Override] = (), extended: bool = False) -> MarketCalendar:
    """The calendar called ``name``: "24/7", or a name or alias that exchange_calendars knows.

    ``overrides`` replace single sessions. ``extended`` adds the hours before and after the session of US equities:
    04:00 to 20:00 New York (four hours past the close, so to 17:00 on half days). Raises UnknownName with the nearest.

    >>> calendar("24/7").opens(Timeframe.parse("4h"), Span.parse("2025-05-01", "2025-05-02")).size
    6
    >>> calendar("XNYS").expected(Timeframe.parse("1m"), Span.parse("2015-12-24", "2015-12-25")).bars(
    ...     Timeframe.parse("1m")
    ... )  # a half day
    210
    >>> calendar("NYSEE")
    Traceback (most recent call last):
    ...
    gapless.errors.UnknownName: unknown calendar 'NYSEE'. Hint: did you mean 'NYSE'?
    """
    return _calendar(name, tuple(overrides), extended)


@functools.lru_cache(maxsize=64)
def _calendar(name: str, overrides: tuple[Override, ...], extended: bool) -> MarketCalendar:
    canonical = ALWAYS if name == ALWAYS else _resolve(name)
    if extended and canonical != "XNYS":
        raise UsageError(
            f"calendar {name} has no extended hours.", hint="extended hours are known for US equities (XNYS) only"
        )
    return MarketCalendar(canonical, overrides, extended)


def expected(market: MarketCalendar, timeframe: Timeframe, within: Span) -> SpanSet:
    """The union of ``[open, open + timeframe)`` of all bars of ``market`` that open inside ``within``."""
    return market.expected(timeframe, within)


def bar_opens(spans: SpanSet, timeframe: Timeframe) -> Micros:
    """The open times of all bars that open inside ``spans``, sorted.

    >>> bar_opens(SpanSet.of((0, 2 * DAY), (5 * DAY, 6 * DAY)), Timeframe.parse("1d")) // DAY
    array([0, 1, 5])
    """
    size, offset = timeframe.micros, timeframe.offset
    first = -((offset - spans.starts) // size)
    counts = np.maximum(-((offset - spans.ends) // size) - first, 0)
    if not len(counts):
        return _NONE
    begins = np.cumsum(counts) - counts
    steps = np.arange(counts.sum(), dtype=np.int64) + np.repeat(first - begins, counts)
    return np.asarray(steps * size + offset, dtype=np.int64)


def venue_calendar(venue: str, mapping: Mapping[str, str] | None = None) -> str:
    """The name of the calendar of ``venue``: ``mapping`` (the configuration) first, then what is built in, then MICs.

    >>> venue_calendar("BINANCE"), venue_calendar("XNAS"), venue_calendar("MINE", {"MINE": "XLON"})
    ('24/7', 'XNYS', 'XLON')
    """
    if mapping and venue in mapping:
        return mapping[venue]
    if venue in VENUES:
        return VENUES[venue]
    try:
        return _resolve(venue)
    except UnknownName:
        raise UnknownName(
            "venue", venue, VENUES, hint=f'say when it is open in gapless.toml: [venues.{venue}] calendar = "24/7"'
        ) from None


def _resolve(name: str) -> str:
    """The canonical name of an exchange_calendars calendar."""
    import exchange_calendars as xc

    known = xc.get_calendar_names(include_aliases=True)
    if name not in known:
        raise UnknownName("calendar", name, known)
    return str(xc.resolve_alias(name))


def _decades(span: Span) -> Span:
    first = to_datetime(span.start).year // 10 * 10
    last = to_datetime(span.end).year // 10 * 10 + 10
    return Span(parse_time(f"{first}-01-01"), parse_time(f"{last}-01-01"))


def _market_table(name: str, asked: Span, wide: Span) -> tuple[Span, Days, SpanSet]:
    """Days and trading time from exchange_calendars, over ``wide`` as far as it knows; all of ``asked`` is needed."""
    bounds = _bounds(name)
    if asked.start < bounds.start or asked.end > bounds.end:
        raise UsageError(
            f"calendar {name} knows its sessions from {iso(bounds.start)[:10]} to {iso(bounds.end - DAY)[:10]}; "
            f"{asked} was asked.",
            hint="ask for a later start or an earlier end",
        )
    known = wide.intersect(bounds)
    schedule = _open(name, known).schedule
    opens, closes, pauses, resumes = (
        _micros(schedule[name].dt.tz_convert(None)) for name in ("open", "close", "break_start", "break_end")
    )
    broken = schedule["break_start"].notna().to_numpy()
    trading = SpanSet.merge(opens, closes) - SpanSet.merge(pauses[broken], resumes[broken])
    return known, Days(_micros(schedule.index), opens, closes), trading


@functools.cache
def _bounds(name: str) -> Span:
    """The dates between which exchange_calendars can answer for ``name``."""
    kind = type(_open(name, Span.parse("2020-01-01", "2021-01-01")))
    low, high = kind.bound_min(), kind.bound_max()
    return Span(
        parse_time(str(low.date()) if low is not None else "1900-01-01"),
        parse_time(str(high.date()) if high is not None else "2099-12-31") + DAY,
    )


def _open(name: str, span: Span) -> Any:
    import exchange_calendars as xc

    first, last = iso(span.start)[:10], iso(span.end - 1)[:10]
    try:
        return xc.get_calendar(name, start=first, end=last)
    except ValueError as error:
        raise UsageError(
            f"calendar {name} cannot be made for {first} … {last}: {str(error)[:200]}",
            hint="ask for another span, or correct it with dated overrides",
        ) from error


def _micros(times: Any) -> Micros:
    """A pandas column or index of times without zone as int64 µs."""
    return np.asarray(times.to_numpy().astype("datetime64[us]").astype(np.int64), dtype=np.int64)


def _extend(days: Days) -> Days:
    """US equities with the hours around the session: from 04:00 New York, to four hours past the close."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/New_York")
    early = [parse_time(to_datetime(int(day)).replace(hour=4, tzinfo=zone)) for day in days.labels]
    return Days(days.labels, np.array(early, dtype=np.int64), days.ends + 4 * HOUR)


def _overridden(days: Days, trading: SpanSet, overrides: Mapping[int, Override], known: Span) -> tuple[Days, SpanSet]:
    """Days and trading time with single sessions closed, moved or added."""
    for day, override in overrides.items():
        if not known.start <= day < known.end:
            continue
        at = np.flatnonzero(days.labels == day)
        usual = (int(days.starts[at[0]]), int(days.ends[at[0]])) if len(at) else None
        changed = override.apply(usual)
        days = days.take(days.labels != day)
        if usual:
            trading = trading - SpanSet.of(usual)
        if changed:
            place = int(np.searchsorted(days.labels, day))
            values = zip(days, (day, *changed), strict=True)
            days = Days(*(np.insert(old, place, new) for old, new in values))
            trading = trading | SpanSet.of(changed)
    return days, trading


def _grid(table: _Table, timeframe: Timeframe) -> SpanSet:
    """All expected bars of a table, as spans on the timeframe's grid."""
    size, offset = timeframe.micros, timeframe.offset
    if size < DAY:
        starts, ends = table.trading.starts, table.trading.ends
        return SpanSet.merge((starts - offset) // size * size + offset, -((offset - ends) // size) * size + offset)
    opens = (table.days.labels - offset) // size * size + offset
    return SpanSet.merge(opens, opens + size)
