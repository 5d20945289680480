"""Calendars: against session answers made elsewhere, and against their own protocol."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.calendars import VENUES, Override, bar_opens, calendar, expected, venue_calendar
from gapless.errors import UnknownName, UsageError
from gapless.spans import DAY, HOUR, Span, SpanSet, Timeframe, iso, parse_time

GOLDEN = Path(__file__).parents[2].parent / "shared" / "data" / "calendars"
NAMES = ["24/7", "XNYS", "CMES", "XHKG", "XTKS"]
FRAMES = [Timeframe.parse(name) for name in ("1m", "15m", "1h", "4h", "1d", "1w")]
M1, M15, H1, H4, D1, W1 = FRAMES


def texts(spans: SpanSet) -> list[str]:
    return [f"{iso(s.start)[:16]}/{iso(s.end)[:16]}" for s in spans]


@pytest.mark.parametrize(("name", "file"), [("XNYS", "xnys"), ("CMES", "cmes"), ("24/7", "24-7")])
def test_sessions_are_those_of_the_golden_file(name, file):
    """Every session's date, open and close equal the answers on record, 1990 to 2027."""
    path = GOLDEN / f"{file}.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    table = pl.read_csv(gzip.decompress(path.read_bytes()))
    columns = [
        table[column].str.to_datetime(time_zone="UTC").dt.timestamp("us").to_numpy()
        for column in (table.columns[0], "open", "close")
    ]
    days = calendar(name).days(Span(int(columns[0][0]), int(columns[0][-1]) + DAY))
    for ours, theirs in zip(days, columns, strict=True):
        assert np.array_equal(ours, theirs)
    assert table["break_start"].null_count() == table.height


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", FRAMES, ids=str)
@settings(max_examples=15, deadline=None)
@given(start=st.integers(parse_time("2018-01-01"), parse_time("2019-06-01")), length=st.integers(0, 40 * DAY))
def test_opens_are_the_bars_of_expected(name, frame, start, length):
    """opens lists exactly the bars of expected: sorted, on the grid, inside the span; adding up over any cut."""
    market, within = calendar(name), Span(start, start + length)
    opens, spans = market.opens(frame, within), market.expected(frame, within)
    assert spans.bars(frame) == len(opens)
    assert (np.diff(opens) > 0).all()
    assert ((opens - frame.offset) % frame.micros == 0).all()
    assert all(within.start <= t < within.end for t in opens[:1].tolist() + opens[-1:].tolist())
    cut = start + length // 3
    halves = [market.opens(frame, s) for s in (Span(start, cut), Span(cut, start + length))]
    assert np.array_equal(np.concatenate(halves), opens)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(start=st.integers(parse_time("2018-01-01"), parse_time("2019-06-01")), length=st.integers(1, 9 * DAY))
def test_an_intraday_bar_is_expected_exactly_when_it_overlaps_trading(name, start, length):
    """Bar by bar: an hour is expected if and only if some of it is trading time."""
    market, within = calendar(name), Span(start, start + length)
    have = set(market.opens(H1, within).tolist())
    trading = market.sessions(Span(start - DAY, start + length + DAY))
    for ts in range(H1.ceil(within.start), within.end, HOUR):
        assert (ts in have) == bool(trading & SpanSet.of((ts, ts + HOUR)))


def test_a_half_day_ends_at_one_in_new_york():
    """2015-12-24 trades 14:30 to 18:00 UTC; Christmas does not trade."""
    market = calendar("XNYS")
    assert texts(market.sessions(Span.parse("2015-12-24", "2015-12-28"))) == ["2015-12-24T14:30/2015-12-24T18:00"]
    assert len(market.opens(M1, Span.parse("2015-12-24", "2015-12-25"))) == 210


def test_hour_bars_start_before_the_open():
    """On the epoch-aligned grid the first hour bar of New York opens at 14:00, half an hour before trading."""
    opens = calendar("XNYS").opens(H1, Span.parse("2015-12-23", "2015-12-24"))
    assert [iso(int(t))[11:16] for t in opens] == ["14:00", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]
    four = calendar("XNYS").opens(H4, Span.parse("2015-12-23", "2015-12-24"))
    assert [iso(int(t))[11:16] for t in four] == ["12:00", "16:00", "20:00"]


def test_the_session_moves_with_daylight_saving():
    """The Monday after the clocks change opens an hour earlier in UTC."""
    market = calendar("XNYS")
    assert texts(market.sessions(Span.parse("2021-03-12", "2021-03-16"))) == [
        "2021-03-12T14:30/2021-03-12T21:00",
        "2021-03-15T13:30/2021-03-15T20:00",
    ]


