"""The detector's rules over real days of three perpetuals, through the verbs a user types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ARCHIVE = Path(__file__).parents[2].parent / "shared" / "data" / "crypto" / "archive"
CONFIG = """
[features]
er = 'er_15m("BINANCEUSDM:LINKUSDT")'
z_er = 'z_er_15m("BINANCEUSDM:LINKUSDT")'

[alerts.initiator]
when = "abs(z_er) >= 3 and z_vol_15m >= 3 and (taker_buy_share_15m >= 0.65 or taker_buy_share_15m <= 0.35)"
direction = "er"
cooldown = "60m"
opposite_cooldown = "15m"
opens = "plain"

[positions.plain]
stop = { atr = 1.5 }
targets = [{ atr = 3.0, fraction = 1.0 }]
"""
pytestmark = pytest.mark.skipif(not ARCHIVE.is_dir(), reason="the shared archive is not here")


def gapless(directory: Path, *words: str) -> Any:
    """A verb's JSON."""
    command = [sys.executable, "-m", "gapless", *words, "--json"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_detectors_rules_over_real_days(tmp_path: Path) -> None:
    """Every alert shows evidence that makes its rule true, cooldowns hold, and each opens one position."""
    (tmp_path / "gapless.toml").write_text(CONFIG)
    files = [str(path) for path in sorted(ARCHIVE.glob("*-1m-2026-02.zip"))]
    gapless(tmp_path, "import", *files, "--venue", "BINANCEUSDM", "--timeframe", "1m")
    found = gapless(tmp_path, "alerts", "replay", "--start", "2026-02-19", "--end", "2026-02-23")
    assert found["bars"] == 3 * 4 * 1440
    assert len(found["alerts"]) == found["rules"]["initiator"]["fired"] == 15
    for alert in found["alerts"]:
        evidence = alert["evidence"]
        assert evidence["abs(z_er)"] >= 3
        assert evidence["z_vol_15m"] >= 3
        assert not 0.35 < evidence["taker_buy_share_15m"] < 0.65
        assert alert["direction"] == ("up" if evidence["er"] > 0 else "down")
    assert found["never_passing"] == []
    assert [p["signalled_at"] for p in found["positions"]] == [a["ts"] for a in found["alerts"]]
    assert all(p["mfe"] >= 0 >= p["mae"] for p in found["positions"])
    assert gapless(tmp_path, "alerts", "list") == []


def test_a_replay_says_which_instruments_of_a_rule_have_no_part_in_it(tmp_path: Path) -> None:
    """Named by the rule, but not stored, or left out of --symbols: told, and the others are looked at."""
    named = 'cooldown = "60m"\ninstruments = ["BINANCEUSDM:LINKUSDT", "BINANCEUSDM:NOPEUSDT"]'
    (tmp_path / "gapless.toml").write_text(CONFIG.replace('cooldown = "60m"', named))
    file = next(ARCHIVE.glob("LINKUSDT-1m-2026-02.zip"))
    gapless(tmp_path, "import", str(file), "--venue", "BINANCEUSDM", "--timeframe", "1m")
    found = gapless(tmp_path, "alerts", "replay", "--start", "2026-02-19", "--end", "2026-02-20")
    assert found["unwatched"] == {"initiator": ["BINANCEUSDM:NOPEUSDT"]}
    assert found["rules"]["initiator"]["looked"] == 1440
    command = [sys.executable, "-m", "gapless", "alerts", "replay", "--start", "2026-02-19", "--end", "2026-02-20"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "rule 'initiator' also names BINANCEUSDM:NOPEUSDT" in shown
