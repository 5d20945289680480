"""Universes: who belongs at a time, and why; never by what came later, and never without those that died."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gapless as gl
from gapless.app import selecting
from gapless.app.actions import import_actions
from gapless.bars import VALUES
from gapless.config import Config, parse
from gapless.errors import ConfigError, UnknownName, UsageError
from gapless.protocols import Listing
from gapless.selection import Bounds, Candidate, Rules, Verdict, select
from gapless.series import Instrument
from gapless.spans import DAY, MINUTE, SpanSet, parse_time

SHARED = Path(__file__).parents[2].parent / "shared"
FIRST = parse_time("2024-01-01")
DAYS = 40


def at(day: float) -> int:
    return FIRST + round(day * DAY)


def daily(seed: int, first: int = 0, last: int = DAYS, scale: float = 1.0) -> pl.DataFrame:
    """A random walk of daily bars."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, DAYS)))[first:last]
    volume = scale * rng.uniform(1e3, 1e4, DAYS)[first:last]
    ts = pl.Series(np.arange(first, last) * DAY + FIRST).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"ts": ts, "open": close, "high": close, "low": close, "close": close, "volume": volume})


def config(**universe: Any) -> Config:
    return parse({"universes": {"u": universe}})


def listing(name: str, listed: float | None, delisted: float | None = None, **told: str) -> Listing:
    status = "trading" if delisted is None else "delisted"
    times = (None if x is None else at(x) for x in (listed, delisted))
    return Listing(Instrument.parse(name), status, *times, {"base": name[8:-4], "quote": name[-4:], **told})


def filled(path: Path, settings: Config, until: int = DAYS) -> gl.Lake:
    """AUSDT and BUSDT live on, CUSDT dies on day 20, DUSDT is born on day 25, EUSDC is small and in another quote.

    ``until``: a lake that ends on that day, and never heard of who was not alive then.
    """
    lake = gl.open(path, config=settings)
    lives = {"AUSDT": (0, None), "BUSDT": (0, None), "CUSDT": (0, 20), "DUSDT": (25, None), "EUSDC": (0, None)}
    scales = {"AUSDT": 1.0, "BUSDT": 5.0, "CUSDT": 9.0, "DUSDT": 7.0, "EUSDC": 0.1}
    for seed, (name, (born, died)) in enumerate(lives.items()):
        if until < DAYS and not born <= until < (died or DAYS):
            continue
        lake.store.meta.store_listings([listing(f"BINANCE:{name}", born, died)], how="made", now=at(0))
        lake.write(f"BINANCE:{name}", "1d", daily(seed, born, min(died or DAYS, until), scales[name]))
    return lake


def symbols(names: list[str]) -> list[str]:
    return [n.partition(":")[2] for n in names]


# ---------------------------------------------------------------- over a lake


def test_the_dead_belong_while_they_lived(tmp_path: Path) -> None:
    """CUSDT is a member until its delisting, and DUSDT from its listing on, whenever one asks."""
    found = filled(tmp_path / "lake", config(quote=["USDT"])).universe("u")
    assert symbols(found.at(at(10))) == ["AUSDT", "BUSDT", "CUSDT"]
    assert symbols(found.at(at(22))) == ["AUSDT", "BUSDT"]
    assert symbols(found.at(at(30))) == ["AUSDT", "BUSDT", "DUSDT"]


def test_ranked_by_liquidity_with_the_dead_among_them(tmp_path: Path) -> None:
    """The two most liquid of a day: CUSDT while it lived, then BUSDT, and DUSDT once it has five days."""
    universe = filled(
        tmp_path / "lake", config(liquidity={"days": 5}, rank="median(close * volume, 5)", top=2)
    ).universe("u")
    assert symbols(universe.at(at(15))) == ["CUSDT", "BUSDT"]
    assert symbols(universe.at(at(24))) == ["BUSDT", "AUSDT"]
    assert symbols(universe.at(at(29))) == ["BUSDT", "AUSDT"]
    assert symbols(universe.at(at(35))) == ["DUSDT", "BUSDT"]


