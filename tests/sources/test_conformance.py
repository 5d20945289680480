"""Every source passes the checks that are offered to everybody; the vendors are those of the simulated venue."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest

from gapless.conformance import CHECKS, Asked, Subject, Told
from gapless.protocols import Source
from gapless.series import Series
from gapless.sim import SimConfig
from gapless.sim.exchange import Exchange
from gapless.sim.rules import SPOT, USDM
from gapless.sim.vendors import vendors
from gapless.sim.vendors.desk import Desk
from gapless.sources.binance import spot, usdm
from gapless.sources.bitfinex import bitfinex
from gapless.sources.polygon import polygon
from gapless.sources.yahoo import yahoo
from gapless.spans import MINUTE, Span, parse_time

NOW = parse_time("2024-05-07T18:00:20Z")
KEY = "a-key-nobody-should-see"
CONFIG = SimConfig(symbols=8, start="2024-03-01", now=NOW, speed=0.0, weight_limit=0, keys=(KEY,), listed_late=0.0)


@cache
def exchange() -> Exchange:
    return Exchange(CONFIG)


@cache
def desks() -> dict[str, Desk]:
    return {vendor.root: Desk(exchange(), vendor) for vendor in vendors(exchange())}


def binance(asked: Asked, now: int) -> Told:
    """Both of Binance's APIs at a time."""
    exchange().clock._at = (now, 0)
    api = SPOT if asked.path.startswith(SPOT.prefix) else USDM
    handled = exchange().handle(api, asked.path.rpartition("/")[2], asked.params, "somebody")
    return Told(handled.reply.body, handled.reply.status, handled.reply.headers)


def vendor(root: str, asked: Asked, now: int) -> Told:
    """A vendor beside Binance at a time."""
    exchange().clock._at = (now, 0)
    handled = desks()[root].handle(asked.path, asked.params, asked.headers, "somebody")
    return Told(handled.reply.body, handled.reply.status, handled.reply.headers)


def subject(
    make: Callable[[], Source], answer: Callable[[Asked, int], Told], name: str, frame: str, secret: str = ""
) -> Subject:
    """A series whose last hundred bars by NOW are the truth."""
    series = Series.parse(name, frame)
    size, source = series.timeframe.micros, make()
    exchange().clock._at = (NOW, 0)
    end = series.timeframe.floor(NOW - source.settle - MINUTE)
    truth = exchange().truths[source.venue].truth(series.instrument, frame, Span(end - 400 * size, end)).tail(100)
    return Subject(make, answer, series, truth, NOW, secret)


SUBJECTS = {
    "binance": partial(subject, spot, binance, "BINANCE:BTCUSDT", "1m"),
    "binance-usdm": partial(subject, usdm, binance, "BINANCEUSDM:ALGOUSDT", "5m"),
    "bitfinex": partial(subject, bitfinex, partial(vendor, "/bitfinex"), "BITFINEX:ALGOUSD", "1m"),
    "bitfinex-days": partial(subject, bitfinex, partial(vendor, "/bitfinex"), "BITFINEX:BTCUSD", "1h"),
    "polygon": partial(
        subject, partial(polygon, key=KEY), partial(vendor, "/polygon"), "XNAS:SHY", "1m", KEY
    ),
    "polygon-fifteen": partial(
        subject, partial(polygon, key=KEY), partial(vendor, "/polygon"), "XNAS:AAPL", "15m", KEY
    ),
    "polygon-days": partial(
        subject, partial(polygon, key=KEY, venue="XNYS"), partial(vendor, "/polygon"), "XNYS:IBM", "1d", KEY
    ),
    "yahoo": partial(subject, yahoo, partial(vendor, "/yahoo"), "XNAS:AAPL", "1m"),
    "polygon-crypto": partial(
        subject, partial(polygon, key=KEY, venue="CRYPTO"), partial(vendor, "/polygon"), "CRYPTO:ALGOUSD", "1m", KEY
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_source_conforms(name: str, check: Callable[[Subject], None]) -> None:
    """No source is exempt from any check."""
    check(SUBJECTS[name]())
