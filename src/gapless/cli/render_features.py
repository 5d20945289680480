"""What people see of features: the catalogue, definitions, proofs, builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.console import Group as RichGroup
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gapless.cli.render import console

_GRAPH = 40  # nodes of a graph that are printed
_NARROW = 8  # least width of a column of numbers, so that tables below each other stand in line
_NAMES = 6  # features of a set that are named


def catalogue(rows: Sequence[Mapping[str, Any]]) -> None:
    """Features by family: signature and summary, and beside them warm-up, memory, bounds."""
    out = console()
    for group, members in groupby(rows, key=lambda row: row["group"]):
        table = _columns(group, "warm-up", "memory", "bounds")
        for row in members:
            words = Padding(Text(row["summary"].replace("``", ""), "dim"), (0, 0, 0, 2))
            memory = "decaying" if row["memory"] is None else f"{row['memory']:,}"
            cell = RichGroup(Text(row["signature"]), words)
            table.add_row(cell, f"{row['warmup']:,}", memory, _bounds(row["bounds"]))
        out.print(table)
        out.print()
    out.print(
        f"{len(rows)} features; warm-up and memory in bars, with a length of 20 where none is the default. "
        "gapless features explain 'rsi(close, 14)' shows one.",
        style="dim", highlight=False,
    )  # fmt: skip


def _columns(first: str, *numbers: str) -> Table:
    """A table whose first column wraps and whose others do not."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True, min_width=_NARROW)
    return table


def _bounds(value: Mapping[str, float | None]) -> str:
    low, high = value["low"], value["high"]
    if low is None and high is None:
        return "–"
    return f"[{'−∞' if low is None else f'{low:g}'}, {'∞' if high is None else f'{high:g}'}]"


def _memory(content: Mapping[str, Any]) -> str:
    return "decaying: a recursion" if content["memory"] is None else f"{content['memory']:,} bars"


def explain(content: Mapping[str, Any]) -> None:
    """One definition."""
    out = console()
    out.print(content["expression"], style="bold", highlight=False)
    if content["summary"]:
        out.print(f"  {content['summary'].replace('``', '')}", highlight=False)
    facts = {
        "version": content["version"], "inputs": ", ".join(content["inputs"]),
        "warm-up": f"{content['warmup']:,} bars", "memory": _memory(content),
        "bounds": _bounds(content["bounds"]), "graph": _kinds(content),
    }  # fmt: skip
    for name, value in facts.items():
        out.print(f"  {name:<8} {value}", highlight=False)
    for line in content["graph"][:_GRAPH]:
        out.print(f"    {line}", style="dim", highlight=False)
    if len(content["graph"]) > _GRAPH:
        out.print(f"    … {len(content['graph']) - _GRAPH} more; --json has them all", style="dim", highlight=False)
    out.print(f"  result   {content['result']}", highlight=False)


def _kinds(content: Mapping[str, Any]) -> str:
    """How many nodes of which kind."""
    bodies = [line.partition(" = ")[2] for line in content["graph"]]
    counts = Counter("operators" if "(" in b else "columns" if b in content["inputs"] else "numbers" for b in bodies)
    told = (f"{n:,} {kind if n != 1 else kind[:-1]}" for kind, n in counts.most_common())
    return f"{content['nodes']:,} nodes: {', '.join(told)}"


def sharing(content: Mapping[str, Any]) -> None:
    """Several definitions, and what computing them together saves."""
    out = console()
    table = _columns("expression", "nodes", "its own", "warm-up", "memory")
    each = content["expressions"]
    for one in each:
        memory = "decaying" if one["memory"] is None else f"{one['memory']:,}"
        table.add_row(one["expression"], f"{one['nodes']:,}", f"{one['own']:,}", f"{one['warmup']:,}", memory)
    table.add_section()
    table.add_row("each by itself", f"{content['separately']:,}")
    table.add_row("together", f"{content['nodes']:,}", style="bold")
    out.print(table)
    most = max(one["nodes"] for one in each)
    serve = "node serves" if content["shared"] == 1 else "nodes serve"
    out.print(
        f"{content['shared']:,} {serve} more than one, computed once: all {len(each)} together take "
        f"{content['nodes'] / most:.2f} times the nodes of the largest alone, not {content['separately'] / most:.2f}.",
        highlight=False,
    )