def test_every_candidate_says_what_it_passed(tmp_path: Path) -> None:
    """Each test with its value, of members and of others."""
    settings = config(quote=["USDT"], listed_for="10d", liquidity={"days": 5, "min": 1e5}, top=1, rank="close")
    verdicts = {v.instrument[8:]: v for v in filled(tmp_path / "lake", settings).universe("u").select(at(30))}
    assert {n: v.member for n, v in verdicts.items()} == {
        "AUSDT": verdicts["AUSDT"].place == 1, "BUSDT": verdicts["BUSDT"].place == 1,
        "CUSDT": False, "DUSDT": False, "EUSDC": False,
    }  # fmt: skip
    assert not verdicts["CUSDT"].tests["alive"].passed
    assert (verdicts["DUSDT"].tests["listed_for"].passed, verdicts["DUSDT"].tests["listed_for"].value) == (False, 5.0)
    assert (verdicts["EUSDC"].tests["quote"].passed, verdicts["EUSDC"].tests["quote"].value) == (False, "USDC")
    bars = daily(1, 0, 30, 5).tail(5)
    assert verdicts["BUSDT"].tests["liquidity"].value == pytest.approx((bars["close"] * bars["volume"]).median())
    assert verdicts["DUSDT"].tests["liquidity"].passed


@pytest.mark.parametrize("day", [6, 15, 22, 33])
def test_nothing_later_is_looked_at(tmp_path: Path, day: int) -> None:
    """The selection of a day is the same, test by test, in a lake that ends there and in one that goes on."""
    settings = config(
        quote=["USDT"], liquidity={"days": 5, "min": 1}, volatility={"days": 5}, rank="rank(mom(close, 5))",
        tests={"up": {"expression": "close > sma(close, 5)"}}, top=2,
    )  # fmt: skip
    whole = filled(tmp_path / "whole", settings).universe("u").select(at(day))
    short = filled(tmp_path / "short", settings, until=day).universe("u").select(at(day))
    assert [v.to_dict() for v in short] == [v.to_dict() for v in whole if v.tests["alive"].passed]
    assert any(v.tests["up"].value in (0.0, 1.0) and v.tests["liquidity"].passed for v in short)


def test_a_bar_counts_when_it_is_final(tmp_path: Path) -> None:
    """At 00:00 the bar of the day before is the last one seen; the bar that just opened is not."""
    universe = filled(tmp_path / "lake", config(symbols=["BINANCE:AUSDT"], rank="close")).universe("u")
    (found,) = universe.select(at(12))
    assert found.tests["rank"].value == daily(0)["close"][11]
    assert found.tests["traded"].value == 0.0


def test_members_over_time_are_those_of_each_time(tmp_path: Path) -> None:
    """The spans of ``members`` hold a time exactly when ``at`` has the instrument then."""
    universe = filled(tmp_path / "lake", config(quote=["USDT"], rank="mom(close, 3)", top=2, every="2d")).universe("u")
    when = universe.members(at(3), at(35))
    for day in range(3, 35):
        inside = sorted(name for name, spans in when.items() if at(day + 0.5) in _times(spans))
        assert inside == sorted(universe.at(at(day + 0.5))), day


class _times:  # noqa: N801 - reads as a container
    def __init__(self, spans: SpanSet) -> None:
        self.spans = spans

    def __contains__(self, time: int) -> bool:
        return any(s.start <= time < s.end for s in self.spans)


def test_it_changes_on_its_grid_only(tmp_path: Path) -> None:
    """With every = 7d the selection is that of the last Thursday (the epoch's day), to the microsecond."""
    universe = filled(tmp_path / "lake", config(quote=["USDT"], every="7d")).universe("u")
    turn = universe.decided_at(at(30))
    assert turn % (7 * DAY) == 0
    assert universe.at(turn) == universe.at(turn + 7 * DAY - 1)
    assert universe.decided_at(turn - 1) == turn - 7 * DAY


