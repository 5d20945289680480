"""An http that answers one body, whatever it is asked, and remembers that."""

from __future__ import annotations

from collections.abc import Mapping


class Recorded:
    """``protocols.Http`` for a recorded answer; ``said_at``: when it was given."""

    def __init__(self, body: bytes, said_at: int | None = None) -> None:
        self.body, self.said_at = body, said_at
        self.asked: list[tuple[str, dict[str, str | int], int]] = []

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        self.asked.append((path, dict(params), weight))
        return self.body
