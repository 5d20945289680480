"""What holds of positions on any bars: fold, restart at any bar, mirror, and a future that changes nothing."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.alerts.alert import Alert
from gapless.alerts.position import PositionEvent, compact, fold
from gapless.alerts.positions import Positions
from gapless.alerts.profiles import Profile, inputs
from gapless.config import parse
from gapless.features import compute, plan
from gapless.spans import MINUTE, Timeframe

ONE = Timeframe.parse("1m")
NAMES = ("X:A", "X:B", "X:C")
SHARE, Z, ATR = "taker_buy_share_15m", "z_er_15m", "atr(10)"
FULL = Profile.model_validate({
    "several": True, "max_open": 2,
    "entry": {"need": "any", "pullback": 0.25, "z_band": [0.5, 2.0], "expansion": ["range", "return", "flow"],
              "flow": {"bars": 3, "move": 0.2, "dominance": 0.5}, "min_wait": 1, "max_wait": 4},
    "invalidation": {"flip": True, "z_floor": 0.25, "dominance": {"below": 0.25}, "structure": True},
    "filters": {"min_reward_risk": 0.5, "min_atr": 0.1, "min_profit": 0.01, "require": ["close > 1"]},
    "stop": {"atr": 1.0, "break_even_after_partial": True, "trail": {"activate": 0.5, "atr": 0.5}},
    "targets": [{"atr": 0.75, "fraction": 0.5}, {"atr": 1.5, "fraction": 0.25}],
    "exits": {"z": {"below": 0.5, "full_at": 0.5, "partial_at": 0.0}, "flow": {"change": 0.5}, "opposite": True,
              "opposite_z": 2.0, "max_bars": 8, "stale": {"bars": 5, "atr": 0.25}},
    "costs": {"fee": 2.0, "slippage": 1.0},
})  # fmt: skip
PLAIN = Profile.model_validate({"stop": {"percent": 0.5}, "targets": [{"percent": 1.0}]})
PROFILES = {"full": FULL, "plain": PLAIN}
STEPS = 14
Step = tuple[int, dict[str, Any], Any, list[tuple[Alert, str]]]


@st.composite
def markets(draw: st.DrawFn, steps: int = STEPS) -> list[Step]:
    """Bars around 100 in eighths (so that no sum of them is rounded), features, absences, unknowns and signals."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    count = len(NAMES)
    closes = 100 + np.cumsum(rng.integers(-6, 7, (steps, count)), axis=0) / 8
    opens = np.vstack([closes[:1], closes[:-1]]) + rng.integers(-4, 5, (steps, count)) / 8
    highs = np.maximum(opens, closes) + rng.integers(0, 5, (steps, count)) / 8
    lows = np.minimum(opens, closes) - rng.integers(0, 5, (steps, count)) / 8
    table = {"open": opens, "high": highs, "low": lows, "close": closes}
    share, z = rng.integers(0, 17, (steps, count)) / 16, rng.integers(-24, 25, (steps, count)) / 8
    table |= {SHARE: share, Z: z, ATR: rng.integers(4, 13, (steps, count)) / 8}
    table |= {
        f"lag({n}, {k})": np.roll(table[n], k, axis=0) for n in ("high", "low", "close", SHARE) for k in (1, 2, 3)
    }
    table |= {f"max({SHARE}, 3) - min({SHARE}, 3)": rng.integers(0, 9, (steps, count)) / 16}
    table |= {
        f"max({SHARE}, 2)": np.maximum(share, np.roll(share, 1, axis=0)),
        f"min({SHARE}, 2)": np.minimum(share, np.roll(share, 1, axis=0)),
    }
    for name in (SHARE, Z, ATR):
        table[name] = np.where(rng.random((steps, count)) < 0.1, math.nan, table[name])
    there = rng.random((steps, count)) < 0.9
    found: list[Step] = []
    for n in range(steps):
        fired = [
            (Alert(rule, name, "1m", n * MINUTE, direction="up" if rng.random() < 0.5 else "down"), profile)
            for lane, name in enumerate(NAMES) for rule in ("r", "s") for profile in PROFILES
            if there[n, lane] and rng.random() < 0.12
        ]  # fmt: skip
        found.append((n * MINUTE, {name: column[n] for name, column in table.items()}, there[n], fired))
    return found


def machine(lanes: tuple[str, ...] = NAMES) -> Positions:
    return Positions(PROFILES, lanes, ONE)


def walk(positions: Positions, steps: list[Step]) -> list[PositionEvent]:
    return [event for step in steps for event in positions.step(*step)]


def by_position(events: list[PositionEvent]) -> dict[str, list[PositionEvent]]:
    found: dict[str, list[PositionEvent]] = {}
    for event in events:
        found.setdefault(event.position, []).append(event)
    return found


