"""What people write who know another language: refused, with the place and the way it is said here."""

from __future__ import annotations

import re

import pytest

from gapless.errors import UsageError
from gapless.features.expr import parse


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("rsi(close, 14", 4, "1 parenthesis not closed"),
        ("rsi((close, 14", 5, "2 parentheses not closed"),
        ("rsi(close, 14))", 15, "1 parenthesis too many"),
        ("close > 1 and volume > 2", 1, "(a > b) * (c > d)"),
        ("close > 1 && volume > 2", 12, "(a > b) * (c > d)"),
        ("1 + (not close)", 6, "1 - (a > b)"),
        ("  close ** 2", 3, "x * x"),
        ("open + close % 3", 8, "floor(x / y)"),
        ("open - close[1]", 8, "lag(close, 1)"),
        ("1 < close < 2", 1, "(a < b) * (b < c)"),
        ("close if open else high", 1, "where(mask, then, otherwise)"),
        ("close ? 1 : 2", 7, "where(mask, then, otherwise)"),
        ("x = close", 3, "== compares"),
        ("close +", 8, "something must follow"),
        ("sma(close@BTCUSDT, 5)", 5, "close@BINANCE:BTCUSDT"),
        ("close; open", 6, "columns, numbers"),
        ("rsi(close, length=3, length=4)", 29, "rsi(x=close, length=14)"),
        ("'RSI'", 1, 'vote("RSI")'),
    ],
)
def test_the_place_and_the_way_it_is_said_here(text: str, column: int, hint: str) -> None:
    """The message names the column of the text, counted from 1; the hint says what to write."""
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert f"at column {column} of" in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5", "smaa(close, 3)", "clos", "rsi(close, 14, 3)", "rsi(14.5)", "sma()", "sma(close)", "sma(3, 3)",
        "é", "rsi(close 14)", "lambda: 3", "[close]", "close.x", "sum(close)(3)", "f(*close)", "1e400 * close",
        'vote("RSJ")', "_x", "abs(" * 70 + "close" + ")" * 70, "close" + " + close" * 900, "x" * 5000, "'",
        "close @ open", "close@BINANCE:", "rsi(close, sma(close, 3))", "rank(close, by=3)", "True",
        "rsi(close, **close)", "a := close",
    ],
)  # fmt: skip
def test_no_refusal_without_a_hint(text: str) -> None:
    """Whatever is wrong with a text, there is a word of help."""
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert refused.value.hint


def test_what_is_quoted_is_what_is_wrong() -> None:
    """The part that has no meaning is quoted as it was written."""
    with pytest.raises(UsageError) as refused:
        parse("ema(close,  open [ 1 ])")
    assert re.match(r"'open \[ 1 \]' is not part of the language, at column 13", refused.value.message)
