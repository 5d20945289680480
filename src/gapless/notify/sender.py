"""Sending through apprise, and what became of it, in words that give no secret away.

Apprise answers yes or no and logs why. What it logs may hold tokens (they are part of paths and host names), so its
lines, and those of the HTTP client below it, never leave this file: a reason is made from the status alone.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from gapless.errors import ConfigError
from gapless.notify.channel import Channel
from gapless.notify.message import probe
from gapless.notify.notice import Notice, single
from gapless.spans import SECOND

_STATUS = re.compile(r"error=(\d{3})\b")
_UNREACHED = re.compile(r"connection error|time(d)? ?out", re.IGNORECASE)
_HINTS = {
    400: "it does not take such a message; look at the address, the texts and the target",
    401: "the token or password in the address is wrong",
    403: "the token in the address may not post there",
    404: "the address names something that is not there",
    413: "the message is too long for it",
    429: "it asks for fewer messages: lower the channel's rate",
}
_WEBHOOKS = ("JSON", "XML", "Form")  # apprise's names of what takes fields and headers of our own
_sending: ContextVar[bool] = ContextVar("gapless_notify_sending", default=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try went; ``error`` is empty when it went well.

    ``down``: the channel itself did not work, so that nothing else would have got through either.
    """

    error: str = ""
    hint: str = ""
    down: bool = False


Sender = Callable[[Notice], Outcome]
Sent = TypeVar("Sent")


def sender(channel: Channel) -> Sender:
    """What sends to a channel. Raises ConfigError without apprise, and for an address that apprise does not take."""
    target = _target(channel)
    extras, headers = dict(getattr(target, "payload_extras", {})), dict(getattr(target, "headers", {}))

    def send(notice: Notice) -> Outcome:
        if target.service_name in _WEBHOOKS:
            target.payload_extras = {**extras, **_data(target, notice)}
            target.headers = {**headers, "X-Gapless-Id": notice.id}
        return _notify(target, notice)

    return guarded(send)


def guarded(send: Callable[[Sent], Outcome]) -> Callable[[Sent], Outcome]:
    """The same, but never raising: whatever breaks in it is an outcome, told by its type and place only."""

    def careful(what: Sent) -> Outcome:
        try:
            return send(what)
        except Exception as error:  # noqa: BLE001 - the boundary of one try; the text may hold the address
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Outcome(f"sending broke: {type(error).__name__} in {where.name}, line {where.lineno}")

    return careful


def try_channel(channel: Channel, now: int) -> Outcome:
    """Send a test notice to a channel now, once. Raises ConfigError as ``sender`` does."""
    return sender(channel)(single(channel, probe(now)))


def _target(channel: Channel) -> Any:
    """The channel's apprise plugin; one instance for good, so that the plugin's own pacing works."""
    try:
        import apprise
    except ImportError:
        raise ConfigError(
            f"notify.{channel.name} needs apprise, which is not installed.", hint="pip install 'gapless[notify]'"
        ) from None
    _keep_logs_in()
    try:
        address = channel.address.reveal()
    except ConfigError as error:
        raise ConfigError(f"notify.{channel.name}.url: {error.message}", hint=error.hint) from None
    with _quietly():
        asset = apprise.AppriseAsset(app_id="gapless", app_desc="gapless", app_url="")
        target: Any = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if target is None:
        raise ConfigError(
            f"notify.{channel.name}.url: apprise does not take this address ({channel.address}).",
            hint="https://appriseit.com/services lists the form of each service's address",
        )
    target.socket_connect_timeout = target.socket_read_timeout = channel.timeout / SECOND
    if "overflow=" not in address:
        target.overflow_mode = apprise.OverflowMode.SPLIT
    return target


def _data(target: Any, notice: Notice) -> dict[str, Any]:
    """The event itself where the webhook can nest it; else what tells one event from another."""
    data = dict(notice.data or {})
    if target.service_name == "JSON":
        return data
    return {name: value for name, value in data.items() if isinstance(value, str)}


def _notify(target: Any, notice: Notice) -> Outcome:
    import apprise

    kinds = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING}
    kind = apprise.NotifyType.SUCCESS if notice.good else kinds.get(notice.severity, apprise.NotifyType.FAILURE)
    with _quietly():
        box = apprise.Apprise(asset=target.asset)
        box.add(target)
        result = box.notify(body=notice.body, title=notice.title, notify_type=kind, body_format="text")
    return Outcome() if result else _reason([entry.message for entry in result.logs()])


def _reason(lines: list[str]) -> Outcome:
    """Why not, from what apprise logged: a status, or no answer; never its words."""
    text = "\n".join(lines)
    found = _STATUS.search(text)
    if found:
        status = int(found[1])
        passing = status in (408, 425, 429) or status >= 500
        return Outcome(f"it answered {status}", _HINTS.get(status, "" if passing else "look at the address"), passing)
    if _UNREACHED.search(text):
        return Outcome("it did not answer: no connection, or too slow", "is the address right, the service up?", True)
    return Outcome("apprise could not send it", "look at the address and the target in it", True)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    token = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(token)


def _not_sending(_: logging.LogRecord) -> bool:
    return not _sending.get()


def _keep_logs_in() -> None:
    """Apprise's lines stay with apprise (its results read them there); the HTTP client's are dropped while we send."""
    logging.getLogger("apprise").propagate = False
    for name in ("urllib3.connectionpool", "urllib3.util.retry", "requests_oauthlib.oauth1_auth"):
        log = logging.getLogger(name)
        if _not_sending not in log.filters:
            log.addFilter(_not_sending)
