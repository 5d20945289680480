"""What happened, as values. The engine says them; observers (progress, audit, metrics, logs) listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gapless.series import Series
from gapless.spans import Span


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins: what it is and how much it means to do, in total and of each series (where that is known)."""

    run: str
    verb: str
    tasks: int
    bars: int
    series: Mapping[Series, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replanned:
    """There is more or less to do than was said at the start: so many tasks and bars, by series too."""

    tasks: int
    bars: int
    series: Mapping[Series, int]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source answered one page."""

    series: Series
    source: str
    span: Span
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Retried:
    """A request went wrong and will be made again after ``delay`` seconds."""

    source: str
    reason: str
    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Paused:
    """A source asked everybody to wait: pacing, Retry-After, or a ban."""

    source: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClockSkewed:
    """The source's clock is ``seconds`` ahead of this machine's (behind, when negative)."""

    source: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """Rows are durable."""

    series: Series
    written: int
    unchanged: int
    corrected: int
    duplicate: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class TaskDone:
    """One task ended; ``error`` is empty when it went well."""

    series: Series
    span: Span
    error: str


@dataclass(frozen=True, slots=True)
class FeaturesBuilt:
    """Feature rows of one series are durable."""

    series: Series
    rows: int
    seconds: float


NotifyOutcome = Literal["sent", "retried", "failed", "suppressed"]


@dataclass(frozen=True, slots=True)
class Notified:
    """What became of a try to tell somebody; ``id`` is the delivery's, ``error`` why it did not go out."""

    channel: str
    id: str
    outcome: NotifyOutcome
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """Stored feature values of one series were computed again: how many, and of how many the bits differ."""

    series: Series
    values: int
    differing: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over."""

    run: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Connected:
    """A live feed tells of these series from now on: what closes after ``at`` (the venue's clock, µs) will be heard."""

    source: str
    series: tuple[Series, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A live feed fell silent for these series; ``since``: the venue's newest stamp on that connection, µs.

    What closed a little before ``since`` may not have been told yet; a ``Skipped`` will say so.
    """

    source: str
    series: tuple[Series, ...]
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The newest bar heard of a series ended at ``since`` (µs), long ago by the venue's clock; others moved on."""

    source: str
    series: Series
    since: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A live feed told a later bar of the series as final, and none in this span, where it was due."""

    source: str
    series: Series
    span: Span


@dataclass(frozen=True, slots=True)
class Garbled:
    """A live feed sent what cannot be read; ``reason`` shows how it begins."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class MomentDecided:
    """A bar time of a timeframe is decided and durable, ``seconds`` after its last bar was received."""

    timeframe: str
    ts: int
    bars: int
    missing: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class AlertFired:
    """An alert stands, or (``withdrawn``) stands no more; as its ``to_dict`` gives it."""

    alert: Mapping[str, object]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class PositionMoved:
    """A paper position's event stands, or (``withdrawn``) stands no more; as its ``to_dict`` gives it."""

    event: Mapping[str, object]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Revised:
    """Late or corrected bars: ``bars`` of them, everything from ``since`` on was decided again."""

    timeframe: str
    since: int
    bars: int


@dataclass(frozen=True, slots=True)
class BoundBroken:
    """A live value outside its feature's declared bounds was not kept."""

    series: Series
    feature: str
    ts: int


@dataclass(frozen=True, slots=True)
class Degraded:
    """A part of the live run is not well."""

    part: str
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """It is well again."""

    part: str
    since: int
    until: int


Event = (
    RunStarted | Replanned | Fetched | Retried | Paused | ClockSkewed | RowsWritten | TaskDone | FeaturesBuilt
    | Notified | RunEnded | Verified
    | Connected | Disconnected | Stale | Skipped | Garbled
    | MomentDecided | AlertFired | PositionMoved | Revised | BoundBroken | Degraded | Recovered
)  # fmt: skip
Observer = Callable[[Event], None]


def nobody(_: Event) -> None:
    """The observer that does not listen."""
