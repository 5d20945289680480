"""What people see: tables and short sentences, with rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gapless.folds import DERIVED
from gapless.spans import Span, Timeframe, iso

_CLASS_STYLE = {
    "never_asked": "red", "failed": "red", "vendor_hole": "red", "calendar_conflict": "magenta", "halt": "yellow",
    "venue_outage": "yellow", "no_trade": "dim", "pending": "cyan", "before_listing": "dim", "after_delisting": "dim",
}  # fmt: skip
_REPAIRABLE = ("never_asked", "failed", "vendor_hole")
_DAY = {
    "complete": ("█", "green"),
    "partial": ("▓", "yellow"),
    "gap": ("░", "red"),
    "closed": ("·", "dim"),
    "empty": (" ", ""),
}
_ROWS = 30
_GAPS = 100
_UNENDED = {
    "running": "",
    "killed": ": its process is gone and did not say how it ended; what it stored is kept; run it again to go on",
}
_OUTCOME = 60  # characters of a failed run's reason in the list of runs


def console(*, stderr: bool = False, markup: bool = False) -> Console:
    """Stdout (or stderr); wide enough to lose nothing when it is not a terminal.

    Without ``markup`` text is shown as it is: ``[sources.binance]`` is no style.
    """
    out = Console(stderr=stderr, markup=markup)
    return out if out.is_terminal else Console(stderr=stderr, width=200, markup=markup)


def titled(title: str, columns: Iterable[str], right: Iterable[str] = ()) -> Table:
    """An empty table below its title; the columns in ``right`` hold numbers."""
    numbers = set(right)
    console().print(title, style="bold", highlight=False)
    table = Table(box=None, header_style="bold dim", pad_edge=False)
    for name in columns:
        table.add_column(
            name, justify="right" if name in numbers else "left", overflow="fold", no_wrap=name != "evidence"
        )
    return table


def run(document: Mapping[str, Any], notes: Sequence[str]) -> None:
    """The end of an import, a backfill or a repair."""
    out = console()
    total = document["totals"]
    names = ["read", "written", *(n for n in ("unchanged", "corrected", "duplicate", "quarantined") if total[n])]
    table = titled(f"{document['verb']} {document['run']}", ["series", *names], names)
    for row in document["series"][:_ROWS]:
        table.add_row(f"{row['instrument']} {row['timeframe']}", *(_count(row[n]) for n in names))
    if len(document["series"]) > _ROWS:
        table.add_row(f"… and {len(document['series']) - _ROWS} more", *[""] * len(names), style="dim")
    table.add_section()
    table.add_row("total", *(_count(total[n]) for n in names), style="bold")
    out.print(table)
    rate = total["read"] / document["seconds"] if document["seconds"] else 0
    cost = f", {total['requests']:,} requests, {total['retries']:,} retries" if total["requests"] else ""
    out.print(f"{document['seconds']:.2f} s, {rate:,.0f} bars/s{cost}", style="dim", highlight=False)
    if total["unchanged"] and not total["written"] + total["corrected"]:
        out.print(f"nothing written: all {total['unchanged']:,} bars were there already", highlight=False)
    for note in notes[:_ROWS]:
        out.print(f"note: {note}", style="dim", highlight=False)
    for reason, count in document["quarantined_by_reason"].items():
        out.print(f"{count:,} rows refused: {reason} (gapless quarantine lists them)", style="yellow", highlight=False)
    for line, mended in [*_failures(document["errors"])][:_ROWS]:
        out.print(line, style="yellow" if mended else "red", highlight=False)
    for line in (*_handovers(document.get("handovers", ())), *_derived(document.get("derived", ()))):
        out.print(line, highlight=False)
    _verdict(out, document)


def _failures(errors: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, bool]]:
    """A line for each error, with all who met it, and whether another source made it good."""
    met: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        met.setdefault((error["error"], error.get("made_good_by", "")), []).append(error["series"])
    for (text, by), series in met.items():
        names = [*dict.fromkeys(name for name in series if name)]
        whose = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        mended = f" (made good by {by})" if by else ""
        yield f"failed: {whose}{': ' if whose else ''}{text}{mended}", bool(by)


def _handovers(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """One line for each pair of sources: what the first left open, and what the second had of it."""
    total: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        asked, filled, series = total.get((row["from"], row["to"]), [0, 0, 0])
        total[row["from"], row["to"]] = [asked + row["asked"], filled + row["filled"], series + 1]
    for (before, to), (asked, filled, series) in total.items():
        yield f"{to} was asked for {asked:,} bars of {series:,} series that {before} left open, and had {filled:,}"


def _derived(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """One line for each pair of timeframes: what was folded."""
    bars: Counter[tuple[str, str]] = Counter()
    series: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        bars[row["from"], row["timeframe"]] += row["bars"]
        series.setdefault((row["from"], row["timeframe"]), set()).add(row["instrument"])
    for (base, to), count in bars.items():
        yield f"{count:,} bars {to} of {len(series[base, to]):,} series were folded from stored {base} bars"


def _verdict(out: Console, document: Mapping[str, Any]) -> None:
    gaps = document["gaps"]
    bars = sum(g["bars"] for g in gaps)
    if document["outcome"] == "complete":
        out.print("✓ complete: every expected bar is there, or its absence is explained", style="bold green")
    elif document["outcome"] == "interrupted":
        out.print("interrupted: what was fetched is kept; run it again to go on", style="bold yellow")
    elif document["outcome"] in _UNENDED:
        out.print(_outcome(document), style="bold yellow", highlight=False)
    else:
        failed = f"{len(document['errors']):,} failed, " if document["errors"] else ""
        out.print(f"✗ incomplete: {failed}{bars:,} bars in {len(gaps):,} repairable gaps remain", style="bold red")
        for gap in gaps[:5]:
            out.print(
                f"  {gap['instrument']} {gap['timeframe']} {gap['start']} → {gap['end']} {gap['class']}",
                style="red",
                highlight=False,
            )


def _count(value: int) -> str:
    return f"{value:,}" if value else "·"


def plan(document: Mapping[str, Any]) -> None:
    """What would be asked, and what it costs."""
    out = console()
    names = ("source", "instrument", "timeframe", "start", "end")
    table = titled("plan", ["source", "instrument", "tf", "start", "end", "requests"], ["requests"])
    for task in document["tasks"][:_ROWS]:
        free = not task["requests"]  # folded from stored bars
        table.add_row(*(str(task[k]) for k in names), _count(task["requests"]), style="dim" if free else "")
    out.print(table)
    if len(document["tasks"]) > _ROWS:
        out.print(f"… and {len(document['tasks']) - _ROWS} more", style="dim")
    who = ", ".join(f"{name} {count:,}" for name, count in document["sources"].items() if count)
    out.print(
        f"{len(document['tasks']):,} tasks, {document['requests']:,} requests ({who or 'none'}), "
        f"weight {document['weight']:,}, about {document['seconds']:.0f} s "
        f"and {document['bytes'] / 1e6:.1f} MB",
        highlight=False,
    )
    if document["requests"]:
        out.print("a hole that turns up costs a request or two more: it is asked for twice", style="dim")
    if document["unlisted"]:
        who = ", ".join(document["unlisted"][:3]) + (", …" if len(document["unlisted"]) > 3 else "")
        out.print(
            f"when {len(document['unlisted']):,} instruments were listed is not known yet ({who}): bars that they "
            "cannot have are counted here, and cost far less",
            highlight=False,
        )
    classes = Counter(gap["class"] for gap in document["residual"])
    waiting = classes.pop("pending", 0)
    if waiting:
        out.print(f"{waiting:,} series end in bars that are not final yet", highlight=False)
    if classes:
        why = ", ".join(f"{name} {count:,}" for name, count in classes.most_common())
        out.print(f"{classes.total():,} gaps nothing can fill: {why}", highlight=False)
    if document["derived"]:
        out.print(f"{document['derived']:,} bars are folded from shorter ones, and asked of nobody", highlight=False)
    for name, quota in document["quota"].items():
        out.print(_quota(name, quota), style="dim", highlight=False)


def _quota(name: str, quota: Mapping[str, Any]) -> str:
    """One line: what a source allows, and what is left of it."""
    window = "a minute" if quota["seconds"] == 60 else f"in {quota['seconds']:g} s"
    wait = f"; it asked to wait {quota['paused']:.0f} s" if quota["paused"] else ""
    return (
        f"quota of {name}: weight {quota['weight']:,} {window}, {quota['used']:,} used, {quota['left']:,} left, "
        f"{quota['planned']:,} planned{wait}"
    )


def gaps(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every gap, the repairable first; one that many instruments share stands once."""
    out = console()
    if not rows:
        out.print("✓ no gaps", style="bold green")
        return
    shared: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for gap in rows:
        shared.setdefault(tuple(gap[k] for k in ("timeframe", "class", "start", "end")), []).append(gap)
    ordered = sorted(
        shared.values(), key=lambda g: (g[0]["class"] not in _REPAIRABLE, g[0]["start"], g[0]["instrument"])
    )
    table = titled("gaps", ["instrument", "tf", "start", "end", "bars", "class", "severity", "evidence"], ["bars"])
    for group in ordered[:_GAPS]:
        gap, bars = group[0], sum(g["bars"] for g in group)
        who = gap["instrument"] if len(group) == 1 else f"{len(group)} instruments"
        table.add_row(
            who, gap["timeframe"], gap["start"], gap["end"], f"{bars:,}",
            Text(gap["class"], style=_CLASS_STYLE[gap["class"]]), gap["severity"],
            gap["evidence"][0] if gap["evidence"] else "",
        )  # fmt: skip
    out.print(table)
    if len(ordered) > _GAPS:
        out.print(f"… and {len(ordered) - _GAPS:,} more (--json has them all)", style="dim")
    counts = Counter(g["class"] for g in rows)
    bars = {c: sum(g["bars"] for g in rows if g["class"] == c) for c in counts}
    out.print("   ".join(f"{c}: {n:,} gaps, {bars[c]:,} bars" for c, n in counts.most_common()), highlight=False)


