"""What goes through apprise, and what of it is told."""

from __future__ import annotations

import builtins
import http.server
import logging
import subprocess
import sys
import threading
from urllib.parse import parse_qs

import pytest

from gapless.errors import ConfigError
from gapless.notify.channel import Address, Channel
from gapless.notify.message import fired
from gapless.notify.notice import single
from gapless.notify.notifier import Notifier
from gapless.notify.sender import sender, try_channel
from gapless.spans import SECOND


@pytest.fixture
def lines():
    """All that reaches the root logger's handlers, at the noisiest level."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler, root = Keep(level=1), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def secret(hook, **more) -> Channel:
    address = Address(f"json://us3r:s3cret@127.0.0.1:{hook.port}/tok3n?-key=p4ram&+X-Auth=h3ader&:field=f1eld")
    return Channel("ops", address, timeout=SECOND, **more)


@pytest.mark.parametrize("status", [200, 401, 500, None])
def test_no_secret_is_told_however_it_goes(hook, lines, status, capfd):
    """Neither outcome nor log nor output holds any part of the address, whether it works, is refused, or is down."""
    hook.statuses = [status] if status else []
    if status is None:
        hook.down()
    outcome = try_channel(secret(hook), 0)
    told = repr(outcome) + "\n".join(lines) + "".join(capfd.readouterr())
    assert (outcome.error == "") == (status == 200)
    for word in ("us3r", "s3cret", "tok3n", "p4ram", "h3ader", "f1eld", str(hook.port)):
        assert word not in told


def test_a_test_notice_arrives(hook, channel):
    """It says that it is one."""
    assert try_channel(channel(hook), 0).error == ""
    assert (hook.got[0]["title"], hook.got[0]["kind"], hook.got[0]["type"]) == ("gapless test", "test", "info")


@pytest.mark.parametrize(
    ("status", "error", "hint", "down"),
    [
        (401, "it answered 401", "token or password", False),
        (404, "it answered 404", "not there", False),
        (418, "it answered 418", "look at the address", False),
        (429, "it answered 429", "lower the channel's rate", True),
        (502, "it answered 502", "", True),
    ],
)
def test_an_answer_is_told_with_what_to_do(hook, channel, status, error, hint, down):
    """The status, a hint, and whether the channel as a whole is out of order."""
    hook.statuses = [status]
    found = try_channel(channel(hook), 0)
    assert (found.error, found.down) == (error, down)
    assert hint in found.hint


def test_without_apprise_a_channel_says_what_to_install(hook, channel, monkeypatch):
    """It is an error of the configuration, when the notifier is made."""
    found = builtins.__import__

    def absent(name, *rest, **more):
        if name.partition(".")[0] == "apprise":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"notify\.ops needs apprise.*pip install 'gapless\[notify\]'"):
        Notifier([channel(hook)], outbox=None, clock=lambda: 0)


@pytest.mark.parametrize("address", ["bogus://tok3n/x", "slack://tok3n", "tgram://tok3n/"])
def test_an_address_that_apprise_does_not_take_is_an_error(address, lines):
    """It names the channel and the scheme, and nothing behind it."""
    with pytest.raises(ConfigError, match=r"notify\.ops\.url: apprise does not take this address") as caught:
        sender(Channel("ops", Address(address)))
    assert "tok3n" not in str(caught.value) + "\n".join(lines)


def test_an_unset_variable_names_the_channel(monkeypatch):
    """The error says which channel, and which variable."""
    monkeypatch.delenv("GAPLESS_TEST_URL", raising=False)
    with pytest.raises(ConfigError, match=r"notify\.ops\.url: the environment variable GAPLESS_TEST_URL is not set"):
        sender(Channel("ops", Address("env:GAPLESS_TEST_URL")))


def test_a_webhooks_own_fields_and_headers_are_kept(hook, alerts):
    """What the address adds to the body is there beside what gapless adds, which is each message's own."""
    send = sender(secret(hook))
    for alert in alerts(2):
        assert send(single(secret(hook), fired(alert))).error == ""
    assert [(b["field"], b["id"]) for b in hook.got] == [("f1eld", a.id) for a in alerts(2)]
    assert hook.headers[0]["X-Auth"] == "h3ader"


def test_a_form_gets_the_id_too(alerts):
    """A webhook that takes no JSON gets id and kind as plain fields."""
    got: list[dict[str, list[str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    channel = Channel("ops", Address(f"form://127.0.0.1:{server.server_address[1]}/"))
    (alert,) = alerts(1)
    assert sender(channel)(single(channel, fired(alert))).error == ""
    server.shutdown()
    server.server_close()
    assert (got[0]["id"], got[0]["kind"]) == ([alert.id], ["fired"])


def test_apprise_is_imported_only_to_send():
    """Reading a configuration with a channel does not load it."""
    code = (
        "import sys\nfrom gapless.config import parse\nimport gapless.notify.notifier\n"
        "parse({'notify': {'ops': {'url': 'json://a'}}}).channels()\nprint('apprise' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
