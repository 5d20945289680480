"""When a bar is final: one rule for what is expected and what is asked, kept and healed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.calendars import calendar
from gapless.engine.fetch import opened
from gapless.engine.final import Finality, settle_of
from gapless.engine.venue import Venue
from gapless.engine.walk import Kept, Walk
from gapless.protocols import Source
from gapless.series import Series
from gapless.sim import SimConfig, running
from gapless.sources.binance import spot
from gapless.sources.polygon import polygon
from gapless.sources.yahoo import yahoo
from gapless.spans import DAY, HOUR, MINUTE, WEEK, Span, Timeframe, iso, parse_time

XNYS, ALWAYS = calendar("XNYS"), calendar("24/7")
D1, W1 = Timeframe.parse("1d"), Timeframe.parse("1w")
HALF = parse_time("2024-07-03")  # closes at 17:00 UTC
KEY = "sim-key"


@given(
    now=st.integers(parse_time("2024-06-20"), parse_time("2024-07-20")),
    timeframe=st.sampled_from(["1m", "1h", "1d", "1w"]),
    source=st.sampled_from([yahoo(), polygon(key=KEY), spot()]),
)
def test_what_is_expected_and_what_is_kept_follow_one_rule(now: int, timeframe: str, source: Source) -> None:
    """No bar is missing that the engine would not keep, and none is kept that nobody expects: for any time."""
    frame, market = Timeframe.parse(timeframe), ALWAYS if source.venue == "BINANCE" else XNYS
    around = Span(now - 2 * WEEK, now + WEEK)
    final, at = Finality(source, market), now - settle_of(source, frame)
    pending = market.pending(frame, around, at)
    opens = market.opens(frame, around)[-200:]
    for opened_at, waits in zip(opens.tolist(), pending.mask(opens).tolist(), strict=True):
        assert waits == (opened_at >= final.until(frame, now)) == (final.at(frame, opened_at) > now)


def test_a_day_of_stocks_is_final_after_its_session() -> None:
    """An early close too; of a source whose days hold the evening four hours later; a week with its last session."""
    assert iso(Finality(yahoo(), XNYS).at(D1, HALF)) == "2024-07-03T17:15:00Z"
    assert iso(Finality(polygon(key=KEY), XNYS).at(D1, HALF)) == "2024-07-03T21:15:00Z"
    assert iso(Finality(polygon(key=KEY), XNYS).at(D1, parse_time("2024-01-03"))) == "2024-01-04T01:15:00Z"
    assert iso(Finality(yahoo(), XNYS).at(W1, parse_time("2024-07-01"))) == "2024-07-05T20:15:00Z"


def test_crypto_is_final_at_midnight() -> None:
    """As before; and so is every bar where no calendar is known."""
    midnight = HALF + DAY
    assert Finality(spot(), ALWAYS).at(D1, HALF) == Finality(spot()).at(D1, HALF) == midnight + spot().settle
    crypto = polygon(key=KEY, venue="CRYPTO")
    assert Finality(crypto, ALWAYS).at(D1, HALF) == midnight + MINUTE


@pytest.mark.parametrize(
    ("vendor", "now", "days"),
    [
        ("yahoo", "17:10", ["2024-07-01", "2024-07-02"]),
        ("yahoo", "17:20", ["2024-07-01", "2024-07-02", "2024-07-03"]),
        ("polygon", "21:10", ["2024-07-01", "2024-07-02"]),
        ("polygon", "21:20", ["2024-07-01", "2024-07-02", "2024-07-03"]),
    ],
)
def test_todays_day_is_kept_as_soon_as_it_is_settled(vendor: str, now: str, days: list[str]) -> None:
    """Of a half day in the early evening by UTC: what is stored then is the whole day, as the venue has it."""
    config = SimConfig(symbols=1, start="2024-06-01", now=f"2024-07-03T{now}:30Z", speed=0.0)
    with running(config) as sim:
        source: Source = (
            yahoo(f"{sim.url}/yahoo") if vendor == "yahoo" else polygon(f"{sim.url}/polygon", key=KEY, weight=0)
        )
        kept = list[Kept]()

        async def keep(part: Kept) -> None:
            kept.append(part)

        async def walk() -> None:
            async with opened(source, clock=sim.clock) as http:
                series, span = Series.parse("XNAS:AAPL", "1d"), Span(HALF - 2 * DAY, HALF + DAY)
                await Walk(series, span, http, Venue(http, XNYS), "run", keep).run()

        asyncio.run(walk())
        told = {str(row["ts"])[:10]: row for part in kept for row in part.frame.iter_rows(named=True)}
        assert sorted(told) == days
        if vendor == "polygon":
            truth = sim.markets["XNAS"].truth("AAPL", "1d", Span(HALF - 2 * DAY, HALF + DAY))
            assert [row["volume"] for row in told.values()] == truth["volume"].to_list()[: len(days)]
        else:
            session = sim.markets["XNAS"].truth("AAPL", "1m", Span(HALF - DAY + 13 * HOUR + 30 * MINUTE, HALF))
            assert told["2024-07-02"]["open"] == session["open"][0]
