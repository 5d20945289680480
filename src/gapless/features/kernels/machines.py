"""State machines: running sums, adaptive means, stops. One step function each, which batch and live call alike.

Their state stands in ``st`` (number, symbol) from row ``k`` on, all 0 before the first bar. A missing or infinite input
gives NaN and leaves the state alone, but for ``steady``, which then repeats its last result.
"""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import Lane, Rows, Table, compiled

nan = np.nan
STRETCH = 64  # bars handed over at once where nothing is missing


@compiled
def steady_step(v: float, mean: float, st: Rows, k: int, s: int, length: int) -> float:
    """The mean of the last n *known* values, as TradingView's sma: on a missing one the last result stands.

    ``mean`` is the window's mean by joins and taken where there is one; the ring is only added up after a hole.
    """
    count, at = int(st[k + 1, s]), int(st[k + 2, s])
    if v - v == 0.0:
        st[k + 3 + at, s] = v
        at = at + 1 if at + 1 < length else 0
        st[k + 2, s] = at
        if count < length:
            count += 1
            st[k + 1, s] = count
        if count == length:
            st[k, s] = mean if mean - mean == 0.0 else ring_mean(st, k + 3, s, length, at)
    return float(st[k, s]) if count == length else nan


@compiled
def steady_time(x: Lane, mean: Lane, o: Lane, st: Rows, k: int, length: int) -> None:
    """``steady_step`` along time; stretches without a hole are handed over whole, which gives the same bits."""
    m, at = o.shape[0], 0
    while at < m:
        end = min(at + STRETCH, m)
        known = 0
        for i in range(at, end):
            known += 1 if (x[i] - x[i]) + (mean[i] - mean[i]) == 0.0 else 0
        if known == end - at and st[k + 1, 0] >= length:
            steady_stretch(x[at:end], mean[at:end], o[at:end], st, k, length)
        else:
            for i in range(at, end):
                o[i] = steady_step(x[i], mean[i], st, k, 0, length)
        at = end


@compiled
def steady_stretch(x: Lane, mean: Lane, o: Lane, st: Rows, k: int, length: int) -> None:
    """Known values only: the means are the result, the ring takes the newest values."""
    m, at = o.shape[0], int(st[k + 2, 0])
    for i in range(m):
        o[i] = mean[i]
    first = max(m - length, 0)
    at = (at + first) % length
    for i in range(first, m):
        st[k + 3 + at, 0] = x[i]
        at = at + 1 if at + 1 < length else 0
    st[k, 0], st[k + 2, 0] = mean[m - 1], at


@compiled
def steady_symbols(x: Lane, mean: Lane, o: Lane, st: Rows, k: int, who: Table, length: int, level: bool) -> None:
    """``steady_step`` of every symbol; where all stand alike and nothing is missing, in lanes: the same bits."""
    m, alike = o.shape[0], 0
    if level and m > 0:
        count, place = st[k + 1, :m], st[k + 2, :m]
        for i in range(m):
            known = (x[i] - x[i]) + (mean[i] - mean[i]) == 0.0
            alike += 1 if known and count[i] >= length and place[i] == place[0] else 0
    if alike < m or m == 0:
        for i in range(m):
            o[i] = steady_step(x[i], mean[i], st, k, who[i], length)
        return
    at = int(st[k + 2, 0])
    last, place, ring = st[k, :m], st[k + 2, :m], st[k + 3 + at, :m]
    after = float(at + 1 if at + 1 < length else 0)
    for i in range(m):
        ring[i], last[i], o[i], place[i] = x[i], mean[i], mean[i], after


@compiled
def ring_mean(st: Rows, base: int, s: int, length: int, at: int) -> float:
    """The mean of a ring whose oldest value stands at ``at``."""
    total = 0.0
    for i in range(length):
        total += st[base + (at + i) % length, s]
    return total / length


@compiled
def cumulate_step(v: float, session: float, st: Rows, k: int, s: int) -> float:
    """The sum since ``session`` last changed; its rounding errors are carried along and added at the end."""
    if v - v != 0.0 or session - session != 0.0:
        return nan
    if st[k + 3, s] == 0.0 or st[k + 2, s] != session:
        st[k, s], st[k + 1, s], st[k + 2, s], st[k + 3, s] = 0.0, 0.0, session, 1.0
    y = st[k, s]
    total = y + v
    part = total - y
    st[k + 1, s] += (y - (total - part)) + (v - part)
    st[k, s] = total
    return float(total + st[k + 1, s])


@compiled
def kama_step(v: float, rate: float, before: float, st: Rows, k: int, s: int) -> float:
    """An exponential mean whose rate is given bar by bar; it starts from the value before the first."""
    if v - v != 0.0 or rate - rate != 0.0:
        return nan
    if st[k + 1, s] == 0.0:
        if before - before != 0.0:
            return nan
        st[k, s], st[k + 1, s] = before, 1.0
    y = float(st[k, s])
    y += rate * (v - y)
    st[k, s] = y
    return y