def certificates(found: Sequence[Mapping[str, Any]], meanings: Mapping[str, str]) -> None:
    """Proofs: every check with what it says, or with the first difference."""
    out = console()
    for content in found:
        mark, style = ("✓", "bold green") if content["passed"] else ("✗", "bold red")
        out.print(Text.assemble((f"{mark} ", style), (content["expression"], "bold")))
        out.print(f"  version {content['version']}", style="dim", highlight=False)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, result in content["checks"].items():
            good = result == "pass"
            text = Text(meanings[name], "dim") if good else Text(_difference(result["first_difference"]), "red")
            table.add_row(Text("  ✓" if good else "  ✗", "green" if good else "red"), name, text)
        out.print(table)
    passed = sum(content["passed"] for content in found)
    if len(found) > 1:
        out.print(f"{passed} of {len(found)} passed", style="bold", highlight=False)


def _difference(found: Mapping[str, Any]) -> str:
    """Where two ways first differ."""
    told = dict(found)
    if "same_with" in told:
        return f"no value changes with {told['same_with']}"
    row, expected, got = (told.pop(key, None) for key in ("row", "expected", "found"))
    where = f"row {row}" if row is not None else "somewhere"
    what = f": expected {expected}, found {got}" if expected is not None else ""
    return where + what + "".join(f", {key} {value}" for key, value in told.items())


def _names(features: Sequence[str]) -> str:
    """The first features of a set, and how many there are."""
    shown = ", ".join(features[:_NAMES])
    return shown if len(features) <= _NAMES else f"{shown} and {len(features) - _NAMES} more"


def built(content: Mapping[str, Any]) -> None:
    """What a build wrote, what stood, and what is not stored at all."""
    out = console()
    for report in content["sets"]:
        _built_set(out, report)
    for name in content["computed_when_read"]:
        out.print(f"  {name} compares instruments: it is computed when it is read, and never stored", style="dim")
    if any(report["errors"] for report in content["sets"]):
        out.print("✗ incomplete: the series named were left as they were", style="bold red")


def _built_set(out: Console, report: Mapping[str, Any]) -> None:
    kept = sum(s["segments_kept"] for s in report["series"])
    count, stood = f"{len(report['series'])} series", f"{kept:,} segments stand unchanged"
    done = f"{report['rows']:,} rows of {count} written" + (f", {stood}" if kept else "")
    text = done if report["rows"] else f"nothing to do: {stood} in {count}"
    mark = ("✗ ", "red") if report["errors"] else ("✓ ", "green")
    names = f"{report['timeframe']} {_names(report['features'])}"
    out.print(Text.assemble(mark, (names, "bold"), f": {text}, {report['seconds']:.2f} s"))
    for name, clipped in ((n, count) for n, count in report["clipped"].items() if count):
        out.print(f"  {clipped:,} values of {name} were rounding errors beyond a bound, set to it", style="yellow")
    for error in report["errors"]:
        out.print(f"  {error['series']}: {error['error']}", style="red", highlight=False)


def verified(lines: Sequence[Mapping[str, Any]]) -> None:
    """Whether stored features are what their bars give."""
    out = console()
    if not lines:
        out.print("nothing is built here; gapless features build stores features", style="yellow", highlight=False)
        return
    table, notes = _columns("features", "tf", "series", "values", "differing"), list[Text]()
    for _, group in groupby(lines, key=lambda line: (line["set"], line["timeframe"], line["live"])):
        several = list(group)
        first = several[0]
        names, timeframe = ("live: " if first["live"] else "") + _names(first["features"]), first["timeframe"]
        values, wrong = (sum(line[key] for line in several) for key in ("values", "differing"))
        table.add_row(names, timeframe, f"{len(several)}", f"{values:,}", Text(f"{wrong:,}", "red" if wrong else ""))
        if not values:
            text = f"{names} {timeframe}: nothing stands, its bars or kernels changed since; features build renews it"
            notes.append(Text(text, "yellow"))
    for line in lines:
        if line["differing"]:
            text = f"✗ {line['instrument']} {line['timeframe']}: {line['differing']:,} values differ"
            notes.append(Text(text, "red"))
    out.print(table, *notes, sep="\n")
    values, wrong = (sum(line[key] for line in lines) for key in ("values", "differing"))
    mark, style = ("✗", "bold red") if wrong else ("✓", "bold green")
    out.print(f"{mark} {values:,} values of {len(lines)} series computed again, {wrong:,} differ", style=style)
