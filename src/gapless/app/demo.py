"""``gapless demo``: the whole path, against a simulated venue that misbehaves, with the truth at hand to compare.

Each step does what a user would do with the same verb, says in one sentence what happened, and is checked: against the
venue's truth for bars, to the bit for features. The demo fails if any check fails.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from gapless import sim
from gapless.app.backfilling import fetch
from gapless.app.lake import Lake
from gapless.app.planning import wanted
from gapless.app.runs import Run
from gapless.bars import VALUES
from gapless.config import parse
from gapless.features import Stream, prove
from gapless.observe.progress import Progress, Silent, progress
from gapless.series import Instrument
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, iso
from gapless.stores.maintain import verify

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "LINKUSDT")
FAULTS = (
    "429:0.02,5xx:0.12,reset:0.05,truncate:0.04,short:0.05,empty:0.03,duplicate:0.10,disorder:0.05,micros:0.05,"
    "timeout:2x,ban:1x"
)
FEATURES = {
    "sma20": "sma(close, 20)",
    "ema50": "ema(close, 50)",
    "rsi14": "rsi(close, 14)",
    "atr14": "atr(14)",
    "ret15": "log_return(close, 15)",
    "z_volume": "zscore(volume, 240)",
    "excess": "log_return(close, 15) - log_return(close@BINANCE:BTCUSDT, 15)",
}
DAYS = 5
M1 = Timeframe.parse("1m")


@dataclass
class Demo:
    """The demo under way: its venue, its lake, what it said and what it checked."""

    venue: sim.Running
    lake: Lake
    out: Console
    now: int
    loud: bool
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def span(self) -> Span:
        return Span(self.now - DAYS * DAY, self.now)

    def say(self, title: str, good: bool, text: str, **facts: Any) -> None:
        """Tell one step, and keep it for the document."""
        self.steps.append({"step": title, "passed": good, "text": text, **facts})
        mark = "[bold green]✓" if good else "[bold red]✗"
        self.out.print(f"{mark}[/] [bold]{title}[/]  {text}", highlight=False)

    def progress(self) -> Progress:
        return progress() if self.loud and sys.stderr.isatty() else Silent()

    def call(self, verb: str) -> Run:
        """Backfill or repair everything, as the verb would."""
        names = ",".join(f"BINANCE:{s}" for s in SYMBOLS)
        start, end = iso(self.span.start), iso(self.span.end)
        return fetch(wanted(self.lake, verb, symbols=names, start=start, end=end), self.progress())


def run(keep: Path | None, as_json: bool, out: Console, finish: Callable[[dict[str, Any]], None] | None = None) -> int:
    """Run the demo; 0 when every check passed. ``finish`` is shown the completeness matrix at the end."""
    began = time.perf_counter()
    with _demo(keep, out, loud=not as_json) as demo:
        for step in (backfill, explain, repair, why, truth, again, correct, build, certify, stream, integrity, live):
            step(demo)
        if finish is not None:
            finish(demo.lake.status(["1m"]))
    passed = all(s["passed"] for s in demo.steps)
    seconds = time.perf_counter() - began
    if as_json:
        document = {"passed": passed, "seconds": round(seconds, 2), "steps": demo.steps}
        print(json.dumps(document, indent=1))
    kept = f"the lake is at {demo.lake.path}" if keep else "--keep DIR keeps its lake"
    verdict = "[bold green]all checks passed[/]" if passed else "[bold red]a check failed[/]"
    out.print(f"\n{verdict} in {seconds:.1f} s; {kept}")
    return 0 if passed else 1


@contextmanager
def _demo(keep: Path | None, out: Console, *, loud: bool) -> Iterator[Demo]:
    now = M1.floor(time.time_ns() // 1000) - HOUR
    outage = SpanSet.of((now - 2 * DAY, now - 2 * DAY + 47 * MINUTE))
    halt = {"XRPUSDT": SpanSet.of((now - DAY, now - DAY + 18 * MINUTE))}
    config = sim.SimConfig(
        symbols=SYMBOLS, faults=FAULTS, outages=outage, halts=halt, hold=2.0, ban=2.0, seed=11, delisted=0.0
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gapless-demo-") as scratch, sim.running(config) as venue:
        # Two tries a request are too few for this venue: the first pass leaves holes on purpose.
        section = {"base_url": venue.url, "timeout": "1s", "attempts": 2}
        lake = Lake(keep or Path(scratch) / "lake", config=parse({"sources": {"binance": section}}))
        out.print(f"[bold]A venue that misbehaves[/] at {venue.url}: {FAULTS}\n", highlight=False)
        yield Demo(venue, lake, out, now, loud)


def backfill(demo: Demo) -> None:
    """The first pass: most of it comes, some of it fails, and the exit code says so."""
    run = demo.call("backfill")
    total = run.document["totals"]
    text = (
        f"{total['written']:,} bars of {len(SYMBOLS)} symbols over {DAYS} days in {run.document['seconds']:.1f} s; "
        f"{total['retries']} retries, {total['failed']} tasks given up"
    )
    faults = dict(demo.venue.injected)
    demo.say("backfill", total["written"] > 0, text, totals=total, exit_code=run.exit_code, faults=faults)


def explain(demo: Demo) -> None:
    """Every missing bar has a class and evidence."""
    gaps = demo.lake.find_gaps(timeframes=["1m"])
    counts: dict[str, int] = {}
    for gap in gaps:
        counts[gap.cls] = counts.get(gap.cls, 0) + gap.bars
    said = ", ".join(f"{bars:,} bars {cls}" for cls, bars in sorted(counts.items())) or "none"
    demo.say("gaps", all(g.evidence for g in gaps), f"explained: {said}", classes=counts)


def repair(demo: Demo) -> None:
    """The second pass, with patience: only repairable gaps are asked for."""
    demo.lake.config = parse({"sources": {"binance": {"base_url": demo.venue.url, "timeout": "1s", "attempts": 12}}})
    run = demo.call("repair")
    total = run.document["totals"]
    text = f"{total['written']:,} more bars from {total['requests']} requests; {len(run.gaps)} repairable gaps remain"
    demo.say("repair", run.exit_code == 0, text, totals=total, exit_code=run.exit_code)


def why(demo: Demo) -> None:
    """One missing bar, with its class, evidence and history."""
    outage = demo.now - 2 * DAY + 20 * MINUTE
    story = demo.lake.why("BINANCE:BTCUSDT", "1m", outage)
    text = f"BTCUSDT {iso(outage)}: {story['class']}, {story['evidence'][0]}"
    demo.say("why", story["class"] == "venue_outage", text)


def truth(demo: Demo) -> None:
    """The lake equals the venue's truth, bar by bar."""
    compared = wrong = 0
    for symbol in SYMBOLS:
        mine = demo.lake.bars(f"BINANCE:{symbol}", "1m", start=demo.span.start, end=demo.span.end)
        theirs = demo.venue.market.truth(symbol, M1, demo.span)
        columns = ["ts", *VALUES]
        wrong += not mine.select(columns).equals(theirs.select(columns))
        compared += theirs.height
    injected = demo.venue.injected
    text = f"{compared:,} bars equal the venue's truth, after {sum(injected.values())} faults of {len(injected)} kinds"
    demo.say("truth", not wrong, text, bars=compared, faults=dict(injected))


