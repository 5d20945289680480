"""Two or more witnesses of the same bars, compared field by field: where they differ, by how much, who is alone.

1. Bars that at least two witnesses have are compared; a bar that only one has is counted, and is no disagreement.
2. Two values are the same when they differ by no more than ``SAME`` of the larger: sums of volumes in another order do.
3. Where three or more speak and all but one agree on a field, that one is the outlier.
4. A policy says whose bar stands, the whole bar: a row made of two sources' fields is one that nobody said.

``priority``: the witness whose source stands first in a list; of one source, the answer given later.
``agreement``: a bar on which two different sources agree; where no two do, what is stored stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.bars import KEY, PRICES, VALUES
from gapless.errors import UsageError

SAME = 1e-9  # of the larger value: more than float sums differ by, less than any tick
Policy = Literal["report", "priority", "agreement"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Summary:
    """How two or more witnesses of one instrument agree. ``only``: bars that one witness alone has, by its name."""

    instrument: str
    compared: int
    equal: int
    prices: int  # compared bars of which a price differs, not only the volume
    fields: Mapping[str, int]  # how many differ, by field
    only: Mapping[str, int]
    worst: float
    worst_at: int | None

    @property
    def differing(self) -> int:
        return self.compared - self.equal

    @property
    def share(self) -> float:
        """The share of compared bars that differ."""
        return self.differing / self.compared if self.compared else 0.0


@dataclass(frozen=True)
class Comparison:
    """What the witnesses said, laid side by side.

    ``keys``: instrument and ts of every bar. ``values``: (witness, field, bar), NaN where a witness has no such bar.
    ``sources``: (witness, bar), who said it. ``differs``: (field, bar), do those who have the bar disagree on it?
    """

    names: tuple[str, ...]
    keys: pl.DataFrame
    values: Floats
    sources: npt.NDArray[np.object_]
    differs: Bools

    @property
    def there(self) -> Bools:
        """(witness, bar): does it have the bar?"""
        return ~np.isnan(self.values[:, 0])

    def disagreements(self, ticks: Mapping[str, float] | None = None) -> pl.DataFrame:
        """One row a bar and field that differ: the values by witness, the size, and the outlier where there is one.

        ``absolute`` is the widest difference, ``relative`` that of the largest value, ``ticks`` that in price steps of
        the instrument (null for volumes, and where no step is known).
        """
        field, bar = np.nonzero(self.differs)
        order = np.lexsort((field, bar))
        field, bar = field[order], bar[order]
        said = self.values[:, field, bar]
        low, high = _extremes(said)
        steps = _steps(self.keys["instrument"].gather(bar), ticks or {})
        price = np.array([name != "volume" for name in VALUES])[field]
        inside = np.where(price, (high - low) / steps, np.nan)
        return self.keys[bar].with_columns(
            pl.Series("field", np.array(VALUES)[field], dtype=pl.String),
            *(pl.Series(name, said[at]).fill_nan(None) for at, name in enumerate(self.names)),
            pl.Series("absolute", high - low),
            pl.Series("relative", _share(high - low, said)),
            pl.Series("ticks", inside).fill_nan(None).round(6),
            pl.Series("outlier", _outliers(said, self.names), dtype=pl.String),
        )

    def summaries(self) -> list[Summary]:
        """One line an instrument, by name."""
        many = np.asarray(self.there.sum(axis=0) > 1, dtype=np.bool_)
        unlike = np.asarray(self.differs.any(axis=0), dtype=np.bool_)
        size = np.where(self.differs, _share_by_field(self.values), 0.0).max(axis=0, initial=0.0)
        names, ts = self.keys["instrument"].to_numpy(), self.keys["ts"].to_physical().to_numpy()
        return [self._summary(str(n), np.asarray(names == n), many, unlike, size, ts) for n in np.unique(names)]

    def _summary(self, name: str, mine: Bools, many: Bools, unlike: Bools, size: Floats, ts: Any) -> Summary:
        compared, differing = int((mine & many).sum()), int((mine & unlike).sum())
        alone = mine & ~many
        only = {n: int((self.there[k] & alone).sum()) for k, n in enumerate(self.names)}
        at = int(np.argmax(np.where(mine, size, -1.0)))
        worst, worst_at = (float(size[at]), int(ts[at])) if differing else (0.0, None)
        fields = {n: int(self.differs[k][mine].sum()) for k, n in enumerate(VALUES) if self.differs[k][mine].any()}
        prices = int(self.differs[: len(PRICES)][:, mine].any(axis=0).sum())
        return Summary(name, compared, compared - differing, prices, fields, only, worst, worst_at)

    def standing(self, policy: Policy, order: Sequence[str] = ()) -> npt.NDArray[np.int64]:
        """For each bar: the index of the witness whose bar stands, -1 where the policy decides nothing.

        ``order``: sources, the most trusted first; a source it does not name comes after all it does.
        """
        if policy == "priority":
            return self._by_priority(order)
        if policy == "agreement":
            return self._by_agreement()
        return np.full(self.keys.height, -1, dtype=np.int64)

    def _by_priority(self, order: Sequence[str]) -> npt.NDArray[np.int64]:
        ranks = {name: at for at, name in enumerate(order)}
        rank = np.vectorize(lambda s: ranks.get(s, len(ranks)), otypes=[np.int64])(self.sources)
        rank = np.where(self.there, rank, len(ranks) + 1)
        best = rank.min(axis=0)
        first = np.argmax(rank == best, axis=0)
        chosen = first.copy()
        source = np.take_along_axis(self.sources, first[None], axis=0)[0]
        for at in range(len(self.names)):  # of one source, the later answer
            chosen = np.where((rank[at] == best) & (self.sources[at] == source), at, chosen)
        return np.where(best <= len(ranks), chosen, -1)

    def _by_agreement(self) -> npt.NDArray[np.int64]:
        chosen = np.full(self.keys.height, -1, dtype=np.int64)
        for one in range(len(self.names) - 1, -1, -1):
            for other in range(len(self.names)):
                apart = (self.sources[one] != self.sources[other]) & self.there[one] & self.there[other]
                if other != one:
                    alike = same(self.values[one], self.values[other]).all(axis=0)
                    chosen = np.where(apart & alike, one, chosen)
        return chosen

    def overrides(self, stands: npt.NDArray[np.int64], stored: int = 0) -> npt.NDArray[np.int64]:
        """The bars at which another witness than the stored one stands, with other values."""
        at = np.maximum(stands, 0)
        winning = np.take_along_axis(self.values, at[None, None, :], axis=0)[0]
        unlike = ~same(winning, self.values[stored]).all(axis=0)
        return np.flatnonzero((stands >= 0) & (stands != stored) & self.there[stored] & unlike)


def lay_out(witnesses: Mapping[str, pl.DataFrame]) -> Comparison:
    """Frames of bars (instrument, ts, values, and ``source`` where rows say it) side by side; each unique by key."""
    if len(witnesses) < 2:
        raise UsageError("there is nothing to compare with.", hint="name a second witness: a source, 1m, or a lake")
    names = tuple(witnesses)
    keys = pl.concat([f.select(KEY) for f in witnesses.values()]).unique().sort(KEY)
    values = np.full((len(names), len(VALUES), keys.height), np.nan)
    sources = np.empty((len(names), keys.height), dtype=object)
    for at, (name, frame) in enumerate(witnesses.items()):
        own = frame if "source" in frame.columns else frame.with_columns(pl.lit(name).alias("source"))
        wide = keys.join(own.select(*KEY, *VALUES, "source"), on=KEY, how="left", maintain_order="left")
        values[at] = wide.select(VALUES).fill_null(float("nan")).to_numpy().T
        sources[at] = wide["source"].to_numpy()
    return Comparison(names, keys, values, sources, _differs(values))


def same(a: Floats, b: Floats) -> Bools:
    """Equal but for the order of a sum; a value that is not there equals none."""
    return np.asarray(np.abs(a - b) <= SAME * np.maximum(np.abs(a), np.abs(b)), dtype=np.bool_)


def _differs(values: Floats) -> Bools:
    low, high = _extremes(values)
    return np.asarray(high - low > SAME * np.maximum(np.abs(low), np.abs(high)), dtype=np.bool_)


def _extremes(values: Floats) -> tuple[Floats, Floats]:
    """Least and greatest over witnesses, those without the bar left out; NaN where nobody has it."""
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)


def _share(width: Floats, said: Floats) -> Floats:
    top = np.fmax.reduce(np.abs(said), axis=0)
    return np.divide(width, top, out=np.zeros_like(width), where=top > 0)


def _share_by_field(values: Floats) -> Floats:
    low, high = _extremes(values)
    return _share(high - low, values)


def _outliers(said: Floats, names: Sequence[str]) -> list[str | None]:
    """For each disagreement: the one witness against whom all the others, two at least, agree."""
    there = ~np.isnan(said)
    found = np.full(said.shape[1], -1)
    for at in range(len(names)):
        others = np.delete(said, at, axis=0)
        low, high = _extremes(others)
        agree = (high - low <= SAME * np.maximum(np.abs(low), np.abs(high))) & (np.delete(there, at, axis=0).sum(0) > 1)
        found = np.where(agree & there[at] & ~same(said[at], low), at, found)
    return [None if at < 0 else names[at] for at in found.tolist()]


def _steps(instruments: pl.Series, ticks: Mapping[str, float]) -> Floats:
    found = instruments.replace_strict(ticks, default=None, return_dtype=pl.Float64) if ticks else None
    return np.full(len(instruments), np.nan) if found is None else found.fill_null(float("nan")).to_numpy()


def tick_of(prices: Floats) -> float | None:
    """The price step that a sample of prices lies on; None for none, or prices of more than ten decimals.

    >>> tick_of(np.array([10.05, 10.15, 9.9])), tick_of(np.array([3.0, 7.0]))
    (0.05, 1.0)
    """
    seen = np.unique(prices[np.isfinite(prices)])
    for decimals in range(11):
        scaled = seen * 10.0**decimals
        whole = np.rint(scaled)
        if len(seen) and np.all(np.abs(scaled - whole) < 1e-4) and whole[-1] < 2**53:
            step = int(np.gcd.reduce(np.diff(whole, prepend=0).astype(np.int64)))
            step = step if len(seen) > 2 else 1
            return float(step / 10**decimals)
    return None
