"""`gapless live` in a process of its own, beside a simulated venue in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapless import app
from gapless.app.lake import Lake
from gapless.config import load
from gapless.spans import HOUR, MINUTE, Span, Timeframe, parse_time
from gapless.stores.journal import Journal
from live_venue import SYMBOLS, Hook, Venue

M1 = Timeframe.parse("1m")
HANGS = 900.0  # s; nothing has to be quick: after so long it is not going to happen
CONFIG = """
[sources.binance-usdm]
base_url = "{url}"

[live]
symbols = {symbols}
history = "14h"
verify = "15m"
checkpoint = "{checkpoint}"
tell_within = "30d"

[features]
rating = "recommend_all()"
rsi_vote = 'vote("RSI")'
er = "er_15m"
z_er = "z_er_15m"
z_vol = "z_vol_15m"
share = "taker_buy_share_15m"
rank15 = "rank(log_return(close, 15))"

[groups.sector]
{sector}

[alerts.initiator]
when = "abs(z_er) >= 1.5 and z_vol >= 0.5"
direction = "er_15m"
cooldown = "10m"
opposite_cooldown = "5m"
opens = "fast"
notify = {channels}

[alerts.initiator.spread]
group = "sector"
window = "30m"
when = "abs(z_er) >= 1"
followers = 1

[alerts.strong]
when = "abs(rating) >= 0.3 and rank(log_return(close, 15)) > 0.5"
for_bars = 2
cooldown = "15m"
notify = {channels}

[positions.fast]
stop = {{ atr = 1.5 }}
targets = [ {{ atr = 1.0, fraction = 0.5 }}, {{ atr = 2.0, fraction = 0.5 }} ]
"""


@dataclass
class Run:
    """`gapless live` in a directory of its own, over one venue, again and again."""

    home: Path
    lake: Path
    venue: Venue
    hook: Hook | None = None
    symbols: tuple[str, ...] = SYMBOLS
    checkpoint: str = "10m"
    changed: Callable[[str], str] = field(default=lambda text: text)
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    whole_until: int | None = None  # the bar time up to which nothing was missing when it was stopped

    def configure(self) -> None:
        """Write gapless.toml."""
        names = [f"BINANCEUSDM:{name}" for name in self.symbols]
        sector = "\n".join(f'"{name}" = "{"AB"[i % 2]}"' for i, name in enumerate(names))
        text = CONFIG.format(
            url=self.venue.url, symbols=json.dumps(names), sector=sector, checkpoint=self.checkpoint,
            channels=json.dumps(["hook"] if self.hook else []),
        )  # fmt: skip
        (self.home / "gapless.toml").write_text(
            self.changed(text) + (self.hook.config if self.hook else ""), encoding="utf-8"
        )

    def start(self, *words: str) -> None:
        """Begin to look after the venue's instruments."""
        self.configure()
        with open(self.home / "live.log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gapless", "live", *words], cwd=self.home, stdout=log, stderr=log,
                env=os.environ | {"GAPLESS_LAKE": str(self.lake)} | self.env, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        assert self.process.poll() is None, f"ended by itself:\n{self.log()}"
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, code: int | None = 0, within: float = HANGS) -> None:
        """SIGTERM, and the end it must have; with None 0, or 1 for what is not well at the end.

        One that is to end well first gets the time to ask for what its feed missed: a stop leaves that to the next run.
        """
        assert self.process is not None
        self.whole_until = self.head() or None if code == 0 else None
        if self.whole_until:
            self.until(lambda: self.whole(self.whole_until or 0), "what the feed missed")
            self.until(lambda: self.state()["ready"], "well")
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(within) in ((0, 1) if code is None else (code,)), self.log()
        finally:
            if self.process.poll() is None:
                self.kill()
        assert "Traceback" not in self.log(), self.log()

    def whole(self, end: int) -> bool:
        """Is every bar stored that the venue has of the hour before ``end``?"""
        store, span = self.opened().store, Span(end - HOUR, end)
        for name in self.symbols:
            held = store.rows(M1, [f"BINANCEUSDM:{name}"], span)["ts"].to_physical()
            if not self.venue.truth(name, span)["ts"].is_in(held.implode()).all():
                return False
        return True

    def log(self) -> str:
        return (self.home / "live.log").read_text(encoding="utf-8")

    def state(self) -> dict[str, Any]:
        """live.json, if this process has written it."""
        try:
            found = json.loads((self.lake / "live.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found if self.process is not None and found["pid"] == self.process.pid else {}

    def head(self) -> int:
        """The newest bar time decided, as its state says; 0 before the first."""
        heads = self.state().get("heads", {})
        return parse_time(heads["1m"]) if heads else 0

    def until(self, reached: Callable[[], object], what: str, within: float = HANGS) -> None:
        """Wait for something to happen while it lives."""
        deadline = time.monotonic() + within
        while not reached():
            assert self.process is not None
            assert self.process.poll() is None, f"ended by itself:\n{self.log()}"
            assert time.monotonic() < deadline, f"never: {what}\n{self.log()}\n{self.state()}"
            time.sleep(0.1)

    def on(self, minutes: int = 2) -> None:
        """Live until so many more bar times are decided."""
        self.until(self.head, "the first bar time")
        begin = self.head()
        self.until(lambda: self.head() >= begin + minutes * MINUTE, f"{minutes} more bar times")

    def degraded(self) -> dict[str, str]:
        """What is not well, and why."""
        return {t["part"]: t["reason"] for t in self.state().get("degraded", [])}

    def opened_journal(self) -> Journal:
        """What was decided, as a fresh reader sees it."""
        return Journal(self.lake / "live.sqlite")

    def opened(self) -> Lake:
        """The lake as a fresh reader sees it."""
        return app.open(self.lake, config=load(self.home / "gapless.toml"))


@dataclass
class Stage:
    """Makes venues and runs, and ends them with the test."""

    home: Path
    runs: list[Run] = field(default_factory=list)

    def __call__(self, seed: int, speed: float, faults: str = "", **more: Any) -> Run:
        home = self.home / f"seed{seed}"
        home.mkdir()
        venue = Venue(home, seed, speed, faults).start()
        run = Run(home, more.pop("lake", home / "lake"), venue, **more)
        self.runs.append(run)
        return run

    def end(self) -> None:
        for run in self.runs:
            if run.process is not None and run.process.poll() is None:
                run.kill()
            if run.venue.process is not None and run.venue.process.poll() is None:
                run.venue.stop()
