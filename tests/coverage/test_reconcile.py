"""Bars of several witnesses side by side: what differs, by how much, who is alone, and who stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.bars import TS, VALUES
from gapless.calendars import calendar
from gapless.coverage.reconcile import lay_out, tick_of
from gapless.errors import UsageError
from gapless.folds import fold
from gapless.spans import MINUTE, Timeframe

SHARED = Path(__file__).parents[2].parent / "shared"
NAME = "BINANCE:BTCUSDT"


def bars(closes: dict[int, float], *, source: str, volume: float = 1.0) -> pl.DataFrame:
    """Flat-topped bars at minutes, all prices 100 but the close."""
    rows = [(NAME, m * MINUTE, 100.0, 200.0, 1.0, close, volume, source) for m, close in closes.items()]
    schema = {"instrument": pl.String, "ts": pl.Int64, **dict.fromkeys(VALUES, pl.Float64), "source": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").cast({"ts": TS})


def test_a_disagreement_is_told_with_its_size_and_its_field() -> None:
    """The row names bar, field and both values; absolute, relative and in ticks."""
    side = lay_out({"stored": bars({0: 100, 1: 110}, source="a"), "b": bars({0: 100, 1: 109.5}, source="b")})
    (row,) = side.disagreements({NAME: 0.25}).to_dicts()
    assert (row["field"], row["stored"], row["b"], row["absolute"], row["ticks"]) == ("close", 110, 109.5, 0.5, 2)
    assert row["relative"] == pytest.approx(0.5 / 110)
    assert row["outlier"] is None
    (line,) = side.summaries()
    assert (line.compared, line.equal, line.prices, line.fields, line.worst_at) == (2, 1, 1, {"close": 1}, MINUTE)


def test_a_bar_that_one_witness_alone_has_is_counted_and_is_no_disagreement() -> None:
    """Minutes 1 and 3 have one witness each."""
    side = lay_out({"stored": bars({0: 100, 1: 100}, source="a"), "b": bars({0: 100, 3: 7}, source="b")})
    (line,) = side.summaries()
    assert (line.compared, line.differing, line.only) == (1, 0, {"stored": 1, "b": 1})
    assert side.disagreements().height == 0


def test_the_one_against_whom_all_others_agree_is_the_outlier() -> None:
    """Of three that speak, one is alone; where all three differ, nobody is; where only two speak, nobody is."""
    said = {
        "stored": bars({0: 101, 1: 100, 2: 1}, source="a"),
        "b": bars({0: 100, 1: 100, 2: 2}, source="b"),
        "c": bars({0: 100, 1: 100.5, 2: 3, 3: 9}, source="c"),
        "d": bars({3: 8}, source="d"),
    }
    found = lay_out(said).disagreements()
    assert found["outlier"].to_list() == ["stored", "c", None, None]


def test_sums_in_another_order_are_the_same_value() -> None:
    """A difference of a float's last digits is none."""
    a, b = bars({0: 100}, source="a", volume=0.1 + 0.2), bars({0: 100}, source="b", volume=0.3)
    assert lay_out({"stored": a, "b": b}).summaries()[0].differing == 0


def test_priority_lets_the_most_trusted_source_stand() -> None:
    """By the order of sources, whoever holds them; a source that is not named comes last."""
    said = {"stored": bars({0: 1, 1: 1}, source="mirror"), "b": bars({0: 2}, source="venue")}
    side = lay_out(said)
    assert side.standing("priority", ["venue", "mirror"]).tolist() == [1, 0]
    assert side.standing("priority", ["mirror"]).tolist() == [0, 0]
    assert side.overrides(side.standing("priority", ["venue"])).tolist() == [0]
    assert side.overrides(side.standing("report")).tolist() == []


def test_of_one_source_the_later_answer_stands() -> None:
    """A source that is asked again revises itself."""
    side = lay_out({"stored": bars({0: 1}, source="venue"), "again": bars({0: 2}, source="venue")})
    assert side.overrides(side.standing("priority", ["venue"])).tolist() == [0]


