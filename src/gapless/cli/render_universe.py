"""What people see of instruments, universes and corporate actions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from rich.text import Text

from gapless.cli.render import console, titled


def imported(counts: Mapping[str, Any]) -> None:
    """How an import of corporate actions or names went."""
    out = console()
    shown = ("read", "written", "instruments", "versions")
    words = [f"{n:,} {name}" for name, n in counts.items() if name != "notes" and (n or name in shown)]
    out.print(" · ".join(words), highlight=False)
    _notes(counts)


def _notes(document: Mapping[str, Any]) -> None:
    for note in document.get("notes", ()):
        console().print(f"! {note}", style="yellow", highlight=False)


def actions(lines: Sequence[Mapping[str, Any]]) -> None:
    """Splits and dividends."""
    if not lines:
        console().print("no corporate actions; gapless actions sync, or import FILE…", style="dim")
        return
    table = titled("corporate actions", ["instrument", "ex", "kind", "value", "factor", "source"], ["value", "factor"])
    for line in lines:
        value = _shares(line["value"]) if line["kind"] == "split" else f"{line['value']:.6g}"
        table.add_row(line["instrument"], line["ex"], line["kind"], value, f"{line['factor']:.8f}", line["source"])
    console().print(table)


def _shares(ratio: float) -> str:
    """New shares for old ones; a ratio that was rounded is shown as it was told.

    >>> _shares(1.5), _shares(0.1), _shares(2.00001), _shares(1 / 59.58351)
    ('3 for 2', '1 for 10', '2.00001 for 1', '1 for 59.5835')
    """
    whole = Fraction(ratio).limit_denominator(1000)
    if abs(float(whole) / ratio - 1) < 1e-9:
        return f"{whole.numerator} for {whole.denominator}"
    return f"{ratio:.6g} for 1" if ratio > 1 else f"1 for {1 / ratio:.6g}"


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


_WORDS = ("alive", "exclude", "quote", "base", "type", "status")


def selection(document: Mapping[str, Any], every: bool) -> None:
    """One selection: members first, then those who failed, each with its tests."""
    rows = document["candidates"]
    shown = [r for r in rows if every or not _misses_words(r)]
    names = list(dict.fromkeys(n for r in shown for n in r["tests"] if every or n not in _WORDS))
    table = titled(f"{document['universe']} as of {document['at']}", ["", "instrument", *names], names)
    for row in shown:
        mark = f"{row['place']}" if row["member"] else "✗"
        cells = [_outcome(row["tests"].get(n)) for n in names]
        table.add_row(mark, row["instrument"], *cells, style="" if row["member"] else "dim")
    out = console()
    out.print(table)
    hidden = f"; {len(rows) - len(shown)} of other kinds are not shown (--every)" if len(shown) < len(rows) else ""
    out.print(f"{len(document['members'])} members of {len(rows)} candidates{hidden}", highlight=False)
    failed = Counter(_first_failed(r["tests"]) for r in rows if not r["member"])
    if failed:
        words = ", ".join(f"{name} {count}" for name, count in failed.most_common())
        out.print(f"not chosen, by the first test that failed: {words}", highlight=False)
    _notes(document)


def _first_failed(tests: Mapping[str, Mapping[str, Any]]) -> str:
    return next((name for name, test in tests.items() if not test["passed"]), "rank")


def _misses_words(row: Mapping[str, Any]) -> bool:
    return not row["member"] and any(not row["tests"].get(n, {"passed": True})["passed"] for n in _WORDS)


def _outcome(test: Mapping[str, Any] | None) -> Text:
    """A value, red where it failed; what a test did not reach is blank."""
    if test is None:
        return Text("")
    value = test["value"]
    text = f"{value:,.6g}" if isinstance(value, float) else "–" if value is None else str(value)
    if value is None and test["passed"]:
        text = "✓"
    return Text(text if test["passed"] else f"{text} ✗", style="" if test["passed"] else "red")


def _short(time: str | None) -> str:
    """A time without what is zero, in whole seconds."""
    return "" if time is None else re.sub(r"\.\d+Z$", "Z", time).removesuffix("T00:00:00Z")
