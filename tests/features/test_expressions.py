"""Expressions: text to canonical text, and the errors that say where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import ExpressionError, GaplessError, UnknownName, UsageError
from gapless.features import plan
from gapless.features.expr import parse


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("rsi( close )", "rsi(close, 14)"),
        ("ema(length=20, x=volume)", "ema(volume, 20)"),
        ("zscore(close,720)", "zscore(close, 720, 0)"),
        ("close-open-low", "close - open - low"),
        ("close-(open-low)", "close - (open - low)"),
        ("(close*open)/low", "close * open / low"),
        ("close*(open/low)", "close * (open / low)"),
        ("-close + 2.50", "-close + 2.5"),
        ("-(close+open)", "-(close + open)"),
        ("close * -2.0", "close * -2"),
        ("(close > open) == (low > 1)", "(close > open) == (low > 1)"),
        ("close >\n open", "close > open"),
        ("sma(close@BINANCE:BTC-USD , 3)", "sma(close@BINANCE:BTC-USD, 3)"),
        ("close@XNAS:BRK.B-close", "close@XNAS:BRK.B-close"),
        ("  tr()  ", "tr()"),
        ("rsi", "rsi(close, 14)"),
        ("rsi(9)", "rsi(close, 9)"),
        ("rsi(9, x=open)", "rsi(open, 9)"),
        ("zscore(er_15m, 720)", 'zscore(er_15m("BINANCEUSDM:BTCUSDT", 240), 720, 0)'),
        ("cci()", "cci(hlc3(), 20)"),
        ("recommend_all(profile='screener')", 'recommend_all("screener")'),
        ("where(close > open, 1, -0.5)", "where(close > open, 1, -0.5)"),
        ("macd(5, 9) - macd(open)", "macd(close, 5, 9) - macd(open, 12, 26)"),
        ("vwap", "vwap(session, hlc3())"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    """Spaces, defaults, keywords and needless parentheses vanish; the canonical text reads as itself."""
    assert str(parse(text)) == canonical
    assert str(parse(canonical)) == canonical


def test_the_canonical_text_is_the_identity() -> None:
    """Two spellings of one thing are one term, one version and one node."""
    found = plan({"a": "rsi(close)", "b": "rsi( x = close,length = 14 )"})
    assert found.terms[0] == found.terms[1]
    assert found.version("a") == found.version("b")
    assert found.roots[0].id == found.roots[1].id


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [
        ("smaa(close, 3)", "unknown feature 'smaa'", 1),
        ("close + clse", "unknown column 'clse'", 9),
        ("  sma(close, 0)", "length must lie in 1", 14),
        ("sma(close, -3)", "length must lie in 1", 12),
        ("sma(close, 2000000)", "length must lie in 1", 12),
        ("zscore(close, 1)", "length must lie in 2", 15),
        ("sma(close, 2.5)", "must be a whole number", 12),
        ("sma(close, 2.0)", "must be a whole number", 12),
        ("sma(close, open)", "must be a number, not open", 12),
        ("sma(close)", "length is missing", 1),
        ("1 + sma(3, 3)", "x must be a series, not 3", 9),
        ("sma(close, 3, 4)", "takes 2 values at most", 15),
        ("sma(close, x=open, length=3)", "x is given twice", 14),
        ("rsi(close, len=3)", "unknown parameter of rsi 'len'", 16),
        ("sma", "'sma' is a feature, not a column", 1),
        ('vote("RSX")', "did you mean 'RSI'", 6),
        ("vote(RSI)", "must be a word in quotes", 6),
        ('recommend_all("libary")', "did you mean 'library'", 15),
        ('er_15m("btc")', "names no venue", 8),
        ("recommend_all(3)", "must be a word in quotes", 15),
        ("rsi(3, 4)", "takes 2 values at most", 8),
        ("close(3)", "unknown feature 'close'", 1),
        ("close@binance:X", "'binance' is not a venue", 1),
        ("open + close@BINANCE:a..b", "is not a symbol", 8),
        ("close ** 2", "not part of the language", 1),
        ("close.real", "not part of the language", 1),
        ("close[1]", "not part of the language", 1),
        ("[close]", "not part of the language", 1),
        ("lambda: close", "not part of the language", 1),
        ("close < open < low", "not part of the language", 1),
        ("close and open", "not part of the language", 1),
        ("sma(*close)", "not part of the language", 5),
        ("'close'", "is not a finite number", 1),
        ("close + True", "is not a finite number", 9),
        ("1e999 * close", "is not a finite number", 1),
        ("close # mine", "has no meaning", 7),
        ("__import__('os')", "has no meaning", 1),
        ("close + π", "has no meaning", 9),
        ("close +", "not an expression", 8),
    ],
)
def test_errors_say_what_and_where(text: str, says: str, column: int) -> None:
    """Each message names the reason and the column of the text, and the exit code is 2."""
    with pytest.raises((ExpressionError, UnknownName)) as caught:
        parse(text)
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert f"at column {column} of" in caught.value.message
    assert caught.value.exit_code == 2


def test_did_you_mean() -> None:
    """The nearest name is offered."""
    with pytest.raises(UnknownName, match="did you mean 'zscore'"):
        parse("z_score(close, 3)")
    with pytest.raises(UnknownName, match="did you mean 'taker_buy_volume'"):
        parse("taker_buy_vol")


@pytest.mark.parametrize(
    "text",
    ["", "   ", "1 + 2", "3", "close / (1 - 1) + 1 / 0", "sma(1 + 2, 3)", "var(close, 3, 3)", "ema(0 * 1, 3)"],
)
def test_what_makes_no_sense_is_refused_when_declared(text: str) -> None:
    """Nothing, numbers only, a division of constants by zero, a degree of freedom too many."""
    with pytest.raises(ExpressionError):
        plan({"x": text})


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "close" + ")" * 5000,
        "-" * 3000 + "close",
        "+".join(["close"] * 600),
        "sma(" * 70 + "close" + ", 3)" * 70,
        "close + " * 10_000 + "close",
        "abs(" * 100 + "close" + ")" * 100,
    ],
    ids=["parentheses", "signs", "sums", "calls", "length", "nesting"],
)
def test_deep_and_long_expressions_are_refused(text: str) -> None:
    """Depth and length are bounded, whatever the interpreter's own limits are."""
    with pytest.raises(ExpressionError):
        plan({"x": text})