def test_who_stopped_trading_cannot_be_measured(tmp_path: Path) -> None:
    """Bars that are older than ``fresh`` have no values: the test says how old."""
    lake = gl.open(tmp_path / "lake", config=config(rank="close", fresh="3d"))
    lake.write("BINANCE:AUSDT", "1d", daily(0, 0, 10))
    assert symbols(lake.universe("u").at(at(13))) == ["AUSDT"]
    (found,) = lake.universe("u").select(at(14))
    assert (found.member, found.tests["traded"].value) == (False, 4.0)


def test_shorter_and_longer_bars_in_one_universe(tmp_path: Path) -> None:
    """Each measure is of its own bars: one of minutes, one of hours folded from them, one of days."""
    tests = {"m": {"expression": "close @ 1m", "min": 0}, "h": {"expression": "mean(close, 2) @ 1h", "min": 0}}
    lake = gl.open(tmp_path / "lake", config=config(tests=tests, rank="close"))
    close = np.arange(1.0, 2 * 1440 + 1)
    ts = pl.Series(np.arange(2 * 1440) * MINUTE + FIRST).cast(pl.Datetime("us", "UTC"))
    values = dict.fromkeys(VALUES, pl.Series(close))
    lake.write("BINANCE:AUSDT", "1m", pl.DataFrame({"ts": ts, **values}))
    (found,) = lake.universe("u").select(at(2))
    assert [found.tests[n].value for n in ("m", "h", "rank")] == [2880.0, 2850.0, 2880.0]


def test_prices_are_measured_without_splits(tmp_path: Path) -> None:
    """A two-for-one split is no fall of a half; and before it took effect the price was what it was."""
    settings = config(rank="simple_return(close, 1)", tests={"p": {"expression": "close", "min": 0}}, every="1h")
    lake = gl.open(tmp_path / "lake", config=settings)
    ts = pl.Series([parse_time(f"2024-01-0{d}") for d in (2, 3, 4)]).cast(pl.Datetime("us", "UTC"))
    close = pl.Series([100.0, 110.0, 55.0])
    lake.write("XNAS:X", "1d", pl.DataFrame({"ts": ts, **dict.fromkeys(VALUES, close)}))
    (tmp_path / "s.csv").write_text("symbol,ex,ratio\nX,2024-01-04,2\n")
    import_actions(lake.store, lake.config, [tmp_path / "s.csv"], "XNAS")
    times = ("2024-01-03T22:00", "2024-01-04T00:00", "2024-01-05")
    found = [lake.universe("u").select(time)[0].tests for time in times]
    assert [tests["p"].value for tests in found] == [110.0, 55.0, 55.0]
    assert [tests["rank"].value for tests in found] == pytest.approx([0.1, 0.1, 0.0])


def test_a_status_is_asked_only_where_somebody_looked(tmp_path: Path) -> None:
    """What is delisted today without a date was traded then, as its bars say; from when we looked, it is not."""
    lake = gl.open(tmp_path / "lake", config=config(status=["trading"], rank="close"))
    lake.write("BINANCE:AUSDT", "1d", daily(0))
    lake.store.meta.store_listings([Listing(Instrument("BINANCE", "AUSDT"), "break")], how="made", now=at(30))
    assert symbols(lake.universe("u").at(at(20))) == ["AUSDT"]
    assert lake.universe("u").at(at(31)) == []


# ---------------------------------------------------------------- dated, stored, used


