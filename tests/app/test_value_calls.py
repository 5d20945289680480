"""What a call for values means, and what it owes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import gapless as gl
from gapless.app.valuing import WantedValues, _unanswered, wanted
from gapless.engine.value_tasks import TOO_OLD, ValueOutcome
from gapless.errors import UnknownName, UsageError
from gapless.protocols import ValueAnswer
from gapless.series import Instrument
from gapless.spans import DAY, HOUR, Span, SpanSet, parse_time

T = parse_time("2025-05-01")
BTC = Instrument("BINANCEUSDM", "BTCUSDT")


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    return gl.open(tmp_path / "lake")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"days": 1.0}, "--symbols"),
        ({"symbols": "BINANCEUSDM:BTCUSDT"}, "--days"),
        ({"symbols": "BINANCEUSDM:BTCUSDT", "days": 1.0, "start": "2025-05-01"}, "either"),
        ({"symbols": "BINANCEUSDM:BTCUSDT", "days": -1.0}, "above 0"),
        ({"symbols": "BINANCEUSDM:BTCUSDT", "days": 1.0, "end": "2025-05-01"}, "alone"),
        ({"symbols": "BINANCE:BTCUSDT", "days": 1.0}, "binance-usdm"),
        ({"symbols": "XNAS:AAPL", "days": 1.0}, "write_values"),
        ({"symbols": "BINANCEUSDM:BTCUSDT", "days": 1.0, "source": "binance"}, "it serves BINANCE only"),
    ],
)
def test_a_call_that_means_nothing_is_told_with_the_fix(lake: gl.Lake, options: dict[str, object], hint: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(UsageError) as told:
        wanted(lake, **options)  # type: ignore[arg-type]
    assert hint in str(told.value)


def test_an_unknown_kind_names_the_nearest(lake: gl.Lake) -> None:
    """Did you mean."""
    with pytest.raises(UnknownName, match="open_interest"):
        wanted(lake, symbols="BINANCEUSDM:BTCUSDT", days=1.0, names="open_interst")


def test_what_no_answer_speaks_for_is_owed(lake: gl.Lake) -> None:
    """By what the store holds afterwards: but for what cannot be had, and what is too young to be known."""
    asked = WantedValues(lake, (), ("funding_rate",), Span(T, T + 10 * DAY))
    outcome = ValueOutcome("funding_rate", BTC, residual={TOO_OLD: SpanSet.of(Span(T, T + DAY))}, until=T + 10 * DAY)
    nothing = pl.DataFrame(schema={"ts": pl.Datetime("us", "UTC"), "value": pl.Float64()})

    def answered(start: int, end: int) -> None:
        span = Span(start, end)
        answer = ValueAnswer("binance-usdm", "funding_rate", BTC, span, span, 0, 1, "", "r", T)
        lake.store.keep_values(answer, nothing)

    answered(T + DAY, T + 4 * DAY)
    answered(T + 5 * DAY, T + 10 * DAY - 9 * HOUR)
    assert _unanswered(asked, outcome) == [f"no answer for {Span(T + 4 * DAY, T + 5 * DAY)}"]
    answered(T + 4 * DAY, T + 5 * DAY)
    assert _unanswered(asked, outcome) == []


def test_files_alone_of_a_source_that_has_none_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fix is named, before a lake is made for it."""
    (tmp_path / "gapless.toml").write_text('[sources.binance-usdm]\narchive = "none"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="binance-usdm has no archive of funding_rate"):
        wanted(gl.open("lake"), symbols="BTCUSDT", source="binance-usdm-archive", days=1.0, names="funding_rate")
