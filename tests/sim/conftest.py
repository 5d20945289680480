"""A plain client, and venues with a clock that stands still."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from gapless.sim import Running, SimConfig, running

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
NOW = "2024-06-03T12:34:20Z"


@dataclass
class Got:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One request, one connection, nothing hidden."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc

    def __call__(self, path: str, method: str = "GET", **params: object) -> Got:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            headers = {"User-Agent": "Mozilla/5.0 (a test)"}  # one vendor answers none but browsers
            connection.request(method, f"{path}?{urlencode(params)}" if params else path, headers=headers)
            answer = connection.getresponse()
            return Got(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def klines(self, symbol: str = "BTCUSDT", interval: str = "1m", **params: object) -> Any:
        return self("/api/v3/klines", symbol=symbol, interval=interval, **params).json


@pytest.fixture
def venue() -> Callable[..., AbstractContextManager[tuple[Running, Client]]]:
    """``with venue(faults="429:1x") as (sim, get)``: the clock stands at NOW."""

    @contextmanager
    def start(**options: Any) -> Iterator[tuple[Running, Client]]:
        usual = {"symbols": 8, "start": "2024-03-01", "now": NOW, "speed": 0.0}
        with running(SimConfig(**{**usual, **options})) as sim:
            yield sim, Client(sim.url)

    return start


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Any]:
    """A recorded answer of the real venue."""

    def load(name: str) -> Any:
        path = WIRE / name
        if not path.exists():
            pytest.skip(f"recorded answers are not here: {path}")
        return json.loads(path.read_text())

    return load
