"""Splits and dividends: stored dated, taken out on read, exactly as the factor files say."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gapless as gl
from gapless.adjust import Action, adjusted, as_traded, dividend, factors, known, split
from gapless.app.actions import import_actions, next_session
from gapless.app.adjusting import action_lines, cut_of
from gapless.bars import PRICES, VALUES
from gapless.config import Config
from gapless.errors import InputError, UnknownName, UsageError
from gapless.sources.files_actions import read_actions
from gapless.spans import DAY, Timeframe, parse_time

SHARED = Path(__file__).parents[2].parent / "shared"
FACTORS = SHARED / "data" / "equity" / "factor_files"
real = pytest.mark.skipif(not FACTORS.is_dir(), reason="needs ../shared/data/equity/factor_files")
DAY1 = Timeframe.parse("1d")
NAME = "XNAS:AAPL"


def day(text: str) -> int:
    return parse_time(text)


def bars(days: list[str], close: list[float], volume: float = 700.0) -> pl.DataFrame:
    """Daily bars at a price."""
    ts = pl.Series([day(d) for d in days]).cast(pl.Datetime("us", "UTC"))
    prices = dict.fromkeys(PRICES, close)
    return pl.DataFrame({"ts": ts, **prices, "volume": [volume] * len(days)})


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    """Four days of AAPL around its seven-for-one split of 2014-06-09, at prices of one company value."""
    found = gl.open(tmp_path / "lake", config=Config())
    days = ["2014-06-05", "2014-06-06", "2014-06-09", "2014-06-10"]
    found.write(NAME, "1d", bars(days, [700.0, 700.0, 100.0, 100.0]))
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


SPLIT = "ticker,ex_date,ratio\nAAPL,2014-06-09,7\n"


# ---------------------------------------------------------------- the factor files


@real
@pytest.mark.parametrize("path", sorted(FACTORS.glob("*.csv")) if FACTORS.is_dir() else [], ids=lambda p: p.stem)
def test_the_actions_of_a_factor_file_multiply_to_its_factors(path: Path, tmp_path: Path) -> None:
    """Of every line: the factor on its last day, and on the first session of it, is price × split, to the last bit."""
    lake = gl.open(tmp_path / "lake")
    import_actions(lake.store, lake.config, [path], "XNAS")
    actions = lake.store.meta.actions.of(None)
    cut = cut_of(lake.config, "XNAS", DAY1)
    (rows,) = read_actions(path).factors.values()
    only = [a for a in actions if a.kind == "split"]
    ends = np.array([row.day for row in rows])
    firsts = np.array([rows[0].day, *(next_session(lake.config, "XNAS", row.day) for row in rows[:-1])])
    for ts in (ends, firsts):
        assert factors(actions, cut, ts).tolist() == [float(row.price * row.split) for row in rows]
        assert factors(only, cut, ts).tolist() == [float(row.split) for row in rows]


@real
def test_adjusted_prices_of_a_lake_are_those_of_the_factor_file(tmp_path: Path) -> None:
    """AAPL: raw × price factor × split factor on each side of a dividend and of both splits; volumes by splits only."""
    lake = gl.open(tmp_path / "lake")
    days = ["2012-08-08", "2012-08-09", "2014-06-06", "2014-06-09", "2020-08-28", "2020-08-31", "2021-03-01"]
    lake.write(NAME, "1d", bars(days, [619.86, 620.73, 645.57, 93.7, 499.23, 129.04, 127.79]))
    import_actions(lake.store, lake.config, [FACTORS / "aapl.csv"], "XNAS")
    table = {row.day: row for row in next(iter(read_actions(FACTORS / "aapl.csv").factors.values()))}
    ends = sorted(table)
    line = [table[next(e for e in ends if e >= day(d))] for d in days]
    raw = lake.bars(NAME, "1d")
    whole, splits = lake.bars(NAME, "1d", adjust="all"), lake.bars(NAME, "1d", adjust="splits")
    assert whole["close"].to_list() == [c * float(r.price * r.split) for c, r in zip(raw["close"], line, strict=True)]
    assert splits["close"].to_list() == [c * float(r.split) for c, r in zip(raw["close"], line, strict=True)]
    assert whole["volume"].to_list() == pytest.approx([700 / float(r.split) for r in line], rel=1e-15)
    assert splits["close"][0] == pytest.approx(619.86 / 28, rel=1e-5)


@real
def test_real_minutes_are_whole_across_a_split(tmp_path: Path) -> None:
    """AAPL's minutes from 2014-06-06 to 06-09, extended hours too: a fall to a seventh as traded, 2 % adjusted."""
    rows = pl.read_parquet(SHARED / "data/equity/us_minute_extended_hours.parquet").filter(pl.col("symbol") == "AAPL")
    rows = rows.rename({"open_time": "ts"}).drop("symbol").with_columns(pl.col("volume").cast(pl.Float64))
    lake = gl.open(tmp_path / "lake")
    lake.write(NAME, "1m", rows)
    import_actions(lake.store, lake.config, [FACTORS / "aapl.csv"], "XNAS")
    window = {"start": "2014-06-06", "end": "2014-06-10"}
    steps = [
        np.abs(np.diff(np.log(lake.bars(NAME, "1m", **window, adjust=a)["close"].to_numpy()))).max()  # type: ignore[arg-type]
        for a in ("none", "splits")
    ]
    assert steps[0] > 1.9
    assert steps[1] < 0.02


