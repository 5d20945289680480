"""``features build``: which features of which series, and an honest account."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from gapless.app.lake import Lake
from gapless.app.reading import by_timeframe, view
from gapless.app.runs import Run
from gapless.engine.build import build, differing
from gapless.engine.valued import Valued
from gapless.errors import UnknownName, UsageError
from gapless.events import Observer, RunStarted, Verified, nobody
from gapless.features import plan
from gapless.series import Instrument, Series
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
) -> dict[str, Any]:
    """Build into the lake: a report for each timeframe, and the features that are computed when they are read."""
    wanted, virtual = to_build(lake, text, timeframes)
    store = view(lake.store, lake.config)
    jobs = [(own, group, list(symbols or sorted(store.present(own)))) for own, group in wanted]
    run.observe(RunStarted(run.id, "build", sum(len(names) for _, _, names in jobs), 0))
    return {"sets": [_build(store, run, *job) for job in jobs], "computed_when_read": virtual}


def to_build(
    lake: Lake, text: str | None, timeframes: Sequence[str] | None
) -> tuple[list[tuple[Timeframe, dict[str, str]]], list[str]]:
    """What to build of each timeframe, and what is never built; the build refuses it where it was named by hand."""
    features = chosen(lake.config.features, text)
    wanted: dict[tuple[Timeframe, tuple[str, ...]], dict[str, str]] = {}
    virtual: dict[str, None] = {}
    for timeframe in (Timeframe.parse(t) for t in timeframes or lake.timeframes()):
        for own, group in ((own, group) for own, group in by_timeframe(features, timeframe).items() if group):
            understood = plan(group)
            crossing = understood.crossing if text is None else ()
            virtual |= dict.fromkeys(crossing)
            stored = {name: body for name, body in group.items() if name not in crossing}
            if stored:
                wanted[own, tuple(stored)] = stored
    return [(own, group) for (own, _), group in wanted.items()], list(virtual)


def _build(
    store: Valued, run: Run, timeframe: Timeframe, features: Mapping[str, str], names: Sequence[str]
) -> dict[str, Any]:
    """One set, on bars that are stored or folded from shorter ones."""
    report = build(store, features, [Instrument.parse(n) for n in names], timeframe, observer=run.observe)
    run.audit.errors += [{"series": str(s), "span": "", "error": e} for s, e in report.errors.items()]
    return {"timeframe": timeframe.name, "features": [*features]} | report.to_dict()


def verify_features(
    lake: Lake, sample: int, seed: int, symbols: Sequence[str] | None, *, observer: Observer = nobody
) -> list[dict[str, Any]]:
    """One line for each sampled series of each built set: values looked at, and values whose bits differ."""
    sets: dict[tuple[str, str], dict[str, str]] = {}
    for name, timeframe, feature, expression, _ in lake.store.meta.feature_sets():
        sets.setdefault((name, timeframe), {})[feature] = expression
    lines = []
    for (name, timeframe), features in sets.items():
        bars = Timeframe.parse(timeframe)
        store = view(lake.store, lake.config)
        built = [n for n in sorted(store.present(bars)) if lake.store.segments(name, Series.parse(n, bars))]
        wanted = [n for n in built if not symbols or n in symbols]
        picked = wanted if not sample else random.Random(seed).sample(wanted, min(sample, len(wanted)))
        for instrument in sorted(picked):
            series = Series.parse(instrument, bars)
            looked, wrong = differing(store, features, series)
            observer(Verified(series, looked, wrong))
            lines.append(
                {"set": name, "live": False, "instrument": instrument, "timeframe": timeframe, "features": [*features],
                 "values": looked, "differing": wrong}
            )  # fmt: skip
    return lines


def keep_certificates(lake: Lake | None, found: Sequence[Mapping[str, Any]]) -> None:
    """Store certificates beside the versions they are of, where there is a lake."""
    if lake is None:
        return
    with lake.store.writing("keep certificates"):
        for certificate in found:
            lake.store.meta.store_certificate(certificate["version"], certificate, lake.store.clock())
