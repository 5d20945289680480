"""A webhook's server that misbehaves on demand, an outbox in memory, and a notifier between them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gapless.alerts.alert import Alert
from gapless.events import Event, Notified
from gapless.notify.channel import Address, Channel
from gapless.notify.message import fired
from gapless.notify.notifier import Notifier
from gapless.notify.outbox import Delivery, deliveries, due
from gapless.spans import MINUTE, SECOND


class Memory:
    """The outbox's contract without durability; ``fails`` makes its next calls of ``mark`` raise."""

    def __init__(self) -> None:
        self.rows: dict[str, Delivery] = {}
        self.fails = 0
        self._lock = threading.Lock()

    def put(self, found: Sequence[Delivery]) -> None:
        with self._lock:
            for delivery in found:
                self.rows.setdefault(delivery.id, delivery)

    def pending(self, channel: str, now: int, limit: int) -> list[Delivery]:
        with self._lock:
            mine = (d for d in self.rows.values() if d.channel == channel and d.state in ("queued", "sending"))
            return [d for d in mine if due(d, now)][:limit]

    def mark(self, found: Sequence[Delivery]) -> None:
        with self._lock:
            if self.fails:
                self.fails -= 1
                raise OSError("no space left on device")
            self.rows.update({d.id: d for d in found})

    def states(self) -> list[str]:
        return [d.state for d in self.rows.values()]


class Webhook:
    """A real server. ``statuses`` are its next answers (then 200), ``delay`` how long it takes; ``got`` what came."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.delay = 0.0
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.up()

    def up(self) -> None:
        """Listen, on the same port as before."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(hook.delay)
                status = hook.statuses.pop(0) if hook.statuses else 200
                if status == 200:
                    hook.got.append(body)
                    hook.headers.append(dict(self.headers))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def ids(self) -> list[str]:
        """Of the messages that came, in order; a group counts as its members."""
        return [i for body in self.got for i in body.get("ids", [body["id"]])]


class Watch:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def hook() -> Iterator[Webhook]:
    found = Webhook()
    yield found
    found.down()


@pytest.fixture
def other_hook() -> Iterator[Webhook]:
    found = Webhook()
    yield found
    found.down()


@pytest.fixture
def outbox() -> Memory:
    return Memory()


@pytest.fixture(scope="session")
def memory() -> type[Memory]:
    """For tests that need a new outbox more than once."""
    return Memory


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def events() -> list[Notified]:
    return []


@pytest.fixture
def started(outbox: Memory, watch: Watch, events: list[Event]) -> Iterator[Callable[..., Notifier]]:
    """Makes and starts a notifier on channels, and stops it after the test."""
    found: list[Notifier] = []

    def start(*channels: Channel, clock: Callable[[], int] = watch) -> Notifier:
        found.append(Notifier(channels, outbox, clock, events.append, poll=0.01).start())
        return found[-1]

    yield start
    for notifier in found:
        notifier.close(1)


@pytest.fixture
def channel() -> Callable[..., Channel]:
    """A channel to a webhook: quick to try again, with no rate to speak of."""

    def make(hook: Webhook, name: str = "ops", **more: Any) -> Channel:
        rate = {"backoff": SECOND // 100, "timeout": 2 * SECOND}
        return Channel(name, Address(f"json://127.0.0.1:{hook.port}/hook"), **(rate | more))

    return make


@pytest.fixture
def alerts() -> Callable[[int], list[Alert]]:
    """So many alerts, one a minute."""

    def make(count: int) -> list[Alert]:
        return [
            Alert("spike", "BINANCE:BTCUSDT", "1m", 1_700_000_040 * SECOND + i * MINUTE, direction="up",
                  evidence={"z_er_15m": 3.41}) for i in range(count)
        ]  # fmt: skip

    return make


@pytest.fixture
def send(outbox: Memory, watch: Watch) -> Callable[..., list[str]]:
    """Puts alerts into the outbox for channels; gives the ids."""

    def put(found: Sequence[Alert], *channels: Channel) -> list[str]:
        outbox.put([d for a in found for d in deliveries(fired(a), channels, watch())])
        return [a.id for a in found]

    return put


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for something to become true, for ten seconds at most."""

    def wait(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not true():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.005)

    return wait
