"""What a write means against what stands: new, unchanged, corrected. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from gapless.bars import EXTRAS, STORED, VALUES, Checked
from gapless.folds import DERIVED
from gapless.protocols import Counts, WriteReport
from gapless.series import Instrument, Series
from gapless.spans import Micros, SpanSet, Timeframe
from gapless.stores.tail import groups


@dataclass(frozen=True)
class Verdict:
    """``keep``: stored rows to add or replace; ``superseded``: the values they replace; counts per instrument."""

    keep: pl.DataFrame
    superseded: pl.DataFrame
    unchanged: Mapping[str, int]
    corrected: Mapping[str, int]


def spans(frame: pl.DataFrame) -> list[tuple[str, Micros]]:
    """Bar opens per instrument of a sorted frame."""
    return groups(frame)


def compare(
    clean: pl.DataFrame, stored: pl.DataFrame | None, *, source: str, known_at: int, whole: bool = False
) -> Verdict:
    """Judge valid rows against stored ones with the same keys.

    An optional column that is null (or absent) in the new row contradicts nothing: the stored value stands. A derived
    bar never takes the place of what a source said; what a source says takes the place of a derived bar, same or not.
    ``whole``: somebody has judged already which bar stands, so that nothing of the stored row is kept.
    """
    fresh = stamped(clean, source, known_at)
    if stored is None or not stored.height:
        return Verdict(fresh, superseded_rows(fresh.clear(), known_at), {}, {})
    both = fresh.join(stored, on=["instrument", "ts"], how="left", suffix="_old", maintain_order="left")
    known = pl.col("known_at_old").is_not_null()
    told = (pl.lit(whole) | pl.col(n).is_not_null() for n in EXTRAS)
    differs = pl.any_horizontal(
        *(pl.col(n) != pl.col(f"{n}_old") for n in VALUES),
        *(said & pl.col(n).ne_missing(pl.col(f"{n}_old")) for n, said in zip(EXTRAS, told, strict=True)),
    )
    guessed = pl.col("source_old").str.starts_with(DERIVED)
    derives = source.startswith(DERIVED) and not whole
    differs = (differs & guessed) if derives else (differs | guessed)
    both = both.with_columns(known.alias("_known"), (known & differs).alias("_corrected"))
    keep = both.filter(~pl.col("_known") | pl.col("_corrected"))
    kept = (pl.when(guessed | whole).then(n).otherwise(pl.coalesce(n, f"{n}_old")).alias(n) for n in EXTRAS)
    merged = keep.with_columns(*kept).select(*STORED)
    corrected = both.filter("_corrected")
    old = corrected.select(
        "instrument", "ts", *(pl.col(f"{n}_old").alias(n) for n in STORED if n not in ("instrument", "ts"))
    )
    return Verdict(
        merged,
        superseded_rows(old, known_at),
        _tally(both.filter(pl.col("_known") & ~pl.col("_corrected"))),
        _tally(corrected),
    )


def superseded_rows(old: pl.DataFrame, known_at: int) -> pl.DataFrame:
    """Stored rows as revisions: valid from when they were known until ``known_at``."""
    until = pl.lit(known_at).cast(STORED["known_at"]).alias("known_to")
    return old.rename({"known_at": "known_from"}).with_columns(until)


def stamped(clean: pl.DataFrame, source: str, known_at: int) -> pl.DataFrame:
    """Valid rows as stored ones: every column, who said so and when; NaN in an optional column is null."""
    missing = [pl.lit(None, dtype=pl.Float64).alias(n) for n in EXTRAS if n not in clean.columns]
    nan_is_null = [pl.col(n).fill_nan(None) for n in EXTRAS if n in clean.columns]
    return clean.with_columns(
        *missing,
        *nan_is_null,
        pl.lit(source).alias("source"),
        pl.lit(known_at).cast(STORED["known_at"]).alias("known_at"),
    ).select(*STORED)


def _tally(frame: pl.DataFrame) -> dict[str, int]:
    if not frame.height:
        return {}
    runs = frame.get_column("instrument").rle().struct.unnest()  # rows mostly come by instrument: few runs
    return dict(runs.group_by("value").agg(pl.col("len").cast(pl.Int64).sum()).iter_rows())


def report(
    frame: pl.DataFrame, checked: Checked, verdict: Verdict, timeframe: Timeframe, reasons: Mapping[str, int]
) -> WriteReport:
    """Counts per series: every row read is written, unchanged, corrected, a duplicate, or quarantined."""
    read = _tally(frame)
    clean = read if checked.clean.height == frame.height else _tally(checked.clean)
    bad = _tally(checked.quarantined)
    found = {}
    for name, rows in sorted((n, r) for n, r in read.items() if n is not None):
        unchanged, corrected = verdict.unchanged.get(name, 0), verdict.corrected.get(name, 0)
        kept, refused = clean.get(name, 0), bad.get(name, 0)
        found[Series(Instrument.parse(name), timeframe)] = Counts(
            read=rows, written=kept - unchanged - corrected, unchanged=unchanged, corrected=corrected,
            duplicate=rows - kept - refused, quarantined=refused,
        )  # fmt: skip
    nameless = bad.get(None, 0)  # type: ignore[call-overload]
    held = {
        Series(Instrument.parse(name), timeframe): SpanSet.from_bars(ts, timeframe)
        for name, ts in groups(checked.clean)
    }
    return WriteReport(found, reasons, Counts(read=nameless, quarantined=nameless), held, _refused(checked, timeframe))


def _refused(checked: Checked, timeframe: Timeframe) -> dict[Series, SpanSet]:
    """Bars that refused rows name: those whose time and symbol can be believed."""
    known = checked.quarantined.filter(~pl.col("reason").is_in(["bad_symbol", "no_time", "time_out_of_range"]))
    times = known.select("instrument", "ts").unique().sort("instrument", "ts")
    return {
        Series(Instrument.parse(name), timeframe): SpanSet.merge(opens, opens + timeframe.micros)
        for name, ts in groups(times)
        for opens in [(ts - timeframe.offset) // timeframe.micros * timeframe.micros + timeframe.offset]
    }
