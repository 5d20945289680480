"""Funding rates and open interest of the simulated USD-M market: values at times, as ``value_desk.py`` serves them.

Every value follows from (seed, symbol, time). Rates come every eight, four or one hours (by symbol), some milliseconds
late, as the real ones do; open interest every five minutes on the dot. What a test puts into ``revised`` is served in
its place from then on, as when a venue corrects itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gapless.errors import UnknownName
from gapless.protocols import Clock
from gapless.sim.blocks import Truth
from gapless.sim.chance import draw
from gapless.spans import DAY, HOUR, MINUTE, Span

NAMES = ("funding_rate", "open_interest")
INTEREST_EVERY = 5 * MINUTE


class ValueTruth:
    """What the venue knows by ``clock``. ``revised``: (name, symbol, ts in µs) → another text of that value."""

    def __init__(self, truth: Truth, seed: int, clock: Clock) -> None:
        self.truth, self.seed, self.clock = truth, seed, clock
        self.revised: dict[tuple[str, str, int], str] = {}
        self._made: dict[str, Callable[[str, int, int], Iterator[tuple[int, str]]]] = {
            "funding_rate": self._rates, "open_interest": self._interest,
        }  # fmt: skip

    def values(self, name: str, symbol: str, span: Span) -> list[tuple[int, str]]:
        """(ts in µs, text) of every value in the span that there is by now; UnknownName for another name."""
        if name not in self._made:
            raise UnknownName("kind of values", name, NAMES)
        inside = span.intersect(self.truth.listed(symbol)).intersect(
            Span(span.start, max(span.start, self.clock() + 1))
        )
        found = self._made[name](symbol, inside.start, inside.end) if inside else iter(())
        return [
            (ts, self.revised.get((name, symbol, ts), text)) for ts, text in found if inside.start <= ts < inside.end
        ]

    def _rates(self, symbol: str, start: int, end: int) -> Iterator[tuple[int, str]]:
        every = (8, 8, 4, 1)[int(draw(self.seed, "funding", symbol) * 4)] * HOUR
        for due in range(start // every * every, end, every):
            late = int(draw(self.seed, "late", symbol, due) * 16) * 1000
            yield due + late, f"{1e-4 + 6e-4 * (draw(self.seed, 'rate', symbol, due) - 0.5):.8f}"

    def _interest(self, symbol: str, start: int, end: int) -> Iterator[tuple[int, str]]:
        level = 1e4 * (1 + 9 * draw(self.seed, "interest", symbol))
        for ts in range(-(-start // INTEREST_EVERY) * INTEREST_EVERY, end, INTEREST_EVERY):
            wave = np.sin(2 * np.pi * ts / DAY + level) * 0.1
            yield ts, f"{level * (1 + wave + 0.02 * draw(self.seed, 'interest', symbol, ts)):.3f}"
