"""Funding rates and open interest as Binance sends them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest

from gapless.errors import Faulty
from gapless.series import Instrument
from gapless.sources.binance import usdm
from gapless.sources.binance_extra import values_of
from gapless.spans import Span
from recorded import Recorded

WIRE = Path(__file__).parents[2].parent / "shared" / "wire" / "binance_nautilus_lgpl"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason="recorded answers are not part of the project")
BTC = Instrument("BINANCEUSDM", "BTCUSDT")


def told(kind: str, body: bytes, span: Span) -> pl.DataFrame:
    """What the source makes of an answer about a span."""
    (teller,) = (one for one in values_of(usdm()) if one.value == kind)
    return asyncio.run(teller.fetch(Recorded(body), BTC, span)).frame


@needs_wire
def test_recorded_funding_rates_are_values_at_their_times() -> None:
    """Every row, to the digit."""
    body = (WIRE / "http_responses__http_futures_market_funding_rate.json").read_bytes()
    rows = json.loads(body)
    span = Span(rows[0]["fundingTime"] * 1000, rows[-1]["fundingTime"] * 1000 + 1)
    frame = told("funding_rate", body, span)
    assert frame["ts"].to_physical().to_list() == [row["fundingTime"] * 1000 for row in rows]
    assert frame["value"].to_list() == [float(row["fundingRate"]) for row in rows]


@needs_wire
def test_recorded_open_interest_is_in_contracts() -> None:
    """The times come as text, and are read all the same."""
    body = (WIRE / "http_responses__http_futures_market_open_interest_historical.json").read_bytes()
    rows = json.loads(body)
    span = Span(int(rows[0]["timestamp"]) * 1000, int(rows[-1]["timestamp"]) * 1000 + 1)
    frame = told("open_interest", body, span)
    assert frame["value"].to_list() == [float(row["sumOpenInterest"]) for row in rows]


def test_another_symbol_or_time_is_a_fault() -> None:
    """Caught at receipt."""
    span = Span.parse("2025-05-01", "2025-05-02")
    for symbol, at in (("ETHUSDT", span.start), ("BTCUSDT", span.end)):
        body = json.dumps([{"symbol": symbol, "fundingRate": "0.1", "fundingTime": at // 1000}]).encode()
        with pytest.raises(Faulty):
            told("funding_rate", body, span)
