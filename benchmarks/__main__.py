"""``python -m benchmarks [NAME…]``: run the comparisons and print one table."""

from __future__ import annotations

import sys
import time
from importlib import import_module

from rich.console import Console
from rich.table import Table

NAMES = (
    "startup",
    "importing",
    "archive",
    "sources",
    "backfill",
    "lake",
    "features",
    "ratings",
    "building",
    "feed",
    "live",
)


def main(chosen: list[str]) -> None:
    """All of them, or those named."""
    console = Console(width=150 if not sys.stdout.isatty() else None)
    table = Table(box=None, header_style="bold dim", pad_edge=False)
    for title in ("what", "figure", "against", "ratio", "goal", ""):
        table.add_column(title)
    for name in chosen or NAMES:
        begin = time.perf_counter()
        for row in import_module(f"benchmarks.{name}").run():
            mark = {True: "[green]✓", False: "[red]✗", None: ""}[row.met]
            table.add_row(row.name, row.figure, row.peer, row.ratio, row.goal, mark)
        print(f"{name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
