"""Features that compare instruments: answers by hand and by polars, populations, and the same bits every way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import ExpressionError, InputError, UnknownName, UsageError
from gapless.features import Stream, compute, plan, prove, run, sample_across
from gapless.features.graph import KERNEL_VERSION
from gapless.features.ops import COMPILED, Kernels
from gapless.features.panel import Panel, Population
from gapless.features.panel_proof import random_market
from gapless.features.proof import random_bars
from gapless.spans import MINUTE, SpanSet

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "crypto"
NAN = float("nan")
NAMES = ["X:A", "X:B", "X:C", "X:D", "X:E"]
SECTOR = {"X:A": "one", "X:B": "two", "X:C": "one", "X:D": "two", "X:F": "one"}  # X:E has none, X:F no bars
NESTED = {
    "inside": "rank(mom(close, 7))",
    "outside": "zscore(rank(log_return(close, 3)), 5)",
    "shifted": "rank(close) - 0.5",
    "grouped": "demean(log_return(close, 1), by='sector')",
    "twice": "rank(cs_zscore(lag(demean(close, by='sector'), 2)))",
    "state": "ema(rank(ema(close, 4) - ema(close, 9)), 3) * ema(close, 4)",
    "joined": "cs_zscore(close - close@X:A, least=3)",
    "plain": "rsi(close, 5)",
}
COLUMNS = ("open", "high", "low", "close", "volume")


def market(seed: int, count: int = 120, absent: float = 0.1) -> pl.DataFrame:
    """Random bars of five instruments, each with its own missing minutes and some values missing."""
    parts = []
    for i, name in enumerate(NAMES):
        bars = pl.DataFrame(
            {"instrument": [name] * count, "ts": MINUTE * np.arange(count), **random_bars(COLUMNS, count, seed + i)}
        )
        keep = np.random.default_rng(seed + i).random(count) >= absent
        parts.append(bars.cast({"ts": pl.Datetime("us", "UTC")}).filter(pl.Series(keep)))
    return pl.concat(parts)


def one_time(close: Mapping[str, float | None], minute: int = 0) -> pl.DataFrame:
    frame = pl.DataFrame({"instrument": list(close), "close": list(close.values()), "ts": minute * MINUTE})
    return frame.cast({"ts": pl.Datetime("us", "UTC"), "close": pl.Float64})


def members_of(seed: int, count: int = 120) -> dict[str, SpanSet]:
    """Random spans of membership; X:E leaves and comes back, X:F has no bars."""
    rng = np.random.default_rng(seed)
    cuts = {name: sorted(rng.integers(0, count, 4).tolist()) for name in [*NAMES, "X:F"]}
    return {n: SpanSet.of((a * MINUTE, b * MINUTE), (c * MINUTE, d * MINUTE)) for n, (a, b, c, d) in cuts.items()}


def minutes(bars: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return (part for _, part in bars.sort("ts", maintain_order=True).group_by("ts", maintain_order=True))


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal to the bit, as sets of rows."""
    by = ["instrument", "ts"]
    found, expected = found.sort(by), expected.sort(by)
    assert found.columns == expected.columns
    assert found.select(by).equals(expected.select(by))
    for name in expected.columns[2:]:
        assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes(), name


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        ([10, 30, 20, 20], [0, 1, 0.5, 0.5]),
        ([5, 5, 5], [0.5, 0.5, 0.5]),
        ([1, None, 2], [0, NAN, 1]),
        ([1, float("inf"), 2, float("-inf")], [0, NAN, 1, NAN]),
        ([7, None, None], [NAN, NAN, NAN]),
        ([None, None], [NAN, NAN]),
        ([0.0, -0.0], [0.5, 0.5]),
        ([1e-320, 0, 1e300, -1e300], [2 / 3, 1 / 3, 1, 0]),
    ],
)
def test_rank_by_hand(close: list[float | None], expected: list[float]) -> None:
    """(Average rank − 1) / (n − 1) over those with a finite value; ties share the mean, one alone has no rank."""
    np.testing.assert_allclose(sample_across("rank(close)", close=close), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        ([1, 3, 2], [-1.224745, 1.224745, 0]),
        ([0.1, 0.1, 0.1], [NAN, NAN, NAN]),
        ([2, None, 4], [-1, NAN, 1]),
        ([1e200, 3e200, 2e200], [-1.224745, 1.224745, 0]),
        ([1e-200, 3e-200, 2e-200], [-1.224745, 1.224745, 0]),
        ([1e9 + 1, 1e9 + 3, 1e9 + 2], [-1.224745, 1.224745, 0]),
        ([5], [NAN]),
    ],
)
def test_zscore_by_hand(close: list[float | None], expected: list[float]) -> None:
    """(x − mean) / population deviation, at any scale; nothing where all values are equal."""
    np.testing.assert_allclose(sample_across("cs_zscore(close)", close=close), expected, atol=1e-6)


