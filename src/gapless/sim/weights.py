"""Weight accounting as the venue does it: per client and minute; 429 when over, 418 for those who go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from gapless.sim import refusals
from gapless.sim.refusals import Reply


@dataclass
class _Client:
    window: int = -1
    used: int = 0
    refused: int = 0  # 429 answers in this window
    banned_until: float = 0.0  # host seconds


class Meter:
    """What each client of one API has used. Windows and bans run on the host's time: they are about real requests.

    ``limit`` 0 counts nothing. ``patience``: how many requests after the first 429 of a window lead to a ban.
    """

    def __init__(
        self,
        limit: int,
        venue_time: Callable[[float], int],
        *,
        window: float = 60.0,
        ban: float = 120.0,
        patience: int = 10,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.limit, self.window, self.ban_seconds, self.patience = limit, window, ban, patience
        self._venue_time = venue_time  # µs of the venue, so many seconds from now
        self._now = now
        self._clients: dict[str, _Client] = {}

    def banned(self, address: str) -> Reply | None:
        """The answer to a client that is banned."""
        left = self._client(address).banned_until - self._now()
        return self._banned(left) if left > 0 else None

    def take(self, address: str, weight: int) -> Reply | None:
        """Count a request; a refusal when the client is over its weight."""
        client, now = self._client(address), self._now()
        if not self.limit:
            return None
        client.used += weight
        if client.used <= self.limit:
            return None
        client.refused += 1
        if client.refused > self.patience:
            return self.ban(address)
        left = (client.window + 1) * self.window - now
        return refusals.too_much(self.limit, max(1, math.ceil(left)))

    def ban(self, address: str) -> Reply:
        """Close the door for a while."""
        client = self._client(address)
        client.banned_until = self._now() + self.ban_seconds
        client.used = client.refused = 0
        return self._banned(self.ban_seconds)

    def used(self, address: str) -> int:
        """Weight used in this window."""
        return self._client(address).used

    def _client(self, address: str) -> _Client:
        client = self._clients.setdefault(address, _Client())
        window = int(self._now() // self.window)
        if window != client.window:
            client.window, client.used, client.refused = window, 0, 0
        return client

    def _banned(self, seconds: float) -> Reply:
        return refusals.banned(self._venue_time(seconds) // 1000, max(1, math.ceil(seconds)))
