"""The verbs about features, as they are read: what is shown, and that no word of it is cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gapless as gl
from gapless.features import catalogue
from gapless.features.panel_proof import CHECKS as PANEL_CHECKS
from gapless.features.proof import CHECKS, MEANINGS

Call = Callable[..., Any]
FEATURES_PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
THREE = ("recommend_ma()", "recommend_other()", "recommend_all()")


def words(text: str) -> str:
    """What was printed, without the breaks of lines."""
    return " ".join(text.split())


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three instruments, 600 minutes each."""
    ts = pl.Series(1_700_000_100_000_000 + 60_000_000 * np.arange(600))
    path = tmp_path / "lake"
    found = gl.open(path)
    for seed, name in enumerate(("A", "B", "C")):
        close = 100 + np.cumsum(np.random.default_rng(seed).normal(0, 0.1, 600))
        frame = {"ts": ts.cast(pl.Datetime("us", "UTC")), "open": close, "high": close + 1, "low": close - 1}
        found.write(f"BINANCE:{name}USDT", "1m", pl.DataFrame(frame | {"close": close, "volume": close}), source="made")
    return path


@pytest.mark.parametrize("width", [80, 120])
def test_the_catalogue_is_whole(gapless: Call, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Every signature and every summary stands there in full, on terminals of any width, and no line is longer."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    printed = re.sub(r"\x1b\[[\d;]*m", "", gapless("features", "list").out)
    texts = re.sub(r" +[\d,]+ +(?:decaying|[\d,]+) +(?:–|\[.*\])$", "", printed, flags=re.MULTILINE)
    plain = "".join(texts.split())
    for entry in catalogue().values():
        assert "".join(entry.signature.split()) in plain
        assert "".join(entry.summary.replace("``", "").split()) in plain
    assert max(map(len, printed.splitlines())) <= width


def test_a_word_finds_its_features(gapless: Call) -> None:
    """`features list WORD` keeps what a word of name, family or description begins with; nothing found is an error."""
    found = {row["name"] for row in gapless("features", "list", "rsi", "--json").json}
    assert {"rsi", "stochrsi_k", "stochrsi_d"} <= found
    assert len(found) < 10
    assert {row["name"] for row in gapless("features", "list", "flow", "--json").json} >= {"er_15m", "z_er_15m"}
    nothing = gapless("features", "list", "rzi", "--json")
    assert (nothing.code, nothing.json["error"]["type"]) == (2, "UnknownName")


def test_one_definition(gapless: Call) -> None:
    """`explain` tells summary, version, inputs, warm-up, memory, bounds and the graph; of a long one the beginning."""
    short = words(gapless("features", "explain", "rsi(close, 14)").out)
    for part in ("Wilder's relative strength", "inputs close", "warm-up 14 bars", "[0, 100]", "14 nodes: 10 operators"):
        assert part in short
    assert "… 375 more; --json has them all" in gapless("features", "explain", THREE[2]).out


def test_all_three_ratings_cost_hardly_more_than_one(gapless: Call) -> None:
    """`explain A B C` counts the nodes of all, of each by itself, and those that serve several."""
    told = gapless("features", "explain", *THREE, "--json").json
    alone = [gapless("features", "explain", text, "--json").json["nodes"] for text in THREE]
    assert [one["nodes"] for one in told["expressions"]] == alone
    assert told["separately"] == sum(alone)
    assert told["nodes"] == told["shared"] + sum(one["own"] for one in told["expressions"])
    assert told["nodes"] < 1.1 * max(alone)
    assert "all 3 together take 1.00 times" in words(gapless("features", "explain", *THREE).out)


def test_strangers_share_their_columns_only(gapless: Call) -> None:
    """Of two features with nothing in common but a column, that column is what is shared."""
    told = gapless("features", "explain", "rsi(close, 14)", "diff(close, 3)", "--json").json
    assert told["shared"] == 1
    assert told["nodes"] == told["separately"] - 1


def test_a_build_says_what_it_built(gapless: Call, lake: Path) -> None:
    """Timeframe, features, rows; then that there is nothing to do; what compares instruments is named apart."""
    Path("gapless.toml").write_text(
        '[features]\nfast = "sma(close, 5)"\nr = "rank(close)"\nslow = "ema(close, 3) @ 5m"\n'
    )
    first = words(gapless("features", "build", "--lake", lake, "--timeframes", "1m").out)
    assert "✓ 1m fast: 1,800 rows of 3 series written" in first
    assert "rounding errors" not in first
    assert "✓ 5m slow: 360 rows of 3 series written" in first
    assert "r compares instruments: it is computed when it is read" in first
    again = words(gapless("features", "build", "--lake", lake, "--timeframes", "1m").out)
    assert "✓ 1m fast: nothing to do" in again


def test_a_wrong_build_is_no_run(gapless: Call, lake: Path) -> None:
    """An expression that cannot be read is refused before a run begins."""
    before = gapless("audit", "--lake", lake, "--json").json
    said = gapless("features", "build", "--lake", lake, "--features", "x=rsi(volum)")
    assert (said.code, "did you mean 'volume'" in said.err) == (2, True)
    assert gapless("audit", "--lake", lake, "--json").json == before


def test_a_set_whose_bars_changed_is_not_called_verified(gapless: Call, lake: Path) -> None:
    """Nothing of it stands, and that is said beside the values of others."""
    gapless("features", "build", "--lake", lake, "--features", "fast=sma(close, 5)")
    found = gl.open(lake)
    for name in found.instruments("1m"):
        found.write(
            name, "1m", found.bars(name, "1m").drop("instrument").with_columns(pl.col("volume") + 1), source="b"
        )
    told = words(gapless("features", "verify", "--lake", lake).out)
    assert "fast 1m: nothing stands, its bars or kernels changed since; features build renews it" in told


def test_only_comparisons_leave_nothing_to_build(gapless: Call, lake: Path) -> None:
    """A configuration of comparisons alone says so instead of nothing."""
    Path("gapless.toml").write_text('[features]\nr = "rank(close)"\n')
    found = gapless("features", "build", "--lake", lake, "--json")
    assert (found.code, found.json["sets"], found.json["computed_when_read"]) == (0, [], ["r"])


def test_verify_before_and_after_a_build(gapless: Call, lake: Path) -> None:
    """With nothing built it says so; afterwards it names the features of each set, and counts."""
    assert "nothing is built" in gapless("features", "verify", "--lake", lake).out
    gapless("features", "build", "--lake", lake, "--features", "fast=sma(close, 5);e=ema(close, 9)")
    told = gapless("features", "verify", "--lake", lake)
    assert told.code == 0
    assert "e, fast 1m 3 3,600 0" in words(told.out).replace("fast, e", "e, fast")
    assert "3,600 values of 3 series computed again, 0 differ" in told.out


def test_a_proof_says_what_it_compared(gapless: Call) -> None:
    """Every check of both kinds of proof has its sentence; a failed one names the row and both values."""
    assert MEANINGS.keys() == {*CHECKS, *PANEL_CHECKS, "parameters_matter"}
    told = words(gapless("prove", "sma(close, 3)", "rank(close)").out)
    assert "✓ batch_equals_step one run over all bars = bar by bar" in told
    assert "✓ order_invariant" in told
    assert "2 of 2 passed" in told


def test_a_failed_proof_names_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """The first difference is a sentence: the row, what was expected, what was found."""
    from gapless.cli.render_features import certificates

    difference = {"seed": 2, "row": 57, "expected": "1.5", "found": "nan", "cut": 50}
    idle = {"row": None, "same_with": "sma(close, 4)"}
    checks = {"late": {"first_difference": difference}, "parameters_matter": {"first_difference": idle}}
    content = {"expression": "sma(close, 3)", "version": "0", "checks": checks, "passed": False}
    certificates([json.loads(json.dumps(content))], MEANINGS)
    told = words(capsys.readouterr().out)
    assert "✗ late row 57: expected 1.5, found nan, seed 2, cut 50" in told
    assert "no value changes with sma(close, 4)" in told


def test_a_universe_is_built_verified_and_exported(gapless: Call, lake: Path) -> None:
    """`--universe` names its instruments; beside `--symbols`, export compares those among the universe."""
    Path("gapless.toml").write_text('[universes.two]\nsymbols = ["BINANCE:AUSDT", "BINANCE:BUSDT"]\n')
    here = ("--lake", lake, "--universe", "two")
    built = gapless("features", "build", *here, "--features", "fast=sma(close, 5)", "--json").json
    assert [one["instrument"] for one in built["sets"][0]["series"]] == ["BINANCE:AUSDT", "BINANCE:BUSDT"]
    assert len(gapless("features", "verify", *here, "--json").json) == 2
    export = ("features", "export", *here, "--features", "r=rank(close)", "-o")
    assert gapless(*export, "two.parquet", "--json").json["rows"] == 1200
    assert gapless(*export, "one.parquet", "--symbols", "BINANCE:AUSDT", "--json").json["rows"] == 600
    two, one = pl.read_parquet("two.parquet"), pl.read_parquet("one.parquet")
    assert one.equals(two.filter(pl.col("instrument") == "BINANCE:AUSDT"))
    both = gapless("features", "build", *here, "--symbols", "BINANCE:AUSDT", "--features", "x=close")
    assert (both.code, "both given" in both.err) == (2, True)


def test_the_pages_example_of_sharing_is_what_is_printed(gapless: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/features.md shows what `explain` prints of the three ratings."""
    monkeypatch.delenv("COLUMNS", raising=False)
    block = FEATURES_PAGE.partition('features explain "recommend_ma()"')[2].partition("\n")[2].partition("```")[0]
    printed = gapless("features", "explain", *THREE).out
    assert "largest alone" in block
    assert words(block) == words(printed)


def test_the_page_tells_of_every_check() -> None:
    """The table of docs/features.md has each check of a proof, and no other."""
    table = FEATURES_PAGE.partition("| check | compares |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == MEANINGS.keys()
