"""Binance's kline rows, printed from blocks: twelve fields, decimals as text, times in milliseconds.

A backfill asks for every page once, so printing is as hot as serving. A day is printed as one matrix of characters
(one row a bar, numbers right-aligned), and the leading zeros are then masked away: about 1 µs a bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gapless.sim.blocks import CLOSE, HIGH, LOW, OPEN, QUOTE, TAKER, TAKER_QUOTE, TRADES, VOLUME, Block
from gapless.spans import Micros, Timeframe

Chars = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_FOUR = np.frombuffer("".join(f"{i:04d}" for i in range(10_000)).encode(), np.uint8).view(np.uint32)
_COMMA, _QUOTED = b",", b'","'
# The order of the wire; None marks the close time, which stands between volume and turnover.
_ORDER = (OPEN, HIGH, LOW, CLOSE, VOLUME, None, QUOTE, TRADES, TAKER, TAKER_QUOTE)


@dataclass(frozen=True, slots=True)
class Printed:
    """Bars as text: row i is ``text[edges[i]:edges[i + 1]]``, with the comma that follows it."""

    ts: Micros
    text: bytes
    edges: list[int]

    def rows(self, first: int, last: int) -> bytes:
        """Rows ``first`` to ``last`` (exclusive), a comma after each."""
        return self.text[self.edges[first] : self.edges[last]]


def print_rows(block: Block, timeframe: Timeframe, *, pad: bool) -> Printed:
    """The rows of a block. ``pad``: eight decimals throughout (spot), else as many as the tick and step have (USD-M)."""
    if not len(block):
        return Printed(block.ts, b"", [0])
    if block.scale is None:
        return _join(block.ts, _plain_rows(block, timeframe))
    chars, keep = _matrix(block, timeframe, pad)
    edges = np.concatenate(([0], np.cumsum(keep.sum(axis=1))))
    return Printed(block.ts, chars[keep].tobytes(), edges.tolist())


def split(page: bytes) -> list[bytes]:
    """The rows of a printed page (rows with a comma after each), without the commas.

    >>> split(b'[1,"2"],[3,"4"],')
    [b'[1,"2"]', b'[3,"4"]']
    """
    return [row + b"]" for row in page.split(b"],")[:-1]]


def close_time(open_ms: int, timeframe: Timeframe) -> int:
    """The last millisecond of the bar that opens at ``open_ms``."""
    return open_ms + timeframe.micros // 1000 - 1


def _matrix(block: Block, timeframe: Timeframe, pad: bool) -> tuple[Chars, npt.NDArray[np.bool_]]:
    """All characters of all rows, and which of them stand in the text."""
    assert block.scale is not None
    units, digits = block.to_units(), block.scale.digits
    opened = block.ts // 1000
    parts = [_literal(b"["), _number(opened, 0, 0), _literal(b',"')]
    for column in _ORDER:
        if column is None:
            parts += [_literal(b'",'), _number(close_time(opened, timeframe), 0, 0), _literal(b',"')]
        elif column == TRADES:
            parts += [_literal(b'",'), _number(units[column], 0, 0), _literal(b',"')]
        else:
            wide = 8 - digits[column] if pad else 0
            parts += [_number(units[column], digits[column], wide), _literal(_between(column))]
    n = len(block)
    chars = np.concatenate([np.broadcast_to(c, (n, c.shape[1])) for c, _ in parts], axis=1)
    keep = np.concatenate([np.broadcast_to(k, (n, k.shape[1])) for _, k in parts], axis=1)
    return chars, keep


def _between(column: int) -> bytes:
    """What follows a decimal: nothing where the next part brings its own quotes."""
    if column in (VOLUME, QUOTE):
        return b""
    return b'","0"],' if column == TAKER_QUOTE else _QUOTED


def _literal(text: bytes) -> tuple[Chars, npt.NDArray[np.bool_]]:
    chars = np.frombuffer(text, np.uint8).reshape(1, -1)
    return chars, np.ones(chars.shape, np.bool_)


def _number(values: Ints, decimals: int, zeros: int) -> tuple[Chars, npt.NDArray[np.bool_]]:
    """Right-aligned decimal text of ``values / 10**decimals`` and ``zeros`` more zeros; the mask drops leading zeros."""
    length = np.maximum(np.searchsorted(_POWERS, values, side="right"), decimals + 1)
    width = int(length.max())
    groups = -(-width // 4)
    words = np.empty((len(values), groups), np.uint32)
    rest = values
    for at in range(groups - 1, -1, -1):
        rest, low = np.divmod(rest, 10_000)
        words[:, at] = _FOUR[low]
    chars = words.view(np.uint8)[:, 4 * groups - width :]
    keep = np.arange(width) >= (width - length)[:, None]
    if decimals:
        chars, keep = (np.insert(a, width - decimals, fill, axis=1) for a, fill in ((chars, 46), (keep, True)))
        tail = np.broadcast_to(np.uint8(48), (len(values), zeros))
        chars = np.concatenate((chars, tail), axis=1)
        keep = np.concatenate((keep, np.ones(tail.shape, np.bool_)), axis=1)
    elif zeros:
        return _whole_with_zeros(chars, keep, zeros)
    return chars, keep


def _whole_with_zeros(chars: Chars, keep: npt.NDArray[np.bool_], zeros: int) -> tuple[Chars, npt.NDArray[np.bool_]]:
    tail = np.frombuffer(b"." + b"0" * zeros, np.uint8)
    shape = (len(chars), len(tail))
    return np.hstack((chars, np.broadcast_to(tail, shape))), np.hstack((keep, np.ones(shape, np.bool_)))


def _plain_rows(block: Block, timeframe: Timeframe) -> list[bytes]:
    """Bars that are no whole multiples of anything: each value in the shortest text that reads back as itself."""
    rows = []
    for ts, values in zip(block.ts.tolist(), block.values.T, strict=True):
        texts = [np.format_float_positional(v, trim="-") for v in values]
        head = ",".join(f'"{t}"' for t in texts[: VOLUME + 1])
        middle = f'{close_time(ts // 1000, timeframe)},"{texts[QUOTE]}",{int(values[TRADES])}'
        rows.append(f'[{ts // 1000},{head},{middle},"{texts[TAKER]}","{texts[TAKER_QUOTE]}","0"],'.encode())
    return rows


def _join(ts: Micros, rows: Sequence[bytes]) -> Printed:
    edges = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return Printed(ts, b"".join(rows), edges.tolist())
