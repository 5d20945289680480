"""What every task of a run must know of the source: its clock, and what it lists. Asked once, shared."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from gapless.engine.fetch import PacedHttp
from gapless.engine.final import Finality, Sessions
from gapless.errors import SourceError
from gapless.events import ClockSkewed
from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.spans import DAY, MINUTE, SECOND, Timeframe

_SYNC_EVERY = 600.0  # seconds; quartz drifts by milliseconds in that time
_NOTABLE_SKEW = 2 * SECOND
_AGREE = MINUTE  # clocks that differ by more say nothing about each other


@dataclass(slots=True)
class Venue:
    """The source's clock and listings, fetched when first needed."""

    http: PacedHttp
    sessions: Sessions | None = None
    skew: int = 0  # the source's clock minus ours, µs; never more than the truth, see ``synced``
    _synced_at: float | None = None
    _listings: dict[Instrument, Listing] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def synced(self) -> None:
        """Ask for the time again when the last answer is old. Raises SourceError."""
        async with self._turn:
            if self._synced_at is not None and time.monotonic() - self._synced_at < _SYNC_EVERY:
                return
            stamped = await self.http.ask(self.http.source.server_time)
            # The stamp was made before its answer arrived, so this errs towards calling a bar unfinished.
            self.skew = stamped - self.http.clock()
            self._synced_at = time.monotonic()
            if abs(self.skew) > _NOTABLE_SKEW:
                self.http.observer(ClockSkewed(self.http.source.name, self.skew / SECOND))

    def now(self) -> int:
        """The time at the source, µs."""
        return self.http.clock() + self.skew

    def final_until(self, timeframe: Timeframe) -> int:
        """Bars that open before this are final by the source's clock."""
        return Finality(self.http.source, self.sessions).until(timeframe, self.now())

    def surely_final(self, opened: int, timeframe: Timeframe) -> bool:
        """Is that bar final even if the source's clock is wrong? By our clock if the two agree, else after a day."""
        closed = Finality(self.http.source, self.sessions).at(timeframe, opened)
        return closed <= self.http.clock() if abs(self.skew) <= _AGREE else closed + DAY <= self.now()

    async def ended(self, instrument: Instrument) -> bool:
        """Does the source say that this instrument is not traded now? False when it does not say."""
        listing = (await self._listed()).get(instrument)
        if listing is None:
            return False
        gone = listing.delisted_at is not None and listing.delisted_at <= self.now()
        return gone or listing.status != "trading"

    async def _listed(self) -> dict[Instrument, Listing]:
        async with self._turn:
            if self._listings is None:
                try:
                    found = await self.http.ask(self.http.source.listings)
                except SourceError:
                    return {}  # nothing is believed on the word of a source that cannot be asked
                self._listings = {listing.instrument: listing for listing in found}
            return self._listings
