"""What people see of values at times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from gapless.cli.render import console, titled

_ROWS = 30
_COUNTS = ["read", "written", "unchanged", "corrected", "requests"]


def synced(document: Mapping[str, Any]) -> None:
    """The end of ``values sync``."""
    out, total = console(), document["totals"]
    table = titled(f"values {document['run']}", ["instrument", "values", *_COUNTS], _COUNTS)
    for row in document["series"][:_ROWS]:
        table.add_row(row["instrument"], row["name"], *(f"{row[n]:,}" for n in _COUNTS))
    if len(document["series"]) > _ROWS:
        table.add_row(f"… and {len(document['series']) - _ROWS} more", *[""] * (1 + len(_COUNTS)), style="dim")
    table.add_section()
    table.add_row("total", "", *(f"{total[n]:,}" for n in _COUNTS), style="bold")
    out.print(table)
    out.print(f"{document['seconds']:.2f} s, {total['retries']:,} retries", style="dim", highlight=False)
    _left(document["residual"])
    for error in document["errors"][:_ROWS]:
        out.print(f"failed: {error['series']}: {error['error']}", style="red", highlight=False)
    good = document["outcome"] == "complete"
    out.print(document["outcome"], style="green" if good else "red", highlight=False)


def imported(document: Mapping[str, Any]) -> None:
    """The end of ``values import``."""
    out, total = console(), document["totals"]
    names = ["read", "written", *(n for n in ("unchanged", "corrected", "duplicate", "quarantined") if total[n])]
    table = titled(f"values {document['run']}", ["instrument", "values", *names], names)
    for row in document["series"][:_ROWS]:
        table.add_row(row["instrument"] or "?", row["name"], *(f"{row[n]:,}" for n in names))
    if len(document["series"]) > _ROWS:
        table.add_row(f"… and {len(document['series']) - _ROWS} more", *[""] * (1 + len(names)), style="dim")
    table.add_section()
    table.add_row("total", "", *(f"{total[n]:,}" for n in names), style="bold")
    out.print(table)
    for note in document["notes"][:_ROWS]:
        out.print(f"note: {note}", style="dim", highlight=False)
    for line in document["refused"][:_ROWS]:
        what = f"refused: {line['file']} row {line['row']}: {line['reason']}: {line['raw']}"
        out.print(what, style="yellow", highlight=False, markup=False)
    if total["quarantined"]:
        out.print(f"{total['quarantined']:,} rows refused (gapless quarantine lists them)", style="yellow")
    for error in document["errors"][:_ROWS]:
        out.print(f"failed: {error['error']}", style="red", highlight=False, markup=False)
    good = document["outcome"] == "complete"
    out.print(document["outcome"], style="green" if good else "red", highlight=False)


def planned(document: Mapping[str, Any]) -> None:
    """What ``values sync`` would ask, and what it costs."""
    out, tasks = console(), document["tasks"]
    table = titled("plan", ["source", "instrument", "values", "start", "end", "requests"], ["requests"])
    rows = [(names, list(group)) for names, group in groupby(tasks, key=itemgetter("source", "instrument", "name"))]
    for names, group in rows[:_ROWS]:
        table.add_row(*names, group[0]["start"], group[-1]["end"], f"{sum(t['requests'] for t in group):,}")
    out.print(table)
    if len(rows) > _ROWS:
        out.print(f"… and {len(rows) - _ROWS} more", style="dim")
    who = ", ".join(f"{name} {count:,}" for name, count in document["sources"].items())
    out.print(
        f"{len(tasks):,} tasks, {document['requests']:,} requests ({who or 'none'}), about "
        f"{document['seconds']:.0f} s and {document['bytes'] / 1e6:.1f} MB",
        highlight=False,
    )
    _left(document["residual"])


def _left(lines: Sequence[Mapping[str, str]]) -> None:
    for line in lines[:_ROWS]:
        out = f"not had: {line['instrument']} {line['name']} {line['start']} to {line['end']}: {line['reason']}"
        console().print(out, style="yellow", highlight=False)
    if len(lines) > _ROWS:
        console().print(f"… and {len(lines) - _ROWS} more that are not had", style="yellow", highlight=False)


def listed(lines: Sequence[Mapping[str, Any]]) -> None:
    """What there is."""
    names = ["values", "superseded"]
    table = titled("values", ["instrument", "what", *names, "first", "last", "answered"], names)
    for line in lines:
        spans = ", ".join(f"{a} to {b}" for a, b in line["answered"][:3]) + " …" * (len(line["answered"]) > 3)
        table.add_row(
            line["instrument"], line["name"], f"{line['values']:,}", f"{line['superseded']:,}", line["first"],
            line["last"], spans,
        )  # fmt: skip
    console().print(table)
