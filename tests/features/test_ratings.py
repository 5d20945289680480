"""Technical Ratings against exact vectors, bar by bar in each profile, and every degenerate case of the rules."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapless.features import plan, run
from gapless.features.library.votes import MOVING, OSCILLATORS, VOTES

PATH = Path(__file__).parents[2].parent / "shared" / "spec" / "vectors.json"
VECTORS: dict[str, Any] = json.loads(PATH.read_text()) if PATH.exists() else {"vote_order": [*VOTES], "series": {}}
exact = pytest.mark.skipif(not PATH.exists(), reason="the exact vectors are not beside the project")
MARKS = {"+": 1.0, "-": -1.0, "0": 0.0, ".": float("nan")}
Bars = dict[str, np.ndarray]


def ramp(count: int) -> Bars:
    """Every bar one higher."""
    close = 1000.0 + np.arange(count)
    return {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": np.ones(count)}


def walk(count: int) -> Bars:
    """The random walk of the vectors: whole numbers from a linear congruential generator."""
    state, rows, price, drift = 20240229, [], 1000, 0

    def draw(below: int) -> int:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 8) % below

    for t in range(count):
        if t % 40 == 0:
            drift = draw(7) - 3
        opened, price = price, max(50, price + drift + draw(21) - 10)
        rows.append((opened, max(opened, price) + draw(6), min(opened, price) - draw(6), price, 100 + draw(900)))
    table = np.array(rows, dtype=float).T
    return dict(zip(("open", "high", "low", "close", "volume"), table, strict=True))


def flat(count: int, price: float = 100.0) -> Bars:
    return {name: np.full(count, price) for name in ("open", "high", "low", "close")} | {"volume": np.ones(count)}


def series(name: str) -> Bars:
    if name == "ramp":
        return ramp(320)
    return walk(640) if name == "walk" else walk(120) | {"volume": np.zeros(120)}


def ours(features: dict[str, str], bars: Bars) -> Bars:
    understood = plan(features)
    return run(understood, {name: bars[name] for name in understood.columns})[0]


def one(expression: str, bars: Bars) -> np.ndarray:
    return ours({"x": expression}, bars)["x"]


def votes(bars: Bars, profile: str = "library") -> Bars:
    return ours({name: f'vote("{name}", "{profile}")' for name in VOTES}, bars)


def ratings(bars: Bars, profile: str = "library") -> tuple[np.ndarray, ...]:
    found = ours({n: f'recommend_{n}("{profile}")' for n in ("ma", "other", "all")}, bars)
    return found["ma"], found["other"], found["all"]


CASES = [(name, profile) for name in VECTORS["series"] for profile in ("library", "screener")]


@exact
@pytest.mark.parametrize("name", VECTORS["series"])
def test_the_recipes_give_the_vectors_series(name: str) -> None:
    """Number of bars, first and last bar and the closes' sum are those of the vectors."""
    bars, answer = series(name), VECTORS["series"][name]
    rows = np.array([bars[c] for c in ("open", "high", "low", "close", "volume")]).T
    assert len(rows) == answer["n"]
    assert rows[0].tolist() == answer["first_bar"]
    assert rows[-1].tolist() == answer["last_bar"]
    assert bars["close"].sum() == answer["close_sum"]


@exact
@pytest.mark.parametrize(("name", "profile"), CASES)
def test_every_vote_of_every_bar(name: str, profile: str) -> None:
    """All 26 votes on every bar, knife edges included: those are ties in exact arithmetic, and 0 here."""
    assert tuple(VECTORS["vote_order"]) == VOTES
    found = votes(series(name), profile)
    for at, vote in enumerate(VOTES):
        answer = [MARKS[line[at]] for line in VECTORS["series"][name]["profiles"][profile]["votes"]]
        np.testing.assert_array_equal(found[vote], answer, err_msg=vote)


@exact
@pytest.mark.parametrize(("name", "profile"), CASES)
def test_every_rating_of_every_bar_to_the_bit(name: str, profile: str) -> None:
    """The ratings are the exact fractions, rounded once; the labels are theirs."""
    from gapless.features import label

    moving, other, whole = ratings(series(name), profile)
    for t, answer in enumerate(VECTORS["series"][name]["profiles"][profile]["ratings"]):
        for found, text in zip((moving[t], other[t], whole[t]), answer, strict=False):
            assert (text is None and np.isnan(found)) or found == float(Fraction(text)), (t, answer)
        assert label(whole[t]) == answer[3]


