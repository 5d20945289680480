"""``features build``: which features of which series, and an honest account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapless.app.lake import Lake
from gapless.app.runs import Run
from gapless.engine.build import build
from gapless.errors import UnknownName, UsageError
from gapless.events import RunStarted
from gapless.series import Instrument
from gapless.spans import Timeframe


def chosen(config: Mapping[str, str], text: str | None) -> dict[str, str]:
    """Features from ``name=expression;…``, from names of the configuration, or all the configuration has."""
    if text is None:
        if not config:
            raise UsageError(
                "no features are named.", hint="--features 'rsi14=rsi(close, 14)', or [features] in gapless.toml"
            )
        return dict(config)
    parts = [p.strip() for p in text.split(";") if p.strip()]
    if len(parts) == 1 and "=" not in parts[0] and "(" not in parts[0]:
        parts = [p.strip() for p in parts[0].split(",")]
    found = {}
    for part in parts:
        name, equals, expression = part.partition("=")
        if not equals and name not in config:
            raise UnknownName("feature of gapless.toml", name, config, hint="name=expression defines one here")
        found[name.strip()] = expression.strip() if equals else config[name]
    return found


def build_features(
    lake: Lake, run: Run, text: str | None, symbols: Sequence[str] | None, timeframes: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Build into the lake; one report a timeframe."""
    features = chosen(lake.config.features, text)
    bars = [Timeframe.parse(t) for t in timeframes or lake.timeframes()]
    reports = []
    for timeframe in bars:
        known = lake.instruments(timeframe.name)
        names = list(symbols) if symbols else known
        run.observe(RunStarted(run.id, "build", len(names), 0))
        report = build(lake.store, features, [Instrument.parse(n) for n in names], timeframe, observer=run.observe)
        run.audit.errors += [{"series": str(s), "span": "", "error": e} for s, e in report.errors.items()]
        reports.append(report.to_dict())
    return reports
