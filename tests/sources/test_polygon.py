"""Polygon: what its answers mean, row by row and error by error; the key stays where it belongs."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.errors import ConfigError, Faulty, Refused, SourceError, Throttled, UnknownName
from gapless.protocols import Page
from gapless.series import Series
from gapless.sources.corporate import Dividend, Split
from gapless.sources.polygon import polygon
from gapless.sources.secret import Secret
from gapless.spans import DAY, MINUTE, Span, iso, parse_time

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
MASSIVE = WIRE / "massive_polygon"
needs_wire = pytest.mark.skipif(not MASSIVE.exists(), reason="recorded answers are not part of the project")
KEY = "k3y-nobody-sees"
START = parse_time("2024-05-07T13:30Z")
HOUR = Span(START, START + 60 * MINUTE)
SHY = Series.parse("XNAS:SHY", "1m")


class Recorded:
    """An http that answers one body after the other, and remembers what it was asked."""

    said_at = None

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.asked: list[tuple[str, dict[str, str | int], dict[str, str]]] = []

    async def get(
        self, path: str, params: Mapping[str, str | int], *, weight: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        self.asked.append((path, dict(params), dict(headers or {})))
        return self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]


def recorded(name: str) -> bytes:
    return (MASSIVE / name).read_bytes()


def example(path: str) -> bytes:
    """An answer of the vendor's own description."""
    return json.dumps(json.loads(recorded("openapi_examples.json"))[f"{path} 200"]).encode()


