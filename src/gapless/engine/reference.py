"""What sources say beside bars: the splits and dividends of instruments, for callers without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

from gapless.engine.fetch import Patience, opened
from gapless.protocols import Http, Source


class SplitTold(Protocol):
    """``after`` shares for ``before``; ``ex`` is the first day at the new price."""

    @property
    def ex(self) -> date: ...
    @property
    def before(self) -> float: ...
    @property
    def after(self) -> float: ...


class DividendTold(Protocol):
    """``cash`` a share; ``ex`` is the first day without it."""

    @property
    def ex(self) -> date: ...
    @property
    def cash(self) -> float: ...
    @property
    def currency(self) -> str: ...


@runtime_checkable
class TellsActions(Protocol):
    """A source that knows corporate actions: every one of a ticker."""

    async def splits(self, http: Http, ticker: str) -> Sequence[SplitTold]: ...

    async def dividends(self, http: Http, ticker: str) -> Sequence[DividendTold]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """All that a source says of one ticker."""

    ticker: str
    splits: Sequence[SplitTold]
    dividends: Sequence[DividendTold]


def fetch_actions(source: Source, tickers: Sequence[str], *, patience: Patience | None = None) -> list[Told]:
    """Ask a source for the actions of tickers, one after the other. ``source`` must be one that ``TellsActions``."""
    assert isinstance(source, TellsActions)
    teller: TellsActions = source

    async def main() -> list[Told]:
        async with opened(source, patience=patience) as http:
            return [Told(t, await teller.splits(http, t), await teller.dividends(http, t)) for t in tickers]

    return asyncio.run(main())