@given(markets())
@settings(deadline=None)
def test_events_say_all_of_a_position(steps: list[Step]) -> None:
    """Their fold is what the machine holds; through JSON too, and through what ``compact`` leaves."""
    positions = machine()
    events = walk(positions, steps)
    again = [PositionEvent.from_dict(json.loads(json.dumps(e.to_dict(), allow_nan=False))) for e in events]
    assert again == events
    live = {}
    for name, own in by_position(again).items():
        assert [e.number for e in own] == list(range(1, len(own) + 1))
        whole, few = fold(own), compact(own)
        assert repr(fold(few)) == repr(whole)
        assert max([[e.kind for e in few].count(kind) for kind in ("marked", "moved")]) <= 1
        if whole.live:
            live[name] = whole
    assert repr(sorted(live.items())) == repr(sorted((p.id, p) for p in positions.live))


@given(markets())
@settings(deadline=None)
def test_a_restart_at_any_bar_changes_nothing(steps: list[Step]) -> None:
    """A new machine at every bar, made of the live positions' events alone, says the same events."""
    whole = walk(machine(), steps)
    said: list[PositionEvent] = []
    for step in steps:
        positions = machine()
        live = [own for own in by_position(said).values() if fold(own).live]
        positions.restore([e for own in live for e in reversed(compact(own))], step[0] - MINUTE)
        assert positions.step(step[0] - MINUTE, *step[1:3], []) == []
        said += positions.step(*step)
    assert said == whole


@given(markets(), st.integers(1, STEPS))
@settings(deadline=None)
def test_a_machine_can_go_back(steps: list[Step], cut: int) -> None:
    """With the events up to a bar it forgets what came after, and says the same again."""
    positions = machine()
    whole = walk(positions, steps)
    positions.restore([e for e in whole if e.ts < cut * MINUTE])
    assert walk(positions, steps[cut:]) == [e for e in whole if e.ts >= cut * MINUTE]


@given(markets(), st.integers(1, STEPS))
@settings(deadline=None)
def test_the_future_changes_no_event(steps: list[Step], cut: int) -> None:
    """Up to any bar the events are those of the bars up to it."""
    whole = walk(machine(), steps)
    assert walk(machine(), steps[:cut]) == [e for e in whole if e.ts < cut * MINUTE]


