"""Values at times: what a bar gets of them, and what of a build they make stale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.bars import TS
from gapless.errors import UnknownName
from gapless.segments import Piece, pieces
from gapless.spans import DAY, HOUR, MINUTE, Timeframe, parse_time
from gapless.values import AGES, check_name, consumed, joined

M1 = Timeframe.parse("1m")
RATES = Path(__file__).parents[1].parent / "shared" / "data" / "crypto" / "perp_funding_2025-05.parquet"
T = parse_time("2025-05-01")
AGE = AGES["funding_rate"]


def values(rows: list[tuple[str, int, float]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"instrument": pl.String, "ts": pl.Int64, "value": pl.Float64}, orient="row")
    return frame.with_columns(pl.col("ts").cast(TS)).sort("instrument", "ts")


def bars(rows: list[tuple[str, int, float | None]]) -> pl.DataFrame:
    names = {"instrument": pl.String, "ts": pl.Int64, "funding_rate": pl.Float64}
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("ts").cast(TS)).sort("instrument", "ts")


def test_a_bar_has_what_was_known_at_its_open() -> None:
    """A rate stamped 08:00:00.003 is known to the bar of 08:01, not to that of 08:00; one that is too old to none."""
    eight = T + 8 * HOUR
    opens = [eight - MINUTE, eight, eight + MINUTE, eight + 9 * HOUR, eight + 9 * HOUR + MINUTE]
    found = joined(bars([("A", t, None) for t in opens]), values([("A", eight + 3000, 0.25)]), "funding_rate")
    assert found["funding_rate"].to_list() == [None, None, 0.25, 0.25, None]


_names = st.sampled_from(["A:X", "B:X"])
_times = st.integers(0, 40).map(lambda k: T + k * HOUR // 2)


@given(
    st.dictionaries(st.tuples(_names, _times), st.one_of(st.none(), st.floats(-1, 1)), max_size=30),
    st.dictionaries(st.tuples(_names, _times.map(lambda t: t + 3000)), st.floats(-1, 1), max_size=12),
)
def test_the_join_is_the_rule(opens: dict[tuple[str, int], float | None], told: dict[tuple[str, int], float]) -> None:
    """A bar's own value, else the newest one told at or before its open and not older than its age, else none."""
    own = bars([(name, t, value) for (name, t), value in opens.items()])
    found = joined(own, values([(name, t, value) for (name, t), value in told.items()]), "funding_rate")
    assert found.drop("funding_rate").equals(own.drop("funding_rate"))
    for name, ts, value in found.select("instrument", pl.col("ts").to_physical(), "funding_rate").iter_rows():
        earlier = [t for who, t in told if who == name and t <= ts and ts - t <= AGE]
        by_rule = told[name, max(earlier)] if earlier else None
        mine = opens[name, ts]
        assert value == (by_rule if mine is None else mine)


def made_of(days: int) -> list[Piece]:
    ts = np.arange(T, T + days * DAY, MINUTE, dtype=np.int64)
    return pieces(ts, np.full_like(ts, 7), M1)


@given(
    st.sets(st.integers(-30, 100).map(lambda h: T + h * HOUR), max_size=12),
    st.integers(-30, 100).map(lambda h: T + h * HOUR + 5),
    st.booleans(),
)
def test_a_new_or_other_value_changes_the_digests_of_whom_it_may_reach_and_no_others(
    when: set[int], late: int, corrected: bool
) -> None:
    """A value reaches the bars from its time to its age later; nothing built of other bars is made stale by it."""
    found = made_of(3)
    before = sorted({*when, late} if corrected else when)
    after = sorted({*when, late})
    old = consumed(found, "funding_rate", np.array(before, np.int64), np.full(len(before), 1, np.int64))
    known = np.array([2 if t == late else 1 for t in after], np.int64)
    new = consumed(found, "funding_rate", np.array(after, np.int64), known)
    for a, b in zip(old, new, strict=True):
        reached = late <= a.last and late >= a.first - AGE
        assert (a.digest != b.digest) == reached
        assert a._replace(digest=b"") == b._replace(digest=b"")


def test_without_values_a_digest_is_that_of_the_bars() -> None:
    """What was built before any value came stands."""
    found, none = made_of(2), np.array([], np.int64)
    assert consumed(found, "open_interest", none, none) == found
    both = consumed(consumed(found, "open_interest", *[np.array([T])] * 2), "funding_rate", *[np.array([T])] * 2)
    other = consumed(found, "open_interest", *[np.array([T])] * 2)
    assert len({p.digest for p in (found[0], other[0], both[0])}) == 3


def test_a_name_that_no_value_has_is_told() -> None:
    """With the nearest one."""
    with pytest.raises(UnknownName, match="funding_rate"):
        check_name("funding")


@pytest.mark.skipif(not RATES.exists(), reason="needs real market data")
def test_real_rates_reach_bars_one_minute_after_their_jittered_stamps() -> None:
    """Every real rate is first seen by the minute that opens after its stamp, of whatever interval the symbol is."""
    real = pl.read_parquet(RATES).select(
        pl.col("symbol").alias("instrument"), pl.col("date").cast(TS).alias("ts"), pl.col("funding_rate").alias("value")
    )
    own = real.sort("instrument", "ts")
    assert (own["ts"].to_physical() % HOUR != 0).any(), "the stamps carry jitter"
    first = own.select("instrument", (-(-pl.col("ts").to_physical() // MINUTE) * MINUTE).cast(TS).alias("ts"))
    assert joined(first, own, "funding_rate")["funding_rate"].to_list() == own["value"].to_list()
    before = joined(first.with_columns(pl.col("ts") - pl.duration(minutes=1)), own, "funding_rate")
    recent = own.select(pl.col("ts").diff().over("instrument"))["ts"]
    last = own.select(pl.col("value").shift(1).over("instrument"))["value"]
    young = [gap is not None and gap.total_seconds() <= 8.5 * 3600 for gap in recent]
    known = [value if is_young else None for value, is_young in zip(last, young, strict=True)]
    assert before["funding_rate"].to_list() == known
