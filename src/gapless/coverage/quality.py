"""Bars that look wrong: flags beside the data, with evidence and confidence. Nothing here changes a bar.

1. Prices are looked at as they follow each other: open, close, open, close. A *jump* is a move from one to the next
   that is many times what the series does around there, and at least ``FLOOR``. Inside a bar a move is trading, unless
   it is undone or has the ratio of a mistake.
2. A jump that is soon undone is an excursion: ``unit`` where its ratio is 10, 100 or 1000, ``split`` where it is that
   of a split, else ``spike``. One that stays is a ``step`` (or ``unit``, ``split``): something changed between two
   bars.
3. News moves prices too, and people trade on it. A step, or a spike, with several times the usual turnover is a genuine
   gap: the former is no flag at all, the latter one of little confidence.
4. A high or a low far beyond every price around it is a ``spike`` as well.
5. The same four prices again and again while volume is reported are ``stale``: more often in a row than this series
   repeats itself by chance.
6. Volume many times the usual while the price hardly moves, or a price that moves without volume, is ``volume``.
7. A corporate action explains the step of its date and size; where prices do not step at a split, the series is
   ``adjusted`` already, or the table of actions is wrong. Where they step inside a bar, it holds both prices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.bars import PRICES
from gapless.series import Series
from gapless.spans import DAY, Span, iso

KINDS: dict[str, str] = {
    "unit": "prices in another unit: 10, 100 or 1000 times what they are around",
    "split": "prices on the other side of a split that no action explains",
    "spike": "a price far from those before and after, soon undone",
    "step": "a price level that changes between two bars without the trading that news brings",
    "stale": "the same prices again and again, with volume",
    "volume": "volume that does not go with what the price does",
    "adjusted": "a split that the table of actions has and the prices do not show",
    "refused": "a row that came and cannot be a bar",
}
FLOOR = math.log(1.10)  # no jump is smaller
_JUMP, _WICK, _WICK_FLOOR = 6.0, 8.0, math.log(1.20)  # in typical ranges of a bar
_TRADED = 3.0  # times the usual turnover: news
_LOUD = 50.0  # times the mean volume
_VOICELESS = 0.01  # of the bars move without volume: an index, which has none
_AROUND = 240  # bars that say what is usual
_SHORT, _LONG = 5, 3 * DAY  # an excursion: bars of any, time of one with the ratio of a mistake
_UNITS = (10.0, 100.0, 1000.0)
_SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 15.0, 20.0, 25.0, 30.0, 50.0)
_CHANCE = 1e-3  # of one run of repeats as long as that, in the whole series

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Flag:
    """One suspicion. ``size``: the ratio of a price, or of a volume, to what is usual; repeats of a stale stretch."""

    series: Series
    span: Span
    kind: str
    size: float
    evidence: tuple[str, ...]
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """The row of ``gapless quality --json``."""
        return {
            "instrument": str(self.series.instrument), "timeframe": self.series.timeframe.name,
            "start": iso(self.span.start), "end": iso(self.span.end), "kind": self.kind, "size": round(self.size, 6),
            "evidence": list(self.evidence), "confidence": round(self.confidence, 3),
        }  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A corporate action: the first bar time at the new price, and new price ÷ old price."""

    at: int
    factor: float


@dataclass(frozen=True)
class _Tape:
    """One series as arrays; ``usual``: the typical log range of a bar around each.

    ``turnover``: money traded ÷ the median of the 60 bars before; ``loudness``: volume ÷ the mean of 240.
    """

    series: Series
    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    usual: Floats
    turnover: Floats
    loudness: Floats

    @property
    def size(self) -> int:
        return self.series.timeframe.micros

    def span(self, first: int, last: int) -> Span:
        return Span(int(self.ts[first]), int(self.ts[last]) + self.size)


@dataclass(frozen=True)
class _Jump:
    """A move between two prices that follow each other: ``point`` 2k is bar k's open, 2k + 1 its close."""

    point: int
    log: float

    @property
    def bar(self) -> int:
        return self.point // 2

    @property
    def inside(self) -> bool:
        """From a bar's open to its own close?"""
        return self.point % 2 == 1


