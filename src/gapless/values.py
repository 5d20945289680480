"""Values at times beside bars (funding rates, open interest), and how bars get them. Pure; docs/decisions/0012.

1. A bar that has no value of its own gets the newest one known **at its open**, if that is not older than its age here.
2. What a feature computed from such bars has consumed is the bars and the values that could reach them: ``consumed``
   puts both into the digests of the bars, so that a value that comes late, or is corrected, makes stale what read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.bars import TS
from gapless.errors import UnknownName
from gapless.segments import Piece
from gapless.spans import HOUR, MINUTE, Micros

Floats = npt.NDArray[np.float64]
AGES: Mapping[str, int] = {"funding_rate": 9 * HOUR, "open_interest": 2 * HOUR}  # an older value says nothing of a bar
USUAL: Mapping[str, int] = {"funding_rate": 8 * HOUR, "open_interest": 5 * MINUTE}  # how often they mostly come
VALUES: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "ts": TS,
    "value": pl.Float64(),
    "source": pl.String(),
    "known_at": TS,
}


def check_name(name: str) -> str:
    """The name, if values are called so; UnknownName otherwise."""
    if name not in AGES:
        raise UnknownName("kind of values", name, AGES)
    return name


def joined(bars: pl.DataFrame, values: pl.DataFrame, name: str) -> pl.DataFrame:
    """Bars with column ``name``: their own where they have one, else the newest value known at their open, or null.

    ``bars``: instrument, ts; ``values``: instrument, ts, value; both sorted by (instrument, ts).

    >>> bars = pl.DataFrame({"instrument": ["A", "A"], "ts": [0, 60], "funding_rate": [None, None]})
    >>> rates = pl.DataFrame({"instrument": ["A"], "ts": [3], "value": [0.5]})
    >>> joined(bars, rates, "funding_rate")["funding_rate"].to_list()
    [None, 0.5]
    """
    found = np.full(bars.height, np.nan)
    told = {str(who): (_times(part), part["value"].to_numpy()) for (who,), part in _by_instrument(values)}
    ts, at = _times(bars), 0
    runs = bars["instrument"].rle().struct.unnest() if bars.height else pl.DataFrame({"len": [], "value": []})
    for size, who in zip(runs["len"], runs["value"], strict=True):
        if who in told:
            found[at : at + size] = newest(ts[at : at + size], *told[who], AGES[name])
        at += size
    joint = pl.Series(name, found, dtype=pl.Float64).fill_nan(None)
    own = bars[name].cast(pl.Float64) if name in bars.columns else joint
    return bars.with_columns(pl.select(pl.coalesce(own, joint)).to_series().alias(name))


def newest(ts: Micros, when: Micros, values: Floats, age: int) -> Floats:
    """For each time the newest value told by then, NaN where there is none or it is older than ``age``; both sorted."""
    if not len(when):
        return np.full(len(ts), np.nan)
    at = np.searchsorted(when, ts, side="right") - 1
    fresh = (at >= 0) & (ts - when[np.maximum(at, 0)] <= age)
    return np.where(fresh, values[np.maximum(at, 0)], np.nan)


def consumed(pieces: Sequence[Piece], name: str, when: Micros, known_at: Micros) -> list[Piece]:
    """The pieces, each digest with the values (when, and when learned; sorted) that its bars may read.

    A piece that no value reaches stays what it was, so that values which come later leave what is built before them.
    """
    age, stamps = AGES[name], np.stack((when, known_at), axis=1).astype("<i8") if len(when) else None
    if stamps is None:
        return list(pieces)
    firsts = np.array([p.first for p in pieces], dtype=np.int64)
    lasts = np.array([p.last for p in pieces], dtype=np.int64)
    begin, end = np.searchsorted(when, firsts - age), np.searchsorted(when, lasts, side="right")
    salt = f"{name} {age} ".encode()
    return [
        piece.also(salt, stamps[a:b].tobytes()) if a < b else piece
        for piece, a, b in zip(pieces, begin.tolist(), end.tolist(), strict=True)
    ]


def _times(frame: pl.DataFrame) -> Micros:
    return frame["ts"].to_physical().to_numpy()


def _by_instrument(values: pl.DataFrame) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return list(values.group_by("instrument", maintain_order=True)) if values.height else []
