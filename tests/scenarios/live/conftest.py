"""A simulated venue in its own process, `gapless live` beside it, and what must hold whenever it has stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
import pytest

from gapless import app
from gapless.app import decisions
from gapless.app.desks import desk
from gapless.app.lake import Lake
from gapless.config import load
from gapless.engine.build import set_name
from gapless.features import plan
from gapless.spans import HOUR, MINUTE, Span, Timeframe, iso, parse_time
from gapless.stores.journal import Journal

M1 = Timeframe.parse("1m")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")
VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")
TOLD = ("id", "kind", "rule", "instrument", "ts", "direction", "severity", "level", "evidence", "members", "muted")

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
class Venue:
    """A simulated venue in a process of its own; it can be stopped and started again where it was, later."""

    home: Path
    seed: int
    speed: float
    faults: str = ""
    symbols: tuple[str, ...] = SYMBOLS
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self, now: str = "2025-06-03T00:00") -> Venue:
        """Serve; the same market whenever it starts."""
        words = {
            "port": self.port, "seed": self.seed, "symbols": ",".join(self.symbols), "now": now, "speed": self.speed,
            "start": "2025-05-30", "faults": self.faults, "listed-late": 0, "delisted": 0, "weight-limit": 0,
        }  # fmt: skip
        line = [sys.executable, "-m", "gapless", "sim", *(str(w) for k, v in words.items() for w in (f"--{k}", v))]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=self.home)
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", first)
        assert found, first + self.process.stderr.read()
        self.port = int(found[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def stop(self) -> int:
        """Be gone; what time it was there."""
        now = self.now()
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        return now

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, *, post: bool = False, **what: object) -> Any:
        query = f"?{urlencode(what)}" if what else ""
        with urlopen(Request(f"{self.url}{path}{query}", method="POST" if post else "GET"), timeout=60) as answer:
            return json.loads(answer.read())

    def now(self) -> int:
        return parse_time(self.ask("/sim/clock")["now"])

    def truth(self, symbol: str, span: Span) -> pl.DataFrame:
        """The venue's final bars, by now."""
        instrument = f"BINANCEUSDM:{symbol}"
        found = self.ask("/sim/truth", instrument=instrument, timeframe="1m", start=iso(span.start), end=iso(span.end))
        columns = {name: pl.Series(found[name], dtype=pl.Float64) for name in VALUES}
        return pl.DataFrame({"ts": pl.Series(found["ts"], dtype=pl.Int64), **columns})


class Hook:
    """A webhook: whatever was posted to it while it was ``up``."""

    def __init__(self) -> None:
        self.up, self.posts, self.refused = True, list[dict[str, Any]](), 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.up:
                    hook.posts.append(json.loads(body))
                else:
                    hook.refused += 1
                self.send_response(200 if hook.up else 503)
                self.end_headers()

            def log_message(self, *words: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def config(self) -> str:
        return f'[notify.hook]\nurl = "json://127.0.0.1:{self.server.server_port}/"\nrate = "1000 per 1s"\n'

    def events(self) -> list[dict[str, Any]]:
        """Every message that came, those in groups too."""
        return [e for post in self.posts for e in (post["events"] if post["kind"] == "group" else [post])]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


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
    process: subprocess.Popen[str] | None = None

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
                env=os.environ | {"GAPLESS_LAKE": str(self.lake)}, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        assert self.process.poll() is None, f"ended by itself:\n{self.log()}"
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, code: int | None = 0, within: float = 40.0) -> None:
        """SIGTERM, and the end it must have; with None 0, or 1 for what is not well at the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(within) in ((0, 1) if code is None else (code,)), self.log()
        finally:
            if self.process.poll() is None:
                self.kill()
        assert "Traceback" not in self.log(), self.log()

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

    def until(self, reached: Callable[[], object], what: str, within: float = 60.0) -> None:
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
        self.until(lambda: self.head() >= begin + minutes * MINUTE, f"{minutes} more bar times", 60 + minutes)

    def degraded(self) -> dict[str, str]:
        """What is not well, and why."""
        return {t["part"]: t["reason"] for t in self.state().get("degraded", [])}

    def opened_journal(self) -> Journal:
        """What was decided, as a fresh reader sees it."""
        return Journal(self.lake / "live.sqlite")

    def opened(self) -> Lake:
        """The lake as a fresh reader sees it."""
        return app.open(self.lake, config=load(self.home / "gapless.toml"))


# ---------------------------------------------------------------- what must hold


def alert_keys(found: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps({k: alert[k] for k in TOLD}, sort_keys=True) for alert in found)


def settled(run: Run) -> dict[str, Any]:
    """Assert that what was decided is what the stored bars say: feature rows, alerts, positions; how much it was."""
    lake = run.opened()
    decided = run.opened_journal().decided(M1)
    assert decided is not None
    replayed = decisions.replay(lake, end=iso(decided + MINUTE))
    stands, again = alert_keys(decisions.alerts(lake)), alert_keys(replayed["alerts"])
    assert stands == again, {
        "only live": [*set(stands) - set(again)][:3],
        "only replay": [*set(again) - set(stands)][:3],
    }
    held = sorted(json.dumps(p.to_dict(), sort_keys=True) for p in decisions.positions(lake))
    assert held == sorted(json.dumps(p, sort_keys=True) for p in replayed["positions"])
    return {"alerts": len(stands), "positions": len(held), "rows": same_features(run, lake), "bars": replayed["bars"]}


def same_features(run: Run, lake: Lake) -> int:
    """Assert that live feature rows are bit for bit those of a batch over the stored bars; how many rows."""
    known = decisions.journal(lake)
    assert known is not None
    names = tuple(f"BINANCEUSDM:{name}" for name in run.symbols)
    duties = desk(lake.config, M1, names, features=None).duties
    live = known.moments(set_name(plan(duties.features)), M1)
    assert live is not None
    columns = list(duties.features)
    first, last = live["ts"].min(), live["ts"].max()
    batch = lake.features(list(names), "1m", dict(duties.features))
    batch = batch.filter(pl.col("ts").is_between(first, last)).select("instrument", "ts", *columns)
    live = live.select("instrument", "ts", *columns).sort("instrument", "ts")
    batch = batch.sort("instrument", "ts")
    keys = ["instrument", "ts"]
    absent, extra = batch.join(live, on=keys, how="anti"), live.join(batch, on=keys, how="anti")
    assert not absent.height, f"{absent.height} feature rows are missing: {absent.head(3)}"
    assert not extra.height, f"{extra.height} feature rows have no bar: {extra.head(3)}"
    for name in columns:
        assert live[name].dtype == batch[name].dtype
        assert bits(live[name]) == bits(batch[name]), name
    return live.height


def bits(column: pl.Series) -> bytes:
    """A column's bits; every NaN is the same."""
    if not column.dtype.is_float():
        return repr(column.to_list()).encode()
    values = column.fill_null(np.nan).to_numpy()
    return np.where(np.isnan(values), np.nan, values).tobytes()


