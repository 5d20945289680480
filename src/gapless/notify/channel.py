"""A channel: where messages go, how they look there, and how hard to try."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from gapless.alerts.alert import Severity
from gapless.alerts.throttle import Throttle
from gapless.errors import ConfigError, UsageError
from gapless.notify.message import KINDS, Kind, Message
from gapless.spans import MINUTE, SECOND

LEVELS: tuple[Severity, ...] = ("info", "warning", "critical")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}(?=://.)", re.IGNORECASE)
_RATE = Throttle(20, MINUTE)


class Address:
    """An apprise URL, or the environment variable that holds one. Shown without anything that could be a secret.

    >>> Address("tgram://123456:token/chat"), Address("env:TELEGRAM_URL")
    (Address('tgram://…'), Address('env:TELEGRAM_URL'))
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        if not (_VARIABLE.match(self._text) or _SCHEME.match(self._text)):
            raise UsageError(
                "the address is neither an apprise URL nor the name of an environment variable.",
                hint='write "json://host/path", or "env:NAME" and the URL in that variable',
            )

    def reveal(self) -> str:
        """The URL itself, secrets and all; for the sender only. Raises ConfigError when the variable is not set."""
        variable = _VARIABLE.match(self._text)
        if not variable:
            return self._text
        found = os.environ.get(variable[1], "").strip()
        if not _SCHEME.match(found):
            state = "holds no URL" if found else "is not set"
            raise ConfigError(
                f"the environment variable {variable[1]} {state}.",
                hint=f"export {variable[1]}=… with an apprise URL such as tgram://TOKEN/CHAT",
            )
        return found

    def __str__(self) -> str:
        scheme = _SCHEME.match(self._text)
        return f"{scheme[0].lower()}://…" if scheme else self._text

    def __repr__(self) -> str:
        return f"Address('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Channel:
    """One ``[notify.NAME]``. Times in µs; empty texts mean the built-in ones, no ``kinds`` means all of them."""

    name: str
    address: Address
    title: str = ""
    template: str = ""
    least: Severity = "info"
    kinds: tuple[Kind, ...] = ()
    rate: Throttle = _RATE
    attempts: int = 10
    backoff: int = 2 * SECOND
    timeout: int = 10 * SECOND

    def wants(self, message: Message) -> bool:
        """Is it severe enough, and of a kind that goes here?"""
        return LEVELS.index(message.severity) >= LEVELS.index(self.least) and message.kind in (self.kinds or KINDS)
