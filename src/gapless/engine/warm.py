"""Warming a desk: its features as if every stored bar up to some time had been stepped, in batch: the same bits."""

from __future__ import annotations

import numpy as np

from gapless.engine.desk import Desk
from gapless.engine.inputs import inputs
from gapless.engine.rows import moments
from gapless.features.frames import times
from gapless.features.planning import run
from gapless.protocols import FeatureStore
from gapless.spans import DAY, Span

_STRETCH = 400 * DAY  # bars of one instrument read at once
_MOMENTS = 2 * DAY  # bars of all instruments read at once


def warm(desk: Desk, store: FeatureStore, until: int) -> None:
    """Features after the newest stored bars that open at or before ``until``."""
    desk.renew()
    if desk.plan.crossing:
        _step_all(desk, store, until)
        return
    for name in desk.duties.instruments:
        found = _state(desk, store, name, until)
        if found is not None:
            desk.stream.restore_one(name, *found)


def stretches(store: FeatureStore, desk: Desk, names: tuple[str, ...], until: int, length: int) -> list[Span]:
    """The time from the first stored bar of these instruments to ``until``, in parts."""
    present = store.present(desk.duties.timeframe)
    starts = [int(present[name].starts[0]) for name in names if present.get(name)]
    if not starts:
        return []
    first = min(starts)
    return [Span(at, min(at + length, until + 1)) for at in range(first, until + 1, length)]


def _state(desk: Desk, store: FeatureStore, name: str, until: int) -> tuple[bytes, int] | None:
    """The state of one instrument after its newest bar by then, and that bar's time."""
    plan, timeframe = desk.plan, desk.duties.timeframe
    state: bytes | None = None
    last = None
    for span in stretches(store, desk, (name,), until, _STRETCH):
        bars, columns = inputs(store, plan, [name], timeframe, span)
        if bars.height:
            _, state = run(plan, columns, state)
            last = int(times(bars)[-1])
    return None if state is None or last is None else (state, last)


def _step_all(desk: Desk, store: FeatureStore, until: int) -> None:
    """Features that compare instruments are stepped, bar time by bar time."""
    own = len(desk.duties.instruments)
    for span in stretches(store, desk, desk.instruments, until, _MOMENTS):
        rows = store.rows(desk.duties.timeframe, list(desk.instruments), span)
        for moment in moments(rows, desk.instruments):
            desk.features(moment, np.flatnonzero(moment.present[:own]))
