"""The checks, of a vendor that answers tables: a source that reads them passes, a careless one does not."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pytest

from gapless.bars import empty
from gapless.conformance import CHECKS, CSV, Asked, Subject, Told, made_bars
from gapless.errors import Faulty, Refused, SourceError, Throttled
from gapless.protocols import Http, Limits, Listing, Page
from gapless.series import Series
from gapless.sources.reading import head, page_of
from gapless.spans import SECOND, Span, parse_time

SERIES = Series.parse("TABLES:AB", "1m")
BARS = made_bars(SERIES, parse_time("2025-05-01T00:00Z"), 120)
NOW = parse_time("2025-05-01T02:00:30Z")
VALUES = ("open", "high", "low", "close", "volume")


@dataclass
class Tables:
    """Newest bars first, times in seconds, the end exclusive."""

    base_url: str = "https://tables.example"
    name: str = "tables"
    venue: str = "TABLES"
    settle: int = SECOND
    dense: bool = True
    limits: Limits = field(default_factory=lambda: Limits(page_bars=50, weight=60, window=60.0, concurrency=1))

    async def fetch(self, http: Http, series: Series, span: Span) -> Page:
        if not span.bars(series.timeframe):
            return Page(empty(), Span(span.start, span.start))
        first, minute = -(-span.start // SECOND), series.timeframe.micros // SECOND
        last = min(-(-span.end // SECOND), first + self.limits.page_bars * minute)
        body = await http.get("/bars.csv", {"of": series.instrument.symbol, "from": first, "to": last}, weight=1)
        opened, values = self.read(body, series.instrument.symbol)
        return page_of(self.name, series, span, opened, values, len(body))

    def read(self, body: bytes, symbol: str) -> tuple[list[int], dict[str, list[float]]]:
        try:
            if not body.endswith(b"\n"):
                raise ValueError("cut off")
            rows = list(csv.DictReader(io.StringIO(body.decode())))
            if any(row["of"] != symbol for row in rows):
                raise ValueError("of another instrument")
            if not rows and not body.startswith(b"of,"):
                raise ValueError("no table")
            return [int(r["time"]) * SECOND for r in rows], {n: [float(r[n]) for r in rows] for n in VALUES}
        except (ValueError, KeyError, TypeError) as error:
            raise Faulty(f"tables answered {head(body)}: {error!r}") from None

    async def listings(self, http: Http) -> Sequence[Listing]:
        return []

    async def server_time(self, http: Http) -> int:
        return int(await http.get("/time", {}, weight=1)) * SECOND

    def weight_of(self, bars: int) -> int:
        return 1

    def used(self, headers: Mapping[str, str]) -> int | None:
        return None

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        kind = Throttled if status == 429 else Faulty if status >= 500 else Refused
        return kind(f"tables answered {status}: {head(body)}")


class Careless(Tables):
    """It believes what it can read of a body, wherever that ends."""

    def read(self, body: bytes, symbol: str) -> tuple[list[int], dict[str, list[float]]]:
        return super().read(body + b"\n", symbol)


def vendor(asked: Asked, now: int) -> Told:
    if asked.path == "/time":
        return Told(str(now // SECOND).encode())
    first, last = int(asked.params["from"]), min(int(asked.params["to"]), now // SECOND + 1)
    rows = BARS.with_columns(pl.lit(asked.params["of"]).alias("of"), pl.col("ts").dt.epoch("s").alias("time"))
    told = rows.filter(pl.col("time").is_between(first, last, closed="left")).sort("time", descending=True)
    return Told(told.select("of", "time", *VALUES).write_csv().encode())


def subject(make: Callable[[], Tables]) -> Subject:
    return Subject(make, vendor, SERIES, BARS, NOW, form=CSV)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_source_of_tables_conforms(check: Callable[[Subject], None]) -> None:
    """A table that ends too soon at the end of a line is a shorter page: what is left of it is true."""
    check(subject(Tables))


def test_a_source_that_reads_half_a_number_is_caught() -> None:
    """The last number of a table that was cut off inside it is another number."""
    check = next(c for c in CHECKS if c.__name__ == "a_torn_answer_is_a_fault")
    with pytest.raises(AssertionError, match="cut off"):
        check(subject(Careless))
