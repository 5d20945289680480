"""What people see of values at times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    for line in document["residual"][:_ROWS]:
        out.print(_residual(line), style="yellow", highlight=False)
    for error in document["errors"][:_ROWS]:
        out.print(f"failed: {error['series']}: {error['error']}", style="red", highlight=False)
    good = document["outcome"] == "complete"
    out.print(document["outcome"], style="green" if good else "red", highlight=False)


def _residual(line: Mapping[str, str]) -> str:
    return f"not had: {line['instrument']} {line['name']} {line['start']} to {line['end']}: {line['reason']}"


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