def why(answer: Mapping[str, Any]) -> None:
    """The story of one bar."""
    out = console()
    style = _CLASS_STYLE.get(answer["class"], "green")
    out.print(
        Text.assemble(
            (f"{answer['instrument']} {answer['timeframe']} {answer['ts']}  ", "bold"),
            (answer["class"], f"bold {style}"),
        )
    )
    for sentence in answer["evidence"]:
        out.print(f"  {sentence}", highlight=False)
    if answer.get("bar"):
        out.print("  " + "  ".join(f"{k} {v}" for k, v in answer["bar"].items()), highlight=False)
    for old in answer.get("revisions", []):
        out.print("  before: " + "  ".join(f"{k} {v}" for k, v in old.items()), style="dim", highlight=False)
    for line in answer["history"]:
        verb = "folded" if line["source"].startswith(DERIVED) else "asked"
        said = f"{line['status']}, {line['rows']} rows {line['error'] or ''}"
        out.print(
            f"  {line['known_at']}  {line['source']}  {verb} {line['asked_start']} → {line['asked_end']}: "
            f"{line['error'] if line['status'] == 'withdrawn' else said}",
            style="dim", highlight=False,
        )  # fmt: skip


def status(document: Mapping[str, Any]) -> None:
    """The completeness matrix: one strip of days a series."""
    out = console()
    table = titled(
        "completeness",
        ["series", "first", "last", "expected", "present", "coverage", "fresh", "days"],
        ["expected", "present", "coverage"],
    )
    for row in document["series"]:
        strip = Text()
        for day in list(row["days"].values())[-60:]:
            strip.append(*_DAY[day])
        share = row["coverage"]
        table.add_row(
            f"{row['instrument']} {row['timeframe']}", (row["first"] or "")[:16], (row["last"] or "")[:16],
            f"{row['expected']:,}", f"{row['present']:,}",
            Text(f"{100 * share:.3f} %" if share is not None else "–", style="green" if share == 1 else "yellow"),
            row["fresh"], strip,
        )  # fmt: skip
    out.print(table)
    out.print(Text.assemble(*((f"{mark} {name}  ", style) for name, (mark, style) in _DAY.items() if mark != " ")))
    last = document["last_run"]
    if last:
        style = "yellow" if last["outcome"] == "killed" else "dim"
        out.print(f"last run: {last['verb']} {last['started']} {_outcome(last)}", style=style, highlight=False)