def find(bars: pl.DataFrame, series: Series, changes: Sequence[Change] = ()) -> list[Flag]:
    """The flags of one series, by time. ``bars``: sorted by ts; ``changes``: its corporate actions."""
    if bars.height < 2:
        return []
    tape = _tape(bars, series)
    jumps = [*_jumps(tape, changes)]
    taken = _bars_of(jumps, tape)
    found = [*jumps, *_wicks(tape, taken), *_stale(tape), *_volumes(tape), *_unseen(tape, changes)]
    ordered = sorted(found, key=_place)
    return [_joined(list(same)) for _, same in groupby(ordered, key=_place)]


def _place(flag: Flag) -> tuple[int, int, str]:
    return flag.span.start, flag.span.end, flag.kind


def _joined(flags: list[Flag]) -> Flag:
    """One flag of one kind and span, say of a high and a low of one bar: the surest, with the evidence of all."""
    first = max(flags, key=lambda f: f.confidence)
    return replace(first, evidence=tuple(text for flag in flags for text in flag.evidence))


def _tape(bars: pl.DataFrame, series: Series) -> _Tape:
    money, span = pl.col("close") * pl.col("volume"), (pl.col("high") / pl.col("low")).log()
    mean = pl.col("volume").rolling_mean(_AROUND, min_samples=20).shift(1)
    table = bars.with_columns(
        span.rolling_median(_AROUND, min_samples=1, center=True).alias("usual"),
        money.alias("money"),
        money.rolling_median(window_size=60, min_samples=5).shift(1).alias("before"),
        mean.alias("mean"),
    )
    values = {n: table[n].to_numpy() for n in ("open", "high", "low", "close", "volume", "usual")}
    values |= {"turnover": _ratio(table, "money", "before"), "loudness": _ratio(table, "volume", "mean")}
    return _Tape(series, table["ts"].to_physical().to_numpy(), **values)


def _ratio(table: pl.DataFrame, amount: str, usual: str) -> Floats:
    """An amount ÷ the usual one; NaN where nothing is usual yet."""
    found = pl.when(pl.col(usual) > 0).then(pl.col(amount) / pl.col(usual)).fill_null(float("nan"))
    return table.select(found)[:, 0].to_numpy()


# ---------------------------------------------------------------- jumps


def _jumps(tape: _Tape, changes: Sequence[Change]) -> Iterator[Flag]:
    """Steps 1 to 3, and 7 for the jumps that an action explains."""
    jumps = [j for j in _candidates(tape) if not _explained(tape, j, changes)]
    at = 0
    while at < len(jumps):
        jump = jumps[at]
        back = next((k for k in range(at + 1, len(jumps)) if _undone(tape, jump, jumps[k])), None)
        if back is not None:
            yield _excursion(tape, jump, jumps[back])
            at = back + 1
            continue
        flag = _step(tape, jump)
        if flag:
            yield flag
        at += 1


def _candidates(tape: _Tape) -> list[_Jump]:
    points = np.log(np.stack((tape.open, tape.close), axis=1).ravel())
    moves = np.diff(points, prepend=points[0])
    limit = np.repeat(np.maximum(FLOOR, _JUMP * tape.usual), 2)
    return [_Jump(int(p), float(moves[p])) for p in np.flatnonzero(np.abs(moves) > limit)]


def _explained(tape: _Tape, jump: _Jump, changes: Sequence[Change]) -> bool:
    """Is there an action of about this ratio about then?"""
    near = 4 * max(tape.size, DAY)
    when = int(tape.ts[jump.bar])
    return any(abs(when - s.at) <= near and abs(jump.log - math.log(s.factor)) < 0.15 for s in changes)


def _undone(tape: _Tape, jump: _Jump, back: _Jump) -> bool:
    bars = (back.point - jump.point + 1) // 2
    apart = int(tape.ts[back.bar] - tape.ts[jump.bar])
    near = bars <= _SHORT or (apart <= _LONG and _mistake(jump.log) is not None)
    return near and abs(jump.log + back.log) <= 0.35 * abs(jump.log)


def _mistake(log: float) -> tuple[str, float] | None:
    """``unit`` or ``split`` with the exact ratio, where a jump has one; real prices moved a little meanwhile.

    >>> _mistake(math.log(9.8)), _mistake(-math.log(2.05)), _mistake(math.log(1.3))
    (('unit', 10.0), ('split', 2.0), None)
    """
    for kind, ratios, slack in (("unit", _UNITS, 0.10), ("split", _SPLITS, 0.05)):
        near = min(ratios, key=lambda r: abs(abs(log) - math.log(r)))
        if abs(abs(log) - math.log(near)) <= slack:
            return kind, near
    return None


