"""What people see of reconciliation and quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gapless.cli.render import console, titled

_ROWS = 30


def reconciled(document: Mapping[str, Any]) -> None:
    """Who agrees with whom, and the largest disagreements."""
    out = console()
    columns = ["series", "compared", "equal", "differing", "%", "prices", "worst", "at", "overridden"]
    table = titled(f"reconcile {document['run']}", columns, set(columns) - {"series", "at"})
    for row in document["series"]:
        table.add_row(
            f"{row['instrument']} {row['timeframe']}", *(f"{row[n]:,}" for n in ("compared", "equal", "differing")),
            f"{100 * row['share']:.3f}", f"{row['prices']:,}", _size(row["worst"]), row["worst_at"] or "",
            f"{row['overridden']:,}",
        )  # fmt: skip
    share = document["differing"] / document["compared"] if document["compared"] else 0.0
    table.add_section()
    table.add_row(
        "total", f"{document['compared']:,}", "", f"{document['differing']:,}", f"{100 * share:.3f}", "", "", "",
        f"{document['overridden']:,}", style="bold",
    )  # fmt: skip
    out.print(table)
    alone = Counter[str]()
    for row in document["series"]:
        alone.update(row["only"])
    if alone.total():
        words = ", ".join(f"{name} {count:,}" for name, count in alone.items() if count)
        out.print(f"bars that one witness alone has: {words}", highlight=False)
    if document["disagreements"]:
        _disagreements(document["disagreements"], sum(sum(row["fields"].values()) for row in document["series"]))
    for error in document["errors"]:
        out.print(f"{error['series']}: {error['error']}", style="red", markup=False)


def _disagreements(rows: list[Mapping[str, Any]], of: int) -> None:
    first = ("timeframe", "instrument", "ts", "field")
    sizes = ("absolute", "relative", "ticks", "outlier")
    witnesses = list(dict.fromkeys(k for row in rows for k in row if k not in (*first, *sizes)))
    table = titled("largest disagreements", [*first, *witnesses, *sizes], {*witnesses, *sizes} - {"outlier"})
    for row in rows:
        table.add_row(
            *(str(row.get(n, "")) for n in first), *(_number(row.get(n)) for n in (*witnesses, "absolute")),
            _size(row["relative"]), _number(row.get("ticks")), str(row.get("outlier", "")),
        )  # fmt: skip
    console().print(table)
    if len(rows) < of:
        console().print(f"… and {of - len(rows):,} more: --limit N, or -o FILE", style="dim", highlight=False)


def scored(document: Mapping[str, Any]) -> None:
    """Scores, the worst first, and flags, the surest first."""
    out = console()
    table = titled("quality", ["series", "bars", "score", "validated %", "flags"], {"bars", "score", "validated %"})
    for row in document["series"][:_ROWS]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in row["flags"].items())
        share = f"{100 * row['validated']:.4f}"
        table.add_row(
            f"{row['instrument']} {row['timeframe']}", f"{row['bars']:,}", f"{row['score']:.6f}", share, kinds
        )
    out.print(table)
    if len(document["series"]) > _ROWS:
        out.print(f"… and {len(document['series']) - _ROWS} more, no worse", style="dim")
    if document["flags"]:
        _flags(sorted(document["flags"], key=lambda f: -f["confidence"]))


def _flags(rows: list[Mapping[str, Any]]) -> None:
    table = titled("flags", ["series", "start", "kind", "size", "confidence", "evidence"], {"size", "confidence"})
    for row in rows[:_ROWS]:
        table.add_row(
            f"{row['instrument']} {row['timeframe']}", row["start"], row["kind"], f"{row['size']:.4g}",
            f"{row['confidence']:.2f}", "; ".join(row["evidence"]),
        )  # fmt: skip
    if len(rows) > _ROWS:
        table.add_row(f"… and {len(rows) - _ROWS} more: --json, or -o FILE", *[""] * 5, style="dim")
    console().print(table)


def undone(document: Mapping[str, Any]) -> None:
    """What an undo put back."""
    words = [f"{document['restored']:,} bars put back as they were before {document['of']}"]
    if document["standing"]:
        words.append(f"{document['standing']:,} stood so already")
    if document["changed_since"]:
        words.append(f"{document['changed_since']:,} were changed since, and are left alone")
    console().print("; ".join(words), highlight=False)


def _size(share: float) -> str:
    return f"{100 * share:.4g} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