@given(markets(), st.permutations(range(len(NAMES))), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_instruments_and_signals_changes_no_event(
    steps: list[Step], order: list[int], shuffle: Any
) -> None:
    """Lanes and signals in any order give the same events in the same order."""
    other: list[Step] = []
    for ts, columns, there, signals in steps:
        mixed = list(signals)
        shuffle.shuffle(mixed)
        other.append((ts, {n: c[order] for n, c in columns.items()}, there[order], mixed))
    assert walk(machine(tuple(NAMES[i] for i in order)), other) == walk(machine(), steps)


def mirrored(step: Step) -> Step:
    """Prices around 100, z around 0, shares around a half; every signal the other way."""
    ts, columns, there, signals = step
    swap = {"high": "low", "low": "high", "max": "min", "min": "max"}
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if name == f"max({SHARE}, 3) - min({SHARE}, 3)" or name == ATR:
            found[name] = values
        elif name == Z:
            found[name] = -values
        elif SHARE in name:
            turned = name.replace("max(", "_(").replace("min(", "max(").replace("_(", "min(")
            found[turned] = 1 - values
        else:
            bar = next(n for n in ("open", "high", "low", "close") if n in name)
            found[name.replace(bar, swap.get(bar, bar))] = 200 - values
    turn = {"up": "down", "down": "up"}
    return (
        ts,
        found,
        there,
        [(Alert(a.rule, a.instrument, "1m", a.ts, direction=turn[a.direction]), p) for a, p in signals],
    )


@given(markets())
@settings(deadline=None)
def test_a_mirrored_market_gives_mirrored_positions(steps: list[Step]) -> None:
    """Shorts are longs upside down: the same kinds at the same bars for the same reasons, at mirrored prices."""
    in_atr = FULL.model_copy(update={"filters": FULL.filters.model_copy(update={"min_atr": None, "min_profit": None})})
    in_atr = Profile.model_validate({**in_atr.model_dump(), "exits": {**in_atr.exits.model_dump(), "z": None},
                                     "entry": {**in_atr.entry.model_dump(), "pullback": None},
                                     "stop": {**in_atr.stop.model_dump(), "trail": None}})  # fmt: skip
    one, other = (Positions({"full": in_atr, "plain": in_atr}, NAMES, ONE) for _ in range(2))
    events, upside_down = walk(one, steps), walk(other, [mirrored(s) for s in steps])
    assert [(e.position, e.number, e.ts, e.kind, e.reason, e.fraction) for e in events] == [
        (e.position, e.number, e.ts, e.kind, e.reason, e.fraction) for e in upside_down
    ]
    assert [e.price for e in events] == [200 - e.price for e in upside_down]
    for own, theirs in zip(by_position(events).values(), by_position(upside_down).values(), strict=True):
        a, b = fold(own), fold(theirs)
        assert (a.side, a.best, a.signalled_at) == (-b.side, 200 - b.best, b.signalled_at)
        assert not a.opened or (a.worst, a.risk) == (200 - b.worst, b.risk)


@given(markets(steps=30))
@settings(max_examples=50, deadline=None)
def test_a_position_keeps_its_bounds(steps: list[Step]) -> None:
    """Parts come to one, the worst is not above the best, fills lie between them, a stop never moves away."""
    positions = machine()
    for own in by_position(walk(positions, steps)).values():
        whole = fold(own)
        if not whole.opened:
            continue
        parts = math.fsum(f.fraction for f in whole.fills)
        assert abs(parts + whole.rest - 1) < 1e-12
        assert whole.mae <= 0 <= whole.mfe
        assert all(whole.mae <= whole.gain(f.price) <= whole.mfe for f in whole.fills)
        assert whole.pnl_net <= whole.pnl_gross
        stops = [e.price for e in own if e.kind == "moved"]
        first = next(e for e in own if e.kind == "opened").data["stop"]
        assert all(whole.side * (b - a) > 0 for a, b in zip([first, *stops], stops, strict=False))


def test_instruments_without_a_position_are_not_looked_at() -> None:
    """A thousand of them: a step without signals reads no value of any column."""

    class Untouched(list[float]):
        def __getitem__(self, lane: Any) -> Any:
            raise AssertionError(lane)

    positions = Positions(PROFILES, [f"X:S{n}" for n in range(1000)], ONE)
    columns: Any = dict.fromkeys(positions.inputs, Untouched([1.0] * 1000))
    assert positions.step(0, columns, np.ones(1000, dtype=bool)) == []


def test_every_input_is_a_feature() -> None:
    """Each expression that a full profile asks for is one that the feature engine computes."""
    rows = 40
    rng = np.random.default_rng(7)
    close = 100 + np.cumsum(rng.normal(size=rows))
    bars = pl.DataFrame({
        "ts": pl.Series(MINUTE * np.arange(rows)).cast(pl.Datetime("us", "UTC")), "open": close, "high": close + 1,
        "low": close - 1, "close": close, "volume": rng.uniform(1, 2, rows),
        "taker_buy_volume": rng.uniform(0, 1, rows),
        "trades": rng.integers(1, 99, rows).astype(float),
    })  # fmt: skip
    shown = FULL.model_copy(
        update={"z": "er_15m", "filters": FULL.filters.model_copy(update={"require": ("trades >= 50",)})}
    )
    texts = [text for text in inputs(shown) if "er_15m" not in text.replace("taker", "")]
    found = compute(bars, {f"c{n}": text for n, text in enumerate(texts)})
    assert all(math.isfinite(found[f"c{n}"][-1]) for n in range(len(texts)))
    assert {"lag(taker_buy_share_15m, 3)", "trades", "atr(10)", "lag(low, 1)"} <= set(texts)


def test_the_profiles_of_the_page_open_positions() -> None:
    """Both are read as written, ask only for features that exist, and what they ask for can let a signal in and out."""
    page = (Path(__file__).parents[2] / "docs" / "positions.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = {name: p for block in blocks for name, p in parse(tomllib.loads(block)).positions.items()}
    assert list(found) == ["default", "win_rate_max"]
    for name, shown in found.items():
        assert plan({f"c{n}": text for n, text in enumerate(inputs(shown))}).inputs
        btc = "BINANCEUSDM:BTCUSDT"
        machine = Positions({name: shown}, ["X:A", btc], ONE)
        signals = [(Alert("r", "X:A", "1m", 0, direction="up"), name)]
        said = []
        for minute, close in enumerate([100.0, 99.4, 104.0]):
            at = {"open": close, "high": close, "low": close - 1, "close": close, "close * volume": 1e6, "trades": 99.0,
                  Z: 2.5, SHARE: 0.6, ATR: 1.0, "z_vol_15m": 0.0, "abs(robust_zscore(r_15m, 720))": 0.0}  # fmt: skip
            at |= {t: 1.0 for t in machine.inputs if t.startswith("abs(beta(")}
            at |= {"lag(close, 1)": 99.0, f"max({SHARE}, 2)": 0.6, f"max({SHARE}, 3) - min({SHARE}, 3)": 0.0}
            columns = {text: np.array([at.get(text, math.nan)] * 2) for text in machine.inputs}
            said += machine.step(minute * MINUTE, columns, np.array([True, True]), signals if minute == 0 else [])
        end = fold(said)
        assert (end.opened_at, end.state, end.pnl_net > 1) == (MINUTE, "closed", True), name


def test_a_bet_against_the_move_is_a_profile_that_counts_from_the_other_side() -> None:
    """An excess upwards is sold once takers have let go, and bought back when z has come down."""
    fade = Profile.model_validate({
        "z": "-z_er_15m", "flow": "1 - taker_buy_share_15m", "stop": {"percent": 5.0},
        "entry": {"z_band": [4.0, 6.0]}, "exits": {"z": {"below": 1.5}},
    })  # fmt: skip
    assert plan({"z": inputs(fade)[-1]}).expression("z").startswith("-")
    machine, said = Positions({"p": fade}, ["X:A"], ONE), []
    for minute, (z, close) in enumerate([(7.0, 100.0), (5.0, 101.0), (2.0, 99.5), (1.0, 99.0)]):
        columns = {**{n: np.array([close]) for n in ("open", "high", "low", "close")}, "-z_er_15m": np.array([-z])}
        signals = [(Alert("spike", "X:A", "1m", 0, direction="down"), "p")] if minute == 0 else []
        said += machine.step(minute * MINUTE, columns, np.array([True]), signals)
    end = fold(said)
    assert (end.side, end.opened_at, end.entry, end.exit, end.reason) == (-1, MINUTE, 101.0, 99.0, "z")


# ---------------------------------------------------------------- worked out another way, on real bars

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "perp_1m_2025-05.parquet"
HELD, STOP, TARGETS = 90, 0.4, ((0.3, 0.5), (0.8, 0.5))


def first(reached: Any) -> int:
    """The number of the first bar that did, past the end where none did."""
    return int(np.argmax(reached)) if reached.any() else len(reached)


def worked_out(o: Any, h: Any, low: Any, c: Any, side: int) -> float:
    """The gross result in percent of one entry at ``c[0]``: when each level was first touched, all bars at once."""
    entry, ahead, behind = c[0], (h if side > 0 else low)[1:], (low if side > 0 else h)[1:]
    o, c = o[1:], c[1:]
    stop = entry * (1 - side * STOP / 100)
    stopped, late = first(side * (behind - stop) <= 0), HELD - 1
    total = 0.0
    for distance, part in TARGETS:
        target = entry * (1 + side * distance / 100)
        taken = first(side * (ahead - target) >= 0)
        opened_beyond = taken < len(o) and side * (o[taken] - target) >= 0
        if taken <= late and (taken < stopped or (taken == stopped and opened_beyond)):
            price = o[taken] if opened_beyond else target
        elif stopped <= late:
            price = o[stopped] if side * (o[stopped] - stop) <= 0 else stop
        else:
            price = c[late]
        total += part * side * (price - entry) / entry * 100
    return total


@pytest.mark.skipif(not SHARED.exists(), reason="the real bars are not beside the project")
def test_results_on_real_bars_are_those_of_another_computation() -> None:
    """A hundred positions a symbol, long and short, with stop, two targets and a longest hold."""
    made = Profile.model_validate({
        "several": True, "stop": {"percent": STOP}, "exits": {"max_bars": HELD},
        "targets": [{"percent": d, "fraction": f} for d, f in TARGETS],
    })  # fmt: skip
    reasons = set()
    for symbol in ("BTCUSDT", "SOLUSDT"):
        frame = pl.scan_parquet(SHARED).filter(pl.col("symbol") == symbol).sort("open_time").head(4000).collect()
        columns = {n: frame[n].to_numpy() for n in ("open", "high", "low", "close")}
        machine, events = Positions({"p": made}, ["X:A"], ONE), []
        for n in range(frame.height):
            side = "up" if n % 74 else "down"
            fired = n % 37 == 0 and n < frame.height - HELD - 1
            signals = [(Alert("r", "X:A", "1m", n * MINUTE, direction=side), "p")] if fired else []  # type: ignore[arg-type]
            at = {name: values[n : n + 1] for name, values in columns.items()}
            events += machine.step(n * MINUTE, at, np.array([True]), signals)
        found = [fold(own) for own in by_position(events).values()]
        assert len(found) > 100
        for position in found:
            n = position.signalled_at // MINUTE
            part = [values[n : n + HELD + 1] for values in columns.values()]
            assert position.pnl_gross == pytest.approx(worked_out(*part, position.side), abs=1e-9)
            reasons |= {fill.reason for fill in position.fills}
    assert reasons == {"stop", "target_1", "target_2", "max_bars"}
