"""Comparisons among the instruments of a configured list, whichever of them rows are asked of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gapless as gl
from gapless.config import parse
from gapless.errors import UnknownName, UsageError
from gapless.spans import EARLIEST, LATEST, SpanSet

NAMES = [f"BINANCE:{letter}USDT" for letter in "ABCD"]
RANK = {"r": "rank(mom(close, 5))", "plain": "sma(close, 3)"}


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    """Four instruments of 200 minutes; a list of three of them."""
    config = parse({"universes": {"three": {"symbols": NAMES[:3]}, "one": {"symbols": ["BINANCE:EUSDT"]}}})
    found = gl.open(tmp_path / "lake", config=config)
    ts = pl.Series(1_700_000_100_000_000 + 60_000_000 * np.arange(200)).cast(pl.Datetime("us", "UTC"))
    for seed, name in enumerate(NAMES):
        close = 100 + np.cumsum(np.random.default_rng(seed).normal(0, 0.1, 200))
        bars = {"ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": close}
        found.write(name, "1m", pl.DataFrame(bars), source="made")
    return found


def same(found: pl.DataFrame, expected: pl.DataFrame) -> bool:
    return found.select("instrument", "ts", *RANK).equals(expected.select("instrument", "ts", *RANK), null_equal=True)


def test_without_instruments_rows_are_the_lists(lake: gl.Lake) -> None:
    """The same as asking for the three by name: the fourth is neither shown nor compared."""
    found = lake.features(None, "1m", RANK, universe="three")
    assert same(found, lake.features(NAMES[:3], "1m", RANK))
    assert not found["r"].drop_nans().equals(lake.features(None, "1m", RANK)["r"].drop_nans())


def test_one_of_them_is_compared_with_all(lake: gl.Lake) -> None:
    """Rows of one instrument hold its rank among the three, not among itself."""
    found = lake.features(NAMES[:1], "1m", RANK, universe="three")
    whole = lake.features(NAMES[:3], "1m", RANK).filter(pl.col("instrument") == NAMES[0])
    assert same(found, whole)
    assert found["r"].is_finite().any()
    assert lake.features(NAMES[:1], "1m", RANK)["r"].is_nan().all()


def test_who_is_not_in_the_list_is_not_compared(lake: gl.Lake) -> None:
    """An outsider has no rank, its other features stand, and it changes nobody's rank."""
    found = lake.features([NAMES[0], NAMES[3]], "1m", RANK, universe="three")
    outsider = found.filter(pl.col("instrument") == NAMES[3])
    assert outsider["r"].is_nan().all()
    assert outsider["plain"].is_finite().any()
    assert same(found.filter(pl.col("instrument") == NAMES[0]), lake.features(NAMES[:1], "1m", RANK, universe="three"))


def test_members_of_the_list_come_and_go(lake: gl.Lake) -> None:
    """`members` says when; whom it names beyond the list is not compared."""
    always = SpanSet.of((EARLIEST, LATEST))
    members = {NAMES[0]: always, NAMES[1]: always, NAMES[3]: always}
    found = lake.features(None, "1m", RANK, universe="three", members=members)
    both = lake.features(NAMES[:2], "1m", RANK)
    assert same(found.filter(pl.col("instrument").is_in(NAMES[:2])), both)
    assert found.filter(pl.col("instrument") == NAMES[2])["r"].is_nan().all()


def test_coverage_counts_the_whole_list(lake: gl.Lake) -> None:
    """A member without any bars is missing from the coverage, even when rows of one instrument are asked."""
    config = parse({"universes": {"four": {"symbols": [*NAMES[:3], "BINANCE:EUSDT"]}}})
    found = gl.open(lake.path, config=config).features(NAMES[:1], "1m", RANK, universe="four", coverage=True)
    assert found.filter(pl.col("r").is_finite())["r_coverage"].unique().to_list() == [0.75]


def test_without_a_comparison_a_list_is_a_choice(lake: gl.Lake) -> None:
    """It stands for its instruments; beside instruments it would do nothing, and is refused."""
    plain = {"plain": RANK["plain"]}
    assert lake.features(None, "1m", plain, universe="three")["instrument"].unique().sort().to_list() == NAMES[:3]
    with pytest.raises(UsageError, match="no feature compares"):
        lake.features(NAMES[:1], "1m", plain, universe="three")
    with pytest.raises(UnknownName, match="thre"):
        lake.features(None, "1m", RANK, universe="thre")