# ---------------------------------------------------------------- reading


def test_a_split_divides_prices_and_multiplies_volumes(lake: gl.Lake, tmp_path: Path) -> None:
    """Seven for one: what was 700 before the ex-date is 100, what were 700 shares are 4,900; stored rows stay."""
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT)], "XNAS")
    found = lake.bars(NAME, "1d", adjust="splits")
    assert found["close"].to_list() == pytest.approx([100.0] * 4)
    assert found["volume"].to_list() == pytest.approx([4900.0, 4900.0, 700.0, 700.0])
    assert lake.bars(NAME, "1d")["close"].to_list() == [700.0, 700.0, 100.0, 100.0]


def test_a_dividend_leaves_volumes_alone(lake: gl.Lake, tmp_path: Path) -> None:
    """One dollar on a close of 100: earlier prices × 0.99 with all, untouched with splits; the close is looked up."""
    path = write(tmp_path / "d.csv", "symbol,ex,amount\nAAPL,2014-06-10,1\n")
    import_actions(lake.store, lake.config, [path], "XNAS")
    found = lake.bars(NAME, "1d", adjust="all")
    assert found["close"].to_list() == pytest.approx([693.0, 693.0, 99.0, 100.0])
    assert found["volume"].to_list() == [700.0] * 4
    assert lake.bars(NAME, "1d", adjust="splits").equals(lake.bars(NAME, "1d"))


def test_no_action_is_seen_before_it_is_known(lake: gl.Lake, tmp_path: Path) -> None:
    """An import is known from its own time on: before, bars are as traded, whatever the ex-date says."""
    before = lake.store.clock()
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT)], "XNAS")
    assert lake.bars(NAME, "1d", adjust="splits", adjust_as_of=before).equals(lake.bars(NAME, "1d"))
    assert lake.bars(NAME, "1d", adjust="splits", as_of=before).equals(lake.bars(NAME, "1d", as_of=before))


def test_actions_may_be_taken_as_known_from_their_ex_dates(lake: gl.Lake, tmp_path: Path) -> None:
    """With known_by="ex" the view of 2014-06-08 has no split and that of 2014-06-09 has it."""
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT)], "XNAS", known_by="ex")
    early, late = (lake.bars(NAME, "1d", adjust="splits", adjust_as_of=f"2014-06-0{d}") for d in (8, 9))
    assert early["close"].to_list() == [700.0, 700.0, 100.0, 100.0]
    assert late["close"].to_list() == pytest.approx([100.0] * 4)


