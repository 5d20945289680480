"""What REST has said for good: asked long enough after a close, however long deciding what came of it took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gapless.engine.heal import Healed, Healer
from gapless.engine.health import Health
from gapless.engine.mend import Mender, Side
from gapless.engine.venue_time import VenueTime
from gapless.errors import Refused
from gapless.events import Connected, Disconnected
from gapless.series import Series
from gapless.sources.binance import spot
from gapless.spans import HOUR, MINUTE, Span, SpanSet, parse_time
from gapless.stores.lake import Lake

NOW = parse_time("2025-06-03T12:00")
BTC = Series.parse("BINANCE:BTCUSDT", "1m")


class Bench:
    """A mender of one series, whose venue's clock the test moves."""

    def __init__(self, home: Path) -> None:
        self.now, self.known = NOW, dict[Series, int]()
        source = spot("http://127.0.0.1:9")
        clock = VenueTime("binance", wall=lambda: self.now, monotonic=lambda: self.now * 1000)
        healer = Healer(source, Lake(home / "lake", clock=clock), clock, "run")
        self.side = Side(source, clock, (BTC,), healer, lambda http, observer: None)  # type: ignore[arg-type,return-value]
        self.mender = Mender([self.side], self.verified, Health(), self.told)

    def verified(self, further: Mapping[Series, int] | None) -> Mapping[Series, int]:
        self.known |= further or {}
        return self.known

    async def told(self, side: Side, healed: Healed) -> None: ...


def healed(at: int, start: int, end: int, **more: Any) -> Healed:
    return Healed(at, {BTC: SpanSet.of(Span(start, end))}, (), **({"failed": {}} | more))


def test_what_counts_is_when_it_was_asked(tmp_path: Path) -> None:
    """Asked three minutes after a close, noted a quarter of an hour later: that bar may still have been wrong."""
    bench = Bench(tmp_path)
    asked = bench.now
    bench.now += 15 * MINUTE
    bench.mender.note(bench.side, healed(asked, asked - HOUR, asked - 2 * MINUTE))
    assert bench.known == {BTC: asked - 10 * MINUTE}


def test_a_failed_series_is_not_verified(tmp_path: Path) -> None:
    """What it answered before it failed is asked again."""
    bench = Bench(tmp_path)
    bench.mender.note(bench.side, healed(NOW, NOW - 2 * HOUR, NOW - HOUR, failed={BTC: "reset"}))
    assert bench.known == {}
    bench.mender.note(bench.side, healed(NOW, NOW - 2 * HOUR, NOW - HOUR))
    assert bench.known == {BTC: NOW - HOUR}


def test_a_refusal_is_an_error_only_of_what_was_never_known() -> None:
    """A name that was known once has gone; it is told, and the run goes on."""
    from gapless.engine.mend import _believe_names

    found = healed(NOW, NOW - HOUR, NOW, failed={BTC: "no such symbol"}, refused=frozenset({BTC}))
    with pytest.raises(Refused, match="BINANCE:BTCUSDT 1m: no such symbol"):
        _believe_names(found, {})
    _believe_names(found, {BTC: NOW})


def test_of_a_venue_that_comes_late_nothing_is_asked_before_everything_is(tmp_path: Path) -> None:
    """Bars awaited in vain while it was away prove nothing of those before: asked alone, they hide its history."""
    bench = Bench(tmp_path)
    bench.mender.want(BTC, Span(NOW - 5 * MINUTE, NOW - MINUTE))
    assert bench.side.ripe() == {}
    bench.mender.want_everything(bench.side, HOUR)
    assert bench.side.ripe()[BTC].hull.start == NOW - HOUR


def test_a_venue_that_was_waited_for_is_well_once_it_has_answered(tmp_path: Path) -> None:
    """Not as soon as it says what time it is: until its answer is stored and decided, nobody is caught up."""
    bench = Bench(tmp_path)
    health = bench.mender.health
    health.started = True
    health.degraded("source binance", "waiting for binance", NOW)
    bench.mender.want_everything(bench.side, HOUR)
    health.well("feed binance", NOW)
    assert not health.ready
    bench.mender.note(bench.side, healed(NOW, NOW - HOUR, NOW))
    assert health.ready


def test_a_venue_of_which_everything_is_known_is_well_at_once(tmp_path: Path) -> None:
    """There is nothing to ask it."""
    bench = Bench(tmp_path)
    bench.known[BTC] = NOW
    bench.mender.health.degraded("source binance", "waiting for binance", NOW)
    bench.mender.want_everything(bench.side, HOUR)
    assert set(bench.mender.health.troubles) == {"feed binance"}


def test_what_a_connection_should_have_told_and_did_not_is_asked(tmp_path: Path) -> None:
    """From when it was there on; what lies before it was lost, and is asked for when it comes back."""
    bench = Bench(tmp_path)
    bench.mender.want_silent(BTC, NOW - 9 * MINUTE, NOW)
    bench.mender.connected(bench.side, Connected("binance", (BTC,), NOW - 5 * MINUTE + 1))
    bench.mender.want_silent(BTC, NOW - 9 * MINUTE, NOW - 2 * MINUTE)
    bench.side.welcome = True
    bench.now += MINUTE
    assert bench.side.ripe() == {BTC: SpanSet.of((NOW - 5 * MINUTE, NOW - 2 * MINUTE))}
    bench.mender.disconnected(bench.side, Disconnected("binance", (BTC,), NOW, "reset"))
    bench.mender.want_silent(BTC, NOW - 2 * MINUTE, NOW)
    assert bench.side.ripe()[BTC].hull.end == NOW - 2 * MINUTE
