"""What gapless must know of a source to use it: one that is built in, or one that another package brings along.

A package brings a source by an entry point of the group ``gapless.sources``: the entry's name is the source's, and it
points to a source, or to a function that makes one (docs/adapters.md). It is loaded when it is named, not before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gapless.errors import UsageError
from gapless.protocols import Archive, LiveSource, SettlesDays, Source

GROUP = "gapless.sources"
_NEEDED = (
    "name", "venue", "base_url", "limits", "settle", "dense",
    "fetch", "listings", "server_time", "weight_of", "used", "refusal",
)  # fmt: skip


@dataclass(frozen=True)
class Habits:
    """What a source says of itself, whatever it is asked; see ``protocols.Source``. Times in µs."""

    dense: bool
    settle: int
    day_settle: int

    @classmethod
    def of(cls, made: Source) -> Habits:
        return cls(made.dense, made.settle, made.day_settle if isinstance(made, SettlesDays) else made.settle)


@dataclass(frozen=True)
class Vendor:
    """A source gapless knows: the venue it serves, and how it is made."""

    venue: str
    make: Callable[..., Source]
    live: Callable[..., LiveSource] | None = None
    beside: str = ""  # where the websockets are, on an address that serves both
    archive: Callable[..., Archive] | None = None
    told: Habits | None = None  # where a source should not be made to learn of them

    @property
    def habits(self) -> Habits:
        """What its sources say of themselves, unless the configuration says otherwise."""
        return self.told or Habits.of(self.make())

    def made(self, name: str, options: Mapping[str, Any], all_options: Iterable[str] = ()) -> Source:
        """The source with these options; UsageError for one that it does not have, of those there are."""
        known = inspect.signature(self.make).parameters
        unknown = [option for option in options if option not in known]
        if unknown:
            has = ", ".join(option for option in all_options if option in known) or "none"
            raise UsageError(f"source {name} has no option {unknown[0]}.", hint=f"it has: {has}")
        return self.make(**options)


def plugged_names() -> list[str]:
    """The sources that installed packages bring."""
    from importlib.metadata import entry_points

    return sorted({entry.name for entry in entry_points(group=GROUP)})


def plugged(name: str) -> Vendor | None:
    """The source that an installed package brings under this name; None where there is none."""
    from importlib.metadata import entry_points

    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        return None
    try:
        brought = found.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the source {name} cannot be loaded from {found.value}: {error}.",
            hint="mend or remove the package that brings it",
        ) from error
    try:
        sample = brought if hasattr(brought, "fetch") and not isinstance(brought, type) else brought()
    except TypeError as error:
        raise UsageError(
            f"the source {name} cannot be made by {found.value}(): {error}.",
            hint="what the entry point names is a source, or makes one without arguments",
        ) from error
    missing = [part for part in _NEEDED if not hasattr(sample, part)]
    if missing:
        raise UsageError(
            f"{found.value} is no source: it has no {', '.join(missing)}.",
            hint="protocols.Source says what a source has; gapless.conformance checks it",
        )
    make = (lambda: sample) if sample is brought else brought
    return Vendor(sample.venue, make, told=Habits.of(sample))


def plugged_for(venue: str) -> list[str]:
    """The sources of installed packages that serve a venue; of those that can be loaded."""
    found = []
    for name in plugged_names():
        with suppress(UsageError):  # named by nobody; whoever names it is told
            if (vendor := plugged(name)) is not None and vendor.venue == venue:
                found.append(name)
    return found
