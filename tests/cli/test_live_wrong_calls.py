"""A wrong call or configuration of `gapless live`: exit code 2, a hint, and no lake."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = '[live]\nsymbols = ["BINANCE:BTCUSDT"]\n[features]\nz = "z_er_15m"\n'
RULE = '[alerts.a]\nwhen = "abs(z) >= 3"\n'


@pytest.mark.parametrize(
    ("config", "said", "hint"),
    [
        ("[live]\n", "live of what?", "[live] symbols in gapless.toml"),
        (GOOD + '[alerts.a]\nwhen = "abs(zz) >= 3"\n', "zz", "did you mean 'z'?"),
        (GOOD + '[alerts.a]\nwhen = "abs(z >= 3"\n', "abs(z >= 3", ""),
        (GOOD + RULE + 'notify = ["desk"]\n', "desk", ""),
        (GOOD + RULE + 'direction = "z"\nopens = "fast"\n', "fast", ""),
        (GOOD + RULE + 'timeframe = "5m"\n', "rule 'a' is for bars that are not streamed", "[live] timeframes"),
        (GOOD + RULE + 'instruments = ["BINANCE:ETHUSDT"]\n', "ETHUSDT", "add it"),
        (
            GOOD + RULE + 'instruments = ["BINANCE:BTCUSDT", "BINANCE:BTCUSDC"]\n',
            "did you mean BINANCE:BTCUSDT?",
            "add it",
        ),
        (GOOD + 'fast_z = "z"\n[alerts.a]\nwhen = "abs(fast_zz) >= 3"\n', "alerts.a: 'abs(fast_zz)'", "mean 'fast_z'?"),
        (GOOD + '[alerts.a]\nwhen = "abs(quite_other) >= 3"\n', "quite_other", "Known: z, open"),
        (GOOD + RULE + '[alerts.a.spread]\ngroup = "sector"\nwhen = "z > 1"\n', "sector", ""),
        (GOOD.replace("BINANCE:", "NOWHERE:"), "NOWHERE", ""),
        (GOOD + 'r = "rank(close"\n', "rank(close", ""),
        (GOOD.replace("[features]", 'features = ["zz"]\n[features]'), "zz", "did you mean"),
        (GOOD + '[notify.desk]\nurl = "env:GAPLESS_NO_SUCH_VARIABLE"\n', "GAPLESS_NO_SUCH_VARIABLE", ""),
        ('[live]\nsymbols = ["BINANCE:BTCUSDT"]\ngrace = "soon"\n', "soon", ""),
        ('[live]\nsymbols = ["BINANCE:BTCUSDT"]\nsymbls = []\n', "symbls", "symbols"),
        ('[live]\nsymbols = ["BINANCE:BTCUSDT"]\nuniverse = "all"\n', "one of them would do nothing", ""),
    ],
)
def test_a_wrong_configuration_is_told_and_leaves_no_lake(gapless, config: str, said: str, hint: str) -> None:
    """The error names what is wrong and the fix; the directory is as it was."""
    Path("gapless.toml").write_text(config, encoding="utf-8")
    done = gapless("live", "--json")
    error = done.json["error"]
    assert done.code == 2, done
    assert said in error["message"], done
    assert error["hint"], done
    assert hint in error["hint"] + error["message"], done
    assert [path.name for path in Path().iterdir()] == ["gapless.toml"]


@pytest.mark.parametrize(
    "words",
    [
        ["--symbols", "BINANCE:BTCUSDT", "--universe", "all"],
        ["--universe", "nobody"],
        ["--symbols", "BTC USDT"],
        ["--symbols", "BINANCE:BTCUSDT", "--timeframes", "7m"],
        ["--symbols", "BINANCE:BTCUSDT", "--source", "nowhere"],
        ["--symbols", "BINANCE:BTCUSDT", "--source", "binance-usdm"],
        ["--symbols", "BINANCE:BTCUSDT", "--for", "soon"],
    ],
)
def test_a_wrong_call_is_told_and_leaves_no_lake(gapless, words: list[str]) -> None:
    """Unknown names, contradictions, times that are none: exit code 2, and nothing is made."""
    done = gapless("live", "--json", *words)
    assert done.code == 2, done
    assert done.json["error"]["hint"], done
    assert list(Path().iterdir()) == []


def test_there_is_nothing_to_list_before_the_first_run(gapless) -> None:
    """alerts, positions and report of no lake are errors that say so."""
    for words in (["alerts", "list"], ["alerts", "replay"], ["positions"], ["report"]):
        done = gapless(*words, "--json")
        assert done.code in (1, 2), done
        assert "there is no lake at" in done.json["error"]["message"]
    assert list(Path().iterdir()) == []
