"""What a client may say on a websocket, and the answers: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, properties.

Answers have the venue's words (its documentation's "Error Messages") in the envelope its servers are seen to use:
``{"error":{"code":…,"msg":…},"id":…}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_LONGEST_ID = 36


class Declined(Exception):  # noqa: N818 - an answer, not a failure of ours
    """Ends the handling of a command with an error answer."""

    def __init__(self, code: int, text: str, number: object = None) -> None:
        super().__init__(text)
        self.code, self.text, self.number = code, text, number

    @property
    def answer(self) -> bytes:
        """As it goes back to the client."""
        error: dict[str, object] = {"error": {"code": self.code, "msg": self.text}}
        return _json(error if self.number is None else {**error, "id": self.number})


@dataclass(frozen=True)
class Command:
    """One message of a client, as far as it could be read."""

    method: str
    params: list[Any]
    number: int | str | None


@dataclass
class Subscriptions:
    """The streams of one connection, in the order they were asked for, and how they are wrapped."""

    limit: int
    combined: bool
    names: dict[str, None] = field(default_factory=dict)

    def obey(self, command: Command) -> bytes:
        """Do it; the answer. Raises Declined."""
        deeds: dict[str, Callable[[Command], object]] = {
            "SUBSCRIBE": self._subscribe, "UNSUBSCRIBE": self._unsubscribe, "SET_PROPERTY": self._set,
            "LIST_SUBSCRIPTIONS": lambda command: list(self.names), "GET_PROPERTY": self._get,
        }  # fmt: skip
        return _json({"result": deeds[command.method](command), "id": command.number})

    def _subscribe(self, command: Command) -> None:
        added = dict.fromkeys(_names(command))
        if len(self.names | added) > self.limit:
            raise Declined(4, "Too many subscriptions", command.number)
        self.names |= added

    def _unsubscribe(self, command: Command) -> None:
        for name in _names(command):
            self.names.pop(name, None)

    def _set(self, command: Command) -> None:
        self._property(command, 2)
        if not isinstance(command.params[1], bool):
            raise Declined(1, "Invalid value type: expected Boolean", command.number)
        self.combined = command.params[1]

    def _get(self, command: Command) -> bool:
        self._property(command, 1)
        return self.combined

    def _property(self, command: Command, count: int) -> None:
        if not command.params or not isinstance(command.params[0], str):
            raise Declined(2, "Invalid request: property name must be a string", command.number)
        if command.params[0] != "combined":
            raise Declined(0, "Unknown property", command.number)
        if len(command.params) > count:
            raise Declined(2, "Invalid request: too many parameters", command.number)
        if len(command.params) < count:
            raise Declined(1, "Invalid value type: expected Boolean", command.number)


def read(text: str) -> Command:
    """A client's message. Raises Declined for what is none.

    >>> read('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}')
    Command(method='SUBSCRIBE', params=['btcusdt@kline_1m'], number=1)
    """
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Declined(3, f"Invalid JSON: expected value at {where}") from None
    if not isinstance(body, dict) or "method" not in body:
        raise Declined(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    number = body.get("id")
    if not _is_id(number) or "id" not in body:
        raise Declined(2, "Invalid request: request ID must be an unsigned integer")
    if body["method"] not in METHODS:
        known = ", ".join(f"`{name}`" for name in METHODS)
        column = text.find(str(body["method"])) + len(str(body["method"])) + 1
        text = f"Invalid request: unknown variant `{body['method']}`, expected one of {known} at line 1 column {column}"
        raise Declined(2, text, number)
    params = body.get("params", [])
    if not isinstance(params, list):
        raise Declined(2, f"Invalid request: invalid type at line 1 column {len(text)}", number)
    return Command(body["method"], params, number)


def _is_id(number: object) -> bool:
    if isinstance(number, str):
        return number.isalnum() and len(number) <= _LONGEST_ID
    return number is None or (isinstance(number, int) and not isinstance(number, bool))


def _names(command: Command) -> list[str]:
    if not command.params or not all(isinstance(name, str) and name for name in command.params):
        raise Declined(2, "Invalid request: params must be the names of streams", command.number)
    return command.params


def _json(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
