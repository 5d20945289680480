"""Refused rows, kept once each with their reason, so that they can be listed, exported and mended."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import polars as pl

from gapless.bars import EXTRAS, TRACES, VALUES
from gapless.spans import Timeframe
from gapless.stores.meta import Meta

_BATCH = 50_000
_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # 0001 to 9999, in µs


def keep(
    meta: Meta, timeframe: Timeframe | str, rows: pl.DataFrame, *, source: str, run: str, now: int
) -> dict[str, int]:
    """Store refused rows of bars, or of a kind of values; the same row of the same source is kept once.

    Returns how many for each reason.
    """
    plain = rows.with_columns(pl.col("ts").to_physical())  # a bad time may be one that Python cannot hold
    for part in plain.iter_slices(_BATCH):
        meta.refuse(timeframe, (_entry(row, timeframe, source, run, now) for row in part.iter_rows(named=True)))
    return dict(Counter(rows["reason"].to_list())) if rows.height else {}


def _entry(row: dict[str, Any], timeframe: Timeframe | str, source: str, run: str, now: int) -> dict[str, Any]:
    values = {n: row[n] for n in (*VALUES, *EXTRAS, "raw") if row.get(n) is not None}
    text = json.dumps(values, sort_keys=True)
    identity = f"{source}|{timeframe}|{row['instrument']}|{row['ts']}|{row.get('row')}|{row['reason']}|{text}"
    return {
        "digest": hashlib.sha256(identity.encode()).hexdigest(), "instrument": row["instrument"], "ts": row["ts"],
        "reason": row["reason"], "source": source, "row": row.get("row"), "run": run, "known_at": now, "values": text,
    }  # fmt: skip


def table(meta: Meta, timeframe: Timeframe | None = None) -> pl.DataFrame:
    """All refused rows as a frame: timeframe, instrument, ts, reason, source, row, values and the raw text.

    ``ts`` is null where the time was missing, or lies beyond the years 1 to 9999.
    """
    rows = []
    for row in meta.refused(timeframe):
        values = json.loads(row.pop("values"))
        rows.append(row | {n: values.get(n) for n in (*VALUES, *EXTRAS, "raw")})
    schema: dict[str, Any] = {
        "timeframe": pl.String(), "instrument": pl.String(), "ts": pl.Int64(), "reason": pl.String(),
        "source": pl.String(), "row": TRACES["row"], "run": pl.String(), "known_at": pl.Int64(),
        **dict.fromkeys((*VALUES, *EXTRAS), pl.Float64()), "raw": pl.String(),
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema)
    told = pl.when(pl.col("ts").is_between(*_YEARS)).then("ts").alias("ts")
    return frame.with_columns(told, "known_at").with_columns(pl.col("ts", "known_at").cast(pl.Datetime("us", "UTC")))
