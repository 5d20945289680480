"""Verbs about features: features list, explain, build, verify, export; prove."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gapless.cli.options import (
    COMMON,
    AsOf,
    Common,
    End,
    OneTimeframe,
    Output,
    Start,
    Symbols,
    Timeframes,
    Universe,
    show,
    split,
)


def register(app: App) -> None:
    """Add the verbs."""
    group = App(name="features", help="The catalogue, one definition, and building features into the lake.")
    group.command(list_, name="list")
    group.command(explain)
    for verb in (build, verify, export):
        group.command(verb)
    app.command(group)
    app.command(prove)


def list_(find: str = "", *, common: Common = COMMON) -> int:
    """List features by family: signature, what it is, warm-up, memory, bounds.

    Parameters
    ----------
    find
        Only features in whose name, family or description a word begins so.
    """
    from gapless.cli import render_features
    from gapless.errors import UnknownName
    from gapless.features import listing

    rows, word = listing(), re.compile(rf"(?<![a-z]){re.escape(find)}", re.IGNORECASE)
    found = [r for r in rows if word.search(f"{r['name']} {r['group']} {r['summary']}")]
    if not found:
        raise UnknownName("feature or family", find, [*{r["group"]: 0 for r in rows}, *(r["name"] for r in rows)])
    show(found) if common.json else render_features.catalogue(found)
    return 0


def explain(expressions: Annotated[list[str], Parameter(consume_multiple=True)], *, common: Common = COMMON) -> int:
    """Explain one definition: graph, inputs, memory, warm-up, version; of several, what they share.

    Parameters
    ----------
    expressions
        For example "rsi(close, 14)".
    """
    from gapless.app.explaining import explained, sharing
    from gapless.cli import render_features

    if len(expressions) == 1:
        (one,) = explained(expressions)
        show(one) if common.json else render_features.explain(one)
    else:
        several = sharing(expressions)
        show(several) if common.json else render_features.sharing(several)
    return 0


def build(
    *,
    features: Annotated[str | None, Parameter(name="--features")] = None,
    symbols: Symbols = None,
    universe: Universe = None,
    timeframes: Timeframes = None,
    common: Common = COMMON,
) -> int:
    """Build features into the lake, incrementally: unchanged segments are skipped, changed ones computed again.

    Parameters
    ----------
    features
        name=expression;name=expression, or names of [features] in gapless.toml; all of them if left out.
    """
    from gapless.app.building import build_features, to_build
    from gapless.app.runs import running
    from gapless.app.selecting import named
    from gapless.cli import render_features
    from gapless.observe.progress import progress

    lake = common.open(create=False)
    instruments, bars = named(lake, split(symbols), universe), split(timeframes)
    to_build(lake, features, bars)  # a wrong call is no run
    with running(lake.store, "build", progress()) as run:
        found = build_features(lake, run, features, instruments, bars)
    document = {"run": run.id, "seconds": run.document["seconds"], **found}
    show(document) if common.json else render_features.built(document)
    return run.exit_code


def verify(
    *, sample: int = 20, seed: int = 0, symbols: Symbols = None, universe: Universe = None, common: Common = COMMON
) -> int:
    """Compute a sample of the built series, and of live rows, again and compare every bit; exit 1 if any differs.

    Live rows are those that a desk computed in the last two days, with the features it has now. While it runs, a
    correction on its way may show: run it again.

    Parameters
    ----------
    sample
        How many series of each set; 0 for all.
    seed
        Another seed is another sample.
    """
    from gapless.app.building import verify_features
    from gapless.app.live_rows import verify_live
    from gapless.app.selecting import named
    from gapless.cli import render_features

    lake = common.open(create=False)
    instruments = named(lake, split(symbols), universe)
    lines = verify_features(lake, sample, seed, instruments) + verify_live(lake, sample, seed, instruments)
    show(lines) if common.json else render_features.verified(lines)
    return 1 if any(line["differing"] for line in lines) else 0


def export(
    *,
    output: Output,
    timeframe: OneTimeframe = "1m",
    features: str | None = None,
    symbols: Symbols = None,
    universe: Universe = None,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    layout: Literal["wide", "long"] = "wide",
    adjust: Literal["none", "splits", "all"] = "none",
    common: Common = COMMON,
) -> int:
    """Write feature rows to a .parquet, .csv or .feather file (- is CSV on stdout).

    Features that compare instruments compare those of the universe, or of the symbols where none is given.

    Parameters
    ----------
    features
        name=expression;name=expression, or names of [features] in gapless.toml; all of them if left out.
    layout
        wide: a column a feature; long: a row a value.
    adjust
        From bars without the effect of splits, or of splits and dividends.
    """
    from gapless.app.building import chosen
    from gapless.app.coverage import check_stored
    from gapless.cli import write

    lake = common.open(create=False)
    check_stored(lake.store, split(symbols) or ())
    wanted = chosen(lake.config.features, features)
    rows = lake.features(
        split(symbols), timeframe, wanted, start=start, end=end, as_of=as_of, layout=layout, universe=universe,
        adjust=adjust,
    )  # fmt: skip
    write.table(rows, output)
    if output != "-":
        done = {"written": output, "rows": rows.height, "features": [*wanted]}
        what = f"{rows.height:,} rows of {len(wanted)} feature{'s' * (len(wanted) != 1)}"
        show(done) if common.json else print(f"wrote {what} to {output}")
    return 0


def prove(expressions: Annotated[list[str], Parameter(consume_multiple=True)], *, common: Common = COMMON) -> int:
    """Prove that batch, step, chunked, resumed, late and corrected computation agree to the bit; exit 1 if not.

    Parameters
    ----------
    expressions
        For example "rsi(close, 14)".
    """
    from gapless.app.building import keep_certificates
    from gapless.cli import render_features
    from gapless.features import prove as certify
    from gapless.features.proof import MEANINGS

    found = [certify(e).as_dict() for e in expressions]
    keep_certificates(common.existing(), found)
    show(found[0] if len(found) == 1 else found) if common.json else render_features.certificates(found, MEANINGS)
    return 0 if all(c["passed"] for c in found) else 1