def _excursion(tape: _Tape, jump: _Jump, back: _Jump) -> Flag:
    first, last = jump.bar, (back.point - 1) // 2
    mistake, ratio = _mistake(jump.log), math.exp(jump.log)
    traded = float(np.nanmax(tape.turnover[first : last + 1], initial=0.0))
    text = f"{_times(ratio)} the price before, undone {_count(last - first + 1)} later ({_times(math.exp(back.log))})"
    confidence = 0.95 if mistake else (0.9 if traded < _TRADED else 0.3)
    why = (f"the ratio of {mistake[0]} {mistake[1]:g}",) if mistake else ()
    kind = mistake[0] if mistake else "spike"
    return Flag(tape.series, tape.span(first, last), kind, ratio, (text, *why, _traded(traded)), confidence)


def _step(tape: _Tape, jump: _Jump) -> Flag | None:
    """A jump that stays; None for a genuine gap, and for a move inside a bar, which was traded."""
    mistake, ratio = _mistake(jump.log), math.exp(jump.log)
    if jump.inside and not (mistake and mistake[0] == "unit"):
        return None
    traded = float(np.nanmax(tape.turnover[jump.bar : jump.bar + 2], initial=0.0))
    if traded >= _TRADED and (mistake is None or mistake[1] < 2):
        return None
    quiet = 0 < traded < _TRADED / 2
    confidence = (0.8 if traded < _TRADED else 0.4) if mistake else (0.5 if quiet else 0.3)
    why = (f"the ratio of {mistake[0]} {mistake[1]:g}",) if mistake else ()
    evidence = (f"{_times(ratio)} the price before, and it stays there", *why, _traded(traded))
    return Flag(
        tape.series, tape.span(jump.bar, jump.bar), mistake[0] if mistake else "step", ratio, evidence, confidence
    )


def _traded(times: float) -> str:
    return f"turnover {_times(times)} the usual" if times else "no turnover to compare with"


def _times(ratio: float) -> str:
    return f"{ratio:.4g} times"


def _count(bars: int) -> str:
    return f"{bars} bar{'s' * (bars != 1)}"


def _bars_of(flags: Sequence[Flag], tape: _Tape) -> npt.NDArray[np.bool_]:
    """The bars that flags speak for already."""
    taken = np.zeros(len(tape.ts), dtype=np.bool_)
    for flag in flags:
        taken[np.searchsorted(tape.ts, flag.span.start) : np.searchsorted(tape.ts, flag.span.end)] = True
    return taken


# ---------------------------------------------------------------- wicks, repeats, volumes


def _wicks(tape: _Tape, taken: npt.NDArray[np.bool_]) -> Iterator[Flag]:
    """Step 4."""
    before, after = np.roll(tape.close, 1), np.roll(tape.open, -1)
    before[0], after[-1] = tape.open[0], tape.close[-1]
    around = np.stack((tape.open, tape.close, before, after))
    up, down = np.log(tape.high / around.max(axis=0)), np.log(around.min(axis=0) / tape.low)
    limit = np.maximum(_WICK_FLOOR, _WICK * tape.usual)
    for name, size, sign in (("high", up, 1), ("low", down, -1)):
        for at in np.flatnonzero((size > limit) & ~taken).tolist():
            ratio = math.exp(sign * size[at])
            mistake = _mistake(float(size[at]))
            confidence = 0.9 if (mistake and mistake[0] == "unit") or size[at] > math.log(2) else 0.6
            text = f"the {name} is {_times(ratio)} the nearest price around it"
            yield Flag(tape.series, tape.span(at, at), "spike", ratio, (text,), confidence)


def _stale(tape: _Tape) -> Iterator[Flag]:
    """Step 5: the four prices again; the volume to the last digit as well needs fewer."""
    prices = np.stack((tape.open, tape.high, tape.low, tape.close))
    same = np.concatenate(([False], (np.diff(prices) == 0).all(axis=0))) & (tape.volume > 0)
    twin = same & np.concatenate(([False], np.diff(tape.volume) == 0))
    told = np.zeros(len(same), dtype=np.bool_)
    for repeats, least, what in ((twin, 3, "prices and volume"), (same, 6, "prices")):
        for first, last in _long_runs(repeats & ~told, least):
            told[first : last + 1] = True
            text = f"the same {what} {last - first + 2} times in a row, with volume"
            flat = tape.high[last] == tape.low[last]  # trades at one price are not unheard of where few trade
            size, confidence = float(last - first + 2), 0.4 if flat else 0.9
            yield Flag(tape.series, tape.span(first - 1, last), "stale", size, (text,), confidence)


