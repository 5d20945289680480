"""What bars cost: requests of plans and of runs, processor time of an archive's files, a day of a thousand symbols.

``GAPLESS_BENCH=full`` runs with fifty symbols and a year of files.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import polars as pl

from benchmarks.rows import M1, START, Row, median, venue, walk
from gapless.engine.backfill import run_backfill
from gapless.engine.plan import Plan, plan
from gapless.protocols import Answer, Archive, Source
from gapless.series import Instrument, Series
from gapless.sources import binance, binance_archive
from gapless.spans import DAY, HOUR, SECOND, Span, SpanSet, Timeframe, iso, parse_time
from gapless.stores.lake import Lake

FULL = os.environ.get("GAPLESS_BENCH") == "full"
SYMBOLS = 50 if FULL else 12
CALM = ("--outages-per-month", "0", "--halts-per-month", "0", "--listed-late", "0", "--delisted", "0")
THOUSAND = 1000


def run() -> Iterator[Row]:
    """Plans, runs, files, and the refresh."""
    yield from _planned("spot", binance.spot(), binance_archive.spot())
    yield from _planned("USD-M", binance.usdm(), binance_archive.usdm())
    now = int(time.time()) * SECOND // HOUR * HOUR
    with venue("--symbols", str(SYMBOLS), "--start", iso(now - 500 * DAY), *CALM) as url:  # by the clock on the wall
        yield from _asked(url, now)
        yield from _ingested(url, now)
    yield from _refreshed()


# ---------------------------------------------------------------- plans


def _planned(name: str, source: Source, archive: Archive) -> Iterator[Row]:
    """Five years of fifty symbols, asked for at any hour of two months: files and pages, against pages alone."""
    found = [_prices(source, archive, parse_time("2025-02-01") + 7 * at * HOUR) for at in range(59 * 24 // 7)]
    ratios = sorted(alone / both for alone, both, _ in found)
    over = sorted(both / least for _, both, least in found)
    most = sorted(alone / least for alone, _, least in found)
    few, many = min(both for _, both, _ in found), max(both for _, both, _ in found)
    yield Row(
        f"{name}: plan of 5 years × 50 × 1m", f"{few:,}–{many:,} requests", "pages alone",
        f"{ratios[0]:.1f}× (worst day) {statistics.median(ratios):.1f}× (median)", "≥ 20×",
        statistics.median(ratios) >= 20,
    )  # fmt: skip
    yield Row(
        "  the fewest requests there can be", f"{most[0]:.1f}× (worst day)", "the plan",
        f"{100 * (statistics.median(over) - 1):+.1f} % (median) {100 * (over[-1] - 1):+.1f} % (most)",
    )  # fmt: skip


def _prices(source: Source, archive: Archive, now: int) -> tuple[int, int, int]:
    """Requests for fifty symbols: pages alone, the plan, and the fewest."""
    series, span = Series(Instrument(source.venue, "BTCUSDT"), M1), Span(now - 5 * 365 * DAY, now)
    wanted, offers = [(series, SpanSet.of(span))], archive.offers(series, span, now)
    both, alone = plan(wanted, source, offers={series: offers}), plan(wanted, source)
    return 50 * alone.requests, 50 * both.requests, 50 * _least(source, span, [o.span for o in offers])


def _least(source: Source, span: Span, files: Sequence[Span]) -> int:
    """Each folder that is used is listed once; after the last file taken, pages without overlap."""
    page, found = source.limits.page_bars, [-(-span.bars(M1) // source.limits.page_bars)]
    months = [file for file in files if file.end - file.start > DAY]
    days = [file for file in files if file.end - file.start == DAY]
    for taken in range(len(days) + 1):
        end = days[taken - 1].end if taken else months[-1].end
        rest = Span(end, span.end).bars(M1)
        found.append(len(months) + bool(months) + taken + bool(taken) + -(-rest // page))
    return min(found)


# ---------------------------------------------------------------- runs


def _asked(url: str, now: int) -> Iterator[Row]:
    """What a venue really counts in a run of the command, against the fewest requests that bring the same bars."""
    for name, source in (("spot", binance.spot(url)), ("USD-M", binance.usdm(url))):
        span = Span(now - 20 * DAY, now)
        least = SYMBOLS * -(-span.bars(M1) // source.limits.page_bars)
        yield _counted(f"{name}: {SYMBOLS} × 20 days by pages", url, source, span, least, "--source", source.name)
    source, span = binance.spot(url), Span(now - (365 if FULL else 70) * DAY, now)
    offers = binance_archive.spot().offers(Series.parse("BINANCE:BTCUSDT", "1m"), span, now)
    least = SYMBOLS * _least(source, span, [offer.span for offer in offers])
    yield _counted(f"spot: {SYMBOLS} × {span.bars(M1) // 1440} days, files first", url, source, span, least)


def _counted(name: str, url: str, source: Source, span: Span, least: int, *words: str) -> Row:
    before = _requests(url)
    with tempfile.TemporaryDirectory() as folder:
        _configure(folder, url, source.name)
        document = _gapless(folder, "backfill", _names(url, source.venue), "1m", span, *words)
    counted = {key: n - before.get(key, 0) for key, n in _requests(url).items() if n > before.get(key, 0)}
    beside = sum(n for key, n in counted.items() if "/time" in key or "/exchangeInfo" in key)
    total, over = sum(counted.values()), sum(counted.values()) / least - 1
    assert document["outcome"] == "complete", document
    figure = f"{total:,} requests, {beside} of them time and listings"
    return Row(name, figure, f"fewest {least:,}", f"{100 * over:+.2f} %", "≤ 1 %", over <= 0.01)


def _configure(folder: str, url: str, source: str, more: str = "") -> None:
    text = f'[sources.{source}]\nbase_url = "{url}"\nweight = 0\n{more}\n'
    (Path(folder) / "gapless.toml").write_text(text)


def _requests(url: str) -> dict[str, int]:
    with urlopen(f"{url}/sim/requests") as answer:
        found: dict[str, int] = json.load(answer)["by_answer"]
    return found


def _names(url: str, venue: str) -> str:
    with urlopen(f"{url}/sim/listings") as answer:
        return ",".join(x["instrument"] for x in json.load(answer) if x["instrument"].startswith(f"{venue}:"))


def _gapless(folder: str, verb: str, symbols: str, timeframes: str, span: Span, *words: str) -> dict[str, Any]:
    line = [
        sys.executable, "-m", "gapless", verb, "--symbols", symbols, "--timeframes", timeframes, "--start",
        iso(span.start), "--end", iso(span.end), "--json", *words,
    ]  # fmt: skip
    env = os.environ | {"GAPLESS_LAKE": f"{folder}/lake"}
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---------------------------------------------------------------- files


def _ingested(url: str, now: int) -> Iterator[Row]:
    """Files over HTTP into a committed lake, with its ledger: processor time of the whole engine, all threads."""
    bucket = f"{url}/data.binance.vision"
    archive = binance_archive.spot(bucket, bucket=f"{bucket}/")
    span = Span(now - (365 if FULL else 70) * DAY, now)
    series = [Series(Instrument.parse(name), M1) for name in _names(url, "BINANCE").split(",")]
    offers = {one: archive.offers(one, span, now) for one in series}
    made = plan([(one, SpanSet.of(span)) for one in series], binance.spot(url), offers=offers, pages=False)
    rates = sorted(_rate(made, binance.spot(url), archive) for _ in range(3))
    rate = statistics.median(rates)
    yield Row(
        f"archive by HTTP: {made.bars:,} bars to lake", f"{rate / 1e6:.2f} M bars/s/core", "", "",
        "≥ 1.0 M bars/s/core", rate >= 1e6,
    )  # fmt: skip


def _rate(made: Plan, source: Source, archive: Archive) -> float:
    with tempfile.TemporaryDirectory() as folder:
        lake, begin = Lake(Path(folder) / "lake"), time.process_time()
        outcomes, _ = run_backfill(made, source, lake, run="bench", archive=archive)
        seconds = time.process_time() - begin
        lake.close()
    assert sum(outcome.counts.written for outcome in outcomes) == made.bars
    return made.bars / seconds


# ---------------------------------------------------------------- a day of a thousand


def _refreshed() -> Iterator[Row]:
    """Minutes and days of a thousand symbols that are a day behind: planned, and fetched, unpaced."""
    options = ("--now", "2025-02-05T00:10Z", "--speed", "0", "--symbols", str(THOUSAND), *CALM)
    with venue(*options) as url, tempfile.TemporaryDirectory() as folder:
        names, span = _names(url, "BINANCE"), Span(START, START + 2 * DAY)
        _yesterday(Path(folder) / "lake", names.split(","))
        _configure(folder, url, "binance", 'archive = "none"')

        def call(verb: str, symbols: str = names) -> dict[str, Any]:
            return _gapless(folder, verb, symbols, "1m,1d", span)

        alone, planning = median(lambda: call("plan", names.partition(",")[0]), 3), median(lambda: call("plan"), 3)
        begin, before = time.perf_counter(), _spent()
        document = call("backfill")
        seconds, spent = time.perf_counter() - begin, _spent() - before
        asked = sum(_requests(url).values())
        call("backfill")
        more = sum(_requests(url).values()) - asked
    bars = document["totals"]["written"]
    assert document["outcome"] == "complete", document["totals"]
    yield Row(
        f"{THOUSAND:,} symbols × 2 timeframes: plan", f"{planning:.1f} s", "one symbol", f"{planning - alone:+.1f} s",
        "about 1 s more", planning - alone <= 1.5,
    )  # fmt: skip
    yield Row("  a day of all, unpaced", f"{seconds:.0f} s, {bars:,} bars", "requests", f"{asked:,}")
    yield Row("  processor time", f"{bars / spent:,.0f} bars/s/core")
    yield Row("  the same again", f"{more} requests", "", "", "0", more == 0)


def _spent() -> float:
    """Processor seconds of commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _yesterday(path: Path, names: Sequence[str]) -> None:
    """A lake that has the first day, which the venue does not say again."""
    day = Span(START, START + DAY)
    store = Lake(path)
    for timeframe in (M1, Timeframe.parse("1d")):
        bars = day.bars(timeframe)
        store.write(timeframe, pl.concat([walk(name, bars, 1) for name in sorted(names)]), source="binance")
        series, now = [Series(Instrument.parse(name), timeframe) for name in names], store.clock()
        store.record(Answer("binance", one, day, day, bars, "ok", 1, "", "", "", now) for one in series)
    store.close()