def test_daily_bars_are_labelled_by_the_session_date():
    """Daily bars sit at 00:00 UTC of session dates, also of sessions that open the evening before."""
    span = Span.parse("2019-02-15", "2019-02-20")
    assert texts(calendar("XNYS").expected(D1, span)) == [
        "2019-02-15T00:00/2019-02-16T00:00",
        "2019-02-19T00:00/2019-02-20T00:00",
    ]
    assert texts(calendar("CMES").expected(D1, span)) == [
        "2019-02-15T00:00/2019-02-16T00:00",
        "2019-02-18T00:00/2019-02-20T00:00",
    ]
    assert texts(calendar("XNYS").expected(W1, span)) == ["2019-02-18T00:00/2019-02-25T00:00"]


def test_breaks_are_not_trading_time():
    """Hong Kong pauses at noon: no minute bar, and an hour bar only where a part trades."""
    market = calendar("XHKG")
    day = Span.parse("2019-12-23", "2019-12-24")
    assert texts(market.sessions(day)) == ["2019-12-23T01:30/2019-12-23T04:00", "2019-12-23T05:00/2019-12-23T08:00"]
    assert [iso(int(t))[11:13] for t in market.opens(H1, day)] == ["01", "02", "03", "05", "06", "07"]


def test_extended_hours_follow_new_york():
    """Extended: 04:00 to 20:00 New York, to 17:00 on a half day; daily bars stay the same."""
    market = calendar("NASDAQ", extended=True)
    assert texts(market.sessions(Span.parse("2015-12-24", "2015-12-28")))[-1] == "2015-12-24T09:00/2015-12-24T22:00"
    assert texts(market.sessions(Span.parse("2015-07-01T06:00", "2015-07-02"))) == ["2015-07-01T08:00/2015-07-02T00:00"]
    span = Span.parse("2015-12-01", "2016-01-01")
    assert market.expected(D1, span) == calendar("XNYS").expected(D1, span)
    with pytest.raises(UsageError, match="no extended hours"):
        calendar("CMES", extended=True)


def test_overrides_close_move_and_add_sessions():
    """A dated override stands above the calendar, for minutes and for days, and leaves other days alone."""
    changes = [
        Override("2025-01-09", closed=True),
        Override("2025-01-10", close="18:00"),
        Override("2025-01-11", open="15:00", close="16:00"),
    ]
    market = calendar("XNYS", overrides=changes)
    span = Span.parse("2025-01-08", "2025-01-14")
    assert texts(market.sessions(span)) == [
        "2025-01-08T14:30/2025-01-08T21:00",
        "2025-01-10T14:30/2025-01-10T18:00",
        "2025-01-11T15:00/2025-01-11T16:00",
        "2025-01-13T14:30/2025-01-13T21:00",
    ]
    assert [iso(int(t))[8:10] for t in market.opens(D1, span)] == ["08", "10", "11", "13"]
    assert market.closes(parse_time("2025-01-10")) == parse_time("2025-01-10T18:00")
    assert market.closes(parse_time("2025-01-09")) is None


def test_an_always_open_market_can_be_closed_for_a_day():
    """Overrides work on 24/7 too: a day of maintenance holds no expected bar."""
    market = calendar("24/7", overrides=[Override("2025-01-09", open="06:00", close="23:00")])
    assert texts(market.sessions(Span.parse("2025-01-08T12:00", "2025-01-10T12:00"))) == [
        "2025-01-08T12:00/2025-01-09T00:00",
        "2025-01-09T06:00/2025-01-09T23:00",
        "2025-01-10T00:00/2025-01-10T12:00",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"date": "2025-01-09"}, "must say either"),
        ({"date": "2025-01-09", "closed": True, "open": "14:30"}, "must say either"),
        ({"date": "9 January", "closed": True}, "not a"),
    ],
)
def test_an_override_that_says_nothing_or_too_much_is_refused(options, words):
    """An override closes a session or moves it, and names a date."""
    with pytest.raises(UsageError, match=words):
        Override(**options)


def test_an_override_that_adds_a_session_needs_both_times():
    """Nothing is guessed about a session the calendar does not have."""
    market = calendar("XNYS", overrides=[Override("2025-01-11", close="18:00")])
    with pytest.raises(UsageError, match="both times"):
        market.sessions(Span.parse("2025-01-08", "2025-01-14"))


def test_finality():
    """A minute is final at its end, a New York day at the close, a crypto day at midnight, a week at its last close."""
    market = calendar("XNYS")
    eve = parse_time("2015-12-24")
    assert iso(market.final_at(M1, eve + 15 * HOUR)) == "2015-12-24T15:01:00Z"
    assert iso(market.final_at(D1, eve)) == "2015-12-24T18:00:00Z"
    assert iso(market.final_at(W1, parse_time("2015-12-21"))) == "2015-12-24T18:00:00Z"
    assert iso(calendar("24/7").final_at(D1, eve)) == "2015-12-25T00:00:00Z"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", FRAMES, ids=str)
