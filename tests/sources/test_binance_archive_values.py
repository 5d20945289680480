"""Files of funding rates and open interest, as Binance's archive writes them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile

import pytest

from gapless.errors import Damaged
from gapless.protocols import Offer, ValuePage
from gapless.series import Instrument
from gapless.sources.binance_archive import usdm
from gapless.spans import DAY, MINUTE, Span, iso, parse_time
from recorded import Recorded

BTC = Instrument("BINANCEUSDM", "BTCUSDT")
HEADER = "create_time,symbol,sum_open_interest,sum_open_interest_value\n"
RATES = "calc_time,funding_interval_hours,last_funding_rate\n"
DAY_OF = parse_time("2025-01-21")
LATE = parse_time("2026-07-01")


def read(kind: str, text: str, at: int) -> list[tuple[str, float]]:
    """What is made of a file that was put there for the time ``at``."""
    (files,) = (one for one in usdm().values() if one.value == kind)
    (offer,) = files.offers(BTC, Span(at + 10 * MINUTE, at + 11 * MINUTE), at + 60 * DAY)
    page = asyncio.run(_page(files, offer, text))
    assert page.covered == offer.span
    return [(iso(ts), value) for ts, value in page.frame.select(page.frame["ts"].to_physical(), "value").iter_rows()]


async def _page(files, offer: Offer, text: str) -> ValuePage:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(offer.name.replace(".zip", ".csv"), text)
    body = sink.getvalue()
    page = await files.read(Recorded(body), BTC, offer, hashlib.md5(body).hexdigest())
    assert page is not None
    return page


def rows(*told: str) -> str:
    return HEADER + "".join(f"{when},BTCUSDT,{value},9\n" for when, value in (line.split("=") for line in told))


def test_a_row_is_for_the_moment_of_its_snapshot() -> None:
    """00:05 to the next midnight stand as they are; 00:00 to 23:55 are named by their start, and moved on by five
    minutes. Where first and last row are both left out, the day decides."""
    ends = rows("2025-01-21 00:05:00=1.5000000", "2025-01-22 00:00:00=2")
    assert read("open_interest", ends, DAY_OF) == [("2025-01-21T00:05:00Z", 1.5), ("2025-01-22T00:00:00Z", 2.0)]
    starts = rows("2026-07-01 00:00:00=1", "2026-07-01 23:55:00=2")
    assert read("open_interest", starts, LATE) == [("2026-07-01T00:05:00Z", 1.0), ("2026-07-02T00:00:00Z", 2.0)]
    assert read("open_interest", rows("2025-01-21 12:00:00=1"), DAY_OF)[0][0] == "2025-01-21T12:00:00Z"
    assert read("open_interest", rows("2026-07-01 12:00:00=1"), LATE)[0][0] == "2026-07-01T12:05:00Z"
    both = rows("2025-01-21 00:00:00=9", "2025-01-21 00:05:00=1", "2025-01-22 00:00:00=2")
    assert [value for _, value in read("open_interest", both, DAY_OF)] == [1.0, 2.0], "a first midnight is yesterday's"


def test_disorder_repetition_and_blanks_are_put_right_and_contradictions_not_believed() -> None:
    """Sorted, each once; a row without a value is none; of two that disagree neither is kept."""
    text = rows(
        "2025-01-21 00:20:00=4", "2025-01-21 00:05:00=1", "2025-01-21 00:05:00=1", "2025-01-21 00:10:00=",
        "2025-01-21 00:15:00=3", "2025-01-21 00:15:00=3.5",
    )  # fmt: skip
    assert read("open_interest", text, DAY_OF) == [("2025-01-21T00:05:00Z", 1.0), ("2025-01-21T00:20:00Z", 4.0)]


def test_rates_keep_their_jitter_with_and_without_a_header() -> None:
    """Milliseconds, as REST tells them."""
    at = parse_time("2025-01-01")
    text = f"{at // 1000 + 1},8,0.00005703\n{(at + DAY) // 1000},8,-0.0001\n"
    for table in (RATES + text, text):
        told = read("funding_rate", table, at)
        assert told == [("2025-01-01T00:00:00.001000Z", 0.00005703), ("2025-01-02T00:00:00Z", -0.0001)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("open_interest", "create_time,symbol\n2025-01-21 00:05:00,BTCUSDT\n"),
        ("open_interest", HEADER + "2025-01-21 00:05:00,ETHUSDT,1,1\n"),
        ("open_interest", HEADER + "2025-01-21,BTCUSDT,1,1\n"),
        ("open_interest", HEADER + "2025-01-23 00:05:00,BTCUSDT,1,1\n"),
        ("open_interest", HEADER + "2025-01-21 00:05:00,BTCUSDT,much,1\n"),
        ("open_interest", HEADER + "2025-01-21 00:05:00,BTCUSDT,NaN,1\n"),
        ("open_interest", HEADER + "2025-01-21 00:05:00,BTCUSDT,inf,1\n"),
        ("open_interest", ""),
        ("funding_rate", RATES + "soon,8,0.1\n"),
        ("funding_rate", RATES + "1700000000000,8,0.1\n"),
        ("funding_rate", "<html>no</html>"),
    ],
)
def test_what_cannot_be_the_files_content_is_damage(kind: str, text: str) -> None:
    """Another symbol, another time, no number, no table: never stored."""
    with pytest.raises(Damaged, match="binance-usdm-archive BTCUSDT"):
        read(kind, text, DAY_OF)


def test_files_are_offered_where_they_should_be_by_now() -> None:
    """A day half a day after its end, a month after its first Monday; each at the vendor's path."""
    rates, interest = usdm().values()
    now = parse_time("2025-02-04T12:00")
    span = Span.parse("2025-01-30T00:05", "2025-02-04T12:00")
    offers = interest.offers(BTC, span, now)
    assert [offer.name[-14:-4] for offer in offers] == [
        "2025-01-30",
        "2025-01-31",
        "2025-02-01",
        "2025-02-02",
        "2025-02-03",
    ]
    assert offers[0].folder == "data/futures/um/daily/metrics/BTCUSDT"
    assert offers[0].span == Span.parse("2025-01-30T00:05", "2025-01-31T00:05")
    assert interest.offers(BTC, span, now - 1)[-1].name == "BTCUSDT-metrics-2025-02-02.zip"
    assert interest.offers(BTC, Span.parse("2020-01-01", "2020-08-31"), now) == []
    (month,) = rates.offers(BTC, span, now)
    assert (month.folder, month.name) == (
        "data/futures/um/monthly/fundingRate/BTCUSDT",
        "BTCUSDT-fundingRate-2025-01.zip",
    )
    assert rates.offers(BTC, span, parse_time("2025-02-03T12:00")) == []
