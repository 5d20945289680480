"""The live run as people see it: a screen on a terminal, a line for each thing that matters elsewhere. To stderr."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from gapless.events import (
    AlertFired,
    BoundBroken,
    Connected,
    Degraded,
    Disconnected,
    Event,
    MomentDecided,
    PositionMoved,
    Recovered,
    Retried,
    Revised,
)
from gapless.spans import iso

_EVERY = 10.0  # seconds between plain lines that say all is well
_SHOWN = 8  # alerts and position events on the screen
_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_SIGN = {"up": "▲", "down": "▼", "": "•"}

State = Callable[[], Mapping[str, Any]]


class Lines:
    """A line for each alert, position, revision and trouble; now and then one that says how far everything is."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self._said = time.monotonic()
        self._moments = self._bars = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def follow(self, state: State) -> None:
        """Lines need no state beyond the events."""

    def observe(self, event: Event) -> None:
        """Listen to one event."""
        if isinstance(event, MomentDecided):
            self._moments += 1
            self._bars += event.bars
            if time.monotonic() - self._said >= _EVERY:
                self._say(f"{event.timeframe} {iso(event.ts)}: {self._moments} bar times, {self._bars:,} bars")
            return
        text = sentence(event)
        if text:
            self._say(text)

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        print(text, file=self.out, flush=True)


def sentence(event: Event) -> str:
    """One line for an event that matters; empty for one that does not."""
    match event:
        case AlertFired():
            return f"{'withdrawn: ' if event.withdrawn else ''}{_alert(event.alert)}"
        case PositionMoved() if event.event["kind"] not in ("marked", "moved"):
            return f"{'withdrawn: ' if event.withdrawn else ''}{_position(event.event)}"
        case Connected():
            return f"{event.source}: {len(event.series)} series connected"
        case Disconnected():
            return f"{event.source}: {len(event.series)} series lost since {iso(event.since)}: {event.reason}"
        case Retried():
            return f"{event.source}: {event.reason}; again in {event.delay:.1f} s"
        case Revised():
            return f"{event.timeframe}: {event.bars} late or corrected bars, decided again from {iso(event.since)}"
        case Degraded():
            return f"degraded: {event.part}: {event.reason}"
        case Recovered():
            return f"recovered: {event.part}, degraded since {iso(event.since)}"
        case BoundBroken():
            return f"{event.series}: {event.feature} of {iso(event.ts)} lies outside its bounds and is not kept"
        case _:
            return ""


def _alert(alert: Mapping[str, Any]) -> str:
    evidence = ", ".join(f"{k} {v:.4g}" for k, v in alert["evidence"].items() if v is not None)
    level = f" {alert['level']}" if alert["level"] else ""
    muted = f" ({alert['muted']})" if alert["muted"] else ""
    return (
        f"{_SIGN[alert['direction']]} {alert['severity']} {alert['rule']} {alert['instrument']} {alert['ts']}"
        f"{level}{muted}: {evidence}"
    )


def _position(event: Mapping[str, Any]) -> str:
    price = f" at {event['price']:.6g}" if event["price"] == event["price"] else ""
    return f"position {event['kind']}: {event['instrument']}{price} {event['ts']} {event['reason']}".rstrip()


class Screen:
    """Feeds, lag, last bars, alerts and positions, drawn anew twice a second."""

    def __init__(self) -> None:
        from rich.live import Live

        self._news: deque[tuple[str, str]] = deque(maxlen=_SHOWN)
        self._alerts: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN)
        self._state: State = dict
        self._decided: dict[str, MomentDecided] = {}
        self._started = time.monotonic()
        self._live = Live(get_renderable=self._draw, refresh_per_second=2, transient=False, console=_stderr())

    def __enter__(self) -> Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def follow(self, state: State) -> None:
        """Where to look for how the run is doing."""
        self._state = state

    def observe(self, event: Event) -> None:
        """Listen to one event."""
        if isinstance(event, MomentDecided):
            self._decided[event.timeframe] = event
        elif isinstance(event, AlertFired) and not event.withdrawn:
            self._alerts.append(event.alert)
        else:
            text = sentence(event)
            if text:
                style = "red" if isinstance(event, Degraded | Disconnected) else "dim"
                self._news.append((text, style))

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        state = self._state()
        head = Text("gapless live", style="bold")
        head.append("  ready" if state.get("ready") else "  not ready", style="green" if state.get("ready") else "red")
        head.append(f"  {time.monotonic() - self._started:,.0f} s", style="dim")
        parts: list[Any] = [head, self._feeds(state), self._bars(state), self._table(state)]
        for trouble in state.get("degraded", ()):
            parts.append(Text(f"{trouble['part']} since {trouble['since']}: {trouble['reason']}", style="red"))
        parts += [Text(text, style=style, overflow="ellipsis", no_wrap=True) for text, style in self._news]
        return Panel(Group(*parts), border_style="green" if state.get("ready") else "red")

    def _feeds(self, state: Mapping[str, Any]) -> Any:
        table = _grid("feed", "series live", "waiting", "asked by REST", "clock")
        for feed in state.get("feeds", ()):
            live = f"{feed['live']} of {feed['series']}"
            pace = "real time" if feed["rate"] == 1 else f"×{feed['rate']:.3g}"
            table.add_row(feed["source"], live, str(feed["backlog"]), str(feed["asking"]), pace)
        return table

    def _bars(self, state: Mapping[str, Any]) -> Any:
        took = state.get("latency_ms")
        pace = f"{took['p50']:.1f} ms, 99 % within {took['p99']:.1f} ms" if took else ""
        counts = state.get("counts", {})
        table = _grid("bars", "newest", "now", "missing", "late", "healed", "decided and durable after")
        for name, event in self._decided.items():
            missing = str(len(event.missing) or "")
            table.add_row(
                name, iso(event.ts), str(event.bars), missing, str(counts.get("late", 0)), str(counts.get("healed", 0)),
                pace,
            )  # fmt: skip
        return table

    def _table(self, state: Mapping[str, Any]) -> Any:
        table = _grid(f"alerts · {state.get('open_positions', 0)} live positions", "instrument", "bar", "evidence")
        for alert in reversed(self._alerts):
            evidence = ", ".join(f"{k} {v:.3g}" for k, v in alert["evidence"].items() if v is not None)
            name = f"{_SIGN[alert['direction']]} {alert['rule']} {alert['level']}".rstrip()
            table.add_row(name, alert["instrument"], alert["ts"], evidence, style=_STYLE[alert["severity"]])
        return table


def _grid(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold dim", pad_edge=False, expand=False)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)
