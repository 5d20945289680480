"""One JSON document a run: what was asked, answered, written, failed, retried, how long it took, how many bytes."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gapless.events import Event, Fetched, Paused, Retried, TaskDone
from gapless.folds import DERIVED
from gapless.protocols import Counts
from gapless.series import Series
from gapless.spans import Span, SpanSet, Timeframe, iso, to_datetime

COUNTS = ("read", "written", "unchanged", "corrected", "duplicate", "quarantined")


def run_name(verb: str, now: int) -> str:
    """A name no other run has: when it began, what it is, and four random digits."""
    return f"{to_datetime(now):%Y%m%dT%H%M%S}-{verb}-{secrets.token_hex(2)}"


class Audit:
    """Adds up one run from its events and its write reports."""

    def __init__(self, run: str, verb: str, started: int) -> None:
        self.run, self.verb, self.started = run, verb, started
        self.counts: dict[Series, Counts] = {}
        self.nameless = Counts()
        self.tally: Counter[str] = Counter()
        self.per_series: dict[Series, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.errors: list[dict[str, str]] = []
        self.handovers: list[dict[str, Any]] = []
        self.values: dict[tuple[str, str], tuple[Counts, Mapping[str, int]]] = {}
        self.residual: list[dict[str, str]] = []
        self.derived: list[dict[str, Any]] = []

    def observe(self, event: Event) -> None:
        """Listen to one event."""
        match event:
            case Fetched():
                self._add(event.series, requests=1, bytes=event.bytes)
            case Retried():
                self.tally["retries"] += 1
                self.retries[event.reason] += 1
            case Paused():
                self.tally["paused_seconds"] += round(event.seconds)
            case TaskDone(error=error) if error:
                self._add(event.series, failed=1)
                self.errors.append({"series": str(event.series), "span": str(event.span), "error": error})
            case _:
                pass

    def _add(self, series: Series, **counts: int) -> None:
        self.per_series.setdefault(series, Counter()).update(counts)
        self.tally.update(counts)

    def wrote(self, counts: Mapping[Series, Counts], reasons: Mapping[str, int]) -> None:
        """Add a write report."""
        for series, count in counts.items():
            self.counts[series] = self.counts.get(series, Counts()) + count
        self.reasons.update(reasons)

    def told(self, instrument: str, name: str, counts: Counts, **tally: int) -> None:
        """How it went for one kind of values of an instrument."""
        self.values[instrument, name] = counts, tally
        self.tally.update(tally)

    def handed_over(self, series: Series, asked: SpanSet, filled: SpanSet, *, before: str, to: str) -> None:
        """What one source left open was asked of another, and came from it."""
        names = {"instrument": str(series.instrument), "timeframe": series.timeframe.name, "from": before, "to": to}
        counts = {"asked": asked.bars(series.timeframe), "filled": filled.bars(series.timeframe)}
        within = asked.hull
        edges = {"start": iso(within.start), "end": iso(within.end)} if within else {}
        self.handovers.append(names | edges | counts)

    def derived_from(self, series: Series, base: Timeframe, span: Span, bars: int) -> None:
        """Bars of a series were folded from stored shorter ones."""
        names = {"instrument": str(series.instrument), "timeframe": series.timeframe.name, "from": base.name}
        self.derived.append(names | {"start": iso(span.start), "end": iso(span.end), "bars": bars})

    def made_good(self, open_still: Collection[Series]) -> None:
        """Errors of series that another source, or deriving, completed say so: they are no failure of the run."""
        by = {f"{h['instrument']} {h['timeframe']}": str(h["to"]) for h in self.handovers}
        by |= {f"{d['instrument']} {d['timeframe']}": f"{DERIVED}{d['from']}" for d in self.derived if d["bars"]}
        for error in self.errors:
            if error["series"] in by and error["series"] not in map(str, open_still):
                error.setdefault("made_good_by", by[error["series"]])

    @property
    def failed(self) -> bool:
        """Did anything fail that nobody made good?"""
        return any("made_good_by" not in error for error in self.errors)

    def totals(self) -> dict[str, int]:
        """The totals of CONTRACT's JSON shape."""
        values = (counts for counts, _ in self.values.values())
        counts = asdict(sum((*self.counts.values(), *values), self.nameless))
        return counts | {name: self.tally[name] for name in ("requests", "retries", "failed")}

    def document(self, *, ended: int, outcome: str, gaps: list[dict[str, Any]]) -> dict[str, Any]:
        """The whole account of the run."""
        return {
            "run": self.run,
            "verb": self.verb,
            "started": iso(self.started),
            "ended": iso(ended),
            "seconds": round((ended - self.started) / 1e6, 3),
            "outcome": outcome,
            "totals": self.totals(),
            "bytes": self.tally["bytes"],
            "paused_seconds": self.tally["paused_seconds"],
            "retries_by_reason": dict(self.retries.most_common()),
            "quarantined_by_reason": dict(self.reasons.most_common()),
            "series": [self._series(s) for s in sorted(self.counts.keys() | self.per_series.keys())] + self._values(),
            "errors": self.errors,
            "handovers": self.handovers,
            "derived": self.derived,
            "gaps": gaps,
        } | ({"residual": self.residual} if self.values else {})

    def _values(self) -> list[dict[str, Any]]:
        lines = sorted(self.values.items())
        return [{"instrument": i, "name": name, **asdict(counts), **tally} for (i, name), (counts, tally) in lines]

    def _series(self, series: Series) -> dict[str, Any]:
        names = {"instrument": str(series.instrument), "timeframe": series.timeframe.name}
        extra = self.per_series.get(series, Counter())
        return (
            names | asdict(self.counts.get(series, Counts())) | {n: extra[n] for n in ("requests", "failed", "bytes")}
        )


def save(document: Mapping[str, Any], directory: Path) -> Path:
    """Write the document under its run's name, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{document['run']}.json"
    temporary = path.with_suffix(".partial")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path