def again(demo: Demo) -> None:
    """The same call once more asks nobody and writes nothing."""
    before = demo.venue.requests
    run = demo.call("backfill")
    asked = demo.venue.requests - before
    demo.say("again", asked == 0 and run.exit_code == 0, f"the same backfill made {asked} requests and wrote nothing")


def correct(demo: Demo) -> None:
    """A changed value is a revision: the old one stays readable."""
    name, at = "BINANCE:ETHUSDT", demo.now - 3 * HOUR
    old = demo.lake.bars(name, "1m", start=at, end=at + MINUTE)
    known = demo.lake.store.clock()
    report = demo.lake.write(name, "1m", old.with_columns(pl.col("volume") + 1), source="a late correction")
    before = demo.lake.bars(name, "1m", start=at, end=at + MINUTE, as_of=known)
    back = demo.lake.write(name, "1m", old, source="the venue's word")
    good = report.total.corrected == 1 and before["volume"].item() == old["volume"].item() and back.total.corrected == 1
    demo.say("correction", good, f"{name} {iso(at)}: corrected twice; every value readable as it was known")


def build(demo: Demo) -> None:
    """Features into the lake; the second build finds nothing to do."""
    names = [f"BINANCE:{s}" for s in SYMBOLS]
    first = demo.lake.build(FEATURES, names, "1m")
    second = demo.lake.build(FEATURES, names, "1m")
    text = (
        f"{first['rows']:,} rows of {len(FEATURES)} features in {first['seconds']:.2f} s; again: {second['rows']} rows"
    )
    demo.say("features", first["rows"] > 0 and second["rows"] == 0, text)


def certify(demo: Demo) -> None:
    """Batch, step, chunked, resumed, late and corrected computation give the same bits."""
    found = prove("rsi(close, 14)")
    text = f"{found.expression} version {found.version}: {', '.join(found.checks)}"
    demo.say("prove", found.passed, text, certificate=found.as_dict())


def stream(demo: Demo) -> None:
    """Bar by bar, as live would: the same bits as the stored rows."""
    names = [f"BINANCE:{s}" for s in SYMBOLS]
    start = demo.span.start
    bars = demo.lake.bars(names, "1m", start=start, end=start + 6 * HOUR).sort("ts", "instrument")
    stored = demo.lake.features(names, "1m", FEATURES, start=start, end=start + 6 * HOUR).drop("available_at")
    live = Stream(FEATURES, instruments=[str(Instrument.parse(n)) for n in names])
    parts = [live.step(minute) for minute in bars.partition_by("ts", maintain_order=True)]
    fed = pl.concat(parts).sort("instrument", "ts").select(stored.columns)
    same = fed.equals(stored)
    demo.say(
        "stream",
        same,
        f"{fed.height:,} rows bar by bar {'are bit-equal to' if same else 'differ from'} the stored ones",
    )


def integrity(demo: Demo) -> None:
    """Checksums, counts, order and databases."""
    problems = verify(demo.lake.store)
    demo.say("verify", not problems, problems[0] if problems else "every checksum, row count and index is right")


def live(demo: Demo) -> None:
    """Another market, live: its streams come late, wrong, twice or never, and the run is stopped and begun again."""
    from gapless.app.demo_live import look_after_a_market

    found = look_after_a_market()
    text = (
        f"{found['decided']} minutes of {found['bars']} bars decided live; {found['late']} came late or corrected, "
        f"{found['healed']} by REST; {found['alerts']} alerts ({found['withdrawn']} withdrawn), {found['positions']} "
        "paper positions"
    )
    demo.say("live", found["well"] and found["decided"] > 0, text, **found)
    good = found["true"] and found["same_features"] and found["same_alerts"]
    said = "bars equal the venue's truth, feature rows a batch run to the bit, alerts a replay"
    demo.say("parity", good, said if good else f"not equal: {found}")
