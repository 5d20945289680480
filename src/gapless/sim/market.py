"""A made market: deterministic, correlated, fat-tailed, clustered, with the interruptions a real venue has.

How a day of one symbol is made, from (seed, symbol, day) alone:

1. ``_anchors``  log prices at every midnight: a walk shared by all, and one's own, reflected so that they stay bounded
2. ``_mood``     how busy each minute is: slow waves, bursts that fade, the hours of the day
3. ``_walk``     1440 minute returns whose size follows the mood, with jumps, bent to end at the next anchor
4. ``_minutes``  ticks and steps: open, high, low, close, volume, turnover, trades; minutes without a trade stay flat
5. ``_present``  drop what lies outside the listing, in an outage or in a halt

Nothing is carried from one day to the next, so any day can be made first, and memory is a bounded cache of days.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.errors import UnknownName, UsageError
from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.sim import interruptions, names
from gapless.sim.blocks import EMPTY, QUOTE_DIGITS, Block, Floats, Scale, fold, frame, join, truth_block
from gapless.sim.chance import stream
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Micros, Span, SpanSet, Timeframe, iso, parse_time

MINUTES = 1440
FIRST_DAY = parse_time("2010-01-01") // DAY
LAST_DAY = parse_time("2050-01-01") // DAY
_SYMBOL = re.compile(r"^[A-Z0-9][A-Z0-9\-_.]{0,19}$")
_1M, _1H = Timeframe.parse("1m"), Timeframe.parse("1h")
_CLOCK = np.arange(MINUTES, dtype=np.int64)
_COMMON_VOLATILITY = 0.024
_BOUND = 0.9  # log prices stay within this of their level, for the common walk and for one's own

# Busier in the European afternoon, at full hours and quarters.
_SEASON = 0.35 * np.sin(2 * np.pi * (_CLOCK - 540) / MINUTES) + 0.40 * (_CLOCK % 60 == 0) + 0.15 * (_CLOCK % 15 == 0)


class Market:
    """A venue's truth. ``symbols``: how many, or which; ``start`` and ``end`` bound all listings.

    ``outages`` and ``halts`` replace the random ones; ``silence`` says what a minute without a trade looks like:
    ``"flat"`` (Binance: volume 0 at the last close) or ``"omit"`` (Bitfinex: no bar).

    >>> market = Market(7, 4, "2024-01-01", "2024-07-01")
    >>> market.truth("BTCUSDT", "1m", Span.parse("2024-02-01", "2024-02-02")).height
    1440
    """

    def __init__(
        self,
        seed: int = 7,
        symbols: int | Sequence[str] = 20,
        start: str | int = "2020-01-01",
        end: str | int | None = None,
        *,
        venue: str = "BINANCE",
        silence: str = "flat",
        outages_per_month: float = 0.35,
        halts_per_month: float = 0.08,
        listed_late: float = 0.1,
        delisted: float = 0.06,
        outages: SpanSet | None = None,
        halts: Mapping[str, SpanSet] | None = None,
        cached_days: int = 256,
    ) -> None:
        self.seed, self.venue, self.silence = seed, venue, silence
        self.symbols = names.symbols(symbols) if isinstance(symbols, int) else tuple(symbols)
        self.span = _checked(Span.parse(start, LAST_DAY * DAY if end is None else end), silence)
        self._check_names()
        self._listed = interruptions.listings(seed, self.symbols, self.span, late=listed_late, gone=delisted)
        self.outages = outages if outages is not None else self._random(("outage", venue), outages_per_month, (20, 200))
        self._halts = halts
        self._halts_per_month = halts_per_month
        self.halts = lru_cache(4096)(self._make_halts)
        self._profile = lru_cache(4096)(names.profile)
        self._anchors = lru_cache(256)(self._make_anchors)
        self._common = lru_cache(64)(self._make_common)
        self._day = lru_cache(cached_days)(self._make_day)
        self._folded = lru_cache(2 * cached_days)(self._make_folded)
        self._hours = lru_cache(32 * cached_days)(self._make_hours)

    # ---------------------------------------------------------------- what it tells

    def truth(self, symbol: str | Instrument, timeframe: str | Timeframe, span: Span) -> pl.DataFrame:
        """Final bars that open inside ``span``, in the bar schema."""
        name = self._name(symbol)
        return frame(Instrument(self.venue, name), truth_block(self, name, Timeframe.parse(timeframe), span))

    def listings(self) -> list[Listing]:
        """Every symbol with its listing and, where it was taken off, its delisting."""
        return [self._listing(name) for name in self.symbols]

    def listed_at(self, symbol: str | Instrument) -> int:
        """When trading in ``symbol`` began, µs."""
        return self.listed(self._name(symbol)).start

    def listed(self, symbol: str) -> Span:
        """From listing to delisting."""
        return self._listed[symbol]

    def delisted_at(self, symbol: str) -> int | None:
        """When trading ended, µs; None for a symbol that lives on."""
        end = self.listed(symbol).end
        return end if end < LAST_DAY * DAY else None

    def scale(self, symbol: str) -> Scale:
        """Decimals of the symbol's prices and volumes."""
        return self._profile(symbol).scale

    def block(self, symbol: str, timeframe: Timeframe, day: int) -> Block:
        """The bars that open on ``day`` (days since the epoch)."""
        if timeframe == _1M:
            return self._day(symbol, day)
        if timeframe.micros < HOUR:
            return self._folded(symbol, timeframe, day)
        if timeframe.micros < WEEK:
            return fold(self._hours(symbol, day), timeframe)
        return self._week(symbol, timeframe, day)

    # ---------------------------------------------------------------- how it is made

    def _name(self, symbol: str | Instrument) -> str:
        name = str(symbol).removeprefix(self.venue + ":")
        if name not in self._listed:
            raise UnknownName(f"symbol of {self.venue}", name, self.symbols)
        return name

    def _check_names(self) -> None:
        bad = [s for s in self.symbols if not _SYMBOL.match(s)]
        if bad or not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise UsageError(
                f"these are no symbols for a market: {', '.join(bad or self.symbols) or 'none'}.",
                hint="at least one, each once, of capital letters and digits (20 at most)",
            )

    def _listing(self, name: str) -> Listing:
        span = self.listed(name)
        gone = self.delisted_at(name)
        status = "trading" if gone is None else "delisted"
        return Listing(Instrument(self.venue, name), status, span.start, gone)

    def _random(self, key: tuple[object, ...], per_month: float, minutes: tuple[int, int]) -> SpanSet:
        return interruptions.random_spans((self.seed, *key), self.span, per_month=per_month, minutes=minutes)

    def _make_halts(self, symbol: str) -> SpanSet:
        if self._halts is not None:
            return self._halts.get(symbol, SpanSet.of())
        return self._random(("halt", self.venue, symbol), self._halts_per_month, (8, 90))

    def _make_anchors(self, name: str, volatility: float) -> Floats:
        """Log price, relative to its level, at every midnight of the calendar this market knows."""
        steps = stream(self.seed, "anchors", name).standard_normal(LAST_DAY - FIRST_DAY + 1)
        walk = np.cumsum(steps * volatility) + _BOUND
        return np.asarray(np.abs(np.mod(walk, 4 * _BOUND) - 2 * _BOUND) - _BOUND)

    def _make_common(self, day: int) -> tuple[Floats, Floats]:
        """The day's returns and mood that every symbol shares."""
        mood = _mood(self.seed, "common", day) + _SEASON
        anchors = self._anchors("common", _COMMON_VOLATILITY)
        chance = stream(self.seed, "common", day)
        return _walk(chance, mood, _COMMON_VOLATILITY, _step(anchors, day)), mood

    def _make_day(self, symbol: str, day: int) -> Block:
        span = Span(day * DAY, day * DAY + DAY).intersect(self.listed(symbol))
        if not span or not FIRST_DAY <= day < LAST_DAY:
            return EMPTY
        ts = day * DAY + _CLOCK * MINUTE
        present = self._present(symbol, ts, span)
        units, traded = self._minutes(symbol, day, present)
        keep = present & traded if self.silence == "omit" else present
        return Block.from_units(ts[keep], units[:, keep], self.scale(symbol))

    def _make_folded(self, symbol: str, timeframe: Timeframe, day: int) -> Block:
        return fold(self._day(symbol, day), timeframe)

    def _make_hours(self, symbol: str, day: int) -> Block:
        """Kept longer than minutes: a page of days needs a thousand of these."""
        return fold(self._day(symbol, day), _1H)

    def _week(self, symbol: str, week: Timeframe, day: int) -> Block:
        if week.floor(day * DAY) != day * DAY:
            return EMPTY
        return fold(join([self._hours(symbol, day + i) for i in range(7)]), week)

    def _present(self, symbol: str, ts: Micros, span: Span) -> npt.NDArray[np.bool_]:
        present = (ts >= span.start) & (ts < span.end)
        for gone in (self.outages, self.halts(symbol)):
            inside = gone.clip(span)
            if inside:
                present &= ~inside.mask(ts)
        return present

    def _minutes(
        self, symbol: str, day: int, present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """All 1440 minutes in ticks and steps, and which of them traded."""
        who = self._profile(symbol)
        chance = stream(self.seed, self.venue, symbol, day)
        common, shared = self._common(day)
        mood = 0.6 * shared + 0.7 * _mood(self.seed, symbol, day)
        own = self._anchors(symbol, who.volatility)
        returns = who.beta * common + _walk(chance, mood, who.volatility, _step(own, day))
        level = np.log(who.price) + who.beta * self._anchors("common", _COMMON_VOLATILITY)[day - FIRST_DAY]
        start = float(level + own[day - FIRST_DAY])
        rate = who.trades * np.exp(mood)
        traded = _traded(chance, rate, present)
        ticks = _prices(chance, start, returns, traded, who)
        return np.vstack((ticks, _volumes(chance, ticks, rate, traded, who))), traded


def _checked(span: Span, silence: str) -> Span:
    if silence not in ("flat", "omit"):
        raise UnknownName("silence", silence, ("flat", "omit"))
    if not (FIRST_DAY * DAY <= span.start < span.end <= LAST_DAY * DAY):
        raise UsageError(
            f"the simulated market cannot span {span}.",
            hint=f"start before end, both between {iso(FIRST_DAY * DAY)} and {iso(LAST_DAY * DAY)}",
        )
    return span


def _step(anchors: Floats, day: int) -> float:
    at = day - FIRST_DAY
    return float(anchors[at + 1] - anchors[at])


def _mood(seed: int, name: str, day: int) -> Floats:
    """Log activity of each minute: waves of half an hour, four hours and a day, and bursts that fade in minutes."""
    here, there = _waves(seed, name, day), _waves(seed, name, day + 1)
    mood = np.zeros(MINUTES)
    for first, count, height in ((0, 48, 0.35), (48, 6, 0.45), (54, 1, 0.35)):
        knots = np.append(here[first : first + count], there[first]) * height
        mood += np.interp(_CLOCK, np.linspace(0, MINUTES, count + 1), knots)
    chance = stream(seed, "bursts", name, day)
    for start, size in zip(chance.integers(0, MINUTES, 3), chance.exponential(0.9, 3), strict=True):
        mood[start:] += size * _FADE[: MINUTES - start]
    return mood


_FADE = np.exp(-_CLOCK / 22.0)


@lru_cache(1024)
def _waves(seed: int, name: str, day: int) -> Floats:
    return stream(seed, "waves", name, day).standard_normal(55)


def _walk(chance: np.random.Generator, mood: Floats, volatility: float, total: float) -> Floats:
    """Minute log returns: size follows the mood, one in 300 jumps, the sum is ``total``."""
    size = np.exp(0.55 * mood) * (volatility * 0.65 / np.sqrt(MINUTES))
    returns = chance.standard_normal(MINUTES) * size
    returns[chance.random(MINUTES) < 1 / 300] *= 6.0
    return np.asarray(returns + (total - returns.sum()) / MINUTES)


def _traded(chance: np.random.Generator, rate: Floats, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Minutes with at least one trade; the first bar of a day always has one, so that a close stands before each."""
    traded = chance.random(MINUTES) >= np.exp(-rate)
    traded &= present
    if present.any():
        traded[int(present.argmax())] = True
    return np.asarray(traded)


def _prices(
    chance: np.random.Generator, start: float, returns: Floats, traded: npt.NDArray[np.bool_], who: names.Profile
) -> npt.NDArray[np.int64]:
    """Open, high, low and close in ticks; a minute without a trade repeats the last close."""
    unit = 10.0**who.scale.price
    path = np.exp(start + np.concatenate(([0.0], np.cumsum(returns)))) * unit
    ticks = np.maximum(np.rint(path), 10).astype(np.int64)
    close = ticks[1:]
    open_ = np.maximum(ticks[:-1] + chance.integers(-1, 2, MINUTES), 1)
    wicks = np.abs(chance.standard_normal((2, MINUTES))) * (np.abs(returns) * 0.4 + 1e-4) * path[1:]
    high = np.maximum(open_, close) + wicks[0].astype(np.int64)
    low = np.maximum(np.minimum(open_, close) - wicks[1].astype(np.int64), 1)
    last = close[np.maximum.accumulate(np.where(traded, _CLOCK, 0))]
    return np.where(traded, np.stack((open_, high, low, close)), last)


def _volumes(
    chance: np.random.Generator,
    ticks: npt.NDArray[np.int64],
    rate: Floats,
    traded: npt.NDArray[np.bool_],
    who: names.Profile,
) -> npt.NDArray[np.int64]:
    """Volume, turnover, trades, taker volume and taker turnover; all 0 where nothing traded."""
    noise = chance.standard_normal((3, MINUTES))
    trades = 1 + rate * np.exp(0.25 * noise[0])
    price = ticks.mean(axis=0) / 10.0**who.scale.price
    size = np.maximum(1, np.rint(trades * who.ticket * np.exp(0.35 * noise[1]) / price * 10.0**who.scale.volume))
    lean = np.sign(ticks[3] - ticks[0]) * 0.08
    taken = np.floor(size * np.clip(0.5 + lean + 0.1 * noise[2], 0.02, 0.98))
    turnover = price * 10.0 ** (QUOTE_DIGITS - who.scale.volume)
    parts = np.stack((size, np.rint(size * turnover), np.floor(trades), taken, np.rint(taken * turnover)))
    return np.where(traded, parts, 0).astype(np.int64)