def test_selections_are_stored_dated(tmp_path: Path) -> None:
    """Each is found as of its time, with what was said of everybody; another definition is asked anew."""
    lake = filled(tmp_path / "lake", config(quote=["USDT"], rank="close", top=2))
    universe = lake.universe("u")
    early, late = universe.remember(at(10)), universe.remember(at(30))
    assert universe.stored(at(29)) == early
    assert universe.stored() == late
    assert universe.stored(at(9)) is None
    assert universe.current() == list(late.members) == universe.at(at(30))
    other = gl.open(tmp_path / "lake", config=config(quote=["USDC"])).universe("u")
    assert symbols(other.current()) == ["EUSDC"]
    assert lake.store.meta.selections.dates("u") == [at(10), at(30)]


def test_a_selection_of_a_time_to_come_is_refused(tmp_path: Path) -> None:
    """It would be the newest one for ever, and nobody can know it."""
    found = filled(tmp_path / "lake", config(quote=["USDT"])).universe("u")
    with pytest.raises(UsageError, match="nobody knows"):
        found.remember("2090-01-01")
    assert found.stored() is None


def test_a_universe_stands_where_symbols_do(tmp_path: Path) -> None:
    """As a plain list, or as the members of the newest selection."""
    lake = filled(tmp_path / "lake", config(quote=["USDT"]))
    assert list(map(str, selecting.instruments(lake, None, "u") or ())) == sorted(lake.universe("u").at())
    plain = gl.open(tmp_path / "lake", config=config(symbols=["BINANCE:BUSDT", "BINANCE:AUSDT"]))
    assert plain.universe("u").current() == ["BINANCE:BUSDT", "BINANCE:AUSDT"]


def test_features_compare_those_who_belonged_then(tmp_path: Path) -> None:
    """Ranks among the members of each day, the dead one too; rows of the days on which they belonged."""
    lake = filled(tmp_path / "lake", config(quote=["USDT"]))
    wanted = {"r": "rank(close)"}
    found = lake.features(None, "1d", wanted, universe="u")
    members = lake.universe("u").members(at(0), at(DAYS))
    expected = lake.features(list(members), "1d", wanted, members=members)
    assert found["instrument"].unique().sort().to_list() == sorted(members)
    joined = found.join(expected, on=["instrument", "ts"], suffix="_expected")
    assert joined.height == found.height
    assert joined["r"].equals(joined["r_expected"], null_equal=True)
    dead = found.filter(pl.col("instrument") == "BINANCE:CUSDT")
    assert (dead.height, dead["r"].is_finite().all()) == (20, True)
    plain = lake.features(None, "1d", {"c": "close"}, universe="u")
    assert plain.filter(pl.col("instrument") == "BINANCE:DUSDT").height == DAYS - 25


def test_an_empty_universe_is_told(tmp_path: Path) -> None:
    """Nothing to fetch or to read is not a success."""
    lake = filled(tmp_path / "lake", config(quote=["EUR"]))
    assert lake.universe("u").at() == []
    assert lake.features(None, "1d", {"r": "rank(close)"}, universe="u").height == 0
    assert lake.features(None, "1d", {"c": "close"}, universe="u").height == 0
    with pytest.raises(UsageError, match="nothing belongs"):
        lake.universe("u").current()
    with pytest.raises(UnknownName, match="unknown universe 'v'"):
        lake.universe("v")


