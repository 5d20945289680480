"""reconcile and quality as they are typed, on real tables of two timeframes."""

from __future__ import annotations

import polars as pl


def test_reconcile_tells_where_the_venue_contradicts_itself(gapless, data, tmp_path) -> None:
    """Stored 5m bars against the fold of stored 1m bars: some 0.15 % have other prices."""
    for timeframe in ("1m", "5m"):
        gapless("import", data / "crypto" / f"spot_{timeframe}_2021-04_outages.parquet", "--venue", "BINANCE",
                "--timeframe", timeframe, "--json")  # fmt: skip
    told = gapless("reconcile", "1m", "--json").json
    assert (told["compared"], told["overridden"], len(told["series"])) == (80_878, 0, 20)
    assert 0.001 < sum(s["prices"] for s in told["series"]) / told["compared"] < 0.002
    assert len(told["disagreements"]) == 100
    assert {"stored", "fold:1m", "absolute", "relative", "field", "ts"} <= told["disagreements"][0].keys()
    assert "2021-04-23T02:15:00Z" in gapless("reconcile", "1m", "-o", "all.csv").out
    assert pl.read_csv(tmp_path / "all.csv").height > told["differing"]
    said = gapless("reconcile", "1m", "--symbols", "BINANCE:BTCUSDT", "--policy", "priority", "--prefer", "fold:1m",
                   "--json").json  # fmt: skip
    assert said["overridden"] == said["differing"] == 16
    assert gapless("reconcile", "1m", "--symbols", "BINANCE:BTCUSDT", "--json").json["differing"] == 0
    undone = gapless("reconcile", "--undo", said["run"], "--json")
    assert (undone.code, undone.json["restored"]) == (0, 16)
    assert gapless("reconcile", "1m", "--symbols", "BINANCE:BTCUSDT", "--json").json["differing"] == 16
    assert {"reconcile", "reconcile-undo"} <= {r["verb"] for r in gapless("audit", "--json").json}


def test_quality_scores_series_and_lists_flags(gapless, data, tmp_path) -> None:
    """The rows that are no bars and the false prints of a daily table are listed; most series are without fault."""
    table = data / "equity" / "us_daily_2013_2018_unadjusted_defects.parquet"
    gapless("import", table, "--venue", "XNYS", "--timeframe", "1d", "--json")
    said = gapless("quality", "--json")
    assert said.code == 0
    assert sum(f["kind"] == "refused" for f in said.json["flags"]) == 6
    assert sum(s["score"] == 1.0 for s in said.json["series"]) > 200
    assert ("XNYS:XL", "spike") in {(f["instrument"], f["kind"]) for f in said.json["flags"]}
    sure = gapless("quality", "--confidence", "0.9", "--json").json["flags"]
    assert 0 < len(sure) < len(said.json["flags"])
    assert "XNYS:XL" in gapless("quality").out
    gapless("quality", "-o", "flags.csv")
    assert pl.read_csv(tmp_path / "flags.csv").height == len(said.json["flags"])


def test_wrong_calls_are_told(gapless, tmp_path) -> None:
    """No lake, no witness, an unknown policy: exit code 2 or 1, and a hint."""
    assert gapless("quality").code == 1
    gapless("import", _file(tmp_path), "--venue", "BINANCE", "--symbol", "BTCUSDT", "--timeframe", "1m")
    for words in (["reconcile"], ["reconcile", "nobody"], ["reconcile", "1m", "--policy", "luck"]):
        assert gapless(*words).code == 2
    assert gapless("reconcile", "--undo", "nothing").code == 2
    wrong = """
        reconcile 1m --undo x|reconcile 1m --limit -5|reconcile 1m -o x.txt|reconcile 1m --universe none
        quality --confidence 7|quality --confidence nan|quality --symbols ,|quality --universe none|gaps --universe none
    """
    for words in wrong.strip().replace("\n", "|").split("|"):
        assert gapless(*words.split()).code == 2, words


def _file(directory):
    path = directory / "bars.csv"
    path.write_text("ts,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,2,1,2,5\n2024-01-01T00:01:00Z,2,2,1,1,5\n")
    return path