def test_demean_by_hand() -> None:
    """x − mean of the group; the mean of equal values leaves exactly nothing."""
    groups = ["a", "a", "b", "b", "c"]
    found = sample_across("demean(close, by='g')", groups, close=[1, 3, 5, None, 9])
    np.testing.assert_equal(found, [-1, 1, NAN, NAN, NAN])
    assert sample_across("demean(close, by='g', least=1)", groups, close=[1, 3, 5, None, 9])[2:] == pytest.approx(
        [0, NAN, 0], nan_ok=True
    )
    assert sample_across("demean(close)", close=[0.1] * 10) == [0.0] * 10


def test_fewer_than_least_have_no_value() -> None:
    """Two members of three with a value: enough for least=2, too few for least=3."""
    for name in ("rank", "cs_zscore", "demean"):
        assert np.isfinite(sample_across(f"{name}(close, least=2)", close=[1, 2, None])[:2]).all()
        assert np.isnan(sample_across(f"{name}(close, least=3)", close=[1, 2, None])).all()


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_polars_gives_the_same_answers(seed: int) -> None:
    """Rank, score and deviation of a market with holes as polars' own grouping has them, by time, and by group."""
    bars = market(seed)
    texts = {"r": "rank(close)", "z": "cs_zscore(close)", "d": "demean(close)", "g": "demean(close, by='sector')"}
    found = compute(bars, texts, groups={"sector": SECTOR})
    x = pl.when(pl.col("close").is_finite()).then(pl.col("close"))
    sector = pl.col("instrument").replace_strict(SECTOR, default=None)
    n = x.count().over("ts")
    expected = bars.select(
        r=pl.when(n > 1).then((x.rank("average") - 1).over("ts") / (n - 1)),
        z=(x - x.mean().over("ts")) / x.std(ddof=0).over("ts"),
        d=pl.when(n > 1).then(x - x.mean().over("ts")),
        g=pl.when((x.count().over("ts", sector) > 1) & sector.is_not_null()).then(x - x.mean().over("ts", sector)),
    ).fill_null(NAN)
    assert found["r"].to_list() == pytest.approx(expected["r"].to_list(), abs=1e-15, nan_ok=True)
    for name in "zdg":
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9)


def test_a_lag_inside_is_not_a_lag_outside() -> None:
    """Inside, each instrument's last value is compared now; outside, its rank at its own last bar is recalled."""
    bars = pl.concat([one_time({"X:A": 1, "X:B": 2}), one_time({"X:A": 3}, 1), one_time({"X:A": 1, "X:B": 9}, 2)])
    found = compute(bars, {"inside": "rank(lag(close))", "outside": "lag(rank(close))"})
    last = found.filter(pl.col("ts") == pl.col("ts").max())
    np.testing.assert_equal(last["inside"].to_list(), [1.0, 0.0])  # 3 against 2
    np.testing.assert_equal(last["outside"].to_list(), [NAN, 1.0])  # A stood alone at its last bar


def test_nesting_is_step_by_step() -> None:
    """Both ways: what stands inside computed first, then compared, then what stands outside: the bits of one call."""
    bars = market(3)
    moves = compute(bars, {"m": "log_return(close, 3)"})
    compared = compute(bars.with_columns(close=moves["m"]), {"r": "rank(close)"})
    after = compute(bars.with_columns(close=compared["r"]), {"outside": "zscore(close, 5)"})
    assert_same(compute(bars, {"outside": NESTED["outside"]}), after)


Tree = tuple[str, tuple["Tree", ...]]
ONE = ("rank({})", "cs_zscore({}, least=3)", "demean({}, by='sector')", "ema({}, 3)", "lag({}, 2)", "std({}, 4)", "-{}")
TWO = ("({} + {})", "({} * {})", "only({}, {} > 0)", "max({}, 3) - {}")


