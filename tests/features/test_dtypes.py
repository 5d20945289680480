"""What can only be -1, 0 or 1 takes one byte, everywhere the same; everything else is a float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gapless as gl
from gapless.features import plan, run
from gapless.features.library.votes import PROFILES, VOTES
from gapless.spans import MINUTE

NARROW = [
    "close > open", "close >= open", "close == open", "close != open", "1 - (close > open)", "sign(close - open)",
    "(close > open) * (volume > 1)", "lag(close > open, 3)", "-(close > open)",
    "where(close > open, 1, -1)", "where(volume > 1, sign(close - open), 0)", "(close > open) - (close < open)",
    "abs(sign(close - open))", "greatest(close > open, 0)", "first_known(close > open, 0)",
]  # fmt: skip
WIDE = [
    "recommend_all()", "close", "floor(close)", "sum(close > open, 3)", "(close > open) + 1", "(close > open) / 2",
    "where(close > open, 0.5, -1)", "where(close > open, close, 0)", "ema(close > open, 3)", "2 * (close > open)",
]  # fmt: skip
VOTED = [f'vote("{name}", "{profile}")' for name in VOTES for profile in PROFILES]


def bars(count: int = 400) -> pl.DataFrame:
    """Random bars, some without a price."""
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    frame = {"open": close * 1.001, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": close % 3}
    holes = pl.Series(rng.random(count) < 0.02)
    ts = pl.Series("ts", np.arange(count) * MINUTE).cast(pl.Datetime("us", "UTC"))
    found = pl.DataFrame({"instrument": ["X:A"] * count, "ts": ts, **frame})
    return found.with_columns(pl.when(holes).then(None).otherwise(pl.col("close")).alias("close"))


@pytest.mark.parametrize("text", [*NARROW, *VOTED])
def test_votes_and_comparisons_are_one_byte(text: str) -> None:
    """Whatever is computed for such a column is -1, 0, 1 or missing: nothing is lost in a byte."""
    understood = plan({"x": text})
    assert understood.schema == {"x": pl.Int8()}
    assert understood.explain("x")["dtype"] == "Int8"
    frame = bars()
    columns = {name: frame[name].fill_null(np.nan).to_numpy() for name in understood.inputs}
    found = run(understood, columns)[0]["x"]
    assert set(found[~np.isnan(found)]) <= {-1.0, 0.0, 1.0}
    column = gl.compute(frame, {"x": text})["x"]
    assert column.dtype == pl.Int8
    assert column.cast(pl.Float64).fill_null(np.nan).equals(pl.Series("x", found + 0.0), null_equal=True)


@pytest.mark.parametrize("text", WIDE)
def test_what_may_be_another_number_is_a_float(text: str) -> None:
    """Ratings, counts, and choices among other numbers."""
    assert plan({"x": text}).schema == {"x": pl.Float64()}


def test_batch_live_and_lake_hand_out_the_same_types(tmp_path: Path) -> None:
    """compute, Stream.step and lake.features, stored or not: the same columns of the same types, missing the same."""
    wanted = {"vote": 'vote("Mom")', "up": "close > open", "rating": "recommend_all()", "rsi": "rsi(close, 14)"}
    frame = bars().drop_nulls()
    batch = gl.compute(frame, wanted)
    stream = gl.Stream(wanted, ["X:A"])
    assert pl.concat([stream.step(frame[i : i + 1]) for i in range(frame.height)]).equals(batch)
    lake = gl.open(tmp_path / "lake")
    lake.write("X:A", "1m", frame, source="t")
    for _ in range(2):  # computed when read, then stored
        rows = lake.features(["X:A"], "1m", wanted)
        assert rows.drop("available_at").equals(batch)
        assert lake.build(wanted, ["X:A"], "1m")["errors"] == []
    long = lake.features(["X:A"], "1m", wanted, layout="long")
    assert long["value"].dtype == pl.Float64
    assert long["value"].null_count() == 0
