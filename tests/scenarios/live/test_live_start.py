"""`gapless live` started while a venue is down: it waits, says so, obeys, and loses nothing once the venue is there."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from gapless.spans import DAY, MINUTE, SECOND, Span, Timeframe, iso
from live_run import HANGS
from live_venue import VALUES, Venue

M1 = Timeframe.parse("1m")
SOURCE = "source binance-usdm"


class Door:
    """A port in front of another one: connections are refused until it is opened."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def open(self, to: int) -> None:
        self._socket.listen()
        threading.Thread(target=self._let_in, args=(to,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _let_in(self, to: int) -> None:
        with suppress(OSError):
            while True:
                inside, _ = self._socket.accept()
                outside = socket.create_connection(("127.0.0.1", to))
                for one, other in ((inside, outside), (outside, inside)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A server that answers nothing but this status: its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}')

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def waits(run, part: str = SOURCE) -> str:
    """Wait until it says that it waits; why."""
    run.until(lambda: part in run.degraded(), f"waiting: {part}")
    assert not run.state()["ready"]
    return str(run.degraded()[part])


@pytest.mark.slow
def test_a_run_whose_venue_is_down_waits_and_obeys(live) -> None:
    """Its state and its lines say what it waits for; it ends when it is told to, or after --for."""
    run = live(1, 60.0)
    run.venue.stop()
    run.start()
    reason = waits(run)
    assert reason.startswith("waiting for binance-usdm: ")
    assert "Cannot connect" in reason
    run.stop(code=1)
    assert f"degraded: {SOURCE}: waiting for binance-usdm" in run.log()
    assert re.search(r"^binance-usdm: waiting for it: .*; again in \d+\.\d s$", run.log(), re.MULTILINE)
    run.start("--for", "6s")
    assert run.process.wait(HANGS) == 1
    assert run.state()["counts"] == {}


def test_a_run_whose_venue_cannot_be_found_waits_too(live) -> None:
    """A name that nobody resolves is an outage like any other."""
    run = live(1, 60.0, changed=lambda text: text.replace(run.venue.url, "http://nowhere.invalid:1"))
    run.start()
    assert "nowhere.invalid" in waits(run)
    run.stop(code=1)


@pytest.mark.parametrize("status", [401, 403])
def test_a_venue_that_will_have_none_of_us_is_an_error_at_once(live, status: int) -> None:
    """Asking again would not help."""
    with refusing(status) as url:
        run = live(1, 60.0, changed=lambda text: text.replace(run.venue.url, url))
        run.start()
        assert run.process.wait(HANGS) == 1
    assert f"answered {status}" in run.log()
    assert "Traceback" not in run.log()


def test_a_symbol_that_the_venue_does_not_know_is_an_error_at_once(live) -> None:
    """Nothing of it was ever known: its name is wrong."""
    run = live(1, 60.0, symbols=("BTCUSDT", "BTCUSDX"))
    run.start()
    assert run.process.wait(HANGS) == 1
    assert "BINANCEUSDM:BTCUSDX 1m: binance-usdm answered 400: -1121 Invalid symbol" in run.log()
    assert "Traceback" not in run.log()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["gone", "5xx"])
def test_a_venue_that_comes_later_is_looked_after_as_if_it_had_been_there(live, hook, proof, fault: str) -> None:
    """Twenty seconds after the desk: everything since the last run is asked for and decided, and all of it is told."""
    run = live(2, 60.0, hook=hook)
    run.start()
    run.on()
    run.stop()
    before = run.head()
    if fault == "gone":
        gone, at = run.venue.stop(), time.monotonic()
    else:
        run.venue.ask("/sim/faults", post=True, plan="5xx:1.0")
    run.start()
    assert ("Cannot connect" if fault == "gone" else "answered 5") in waits(run)
    time.sleep(20.0)
    if fault == "gone":
        run.venue.start(iso(gone + int((time.monotonic() - at) * 60.0) * 1_000_000))
    else:
        run.venue.ask("/sim/faults", post=True, plan="")
    back = run.venue.now()
    assert back - before >= 20 * MINUTE
    run.until(lambda: run.head() >= back and run.state()["ready"], "decided beyond the outage, and well")
    run.until(lambda: not run.opened_journal().sent().get("queued"), "all messages sent")
    run.stop()
    told = [e["kind"] for e in hook.events() if e["data"].get("part") == SOURCE]
    assert told == ["degraded", "recovered"]
    done = proof["settled"](run)
    assert proof["true_bars"](run)
    assert proof["all_told"](run, hook) == done["alerts"]


@pytest.mark.slow
def test_a_stream_that_is_refused_is_waited_for_while_rest_works(live, proof) -> None:
    """The run begins with what REST says, tells what it lacks, and is whole once the stream can be had."""
    door = Door()
    streams = f'ws_url = "ws://127.0.0.1:{door.port}/fapi/market"'
    run = live(3, 60.0, changed=lambda text: text.replace("[live]", f"{streams}\n\n[live]", 1))
    run.start()
    assert waits(run, "feed binance-usdm") == "no connection yet"
    door.open(run.venue.port)
    run.until(lambda: run.head() and run.state()["ready"], "well")
    run.on()
    run.stop()
    door.close()
    proof["settled"](run)
    assert proof["true_bars"](run)


@pytest.mark.slow
def test_one_venue_that_is_down_stops_no_other(live, proof, tmp_path) -> None:
    """The others are looked after meanwhile; when it comes, its bars are decided as if they had come in time."""
    began = time.monotonic()
    other = Venue(tmp_path, 4, 60.0).start()
    lead = int((time.monotonic() - began) * 60.0) * SECOND  # what it takes to begin, by its clock
    spot = f'[sources.binance]\nbase_url = "{other.url}"\n\n[live]'
    more = 'symbols = ["BINANCE:BTCUSDT", "'
    run = live(4, 60.0, changed=lambda text: text.replace("[live]", spot, 1).replace('symbols = ["', more, 1))
    other.stop()
    run.start()
    assert waits(run, "source binance").startswith("waiting for binance: ")
    run.until(run.head, "the first bar time of those who are there")
    run.on(5)
    run.until(lambda: set(run.degraded()) == {"source binance"}, "all but one well")
    other.start(iso(run.venue.now() + lead))
    back = other.now()
    run.until(lambda: run.head() >= back and run.state()["ready"], "decided and well")
    span = Span(back - 60 * MINUTE, M1.floor(other.now()) + 3 * MINUTE)

    def stored(span: Span) -> pl.DataFrame:
        return run.opened().store.rows(M1, ["BINANCE:BTCUSDT"], span)

    run.until(lambda: stored(Span(span.end, span.end + DAY)).height, "three more minutes of the one that came late")
    run.on(3)
    run.stop()
    proof["settled"](run)
    assert proof["true_bars"](run)
    truth = other.truth("BTCUSDT", span, "BINANCE")
    held = stored(span).select(pl.col("ts").to_physical(), *VALUES)
    assert truth.height > 50
    assert held.equals(truth)
    other.stop()