def _outcome(row: Mapping[str, Any]) -> str:
    """How a run ended; of one that has not, whose it is."""
    process = row.get("process") or {}
    whose = f" (process {process['pid']} on {process['host']})" if process else ""
    return f"{row['outcome']}{whose}{_UNENDED.get(row['outcome'], '')}"


def stored(spans: Mapping[Timeframe, Span]) -> None:
    """What there is where nothing was found; to stderr, beside whatever is printed."""
    there = [f"{timeframe} from {iso(span.start)} to {iso(span.end)}" for timeframe, span in spans.items()]
    console(stderr=True).print(f"no such bars; stored: {', '.join(there) or 'none'}", style="yellow", highlight=False)


def frame(rows: pl.DataFrame, title: str) -> None:
    """The first and last rows of a table."""
    out = console()
    shown = rows if rows.height <= 20 else pl.concat([rows.head(10), rows.tail(10)])
    table = titled(
        f"{title}: {rows.height:,} rows", rows.columns, [n for n, k in rows.schema.items() if k.is_numeric()]
    )
    for row in shown.iter_rows(named=True):
        table.add_row(*(_cell(v) for v in row.values()))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e15 and value != round(value, 8) else str(value)


def quarantine(rows: pl.DataFrame) -> None:
    """Refused rows and why."""
    from gapless.bars import REASONS

    out = console()
    if not rows.height:
        out.print("✓ nothing was ever refused", style="bold green")
        return
    table = titled(
        f"quarantine: {rows.height:,} rows", ["source", "row", "instrument", "time", "reason", "values"], ["row"]
    )
    for row in rows.head(100).iter_rows(named=True):
        values = row["raw"] or " ".join(
            f"{k}={row[k]}" for k in ("open", "high", "low", "close", "volume") if row[k] is not None
        )
        table.add_row(
            row["source"],
            _cell(row["row"]),
            row["instrument"] or "",
            _cell(row["ts"]),
            REASONS.get(row["reason"], row["reason"]),
            values,
        )
    out.print(table)
    out.print("export, mend and import again: gapless quarantine -o refused.csv", style="dim")