def trees() -> st.SearchStrategy[Tree]:
    """Expressions of any depth, comparisons and windows in any order."""
    leaves = st.sampled_from(["close", "volume", "high - low"]).map(lambda text: (text, ()))
    return st.recursive(
        leaves,
        lambda inner: (
            st.tuples(st.sampled_from(ONE), st.tuples(inner)) | st.tuples(st.sampled_from(TWO), st.tuples(inner, inner))
        ),
        max_leaves=6,
    )


def written(tree: Tree) -> str:
    return tree[0].format(*(f"({written(part)})" for part in tree[1]))


def one_by_one(tree: Tree, bars: pl.DataFrame) -> pl.Series:
    """Every operator by a call of its own, over columns that hold what the ones below it gave."""
    carriers = dict(zip(("open", "high"), (one_by_one(part, bars) for part in tree[1]), strict=False))
    text, frame = tree[0].format(*carriers), bars.with_columns(**carriers)
    return compute(frame, {"x": text}, groups={"sector": SECTOR} if plan({"x": text}).crossing else None)["x"]


@given(trees(), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_any_nesting_is_its_operators_one_by_one(tree: Tree, seed: int) -> None:
    """However deep and in whatever order: the bits of each operator called by itself, and of a stream."""
    bars, text = market(seed, count=40), written(tree)
    options = {"groups": {"sector": SECTOR}} if plan({"x": text}).crossing else {}
    whole = compute(bars, {"x": text}, **options)
    assert whole["x"].to_numpy().tobytes() == one_by_one(tree, bars).to_numpy().tobytes()
    stream = Stream({"x": text}, NAMES, **options)
    assert_same(pl.concat([stream.step(minute) for minute in minutes(bars)]), whole)


def test_equal_parts_are_computed_once() -> None:
    """What stands inside and outside of a comparison is one lane, and equal comparisons are one."""
    once = plan({"x": "rank(ema(close, 5))"}).stages
    more = plan({"x": "rank(ema(close, 5)) + ema(close, 5)", "y": "rank(ema(close, 5))", "z": "ema(close, 5)"}).stages
    assert [len(part.crossings) for part in more.parts] == [1, 0]
    assert len(more.parts[0].program.rows) == len(once.parts[0].program.rows) == 1
    assert len(more.parts[1].program.rows) == 1  # the sum
    assert (once.state_size, more.state_size) == (3, 3)


def test_company_does_not_show() -> None:
    """Alone or in a set with others, compared or not, a feature's bits and version are the same."""
    bars, whole = market(5), plan(NESTED)
    together = compute(bars, NESTED, groups={"sector": SECTOR})
    for name, text in NESTED.items():
        groups = {"sector": SECTOR} if plan({name: text}).crossing else None
        assert_same(compute(bars, {name: text}, groups=groups), together.select("instrument", "ts", name))
        assert plan({name: text}).version(name) == whole.version(name)


def test_versions_tell_groupings_apart() -> None:
    """Another grouping, another least, another operator: another version."""
    texts = ("rank(close)", "rank(close, by='a')", "rank(close, by='b')", "rank(close, least=3)", "demean(close)")
    assert len({plan({"x": text}).version("x") for text in texts}) == len(texts)


# ---------------------------------------------------------------- the same bits


@given(st.integers(0, 1000), st.sets(st.integers(1, 110), max_size=2), st.booleans())
@settings(max_examples=15, deadline=None)
def test_live_is_history_to_the_bit(seed: int, restarts: set[int], everybody: bool) -> None:
    """A time at a step, rows in any order, restarted through bytes at any time: values and coverage of ``compute``."""
    bars = market(seed, absent=0.2)
    options = {"groups": {"sector": SECTOR}, "members": None if everybody else members_of(seed), "coverage": True}
    stream, found = Stream(NESTED, NAMES[::-1], **options), []
    for i, minute in enumerate(minutes(bars)):
        if i in restarts:
            blob, stream = stream.state(), Stream(NESTED, NAMES, **options)
            stream.restore(blob)
        found.append(stream.step(minute.sample(fraction=1.0, shuffle=True, seed=i)))
    assert_same(pl.concat(found), compute(bars, NESTED, **options))


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_does_not_show(seed: int) -> None:
    """Instruments in any order, or interleaved by time, give each row the same bits."""
    bars, groups = market(seed), {"sector": SECTOR}
    expected = compute(bars, NESTED, groups=groups)
    mixed = bars.sample(fraction=1.0, shuffle=True, seed=seed).sort("ts", maintain_order=True)
    found = compute(mixed, NESTED, groups=groups)
    assert found.select("instrument", "ts").equals(mixed.select("instrument", "ts"))
    assert_same(found, expected)


@given(st.integers(0, 1000), st.integers(1, 118))
@settings(max_examples=15, deadline=None)
def test_the_future_never_changes_the_past(seed: int, cut: int) -> None:
    """Other bars, fewer bars and another membership from a time on change no earlier row."""
    bars, past, count = market(seed), pl.col("ts").to_physical() < cut * MINUTE, 120
    members = members_of(seed)
    start, rest = SpanSet.of((0, cut * MINUTE)), SpanSet.of((cut * MINUTE, count * MINUTE))
    other = bars.with_columns(pl.when(past).then(pl.col("close")).otherwise(pl.col("close") * 2 + 7))
    other = other.filter(past | (pl.col("instrument") != "X:B"))
    later = {name: (spans & start) | (rest - spans) for name, spans in members.items()}
    options = {"groups": {"sector": SECTOR}, "coverage": True}
    assert_same(
        compute(other, NESTED, members=later, **options).filter(past),
        compute(bars, NESTED, members=members, **options).filter(past),
    )


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_who_is_no_member_does_not_show(seed: int) -> None:
    """Values of members are those of a market in which the others' bars do not exist at that time."""
    bars, members = market(seed), members_of(seed)
    texts = {"r": "rank(close)", "d": "demean(close, by='sector')"}
    ts = {name: bars.filter(instrument=name)["ts"].to_physical().to_numpy() for name in NAMES}
    belongs = pl.Series(np.concatenate([members[name].mask(ts[name]) for name in NAMES]))
    found = compute(bars, texts, groups={"sector": SECTOR}, members=members)
    assert found.filter(~belongs).select(pl.col("r", "d").is_nan().all()).row(0) == (True, True)
    alone = bars.filter(belongs)
    if alone.height:
        assert_same(found.filter(belongs), compute(alone, texts, groups={"sector": SECTOR}))


@pytest.mark.parametrize("text", [text for name, text in NESTED.items() if name != "plain"])
def test_a_proof_passes(text: str) -> None:
    """Batch, steps, chunks, resumed, late, corrected, prefixes, order, interpreted; every parameter matters."""
    certificate = prove(text, seeds=[1, 2])
    assert certificate.passed, certificate.as_dict()
    assert "order_invariant" in certificate.checks


def failed(text: str, kernels: Kernels) -> set[str]:
    return {name for name, outcome in prove(text, seeds=[1, 2], kernels=kernels).checks.items() if outcome != "pass"}


def test_a_comparison_that_sees_the_order_of_rows_is_found() -> None:
    """Sums in the order in which rows stand differ when they stand otherwise."""

    def as_they_come(op, x, order, ends, least, o):
        start = 0
        for end in ends:
            rows = np.sort(order[start:end])
            o[rows] = x[rows] - x[rows[0]]
            start = end

    assert {"order_invariant", "batch_equals_step"} <= failed(
        "demean(close)", COMPILED._replace(run_across=as_they_come)
    )


def test_a_comparison_that_looks_ahead_is_found() -> None:
    """Sections that hold all times see the future, and what a step cannot."""

    def all_times(op, x, order, ends, least, o):
        COMPILED.run_across(op, x, order, np.array([len(order)]), least, o)

    found = failed("cs_zscore(close)", COMPILED._replace(run_across=all_times))
    assert {"batch_equals_step", "prefix_stable", "no_look_ahead", "chunked", "late", "corrected"} <= found


def test_a_stage_that_forgets_its_state_is_found() -> None:
    """The recursion outside a comparison must be carried on too."""

    def forgetful(program, buf, st, *rest):
        st[:] = 0.0
        COMPILED.run_batch(program, buf, st, *rest)

    found = failed("ema(rank(close), 5)", COMPILED._replace(run_batch=forgetful))
    assert {"chunked", "resumed", "late", "corrected"} <= found


def test_the_kernels_are_those_of_this_version() -> None:
    """A pin: if this digest changes, results have changed, and KERNEL_VERSION must be raised with it."""
    texts = {
        "r": "rank(close)",
        "z": "cs_zscore(close)",
        "d": "demean(log_return(close, 1), by='g')",
        "n": NESTED["outside"],
    }
    understood, panel = plan(texts), random_market(("close",), 500, 7)
    names = {name: "ab"[i % 2] for i, name in enumerate(panel.rows())}
    values = Panel(understood, Population(names, {"g": names})).run(panel.ts, panel.rows(), panel.columns)
    found = hashlib.sha256(b"".join(x.tobytes() for x in values.values()))
    assert (KERNEL_VERSION, found.hexdigest()[:16]) == (2, "73ca66695a2c8deb")


# ---------------------------------------------------------------- populations and coverage


def test_coverage_is_what_has_a_value_of_what_is_expected() -> None:
    """Members without a bar or a value are expected; each group by itself; of two comparisons the least."""
    bars = one_time({"X:A": 1, "X:B": 2, "X:C": None, "X:E": 4})
    texts = {
        "r": "rank(close)",
        "g": "demean(close, by='sector', least=1)",
        "b": "rank(close) + demean(close, by='sector')",
    }
    everybody = dict.fromkeys([*NAMES, "X:F"], SpanSet.of((0, MINUTE)))
    found = compute(bars, texts, groups={"sector": SECTOR}, members=everybody, coverage=True)
    assert found.columns == ["instrument", "ts", "r", "g", "b", "r_coverage", "g_coverage", "b_coverage"]
    assert found["r_coverage"].to_list() == [3 / 6] * 4
    np.testing.assert_equal(found["g_coverage"].to_list(), [1 / 3, 1 / 2, 1 / 3, NAN])
    np.testing.assert_equal(found["b_coverage"].to_list(), [1 / 3, 1 / 2, 1 / 3, NAN])
    assert compute(bars, {"r": "rank(close)"}, coverage=True)["r_coverage"].to_list() == [3 / 4] * 4


def test_members_enter_and_leave() -> None:
    """Who leaves is compared no more, who enters is from then on; the instrument's own windows go on meanwhile."""
    bars = pl.concat([one_time({"X:A": 1, "X:B": 2, "X:C": 3 + t}, t) for t in range(4)])
    members = {
        "X:A": SpanSet.of((0, 9 * MINUTE)),
        "X:B": SpanSet.of((0, 2 * MINUTE)),
        "X:C": SpanSet.of((MINUTE, 9 * MINUTE)),
    }
    found = compute(bars, {"r": "rank(close)", "s": "demean(sma(close, 3))"}, members=members, coverage=True)
    ranks = {n: found.filter(instrument=n)["r"].to_list() for n in members}
    np.testing.assert_equal(ranks, {"X:A": [0, 0, 0, 0], "X:B": [1, 0.5, NAN, NAN], "X:C": [NAN, 1, 1, 1]})
    assert found.filter(instrument="X:C")["s"].to_list()[2:] == [
        1.5,
        2.0,
    ]  # its mean of three counts bars before it entered
    np.testing.assert_equal(found.filter(instrument="X:C")["r_coverage"].to_list(), [NAN, 1, 1, 1])


def test_no_bars_and_one_instrument() -> None:
    """No rows give no rows, with every column; one instrument alone is compared with nobody."""
    empty = compute(market(1).clear(), NESTED, groups={"sector": SECTOR}, coverage=True)
    assert (empty.height, len(empty.columns)) == (0, 2 + len(NESTED) + len(NESTED) - 1)
    alone = compute(one_time({"X:A": 1}), {"r": "rank(close)"}, coverage=True)
    np.testing.assert_equal(alone.select("r", "r_coverage").row(0), (NAN, 1.0))
    stream = Stream({"r": "rank(close)"}, ["X:A", "X:B"])
    assert stream.step(one_time({})).height == 0


# ---------------------------------------------------------------- refusals


def test_options_that_do_nothing_are_refused() -> None:
    """Groups, members and coverage without a feature that compares."""
    bars = one_time({"X:A": 1})
    for options in ({"groups": {}}, {"members": {}}, {"coverage": True}):
        with pytest.raises(UsageError, match="no feature compares instruments"):
            compute(bars, {"x": "sma(close, 2)"}, **options)
        with pytest.raises(UsageError, match="no feature compares instruments"):
            Stream({"x": "sma(close, 2)"}, ["X:A"], **options)


def test_what_compares_is_not_run_alone() -> None:
    """One instrument's columns, and a frame without names, are refused with the way out."""
    understood = plan({"x": "rank(close)"})
    with pytest.raises(UsageError, match="compares instruments") as refused:
        run(understood, {"close": np.ones(3)})
    assert "Stream" in refused.value.hint
    with pytest.raises(UsageError, match="without a column instrument"):
        compute(one_time({"X:A": 1}).drop("instrument"), {"x": "rank(close)"})


def test_wrong_groupings_and_members() -> None:
    """A grouping nobody knows, a word that cannot name one, and members of another universe are named."""
    bars = one_time({"X:A": 1, "X:B": 2})
    with pytest.raises(UnknownName, match="did you mean 'sector'"):
        compute(bars, {"x": "rank(close, by='sctor')"}, groups={"sector": SECTOR})
    with pytest.raises(UnknownName, match="groups="):
        Stream({"x": "rank(close, by='sector')"}, ["X:A"])
    with pytest.raises(ExpressionError, match="cannot name a grouping"):
        plan({"x": "rank(close, by='a b')"})
    with pytest.raises(UsageError, match="none of the instruments"):
        compute(bars, {"x": "rank(close)"}, members={"Y:A": SpanSet.of((0, 9))})
    with pytest.raises(UsageError, match="SpanSet"):
        compute(bars, {"x": "rank(close)"}, members={"X:A": [(0, 9)]})


def test_a_step_settles_its_time() -> None:
    """More bars of the same time, or of an earlier one, are refused with nothing stepped; duplicates are as ever."""
    stream = Stream({"x": "rank(close)"}, ["X:A", "X:B"])
    stream.step(one_time({"X:A": 1}, 1))
    before = stream.state()
    for minute in (1, 0):
        with pytest.raises(InputError, match="settled"):
            stream.step(one_time({"X:B": 2}, minute))
    assert stream.state() == before
    with pytest.raises(InputError, match="stands twice"):
        compute(pl.concat([one_time({"X:A": 1}), one_time({"X:A": 2})]), {"x": "rank(close)"})


def test_a_state_of_another_plan_is_refused() -> None:
    """The state of a stage is bound to the whole expression."""
    one, two = (Stream({"x": f"ema(rank(close), {n})"}, ["X:A"]) for n in (3, 4))
    with pytest.raises(UsageError, match="made by version"):
        two.restore(one.state())


# ---------------------------------------------------------------- real bars


def test_real_perpetuals() -> None:
    """Sixteen perpetuals over a day: polars' ranks, live bits, and full coverage."""
    path = DATA / "perp_1m_2025-05.parquet"
    if not path.exists():
        pytest.skip("needs the shared market data beside the project")
    raw = pl.read_parquet(path)
    bars = raw.select(instrument=pl.format("BINANCEUSDM:{}", "symbol"), ts=raw.columns[1], close="close")
    day = bars.filter(pl.col("ts").dt.date() == pl.date(2025, 5, 20))
    texts = {"r": "rank(log_return(close, 15))", "z": "zscore(rank(log_return(close, 15)), 20)"}
    found = compute(day, texts, coverage=True)
    moves = compute(day, {"m": "log_return(close, 15)"}).filter(pl.col("m").is_not_nan())
    expected = moves.select("instrument", "ts", e=((pl.col("m").rank("average") - 1) / (pl.len() - 1)).over("ts"))
    both = found.join(expected, on=["instrument", "ts"])
    assert both.height > 20_000
    assert (both["r"] - both["e"]).abs().max() < 1e-15
    assert both["r_coverage"].unique().to_list() == [1.0]
    stream = Stream(texts, day["instrument"].unique().to_list(), coverage=True)
    early = day.filter(pl.col("ts") < pl.col("ts").min() + pl.duration(minutes=60))
    assert_same(
        pl.concat([stream.step(m) for m in minutes(early)]),
        found.filter(pl.col("ts") < early["ts"].max() + pl.duration(minutes=1)),
    )
