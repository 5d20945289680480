"""Stories of a rule: firings that wait for others of their group to follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gapless.alerts.alert import Direction
from gapless.alerts.rule import Spread

Key = tuple[str, Direction]


@dataclass(slots=True)
class Story:
    """A firing at ``ts``, and who followed it since, in order."""

    instrument: str
    ts: int
    label: str
    direction: Direction
    followers: dict[str, None] = field(default_factory=dict)  # as an ordered set


@dataclass(slots=True)
class Stories:
    """The open stories of one rule.

    Followers are counted among the group's instruments in ``labels``. A story that has enough closes, and with it every
    other one of its group in its direction or by the same instrument: one spread is told once.
    """

    spread: Spread
    labels: Mapping[str, str]  # group by instrument
    open: list[Story] = field(default_factory=list)  # by time, then instrument
    size: dict[str, int] = field(default_factory=dict)  # members by group

    def __post_init__(self) -> None:
        for label in self.labels.values():
            self.size[label] = self.size.get(label, 0) + 1

    def begin(self, ts: int, fired: Iterable[tuple[str, Direction]]) -> None:
        """Firings of one bar, by instrument."""
        self.open += [Story(name, ts, self.labels[name], d) for name, d in fired if name in self.labels]

    def expire(self, ts: int) -> None:
        """Forget what began more than the window before ``ts``."""
        gone = next((i for i, s in enumerate(self.open) if ts - s.ts <= self.spread.window), len(self.open))
        del self.open[:gone]

    def follow(self, following: Callable[[], Iterable[tuple[str, Direction]]]) -> list[Story]:
        """The stories that have enough followers with those of one later bar, oldest first.

        ``following`` gives the instruments for which the condition holds, by name; it is asked only when a story waits.
        """
        new: dict[Key, list[str]] = {}
        for name, direction in following() if self.open else ():
            if name in self.labels:
                new.setdefault((self.labels[name], direction), []).append(name)
        for story in self.open if new else ():
            self._add(story, new.get((story.label, story.direction), []))
        return self._close() if new else []

    def _add(self, story: Story, names: list[str]) -> None:
        story.followers.update(dict.fromkeys(n for n in names if n != story.instrument))

    def _close(self) -> list[Story]:
        done: list[Story] = []
        for story in self.open:
            if self._enough(story) and not any(_same(story, other) for other in done):
                done.append(story)
        self.open = [s for s in self.open if not any(_same(s, other) for other in done)] if done else self.open
        return done

    def others(self, label: str) -> int:
        """How many could follow."""
        return self.size[label] - 1

    def _enough(self, story: Story) -> bool:
        found = len(story.followers)
        return found >= self.spread.followers and found / self.others(story.label) >= self.spread.share


def _same(a: Story, b: Story) -> bool:
    return (a.label, a.direction) == (b.label, b.direction) or a.instrument == b.instrument
