"""A definition that changes costs itself: what a set holds in the same version is neither computed nor written."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gapless.bars import STORED
from gapless.engine import build
from gapless.engine.chain import Chain
from gapless.engine.parts import parts
from gapless.features import compute
from gapless.features import plan as understand
from gapless.series import Instrument
from gapless.spans import MINUTE, Span, Timeframe, parse_time
from gapless.stores.lake import Lake

M1 = Timeframe.parse("1m")
AAA = Instrument.parse("SIM:AAA")
BASE = {"ema": "ema(close, 3)", "mean": "sma(close, 2)", "up": "close > open"}
Rows = list[tuple[str, ...]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(tmp_path / "lake", clock=lambda: parse_time("2026-06-01"))
    write(found, 0, 300)
    return found


def write(lake: Lake, first: int, count: int) -> None:
    """Minutes from the first of May on."""
    ts = pl.Series("ts", [parse_time("2025-05-01") + (first + k) * MINUTE for k in range(count)]).cast(STORED["ts"])
    close = pl.Series([100 + ((first + k) * 7 % 11) / 4 for k in range(count)])
    price = {"open": close - 0.5 * (close > 101), "high": close + 1, "low": close - 1, "close": close, "volume": close}
    lake.write(M1, pl.DataFrame({"instrument": [str(AAA)] * count, "ts": ts, **price}), source="t")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """The names of the features of every computation."""
    found: Rows = []
    real = Chain._values

    def noted(self: Chain, span: Span, state: bytes | None) -> object:
        found.append(self.plan.names)
        return real(self, span, state)

    monkeypatch.setattr(Chain, "_values", noted)
    return found


def check(lake: Lake, features: dict[str, str], span: Span | None = None) -> None:
    wanted = compute(lake.bars([AAA], M1), features)
    if span is not None:
        wanted = wanted.filter(pl.col("ts").to_physical().is_between(span.start, span.end, closed="left"))
    assert build.read(lake, features, [AAA], M1, span).equals(wanted)


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        (BASE | {"rsi": "rsi(close, 4)"}, {"rsi"}),
        (BASE | {"mean": "sma(close, 5)"}, {"mean"}),
        ({"mean": "sma(close, 2)", "ema": "ema(close, 3)"}, set()),
        ({"average": "sma(close,2)", "direction": "close>open", "ema": "ema(close, 3)"}, set()),
        ({"twin": "sma(close, 2)", "mean": "sma(close, 2)", "up": "close > open"}, set()),
    ],
    ids=["added", "changed", "dropped", "renamed", "twice"],
)
def test_only_what_is_new_is_computed(lake: Lake, computed: Rows, changed: dict[str, str], new: set[str]) -> None:
    """The stored columns stay as they are, in the files they are in; reading puts both side by side."""
    first = build.build(lake, BASE, [AAA], M1)
    files = sorted((lake.root / "features" / first.name).rglob("*.parquet"))
    computed.clear()
    report = build.build(lake, changed, [AAA], M1)
    assert {name for names in computed for name in names} == new
    assert sorted((lake.root / "features" / first.name).rglob("*.parquet")) == files
    assert {name for names in report.sets.values() for name in names} == changed.keys()
    computed.clear()
    check(lake, changed)
    assert computed == []
    write(lake, 300, 40)
    check(lake, changed)
    build.build(lake, changed, [AAA], M1)
    check(lake, changed)
    check(lake, changed, Span(parse_time("2025-05-01T04:00"), parse_time("2025-05-01T05:20")))


def test_a_set_of_which_little_is_wanted_is_not_kept_up(lake: Lake, computed: Rows) -> None:
    """One column of three is built anew: keeping up two for nothing would cost more in the long run."""
    build.build(lake, BASE, [AAA], M1)
    computed.clear()
    build.build(lake, {"ema": "ema(close, 3)"}, [AAA], M1)
    assert set(computed) == {("ema",)}
    assert [part.plan.names for part in parts(lake, understand({"ema": "ema(close, 3)"}), M1)] == [("ema",)]


def test_a_set_that_is_no_longer_understood_is_passed_over(lake: Lake) -> None:
    """Of an operator that is gone, or of kernels that were others: it is as if it had never been built."""
    plan = understand(BASE)
    lake.remember_set("set-odd", M1, {n: ("gone(close)", plan.version(n)) for n in BASE})
    lake.remember_set("set-old", M1, {n: ("sma(close, 9)", plan.version(n)) for n in BASE})
    check(lake, BASE)
    assert build.build(lake, BASE, [AAA], M1).errors == {}
    check(lake, BASE)


def test_an_instrument_of_which_the_set_holds_nothing_is_read_by_itself(lake: Lake, computed: Rows) -> None:
    """What is computed when it is read is what was asked for, not all that the set would hold."""
    wanted = {"ema": "ema(close, 3)", "up": "close > open"}
    plan = understand(BASE)
    lake.remember_set(f"set-{plan.version_all}", M1, {n: (plan.expression(n), plan.version(n)) for n in BASE})
    check(lake, wanted)
    assert set(computed) == {("ema", "up")}


def test_a_build_says_where_its_time_went(lake: Lake) -> None:
    """Read, compute, check, encode and commit, in seconds of all workers."""
    spent = build.build(lake, BASE, [AAA], M1).to_dict()["parts"]
    assert list(spent) == ["read", "compute", "check", "encode", "commit"]
    assert all(seconds >= 0.0 for seconds in spent.values())
