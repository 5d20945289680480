"""Verbs about features: features list, explain, build; prove."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, Common, show, split


def register(app: App) -> None:
    """Add the verbs."""
    group = App(name="features", help="The catalogue, one definition, and building features into the lake.")
    group.command(list_, name="list")
    group.command(explain)
    group.command(build)
    app.command(group)
    app.command(prove)


def list_(*, common: Common = COMMON) -> int:
    """List every operator and feature: signature, warm-up, memory, bounds, and what it is."""
    from gapless.cli import render
    from gapless.features import catalogue

    found = [
        {"name": e.name, "group": e.group, "signature": e.signature, "summary": e.summary, "doc": e.doc,
         "bounds": {"low": e.bounds[0], "high": e.bounds[1]}, "source": e.source}
        for e in catalogue().values()
    ]  # fmt: skip
    show(found) if common.json else render.catalogue(found)
    return 0


def explain(expression: str, *, common: Common = COMMON) -> int:
    """Explain one definition: graph, inputs, memory, warm-up, version.

    Parameters
    ----------
    expression
        For example "rsi(close, 14)".
    """
    from gapless.cli import render
    from gapless.features import plan

    found = plan({"x": expression}).explain("x")
    del found["name"]
    show(found) if common.json else render.explain(found)
    return 0


def build(
    *,
    features: Annotated[str | None, Parameter(name="--features")] = None,
    symbols: str | None = None,
    timeframes: str | None = None,
    common: Common = COMMON,
) -> int:
    """Build features into the lake, incrementally: unchanged segments are skipped, changed ones computed again.

    Parameters
    ----------
    features
        name=expression;name=expression, or names of [features] in gapless.toml; all of them if left out.
    symbols
        VENUE:SYMBOL,…; all of the lake if left out.
    timeframes
        1m,1h,…; all of the lake if left out.
    """
    from gapless.app.building import build_features
    from gapless.app.runs import running
    from gapless.cli import render
    from gapless.observe.progress import progress

    lake = common.open(create=False)
    with running(lake.store, "build", progress()) as run:
        found = build_features(lake, run, features, split(symbols), split(timeframes))
    document: dict[str, Any] = {"run": run.id, "seconds": run.document["seconds"], "sets": found}
    show(document) if common.json else render.built(document)
    return run.exit_code


def prove(expressions: Annotated[list[str], Parameter(consume_multiple=True)], *, common: Common = COMMON) -> int:
    """Prove that batch, step, chunked, resumed, late and corrected computation agree to the bit; exit 1 if not.

    Parameters
    ----------
    expressions
        For example "rsi(close, 14)".
    """
    from gapless.cli import render
    from gapless.features import prove as certify

    found = [certify(e).as_dict() for e in expressions]
    show(found[0] if len(found) == 1 else found) if common.json else render.certificates(found)
    return 0 if all(c["passed"] for c in found) else 1