def answer(*minutes: int, **changes: Any) -> bytes:
    """Bars of SHY, some minutes after START."""
    rows = [
        {"t": START // 1000 + m * 60_000, "o": 1, "h": 3, "l": 1, "c": 2, "v": 10, "n": 4, "vw": 2} for m in minutes
    ]
    body = {"ticker": "SHY", "resultsCount": len(rows), "adjusted": False, "status": "OK", "results": rows}
    return json.dumps(body | changes).encode()


def fetch(body: bytes, series: Series = SHY, span: Span = HOUR, **options: Any) -> Page:
    source = polygon(key=KEY, venue=series.instrument.venue, **options)
    return asyncio.run(source.fetch(Recorded(body), series, span))


@needs_wire
@pytest.mark.parametrize("name", [p.name for p in MASSIVE.glob("v2__aggs__ticker__AAPL__range*")])
def test_recorded_polygon_days_are_labelled_by_their_session(name: str) -> None:
    """Midnight in New York, 05:00 UTC in winter and 04:00 in summer, is the session's date at 00:00 UTC."""
    span = Span.parse("2005-04-01", "2005-04-05")
    page = fetch(recorded(name), Series.parse("XNAS:AAPL", "1d"), span, adjusted=True)
    assert page.frame.drop("instrument").with_columns(pl.col("ts").dt.epoch("us")).rows() == [
        (parse_time("2005-04-01"), 1.5032, 1.5064, 1.4489, 1.4604, 642646396.0, 82132.0),
        (parse_time("2005-04-04"), 1.4639, 1.4754, 1.4343, 1.4675, 578172308.0, 65543.0),
    ]
    assert page.covered == span


@needs_wire
def test_the_described_days_of_a_stock_are_its_bars() -> None:
    """The vendor's own example: two days of January, and more to come."""
    body = example("GET /v2/aggs/ticker/{stocksTicker}/range/{multiplier}/{timespan}/{from}/{to}")
    page = fetch(body, Series.parse("XNAS:AAPL", "1d"), Span.parse("2020-01-01", "2020-01-11"), adjusted=True)
    assert page.frame.select(pl.col("ts").dt.date(), "close").rows() == [
        (date(2020, 1, 2), 75.0875),
        (date(2020, 1, 3), 74.3575),
    ]
    assert iso(page.covered.end) == "2020-01-04T00:00:00Z"


@needs_wire
def test_days_that_are_cut_in_new_york_are_no_days_of_crypto() -> None:
    """The described crypto days begin at 04:00 UTC: as days that begin at midnight they would be wrong, so refused."""
    body = example("GET /v2/aggs/ticker/{cryptoTicker}/range/{multiplier}/{timespan}/{from}/{to}")
    with pytest.raises(Refused, match="2020-06-01T04:00:00Z"):
        fetch(body, Series.parse("CRYPTO:BTCUSD", "1d"), Span.parse("2020-06-01", "2020-06-03"), adjusted=True)


@needs_wire
def test_recorded_splits_and_dividends_are_read() -> None:
    """Every row, with its ticker, its first day at the new price, and its numbers."""
    source = polygon(key=KEY)
    splits = asyncio.run(source.splits(Recorded(recorded("v3__reference__splits.json")), "GOOG"))
    assert len(splits) == 10
    assert splits[0] == Split("GOOGL", date(2022, 7, 18), 1.0, 20.0)
    assert splits[7] == Split("BRW", date(2022, 5, 20), 2.0, 1.0)
    dividends = asyncio.run(source.dividends(Recorded(recorded("v3__reference__dividends.json")), "CSSEN"))
    assert len(dividends) == 10
    declared, record, paid = date(2020, 9, 9), date(2025, 6, 15), date(2025, 6, 30)
    assert dividends[0] == Dividend("CSSEN", date(2025, 6, 12), 0.59375, "USD", "CD", declared, record, paid, 4)


@needs_wire
def test_recorded_tickers_go_on_behind_their_cursor() -> None:
    """The second page is asked for with the cursor of the first and nothing else, at the configured address."""
    second = next(MASSIVE.glob("v3__reference__tickers&cursor=*.json"))
    last = json.dumps(json.loads(second.read_text()) | {"next_url": None}).encode()
    http = Recorded(recorded("v3__reference__tickers.json"), last)
    found = asyncio.run(polygon(key=KEY, venue="XNYS").tickers(http))
    assert [t.ticker for t in found] == ["A", "AA", "AAA", "AAAU"]
    assert (found[0].exchange, found[0].kind, found[0].currency, found[0].active) == ("XNYS", "CS", "USD", True)
    (path, _, _), (again, params, headers) = http.asked
    assert (path, again) == ("/v3/reference/tickers", "/v3/reference/tickers")
    assert list(params) == ["cursor"]
    assert headers == {"Authorization": f"Bearer {KEY}"}


def test_a_list_that_goes_round_in_a_circle_is_a_fault() -> None:
    """A cursor that comes twice would be followed for ever."""
    body = json.dumps({"results": [], "next_url": "https://elsewhere.example/x?cursor=abc"}).encode()
    with pytest.raises(Faulty, match="circle"):
        asyncio.run(polygon(key=KEY).splits(Recorded(body), "SHY"))


def test_a_row_of_a_list_without_a_field_is_a_fault_that_shows_it() -> None:
    """The field and the row's beginning are told."""
    body = b'{"results":[{"ticker":"SHY","split_from":1,"split_to":2}]}'
    with pytest.raises(Faulty, match=r"execution_date.*SHY"):
        asyncio.run(polygon(key=KEY).splits(Recorded(body), "SHY"))


def test_of_a_name_that_was_used_twice_the_living_one_is_listed() -> None:
    """Gone tickers are listed with their last day; a reused name is listed once, as trading."""
    row = {"market": "stocks", "type": "CS", "primary_exchange": "XNAS"}
    gone = [
        row | {"ticker": "SHY", "active": False, "delisted_utc": "2019-03-01T00:00:00Z"},
        row | {"ticker": "OLD", "active": False, "delisted_utc": "2019-03-02T00:00:00Z"},
    ]
    alive = [row | {"ticker": "SHY", "active": True}]
    http = Recorded(*(json.dumps({"results": rows}).encode() for rows in (gone, alive)))
    listed = {x.instrument.symbol: x for x in asyncio.run(polygon(key=KEY).listings(http))}
    assert (listed["SHY"].status, listed["SHY"].delisted_at) == ("trading", None)
    assert (listed["OLD"].status, listed["OLD"].delisted_at) == ("delisted", parse_time("2019-03-02"))


def test_the_clock_has_new_yorks_offset() -> None:
    """The recorded form, with its offset, is an instant."""
    body = b'{"serverTime":"2020-11-10T17:37:37-05:00","market":"extended-hours"}'
    assert iso(asyncio.run(polygon(key=KEY).server_time(Recorded(body)))) == "2020-11-10T22:37:37Z"


def test_no_results_are_no_bars() -> None:
    """An unknown ticker, or a silent span: nothing is said of rows, and nothing is proven."""
    body = json.loads(answer())
    del body["results"]
    page = fetch(json.dumps(body).encode())
    assert (page.frame.height, page.covered) == (0, Span(START, START))


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (answer(1, ticker="AAPL"), Faulty, "asked for SHY and answered with AAPL"),
        (answer(1, adjusted=True), Faulty, "split-adjusted"),
        (answer(1, resultsCount=2), Faulty, "2 bars announced, 1 sent in results"),
        (answer(1, status="NOT_AUTHORIZED", message="Your plan"), Refused, "NOT_AUTHORIZED Your plan"),
        (answer(61), Faulty, "outside the asked span"),
        (answer(-2), Faulty, "outside the asked span"),
        (b'{"status":"OK"}', Faulty, "ticker"),
    ],
)
def test_an_answer_that_cannot_be_true_is_an_error(body: bytes, kind: type[SourceError], words: str) -> None:
    """Of another ticker, adjusted otherwise than asked, of another span, or short of what it announces."""
    with pytest.raises(kind, match=words):
        fetch(body)