def _long_runs(repeats: npt.NDArray[np.bool_], least: int) -> Iterator[tuple[int, int]]:
    """Runs longer than chance gives a series whose repeats go on as often as they do elsewhere in it."""
    edges = np.diff(np.concatenate(([0], repeats.view(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = ends - starts
    if not len(lengths):
        return
    others, runs = int(lengths.sum() - lengths.max()), len(lengths) - 1
    rate = (others + 1) / (len(repeats) - int(lengths.max()) + 2)
    stay = min((others - runs + 2 * rate) / (others + 2), 0.99)  # a repeat is followed by another
    needed = max(least, math.ceil(1 + math.log(_CHANCE / (runs + 1)) / math.log(stay)))
    for at in np.flatnonzero(lengths >= needed).tolist():
        yield int(starts[at]), int(ends[at]) - 1


def _volumes(tape: _Tape) -> Iterator[Flag]:
    """Step 6; not the second half of it for a series that has no volume by nature."""
    moved = np.log(tape.high / tape.low)
    with np.errstate(invalid="ignore"):
        loud = (tape.loudness >= _LOUD) & (moved <= 2 * tape.usual) & (tape.usual > 0)
    for at in np.flatnonzero(loud).tolist():
        text = f"volume {_times(float(tape.loudness[at]))} the usual while the price hardly moved"
        yield Flag(tape.series, tape.span(at, at), "volume", float(tape.loudness[at]), (text,), 0.5)
    silent = (tape.volume == 0) & (moved > np.maximum(tape.usual, 1e-9))
    if silent.mean() > _VOICELESS:
        return
    for at in np.flatnonzero(silent).tolist():
        text = f"high {_times(math.exp(moved[at]))} the low without any volume"
        yield Flag(tape.series, tape.span(at, at), "volume", math.exp(moved[at]), (text,), 0.5)


def refused(series: Series, ts: int, reasons: Sequence[str]) -> Flag:
    """The flag of rows that came for a bar and cannot be one, where no other row made it good."""
    bar = series.timeframe.floor(ts)
    return Flag(series, Span(bar, bar + series.timeframe.micros), "refused", float(len(reasons)), tuple(reasons), 1.0)


def _unseen(tape: _Tape, changes: Sequence[Change]) -> Iterator[Flag]:
    """Step 7: a split of the table where the price does not step, or steps inside a bar and not between two."""
    points = np.log(np.stack((tape.open, tape.close), axis=1).ravel())
    for change in changes:
        at = int(np.searchsorted(tape.ts, change.at))
        if not 0 < at < len(tape.ts) or abs(math.log(change.factor)) < math.log(1.5):
            continue
        first = 2 * max(1, at - 3)  # the open of a bar near
        off = np.abs(np.diff(points[first - 1 : 2 * (at + 4)]) - math.log(change.factor))
        bar, inside = (first + int(np.argmin(off))) // 2, int(np.argmin(off)) % 2 == 1
        said = f"the table of actions has {_times(change.factor)} the price before here"
        if off.min() > 0.3:
            yield Flag(tape.series, tape.span(at, at), "adjusted", change.factor, (f"{said}; prices do not step",), 0.8)
        elif inside:
            text = f"{said}, and this bar holds both prices"
            yield Flag(tape.series, tape.span(bar, bar), "split", change.factor, (text,), 0.95)


# ---------------------------------------------------------------- other witnesses


def weighed(flag: Flag, own: pl.DataFrame, other: pl.DataFrame, name: str) -> Flag:
    """The flag after another witness of the same bars was heard: what it has too is hardly a mistake of ours."""
    inside = pl.col("ts").to_physical().is_between(flag.span.start, flag.span.end, closed="left")
    both = own.filter(inside).join(other.select("ts", *PRICES), on="ts", suffix="_other")
    if not both.height:
        return replace(flag, evidence=(*flag.evidence, f"{name} has no such bar"))
    apart = both.select((pl.col(n) / pl.col(f"{n}_other")).log().abs().max().alias(n) for n in PRICES)
    size = math.expm1(max(apart.row(0)))
    if size < 0.02:
        text, confidence = f"{name} says the same", flag.confidence * 0.2
    else:
        text, confidence = f"{name} differs by {100 * size:.3g} % of the price", max(flag.confidence, 0.99)
    return replace(flag, evidence=(*flag.evidence, text), confidence=confidence)
