"""Writing tables to files, by the ending of their names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from gapless.cli.options import show
from gapless.errors import UsageError

ENDINGS = (".parquet", ".csv", ".feather")


def check(target: str) -> None:
    """UsageError for a file that could not be written anyway, before the work is done; nothing is nothing to write."""
    if target not in ("", "-") and Path(target).suffix not in ENDINGS:
        raise UsageError(f"'{target}' has no ending gapless can write.", hint=f"use {', '.join(ENDINGS)}, or -")


def table(frame: pl.DataFrame, target: str) -> None:
    """Write to .parquet, .csv, .feather (whole or not at all), or ``-`` for CSV on stdout."""
    if target == "-":
        sys.stdout.write(frame.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.fZ"))
        return
    check(target)
    path = Path(target)
    writers: tuple[Callable[[Path], object], ...] = (
        frame.write_parquet,
        lambda p: frame.write_csv(p, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ"),
        frame.write_ipc,
    )
    temporary = path.with_name(f".{path.name}.partial")
    try:
        writers[ENDINGS.index(path.suffix)](temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}.", hint="is the directory there, and space?") from None


def rows(frame: pl.DataFrame, output: str, as_json: bool, shown: Callable[[pl.DataFrame], None]) -> None:
    """A table where the call wants it: in a file, as JSON on stdout, or ``shown``."""
    if output:
        table(frame, output)
    elif as_json:
        show([plain(row) for row in frame.iter_rows(named=True)])
    else:
        shown(frame)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with times as text and without absent values, for JSON."""
    return {
        k: v.isoformat().replace("+00:00", "Z") if hasattr(v, "isoformat") else v
        for k, v in row.items()
        if v is not None
    }
