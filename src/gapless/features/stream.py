"""Features live: one minute of bars in, their features out, without I/O; the same bits as ``compute``."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.errors import InputError, SchemaViolation, UnknownName, UsageError
from gapless.features.frames import check_options, numbers, times, try_gate, typed
from gapless.features.panel import Groups, LivePanel, Members, Panel, Population
from gapless.features.planning import decode, encode, plan
from gapless.features.program import Floats, Ints
from gapless.features.registry import Bounds
from gapless.features.schema import gate
from gapless.series import Instrument
from gapless.spans import iso

_MAGIC = b"gapless stream 1\n"
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a frame: ``mine`` and the instruments' numbers ``who`` there; the rows of ``others``."""

    names: pl.Series
    mine: Ints
    who: Ints
    others: dict[str, int]


class Stream:
    """A set of features over a set of instruments, fed bar by bar.

    ``step`` takes the bars of one time and gives their features. An instrument without a bar then does not step: its
    rows are its own bars. Bars of other series that an expression names (``close@BINANCE:BTCUSDT``) are taken from
    the same frame; without one there the input is NaN. ``state`` and ``restore`` carry everything over a restart.

    Features that compare instruments (``rank`` …) compare those of the stream: a step then takes all bars of its time
    at once, and no earlier time can follow. ``groups``, ``members``, ``coverage`` as in ``compute``.

    >>> s = Stream({"fast": "sma(close, 2)"}, ["X:A"])
    >>> def bar(minute, close):
    ...     return pl.DataFrame({"instrument": ["X:A"], "ts": [minute * 60_000_000], "close": [close]}).cast(
    ...         {"ts": pl.Datetime("us", "UTC")})
    >>> s.step(bar(0, 1.0))["fast"].item(), s.step(bar(1, 2.0))["fast"].item()
    (nan, 1.5)
    """

    def __init__(
        self,
        features: Mapping[str, str],
        instruments: Iterable[str | Instrument],
        *,
        groups: Groups | None = None,
        members: Members | None = None,
        coverage: bool = False,
    ) -> None:
        self.plan = plan(features)
        self.instruments = tuple(str(Instrument.parse(name)) for name in instruments)
        if not self.instruments or len(set(self.instruments)) < len(self.instruments):
            raise UsageError("a stream needs instruments, each once.", hint="instruments=['BINANCE:BTCUSDT']")
        self._number = {name: i for i, name in enumerate(self.instruments)}
        self._others = {instrument for _, instrument in self.plan.others}
        from gapless.features.drivers import Live

        self._live: Live | LivePanel
        if check_options(self.plan, groups, members, coverage):
            population = Population(self.instruments, groups, members)
            self._live = LivePanel(Panel(self.plan, population, coverage), self.instruments)
        else:
            self._live = Live(self.plan.program, len(self.instruments))
        self._seen = self._look(pl.Series("instrument", [], dtype=pl.String))
        self._last: Ints = np.full(len(self.instruments), _NEVER, dtype=np.int64)
        limits = self.plan.bounds.items()
        self._limits = {n: (-np.inf if a is None else a, np.inf if b is None else b) for n, (a, b) in limits}

    def step(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The features of the bars of one time: ``instrument``, ``ts``, names…, in the frame's order.

        Raises InputError, with nothing stepped, when the frame holds several times, an instrument twice or a bar that
        is not later than the instrument's last; UnknownName for an instrument that the stream does not know. When a
        SchemaViolation is raised the bars have stepped: the values are wrong, the state is what the bars made it.
        """
        ts, rows = self._time(bars), self._rows(bars)
        mine, who = rows.mine, rows.who
        columns = {name: numbers(bars, name)[mine] for name in self.plan.inputs}
        for column, instrument in self.plan.others:
            value = numbers(bars, column)[rows.others[instrument]] if instrument in rows.others else np.nan
            columns[f"{column}@{instrument}"] = np.full(len(mine), value)
        outputs, violations = self._stepped(ts, who, columns)
        if violations:
            try_gate(self.plan, outputs, np.full(len(mine), ts), "")
        keys = [bars[name].gather(mine) for name in ("instrument", "ts")]
        return pl.DataFrame([*keys, *typed(self.plan, outputs)])

    def step_columns(
        self, ts: int, who: Ints, columns: Mapping[str, Floats]
    ) -> tuple[dict[str, Floats], dict[str, Ints]]:
        """``step`` without frames: the features of the bars at ``ts`` (µs since the epoch), as arrays.

        ``who`` numbers the instruments that have a bar, each once, as they stand in ``instruments`` (int64).
        ``columns`` holds every name of ``plan.columns``, other series' (``close@BINANCE:BTCUSDT``) too: a float64 value
        for each of ``who``, NaN where missing; more columns are no harm. Both answers have the order of ``who``: the
        values by name, and by feature the positions whose value lies outside its declared bounds. Those values stand
        as computed, must not be kept, and their bars have stepped.

        Raises InputError, with nothing stepped, for a bar that is not later than its instrument's last one, an
        instrument twice, a missing column or one of another length.

        >>> s = Stream({"fast": "sma(close, 2)"}, ["X:A", "X:B"])
        >>> both = np.array([0, 1])
        >>> _ = s.step_columns(0, both, {"close": np.array([1.0, 5.0])})
        >>> s.step_columns(60_000_000, both[1:], {"close": np.array([6.0])})
        ({'fast': array([5.5])}, {})
        """
        if len(who) and (who.min() < 0 or who.max() >= len(self._last) or np.bincount(who).max() > 1):
            raise InputError(
                f"who must number instruments from 0 to {len(self._last) - 1}, each once.",
                hint="positions in instruments",
            )
        for name in self.plan.columns:
            if name not in columns or len(columns[name]) != len(who):
                found = f"has {len(columns[name])} values" if name in columns else "is missing"
                raise InputError(f"column {name} {found}, {len(who)} bars step.", hint="one value for each of who")
        return self._stepped(ts, who, columns)

    def _stepped(self, ts: int, who: Ints, columns: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Ints]]:
        self._check_later(who, ts)
        if isinstance(self._live, LivePanel):
            outputs = self._live.step(columns, who, ts)
        else:
            outputs = dict(zip(self.plan.names, self._live.step(columns, who), strict=True))
        self._last[who] = ts
        return outputs, self._outside(outputs)

    def _outside(self, outputs: dict[str, Floats]) -> dict[str, Ints]:
        """Clip what rounding carried over a bound; by feature the positions that lie farther out."""
        found: dict[str, Ints] = {}
        for name, (low, high) in self._limits.items():
            x = outputs[name]
            if np.fmin.reduce(x, initial=high) < low or np.fmax.reduce(x, initial=low) > high:
                over = np.flatnonzero((x < low) | (x > high))
                far = [i for i in over if not _passes(x[i : i + 1], self.plan.bounds[name])]
                found |= {name: np.array(far)} if far else {}
        return found

    def last(self, instrument: str) -> int | None:
        """Time of the last bar stepped, µs since the epoch; None before the first."""
        value = int(self._last[self._index(instrument)])
        return None if value == _NEVER else value

    def state_of(self, instrument: str) -> bytes:
        """The state of one instrument, as ``run`` takes and gives it."""
        return encode(self.plan, self._live.state_of(self._index(instrument)))

    def restore_one(self, instrument: str, state: bytes, last: int) -> None:
        """Put one instrument where ``run`` ended, its last bar at ``last`` (µs since the epoch)."""
        i = self._index(instrument)
        self._live.restore(i, decode(self.plan, state))
        self._last[i] = last

    def snapshot(self) -> list[npt.NDArray[Any]]:
        """Everything, as copies of arrays whose last axis is ``instruments``: many times faster than ``state``.

        Good for ``revert`` of a stream with the same ``plan.version_all``; the order of instruments is the caller's
        to keep.
        """
        return [array.copy() for array in (self._last, *self._live.memory)]

    def revert(self, snapshot: Sequence[npt.NDArray[Any]]) -> None:
        """Be as when the snapshot was taken. Raises UsageError, with nothing changed, for another stream's."""
        mine = (self._last, *self._live.memory)
        if [(a.shape, a.dtype) for a in mine] != [(a.shape, a.dtype) for a in snapshot]:
            raise UsageError("the snapshot is of another stream.", hint="the same features and instruments, please")
        for array, kept in zip(mine, snapshot, strict=True):
            array[...] = kept
        self._live.forget()

    def state(self) -> bytes:
        """Everything, as bytes: versioned and digested."""
        parts = [struct.pack("<q", len(self.instruments))]
        for i, name in enumerate(self.instruments):
            blob = encode(self.plan, self._live.state_of(i))
            text = name.encode()
            parts += [struct.pack("<qqq", len(text), int(self._last[i]), len(blob)), text, blob]
        body = b"".join(parts)
        return _MAGIC + hashlib.sha256(body).digest() + body

    def restore(self, blob: bytes) -> None:
        """Continue from ``state``: instruments that the blob does not know start afresh.

        Raises UsageError, with nothing changed, when the blob is damaged, another plan's, or knows other instruments.
        """
        found = _read(blob)
        unknown = sorted(set(found) - set(self.instruments))
        if unknown:
            raise UsageError(
                f"the state holds {', '.join(unknown)}, this stream does not.", hint="name them, or rebuild"
            )
        ready = {name: (decode(self.plan, state), last) for name, (state, last) in found.items()}
        fresh = self.plan.stages.fresh_state(), _NEVER
        for i, name in enumerate(self.instruments):
            state, self._last[i] = ready.get(name, fresh)
            self._live.restore(i, state)

    def _index(self, instrument: str) -> int:
        if instrument not in self._number:
            raise UnknownName("instrument of this stream", instrument, self.instruments)
        return self._number[instrument]

    def _time(self, bars: pl.DataFrame) -> int:
        """The one time of the frame."""
        found = np.unique(times(bars))
        if len(found) > 1:
            raise InputError(
                f"a step takes bars of one time, there are {len(found)}: {iso(int(found[0]))} … {iso(int(found[-1]))}.",
                hint="step once for each time, or use compute",
            )
        return int(found[0]) if len(found) else _NEVER

    def _rows(self, bars: pl.DataFrame) -> _Rows:
        """Who stands where in the frame; worked out anew only when the names change, which is seldom."""
        if "instrument" not in bars.columns:
            raise InputError("column instrument is missing.", hint="one row for each instrument, VENUE:SYMBOL")
        if not bars["instrument"].equals(self._seen.names):
            self._seen = self._look(bars["instrument"])
        return self._seen

    def _look(self, column: pl.Series) -> _Rows:
        names = [str(name) for name in column]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{twice} stands twice in one step.", hint="keep its final bar")
        for name in names:
            if name not in self._number and name not in self._others:
                self._index(name)
        mine = np.array([i for i, name in enumerate(names) if name in self._number], dtype=np.int64)
        who = np.array([self._number[names[i]] for i in mine], dtype=np.int64)
        return _Rows(column, mine, who, {name: i for i, name in enumerate(names) if name in self._others})

    def _check_later(self, who: Ints, ts: int) -> None:
        newest = int(self._last.max())
        if self.plan.crossing and len(who) and ts <= newest:
            raise InputError(
                f"the bars of {iso(ts)} come after a step of {iso(newest)}, whose comparisons are settled.",
                hint="step all bars of one time at once; late ones go through restore: take the state before them",
            )
        late = who[self._last[who] >= ts]
        if len(late):
            name, last = self.instruments[late[0]], int(self._last[late[0]])
            raise InputError(
                f"{name}: the bar {iso(ts)} is not later than the last one, {iso(last)}.",
                hint="a late or corrected bar goes through restore: take the state before it and step again",
            )


def _passes(value: Floats, bounds: Bounds) -> bool:
    """The gate of one value."""
    try:
        gate({"value": value}, {"value": bounds})
    except SchemaViolation:
        return False
    return True


def _read(blob: bytes) -> dict[str, tuple[bytes, int]]:
    """State and last time by instrument."""
    at = len(_MAGIC) + 32
    if not blob.startswith(_MAGIC) or hashlib.sha256(blob[at:]).digest() != blob[len(_MAGIC) : at]:
        raise UsageError("the state is damaged, or is no stream state.", hint="rebuild from the bars")
    (count,) = struct.unpack_from("<q", blob, at)
    at, found = at + 8, {}
    for _ in range(count):
        name_size, last, size = struct.unpack_from("<qqq", blob, at)
        at += 24
        found[blob[at : at + name_size].decode()] = blob[at + name_size : at + name_size + size], last
        at += name_size + size
    return found
