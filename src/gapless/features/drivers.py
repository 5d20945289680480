"""The two drivers around a program: one symbol along time, and many symbols bar by bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.features import operators as code
from gapless.features.ops import COMPILED, Kernels
from gapless.features.program import Floats, Ints, Program

BLOCK = 2048  # bars at once: all slots together should stay in the second-level cache


def run_time(
    program: Program,
    columns: Mapping[str, Floats],
    state: Floats,
    kernels: Kernels = COMPILED,
    block: int = BLOCK,
    into: tuple[Floats, int] | None = None,
) -> tuple[list[Floats], Floats]:
    """One symbol over its bars, in blocks: the outputs, and the state after the last bar.

    Memory is the outputs plus (slots × (longest lag + block)) numbers, however many bars there are. ``into``: a table
    (output, bar) to put the outputs in, and the bar in it where they begin.
    """
    count = len(next(iter(columns.values())))
    reach = program.reach
    width = min(max(block, reach), max(count, 1))
    buffer = np.empty((program.slots, reach + width))  # nothing is read before it has been written
    for slot, value in program.consts:
        buffer[slot] = value
    numbers = _unpack(program, state, buffer)
    outputs, first = into or (np.empty((len(program.outputs), count)), 0)  # one block: large pages, fewer faults
    for start in range(0, count, width):
        bars = min(width, count - start)
        for name, slot in program.inputs:
            buffer[slot, reach : reach + bars] = columns[name][start : start + bars]
        kernels.run_batch(program, buffer, numbers, outputs, reach, reach + bars, first + start)
    return list(outputs[:, first : first + count]), _pack(program, numbers, buffer, kernels)


def _unpack(program: Program, state: Floats, buffer: Floats) -> Floats:
    """Put the kept values before the first bar; the recursions' numbers."""
    buffer.reshape(-1)[_kept_places(program, buffer.shape[1])] = state[program.numbers :]
    return state[: program.numbers].copy()


def _pack(program: Program, numbers: Floats, buffer: Floats, kernels: Kernels) -> Floats:
    raw = np.concatenate([numbers, buffer.reshape(-1)[_kept_places(program, buffer.shape[1])]])
    state = np.empty_like(raw)
    kernels.copy(raw, state)
    return state


def _kept_places(program: Program, width: int) -> Ints:
    """Where the kept values stand in the buffer, row after row, in the order of the state vector."""
    slots, kept = program.kept.T
    first = slots * width + program.reach - kept
    places: Ints = np.repeat(first - np.cumsum(kept) + kept, kept) + np.arange(kept.sum())
    return places


class Live:
    """Many symbols, one bar at a time; each has its own history, so one without a bar simply does not step."""

    def __init__(self, program: Program, symbols: int, kernels: Kernels = COMPILED) -> None:
        self.program, self.kernels = program, kernels
        sizes = [1 << (kept - 1).bit_length() for kept in program.kept[:, 1].tolist()]
        self.rings: Ints = np.full((program.slots, 2), -1, dtype=np.int64)
        for (slot, _), base, size in zip(program.kept, np.cumsum([0, *sizes]), sizes, strict=False):
            self.rings[slot] = base, size - 1
        self.current = np.full((program.slots + 3, symbols), np.nan)
        for slot, value in program.consts:
            self.current[slot] = value
        self.numbers = np.zeros((program.numbers, symbols))
        self.history = np.full((sum(sizes), symbols), np.nan)
        self.heads: Ints = np.zeros(symbols, dtype=np.int64)
        self.places, self.shelf = _shelf(program, symbols)

    def step(self, columns: Mapping[str, Floats], who: Ints) -> list[Floats]:
        """One bar of the symbols ``who`` (their numbers, each once); the outputs in that order."""
        count = len(who)
        for name, slot in self.program.inputs:
            self.current[slot, :count] = columns[name]
        outputs = np.empty((len(self.program.outputs), count))
        self.kernels.run_live(
            self.program, self.current, self.numbers, self.history, self.rings, self.heads, self.shelf, self.places,
            who, outputs,
        )  # fmt: skip
        return list(outputs)

    @property
    def memory(self) -> tuple[npt.NDArray[Any], ...]:
        """All that lasts from bar to bar, live: arrays whose last axis is the symbols; ``forget`` after a change."""
        return self.numbers, self.history, self.heads

    def forget(self) -> None:
        """The history was put elsewhere: sorted windows are made anew from it."""
        self.shelf[...] = -1.0

    def state_of(self, symbol: int) -> Floats:
        """The state vector of one symbol, as ``run_time`` takes it."""
        parts = [self.numbers[:, symbol]]
        parts += [self.history[self._rows(slot, kept, symbol), symbol] for slot, kept in self.program.kept]
        state = np.concatenate(parts)
        self.kernels.copy(state.copy(), state)
        return state

    def restore(self, symbol: int, state: Floats) -> None:
        """Put one symbol into a state that ``state_of`` or ``run_time`` gave."""
        self.heads[symbol] = 0
        for place, size in self._windows():
            self.shelf[0, place + symbol * size] = -1.0
        self.numbers[:, symbol] = state[: self.program.numbers]
        at = self.program.numbers
        for slot, kept in self.program.kept:
            self.history[self._rows(slot, kept, symbol), symbol] = state[at : at + kept]
            at += kept

    def _windows(self) -> list[tuple[int, int]]:
        """Where the sorted windows of each ordered instruction begin, and the size of one."""
        sizes = self.program.params[:, 0].astype(np.int64) + 1
        return [(int(p), int(n)) for p, n in zip(self.places, sizes, strict=True) if p >= 0]

    def _rows(self, slot: int, kept: int, symbol: int) -> Ints:
        """Rows of the ring that hold the last values, oldest first."""
        base, mask = self.rings[slot]
        rows: Ints = base + (np.arange(self.heads[symbol] - kept, self.heads[symbol]) & mask)
        return rows


def _shelf(program: Program, symbols: int) -> tuple[Ints, Floats]:
    """Room for the sorted windows of every symbol, and where those of each instruction begin (−1: it has none)."""
    places: Ints = np.full(len(program.rows), -1, dtype=np.int64)
    total = 0
    for i, (op, length) in enumerate(zip(program.rows[:, 0], program.params[:, 0], strict=True)):
        if code.MEDIAN <= op <= code.ROBUST_ZSCORE:
            places[i], total = total, total + symbols * (int(length) + 1)
    return places, np.full((1, total), -1.0)
