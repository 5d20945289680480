"""Where fetched pages become durable: one writer, grouping what is ready. This is step 3 of ``backfill``.

Pages gather while a write is under way, so a slow store gets few large writes and a fast one small ones. When a full
group waits, ``keep`` holds its caller: the fetching slows down to what the store can take, and memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import polars as pl

from gapless.bars import KEY
from gapless.engine.walk import Kept
from gapless.events import Observer, RowsWritten
from gapless.protocols import Answer, Counts, Store, WriteReport
from gapless.series import Series
from gapless.spans import Span, Timeframe


class Writer:
    """Feeds a store from many walks.

    ``source``: who said what does not name another. ``counts``: what was written so far, per series.
    """

    def __init__(
        self, store: Store, *, source: str, run: str, observer: Observer, group_rows: int, linger: float
    ) -> None:
        self.store, self.source, self.run_id, self.observer = store, source, run, observer
        self.group_rows, self.linger = group_rows, linger
        self.counts: dict[Series, Counts] = defaultdict(Counts)
        self._ready: list[Kept] = []
        self._rows = 0
        self._closed = False
        self._some, self._full, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def keep(self, kept: Kept) -> None:
        """Take one page; returns at once unless a full group waits already."""
        while self._rows >= self.group_rows:
            self._room.clear()
            await self._room.wait()
        self._ready.append(kept)
        self._rows += kept.frame.height
        self._some.set()
        if self._rows >= self.group_rows:
            self._full.set()

    def close(self) -> None:
        """No more pages will come."""
        self._closed = True
        self._some.set()
        self._full.set()

    async def run(self) -> None:
        """Write until closed and empty. A store that refuses ends it with that error; what waits is not recorded."""
        while not (self._closed and not self._ready):
            await self._some.wait()
            await self._gather()
            group = self._taken()
            if group:
                reports = await asyncio.to_thread(self._write, group)
                self._tell(reports)

    async def _gather(self) -> None:
        """Until a group is full, or the first of it has waited long enough."""
        try:
            await asyncio.wait_for(self._full.wait(), self.linger)
        except TimeoutError:
            return

    def _taken(self) -> list[Kept]:
        group, self._ready, self._rows = self._ready, [], 0
        self._room.set()
        if not self._closed:
            self._some.clear()
            self._full.clear()
        return group

    def _write(self, group: Sequence[Kept]) -> list[WriteReport]:
        """Bars before ledger: a crash between them leaves bars that are found present, never a claim without bars."""
        reports = []
        pages: dict[tuple[Timeframe, str], list[Kept]] = defaultdict(list)
        for kept in group:
            if kept.frame.height:
                pages[kept.series.timeframe, kept.source or self.source].append(kept)
        for (timeframe, source), found in sorted(pages.items()):
            reports.append(self.store.write(timeframe, _table(found), source=source, run=self.run_id))
        self.store.record(_joined(answer for kept in group for answer in kept.answers))
        return reports

    def _tell(self, reports: Iterable[WriteReport]) -> None:
        for report in reports:
            for series, counts in report.series.items():
                self.counts[series] += counts
                self.observer(
                    RowsWritten(
                        series,
                        counts.written,
                        counts.unchanged,
                        counts.corrected,
                        counts.duplicate,
                        counts.quarantined,
                    )
                )


def _table(pages: Sequence[Kept]) -> pl.DataFrame:
    """All rows, by instrument and time; where a row came twice with other values the later answer stands."""
    if any(kept.revises for kept in pages):
        rows = pl.concat([kept.frame for kept in pages], how="diagonal")
        return rows.unique(subset=list(KEY), keep="last", maintain_order=True).sort(KEY)
    ordered = sorted(pages, key=lambda kept: (str(kept.series.instrument), kept.frame.item(0, "ts")))
    same = len({tuple(kept.frame.columns) for kept in pages}) == 1
    return pl.concat([kept.frame for kept in ordered], how="vertical" if same else "diagonal")


def _joined(answers: Iterable[Answer]) -> list[Answer]:
    """Answers of one series that continue each other become one line of the ledger."""
    open_at: dict[tuple[str, Series, int], int] = {}
    joined: list[Answer] = []
    for answer in answers:
        if answer.answered is None:
            joined.append(answer)
            continue
        at = open_at.pop((answer.source, answer.series, answer.answered.start), None)
        if at is None:
            at = len(joined)
            joined.append(answer)
        else:
            joined[at] = _sum(joined[at], answer)
        open_at[answer.source, answer.series, answer.answered.end] = at
    return joined


def _sum(first: Answer, then: Answer) -> Answer:
    if first.answered is None or then.answered is None:
        raise AssertionError("only answers can be joined")
    return replace(
        then,
        asked=Span(min(first.asked.start, then.asked.start), max(first.asked.end, then.asked.end)),
        answered=Span(first.answered.start, then.answered.end),
        rows=first.rows + then.rows,
        attempts=first.attempts + then.attempts,
        digest=f"{int(first.digest or '0', 16) * 3 + int(then.digest or '0', 16) & (2**64 - 1):016x}",
    )
