"""Polygon (Massive): aggregates of stocks and crypto behind a key; tickers, splits, dividends; cursors.

``limit`` counts the minutes or days that bars are made of; a bar that it would cut is left to ``next_url``. The window
that holds ``from`` is sent whole. Days and weeks begin at midnight in New York (crypto: UTC), weeks on Sunday.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gapless.sim.blocks import CLOSE, HIGH, LOW, OPEN, QUOTE, TRADES, VOLUME, Block, Truth, fold
from gapless.sim.exchange import Exchange
from gapless.sim.refusals import Refusal, Reply
from gapless.sim.sessions import Sessions
from gapless.sim.truths import EQUITIES
from gapless.sim.vendors.desk import Call
from gapless.sim.vendors.pages import page
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Span, Timeframe, iso, parse_time, to_datetime

Json = dict[str, Any]
_AGGREGATES = re.compile(r"/v2/aggs/ticker/([^/]+)/range/(\d{1,4})/(\w+)/([\d-]+)/([\d-]+)")
_UNITS = {"minute": MINUTE, "hour": HOUR, "day": DAY, "week": WEEK}
_NEW_YORK, _UTC = ZoneInfo("America/New_York"), ZoneInfo("UTC")
_1M, _1D = Timeframe.parse("1m"), Timeframe.parse("1d")
_MOST, _USUAL = 50_000, 5_000
_ANNOUNCED = 2 * WEEK  # before the ex-date of a dividend
_REQUEST = "0123456789abcdef0123456789abcdef"


class PolygonDesk:
    """Serves CRYPTO and the stocks' venues below ``/polygon``."""

    root = "/polygon"
    limit = 0  # a paid plan

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._lists: dict[str, Callable[[Call], list[Json]]] = {
            "/v3/reference/tickers": self._tickers,
            "/v3/reference/splits": self._splits,
            "/v3/reference/dividends": self._dividends,
        }

    def answer(self, call: Call) -> Reply:
        """Aggregates, a list, or the time."""
        self._admit(call)
        if call.path == "/v1/marketstatus/now":
            now = datetime.fromtimestamp(self.exchange.client_time() // 1_000_000, _NEW_YORK).isoformat()
            return _json({"market": "open", "serverTime": now})
        if call.path in self._lists:
            return _json(self._list(call))
        asked = _AGGREGATES.fullmatch(call.path)
        if asked is None:
            raise Refusal(Reply(404, b"404 page not found", content_type="text/plain"))
        return self._aggregates(call, *asked.groups())

    def slow_down(self, status: int, wait: int) -> Reply:
        """Over the requests of a minute, in its own words."""
        text = "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."
        return _error(429, f"{text} https://polygon.io/pricing")

    def unwell(self, which: int) -> Reply:
        """Errors of the application and of what stands before it."""
        if which % 2:
            return Reply(502, b"<html><body>502 Bad Gateway</body></html>", content_type="text/html")
        return _error(500 + 3 * (which // 2), "Internal server error")

    def _admit(self, call: Call) -> None:
        """The key, in the header or among the parameters."""
        key = call.headers.get("Authorization", "").removeprefix("Bearer ") or call.params.get("apiKey", "")
        if not key:
            raise Refusal(_error(401, "API Key was not provided"))
        if key not in self.exchange.config.keys:
            raise Refusal(_error(401, "Unknown API Key"))

    # ---- aggregates

    def _aggregates(self, call: Call, ticker: str, count: str, unit: str, first: str, last: str) -> Reply:
        if unit not in _UNITS or not int(count):
            raise Refusal(_error(400, f"The parameter 'timespan' cannot be '{unit}'"))
        adjusted = call.params.get("adjusted", "true") == "true"
        found = self._truth(ticker)
        if found is None:
            return _answer(ticker, [], adjusted, None)
        truth, symbol = found
        size = int(count) * _UNITS[unit]
        zone = _UTC if ticker.startswith("X:") else _NEW_YORK
        days = zone if size < DAY else _UTC  # a day's bar is labelled with its date at 00:00 UTC in here
        span = Span(_edge(first, days), _edge(last, days) + (DAY if "-" in last else 1))
        limit = min(_MOST, int(call.params.get("limit", _USUAL)))
        block, after = _bars(truth, symbol, size, _widened(span, size), call.now, limit)
        if adjusted and isinstance(truth, Sessions):
            block = truth.adjusted(symbol, block)
        times = _stamps(block.ts, size, zone)
        rows = call.spoil(_rows(times, block), symbol, Timeframe(size, ""), limit)
        rows = rows if call.params.get("sort", "asc") == "asc" else rows[::-1]
        path = f"/v2/aggs/ticker/{ticker}/range/{count}/{unit}/%d/{last}"
        return _answer(ticker, rows, adjusted, _next(call, path % (after // 1000)) if after else None)

    def _truth(self, ticker: str) -> tuple[Truth, str] | None:
        truths, symbol = self.exchange.truths, ticker.removeprefix("X:")
        venues = ["CRYPTO"] if ticker.startswith("X:") else list(EQUITIES)
        return next(((truths[v], symbol) for v in venues if symbol in truths[v].symbols), None)

    # ---- lists

    def _list(self, call: Call) -> Json:
        told = _opened(call.params["cursor"]) if "cursor" in call.params else dict(call.params)
        rows = self._lists[call.path](Call(call.path, told, call.headers, call.now, call.spoil))
        start, limit = int(told.get("start", 0)), int(told.get("limit", 100))
        part: Json = {"results": rows[start : start + limit], "status": "OK", "request_id": _REQUEST, "count": limit}
        if len(rows) > start + limit:
            more = {k: v for k, v in told.items() if k != "apiKey"} | {"start": str(start + limit)}
            part["next_url"] = f"https://api.massive.com{call.path}?cursor={_closed(more)}"
        return part

    def _tickers(self, call: Call) -> list[Json]:
        crypto = call.params.get("market") == "crypto"
        exchanges = ["CRYPTO"] if crypto else [call.params["exchange"]] if "exchange" in call.params else list(EQUITIES)
        known = [(v, self.exchange.truths[v]) for v in exchanges if v in ("CRYPTO", *EQUITIES)]
        found = [_ticker(v, truth, s, call.now) for v, truth in known for s in truth.symbols]
        active = call.params.get("active", "true") == "true"
        return sorted((t for t in found if t is not None and t["active"] == active), key=lambda t: str(t["ticker"]))

    def _splits(self, call: Call) -> list[Json]:
        found = [
            {"execution_date": day, "id": f"{symbol}{day}", "split_from": old, "split_to": new, "ticker": symbol}
            for symbol, splits in (self.exchange.config.splits or {}).items()
            for day, old, new in splits
            if call.params.get("ticker", symbol) == symbol and parse_time(day) <= call.now
        ]
        return sorted(found, key=lambda s: str(s["execution_date"]), reverse=call.params.get("order", "desc") == "desc")

    def _dividends(self, call: Call) -> list[Json]:
        """As the recorded ones: announced before the ex-date, so those of the next days are told too."""
        found = [
            _dividend(symbol, day, cash)
            for symbol, dividends in (self.exchange.config.dividends or {}).items()
            for day, cash in dividends
            if call.params.get("ticker", symbol) == symbol and parse_time(day) - _ANNOUNCED <= call.now
        ]
        down = call.params.get("order", "desc") == "desc"
        return sorted(found, key=lambda d: str(d["ex_dividend_date"]), reverse=down)


# ---------------------------------------------------------------- bars


def _bars(truth: Truth, symbol: str, size: int, span: Span, now: int, limit: int) -> tuple[Block, int | None]:
    """Whole bars made of at most ``limit`` minutes or days, and where the next page starts."""
    parts = page(truth, symbol, _1M if size < DAY else _1D, span, now, limit + 1)
    wide, shift = Timeframe(size, ""), DAY if size % WEEK == 0 else 0  # their weeks begin on Sunday
    whole = len(parts)
    if whole > limit:
        windows = (parts.ts + shift - wide.offset) // size
        whole = int(np.searchsorted(windows, windows[limit]))  # up to the bar that the limit cuts, or that follows it
    folded = fold(Block(parts.ts[:whole] + shift, parts.values[:, :whole], parts.scale), wide)
    after = int(parts.ts[whole]) if whole < len(parts) else None
    return Block(folded.ts - shift, folded.values, folded.scale), after


def _widened(span: Span, size: int) -> Span:
    """From the window that holds the start."""
    if size >= DAY:
        return Span(span.start // DAY * DAY, span.end)
    return Span(span.start // size * size, span.end)


def _edge(text: str, zone: ZoneInfo) -> int:
    """Milliseconds, or a date of the zone."""
    return parse_time(datetime.fromisoformat(text).replace(tzinfo=zone)) if "-" in text else int(text) * 1000


def _stamps(ts: Any, size: int, zone: ZoneInfo) -> list[int]:
    """Milliseconds; days at midnight of the zone."""
    if size < DAY:
        return [int(t) // 1000 for t in ts]
    return [parse_time(to_datetime(int(t)).replace(tzinfo=zone)) // 1000 for t in ts]


def _rows(times: list[int], block: Block) -> list[bytes]:
    names = {"v": VOLUME, "o": OPEN, "c": CLOSE, "h": HIGH, "l": LOW}
    rows = []
    for t, values in zip(times, block.values.T.tolist(), strict=True):
        row: Json = {name: values[at] for name, at in names.items()}
        row |= {
            "vw": round(values[QUOTE] / values[VOLUME], 4) if values[VOLUME] else 0,
            "t": t,
            "n": int(values[TRADES]),
        }
        rows.append(json.dumps(row, separators=(",", ":")).encode())
    return rows


# ---------------------------------------------------------------- words


def _answer(ticker: str, rows: list[bytes], adjusted: bool, more: str | None) -> Reply:
    """Rows are printed already; where there are none, nothing is said of them."""
    count = {"queryCount": len(rows), "resultsCount": len(rows), "count": len(rows)}
    body = {"ticker": ticker, **count, "adjusted": adjusted, "status": "OK", "request_id": _REQUEST}
    text = json.dumps(body | ({"next_url": more} if more else {})).encode()
    results = b',"results":[' + b",".join(rows) + b"]}" if rows else b"}"
    return Reply(200, text[:-1] + results, content_type="application/json")


def _next(call: Call, path: str) -> str:
    told = {k: call.params[k] for k in ("limit", "sort", "adjusted") if k in call.params}
    return f"https://api.massive.com{path}?cursor={_closed(told)}&{'&'.join(f'{k}={v}' for k, v in told.items())}"


def _closed(told: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(dict(told)).encode()).decode().rstrip("=")


def _opened(cursor: str) -> dict[str, str]:
    return dict(json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))))


def _ticker(venue: str, truth: Truth, symbol: str, now: int) -> Json | None:
    listed = truth.listed(symbol)
    if listed.start > now:
        return None
    told: Json = {"ticker": symbol, "name": f"{symbol} Inc.", "market": "stocks", "locale": "us"}
    told |= {"primary_exchange": venue, "type": "CS", "active": now < listed.end, "currency_name": "usd"}
    if venue == "CRYPTO":
        told |= {"ticker": f"X:{symbol}", "market": "crypto", "locale": "global"}
        del told["primary_exchange"], told["type"]
    return told if told["active"] else told | {"delisted_utc": iso(listed.end)}


def _dividend(symbol: str, day: str, cash: float) -> Json:
    ex = parse_time(day)
    dates = {
        "declaration_date": ex - _ANNOUNCED,
        "ex_dividend_date": ex,
        "record_date": ex + DAY,
        "pay_date": ex + WEEK,
    }
    told = {name: iso(at)[:10] for name, at in dates.items()}
    return {"ticker": symbol, "cash_amount": cash, "currency": "USD", "dividend_type": "CD", "frequency": 4, **told}


def _json(body: Json) -> Reply:
    return Reply(200, json.dumps(body).encode(), content_type="application/json")


def _error(status: int, text: str) -> Reply:
    body = json.dumps({"status": "ERROR", "request_id": _REQUEST, "error": text}).encode()
    return Reply(status, body, content_type="application/json")
