"""Yahoo's chart interface over the stocks' truth: columns with nulls, splits taken out, the tick in the last row.

Regular hours only. Minutes are had of the last 30 days and for at most 8 days a request, other intraday bars of the
last 60 days (hours: 730).
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gapless.calendars import MarketCalendar, calendar
from gapless.sim.blocks import CLOSE, HIGH, LOW, OPEN, VOLUME
from gapless.sim.exchange import Exchange
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.sessions import Sessions
from gapless.sim.truths import EQUITIES
from gapless.sim.vendors.desk import Call
from gapless.sim.vendors.pages import page
from gapless.spans import DAY, MINUTE, SECOND, Span, Timeframe, parse_time, to_datetime

Json = dict[str, Any]
_CHART = re.compile(r"/v8/finance/chart/([A-Za-z0-9.^=-]+)")
_ZONE = ZoneInfo("America/New_York")
_FRAMES = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1d": "1d"}
_BACK = {"1m": 30, "1d": 36_500}
_1D = Timeframe.parse("1d")
_ALL = 10**6  # bars: there is no limit but that of time
_COLUMNS = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}


class YahooDesk:
    """Serves the stocks below ``/yahoo``."""

    root = "/yahoo"
    limit = 0

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def answer(self, call: Call) -> Reply:
        """A chart."""
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
        stamps, columns = self._rows(truth, symbol, timeframe, Span(span.start, min(span.end, call.now)), call.now)
        if span.end > call.now and columns["close"] and timeframe != _1D:
            stamps, columns = _with_tick(stamps, columns, call.now // SECOND)
        result: Json = {"meta": self._meta(symbol, timeframe, call.now)}
        if stamps:
            result["timestamp"] = stamps
        if "split" in call.params.get("events", ""):
            result["events"] = _events(truth, symbol, span)
        result["indicators"] = {"quote": [columns if stamps else {}]}
        return {"chart": {"result": [result], "error": None}}

    def _events_alone(self, truth: Sessions, symbol: str, call: Call) -> Json:
        """Quarters: no bars are made of them in here, only what happened is told."""
        meta = self._meta(symbol, _1D, call.now) | {"dataGranularity": "3mo"}
        events = _events(truth, symbol, Span(truth.listed(symbol).start, call.now))
        return {"chart": {"result": [{"meta": meta, "events": events, "indicators": {"quote": [{}]}}], "error": None}}

    def _rows(
        self, truth: Sessions, symbol: str, timeframe: Timeframe, span: Span, now: int
    ) -> tuple[list[int], dict[str, list[float | None]]]:
        """Every bar of regular hours, null where nobody traded; a day is stamped with its session's open."""
        day = timeframe == _1D
        wide = Span(span.start - DAY, span.end) if day else span
        opens = self.hours.opens(timeframe, Span(wide.start, max(wide.start, wide.end)))
        block = truth.adjusted(symbol, page(truth, symbol, timeframe, wide, now, _ALL))
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

    def _open_of(self, date: int) -> int:
        found = self.hours.sessions(Span(date, date + DAY))
        return int(found.starts[0])

    def _meta(self, symbol: str, timeframe: Timeframe, now: int) -> Json:
        day = now // DAY * DAY
        found = self.hours.sessions(Span(day, day + DAY))
        hours = {"start": int(found.starts[0]) // SECOND, "end": int(found.ends[-1]) // SECOND} if found else None
        return {
            "currency": "USD", "symbol": symbol, "exchangeName": "NMS", "instrumentType": "EQUITY",
            "regularMarketTime": now // SECOND, "gmtoffset": _offset(now), "timezone": "EDT",
            "exchangeTimezoneName": "America/New_York", "dataGranularity": timeframe.name, "range": "",
            "priceHint": 2, "hasPrePostMarketData": True,
            "currentTradingPeriod": {"regular": {"timezone": "EDT", **(hours or {"start": 0, "end": 0})}},
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        }  # fmt: skip


def _with_tick(
    stamps: list[int], columns: dict[str, list[float | None]], now: int
) -> tuple[list[int], dict[str, list[float | None]]]:
    """The latest price once more, stamped with its second, as a row of no volume."""
    last = next((price for price in reversed(columns["close"]) if price is not None), None)
    return [*stamps, now], {n: [*v, 0 if n == "volume" else last] for n, v in columns.items()}


def _events(truth: Sessions, symbol: str, span: Span) -> Json:
    found = {
        str((parse_time(day) + 13 * 60 * MINUTE + 30 * MINUTE) // SECOND): (old, new)
        for day, old, new in truth.splits.get(symbol, ())
        if span.start <= parse_time(day) < span.end
    }
    return {
        "splits": {
            at: {"date": int(at), "numerator": new, "denominator": old, "splitRatio": f"{new}:{old}"}
            for at, (old, new) in found.items()
        }
    }


def _offset(now: int) -> int:
    offset = to_datetime(now).astimezone(_ZONE).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _json(body: Json) -> Reply:
    return Reply(200, json.dumps(body).encode(), content_type="application/json;charset=utf-8")


def _refused(status: int, code: str, text: str) -> Refusal:
    body = {"chart": {"result": None, "error": {"code": code, "description": text}}}
    return Refusal(Reply(status, json.dumps(body).encode(), content_type="application/json;charset=utf-8"))
