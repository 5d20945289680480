"""The venue on a socket: aiohttp in front of ``Exchange``, and the paths under ``/sim/`` through which tests look in.

Websockets are in sockets.py, over the same ``Exchange``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from gapless.errors import GaplessError, UsageError
from gapless.series import Instrument
from gapless.sim.chance import draw
from gapless.sim.exchange import Exchange, Handled
from gapless.sim.refusals import Reply
from gapless.sim.rules import APIS, Api
from gapless.sim.sockets import add_sockets, open_sockets
from gapless.sim.value_desk import FUNDING, INTEREST, ValueDesk
from gapless.sim.vendors import vendors
from gapless.sim.vendors.desk import Desk
from gapless.spans import SpanSet, Timeframe, iso, parse_duration, parse_time

ENDPOINTS = ("ping", "time", "exchangeInfo", "klines")


def application(exchange: Exchange) -> web.Application:
    """Both APIs, the other vendors, and the paths under ``/sim/``."""
    app = web.Application()
    for api in APIS:
        for endpoint in ENDPOINTS:
            app.router.add_get(f"{api.prefix}/{endpoint}", partial(_vendor, exchange, api, endpoint))
    desk = ValueDesk(exchange)
    for path in (FUNDING, INTEREST):
        app.router.add_get(path, partial(_values, desk, path))
    for vendor in vendors(exchange):
        app.router.add_get(vendor.root + "{path:/.*}", partial(_beside, Desk(exchange, vendor)))
    add_sockets(app, exchange)
    for name, look in _LOOKS.items():
        app.router.add_get(f"/sim/{name}", partial(_look, exchange, look))
    app.router.add_post("/sim/clock", partial(_look, exchange, _advance))
    app.router.add_post("/sim/faults", partial(_look, exchange, _plan))
    return app


async def _vendor(exchange: Exchange, api: Api, endpoint: str, request: web.Request) -> web.StreamResponse:
    return await _send(exchange, exchange.handle(api, endpoint, request.query, request.remote or ""), request)


async def _values(desk: ValueDesk, path: str, request: web.Request) -> web.StreamResponse:
    return await _send(desk.exchange, desk.handle(path, request.query, request.remote or ""), request)


async def _beside(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Another vendor."""
    handled = desk.handle(request.match_info["path"], request.query, request.headers, request.remote or "")
    return await _send(desk.exchange, handled, request)


async def _send(exchange: Exchange, handled: Handled, request: web.Request) -> web.StreamResponse:
    """The reply, with what is to happen to it on the way."""
    if handled.fault == "timeout":
        return await _hold(exchange.config.hold, request)
    if handled.fault == "reset":
        return await _reset(handled, request)
    if handled.fault == "truncate":
        return _response(handled.reply, _cut(handled, exchange.config.seed))
    return _response(handled.reply, handled.reply.body)


def _response(reply: Reply, body: bytes) -> web.Response:
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=body, headers=headers)


def _cut(handled: Handled, seed: int) -> bytes:
    """A body that stops inside the JSON, with a Content-Length that agrees."""
    body = handled.reply.body
    return body[: 1 + int(draw(seed, "cut", handled.number) * (len(body) - 1))]


async def _hold(seconds: float, request: web.Request) -> web.StreamResponse:
    """No answer for a while, then the connection goes away without one."""
    await asyncio.sleep(seconds)
    _abort(request)
    return web.Response()


async def _reset(handled: Handled, request: web.Request) -> web.StreamResponse:
    """Half the body, then a TCP reset."""
    body = handled.reply.body
    response = web.StreamResponse(status=200, headers={"Content-Type": handled.reply.content_type})
    response.content_length = len(body)
    with suppress(ConnectionError):  # the client may have gone first
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    _abort(request)
    return response


def _abort(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


# ---------------------------------------------------------------- looking in


Look = Callable[[Exchange, web.Request], object]


async def _look(exchange: Exchange, look: Look, request: web.Request) -> web.Response:
    try:
        return web.json_response(look(exchange, request))
    except GaplessError as error:
        body = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
        return web.json_response(body, status=400)


def _need(request: web.Request, name: str) -> str:
    if name not in request.query:
        raise UsageError(f"the parameter '{name}' is missing.", hint=f"add {name}=… to the query")
    return request.query[name]


def _truth(exchange: Exchange, request: web.Request) -> object:
    instrument = Instrument.parse(_need(request, "instrument"))
    timeframe = Timeframe.parse(request.query.get("timeframe", "1m"))
    start, end = parse_time(_need(request, "start")), parse_time(_need(request, "end"))
    return exchange.truth(instrument, timeframe, start, end)


def _listings(exchange: Exchange, request: web.Request) -> object:
    """``delisted_at`` is null for a symbol that lives on."""
    return [
        {
            "instrument": str(listing.instrument),
            "listed_at": None if listing.listed_at is None else iso(listing.listed_at),
            "delisted_at": None if listing.delisted_at is None else iso(listing.delisted_at),
        }
        for truth in exchange.truths.values()
        for listing in truth.listings()
    ]


def _interruptions(exchange: Exchange, request: web.Request) -> object:
    """Outages of each venue and halts of each symbol."""
    return {
        venue: {
            "outages": _spans(truth.outages),
            "halts": {s: spans for s in truth.symbols if (spans := _spans(truth.halts(s)))},
        }
        for venue, truth in exchange.truths.items()
    }


def _advance(exchange: Exchange, request: web.Request) -> object:
    exchange.clock.advance(parse_duration(_need(request, "advance")))
    return _now(exchange, request)


def _plan(exchange: Exchange, request: web.Request) -> object:
    exchange.plan_faults(_need(request, "plan"))
    return dict(exchange.faults.injected)


def _now(exchange: Exchange, request: web.Request) -> object:
    now = exchange.clock()
    return {"now": iso(now), "ts": now, "speed": exchange.clock.speed}


def _spans(spans: SpanSet) -> list[list[str]]:
    return [[iso(s.start), iso(s.end)] for s in spans]


_LOOKS: dict[str, Look] = {
    "truth": _truth,
    "listings": _listings,
    "interruptions": _interruptions,
    "faults": lambda exchange, request: dict(exchange.faults.injected),
    "requests": lambda exchange, request: {
        "total": exchange.requests.total(),
        "by_answer": dict(exchange.requests),
    },
    "sockets": lambda exchange, request: {
        "connected": dict(exchange.connections),
        "open": open_sockets(request.app),
    },
    "clock": _now,
}