def audit(runs: Sequence[Mapping[str, Any]]) -> None:
    """Every run, newest first."""
    out = console()
    numbers = ["read", "written", "corrected", "failed", "retries", "seconds", "MB"]
    table = titled("runs", ["run", "started", "outcome", *numbers], numbers)
    for row in runs:
        total = row.get("totals", {})
        table.add_row(
            row["run"], row["started"][:19], (_outcome(row) if "process" in row else row["outcome"])[:_OUTCOME],
            *(_count(total.get(n, 0)) for n in ("read", "written", "corrected", "failed", "retries")),
            f"{row.get('seconds') or 0:.1f}", f"{(row.get('bytes') or 0) / 1e6:.1f}",
        )  # fmt: skip
    out.print(table)


def pairs(title: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """A list of findings: (mark, name, text)."""
    out = console()
    out.print(title, style="bold")
    for mark, name, text in rows:
        style = {"✓": "green", "✗": "red", "!": "yellow"}.get(mark, "")
        out.print(Text.assemble((f"{mark} ", style), (f"{name:<22}", "bold"), text))


def document(content: Mapping[str, Any]) -> None:
    """One run's whole account."""
    run(content, [])
    out = console()
    ended = f"ended {content['ended']}" if content["ended"] else f"last heard of {content['heard_of']}"
    out.print(f"started {content['started']}, {ended}, {content['bytes'] / 1e6:.1f} MB", style="dim")
    for reason, count in content["retries_by_reason"].items():
        out.print(f"{count:,} retries: {reason}", style="dim", highlight=False)
