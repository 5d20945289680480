"""What came of positions: how many, how often they won, how much, and what kept signals out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gapless.alerts.position import Position


@dataclass(frozen=True, slots=True)
class Result:
    """Closed positions in figures, after costs. Percent of the entry price, not compounded; None where there is none.

    A position that came out at exactly nothing is neither won nor lost. ``profit_factor``: what the winners won over
    what the losers lost. ``expectancy`` is the average of all, ``expectancy_r`` in units of what was risked.
    """

    positions: int
    won: int
    lost: int
    win_rate: float | None
    average_win: float | None
    average_loss: float | None
    profit_factor: float | None
    expectancy: float | None
    expectancy_r: float | None
    total: float
    mfe: float | None
    mae: float | None
    bars: float | None


def result(positions: Iterable[Position]) -> Result:
    """The figures of the closed ones among ``positions``."""
    closed = [p for p in positions if p.state == "closed"]
    net = [p.pnl_net for p in closed]
    wins, losses = [x for x in net if x > 0], [x for x in net if x < 0]
    return Result(
        positions=len(closed),
        won=len(wins),
        lost=len(losses),
        win_rate=len(wins) / len(closed) if closed else None,
        average_win=_mean(wins),
        average_loss=_mean(losses),
        profit_factor=math.fsum(wins) / -math.fsum(losses) if losses else None,
        expectancy=_mean(net),
        expectancy_r=_mean([p.r for p in closed]),
        total=math.fsum(net),
        mfe=_mean([p.mfe for p in closed]),
        mae=_mean([p.mae for p in closed]),
        bars=_mean([p.bars for p in closed]),
    )


def summary(positions: Iterable[Position]) -> dict[str, Any]:
    """For a report: all closed positions, the same by rule, profile, instrument and reason, and the others.

    ``open`` counts live ones and what they stand at. ``refused`` counts signals that ended without a position, by
    reason; ``blocked`` how often each filter was the last that stood in the way of one of them. A profile with signals
    and nothing but refusals stands in ``never_opened``.
    """
    found = list(positions)
    held = [p for p in found if p.live and p.opened]
    refused = [p for p in found if p.state in ("invalidated", "expired")]
    return {
        "all": asdict(result(found)),
        "by_rule": _by(found, lambda p: p.rule),
        "by_profile": _by(found, lambda p: p.profile),
        "by_instrument": _by(found, lambda p: p.instrument),
        "by_reason": _by(found, lambda p: p.reason),
        "open": {"pending": sum(p.state == "pending" for p in found), "positions": len(held),
                 "pnl_net": math.fsum(p.pnl_net for p in held)},
        "refused": _counted(p.reason for p in refused),
        "blocked": _counted(p.blocked for p in refused if p.blocked),
        "never_opened": sorted({p.profile for p in refused} - {p.profile for p in found if p.opened}),
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _by(positions: Iterable[Position], key: Callable[[Position], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Position]] = {}
    for position in positions:
        if position.state == "closed":
            groups.setdefault(key(position), []).append(position)
    return {name: asdict(result(groups[name])) for name in sorted(groups)}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
