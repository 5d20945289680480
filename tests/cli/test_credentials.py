"""A key is nowhere: not printed, not logged, not in the lake, whatever a vendor answers and however it is asked."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gapless.sim import SimConfig, running

KEY = "k3y+nobody/should=see"
HIDDEN = (KEY, quote(KEY), quote(KEY, safe=""), json.dumps(KEY)[1:-1].replace("/", "\\/"))
HELD = ("--timeframes", "1d", "--start", "2025-04-01", "--end", "2025-05-01")
SPAN = ("--timeframes", "1d", "--start", "2025-03-20", "--end", "2025-05-01")
NAMES = ("--symbols", "XNAS:AAPL")
VERBS = {
    "plan": ("plan", *NAMES, *SPAN),
    "backfill": ("backfill", *NAMES, *SPAN),
    "repair": ("repair", *NAMES, *SPAN),
    "instruments": ("instruments", "sync", *NAMES),
    "actions": ("actions", "sync", *NAMES),
    "reconcile": ("reconcile", "polygon", *NAMES, *HELD),
    "verified": ("backfill", *NAMES, *SPAN, "--verify"),
    "audit": ("audit",),
    "doctor": ("doctor",),
    "status": ("status",),
}


@contextmanager
def echo(status: int) -> Iterator[str]:
    """A vendor that answers everything with ``status``, and repeats all it was told; 0: it never answers in time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = dict(self.headers) | {"path": self.path, "key": self.headers.get("Authorization", "")[7:]}
            asked.append(told["key"])
            if not status:
                time.sleep(0.6)
            body = json.dumps({"status": "ERROR", "error": f"not with {told['key']}", "request": told}).encode()
            self.send_response(status or 200)
            for name, value in (("Content-Length", str(len(body))), ("X-Key", told["key"])):
                self.send_header(name, value)
            if status == 302:
                self.send_header("Location", f"/elsewhere?apiKey={KEY}")
            with suppress(OSError):  # who asked may have given up
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
        assert KEY in asked, "the key was never sent, so nothing was shown"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def venue() -> Iterator[str]:
    """A vendor that is well."""
    config = SimConfig(equities={"XNAS": ("AAPL",)}, splits={"AAPL": (("2025-04-14", 1, 4),)}, keys=(KEY,))
    with running(config) as sim:
        yield f"{sim.url}/polygon"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that any library logs, however chatty."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def configured(url: str, key: str, timeout: str = "10s") -> None:
    text = f'base_url = "{url}"\nkey = "{key}"\nweight = 0\nattempts = 2\ntimeout = "{timeout}"\npatience = "1s"\n'
    Path("gapless.toml").write_text(f"[sources.polygon]\n{text}")


def shown(text: str) -> list[str]:
    """The spellings of the key in a text."""
    return [spelling for spelling in HIDDEN if spelling in text]


@pytest.mark.parametrize("where", ["file", pytest.param("environment", marks=pytest.mark.slow)])
@pytest.mark.parametrize("answer", ["ok", 401, 403, 404, 429, 500, 302, 200, 0])
def test_no_verb_shows_or_stores_a_key(
    gapless: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, logged: io.StringIO, answer: str | int, where: str
) -> None:
    """Every verb that asks a vendor, as text and as JSON, answered well, refused, refused with the key repeated, late.

    Nothing printed or logged has the key, and no file but the configuration that it was written into.
    """
    monkeypatch.setenv("GAPLESS_STATE", str(Path("state").absolute()))
    if where == "environment":
        monkeypatch.setenv("MY_KEY", KEY)
    key = KEY if where == "file" else "env:MY_KEY"
    with venue() as url:
        configured(url, key)
        assert gapless("backfill", *NAMES, *HELD).code == 0
    with venue() if answer == "ok" else echo(int(answer)) as url:
        configured(url, key, "10s" if answer else "100ms")
        for name, words in VERBS.items():
            for form in ((), ("--json",)):
                said = gapless(*words, *form)
                assert not shown(said.out + said.err), (name, said)
                assert "Traceback" not in said.err, said.err
                if answer == "ok":
                    assert said.code == 0, (name, said)
    runs = [line["run"] for line in gapless("audit", "--json").json]
    assert runs
    for run in runs:
        assert not shown("".join(str(gapless("audit", run, *form)) for form in ((), ("--json",))))
    assert not shown(logged.getvalue())
    kept = [path for path in Path().rglob("*") if path.is_file() and path.name != "gapless.toml"]
    assert any(path.parts[0] == "lake" for path in kept)
    for path in kept:
        assert not shown(path.read_bytes().decode("latin-1")), path
