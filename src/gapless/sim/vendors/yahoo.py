"""Yahoo's chart interface over the stocks' truth: columns with nulls, splits taken out, the tick in the last row.

Regular hours only, of days too, and after an early close what was traded until the usual one. Today's day comes twice,
the second time as it is now. Minutes are had of the last 30 days and for at most 8 days a request, other intraday bars
of the last 60 days (hours: 730). As its website's pages do, clients may fetch a cookie (at the root) and a crumb;
charts are given without, but to nobody who does not call itself a browser.
"""

from __future__ import annotations

import json
import re
from functools import cached_property, partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gapless.calendars import MarketCalendar, calendar
from gapless.sim.blocks import CLOSE, HIGH, LOW, OPEN, VOLUME, Block, fold, join
from gapless.sim.exchange import Exchange
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.sessions import Sessions
from gapless.sim.truths import EQUITIES
from gapless.sim.vendors.desk import Call
from gapless.sim.vendors.pages import page
from gapless.sim.vendors.yahoo_events import adjusted_closes, events
from gapless.spans import DAY, HOUR, MINUTE, SECOND, Micros, Span, Timeframe, to_datetime

Json = dict[str, Any]
_CHART = re.compile(r"/v8/finance/chart/([A-Za-z0-9.^=-]+)")
_ZONE = ZoneInfo("America/New_York")
_FRAMES = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1d": "1d"}
_BACK = {"1m": 30, "1d": 36_500}
_1M, _1D = Timeframe.parse("1m"), Timeframe.parse("1d")
_ALL = 10**6  # bars: there is no limit but that of time
_COLUMNS = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}
_SESSION = 6 * HOUR + 30 * MINUTE  # from 09:30 to 16:00, where nothing closes early
_COOKIE, _CRUMB = "A3=simulated", "Sim.Crumb"
Rows = tuple[list[int], dict[str, list[float | None]]]


