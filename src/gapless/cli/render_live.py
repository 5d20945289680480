"""What people see of the live desk: alerts, positions, replays and the report, with rich."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from gapless.cli.render import console, titled

_SIGN = {"up": "▲", "down": "▼", "": "•"}
_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_SHOWN = 40


def lived(state: Mapping[str, Any]) -> None:
    """The end of a live run."""
    out, counts = console(), state["counts"]
    heads = ", ".join(f"{name} up to {ts}" for name, ts in state["heads"].items()) or "nothing"
    out.print(f"decided: {heads}; {counts.get('bars', 0):,} bars", highlight=False)
    told = ("alerts added", "alerts withdrawn", "positions added", "late", "healed", "missing")
    line = ", ".join(f"{counts[name]:,} {name}" for name in told if counts.get(name))
    if line:
        out.print(line, highlight=False)
    took = state["latency_ms"]
    if took:
        out.print(
            f"decided and durable {took['p50']:.1f} ms after the last bar of a bar time was received (99 %: "
            f"{took['p99']:.1f} ms)", style="dim", highlight=False,
        )  # fmt: skip
    asking = sum(feed["asking"] for feed in state["feeds"])
    if asking:
        out.print(f"{asking:,} series have bars that were still to be asked for: the next run does", style="dim")
    for lack in state["never_passing"]:
        out.print(lack, style="yellow", highlight=False)
    for trouble in state["degraded"]:
        out.print(f"✗ {trouble['part']} since {trouble['since']}: {trouble['reason']}", style="bold red")
    if not state["degraded"]:
        out.print("✓ all parts well", style="bold green")


def alerts(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line an alert, with its evidence."""
    out = console()
    if not rows:
        out.print("no alerts", style="dim")
        return
    table = titled("alerts", ["bar", "rule", "instrument", "level", "evidence", "id"])
    for row in rows:
        gone = row.get("withdrawn_at")
        name = f"{_SIGN[row['direction']]} {row['rule']}" + (" (spread)" if row["kind"] == "spread" else "")
        notes = [row["level"], row["muted"], "withdrawn" if gone else ""]
        table.add_row(
            row["ts"], Text(name, style=_STYLE[row["severity"]]), row["instrument"],
            ", ".join(note for note in notes if note), _evidence(row), row["id"][:8],
            style="dim strike" if gone else "",
        )  # fmt: skip
    out.print(table)


_STATES = {"sent": "green", "failed": "red", "suppressed": "dim"}


def sent(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a message and channel."""
    out = console()
    if not rows:
        out.print("nothing was to be sent", style="dim")
        return
    table = titled("messages", ["made", "channel", "subject", "state", "tries", "error"], ["tries"])
    for row in rows:
        state = Text(row["state"], style=_STATES.get(row["state"], "yellow"))
        table.add_row(row["made_at"], row["channel"], row["subject"], state, str(row["attempts"]), row["error"])
    out.print(table)


def _evidence(row: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} {value:.4g}" for name, value in row["evidence"].items() if value is not None)
    return values + (f"; followed by {', '.join(row['members'])}" if row["members"] else "")


def replayed(found: Mapping[str, Any]) -> None:
    """What would have fired, and which parts of the rules ever passed."""
    out = console()
    alerts(found["alerts"][-_SHOWN:])
    if len(found["alerts"]) > _SHOWN:
        out.print(f"the newest {_SHOWN} of {len(found['alerts']):,}; --json has them all", style="dim")
    table = titled("rules", ["rule", "part", "known", "passed", "share"], ["known", "passed", "share"])
    for name, rule in found["rules"].items():
        table.add_row(name, f"fired {rule['fired']:,}", f"{rule['looked']:,}", f"{rule['passed']:,}", "", style="bold")
        for part in rule["parts"]:
            share = part["passed"] / part["known"] if part["known"] else 0.0
            style = "red" if not part["passed"] else ""
            where = "" if part["place"] == "when" else f"{part['place']}: "
            table.add_row(
                "", where + part["text"], f"{part['known']:,}", f"{part['passed']:,}", f"{share:.2%}", style=style
            )
    out.print(table)
    for lack in found["never_passing"]:
        out.print(lack, style="yellow", highlight=False)
    for name, strangers in found["unwatched"].items():
        text = f"rule '{name}' also names {', '.join(strangers)}: not stored, or not asked for"
        out.print(text, style="yellow", highlight=False)
    if found["positions"]:
        positions(found["positions"])
    out.print(
        f"{found['bars']:,} bars of {found['instruments']} instruments, {found['start']} → {found['end']}",
        style="dim", highlight=False,
    )  # fmt: skip


def positions(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a position."""
    out = console()
    if not rows:
        out.print("no positions", style="dim")
        return
    right = ["entry", "exit", "MFE %", "MAE %", "net %", "R", "bars"]
    table = titled("paper positions", ["signal", "instrument", "side", "state", *right, "reason"], right)
    for row in rows[-_SHOWN:]:
        net = row["pnl_net"]
        style = "" if net is None else "green" if net > 0 else "red" if net < 0 else ""
        table.add_row(
            row["signalled_at"], row["instrument"], row["direction"], row["state"], _price(row["entry"]),
            _price(row["exit"]), _figure(row["mfe"]), _figure(row["mae"]), Text(_figure(net), style=style),
            _figure(row["r"]), str(row["bars"]), row["reason"] or row["blocked"],
        )  # fmt: skip
    out.print(table)
    if len(rows) > _SHOWN:
        out.print(f"the newest {_SHOWN} of {len(rows):,}; --json has them all", style="dim")


def _price(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def report(found: Mapping[str, Any]) -> None:
    """The report in short."""
    out = console()
    live = found["live"]
    if live is None:
        out.print("this lake was never looked after live", style="dim")
    else:
        lived(live)
    told = found["alerts"]
    out.print(f"{told['total']:,} alerts stand, {told['withdrawn']:,} were withdrawn", highlight=False)
    for title in ("by_rule", "by_instrument"):
        if told[title]:
            out.print("  " + ", ".join(f"{name} {count:,}" for name, count in told[title].items()), highlight=False)
    _results(found["positions"])
    if found["sent"]:
        out.print("messages: " + ", ".join(f"{n:,} {state}" for state, n in found["sent"].items()), highlight=False)


def _results(found: Mapping[str, Any]) -> None:
    out = console()
    names = [
        "positions",
        "won",
        "win_rate",
        "total",
        "expectancy",
        "expectancy_r",
        "profit_factor",
        "mfe",
        "mae",
        "bars",
    ]
    groups = [("all", found["all"]), *found["by_rule"].items(), *found["by_reason"].items()]
    if not found["all"]["positions"]:
        out.print("no closed positions", style="dim")
    else:
        table = titled("paper positions after costs, %", ["", *names], names)
        for title, row in groups:
            table.add_row(title, *(_cell(name, row[name]) for name in names), style="bold" if title == "all" else "")
        out.print(table)
    for kind in ("refused", "blocked"):
        if found[kind]:
            text = ", ".join(f"{name} {n:,}" for name, n in found[kind].items())
            out.print(f"signals {kind}: {text}", style="dim", highlight=False)
    if found["never_opened"]:
        out.print(f"never opened anything: {', '.join(found['never_opened'])}", style="red")


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name == "win_rate":
        return f"{value:.0%}"
    return f"{value:,}" if name in ("positions", "won") else f"{value:.2f}"
