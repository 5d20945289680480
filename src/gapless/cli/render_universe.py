"""What people see of instruments, universes and corporate actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapless.cli.render import console, titled


def imported(counts: Mapping[str, Any]) -> None:
    """How an import of corporate actions or names went."""
    out = console()
    shown = ("read", "written", "instruments", "versions")
    words = [f"{n:,} {name}" for name, n in counts.items() if name != "notes" and (n or name in shown)]
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


def instruments(rows: Sequence[Mapping[str, Any]]) -> None:
    """What is known of instruments."""
    names = ["instrument", "status", "listed", "delisted", "valid from", "valid to", "how we know", "what"]
    table = titled("instruments", names)
    for row in rows:
        what = " ".join(f"{k}={v}" for k, v in row["metadata"].items())
        times = (_short(row[k]) for k in ("listed_at", "delisted_at", "valid_from", "valid_to"))
        table.add_row(row["instrument"], row["status"], *times, row["how"], what)
    console().print(table)
    for name in rows[0].get("names", ()) if rows else ():
        console().print(f"{name['ticker']} from {name['start']} to {name['end'] or 'now'}", highlight=False)


def _short(time: str | None) -> str:
    """A time without what is zero."""
    return "" if time is None else time.removesuffix("T00:00:00Z")
