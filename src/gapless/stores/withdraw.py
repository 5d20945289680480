"""Taking stored bars out again: bars that no source said, and that nothing stands for any more.

1. What is recent is folded first, so that all rows are in files.
2. The rows become revisions, known until now.
3. Their files are replaced by files without them, in one commit. A crash between 2 and 3 leaves revisions that say what
   still stands; doing it again completes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gapless.bars import STORED
from gapless.series import Series
from gapless.spans import Micros, Span
from gapless.stores import compare, parquet
from gapless.stores.delta import Change, LiveFile
from gapless.stores.rows import touches

if TYPE_CHECKING:
    from gapless.stores.lake import Lake


def withdraw(lake: Lake, series: Series, opens: Micros) -> int:
    """Take the bars that open at these times, sorted, out; how many there were. Durable on return."""
    if not len(opens):
        return 0
    timeframe, name = series.timeframe, str(series.instrument)
    with lake.writing("withdraw bars"):
        lake.folder.fold(timeframe)
        span = Span(int(opens[0]), int(opens[-1]) + 1)
        rows = lake.rows(timeframe, [name], span).filter(_among(opens))
        if not rows.height:
            return 0
        now = max(lake.clock(), int(rows["known_at"].to_physical().max()) + 1)  # type: ignore[arg-type]
        lake.tail.append(timeframe, [("revisions", compare.superseded_rows(rows.select(*STORED), now))])
        _replace(lake, series, [f for f in lake.log("bars", timeframe).of(name) if touches(f, span)], opens)
    return rows.height


def _replace(lake: Lake, series: Series, files: list[LiveFile], opens: Micros) -> None:
    log = lake.log("bars", series.timeframe)
    adds: list[parquet.DataFile] = []
    for file in files:
        left = parquet.read([log.directory / file.path], STORED).filter(~_among(opens))
        if left.height:
            adds.append(parquet.stage(log.directory, left, period=file.period, timeframe=series.timeframe))
    lake.meta.index_files(f"bars/{series.timeframe.name}", adds)
    log.commit(lambda _: Change(adds, files))


def _among(opens: Micros) -> pl.Expr:
    return pl.col("ts").to_physical().is_in(opens.tolist())
