"""Conditions: what a text means, where it is known to hold, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.alerts.conditions import Condition, canonical
from gapless.errors import ExpressionError
from gapless.features.expr import parse as parse_feature

NAN = float("nan")
INITIATOR = "abs(z_er_15m) >= 3 and z_vol_15m >= 3 and (taker_buy_share_15m >= 0.65 or taker_buy_share_15m <= 0.35)"


@pytest.mark.parametrize(
    ("text", "inputs", "parts"),
    [
        (
            INITIATOR,
            ["abs(z_er_15m)", "z_vol_15m", "taker_buy_share_15m"],
            ["abs(z_er_15m) >= 3", "z_vol_15m >= 3", "taker_buy_share_15m >= 0.65", "taker_buy_share_15m <= 0.35"],
        ),
        ("0.10 <= abs( b )<=3", ["abs(b)"], ["0.1 <= abs(b)", "abs(b) <= 3"]),
        (
            "close > close@BINANCE:BTCUSDT and log_return(close@BINANCE:BTCUSDT, 1) > -2e-3",
            ["close", "close@BINANCE:BTCUSDT", "log_return(close@BINANCE:BTCUSDT, 1)"],
            ["close > close@BINANCE:BTCUSDT", "log_return(close@BINANCE:BTCUSDT, 1) > -0.002"],
        ),
        ("not (a > 3 or b == 1)", ["a", "b"], ["a <= 3", "b != 1"]),
        ("not 1 <= a < 2", ["a"], ["1 > a", "a >= 2"]),
        ("a > 1 and (a > 1 or b > 1)", ["a", "b"], ["a > 1", "b > 1"]),
        ("\n  sum(close > open, 3)\n  >= 2\n", ["sum(close > open, 3)"], ["sum(close > open, 3) >= 2"]),
        ("(close > open) == (high > low)", ["close > open", "high > low"], ["(close > open) == (high > low)"]),
        ("volume@X:ES=F > 1", ["volume@X:ES=F"], ["volume@X:ES=F > 1"]),
    ],
)
def test_what_a_text_needs_and_is_made_of(text: str, inputs: list[str], parts: list[str]) -> None:
    """Sides stay features' text; numbers are no inputs; chains and negations become single comparisons."""
    condition = Condition.parse(text)
    assert list(condition.inputs) == inputs
    assert [part.text for part in condition.parts] == parts
    assert Condition.parse(str(condition)) == condition


@pytest.mark.parametrize("text", [INITIATOR, "close > lag(close@BINANCE:BTCUSDT, 1) and zscore(volume, 20) > 2"])
def test_the_sides_are_feature_expressions(text: str) -> None:
    """What is left of a side is an expression that features read."""
    for name in Condition.parse(text).inputs:
        assert str(parse_feature(name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a", "'a' is no condition, at column 1"),
        ("  a and b > 1", "'a' is no condition, at column 3"),
        ("1 < 2", "always the same, at column 1"),
        ("a > 3 and", "cannot be read"),
        ("a > 3 & b > 1", "BitAnd is not part of the language"),
        ("a AND b > 1", "write and for AND"),
        ("a > 1 && b > 1", "write and for &"),
        ("a = 3", "cannot be read"),
        ("a is 3", "only > >= < <= == != compare, at column 6"),
        ("a in (1, 2)", "compare, at column 6"),
        ("a > (b and c)", "not inside one, at column 6"),
        ("a > f(not b)", "not inside one"),
        ("a > 'x'", "'x' is not a finite number, at column 5"),
        ("a > True", "True is not a finite number"),
        ("a > 1e999", "inf is not a finite number"),
        ("a > 3 # always", "the character '#' has no meaning, at column 7"),
        ("_a > 3", "the character '_' has no meaning, at column 1"),
        ("a > b.c", "Attribute is not part of the language"),
        ("a > [1][0]", "is not part of the language"),
        ("a > (lambda: 3)", "is not part of the language"),
        ("(" * 150 + "a > 1" + ")" * 150 + " and a", "is no condition"),
        ("(" * 1000, "cannot be read"),
        ("not " * 950 + "a>1", "nested too deeply"),
        ("a > 1 " + "and a > 1 " * 500, "characters"),
    ],
)
def test_what_is_refused_says_where(text: str, said: str) -> None:
    """Each mistake is an ExpressionError with the place and what to do."""
    with pytest.raises(ExpressionError) as caught:
        Condition.parse(text)
    assert said in str(caught.value)


