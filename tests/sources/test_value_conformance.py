"""Every source of values passes the checks that are offered to everybody; and the checks catch what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import polars as pl
import pytest

from gapless.conformance import VALUE_CHECKS, Asked, Told, ValueSubject, check_values
from gapless.engine.value_tasks import TellsValues
from gapless.protocols import ValuePage
from gapless.series import Instrument
from gapless.sim import SimConfig
from gapless.sim.exchange import Exchange
from gapless.sim.rules import USDM
from gapless.sim.value_desk import ValueDesk
from gapless.sources.binance import usdm
from gapless.sources.binance_extra import FUNDING_PATH, INTEREST_PATH, FundingRates, OpenInterest
from gapless.spans import DAY, Span, parse_time

NOW = parse_time("2024-05-07T18:00:20Z")
CONFIG = SimConfig(symbols=4, start="2024-03-01", now=NOW, speed=0.0, weight_limit=0, listed_late=0.0, delisted=0.0)
BTC = Instrument("BINANCEUSDM", "BTCUSDT")


@cache
def desk() -> ValueDesk:
    return ValueDesk(Exchange(CONFIG))


def binance(asked: Asked, now: int) -> Told:
    """The venue's two paths of values, and its clock, at a time."""
    exchange = desk().exchange
    exchange.clock._at = (now, 0)
    if asked.path in (FUNDING_PATH, INTEREST_PATH):
        reply = desk().handle(asked.path, asked.params, "somebody").reply
    else:
        reply = exchange.handle(USDM, asked.path.rpartition("/")[2], asked.params, "somebody").reply
    return Told(reply.body, reply.status, reply.headers)


def subject(value: str) -> ValueSubject:
    """The last hundred values a day before NOW: what is younger than its age is not claimed yet."""
    desk().exchange.clock._at = (NOW, 0)
    told = desk().exchange.values.values(value, "BTCUSDT", Span(NOW - 40 * DAY, NOW - DAY))[-100:]
    ts = pl.Series("ts", [t for t, _ in told]).cast(pl.Datetime("us", "UTC"))
    truth = pl.DataFrame([ts, pl.Series("value", [float(text) for _, text in told])])
    return ValueSubject(usdm, value, binance, BTC, truth, NOW)


def kinds() -> list[str]:
    """What the sources that are built in tell."""
    source = usdm()
    assert isinstance(source, TellsValues)
    return [one.value for one in source.values()]


@pytest.mark.parametrize("check", VALUE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("value", kinds())
def test_every_source_of_values_conforms(value: str, check: Callable[[ValueSubject], None]) -> None:
    """No kind is exempt from any check."""
    check(subject(value))


def spoilt(kind: type, change: Callable[[ValuePage, Span], ValuePage]) -> type:
    """The kind with its pages changed."""

    class Spoilt(kind):  # type: ignore[misc,valid-type]
        async def fetch(self, http: Any, instrument: Instrument, span: Span) -> ValuePage:
            return change(await super().fetch(http, instrument, span), span)

    return Spoilt


WRONG: dict[str, tuple[str, type, Callable[[ValuePage, Span], ValuePage]]] = {
    "the last value is dropped": (
        "a_page_tells_every_value_it_covers", FundingRates, lambda page, span: replace(page, frame=page.frame.head(-1))
    ),
    "all that was asked is claimed of a full page": (
        "a_page_tells_every_value_it_covers", FundingRates, lambda page, span: replace(page, covered=span)
    ),
    "values are labelled an hour late": (
        "value_edges_are_half_open", OpenInterest,
        lambda page, span: replace(page, frame=page.frame.with_columns(pl.col("ts").dt.offset_by("5m"))),
    ),
    "times are naive": (
        "the_columns_are_times_and_values", OpenInterest,
        lambda page, span: replace(page, frame=page.frame.with_columns(pl.col("ts").dt.replace_time_zone(None))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_the_checks_catch_what_is_wrong(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of values with one mistake fails the check that is meant for it."""
    name, kind, change = WRONG[words]
    monkeypatch.setattr(f"gapless.sources.binance_extra.{kind.__name__}", spoilt(kind, change))
    with pytest.raises(AssertionError, match=name):
        check_values(subject("funding_rate" if kind is FundingRates else "open_interest"))
