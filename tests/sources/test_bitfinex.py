"""Bitfinex: what its answers mean; every recorded page is its bars."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from gapless.errors import Faulty, Refused, SourceError, Throttled
from gapless.protocols import Page
from gapless.series import Instrument, Series
from gapless.sources.bitfinex import bitfinex, from_pair, to_pair
from gapless.spans import HOUR, MINUTE, Span, parse_time
from recorded import Recorded

PAGES = Path(__file__).parents[2].parent / "shared" / "wire" / "bitfinex_rest_pages"
FILES = sorted(PAGES.glob("*.json"))
BTC = Series.parse("BITFINEX:BTCUSD", "1m")
START = parse_time("2019-02-09")
FIRST = Span(START, START + HOUR)


SAID_AT = parse_time("2019-02-09T12:00:00Z")


def fetch(body: bytes, series: Series = BTC, span: Span = FIRST) -> Page:
    return asyncio.run(bitfinex().fetch(Recorded(body, SAID_AT), series, span))


@pytest.mark.skipif(not FILES, reason="recorded answers are not part of the project")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recorded_bitfinex_page_is_its_bars(path: Path) -> None:
    """Each row becomes one bar, the close from the second column; an empty page, of an outage, covers nothing."""
    pair, _, at = path.stem.partition("_")
    start = parse_time(datetime.strptime(at, "%y-%m-%dT%H-%M-%S").replace(tzinfo=UTC))
    rows = json.loads(path.read_bytes())
    page = fetch(path.read_bytes(), Series.parse(f"BITFINEX:{pair}", "1m"), Span(start, start + 2 * HOUR))
    found = page.frame.select(pl.col("ts").dt.epoch("ms"), "open", "close", "high", "low", "volume").rows()
    assert found == [(r[0], *map(float, r[1:])) for r in rows]
    assert page.covered == Span(start, rows[-1][0] * 1000 + MINUTE if rows else start)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (429, b'["error",11010,"ratelimit: error"]', Throttled, "429: 11010 ratelimit: error"),
        (500, b'["error",11010,"ratelimit: error"]', Throttled, "ratelimit"),
        (500, b'["error",10020,"symbol: invalid"]', Refused, "10020 symbol: invalid. Hint: check the symbol"),
        (500, b'["error",10000,"unknown"]', Faulty, "10000 unknown"),
        (503, b'["error",20060,"maintenance"]', Faulty, "maintenance"),
        (400, b'["error",20060,"maintenance"]', Faulty, "maintenance"),
        (502, b"<html>", Faulty, "<html>"),
        (404, b"", Refused, "nothing"),
    ],
)
def test_a_refusal_means_what_its_code_says(status: int, body: bytes, kind: type[SourceError], words: str) -> None:
    """The status alone would have a wrong symbol asked for again and again."""
    error = bitfinex().refusal(status, {}, body)
    assert type(error) is kind
    assert words.partition(". Hint")[0] in str(error)


def test_an_error_that_comes_with_status_200_is_one() -> None:
    """An array of words where rows should be is what it says."""
    with pytest.raises(Faulty, match="20060 maintenance"):
        fetch(b'["error",20060,"maintenance"]')
    with pytest.raises(Throttled, match="ratelimit"):
        fetch(b'["error",11010,"ratelimit: error"]')


def test_a_timeframe_the_venue_has_not_is_refused_with_advice() -> None:
    """Nothing is asked for 4h, and the way to it is told."""
    http = Recorded(b"[]", SAID_AT)
    with pytest.raises(Refused, match="fetch 1h"):
        asyncio.run(bitfinex().fetch(http, Series.parse("BITFINEX:BTCUSD", "4h"), Span(START, START + 24 * HOUR)))
    assert not http.asked


def test_days_and_weeks_are_written_in_capitals() -> None:
    """1d is 1D there, and minutes are no months."""
    for name, theirs in (("1m", "1m"), ("1d", "1D"), ("1w", "1W")):
        http = Recorded(b"[]", SAID_AT)
        asyncio.run(
            bitfinex().fetch(http, Series.parse("BITFINEX:DOGE-USD", name), Span(START, START + 30 * 24 * HOUR))
        )
        assert http.asked[0][0] == f"/v2/candles/trade:{theirs}:tDOGE:USD/hist"


@pytest.mark.parametrize("pair", ["tBTCUSD", "tDOGE:USD", "tBTCF0:USTF0", "tTESTBTC:TESTUSD"])
def test_pairs_go_both_ways(pair: str) -> None:
    """A colon there is a dash here."""
    assert to_pair(from_pair(pair)) == pair


def test_pairs_that_cannot_be_named_are_not_listed() -> None:
    """A name outside the whitelist is left out; the others come through."""
    listed = asyncio.run(bitfinex().listings(Recorded(b'[["BTCUSD","../etc","DOGE:USD"]]', SAID_AT)))
    assert [x.instrument for x in listed] == [Instrument("BITFINEX", "BTCUSD"), Instrument("BITFINEX", "DOGE-USD")]


def test_without_a_date_header_there_is_no_clock() -> None:
    """It is a fault, not this machine's clock."""
    http = Recorded(b"[1]", SAID_AT)
    assert asyncio.run(bitfinex().server_time(http)) == SAID_AT
    http.said_at = None  # as behind a proxy
    with pytest.raises(Faulty, match="Date"):
        asyncio.run(bitfinex().server_time(http))
