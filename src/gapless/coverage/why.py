"""Why one bar is there, or is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapless.coverage.classify import classify
from gapless.coverage.gap import Gap
from gapless.coverage.grid import Market
from gapless.protocols import Facts
from gapless.spans import DAY, WEEK, Span, SpanSet, iso


def why(facts: Facts, gaps: Sequence[Gap], market: Market, ts: int, *, now: int, settle: int) -> dict[str, Any]:
    """Class and evidence of the bar of ``facts.series`` that opens at ``ts`` (µs).

    ``gaps`` are those of ``classify`` over the whole venue (an outage shows only there). Beside the ten gap classes:
    ``present``, ``closed`` (no session then; the sessions around it are named) and ``off_grid`` (no bar opens then).
    A time outside all that was asked is judged on its own.
    """
    return {
        "instrument": str(facts.series.instrument),
        "timeframe": str(facts.series.timeframe),
        "ts": iso(ts),
        **_answer(facts, gaps, market, ts, now, settle),
    }


def _answer(facts: Facts, gaps: Sequence[Gap], market: Market, ts: int, now: int, settle: int) -> dict[str, Any]:
    timeframe = facts.series.timeframe
    bar = Span(ts, ts + timeframe.micros)
    if timeframe.floor(ts) != ts:
        nearest = f"the bar that holds this time opens at {iso(timeframe.floor(ts))}"
        return _plain("off_grid", f"no {timeframe} bar opens at {iso(ts)}", nearest)
    expected = bool(market.expected(timeframe, bar))
    mine = [g for g in gaps if g.series == facts.series and g.span.start <= ts < g.span.end]
    if facts.present.contains(ts):
        return _present(facts, [g for g in mine if not g.bars], bar, expected)
    if not expected:
        return _plain("closed", *_around(market, bar))
    known = mine or [g for g in gaps if g.series == facts.series and _reaches(g, ts)]
    return _missing((known or classify([facts], market, within=bar, now=now, settle=settle))[0])


def _reaches(gap: Gap, ts: int) -> bool:
    """Does what the gap says hold for times nobody asked about too?"""
    before, after = gap.cls == "before_listing", gap.cls == "after_delisting"
    return (before and ts < gap.span.end) or (after and ts >= gap.span.start)


def _present(facts: Facts, conflicts: Sequence[Gap], bar: Span, expected: bool) -> dict[str, Any]:
    evidence = ["the bar is stored"]
    if facts.provisional & SpanSet.of(bar):
        evidence.append("it was learned so soon after its close that it may still be corrected")
    for gap in conflicts:
        evidence += gap.evidence
    if not expected and not conflicts:
        evidence.append("it lies outside the calendar's hours")
    return _plain("present", *evidence)


def _missing(gap: Gap) -> dict[str, Any]:
    row = gap.to_dict()
    kept = ("class", "evidence", "confidence", "severity", "attempts")
    return {**{key: row[key] for key in kept}, "gap": {"start": row["start"], "end": row["end"], "bars": row["bars"]}}


def _plain(cls: str, *evidence: str) -> dict[str, Any]:
    return {"class": cls, "evidence": list(evidence)}


def _around(market: Market, bar: Span) -> list[str]:
    """The sessions before and after a closed time."""
    days = market.days(Span(bar.start - 2 * WEEK, bar.end + 2 * WEEK))
    spans = [Span(int(a), int(b)) for a, b in zip(days.starts, days.ends, strict=True)]
    longer = bar.end - bar.start >= DAY  # then a label is asked about, and the session of that date does not exist
    before = [s for s in spans if s.end <= bar.start or (longer and s.start < bar.start)]
    after = [s for s in spans if s.start >= bar.end]
    told = [f"calendar {market.name} is closed at {iso(bar.start)}"]
    told += [f"the session before it was {before[-1]}"] if before else []
    return told + ([f"the session after it is {after[0]}"] if after else [])
