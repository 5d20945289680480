"""Corporate actions as a vendor tells them, against the adjusted prices that it sends itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapless.sim import SimConfig, running


def test_a_vendors_splits_make_its_own_adjusted_prices(gapless: Callable[..., Any]) -> None:
    """Bars as traded with the splits that the vendor tells are the bars it would have sent adjusted."""
    config = SimConfig(equities={"XNAS": ("AAPL", "MSFT")}, splits={"AAPL": (("2025-04-14", 1, 4),)})
    words = ("--symbols", "XNAS:AAPL,XNAS:MSFT", "--timeframes", "1d", "--start", "2025-04-01", "--end", "2025-05-01")
    with running(config) as venue:
        section = f'[sources.polygon]\nbase_url = "{venue.url}/polygon"\nkey = "sim-key"\nweight = 0\n'
        Path("gapless.toml").write_text(section)
        gapless("backfill", *words)
        done = gapless("actions", "sync", "--symbols", "XNAS:AAPL,XNAS:MSFT", "--json").json
        assert gapless("actions", "sync", "--symbols", "XNAS:AAPL", "--json").json["unchanged"] == 1
        Path("gapless.toml").write_text(section + "adjusted = true\n")
        gapless("backfill", *words, "--lake", "other")
    assert (done["written"], done["notes"]) == (1, [])
    for symbol, traded in (("AAPL", "2025-04-11"), ("MSFT", None)):
        raw = gapless("bars", f"XNAS:{symbol}", "1d", "--json").json
        mended = gapless("bars", f"XNAS:{symbol}", "1d", "--adjust", "splits", "--json").json
        theirs = gapless("bars", f"XNAS:{symbol}", "1d", "--lake", "other", "--json").json
        assert len(theirs) > 15
        assert [b["close"] for b in mended] == pytest.approx([b["close"] for b in theirs], rel=1e-5)
        assert [b["volume"] for b in mended] == pytest.approx([b["volume"] for b in theirs], rel=1e-5)
        changed = [a["ts"] for a, b in zip(raw, mended, strict=True) if a["close"] != b["close"]]
        assert (max(changed)[:10] if changed else None) == traded


@pytest.mark.parametrize("source", ["polygon", "yahoo"])
def test_a_vendors_dividends_are_taken_out_of_the_prices_before_them(gapless: Callable[..., Any], source: str) -> None:
    """Each by its share of the close before; told in shares of its own day or of today, it is the same cash.

    One whose ex-date is still ahead waits: the close before it is not known yet.
    """
    config = SimConfig(
        equities={"XNAS": ("AAPL",)}, start="2025-01-01", now="2025-05-01T12:00Z", speed=0.0,
        splits={"AAPL": (("2025-04-14", 1, 4),)},
        dividends={"AAPL": (("2025-04-09", 0.96), ("2025-04-22", 0.25), ("2025-05-09", 0.25))},
    )  # fmt: skip
    words = ("--symbols", "XNAS:AAPL", "--timeframes", "1d", "--start", "2025-04-01", "--end", "2025-05-01")
    with running(config) as venue:
        keyed = f'base_url = "{venue.url}/polygon"\nkey = "sim-key"\nweight = 0\n'
        Path("gapless.toml").write_text(
            f'[sources.polygon]\n{keyed}[sources.yahoo]\nbase_url = "{venue.url}/yahoo"\nweight = 0\n'
        )
        gapless("backfill", *words)
        done = gapless("actions", "sync", "--symbols", "XNAS:AAPL", "--source", source, "--json").json
        assert (done["read"], done["written"]) == (3 + len(done["notes"]), 3)
        assert [note[:52] for note in done["notes"]] == (
            ["XNAS:AAPL 2025-05-09: a dividend, and no close befor"] if source == "polygon" else []
        )
    raw, mended = (
        {b["ts"][:10]: b["close"] for b in gapless("bars", "XNAS:AAPL", "1d", "--adjust", how, "--json").json}
        for how in ("none", "all")
    )
    first, second = 1 - 0.96 / raw["2025-04-08"], 1 - 0.25 / raw["2025-04-21"]
    for day, factor in (("2025-04-08", first * second / 4), ("2025-04-09", second / 4), ("2025-04-21", second)):
        assert mended[day] == pytest.approx(raw[day] * factor, rel=1e-12)
    assert mended["2025-04-22"] == raw["2025-04-22"]