def test_a_split_to_come_is_not_in_prices_yet(lake: gl.Lake, tmp_path: Path) -> None:
    """An announced split with an ex-date in the future changes nothing."""
    path = write(tmp_path / "a.csv", "ticker,ex_date,ratio\nAAPL,2999-06-09,7\n")
    import_actions(lake.store, lake.config, [path], "XNAS")
    assert lake.bars(NAME, "1d", adjust="splits").equals(lake.bars(NAME, "1d"))


def test_fills_come_after_adjusting(lake: gl.Lake, tmp_path: Path) -> None:
    """A bar that is filled over an ex-date has the adjusted close before it, not a seventh of it."""
    lake.write(NAME, "1d", bars(["2014-06-13"], [100.0]))
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT.replace("06-09", "06-12"))], "XNAS")
    found = lake.bars(NAME, "1d", adjust="splits", fill="flat", start="2014-06-10")
    assert found["close"].to_list() == pytest.approx([100 / 7, 100 / 7, 100 / 7, 100.0])


def test_a_week_with_a_split_inside_cannot_be_adjusted(lake: gl.Lake, tmp_path: Path) -> None:
    """A weekly bar with prices of both sides is refused, with what to read instead; one that ends before is not."""
    lake.write(NAME, "1w", bars(["2014-06-02", "2014-06-09"], [700.0, 100.0]))
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT)], "XNAS")
    assert lake.bars(NAME, "1w", adjust="splits")["close"].to_list() == pytest.approx([100.0, 100.0])
    import_actions(lake.store, lake.config, [write(tmp_path / "b.csv", SPLIT.replace("06-09", "06-25"))], "XNAS")
    lake.write(NAME, "1w", bars(["2014-06-23"], [50.0]))
    with pytest.raises(UsageError, match="before and after"):
        lake.bars(NAME, "1w", adjust="splits")


def test_an_adjustment_that_can_do_nothing_is_an_error(lake: gl.Lake) -> None:
    """No actions of the whole venue, an unknown word, and a time without an adjustment are each told."""
    with pytest.raises(UsageError, match="no corporate actions of XNAS"):
        lake.bars(NAME, "1d", adjust="splits")
    with pytest.raises(UnknownName, match="did you mean 'splits'"):
        lake.bars(NAME, "1d", adjust="split")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no adjustment"):
        lake.bars(NAME, "1d", adjust_as_of="2014-06-09")


# ---------------------------------------------------------------- importing


def test_a_venue_of_which_it_is_told_that_there_is_nothing_can_be_adjusted(lake: gl.Lake) -> None:
    """A source that was asked and knew no action of an instrument has answered: bars are as traded."""
    with pytest.raises(UsageError, match="no corporate actions of XNAS"):
        lake.bars(NAME, "1d", adjust="all")
    lake.store.meta.actions.store([], now=lake.store.clock(), whole=[(NAME, "polygon")])
    assert lake.bars(NAME, "1d", adjust="all").equals(lake.bars(NAME, "1d"))
    assert lake.features(NAME, "1d", {"c": "close"}, adjust="all")["c"].to_list() == [700.0, 700.0, 100.0, 100.0]


def test_the_same_file_again_changes_nothing(lake: gl.Lake, tmp_path: Path) -> None:
    """Unchanged rows are counted so; a changed ratio supersedes, and what was believed before stays readable."""
    path = write(tmp_path / "a.csv", SPLIT)
    assert import_actions(lake.store, lake.config, [path], "XNAS")["written"] == 1
    assert import_actions(lake.store, lake.config, [path], "XNAS")["unchanged"] == 1
    believed = lake.store.clock()
    assert import_actions(lake.store, lake.config, [write(path, SPLIT.replace(",7", ",8"))], "XNAS")["corrected"] == 1
    assert [x["value"] for x in action_lines(lake.store)] == [8.0]
    assert [x["value"] for x in action_lines(lake.store, as_of=believed)] == [7.0]


