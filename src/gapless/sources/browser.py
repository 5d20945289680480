"""A session that greets servers as a browser does (curl_cffi, extra ``yahoo``), in the place of the engine's own.

Some servers tell clients apart by how they open a TLS connection, whatever their ``User-Agent`` says, and answer all
but browsers with 429. Pacing, retries and what an answer means stay with the engine and the source: this is one GET.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gapless.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    async def read(self) -> bytes:
        return self.body


@dataclass(frozen=True, slots=True)
class _Session:
    """``get`` as aiohttp has it. Errors of curl are OSErrors, which the engine knows."""

    curl: Any

    @asynccontextmanager
    async def get(
        self, url: str, *, params: Mapping[str, Any], headers: Mapping[str, str] | None, allow_redirects: bool
    ) -> AsyncIterator[_Answer]:
        told = await self.curl.get(url, params=params, headers=headers, allow_redirects=allow_redirects)
        yield _Answer(told.status_code, told.headers, told.content)


def browser_session(timeout: float, connections: int) -> AbstractAsyncContextManager[_Session]:
    """A session, closed at the end. Raises UsageError without curl_cffi. ``timeout``: seconds of one request."""
    try:
        from curl_cffi.requests import AsyncSession
    except ImportError:
        raise UsageError("curl_cffi is not installed.", hint="pip install 'gapless[yahoo]'") from None

    @asynccontextmanager
    async def opened() -> AsyncIterator[_Session]:
        async with AsyncSession(impersonate="chrome", timeout=timeout, max_clients=connections) as curl:
            yield _Session(curl)

    return opened()
