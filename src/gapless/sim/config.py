"""Every option of the simulated venue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from gapless.errors import UsageError
from gapless.series import Instrument
from gapless.sim.clock import VenueClock
from gapless.sim.faults import parse_faults
from gapless.spans import MINUTE, Span, SpanSet, Timeframe, parse_time

Reader = Callable[[Instrument, Timeframe, Span], pl.DataFrame]


@dataclass(frozen=True)
class SimConfig:
    """How the venue is to be. Times are ISO-8601 text or µs since the epoch.

    The market: ``seed``, ``symbols`` (how many, or which), ``start`` and ``end`` of all listings, ``silence`` ("flat"
    or "omit"), and how often interruptions come; ``outages`` and ``halts`` (by symbol) replace the random ones on both
    APIs. ``reader`` replays bars instead (give ``symbols`` by name, and ``listed`` to spare the reader a
    look at everything it has).
    Other vendors speak of other venues: ``equities`` are the stocks of each (None: some known ones), ``splits`` theirs,
    (first day at the new price, old shares, new shares) by symbol, ``dividends`` (first day without it, cash a share);
    ``keys`` open those that ask for one.
    The clock: ``now`` (None: the host's) and ``speed``. Faults: see ``parse_faults``.
    Limits: ``weight_limit`` None takes the venue's own, 0 counts nothing; ``window``, ``ban`` and ``hold`` (how long a
    ``timeout`` fault holds a request) are real seconds.
    Websockets: ``updates`` forming messages a minute of each stream; ``stream_limit`` streams of a connection,
    ``ping_every`` and ``pong_within`` real seconds (None: the venue's own), ``lifetime`` real seconds of a connection.

    >>> SimConfig(faults="rest:0.1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    gapless.errors.UnknownName: unknown fault 'rest'. Hint: did you mean 'reset'? Known: ban, 429, 5xx, ...
    """

    seed: int = 7
    symbols: int | tuple[str, ...] = 20
    start: str | int = "2020-01-01"
    end: str | int | None = None
    silence: str = "flat"
    outages_per_month: float = 0.35
    halts_per_month: float = 0.08
    listed_late: float = 0.1
    delisted: float = 0.06
    outages: SpanSet | None = None
    halts: dict[str, SpanSet] | None = None
    reader: Reader | None = None
    listed: dict[str, Span] | None = None
    equities: dict[str, tuple[str, ...]] | None = None
    splits: dict[str, tuple[tuple[str, int, int], ...]] | None = None
    dividends: dict[str, tuple[tuple[str, float], ...]] | None = None
    keys: tuple[str, ...] = ("sim-key",)
    now: str | int | None = None
    speed: float = 1.0
    faults: str = ""
    late_window: int = 5 * MINUTE
    weight_limit: int | None = None
    window: float = 60.0
    patience: int = 10
    ban: float = 120.0
    hold: float = 3.0
    updates: int = 1
    stream_limit: int | None = None
    ping_every: float | None = None
    pong_within: float | None = None
    lifetime: float = 86_400.0

    def __post_init__(self) -> None:
        parse_faults(self.faults)
        VenueClock(self.starts_at, speed=self.speed)
        if self.reader is not None and isinstance(self.symbols, int):
            raise UsageError("a replay needs the names of its symbols.", hint="symbols=('BTCUSDT', …)")
        if self.updates < 0 or (self.stream_limit is not None and self.stream_limit < 1):
            raise UsageError(
                f"{self.updates} updates a minute on at most {self.stream_limit} streams make no feed.",
                hint="0 updates send final bars only; a connection takes at least 1 stream",
            )
        for name in ("window", "ban", "hold", "ping_every", "pong_within", "lifetime"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UsageError(f"{name} must be more than 0 seconds.", hint=f"leave {name} out for the usual value")

    @property
    def starts_at(self) -> int | None:
        """Where the venue's clock starts, µs; None for the host's."""
        return None if self.now is None else parse_time(self.now)