class YahooDesk:
    """Serves the stocks below ``/yahoo``."""

    root = "/yahoo"
    limit = 0

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def answer(self, call: Call) -> Reply:
        """A chart, a cookie or a crumb."""
        if "Mozilla" not in call.headers.get("User-Agent", ""):
            raise Refusal(Reply(429, b"Edge: Too Many Requests", content_type="text/plain"))
        if call.path == "/":  # the real one's answer is an error too, with the cookie
            return Reply(404, b"", {"Set-Cookie": f"{_COOKIE}; Path=/; Max-Age=31536000"}, "text/html")
        if call.path == "/v1/test/getcrumb":
            return _crumb(call)
        found = _CHART.fullmatch(call.path)
        truth = self._truth(found[1]) if found else None
        if found is None or truth is None:
            raise _refused(404, "Not Found", "No data found, symbol may be delisted")
        interval = call.params.get("interval", "1d")
        if interval == "3mo":
            return _json(self._events_alone(truth, found[1], call))
        if interval not in _FRAMES:
            raise _refused(400, "Bad Request", f"Invalid input - interval={interval} is not supported.")
        span = self._asked(call, truth, found[1], interval)
        return _json(self._chart(truth, found[1], Timeframe.parse(_FRAMES[interval]), span, call))

    def slow_down(self, status: int, wait: int) -> Reply:
        """Plain text, as it often is."""
        return Reply(429, b"Too Many Requests\r\n", content_type="text/plain")

    def unwell(self, which: int) -> Reply:
        """What stands before the application."""
        return Reply(502 + which % 2, b"<html><body>Will be right back</body></html>", content_type="text/html")

    @cached_property
    def hours(self) -> MarketCalendar:
        """Regular hours."""
        return calendar("XNYS")

    def _truth(self, symbol: str) -> Sessions | None:
        truths = (self.exchange.truths[venue] for venue in EQUITIES)
        return next((t for t in truths if isinstance(t, Sessions) and symbol in t.symbols), None)

    def _asked(self, call: Call, truth: Sessions, symbol: str, interval: str) -> Span:
        if "period1" in call.params:
            span = Span(*(int(call.params[name]) * SECOND for name in ("period1", "period2")))
        else:
            days = 36_500 if call.params.get("range") == "max" else 1
            span = Span(max(truth.listed(symbol).start, call.now - days * DAY), call.now)
        back = _BACK.get(interval, 60)
        if span.start < call.now - back * DAY:
            words = (
                f"{interval} data not available for startTime={span.start // SECOND} and endTime={span.end // SECOND}."
            )
            raise _refused(
                422, "Unprocessable Entity", f"{words} The requested range must be within the last {back} days."
            )
        if interval == "1m" and span.end - span.start > 8 * DAY:
            raise _refused(422, "Unprocessable Entity", "Only 8 days worth of 1m granularity data are allowed.")
        return span

    def _chart(self, truth: Sessions, symbol: str, timeframe: Timeframe, span: Span, call: Call) -> Json:
        until = Span(span.start, min(span.end, call.now))
        stamps, columns = self._rows(truth, symbol, timeframe, until, call.now)
        if span.end > call.now and stamps:
            stamps, columns = self._with_present(truth, symbol, timeframe, (stamps, columns), call.now)
        result: Json = {"meta": self._meta(symbol, timeframe, call.now)}
        if timeframe != _1D:
            result["meta"]["tradingPeriods"] = self._periods(until)
        if stamps:
            result["timestamp"] = stamps
        if found := events(truth, symbol, span, self._open_of, call.params.get("events", "")):
            result["events"] = found
        result["indicators"] = {"quote": [columns if stamps else {}]}
        if timeframe == _1D:
            closes = adjusted_closes(
                truth, symbol, stamps, columns["close"], partial(self._close_before, truth, symbol)
            )
            result["indicators"]["adjclose"] = [{"adjclose": closes} if stamps else {}]
        return {"chart": {"result": [result], "error": None}}

    def _with_present(self, truth: Sessions, symbol: str, timeframe: Timeframe, rows: Rows, now: int) -> Rows:
        """The latest price as a row of its own; of days, today once more with what was traded since."""
        stamps, columns = rows
        if timeframe != _1D:
            return _with_tick(stamps, columns, now // SECOND)
        if stamps[-1] * SECOND // DAY != now // DAY:
            return rows
        day = Span(now // DAY * DAY, now)
        before = self._rows(truth, symbol, timeframe, day, now - MINUTE)[1]
        return [*stamps, now // SECOND], {n: [*v[:-1], (before[n] or v)[-1], v[-1]] for n, v in columns.items()}

    def _events_alone(self, truth: Sessions, symbol: str, call: Call) -> Json:
        """Quarters: no bars are made of them in here, only what happened is told."""
        meta = self._meta(symbol, _1D, call.now) | {"dataGranularity": "3mo"}
        span = Span(truth.listed(symbol).start, call.now)
        found = events(truth, symbol, span, self._open_of, call.params.get("events", ""))
        return {"chart": {"result": [{"meta": meta, "events": found, "indicators": {"quote": [{}]}}], "error": None}}

    def _rows(self, truth: Sessions, symbol: str, timeframe: Timeframe, span: Span, now: int) -> Rows:
        """Every bar of the sessions, null where nobody traded; a day is stamped with its session's open."""
        day = timeframe == _1D
        wide = Span(span.start - DAY, span.end) if day else span
        opens = self._grid(timeframe, Span(wide.start, max(wide.start, wide.end)))
        found = self._days(truth, symbol, opens, now) if day else page(truth, symbol, timeframe, wide, now, _ALL)
        block = truth.adjusted(symbol, found)
        stamps = np.array([self._open_of(int(at)) for at in opens], np.int64) if day else opens
        keep = (stamps >= span.start) & (stamps < span.end)
        at = np.searchsorted(block.ts, opens)
        there = (
            (at < len(block.ts)) & (block.ts[np.minimum(at, len(block.ts) - 1)] == opens) if len(block.ts) else at < 0
        )
        columns = {
            name: [float(block.values[row, k]) if ok else None for k, ok in zip(at[keep], there[keep], strict=True)]
            for name, row in _COLUMNS.items()
        }
        return (stamps[keep] // SECOND).tolist(), columns

    def _days(self, truth: Sessions, symbol: str, dates: Micros, now: int) -> Block:
        """Days of regular hours, as far as they have gone by ``now``."""
        first = truth.listed(symbol).start // DAY * DAY
        whole = (
            (int(date), self.hours.sessions(Span(int(date), int(date) + DAY)).hull) for date in dates if date >= first
        )
        begun = [(date, Span(s.start, min(s.end, now))) for date, s in whole if s is not None and s.start < now]
        return join([_day(truth, symbol, date, hours) for date, hours in begun])

    def _grid(self, timeframe: Timeframe, span: Span) -> Micros:
        """Opens of regular hours, and on from an early close."""
        opens = self.hours.opens(timeframe, span)
        if timeframe == _1D:
            return opens
        around = Span(span.start // DAY * DAY, -(-span.end // DAY) * DAY)
        late = [np.arange(s.end, s.start + _SESSION, timeframe.micros) for s in self.hours.sessions(around)]
        more = np.concatenate([np.empty(0, np.int64), *late])
        return np.sort(np.concatenate([opens, more[(more >= span.start) & (more < span.end)]]))

    def _close_before(self, truth: Sessions, symbol: str, date: int) -> float:
        """The close of the session before a date, as traded."""
        dates = self.hours.opens(_1D, Span(date - 7 * DAY, date))
        return float(self._days(truth, symbol, dates, date).values[CLOSE, -1])

    def _open_of(self, date: int) -> int:
        found = self.hours.sessions(Span(date, date + DAY))
        return int(found.starts[0])

    def _meta(self, symbol: str, timeframe: Timeframe, now: int) -> Json:
        last = list(self.hours.sessions(Span(now // DAY * DAY - 7 * DAY, now // DAY * DAY + DAY)))[-1]
        around = {"pre": (last.start - 5 * HOUR - 30 * MINUTE, last.start), "post": (last.end, last.end + 4 * HOUR)}
        periods = {"regular": (last.start, last.end), **around}
        return {
            "currency": "USD", "symbol": symbol, "exchangeName": "NMS", "instrumentType": "EQUITY",
            "regularMarketTime": min(now, last.end) // SECOND,
            "gmtoffset": _offset(now), "timezone": _abbreviation(now),
            "exchangeTimezoneName": "America/New_York", "dataGranularity": timeframe.name, "range": "",
            "priceHint": 2, "hasPrePostMarketData": True,
            "currentTradingPeriod": {name: _period(*edges) for name, edges in periods.items()},
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        }  # fmt: skip

    def _periods(self, span: Span) -> list[list[Json]]:
        """Regular hours of every day that the answer touches."""
        whole = Span(span.start // DAY * DAY, -(-span.end // DAY) * DAY)
        return [[_period(s.start, s.end)] for s in self.hours.sessions(whole)]


def _with_tick(
    stamps: list[int], columns: dict[str, list[float | None]], now: int
) -> tuple[list[int], dict[str, list[float | None]]]:
    """The latest price once more, stamped with its second, as a row of no volume."""
    last = next((price for price in reversed(columns["close"]) if price is not None), None)
    return [*stamps, now], {n: [*v, 0 if n == "volume" else last] for n, v in columns.items()}


def _day(truth: Sessions, symbol: str, date: int, hours: Span) -> Block:
    """One bar of the minutes in ``hours``, labelled with the date."""
    minutes = truth.block(symbol, _1M, date // DAY).cut(hours)
    return fold(Block(minutes.ts // DAY * DAY, minutes.values, minutes.scale), _1D)


def _crumb(call: Call) -> Reply:
    """For those who bring the cookie."""
    if _COOKIE not in call.headers.get("Cookie", ""):
        said = {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Cookie"}}}
        raise Refusal(Reply(401, json.dumps(said).encode(), content_type="application/json;charset=utf-8"))
    return Reply(200, _CRUMB.encode(), content_type="text/plain")


def _period(start: int, end: int) -> Json:
    edges = {"start": start // SECOND, "end": end // SECOND}
    return {"timezone": _abbreviation(start), **edges, "gmtoffset": _offset(start)}


def _abbreviation(at: int) -> str:
    return to_datetime(at).astimezone(_ZONE).tzname() or ""


def _offset(now: int) -> int:
    offset = to_datetime(now).astimezone(_ZONE).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _json(body: Json) -> Reply:
    return Reply(200, json.dumps(body).encode(), content_type="application/json;charset=utf-8")


def _refused(status: int, code: str, text: str) -> Refusal:
    body = {"chart": {"result": None, "error": {"code": code, "description": text}}}
    return Refusal(Reply(status, json.dumps(body).encode(), content_type="application/json;charset=utf-8"))