def test_a_lake_that_knows_nothing_selects_nobody(tmp_path: Path) -> None:
    """No candidates, no members, no error; a note says what comes first."""
    universe = gl.open(tmp_path / "lake", config=config(quote=["USDT"], rank="close")).universe("u")
    assert (universe.select(), universe.members(at(0), at(3))) == ([], {})
    assert "instruments sync" in universe.decide().document["notes"][0]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "give symbols, or what they must be like"),
        ({"quotes": ["USDT"]}, "did you mean 'quote'"),
        ({"top": 0}, "top"),
        ({"quote": "USDT"}, "universes.u.quote: is a list"),
        ({"quote": ["USDT"], "ascending": True}, "nothing to rank by"),
        ({"tests": {"rank": {"expression": "close"}}}, "cannot be called 'rank'"),
        ({"listed_for": "long"}, "long"),
        ({"liquidity": {"min": 2.0, "max": 1.0}}, "nothing is at least 2"),
        ({"tests": {"t": {"expression": "close", "min": math.nan}}}, "nothing is at least nan"),
        ({"quote": ["USDT"], "every": "0s"}, "above 0"),
        ({"symbols": ["BTC"]}, "names no venue"),
        ({"quote": ["USDT"], "timeframe": "1y"}, "1y"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(section: dict[str, Any], message: str) -> None:
    """With its path in the file."""
    with pytest.raises(ConfigError, match=message) as told:
        parse({"universes": {"u": section}})
    assert "universes.u" in str(told.value)


# ---------------------------------------------------------------- judging alone


def names(verdicts: list[Verdict]) -> list[str]:
    return [v.instrument for v in verdicts if v.member]


def test_one_of_each_base() -> None:
    """The first quote in order, then the more liquid; a thousand of a base is that base; included ones come first."""
    candidates = [
        Candidate("X:BTCUSDC", base="BTC", quote="USDC", values={"liquidity": 9.0}),
        Candidate("X:BTCUSDT", base="BTC", quote="USDT", values={"liquidity": 1.0}),
        Candidate("Y:BTCUSDT", base="BTC", quote="USDT", values={"liquidity": 2.0}),
        Candidate("X:1000PEPEUSDT", base="1000PEPE", quote="USDT"),
        Candidate("Z:PEPEUSDT", base="PEPE", quote="USDT", values={"liquidity": 1.0}),
    ]
    rules = Rules(quotes=("USDT", "USDC"), per_base=True)
    assert names(select(rules, candidates)) == ["Y:BTCUSDT", "Z:PEPEUSDT"]
    assert names(select(Rules(per_base=True, include=("X:BTCUSDC",)), candidates)) == ["X:BTCUSDC", "Z:PEPEUSDT"]


def test_included_ones_take_places_and_must_live() -> None:
    """They are members whatever else; the dead are not."""
    candidates = [Candidate(f"X:{n}", values={"rank": v}) for n, v in (("A", 3.0), ("B", 2.0), ("C", 1.0))]
    rules = Rules(exclude=("C",), include=("X:C", "X:D"), ranked=True, top=2)
    assert names(select(rules, [*candidates, Candidate("X:D", alive=False)])) == ["X:C", "X:A"]


def test_what_is_missing_fails() -> None:
    """NaN is inside no bounds and has no rank; an unknown age is not old enough; an unknown status is let pass."""
    nan = Candidate("X:A", values={"m": float("nan"), "rank": float("nan")})
    (found,) = select(Rules(measures={"m": Bounds()}, ranked=True, listed_for=1, statuses=("trading",)), [nan])
    assert {n: o.passed for n, o in found.tests.items()} == {
        "alive": True, "status": True, "listed_for": False, "m": False, "rank": False,
    }  # fmt: skip
    assert found.to_dict()["tests"]["m"]["value"] is None


candidates = st.lists(
    st.builds(
        Candidate,
        st.integers(0, 30).map(lambda n: f"X:S{n}"), st.booleans(), st.sampled_from(["A", "B", ""]),
        st.sampled_from(["USDT", "USDC"]), st.just("spot"), st.sampled_from(["", "trading", "halt"]),
        st.none() | st.integers(0, 100), st.none() | st.integers(0, 100),
        st.dictionaries(st.sampled_from(["rank", "m", "liquidity"]), st.floats(-10, 10) | st.just(float("nan"))),
    ),
    max_size=15, unique_by=lambda c: c.instrument,
)  # fmt: skip
rules = st.builds(
    Rules, st.sampled_from([(), ("USDT",), ("USDT", "USDC")]), st.just(()), st.just(()),
    st.sampled_from([(), ("trading",)]), st.sampled_from([(), ("*1*",)]), st.sampled_from([(), ("X:S1", "X:S2")]),
    st.sampled_from([0, 50]), st.none() | st.just(50), st.sampled_from([{}, {"m": Bounds(-5, 5)}]), st.booleans(),
    st.booleans(), st.booleans(), st.none() | st.integers(1, 5),
)  # fmt: skip


@settings(max_examples=200)
@given(rules, candidates)
def test_members_are_those_who_passed_every_test(rules: Rules, candidates: list[Candidate]) -> None:
    """Without those included: member ⇔ no test failed; never more than asked for, one a base, in any order."""
    found = select(rules, candidates)
    assert found == select(rules, candidates[::-1])
    assert sorted(v.instrument for v in found) == sorted(c.instrument for c in candidates)
    members = [v for v in found if v.member]
    for verdict in found:
        if "include" not in verdict.tests:
            assert verdict.member == all(o.passed for o in verdict.tests.values())
    if rules.top is not None:
        assert len(members) <= max(rules.top, sum("include" in v.tests for v in members))
    if rules.per_base:
        bases = [
            c.base for c in candidates if c.base and c.instrument in names(found) and c.instrument not in rules.include
        ]
        assert len(bases) == len(set(bases))
    assert [v.place for v in members] == list(range(1, len(members) + 1))


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data")
def test_real_outage_days_rank_the_most_traded(tmp_path: Path) -> None:
    """20 spot symbols in April 2021: BTCUSDT trades most; BAKEUSDT, listed on the 30th, belongs from then on."""
    lake = gl.open(tmp_path / "lake", config=config(quote=["USDT"], rank="median(close * volume, 24) @ 1h", top=30))
    rows = pl.read_parquet(SHARED / "data/crypto/spot_5m_2021-04_outages.parquet")
    time = next(n for n in rows.columns if rows.schema[n].is_temporal())
    rows = rows.rename({time: "ts"}).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
    for (name,), part in rows.partition_by("symbol", as_dict=True).items():
        lake.write(f"BINANCE:{name}", "5m", part.drop("symbol"))
    universe = lake.universe("u")
    assert universe.at("2021-04-24")[0] == "BINANCE:BTCUSDT"
    assert "BINANCE:BAKEUSDT" not in universe.at("2021-04-30")
    assert len(universe.at("2021-04-24")) == rows["symbol"].n_unique() - 1


def test_a_name_that_is_used_again_is_measured_anew(tmp_path: Path) -> None:
    """Bars of the life before are of something else: the mean of the second life's first days is of these alone."""
    lake = gl.open(
        tmp_path / "lake", config=config(rank="mean(close, 5)", tests={"c": {"expression": "close", "min": 0}})
    )
    name = "BINANCE:LUNAUSDT"
    lake.store.meta.store_listings([listing(name, 0)], how="made", now=at(0))
    lake.store.meta.store_listings([listing(name, 0, 20)], how="made", now=at(20))
    lake.store.meta.store_listings([listing(name, 24)], how="made", now=at(24))
    lake.write(name, "1d", daily(0, 0, 20).vstack(daily(0, 24, 32)))
    tests = {d: lake.universe("u").select(at(d))[0].tests for d in (21, 27, 30)}
    assert not tests[21]["alive"].passed
    assert not tests[27]["rank"].passed
    assert tests[27]["c"].passed
    assert tests[30]["rank"].value == pytest.approx(daily(0)["close"][25:30].mean())
    when = lake.universe("u").members(at(0), at(32))[name]
    assert not any(s.start < at(28) and s.end > at(20.5) for s in when)


def test_a_status_that_was_just_heard_counts(tmp_path: Path) -> None:
    """On the day of the first sync, what does not trade is no member."""
    lake = gl.open(tmp_path / "lake", config=config(status=["trading"]))
    told = [Listing(Instrument("BINANCE", n), s) for n, s in (("AUSDT", "trading"), ("BUSDT", "break"))]
    lake.store.meta.store_listings(told, how="made", now=at(10.4))
    assert symbols(lake.universe("u").at(at(10.5))) == ["AUSDT"]