@compiled
def psar_step(
    high: float, low: float, close: float, st: Rows, k: int, s: int, start: float, step: float, limit: float
) -> float:
    """Wilder's parabolic stop as TradingView starts it: long if the second close is above the first.

    State: stop, extreme, acceleration, long, bars (up to 3), high and low of the last bar and of the one before,
    last close.
    """
    if (high - high) + (low - low) + (close - close) != 0.0:
        return nan
    bars = st[k + 4, s]
    stop = nan if bars == 0.0 else psar_turn(high, low, close, st, k, s, start, step, limit)
    st[k + 4, s] = min(bars + 1.0, 3.0)
    st[k + 7, s], st[k + 8, s] = st[k + 5, s], st[k + 6, s]
    st[k + 5, s], st[k + 6, s], st[k + 9, s] = high, low, close
    return stop


@compiled
def psar_turn(
    high: float, low: float, close: float, st: Rows, k: int, s: int, start: float, step: float, limit: float
) -> float:
    """From the second bar on: move the stop, turn where it is hit, keep it outside the last two bars."""
    stop, extreme, pace, long, bars = float(st[k, s]), st[k + 1, s], st[k + 2, s], st[k + 3, s] == 1.0, st[k + 4, s]
    fresh = bars == 1.0
    if fresh:
        long = close > st[k + 9, s]
        stop, extreme, pace = (st[k + 6, s], high, start) if long else (st[k + 5, s], low, start)
    stop = stop + pace * (extreme - stop)
    if long and stop > low:
        stop, extreme, pace, long, fresh = max(high, extreme), low, start, False, True
    elif not long and stop < high:
        stop, extreme, pace, long, fresh = min(low, extreme), high, start, True, True
    if not fresh and (high > extreme if long else low < extreme):
        extreme, pace = high if long else low, min(pace + step, limit)
    if long:
        stop = min(stop, st[k + 6, s])
        stop = min(stop, st[k + 8, s]) if bars > 1.0 else stop
    else:
        stop = max(stop, st[k + 5, s])
        stop = max(stop, st[k + 7, s]) if bars > 1.0 else stop
    st[k, s], st[k + 1, s], st[k + 2, s], st[k + 3, s] = stop, extreme, pace, 1.0 if long else 0.0
    return float(stop)


@compiled
def supertrend_step(upper: float, lower: float, close: float, st: Rows, k: int, s: int) -> float:
    """Bands that only tighten until the close breaks them. State: upper, lower, falling, last close, started."""
    if (upper - upper) + (lower - lower) + (close - close) != 0.0:
        return nan
    if st[k + 4, s] == 0.0:
        falling = True
    else:
        before = st[k + 3, s]
        lower = lower if lower > st[k + 1, s] or before < st[k + 1, s] else st[k + 1, s]
        upper = upper if upper < st[k, s] or before > st[k, s] else st[k, s]
        falling = close <= upper if st[k + 2, s] == 1.0 else close < lower
    st[k, s], st[k + 1, s], st[k + 2, s] = upper, lower, 1.0 if falling else 0.0
    st[k + 3, s], st[k + 4, s] = close, 1.0
    return upper if falling else lower


@compiled
def machine_step(op: int, x: float, y: float, z: float, st: Rows, k: int, s: int, par: Lane) -> float:
    """One step of any machine for symbol ``s``."""
    if op == code.STEADY:
        return steady_step(x, y, st, k, s, int(par[0]))
    if op == code.CUMULATE:
        return cumulate_step(x, y, st, k, s)
    if op == code.KAMA:
        return kama_step(x, y, z, st, k, s)
    if op == code.PSAR:
        return psar_step(x, y, z, st, k, s, par[0], par[1], par[2])
    return supertrend_step(x, y, z, st, k, s)


@compiled
def machine_time(op: int, x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, par: Lane) -> None:
    """A machine along time; ``st`` is (state, 1)."""
    if op == code.STEADY:
        steady_time(x, y, o, st, k, int(par[0]))
    else:
        for i in range(o.shape[0]):
            o[i] = machine_step(op, x[i], y[i], z[i], st, k, 0, par)


@compiled
def machine_symbols(
    op: int, x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, par: Lane, level: bool
) -> None:
    """One step of a machine for every symbol in ``who``; ``level``: they are the first ones, in order."""
    if op == code.STEADY:
        steady_symbols(x, y, o, st, k, who, int(par[0]), level)
    else:
        for i in range(o.shape[0]):
            o[i] = machine_step(op, x[i], y[i], z[i], st, k, who[i], par)
