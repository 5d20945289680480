"""Verbs that operate: demo, init, sim, audit, lake, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from gapless.cli.options import COMMON, Common, show


def register(app: App) -> None:
    """Add the verbs."""
    for verb in (demo, init, sim, audit, doctor):
        app.command(verb)
    lakes = App(name="lake", help="Integrity and maintenance.")
    for verb in (verify, compact, vacuum):
        lakes.command(verb)
    app.command(lakes)


def demo(*, keep: Path | None = None, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Run the whole path against a simulated venue that misbehaves: backfill, explain, repair, build, report.

    Parameters
    ----------
    keep
        Keep the demo's lake in this directory.
    json
        Print one JSON document and nothing else.
    """
    from gapless.app.demo import run
    from gapless.cli import render

    return run(keep, json, render.console(stderr=json, markup=True), None if json else render.status)


def init(directory: Path = Path(), *, common: Common = COMMON) -> int:
    """Write a commented gapless.toml.

    Parameters
    ----------
    directory
        Where; here if left out.
    """
    from gapless.config import EXAMPLE
    from gapless.errors import UsageError

    path = directory / "gapless.toml"
    if path.exists():
        raise UsageError(f"{path} is there already.", hint="edit it, or move it away first")
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(EXAMPLE, encoding="utf-8")
    show({"written": str(path)}) if common.json else print(f"wrote {path}")
    return 0


def sim(
    *,
    port: int = 8900,
    host: str = "127.0.0.1",
    faults: str = "",
    seed: int = 7,
    symbols: str = "20",
    start: str = "2020-01-01",
    end: str | None = None,
    now: str | None = None,
    speed: float = 1.0,
    weight_limit: int | None = None,
    silence: Literal["flat", "omit"] = "flat",
    outages_per_month: float = 0.35,
    halts_per_month: float = 0.08,
    listed_late: float = 0.1,
    delisted: float = 0.06,
    updates: int = 1,
    stream_limit: int | None = None,
    lifetime: float = 86_400.0,
    replay: Path | None = None,
    timeframe: str = "1m",
) -> int:
    """Run the simulated venue until Ctrl-C: Binance's REST and websockets, spot and USD-M, with faults on demand.

    Parameters
    ----------
    port
        0 takes a free one.
    host
        The address to listen on.
    faults
        429:0.05,reset:0.02,ws_drop:1x,…: each name with a probability, or a number of times.
    seed
        Another seed is another market, and other faults.
    symbols
        How many, or which: BTCUSDT,ETHUSDT.
    start
        When the market began.
    end
        When it ends, if ever.
    now
        Start the venue's clock there instead of at the real time.
    speed
        How fast the venue's clock goes.
    weight_limit
        Request weight a minute; 0 counts nothing; the venue's own if left out.
    silence
        Whether a silent minute is sent with volume 0, or left out.
    outages_per_month
        How often the whole venue is silent.
    halts_per_month
        How often one symbol is.
    listed_late
        The share of symbols listed after the start.
    delisted
        The share of symbols delisted before the end.
    updates
        How many messages a minute each stream sends of a bar that forms; 0 sends final bars only.
    stream_limit
        Streams of one websocket; the venue's own limit if left out.
    lifetime
        Seconds after which a websocket is closed.
    replay
        Serve the bars of this lake instead of a made-up market.
    timeframe
        The timeframe to replay.
    """
    from gapless.app.simulating import serve

    options: dict[str, Any] = {
        "faults": faults, "seed": seed, "start": start, "end": end, "now": now, "speed": speed,
        "weight_limit": weight_limit, "silence": silence, "outages_per_month": outages_per_month,
        "halts_per_month": halts_per_month, "listed_late": listed_late, "delisted": delisted,
        "updates": updates, "stream_limit": stream_limit, "lifetime": lifetime,
    }  # fmt: skip
    serve(host, port, symbols, replay, timeframe, options)
    return 0


def audit(run: str | None = None, *, limit: int = 30, common: Common = COMMON) -> int:
    """Show every run, or the whole document of one: asked, answered, written, failed, retried, seconds, bytes.

    Parameters
    ----------
    run
        A run's name, or the beginning of it.
    limit
        How many runs to list.
    """
    from gapless.app.operating import audit_document, audit_lines
    from gapless.cli import render

    lake = common.open(create=False)
    if run is not None:
        document = audit_document(lake, run)
        show(document) if common.json else render.document(document)
        return 0
    lines = audit_lines(lake, limit)
    show(lines) if common.json else render.audit(lines)
    return 0


def verify(*, common: Common = COMMON) -> int:
    """Check everything stored: checksums, counts, order, one file a key, the coverage index, both databases."""
    from gapless.cli import render
    from gapless.stores.maintain import verify as check

    lake = common.open(create=False)
    problems = check(lake.store)
    rows = [("✗", "problem", p) for p in problems] or [("✓", "lake", f"{lake.path} is whole")]
    show({"problems": problems}) if common.json else render.pairs("verify", rows)
    return 1 if problems else 0


def compact(*, common: Common = COMMON) -> int:
    """Fold recent rows into Parquet, join the month files of finished years, and features of weeks to months."""
    from gapless.stores.maintain import compact as join

    found = join(common.open(create=False).store)
    show(found) if common.json else print(f"folded {found['folded']:,} rows, saved {found['files_saved']} files")
    return 0


def vacuum(*, grace: str = "7d", common: Common = COMMON) -> int:
    """Delete files that no snapshot refers to, and feature sets of which every column has been built otherwise since.

    Parameters
    ----------
    grace
        Keep those younger than this; a reader may still be at them.
    """
    from gapless.spans import parse_duration
    from gapless.stores.maintain import vacuum as sweep

    found = sweep(common.open(create=False).store, grace=parse_duration(grace))
    show(found) if common.json else print(f"deleted {found['deleted']} files and {found['sets']} feature sets")
    return 0


def doctor(*, common: Common = COMMON) -> int:
    """Say what to fix: configuration, versions, disk, lake, calendars."""
    from gapless.app.operating import examine
    from gapless.cli import render

    rows = examine(common.lake, common.config)
    findings = [{"mark": m, "name": n, "text": t} for m, n, t in rows]
    show(findings) if common.json else render.pairs("doctor", rows)
    return 1 if any(m == "✗" for m, _, _ in rows) else 0