def test_a_number_is_no_direction() -> None:
    """canonical reads one feature, not a number and not a condition joined by words."""
    assert canonical(" er_15m ") == "er_15m"
    for text in ("1", "-2.5", "a and b"):
        with pytest.raises(ExpressionError):
            canonical(text)


@pytest.mark.parametrize("sign", [">", ">=", "<", "<=", "==", "!="])
def test_no_comparison_with_a_missing_value_passes_nor_does_its_opposite(sign: str) -> None:
    """NaN on either side is unknown, also when negated, also between two columns."""
    a, b = np.array([NAN, NAN, 1.0, 2.0]), np.array([NAN, 1.0, NAN, 2.0])
    for text in (f"a {sign} b", f"not a {sign} b"):
        assert not Condition.parse(text).evaluate({"a": a, "b": b})[:3].any()
    for text in (f"a {sign} 2", f"not a {sign} 2", f"2 {sign} a", f"not (2 {sign} a)"):
        assert not Condition.parse(text).evaluate({"a": a})[:2].any()
    assert Condition.parse(f"a {sign} b or not a {sign} b").evaluate({"a": a, "b": b}).tolist() == [False] * 3 + [True]


def test_a_chain_is_all_of_its_links_and_its_opposite_any() -> None:
    """``not 1 <= a < 2`` holds outside, and nowhere that is unknown."""
    a = {"a": np.array([0.9, 1.0, 1.9, 2.0, NAN])}
    assert Condition.parse("1 <= a < 2").evaluate(a).tolist() == [False, True, True, False, False]
    assert Condition.parse("not 1 <= a < 2").evaluate(a).tolist() == [True, False, False, True, False]


def test_a_known_side_decides_an_or() -> None:
    """An unknown part does not stop an ``or`` whose other part holds, nor make an ``and`` hold."""
    columns = {"a": np.array([NAN]), "b": np.array([5.0])}
    answers = {text: bool(Condition.parse(text).evaluate(columns)[0]) for text in ("a > 1 or b > 1", "a > 1 and b > 1")}
    assert answers == {"a > 1 or b > 1": True, "a > 1 and b > 1": False}


Tree = tuple[Any, ...]
VALUES = [NAN, -1.0, 0.0, 1.0, 2.0]
COMPARISONS = st.tuples(st.sampled_from("abc"), st.sampled_from([">", ">=", "<", "<=", "==", "!="]), st.integers(-1, 2))
TREES = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


def written(tree: Tree) -> str:
    """The text of a tree."""
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f" {tree[0]} ".join(f"({written(t)})" for t in tree[1])
    return "{} {} {}".format(*tree)


def truth(tree: Tree, row: dict[str, float]) -> bool | None:
    """Kleene's logic, straight from its tables: None is unknown."""
    if tree[0] == "not":
        inner = truth(tree[1], row)
        return None if inner is None else not inner
    if tree[0] in ("and", "or"):
        found = [truth(t, row) for t in tree[1]]
        decisive = tree[0] == "or"
        if decisive in found:
            return decisive
        return None if None in found else not decisive
    name, sign, number = tree
    x = row[name]
    if x != x:
        return None
    return {">": x > number, ">=": x >= number, "<": x < number, "<=": x <= number, "==": x == number}.get(
        sign, x != number
    )


@given(TREES, st.lists(st.tuples(*[st.sampled_from(VALUES)] * 3), min_size=1, max_size=6))
def test_a_condition_is_kleenes_logic(tree: Tree, rows: list[tuple[float, ...]]) -> None:
    """It passes exactly where three-valued logic, worked out one row at a time, says true."""
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate("abc")}
    wanted = [truth(tree, dict(zip("abc", row, strict=True))) is True for row in rows]
    condition = Condition.parse(written(tree))
    assert condition.evaluate(columns).tolist() == wanted
    assert Condition.parse(str(condition)).evaluate(columns).tolist() == wanted