def test_the_window_that_holds_the_start_is_left_out() -> None:
    """The server rounds the start down; the bar that opens before it was not asked for."""
    span = Span(START + 2 * MINUTE + 1, START + 60 * MINUTE)
    frame = fetch(answer(2, 3, 4), span=span).frame
    assert ((frame["ts"].dt.epoch("us") - START) // MINUTE).to_list() == [3, 4]


def test_the_last_bar_of_an_answer_that_goes_on_is_left_to_the_next() -> None:
    """Five minutes may have been cut after the third; a single minute cannot be cut."""
    series, more = Series.parse("XNAS:SHY", "5m"), {"next_url": "https://api.massive.com/v2/aggs?cursor=x"}
    page = fetch(answer(0, 5, 10, **more), series)
    assert (page.frame.height, (page.covered.end - START) // MINUTE) == (2, 10)
    assert fetch(answer(0, 5, 10, **more)).frame.height == 3


def test_bars_the_vendor_sent_twice_stand_once() -> None:
    """It has sent whole days twice, half-way down the list again."""
    assert fetch(answer(1, 2, 3, 1, 2, 3)).frame.height == 3


@needs_wire
@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("massive_403_not_entitled", Refused, "You are not entitled"),
        ("polygon_403_today_before_eod", Refused, "before end of day"),
        ("massive_403_timeframe", Refused, "data timeframe"),
        ("polygon_429", Throttled, "maximum requests per minute"),
    ],
)
def test_observed_refusals_are_told_apart(name: str, kind: type[SourceError], words: str) -> None:
    """The words are under "message" or under "error"."""
    observed = json.loads((WIRE / "error_bodies_observed.json").read_text())[name]
    error = polygon(key=KEY).refusal(observed["http"], {}, json.dumps(observed["body"]).encode())
    assert type(error) is kind
    assert words in str(error)


def test_weeks_are_asked_from_sunday_to_saturday_and_labelled_on_monday() -> None:
    """Their week of Sunday 2024-04-28 is ours of Monday 04-29."""
    sunday = parse_time("2024-04-28T04:00Z") // 1000
    http = Recorded(answer(0).replace(str(START // 1000).encode(), str(sunday).encode()))
    series, monday = Series.parse("XNAS:SHY", "1w"), parse_time("2024-04-29")
    page = asyncio.run(polygon(key=KEY).fetch(http, series, Span(monday, monday + 7 * DAY)))
    assert http.asked[0][0] == "/v2/aggs/ticker/SHY/range/1/week/2024-04-28/2024-05-04"
    assert page.frame["ts"].dt.epoch("us").to_list() == [monday]


def test_the_key_comes_from_the_environment_or_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of the vendor's names, one of one's own, and an error that says what to do when none is set."""
    for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY", "MINE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="export MASSIVE_API_KEY"):
        asyncio.run(polygon().server_time(Recorded(b"{}")))
    with pytest.raises(ConfigError, match="env:MINE is not set"):
        polygon(key="env:MINE").key.reveal()
    monkeypatch.setenv("POLYGON_API_KEY", "p")
    assert polygon().key.reveal() == "p"
    monkeypatch.setenv("MASSIVE_API_KEY", "m")
    monkeypatch.setenv("MINE", "own")
    assert [polygon(key=key).key.reveal() for key in (None, "env:MINE", "x")] == ["m", "own", "x"]


def test_a_secret_is_neither_shown_nor_written() -> None:
    """Not by str, repr or format, not by the source that holds it, and not by pickling."""
    secret = Secret(KEY)
    assert KEY not in f"{secret} {secret!r} {polygon(key=KEY)!r} {polygon(key=KEY)}"
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(secret)


def test_only_venues_it_has_are_made() -> None:
    """The nearest is named."""
    with pytest.raises(UnknownName, match="did you mean 'XNAS'"):
        polygon(venue="XNAQ")