VALUES = {
    **{f"{kind}{n}": f"{kind.lower()}(close, {n})" for kind in ("SMA", "EMA") for n in (10, 20, 30, 50, 100, 200)},
    "HMA9": "hma(close, 9)", "VWMA20": "vwma(close, 20)", "Ichimoku.CLine": "ichimoku_conversion(9)",
    "Ichimoku.BLine": "ichimoku_base(26)", "Lead1": "ichimoku_lead_a(9, 26)", "Lead2": "ichimoku_lead_b(52)",
    "Lead1[26]": "lag(ichimoku_lead_a(9, 26), 26)", "Lead2[26]": "lag(ichimoku_lead_b(52), 26)",
    "RSI": "rsi(close, 14)", "Stoch.K": "stoch_k(14, 3)", "Stoch.D": "stoch_d(14, 3, 3)", "CCI20": "cci(close, 20)",
    "+DI": "plus_di(14)", "-DI": "minus_di(14)", "ADX": "adx(14, 14)", "AO": "ao(5, 34)", "Mom": "mom(close, 10)",
    "MACD": "macd(close, 12, 26)", "Signal": "macd_signal(close, 12, 26, 9)",
    "StochRSI.K": "stochrsi_k(close, 14, 14, 3)", "StochRSI.D": "stochrsi_d(close, 14, 14, 3, 3)", "WR": "wpr(14)",
    "Bull": "bull_power(13)", "Bear": "bear_power(13)", "UO": "uo(7, 14, 28)", "close": "close",
}  # fmt: skip


@exact
@pytest.mark.parametrize("name", VECTORS["series"])
def test_component_values(name: str) -> None:
    """The values behind the votes, where the vectors list them: missing on the same bars, within 1e-12."""
    answers = VECTORS["series"][name]["profiles"]["library"]["values"]
    found = ours({f"v{i}": text for i, text in enumerate(VALUES.values())}, series(name))
    for at, key in enumerate(VALUES):
        for bar, values in answers.items():
            value, text = found[f"v{at}"][int(bar)], values[key]
            if text is None:
                assert np.isnan(value), (key, bar, value)
            else:
                assert value == pytest.approx(float(text), rel=1e-12, abs=1e-11), (key, bar)


@exact
@pytest.mark.parametrize("name", VECTORS["series"])
def test_the_screeners_cci(name: str) -> None:
    """The screener's CCI is of the typical price."""
    found = one("cci(hlc3(), 20)", series(name))
    for bar, values in VECTORS["series"][name]["profiles"]["screener"]["values"].items():
        text = values["CCI20"]
        assert np.isnan(found[int(bar)]) if text is None else found[int(bar)] == pytest.approx(float(text), rel=1e-12)


