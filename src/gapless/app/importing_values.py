"""``gapless values import``: files in, values at times and an honest account out.

1. Each table is read whole; its rows are values, or refused rows with the reason.
2. What a file holds of an instrument is stored in one transaction with its ledger line. It claims nothing of what is
   not in it: the venue may still be asked. The same file again changes nothing.
3. Refused rows go to the quarantine, once each, with their file, row and text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from gapless.app.markets import market
from gapless.app.runs import Run
from gapless.config import Config
from gapless.errors import InputError, UsageError
from gapless.events import RunStarted
from gapless.protocols import Counts, ValueAnswer
from gapless.series import Instrument
from gapless.sources.files import expand
from gapless.sources.files_values import ValueOptions, ValueReading, read_values
from gapless.spans import Span
from gapless.stores.lake import Lake as Store
from gapless.values import check_name

_TOLD = 100  # refused rows in a document; the quarantine has all


@dataclass
class Account:
    """What came of it: counts by instrument and kind, notes, and refused rows."""

    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, instrument: str, name: str, counts: Counts) -> None:
        """Count what a table held of an instrument."""
        self.counts[instrument, name] = self.counts.get((instrument, name), Counts()) + counts


def check(config: Config, paths: Sequence[str | Path], options: ValueOptions) -> list[Path]:
    """Raise what is wrong with a call before a lake is made for it; the files otherwise."""
    market(config, options.venue)
    if options.name is not None:
        check_name(options.name)
    Instrument(options.venue, options.symbol if options.symbol is not None else "A")
    files = expand(paths)
    if len(files) == 1:  # of several, one that cannot be read does not stop the others
        list(read_values(files[0], options))
    return files


def import_values(
    store: Store, config: Config, run: Run, paths: Sequence[str | Path], options: ValueOptions
) -> Account:
    """Import files into the lake. One bad file does not stop the others."""
    files = [f for f in check(config, paths, options) if not f.resolve().is_relative_to(store.root.resolve())]
    run.observe(RunStarted(run.id, "values", len(files), 0))
    account = Account()
    for path in files:
        run.audit.tally["bytes"] += path.stat().st_size
        try:
            for reading in read_values(path, options):
                _take(store, run, path, reading, account)
        except (InputError, UsageError) as error:
            run.audit.errors.append({"series": "", "span": "", "file": str(path), "error": str(error)})
            run.audit.tally["failed"] += 1
    for (instrument, name), counts in account.counts.items():
        run.audit.told(instrument, name, counts, requests=0, bytes=0, failed=0)
    run.audit.reasons.update(account.reasons)
    return account


def _take(store: Store, run: Run, path: Path, reading: ValueReading, account: Account) -> None:
    """Steps 2 and 3 of one table."""
    origin = f"file:{path.name}"
    account.notes += [note for note in (f"{path.name}: {n}" for n in reading.notes) if note not in account.notes]
    bad = reading.refused
    for who, rows in reading.rows.partition_by("instrument", as_dict=True).items():
        name, frame = str(who[0]), rows.select("ts", "value")
        counts = store.keep_values(_brought(reading.name, name, frame, origin, run.id, store.clock()), frame)
        twice = reading.twice[name]
        account.add(name, reading.name, replace(counts, read=counts.read + twice, duplicate=twice))
    if bad.height:
        named = bad.rename({"value": reading.name}).with_columns(pl.col("instrument").fill_null(""))
        account.reasons.update(store.refuse_values(reading.name, named, source=origin, run=run.id))
        for who, rows in named.partition_by("instrument", as_dict=True).items():
            account.add(str(who[0]), reading.name, Counts(read=rows.height, quarantined=rows.height))
        room = max(0, _TOLD - len(account.refused))
        lines = bad.select("row", "reason", "raw").head(room).to_dicts()
        account.refused += [{"file": reading.path} | line for line in lines]


def _brought(name: str, instrument: str, rows: pl.DataFrame, origin: str, run: str, now: int) -> ValueAnswer:
    ts = rows["ts"].to_physical()
    span = Span(int(ts[0]), int(ts[-1]) + 1)
    return ValueAnswer(origin, name, Instrument.parse(instrument), span, None, rows.height, 1, "", run, now)
