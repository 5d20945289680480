"""A simulated venue in a process of its own, and a webhook: what a live desk has around it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import polars as pl

from gapless.spans import Span, iso, parse_time

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")
VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")


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

    def truth(self, symbol: str, span: Span, venue: str = "BINANCEUSDM") -> pl.DataFrame:
        """The venue's final bars, by now."""
        instrument = f"{venue}:{symbol}"
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
