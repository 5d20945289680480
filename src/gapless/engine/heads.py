"""How far each series of a live feed has been heard, and by when there should be news of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gapless.protocols import Heard
from gapless.series import Series
from gapless.spans import Span


@dataclass(slots=True)
class Head:
    """One series. ``due``: the venue's time by which there should be news, None while nobody listens.

    ``next``: the open of the first bar that was not heard as final, None before anybody listened.
    """

    series: Series
    due: int | None = None
    next: int | None = None
    final: Heard | None = None
    stale: bool = False

    def joined(self, at: int) -> None:
        """From now on it is listened to: the bar that forms at ``at`` is the first to be heard of.

        What was due before, and was not heard, stays due: the next final bar shows that it was skipped.
        """
        size = self.series.timeframe
        self.due, self.stale = size.floor(at) + size.micros, False
        if self.next is None:
            self.next = size.floor(at)

    def left(self) -> None:
        """Nobody listens to it now."""
        self.due, self.stale = None, False

    def again(self, bar: Heard) -> bool:
        """Is this the newest final bar once more, word for word?"""
        final = self.final
        return bar.final and final is not None and (final.ts, final.values) == (bar.ts, bar.values)

    def skipped(self, bar: Heard) -> Span | None:
        """The bars that should have been final before this one, and were not told."""
        beyond = bar.final and self.next is not None and bar.ts > self.next
        return Span(self.next, bar.ts) if beyond and self.next is not None else None

    def heard(self, bar: Heard) -> None:
        """Move on: after a final bar there is news when the next one closes, at the latest."""
        after = bar.ts + self.series.timeframe.micros
        due = after + self.series.timeframe.micros if bar.final else after
        if self.due is None or due > self.due:
            self.due, self.stale = due, False
        if bar.final and (self.final is None or bar.ts >= self.final.ts):
            self.final, self.next = bar, after


class Heads:
    """All series of a feed, by instrument and timeframe."""

    def __init__(self, series: Iterable[Series]) -> None:
        self._heads = {(str(s.instrument), s.timeframe.name): Head(s) for s in series}

    def of(self, bar: Heard) -> Head | None:
        """The series this bar belongs to, if it is one of ours."""
        return self._heads.get((bar.instrument, bar.timeframe))

    def among(self, series: Iterable[Series]) -> list[Head]:
        """The heads of some series."""
        return [self._heads[str(s.instrument), s.timeframe.name] for s in series]

    def fallen_behind(self, by: int) -> list[Head]:
        """Those that became stale: news was due before ``by``, and others of their timeframe have moved on since."""
        newest: dict[int, int] = {}
        for head in self._heads.values():
            if head.due is not None:
                size = head.series.timeframe.micros
                newest[size] = max(head.due, newest.get(size, head.due))
        found = [h for h in self._heads.values() if not h.stale and h.due is not None and h.due < by]
        found = [h for h in found if h.due is not None and h.due < newest[h.series.timeframe.micros]]
        for head in found:
            head.stale = True
        return found

    def stale(self) -> list[Series]:
        """Those that are behind now."""
        return [head.series for head in self._heads.values() if head.stale]

    def mute(self, series: Sequence[Series], by: int) -> bool:
        """Is there no news of any of these, a whole bar after it was due?"""
        heads = self.among(series)
        return bool(heads) and all(h.due is not None and h.due + h.series.timeframe.micros < by for h in heads)