def test_a_flat_market() -> None:
    """No move ever: moving averages tie, what divides by nothing is not counted, the rest is neutral."""
    found = {name: x[60] for name, x in votes(flat(61)).items()}
    assert {name for name, x in found.items() if np.isnan(x)} == {
        "RSI", "Stoch", "CCI", "ADX", "WR", "UO", "SMA100", "SMA200", "EMA100", "EMA200"
    }  # fmt: skip
    assert {x for x in found.values() if not np.isnan(x)} == {0.0}
    moving, other, whole = ratings(flat(61))
    assert (moving[60], other[60], whole[60]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("price", [0.1 + 0.2, 61234.56, 1.1e-8, 1 / 3, 98765.4321, 7e12 / 9])
@pytest.mark.parametrize("profile", ["library", "screener", "scraper"])
def test_rounding_casts_no_vote(price: float, profile: str) -> None:
    """A flat price whose sums round votes 0 everywhere, or not at all: no dust."""
    found = votes(flat(400, price), profile)
    assert {name for name in VOTES if (np.abs(found[name]) > 0).any()} == set()


def test_the_first_move_after_a_flat_market() -> None:
    """Bar 60 moves up: 10 of 11 averages buy, and the oscillators that exist count."""
    bars = flat(61)
    for name in ("high", "close"):
        bars[name] = np.append(np.full(60, 100.0), 101.0)
    moving, other, whole = (x[60] for x in ratings(bars))
    assert (moving, other, whole) == (float(Fraction(10, 11)), float(Fraction(2, 3)), float(Fraction(26, 33)))


def test_first_bars() -> None:
    """The average rating exists from bar 9, the oscillators' from bar 11, all 26 votes from bar 199."""
    moving, other, whole = ratings(walk(260))
    assert [int(np.argmax(~np.isnan(x))) for x in (moving, other, whole)] == [9, 11, 9]
    assert whole[9] == moving[9]
    assert whole[10] == moving[10]
    counted = sum(~np.isnan(x) for x in votes(walk(260)).values())
    assert counted[198] < 26
    assert (counted[199:] == 26).all()


def test_no_bars_and_one_bar() -> None:
    """Nothing in, nothing out; one bar has no rating."""
    assert [len(x) for x in ratings({name: x[:0] for name, x in walk(1).items()})] == [0, 0, 0]
    assert np.isnan(ratings(walk(1))).all()


@pytest.mark.parametrize("profile", ["library", "screener", "scraper"])
def test_every_vote_can_be_every_vote(profile: str) -> None:
    """On the walk each vote buys and sells at some bar; the screener's Ichimoku next to never does."""
    found = votes(walk(6000), profile)
    for name in VOTES:
        if (name, profile) != ("Ichimoku", "screener"):
            assert {-1.0, 1.0} <= set(found[name]), name


def test_a_stochastic_without_range_keeps_its_value() -> None:
    """Fourteen bars of one price: the raw value is missing, %K stands, %D comes to it, the vote still counts."""
    bars = {name: np.append(x[:100], np.full(40, x[99])) for name, x in walk(100).items()}
    for name in ("open", "high", "low"):
        bars[name][100:] = bars["close"][99]
    raw, k, d = one("stoch(14)", bars), one("stoch_k(14, 3)", bars), one("stoch_d(14, 3, 3)", bars)
    assert np.isnan(raw[113:]).all()
    assert (k[113:] == k[112]).all()
    assert d[116:] == pytest.approx(k[112])
    assert not np.isnan(votes(bars)["Stoch"][113:]).any()
    assert np.isnan(votes(bars)["WR"][114:]).all()


def test_a_stuck_rsi_is_a_neutral_stochrsi() -> None:
    """An RSI of 100 has no range: its stochastic is missing or stands, the vote is 0 and counted."""
    found = votes(ramp(120))["StochRSI"]
    assert np.isnan(found[:49]).all()
    assert (found[49:] == 0).all()


def test_no_volume_is_no_vwma_vote() -> None:
    """Twenty bars without volume, or no volume ever, leave the VWMA out: of fifteen votes fourteen count."""
    for volume in (0.0, np.nan):
        found = votes(walk(300) | {"volume": np.full(300, volume)})
        assert np.isnan(found["VWMA20"]).all()
        assert sum(~np.isnan(found[name][299]) for name in MOVING) == 14


def test_a_missing_volume_repeats_both_means() -> None:
    """A bar without a volume keeps the VWMA of the bar before; the window goes on with known values only."""
    bars = walk(120)
    holed = bars | {"volume": bars["volume"].copy()}
    holed["volume"][[60, 75]] = np.nan
    found = votes(holed)["VWMA20"]
    known = np.delete(np.arange(120), [60, 75])
    price, volume = bars["close"][known], bars["volume"][known]
    answer = np.array(
        [np.sum((price * volume)[i - 19 : i + 1]) / np.sum(volume[i - 19 : i + 1]) for i in range(19, 118)]
    )
    np.testing.assert_array_equal(found[known[19:]], np.sign(price[19:] - answer))
    before = answer[list(known).index(59) - 19]
    assert found[60] == np.sign(bars["close"][60] - before)


def test_a_missing_close_leaves_the_window() -> None:
    """A bar without a close has no side; from the next on the simple means go on with the values before it."""
    bars = walk(80)
    bars["close"][40] = np.nan
    found = votes(bars)["SMA10"]
    assert np.isnan(found[40])
    known = np.delete(bars["close"], 40)
    answer = [np.sign(known[i] - known[i - 9 : i + 1].mean()) for i in range(40, 79)]
    np.testing.assert_array_equal(found[41:], answer)


def test_ties_within_pines_tolerance_are_ties() -> None:
    """Differences up to 1e-10 are none, for a penny's billionth too: there TradingView's votes are neutral as well."""
    small = {name: x * 1e-13 for name, x in walk(300).items()}
    found = votes(small)
    assert {x for x in found["Mom"] if not np.isnan(x)} == {0.0}
    assert {x for x in found["MACD"] if not np.isnan(x)} == {0.0}
    assert {-1.0, 1.0} <= set(found["SMA10"])


def test_one_rating_without_the_other() -> None:
    """With one side missing the whole is the other side; the scraper's profile asks for both."""
    bars = walk(11)
    moving, other, whole = ratings(bars)
    assert np.isnan(other).all()
    np.testing.assert_array_equal(whole, moving)
    assert np.isnan(ratings(bars, "scraper")[2]).all() == np.isnan(ratings(bars, "scraper")[1]).all()


def test_the_scrapers_profile_does_not_depend_on_the_history_asked_for() -> None:
    """What is not warm is not counted, so the ratings of a prefix are the prefix of the ratings."""
    for short, long in zip(ratings(walk(120), "scraper"), ratings(walk(400), "scraper"), strict=True):
        np.testing.assert_array_equal(short, long[:120])


def test_the_scrapers_oscillators() -> None:
    """Level rules on the walk, restated with numpy: RSI, Williams' %R, momentum, the inverted ultimate oscillator."""
    bars, found = walk(640), votes(walk(640), "scraper")

    def level(expression: str, low: float, high: float) -> np.ndarray:
        x = one(expression, bars)
        return np.where(np.isnan(x), np.nan, (x < low).astype(float) - (x > high))

    np.testing.assert_array_equal(found["RSI"], level("rsi(close, 14)", 30, 70))
    np.testing.assert_array_equal(found["WR"], level("wpr(14)", -80, -20))
    np.testing.assert_array_equal(found["UO"], level("uo()", 30, 70))
    np.testing.assert_array_equal(found["Mom"], np.sign(one("mom(close, 10)", bars)))
    np.testing.assert_array_equal(found["CCI"], level("cci(hlc3(), 20)", -100, 100))


def test_profiles_differ_where_they_say() -> None:
    """The screener differs in Ichimoku, Stoch and CCI only; the scraper in everything but the averages and MACD."""
    library, screener, scraper = (votes(walk(3000), p) for p in ("library", "screener", "scraper"))

    def changed(other: Bars) -> set[str]:
        return {name for name in VOTES if library[name].tobytes() != other[name].tobytes()}

    assert changed(screener) == {"Ichimoku", "Stoch", "CCI"}
    assert changed(scraper) == {"Ichimoku", *OSCILLATORS} - {"MACD"}


def test_one_graph_for_all_of_it() -> None:
    """The three ratings and all 26 votes need a handful of instructions more than ``recommend_all`` alone."""
    alone = plan({"all": "recommend_all()"})
    three = plan({"all": "recommend_all()", "ma": "recommend_ma()", "other": "recommend_other()"})
    everything = plan(
        {"all": "recommend_all()", "ma": "recommend_ma()", "other": "recommend_other()"}
        | {name: f'vote("{name}")' for name in VOTES}
    )
    assert len(three.program.rows) == len(alone.program.rows) + 2
    assert len(everything.program.rows) == len(three.program.rows)
    assert sum(p.explain("all")["nodes"] for p in (alone,)) == three.explain("all")["nodes"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, "-"), (0.5, "Buy"), (np.nextafter(0.5, 1), "Buy"), (0.5 + 1e-9, "Strong Buy"), (0.1, "Neutral"),
        (0.10000000000000003, "Neutral"), (0.11, "Buy"), (0.0, "Neutral"), (-0.1, "Neutral"), (-0.11, "Sell"),
        (-0.5, "Sell"), (-0.51, "Strong Sell"), (1.0, "Strong Buy"), (-1.0, "Strong Sell"),
    ],
)  # fmt: skip
def test_labels(value: float, text: str) -> None:
    """An edge belongs to the milder class, within 1e-10; a missing rating is a dash."""
    import polars as pl

    from gapless.features import label, labels

    assert label(value) == text
    assert labels(pl.Series([value, None])).to_list() == [text, "-"]