@given(st.text(alphabet="smacloexh()+-*/ ,.0123456789<>=@:_[]'\"\\\n", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is typed gives a plan or one of our errors, and a plan's canonical text reads as itself."""
    try:
        found = plan({"x": text})
    except GaplessError:
        return
    assert str(parse(found.expression("x"))) == found.expression("x")


@pytest.mark.parametrize("name", ["", "1x", "a b", "ts", "instrument", "x;drop", "é", "a" * 101])
def test_feature_names_are_checked(name: str) -> None:
    """A name must be fit for a column of any store."""
    with pytest.raises(UsageError, match="cannot name a feature"):
        plan({name: "close"})


def test_only_text_is_an_expression() -> None:
    """A number or a list where text belongs is refused with the feature's name."""
    for wrong in (3, None, ["close"]):
        with pytest.raises(UsageError, match=r"'x': .* is not an expression"):
            plan({"x": wrong})


def test_an_empty_set_is_refused() -> None:
    """A plan without features is an error, not a plan that does nothing."""
    with pytest.raises(UsageError, match="no features"):
        plan({})


def test_the_feature_at_fault_is_named() -> None:
    """Of several features the message names the wrong one."""
    with pytest.raises(ExpressionError, match="feature 'slow'"):
        plan({"fast": "sma(close, 3)", "slow": "sma(close, 0)"})


def test_an_expression_may_use_the_names_before_it() -> None:
    """A set's earlier names stand for their expressions; a column's name stays the column's."""
    found = plan({"fast": "ema(close, 3)", "close": "open", "gap": "fast - close", "z": "zscore(gap, 9)"})
    assert found.expression("gap") == "ema(close, 3) - close"
    assert found.expression("z") == "zscore(ema(close, 3) - close, 9, 0)"
    with pytest.raises(UnknownName, match="'later'"):
        plan({"x": "later + 1", "later": "close"})