def test_what_a_factor_file_says_no_more_is_withdrawn(lake: gl.Lake, tmp_path: Path) -> None:
    """A factor file is the whole truth of its instrument: a line that is gone takes its action with it."""
    whole = "20140327,1,0.5,1\n20140606,1,0.5,700\n20141231,0.9,1,100\n20501231,1,1,0\n"
    path = write(tmp_path / "aapl.csv", whole)
    assert import_actions(lake.store, lake.config, [path], "XNAS")["written"] == 3
    shorter = write(path, "20140327,1,0.5,1\n20140606,1,0.5,700\n20501231,1,1,0\n")
    found = import_actions(lake.store, lake.config, [shorter], "XNAS")
    assert (found["withdrawn"], found["unchanged"]) == (2, 1)


def test_an_action_that_was_wrong_is_replaced(lake: gl.Lake, tmp_path: Path) -> None:
    """A date that was off by a day is told again with ``replace``: the old one stands no more, and stays readable."""
    wrong = write(tmp_path / "a.csv", SPLIT.replace("09", "10"))
    import_actions(lake.store, lake.config, [wrong], "XNAS")
    then = lake.store.clock()
    found = import_actions(lake.store, lake.config, [write(tmp_path / "b.csv", SPLIT)], "XNAS", replace=True)
    assert (found["written"], found["withdrawn"], found["notes"]) == (1, 1, [])
    assert [x["ex"] for x in action_lines(lake.store)] == ["2014-06-09"]
    assert [x["ex"] for x in action_lines(lake.store, as_of=then)] == ["2014-06-10"]


def test_a_split_told_twice_is_taken_once(lake: gl.Lake, tmp_path: Path) -> None:
    """The same ratio a week apart, as a vendor's list has it for SHOP in June 2022, is one split, and said so."""
    days = ("2022-06-22", "2022-06-29")
    rows = [{"ticker": "SHOP", "execution_date": d, "split_from": 1, "split_to": 10} for d in days]
    path = write(tmp_path / "a.json", json.dumps({"results": rows}))
    found = import_actions(lake.store, lake.config, [path], "XNYS")
    assert found["written"] == 1
    assert "again; left out" in found["notes"][0]


@pytest.mark.skipif(not (SHARED / "wire").is_dir(), reason="needs ../shared/wire")
def test_a_vendors_lists_are_read(lake: gl.Lake) -> None:
    """The recorded answers of a vendor: each split has its ratio; dividends without bars before them are noted."""
    wire = SHARED / "wire" / "massive_polygon"
    found = import_actions(lake.store, lake.config, [wire / "v3__reference__splits.json"], "XNYS")
    values = {(x["instrument"], x["ex"]): x["value"] for x in action_lines(lake.store)}
    assert found["written"] == len(values)
    assert values["XNYS:AMZN", "2022-06-06"] == 20
    assert values["XNYS:BRW", "2022-05-20"] == 0.5
    found = import_actions(lake.store, lake.config, [wire / "v3__reference__dividends.json"], "XNYS")
    assert found["written"] == 0
    assert all("import daily bars first" in note for note in found["notes"])