def true_bars(run: Run) -> int:
    """Assert that the lake holds the venue's truth from history to the newest bar time decided; how many bars.

    That one itself is left out: what the feed left out of it REST tells only once it has settled, maybe after the stop.
    """
    lake = run.opened()
    known = decisions.journal(lake)
    assert known is not None
    decided = known.decided(M1)
    assert decided is not None
    span = Span(int(known.fact("desk 1m")["since"]) - 13 * HOUR, decided)
    total = 0
    for symbol in run.symbols:
        truth = run.venue.truth(symbol, span)
        held = lake.store.rows(M1, [f"BINANCEUSDM:{symbol}"], span)
        held = held.select(pl.col("ts").to_physical(), *VALUES)
        wrong = truth.join(held, on="ts", how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} lacks {len(wrong)} bars: {[iso(t) for t in wrong[:5]]}"
        wrong = held.join(truth, on="ts", how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} has {len(wrong)} bars that never were: {[iso(t) for t in wrong[:5]]}"
        wrong = truth.join(held, on=["ts", *VALUES], how="anti")["ts"].to_list()
        assert not wrong, f"{symbol} has {len(wrong)} bars with other values: {[iso(t) for t in wrong[:5]]}"
        total += truth.height
    return total


def all_told(run: Run, hook: Hook) -> int:
    """Assert that the channel's last word on every alert that stands is that it fired; how many stand."""
    lake = run.opened()
    stand = {a["id"] for a in decisions.alerts(lake) if not a["muted"]}
    ever = {a["id"] for a in decisions.alerts(lake, withdrawn=True)}
    seen: dict[str, dict[str, Any]] = {}
    for event in hook.events():
        if event["kind"] in ("fired", "withdrawn") and event["data"].get("rule"):
            first = seen.setdefault(event["id"], event)  # a repetition has the same id and says the same
            assert (first["kind"], first["data"]["id"]) == (event["kind"], event["data"]["id"])
    words: dict[str, str] = {event["data"]["id"]: event["kind"] for event in seen.values()}
    assert words.keys() <= ever
    assert stand <= words.keys(), f"never told: {stand - words.keys()}"
    assert {name for name in stand if words[name] != "fired"} == set(), "the last word on it is that it is withdrawn"
    return len(stand)


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


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Stage]:
    """``live(seed, speed, faults)``: a venue, and a ``Run`` over it that is not started yet."""
    stage = Stage(tmp_path)
    yield stage
    stage.end()


@pytest.fixture
def hooks() -> Iterator[Callable[[], Hook]]:
    """Webhooks that listen, as many as are wanted."""
    made: list[Hook] = []

    def make() -> Hook:
        made.append(Hook())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hook(hooks: Callable[[], Hook]) -> Hook:
    """A webhook that listens."""
    return hooks()


@pytest.fixture
def proof() -> Mapping[str, Callable[..., Any]]:
    """What must hold: ``settled(run)``, ``true_bars(run)``, ``all_told(run, hook)``."""
    return {"settled": settled, "true_bars": true_bars, "all_told": all_told}
