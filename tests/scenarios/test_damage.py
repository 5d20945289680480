"""A lake that somebody damaged: every verb says which file, exits with 1, and never answers as if all were well."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

IMPORT = ("--venue", "BINANCE", "--timeframe", "1m", "--json")


def scribble(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    for other in path.parent.glob(f"{path.name}-*"):
        other.unlink()


def flip(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "meta.sqlite": scribble,
    "tail.sqlite": scribble,
    "bars/1m/_delta_log/*1.json": lambda path: path.write_text('{"add": {"pa'),
    "bars/1m/_delta_log/*0.json": Path.unlink,
    "bars/1m/2023-12.*.parquet": flip,
    "bars/1m/2024-01.*.parquet": Path.unlink,
    "bars/1m/2023-11.*.parquet": lambda path: path.write_bytes(path.read_bytes()[:3000]),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory, truth_of, market):
    import gapless as gl

    lake = gl.open(tmp_path_factory.mktemp("sound") / "lake")
    truth = truth_of("2023-11-20", "2024-01-10", market.symbols[:1])
    lake.write("BINANCE:BTCUSDT", "1m", truth.drop("instrument"))
    lake.store.close()
    return lake.path


@pytest.mark.parametrize("pattern", DAMAGE)
def test_damage_is_named_by_verify_and_by_whoever_meets_it(shell, sound: Path, pattern: str) -> None:
    """Whatever file is damaged: verify exits 1 and names it, and so does reading the bars; no tracebacks."""
    shutil.copytree(sound, shell.lake)
    [path] = shell.lake.glob(pattern)
    DAMAGE[pattern](path)
    named = path.parent.parent.name if path.suffix == ".json" else path.name
    verify = shell.here("lake", "verify", "--json", code=1).json
    assert named in (verify["error"]["message"] if "error" in verify else " ".join(verify["problems"]))
    if DAMAGE[pattern] is not flip:  # a reader checks what it must decode; checksums are verify's
        error = shell.here("bars", "BINANCE:BTCUSDT", "1m", "-o", "x.csv", "--json", code=1).json["error"]
        assert error["type"] == "LakeDamaged"
        assert named in error["message"]
        assert error["hint"]
        assert not (shell.home / "x.csv").exists()


def test_a_lake_that_is_no_directory_is_told(shell) -> None:
    """--lake names a file: every verb says so, exit 1, and the file is as it was."""
    shell.lake.write_text("mine")
    (shell.home / "AAAUSDT.csv").write_text("ts,open,high,low,close,volume\n2024-01-02T00:00:00Z,1,1,1,1,1\n")
    for words in (("status", "--json"), ("import", "AAAUSDT.csv", *IMPORT), ("lake", "verify", "--json")):
        error = shell.here(*words, code=1).json["error"]
        assert str(shell.lake) in error["message"]
        assert error["hint"]
    assert shell.lake.read_text() == "mine"
