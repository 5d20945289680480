"""State machines: running sums, adaptive means, stops. One step function each, which batch and live call alike.

Their state stands in ``st``, along time a lane, live (number, symbol) from row ``k`` on; all 0 before the first bar. A
missing or infinite input gives NaN and leaves the state alone, but for ``steady``, which then repeats its last result.
"""

from __future__ import annotations

import numpy as np

from gapless.features import operators as code
from gapless.features.kernels.compiled import BATCH, LIVE, OF_SYMBOLS, OF_TIME, Lane, Rows, Table, compiled, kernel

nan = np.nan
Two = tuple[float, float]
Four = tuple[float, float, float, float]
Five = tuple[float, float, float, float, float]
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


@kernel(OF_TIME, code.STEADY, drivers=(BATCH,))
def time_steady(x: Lane, mean: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    """``steady_step`` along time; stretches without a hole are handed over whole, which gives the same bits."""
    state, length, at, width = st.reshape((st.shape[0], 1)), int(par[0]), 0, o.shape[0]
    while at < o.shape[0]:
        end = min(at + width, o.shape[0])
        if st[1] >= length and no_hole(x[at:end], mean[at:end]):
            steady_stretch(x[at:end], mean[at:end], o[at:end], state, 0, length)
        elif width > STRETCH:
            width = STRETCH
            continue
        else:
            for i in range(at, end):
                o[i] = steady_step(x[i], mean[i], state, 0, 0, length)
        at = end


@compiled
def no_hole(x: Lane, mean: Lane) -> bool:
    """Are all values and all means known?"""
    known = 0
    for i in range(x.shape[0]):
        known += 1 if (x[i] - x[i]) + (mean[i] - mean[i]) == 0.0 else 0
    return bool(known == x.shape[0])


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


@kernel(OF_SYMBOLS, code.STEADY, drivers=(LIVE,))
def symbols_steady(
    x: Lane, mean: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, level: bool, par: Lane
) -> None:  # fmt: skip
    """``steady_step`` of every symbol; where all stand alike and nothing is missing, in lanes: the same bits."""
    m, length = o.shape[0], int(par[0])
    if not (level and m > 0 and no_hole(x, mean) and all_equal(st[k + 1], m, length) and all_equal(st[k + 2], m, 0)):
        for i in range(m):
            o[i] = steady_step(x[i], mean[i], st, k, who[i], length)
        return
    at = int(st[k + 2, 0])
    last, place, ring = st[k], st[k + 2], st[k + 3 + at]
    after = float(at + 1 if at + 1 < length else 0)
    for i in range(m):
        o[i] = mean[i]
        ring[i], last[i], place[i] = x[i], mean[i], after


@compiled
def all_equal(x: Lane, m: int, least: int) -> bool:
    """Are the first ``m`` numbers one and the same, and no less than ``least``?"""
    first, same = x[0], 0
    for i in range(m):
        same += 1 if x[i] == first else 0
    return bool(same == m and first >= least)


@compiled
def ring_mean(st: Rows, base: int, s: int, length: int, at: int) -> float:
    """The mean of a ring whose oldest value stands at ``at``."""
    total = 0.0
    for i in range(length):
        total += st[base + (at + i) % length, s]
    return total / length


@compiled
def cumulate_step(v: float, session: float, s: Four) -> tuple[float, Four]:
    """The sum since ``session`` last changed; its rounding errors are carried along and added at the end.

    State: sum, errors, session, begun.
    """
    if (v - v) + (session - session) != 0.0:
        return nan, s
    y, e, since, begun = s
    if begun == 0.0 or since != session:
        y, e = 0.0, 0.0
    total = y + v
    part = total - y
    e = e + ((y - (total - part)) + (v - part))
    return total + e, (total, e, session, 1.0)


@kernel(OF_TIME, code.CUMULATE, drivers=(BATCH,))
def time_cumulate(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    s = (st[0], st[1], st[2], st[3])
    for i in range(o.shape[0]):
        o[i], s = cumulate_step(x[i], y[i], s)
    st[0], st[1], st[2], st[3] = s


@kernel(OF_SYMBOLS, code.CUMULATE, drivers=(LIVE,))
def symbols_cumulate(
    x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, level: bool, par: Lane
) -> None:  # fmt: skip
    for i in range(o.shape[0]):
        j = who[i]
        o[i], s = cumulate_step(x[i], y[i], (st[k, j], st[k + 1, j], st[k + 2, j], st[k + 3, j]))
        st[k, j], st[k + 1, j], st[k + 2, j], st[k + 3, j] = s


@compiled
def kama_step(v: float, rate: float, before: float, s: Two) -> tuple[float, Two]:
    """An exponential mean whose rate is given bar by bar; it starts from the value before the first.

    State: mean, begun.
    """
    y, begun = s
    if (v - v) + (rate - rate) != 0.0 or (begun == 0.0 and before - before != 0.0):
        return nan, s
    if begun == 0.0:
        y = before
    y = y + rate * (v - y)
    return y, (y, 1.0)


@kernel(OF_TIME, code.KAMA, drivers=(BATCH,))
def time_kama(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    s = (st[0], st[1])
    for i in range(o.shape[0]):
        o[i], s = kama_step(x[i], y[i], z[i], s)
    st[0], st[1] = s


@kernel(OF_SYMBOLS, code.KAMA, drivers=(LIVE,))
def symbols_kama(
    x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, level: bool, par: Lane
) -> None:  # fmt: skip
    for i in range(o.shape[0]):
        j = who[i]
        o[i], s = kama_step(x[i], y[i], z[i], (st[k, j], st[k + 1, j]))
        st[k, j], st[k + 1, j] = s


@compiled
def psar_step(high: float, low: float, close: float, s: Lane, start: float, step: float, limit: float) -> float:
    """Wilder's parabolic stop as TradingView starts it: long if the second close is above the first.

    State: stop, extreme, acceleration, long, bars (up to 3), high and low of the last bar and of the one before,
    last close.
    """
    if (high - high) + (low - low) + (close - close) != 0.0:
        return nan
    bars = s[4]
    stop = nan if bars == 0.0 else psar_turn(high, low, close, s, start, step, limit)
    s[4] = min(bars + 1.0, 3.0)
    s[7], s[8] = s[5], s[6]
    s[5], s[6], s[9] = high, low, close
    return stop


@compiled
def psar_turn(high: float, low: float, close: float, s: Lane, start: float, step: float, limit: float) -> float:
    """From the second bar on: move the stop, turn where it is hit, keep it outside the last two bars."""
    stop, extreme, pace, long, bars = float(s[0]), s[1], s[2], s[3] == 1.0, s[4]
    fresh = bars == 1.0
    if fresh:
        long = close > s[9]
        stop, extreme, pace = (s[6], high, start) if long else (s[5], low, start)
    stop = stop + pace * (extreme - stop)
    if long and stop > low:
        stop, extreme, pace, long, fresh = max(high, extreme), low, start, False, True
    elif not long and stop < high:
        stop, extreme, pace, long, fresh = min(low, extreme), high, start, True, True
    if not fresh and (high > extreme if long else low < extreme):
        extreme, pace = high if long else low, min(pace + step, limit)
    if long:
        stop = min(stop, s[6])
        stop = min(stop, s[8]) if bars > 1.0 else stop
    else:
        stop = max(stop, s[5])
        stop = max(stop, s[7]) if bars > 1.0 else stop
    s[0], s[1], s[2], s[3] = stop, extreme, pace, 1.0 if long else 0.0
    return float(stop)


@kernel(OF_TIME, code.PSAR, drivers=(BATCH,))
def time_psar(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    for i in range(o.shape[0]):
        o[i] = psar_step(x[i], y[i], z[i], st, par[0], par[1], par[2])


@kernel(OF_SYMBOLS, code.PSAR, drivers=(LIVE,))
def symbols_psar(
    x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, level: bool, par: Lane
) -> None:  # fmt: skip
    s = np.empty(10)
    for i in range(o.shape[0]):
        for n in range(10):
            s[n] = st[k + n, who[i]]
        o[i] = psar_step(x[i], y[i], z[i], s, par[0], par[1], par[2])
        for n in range(10):
            st[k + n, who[i]] = s[n]


@compiled
def supertrend_step(upper: float, lower: float, close: float, s: Five) -> tuple[float, Five]:
    """Bands that only tighten until the close breaks them. State: upper, lower, falling, last close, begun."""
    if (upper - upper) + (lower - lower) + (close - close) != 0.0:
        return nan, s
    high, low, down, before, begun = s
    falling = True
    if begun == 1.0:
        lower = lower if lower > low or before < low else low
        upper = upper if upper < high or before > high else high
        falling = close <= upper if down == 1.0 else close < lower
    return upper if falling else lower, (upper, lower, 1.0 if falling else 0.0, close, 1.0)


@kernel(OF_TIME, code.SUPERTREND, drivers=(BATCH,))
def time_supertrend(x: Lane, y: Lane, z: Lane, o: Lane, st: Lane, par: Lane) -> None:
    s = (st[0], st[1], st[2], st[3], st[4])
    for i in range(o.shape[0]):
        o[i], s = supertrend_step(x[i], y[i], z[i], s)
    st[0], st[1], st[2], st[3], st[4] = s


@kernel(OF_SYMBOLS, code.SUPERTREND, drivers=(LIVE,))
def symbols_supertrend(
    x: Lane, y: Lane, z: Lane, o: Lane, st: Rows, k: int, who: Table, level: bool, par: Lane
) -> None:  # fmt: skip
    for i in range(o.shape[0]):
        j = who[i]
        s = (st[k, j], st[k + 1, j], st[k + 2, j], st[k + 3, j], st[k + 4, j])
        o[i], s = supertrend_step(x[i], y[i], z[i], s)
        st[k, j], st[k + 1, j], st[k + 2, j], st[k + 3, j], st[k + 4, j] = s
