"""Error answers in Binance's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reply:
    """What goes back to the client."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json;charset=UTF-8"


class Refusal(Exception):  # noqa: N818 - not a failure of ours: an answer
    """Ends the handling of a request with an error answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def error(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error body of the venue.

    >>> error(400, -1121, "Invalid symbol.").body
    b'{"code":-1121,"msg":"Invalid symbol."}'
    """
    body = json.dumps({"code": code, "msg": message}, separators=(",", ":")).encode()
    return Reply(status, body, headers or {})


def missing(parameter: str) -> Refusal:
    return Refusal(error(400, -1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed."))


def illegal(parameter: str, legal: str) -> Refusal:
    return Refusal(error(400, -1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'."))


def unread(read: int, sent: int) -> Refusal:
    text = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
    return Refusal(error(400, -1104, text))


def invalid_symbol() -> Refusal:
    return Refusal(error(400, -1121, "Invalid symbol."))


def invalid_interval() -> Refusal:
    return Refusal(error(400, -1120, "Invalid interval."))


def start_after_end() -> Refusal:
    return Refusal(error(400, -1023, "Start time is greater than end time."))


def invalid_limit() -> Refusal:
    return Refusal(error(400, -1130, "Data sent for parameter 'limit' is not valid."))


def too_much(limit: int, retry_after: int) -> Reply:
    """429: over the weight of a minute."""
    text = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return error(429, -1003, text, {"Retry-After": str(retry_after)})


def banned(until_ms: int, retry_after: int) -> Reply:
    """418: went on after 429."""
    text = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return error(418, -1003, text, {"Retry-After": str(retry_after)})


def _page(title: str) -> bytes:
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n"
    return f"{head}<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n".encode()


def unwell(which: int) -> Reply:
    """One of the 5xx answers: JSON from the application, HTML from the load balancer before it."""
    replies = (
        error(500, -1000, "An unknown error occurred while processing the request."),
        error(500, -1001, "Internal error; unable to process your request. Please try again."),
        Reply(502, _page("502 Bad Gateway"), content_type="text/html"),
        Reply(503, _page("503 Service Temporarily Unavailable"), content_type="text/html"),
    )
    return replies[which % len(replies)]
