"""``gapless sim``: the simulated venue on its own, or replaying a lake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl

from gapless import sim
from gapless.errors import UsageError
from gapless.series import Instrument
from gapless.spans import Span, Timeframe, iso
from gapless.stores.lake import Lake as Store


def serve(host: str, port: int, symbols: str, replay: Path | None, timeframe: str, options: dict[str, Any]) -> None:
    """Serve until a signal; says where on stderr."""
    names: int | tuple[str, ...] = int(symbols) if symbols.isdigit() else tuple(symbols.split(","))
    if replay is not None:
        options |= replaying(Store(replay, create=False), Timeframe.parse(timeframe))
        names = options.pop("symbols")
    config = sim.SimConfig(symbols=names, **options)
    sim.serve(config, host=host, port=port, on_ready=_say)


def replaying(store: Store, timeframe: Timeframe) -> dict[str, Any]:
    """The options of a venue that serves the bars of a lake; its clock starts after the last of them."""
    present = store.present(timeframe)
    if not present:
        raise UsageError(f"the lake at {store.root} has no {timeframe} bars to replay.", hint="--timeframe another")
    symbols = {Instrument.parse(name).symbol: name for name in present}

    def reader(instrument: Instrument, bars: Timeframe, span: Span) -> pl.DataFrame:
        return store.rows(bars, [symbols[instrument.symbol]], span)

    hulls = {symbol: present[name].hull for symbol, name in symbols.items()}
    last = max(h.end for h in hulls.values() if h)
    return {
        "symbols": tuple(symbols),
        "reader": reader,
        "now": iso(last),
        "listed": {s: h for s, h in hulls.items() if h},
    }


def _say(url: str) -> None:
    print(f"simulated venue at {url} (spot /api/v3, USD-M /fapi/v1, truth /sim/truth); Ctrl-C ends it", file=sys.stderr)
    bases = ", ".join(f"{venue} {address}" for venue, address in sim.ws_urls(url).items())
    print(f"websockets, before /ws and /stream: {bases}", file=sys.stderr)
