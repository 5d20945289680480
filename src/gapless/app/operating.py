"""Audits, and the doctor."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gapless.app.lake import Lake
from gapless.app.markets import market, patience, source
from gapless.app.runs import run_line, runs
from gapless.config import find, load
from gapless.engine.backfill import clock_skew
from gapless.errors import GaplessError, UnknownName
from gapless.observe.audit import Audit
from gapless.protocols import Counts
from gapless.series import Series
from gapless.spans import iso
from gapless.stores.lake import Lake as Store
from gapless.stores.maintain import verify

_PARTS = ("polars", "pyarrow", "deltalake", "numba", "numpy", "aiohttp", "exchange_calendars")
_SKEW = 2.0  # seconds; bars are final by the source's clock, so that more is notable, not wrong
Finding = tuple[str, str, str]


def audit_lines(lake: Lake, limit: int) -> list[dict[str, Any]]:
    """Runs, newest first: name, verb, times, outcome, totals."""
    lines = []
    for row in runs(lake.store, limit):
        document = json.loads(row["document"])
        told = {"seconds": document.get("seconds"), "bytes": document.get("bytes")}
        lines.append(run_line(row) | told | {"totals": document.get("totals", {})})
    return lines


def audit_document(lake: Lake, run: str) -> dict[str, Any]:
    """The document of one run, by its name or an unambiguous beginning of it.

    One that has not ended, or was killed, wrote none: then what the ledger knows of it.
    """
    names = sorted({p.stem for p in (lake.path / "audit").glob("*.json")} | {*lake.store.meta.run_names()})
    found = [n for n in names if n.startswith(run)]
    if len(found) != 1:
        raise UnknownName("run", run, names[-8:], hint=f"{len(found)} runs begin like that; gapless audit lists them")
    path = lake.path / "audit" / f"{found[0]}.json"
    if not path.exists():
        return _unwritten(lake, next(row for row in runs(lake.store, len(names)) if row["id"] == found[0]))
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _unwritten(lake: Lake, row: Mapping[str, Any]) -> dict[str, Any]:
    """The account of a run that wrote none: what it has put into the ledger."""
    audit, last = Audit(row["id"], row["verb"], row["started"]), row["ended"] or row["started"]
    for timeframe, name, rows, failed, known_at in lake.store.meta.heard(row["id"]):
        series = Series.parse(name, timeframe)
        audit.wrote({series: Counts(read=rows)}, {})
        audit.per_series[series] = Counter(failed=failed)
        audit.tally["failed"] += failed
        last = max(last, known_at)
    return audit.document(ended=last, outcome=row["outcome"], gaps=[]) | run_line(row) | {"heard_of": iso(last)}


def examine(url: str | None, config: Path | None) -> list[Finding]:
    """Everything that could be wrong, each with its fix."""
    return [*_versions(), *_configuration(config), *_sources(config), *_lake(url, config)]


def _versions() -> Iterator[Finding]:
    yield "✓", "python", platform.python_version()
    for part in _PARTS:
        try:
            yield "✓", part, version(part)
        except PackageNotFoundError:
            yield "✗", part, "is not installed; run make demo, or pip install gapless again"


def _configuration(path: Path | None) -> Iterator[Finding]:
    found = find(path)
    if found is None:
        yield "✓", "configuration", "none here, defaults apply; gapless init writes one"
        return
    try:
        config = load(found)
    except GaplessError as error:
        yield "✗", "configuration", str(error)
        return
    yield "✓", "configuration", str(found)
    for venue in config.venues:
        try:
            yield "✓", f"venue {venue}", f"calendar {market(config, venue).name}"
        except GaplessError as error:
            yield "✗", f"venue {venue}", str(error)


def _sources(path: Path | None) -> Iterator[Finding]:
    """Are the configured sources reachable, and how far are their clocks from ours?"""
    try:
        config = load(path)
    except GaplessError:
        return  # told above
    for name in config.sources:
        try:
            skew = clock_skew(source(config, name), patience=replace(patience(config, name), attempts=1, timeout=5.0))
        except GaplessError as error:
            yield "✗", f"source {name}", str(error)
            continue
        mark = "✓" if abs(skew) < _SKEW else "!"
        yield mark, f"source {name}", f"answers; its clock is {skew:+.2f} s from ours"


def _lake(url: str | None, config: Path | None) -> Iterator[Finding]:
    try:
        root = Path(url or os.environ.get("GAPLESS_LAKE") or load(config).lake.url)
    except GaplessError:
        return  # told above
    near = next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(near).free
    yield ("✓" if free > 1e9 else "!"), "disk", f"{free / 1e9:.1f} GB free for {root}"
    if not (root / "meta.sqlite").exists():
        yield "✓", "lake", f"none at {root} yet; the first import or backfill makes it"
        return
    try:
        problems = verify(Store(root, create=False), deep=False)
    except GaplessError as error:
        problems = [str(error)]
    for problem in problems:
        yield "✗", "lake", problem
    if not problems:
        yield "✓", "lake", f"{root}: nothing wrong at a glance; gapless lake verify reads every row"
