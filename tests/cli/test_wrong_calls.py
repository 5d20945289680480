"""A call that cannot be carried out leaves nothing behind, and is refused as it would be with a lake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
BARS = "time,open,high,low,close,volume\n2024-01-02 09:30:00,1,2,0.5,1.5,10\n2024-01-02 09:31:00,1,2,0.5,1.5,10\n"
SPAN = ("--start", "2024-01-01", "--end", "2024-01-02")
BTC = ("--symbols", "BINANCE:BTCUSDT")
IMPORT = ("--timeframe", "1m", "--symbol", "X")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("backfill", *SPAN), 2),
        (("backfill", *BTC), 2),
        (("backfill", *BTC, "--days", "0"), 2),
        (("backfill", *BTC, *SPAN, "--timeframes", "7m"), 2),
        (("backfill", "--universe", "nobody", *SPAN), 2),
        (("backfill", "--symbols", "XPAR:MC", *SPAN), 2),
        (("backfill", *BTC, "--start", "yesterday"), 2),
        (("repair", *BTC), 1),
        (("plan", *SPAN), 2),
        (("import", "absent.csv", "--venue", "BINANCE", *IMPORT), 2),
        (("import", "bars.csv", "--venue", "NOWHERE", *IMPORT), 2),
        (("import", "bars.csv", "--venue", "BINANCE", "--tz", "Mars/Olympus", *IMPORT), 2),
        (("import", "bars.csv", "--venue", "BINANCE", "--columns", "open=Frist", *IMPORT), None),
        (("import", "words.csv", "--venue", "BINANCE", *IMPORT), 1),
        (("features", "build", "--features", "x=close"), 1),
        (("features", "export", "-o", "x.csv", "--features", "x=close"), 1),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else "",
)
def test_no_lake_is_left_behind(gapless: Call, call: tuple[str, ...], code: int | None) -> None:
    """Refused with the exit code of its kind, and the directory holds what it held."""
    Path("bars.csv").write_text(BARS)
    Path("words.csv").write_text("there is nothing here\nbut words\n")
    before = sorted(Path().iterdir())
    said = gapless(*call)
    assert said.code == code if code is not None else said.code in (1, 2)
    assert "Hint: " in said.err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("call", [("plan",), ("backfill", "--dry-run")], ids=" ".join)
def test_a_plan_makes_no_lake(gapless: Call, call: tuple[str, ...]) -> None:
    """What a first backfill would cost is told where there is no lake yet, and none is made."""
    found = gapless(call[0], *BTC, *SPAN, "--timeframes", "1h", *call[1:], "--json")
    assert found.code == 0
    assert [(t["instrument"], t["start"], t["end"]) for t in found.json["tasks"]] == [
        ("BINANCE:BTCUSDT", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z")
    ]
    assert list(Path().iterdir()) == []


def test_what_is_no_lake_is_not_taken_for_none(gapless: Call) -> None:
    """A directory that holds something else, and an address no version can open, are errors and not blank lakes."""
    Path("lake").mkdir()
    Path("lake/notes.txt").write_text("mine")
    assert gapless("plan", *BTC, *SPAN).code == 1
    assert [p.name for p in Path("lake").iterdir()] == ["notes.txt"]
    assert gapless("plan", *BTC, *SPAN, "--lake", "s3://bucket/lake").code == 2


def test_a_right_call_makes_the_lake(gapless: Call) -> None:
    """The check before it changes nothing about what an import does."""
    Path("bars.csv").write_text(BARS)
    found = gapless("import", "bars.csv", "--venue", "BINANCE", *IMPORT, "--tz", "UTC", "--json")
    assert (found.code, found.json["totals"]["written"]) == (0, 2)
    assert Path("lake").is_dir()


@pytest.mark.parametrize(
    "call",
    [
        ("gaps", "--symbols", "BINANCE:Y"),
        ("bars", "BINANCE:Y", "1m"),
        ("repair", "--symbols", "BINANCE:Y"),
        ("quality", "--symbols", "BINANCE:Y"),
        ("features", "export", "--symbols", "BINANCE:Y", "--features", "x=close", "-o", "x.csv"),
    ],
    ids=lambda call: " ".join(call[:2]),
)
def test_of_what_nobody_knows_nothing_is_said(gapless: Call, call: tuple[str, ...]) -> None:
    """Neither gaps nor rows: that is an answer about instruments of the lake. Another one is a wrong name."""
    Path("bars.csv").write_text(BARS)
    gapless("import", "bars.csv", "--venue", "BINANCE", *IMPORT, "--tz", "UTC")
    said = gapless(*call, "--json")
    assert said.code == 2
    assert said.json["error"]["message"] == "unknown instrument of the lake 'BINANCE:Y'."
    assert "did you mean 'BINANCE:X'?" in said.json["error"]["hint"]
    assert not Path("x.csv").exists()


def test_no_rows_come_with_what_there_is(gapless: Call) -> None:
    """Another span or timeframe than what is stored: an empty answer, and beside it what there is."""
    Path("bars.csv").write_text(BARS)
    gapless("import", "bars.csv", "--venue", "BINANCE", *IMPORT, "--tz", "UTC")
    for call in (("1m", "--start", "2025-01-01"), ("5m",)):
        said = gapless("bars", "BINANCE:X", *call, "--json")
        assert (said.code, said.json) == (0, [])
        assert "stored: 1m from 2024-01-02T09:30:00Z to 2024-01-02T09:32:00Z" in said.err


def test_what_stands_in_brackets_is_shown() -> None:
    """A section of gapless.toml in an error is text, not a style that vanishes."""
    import io

    from rich.console import Console

    from gapless.cli import render

    shown = render.console()
    shown.file = io.StringIO()
    shown.print("check key under [sources.polygon]")
    assert "[sources.polygon]" in shown.file.getvalue()
    assert isinstance(shown, Console)