@settings(max_examples=40, deadline=None)
@given(at=st.integers(parse_time("2018-12-20"), parse_time("2019-01-08")))
def test_pending_is_what_is_not_final(name, frame, at):
    """pending holds exactly the expected bars whose final_at lies after the moment."""
    market, within = calendar(name), Span.parse("2018-12-28", "2019-01-03")
    opens = market.opens(frame, within)[:: 97 if frame is M1 else 1]
    pending = market.pending(frame, within, at)
    assert pending.mask(opens).tolist() == [market.final_at(frame, int(t)) > at for t in opens]


def test_dates_the_calendar_does_not_know_are_an_error():
    """Before the first recorded year the calendar says so, with the years it knows."""
    with pytest.raises(UsageError, match="from 1960-01-01 to 2049-12-31"):
        calendar("XHKG").sessions(Span.parse("1950-01-01", "1950-02-01"))


def test_a_calendar_grows_by_what_is_asked():
    """Asking outside what was loaded before gives the same answer as asking a fresh calendar first."""
    market = calendar("XNYS", overrides=[Override("2001-09-10", close="19:00")])
    market.sessions(Span.parse("2015-01-01", "2015-02-01"))
    early = market.sessions(Span.parse("1971-01-01", "1971-01-10"))
    assert early == calendar("XNYS").sessions(Span.parse("1971-01-01", "1971-01-10"))
    assert early.bars(M1) == 5 * 390
    assert market.sessions(Span.parse("1969-12-30", "1970-01-06")).bars(M1) == 4 * 390


def test_unknown_calendars_name_the_nearest():
    """A calendar nobody knows is an error, never a fallback."""
    with pytest.raises(UnknownName, match="did you mean 'XNYS'"):
        calendar("XNY")


@pytest.mark.parametrize(
    ("venue", "name"),
    [
        ("BINANCE", "24/7"), ("BINANCEUSDM", "24/7"), ("BINANCECOINM", "24/7"), ("BITFINEX", "24/7"),
        ("COINBASE", "24/7"), ("KRAKEN", "24/7"), ("BYBIT", "24/7"), ("OKX", "24/7"), ("XNAS", "XNYS"),
        ("NASDAQ", "XNYS"), ("NYSE", "XNYS"), ("ARCX", "XNYS"), ("AMEX", "XNYS"), ("CME", "CMES"), ("XLON", "XLON"),
    ],
)  # fmt: skip
def test_known_venues_have_their_calendar(venue, name):
    """Well-known venues and MICs need no configuration."""
    assert venue_calendar(venue, {}) == name


def test_the_configuration_goes_before_what_is_built_in():
    """A mapped venue takes its mapped calendar; an unknown one names the line to write."""
    assert venue_calendar("BINANCE", {"BINANCE": "XNYS"}) == "XNYS"
    with pytest.raises(UnknownName, match=r"\[venues.MYVENUE\] calendar = \"24/7\""):
        venue_calendar("MYVENUE", {})


def test_every_built_in_venue_has_a_calendar_that_exists():
    """No entry of the table of venues points nowhere."""
    for name in sorted(set(VENUES.values())):
        assert calendar(name).expected(D1, Span.parse("2024-06-03", "2024-06-08")).bars(D1) == 5


def test_an_empty_span_has_no_bars():
    """Nothing is expected of no time, on any grid."""
    at = parse_time("2020-06-01T12:00:30")
    for name in NAMES:
        for frame in FRAMES:
            assert not expected(calendar(name), frame, Span(at, at))
            assert len(calendar(name).opens(frame, Span(at, at))) == 0
    assert len(bar_opens(SpanSet.of(), M1)) == 0


def test_looking_at_an_always_open_calendar_imports_no_pandas():
    """exchange_calendars and pandas are loaded only when a market calendar is asked something."""
    code = (
        "import sys; from gapless.calendars import calendar, venue_calendar; from gapless.spans import *;"
        "calendar(venue_calendar('BINANCE')).opens(Timeframe.parse('1h'), Span(0, DAY));"
        "sys.exit('pandas' in sys.modules or 'exchange_calendars' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_minutes_of_a_session_that_does_not_start_on_the_grid():
    """A session that opens off the grid begins with the bar that holds its open."""
    market = calendar("XNYS", overrides=[Override("2025-01-10", open="14:33:20")])
    spans = market.expected(M15, Span.parse("2025-01-10", "2025-01-11"))
    assert texts(spans) == ["2025-01-10T14:30/2025-01-10T21:00"]
    assert market.expected(M1, Span.parse("2025-01-10", "2025-01-11")).bars(M1) == 390 - 3
