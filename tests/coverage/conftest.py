"""Facts for coverage tests: made up bar by bar, or from real tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gapless.calendars import MarketCalendar
from gapless.coverage import asked_by_table
from gapless.protocols import Facts
from gapless.series import Instrument, Series
from gapless.spans import DAY, Span, SpanSet, Timeframe, parse_time

DATA = Path(__file__).parents[2].parent / "shared" / "data"
Table = Mapping[Instrument, SpanSet]


def opens_of(frame: pl.DataFrame, timeframe: Timeframe) -> pl.Series:
    """Bar opens in UTC, from the three ways in which the tables write times."""
    if "open_time" in frame.columns:
        return frame["open_time"].dt.cast_time_unit("us")
    if "date" in frame.columns:
        return frame["date"].dt.replace_time_zone("UTC")
    times = frame["datetime"].str.to_datetime(time_unit="us")
    if timeframe.micros >= DAY:
        return times.dt.replace_time_zone("UTC")
    local = (times - timedelta(microseconds=timeframe.micros)).dt.replace_time_zone("America/New_York")
    return local.dt.convert_time_zone("UTC")


@pytest.fixture(scope="session")
def table() -> Callable[..., Table]:
    """Reads one real table as instrument → present spans; skips where the data is absent."""

    def read(file: str, venue: str, timeframe: str) -> Table:
        path = DATA / file
        if not path.exists():
            pytest.skip(f"{path} is not here")
        size = Timeframe.parse(timeframe)
        frame = pl.read_parquet(path)
        frame = pl.DataFrame({"symbol": frame["symbol"], "ts": opens_of(frame, size).dt.timestamp("us")})
        groups = frame.unique().sort("symbol", "ts").partition_by("symbol", as_dict=True)
        return {
            Instrument(venue, str(symbol)): SpanSet.from_bars(rows["ts"].to_numpy(), size)
            for (symbol,), rows in groups.items()
        }

    return read


@pytest.fixture(scope="session")
def imported() -> Callable[..., list[Facts]]:
    """The facts after one or more tables were imported, one after the other."""

    def merge(tables: Sequence[Table], timeframe: str, market: MarketCalendar) -> list[Facts]:
        size = Timeframe.parse(timeframe)
        present: dict[Instrument, SpanSet] = {}
        answered: dict[Instrument, SpanSet] = {}
        for one in tables:
            for name, spans in asked_by_table(one, size, market).items():
                present[name] = present.get(name, SpanSet.of()) | one[name]
                answered[name] = answered.get(name, SpanSet.of()) | spans
        return [Facts(Series(name, size), present[name], answered[name]) for name in present]

    return merge


@pytest.fixture(scope="session")
def made() -> Callable[..., Facts]:
    """One made-up series: all bars expected in ``span`` less those in ``lost``; answered unless said otherwise."""

    def make(
        name: str,
        market: MarketCalendar,
        timeframe: str,
        span: Span,
        lost: Sequence[tuple[str, str]] = (),
        *,
        answered: SpanSet | None = None,
        **more: object,
    ) -> Facts:
        size = Timeframe.parse(timeframe)
        present = market.expected(size, span) - SpanSet.of(*((parse_time(a), parse_time(b)) for a, b in lost))
        asked = SpanSet.of(span) if answered is None else answered
        return Facts(Series(Instrument("VENUE", name), size), present, asked, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def silent_minutes() -> Callable[..., SpanSet]:
    """The present minutes of an illiquid instrument: a two-state chain with a silence rate and a chance to stay."""

    def draw(seed: int, span: Span, rate: float, stay: float) -> SpanSet:
        minute = Timeframe.parse("1m")
        ts = np.arange(span.start, span.end, minute.micros, dtype=np.int64)
        start = rate * (1 - stay) / (1 - rate)
        dice = np.random.default_rng(seed).random(len(ts))
        quiet = np.zeros(len(ts), dtype=bool)
        for i in range(1, len(ts)):
            quiet[i] = dice[i] < (stay if quiet[i - 1] else start)
        return SpanSet.from_bars(ts[~quiet], minute)

    return draw