def test_regular_and_special_dividends_of_a_day_are_one(lake: gl.Lake, tmp_path: Path) -> None:
    """Amounts of one ex-date add up; the same row twice does not."""
    rows = "symbol,ex,amount,close\nAAPL,2014-06-10,1,100\nAAPL,2014-06-10,2,100\nAAPL,2014-06-10,1,100\n"
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", rows)], "XNAS")
    assert [(x["value"], x["factor"]) for x in action_lines(lake.store)] == [(3.0, 0.97)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ('{"a": 1}', "no list of actions"),
        ("symbol,ex\nAAPL,2014-06-09\n", "line 2: neither one split nor one dividend"),
        ("symbol,ratio\nAAPL,7\n", "line 2: no ex"),
        ("symbol,ex,ratio\nAAPL,someday,7\n", "'someday' is no date"),
        ("symbol,ex,ratio\nAAPL,2014-06-09,seven\n", "'seven' is no number"),
        ("symbol,ex,ratio\nAAPL,2014-06-09,0\n", "line 2: a split of 0 new shares"),
        ("symbol,ex,ratio\nAAPL,2014-06-09,7\nAAPL,2014-06-10,-2\n", "line 3: a split of -2"),
        ('[{"symbol": "AAPL", "ex": "2014-06-09", "split_from": 0, "split_to": 2}]', "row 1: a split of 0"),
        ("20140606,1,0.5,700\nnonsense\n", "line 2: 'nonsense' is no line of factors"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(lake: gl.Lake, tmp_path: Path, text: str, message: str) -> None:
    """The error has the file and the line, and nothing is stored."""
    with pytest.raises(InputError, match=message) as told:
        import_actions(lake.store, lake.config, [write(tmp_path / "bad.csv", text)], "XNAS")
    assert "bad.csv" in str(told.value)
    assert action_lines(lake.store) == []


def test_what_changes_nothing_and_what_cannot_be_is_noted(lake: gl.Lake, tmp_path: Path) -> None:
    """A split of 1 for 1, dividends of all there is and more: each row is counted and left out, the others stand."""
    rows = "AAPL,2014-06-09,1,,\nAAPL,2014-06-09,,700,\nAAPL,2014-06-10,,20,10\nAAPL,2014-06-09,,7,\n"
    path = write(tmp_path / "a.csv", f"symbol,ex,ratio,amount,close\n{rows}")
    found = import_actions(lake.store, lake.config, [path], "XNAS")
    assert (found["read"], found["written"], len(found["notes"])) == (4, 1, 3)
    assert all(note.endswith("left out") for note in found["notes"])
    assert [(x["kind"], x["value"], x["factor"]) for x in action_lines(lake.store)] == [("dividend", 7.0, 0.99)]


def test_splits_that_contradict_each_other_are_told_with_both(lake: gl.Lake, tmp_path: Path) -> None:
    """In one call; of two calls the later one corrects the former."""
    with pytest.raises(InputError, match="2014-06-09 has splits that differ: 7 for 1 and 3 for 1"):
        import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", f"{SPLIT}AAPL,2014-06-09,3\n")], "XNAS")
    for text in (SPLIT, SPLIT.replace("7", "3")):
        counts = import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", text)], "XNAS")
    assert (counts["corrected"], action_lines(lake.store)[0]["value"]) == (1, 3.0)


def test_a_split_and_a_dividend_of_one_day_take_their_effect_together(lake: gl.Lake, tmp_path: Path) -> None:
    """The dividend is a share of the old close, as the split is of the old shares."""
    path = write(tmp_path / "a.csv", "symbol,ex,ratio,amount\nAAPL,2014-06-09,7,\nAAPL,2014-06-09,,70\n")
    import_actions(lake.store, lake.config, [path], "XNAS")
    assert lake.bars(NAME, "1d", adjust="all")["close"].to_list() == pytest.approx([90.0, 90.0, 100.0, 100.0])
    assert lake.bars(NAME, "1d", adjust="all")["volume"].to_list() == pytest.approx([4900.0, 4900.0, 700.0, 700.0])


@pytest.mark.parametrize(
    "text", ["20140606,1,0.5,700\n20140605,1,1,0\n", "20140606,1,0,700\n20501231,1,1,0\n", "20140606,1,0.5,700\n"]
)
def test_factors_that_cannot_be_are_refused(lake: gl.Lake, tmp_path: Path, text: str) -> None:
    """Unsorted lines, a factor of 0, and a table that does not end at today's shares."""
    with pytest.raises(UsageError):
        import_actions(lake.store, lake.config, [write(tmp_path / "aapl.csv", text)], "XNAS")


# ---------------------------------------------------------------- the arithmetic


actions_strategy = st.lists(
    st.one_of(
        st.builds(
            lambda at, up, down: split(NAME, at * DAY, Fraction(up, down)),
            st.integers(0, 400), st.integers(1, 50), st.integers(1, 50),
        ),
        st.builds(
            lambda at, cents: dividend(NAME, at * DAY, Fraction(cents, 100), close="100"),
            st.integers(0, 400), st.integers(1, 5000),
        ),
    ),
    max_size=25,
)  # fmt: skip
frames = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40).map(
    lambda close: pl.DataFrame({"ts": pl.Series(np.arange(len(close)) * 10 * DAY).cast(pl.Datetime("us", "UTC")),
                                **dict.fromkeys(VALUES, close)})
)  # fmt: skip


@given(frames, actions_strategy)
def test_adjusting_and_back_is_the_identity(frame: pl.DataFrame, actions: list[Action]) -> None:
    """To 1e-12, whatever the actions."""
    back = as_traded(adjusted(frame, actions, lambda ex: ex), actions, lambda ex: ex)
    for name in VALUES:
        assert back[name].to_list() == pytest.approx(frame[name].to_list(), rel=1e-12)


@given(frames, actions_strategy, st.integers(0, 400 * DAY))
def test_the_future_never_changes_the_view_of_the_past(frame: pl.DataFrame, actions: list[Action], at: int) -> None:
    """Actions learned or taking effect after a time do not change what is seen as of it."""
    told = [Action(a.instrument, a.kind, a.ex, a.factor, a.value, known_at=a.ex + DAY) for a in actions]
    past = [a for a in told if a.known_at <= at]
    assert adjusted(frame, known(told, at), int).equals(adjusted(frame, known(past, at), int))
    later = frame.filter(pl.col("ts").to_physical() >= at)
    assert adjusted(later, known(told, at), int).equals(later)


@given(frames, actions_strategy)
def test_the_order_in_which_actions_are_told_does_not_matter(frame: pl.DataFrame, actions: list[Action]) -> None:
    """The same bits, however they are sorted."""
    assert adjusted(frame, actions, int).equals(adjusted(frame, actions[::-1], int))


def test_two_sources_of_one_action_are_one(lake: gl.Lake, tmp_path: Path) -> None:
    """A rounded factor, and another date for the same split, change nothing: what was told first stands."""
    factors_of = "20140327,1,0.1428571,1\n20140606,1,0.1428571,700\n20501231,1,1,0\n"
    import_actions(lake.store, lake.config, [write(tmp_path / "aapl.csv", factors_of)], "XNAS")
    found = import_actions(lake.store, lake.config, [write(tmp_path / "v.csv", SPLIT)], "XNAS")
    assert (found["unchanged"], found["written"], found["corrected"]) == (1, 0, 0)
    late = write(tmp_path / "w.csv", SPLIT.replace("06-09", "06-11"))
    found = import_actions(lake.store, lake.config, [late], "XNAS")
    assert (found["written"], len(found["notes"])) == (0, 1)
    assert [x["ex"] for x in action_lines(lake.store)] == ["2014-06-09"]


def test_features_of_adjusted_bars(lake: gl.Lake, tmp_path: Path) -> None:
    """A return over a split is no fall, on longer bars that are folded neither; built rows stay as traded."""
    with pytest.raises(UsageError, match="holds no corporate actions"):
        lake.features(NAME, "1d", {"r": "simple_return(close, 1)"}, adjust="splits")
    import_actions(lake.store, lake.config, [write(tmp_path / "a.csv", SPLIT)], "XNAS")
    wanted = {"r": "simple_return(close, 1)", "week": "low @ 1w"}
    lake.build({"r": wanted["r"]}, NAME, "1d")
    raw, mended = lake.features(NAME, "1d", wanted), lake.features(NAME, "1d", wanted, adjust="splits")
    assert raw["r"].to_list()[1:] == pytest.approx([0, 100 / 700 - 1, 0])
    assert mended["r"].to_list()[1:] == pytest.approx([0, 0, 0])
    assert lake.features(NAME, "1d", {"r": wanted["r"]})["r"].equals(raw["r"])
    data = lake.dataset({"r": wanted["r"]}, "close", 1, instruments=NAME, timeframe="1d", adjust="splits")
    assert data["r"].drop_nans().abs().max() == pytest.approx(0)
