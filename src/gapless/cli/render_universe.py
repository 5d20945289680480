"""What people see of instruments, universes and corporate actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapless.cli.render import console, titled


def imported(counts: Mapping[str, Any]) -> None:
    """How an import of corporate actions or names went."""
    out = console()
    words = [f"{n:,} {name}" for name, n in counts.items() if name != "notes" and (n or name in ("read", "written"))]
    out.print(" · ".join(words), highlight=False)
    for note in counts.get("notes", ()):
        out.print(f"! {note}", style="yellow", highlight=False)


def actions(lines: Sequence[Mapping[str, Any]]) -> None:
    """Splits and dividends."""
    table = titled("corporate actions", ["instrument", "ex", "kind", "value", "factor", "source"], ["value", "factor"])
    for line in lines:
        value = f"{line['value']:.6g} for 1" if line["kind"] == "split" else f"{line['value']:.6g}"
        table.add_row(line["instrument"], line["ex"], line["kind"], value, f"{line['factor']:.8f}", line["source"])
    console().print(table)