def test_agreement_needs_two_sources_not_two_answers() -> None:
    """What two sources say stands against a third; a source that agrees with itself convinces nobody."""
    stored, b, c = bars({0: 1}, source="a"), bars({0: 2}, source="b"), bars({0: 2}, source="c")
    side = lay_out({"stored": stored, "b": b, "c": c})
    assert side.overrides(side.standing("agreement")).tolist() == [0]
    side = lay_out({"stored": stored, "b": b, "b again": bars({0: 2}, source="b")})
    assert side.standing("agreement").tolist() == [-1]


def test_there_is_nothing_to_compare_alone() -> None:
    """One witness is refused."""
    with pytest.raises(UsageError, match="nothing to compare"):
        lay_out({"stored": bars({0: 1}, source="a")})


closes = st.dictionaries(st.integers(0, 8), st.sampled_from([100.0, 101.0, 102.0]), max_size=8)


@given(closes, closes, closes)
def test_counts_add_up_whoever_speaks(one: dict[int, float], two: dict[int, float], three: dict[int, float]) -> None:
    """Against plain Python: compared, equal, alone, and disagreements as many as differing bars."""
    said = {n: bars(c, source=n) for n, c in {"a": one, "b": two, "c": three}.items()}
    side = lay_out(said)
    every = one.keys() | two.keys() | three.keys()
    words = {m: [c[m] for c in (one, two, three) if m in c] for m in every}
    compared = {m for m, w in words.items() if len(w) > 1}
    differing = {m for m in compared if len(set(words[m])) > 1}
    lines = side.summaries()
    assert sum(s.compared for s in lines) == len(compared)
    assert sum(s.differing for s in lines) == len(differing) == side.disagreements().height
    assert sum(sum(s.only.values()) for s in lines) == len(every) - len(compared)
    agreed = side.standing("agreement")
    for at, m in enumerate(sorted(every)):
        most = max(words[m], key=words[m].count)
        assert (agreed[at] >= 0) == (words[m].count(most) > 1)
        assert agreed[at] < 0 or side.values[agreed[at], 3, at] == most


@given(st.lists(st.integers(1, 100_000), min_size=3, max_size=50), st.sampled_from([0.01, 0.05, 0.25, 1.0, 0.00001]))
def test_the_price_step_divides_every_price(counts: list[int], step: float) -> None:
    """The step found is a whole multiple of the true one, and every price is a whole multiple of it."""
    prices = np.array(counts) * step
    found = tick_of(prices)
    assert found is not None
    assert np.allclose(prices / found, np.rint(prices / found), atol=1e-4)


def test_the_venue_disagrees_with_itself_where_it_is_known_to() -> None:
    """Of the venue's own 5m bars about 0.15 % have other prices than its 1m bars, all around the restarts."""
    data = SHARED / "data" / "crypto"
    if not data.is_dir():
        pytest.skip(f"needs real market data at {data}")
    one, five = (_read(data / f"spot_{t}_2021-04_outages.parquet") for t in ("1m", "5m"))
    minute, longer, always = Timeframe.parse("1m"), Timeframe.parse("5m"), calendar("24/7")
    folded = pl.concat([fold(part, minute, longer, always) for part in one.partition_by("instrument")])
    side = lay_out({"stored": five, "fold:1m": folded})
    lines = side.summaries()
    compared = sum(s.compared for s in lines)
    assert compared == five.height == 80_878
    joined = five.join(_by_hand(one), on=["instrument", "ts"], suffix="_sum")
    unlike = pl.any_horizontal(*((pl.col(n) - pl.col(f"{n}_sum")).abs() > 1e-9 * pl.col(n) for n in VALUES[:4]))
    assert sum(s.prices for s in lines) == joined.filter(unlike).height
    assert 0.001 < sum(s.prices for s in lines) / compared < 0.002
    assert 0.003 < sum(s.differing for s in lines) / compared < 0.005  # volumes differ more often than prices


def _read(path: Path) -> pl.DataFrame:
    name = "BINANCE:" + pl.col("symbol")
    return pl.read_parquet(path).select(name.alias("instrument"), pl.col("open_time").cast(TS).alias("ts"), *VALUES)


def _by_hand(one: pl.DataFrame) -> pl.DataFrame:
    """5m bars by the clock, without any of our own code."""
    return one.sort("ts").group_by("instrument", pl.col("ts").dt.truncate("5m")).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
    )  # fmt: skip
