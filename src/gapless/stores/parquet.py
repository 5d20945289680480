"""Our Parquet files: how they are encoded, named, staged and read.

A file is written under a temporary name, synced, and renamed to ``<period>.<digest>.<uuid>.parquet``; the digest is of
its content, so that any copy can be checked without a database: SHA-256 of bars, CRC-32 of features. Nothing refers to
it until the table's log does.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gapless import segments
from gapless.errors import LakeDamaged
from gapless.spans import SpanSet, Timeframe
from gapless.stores import durable

_DIGEST = 32  # hex digits of SHA-256 kept in the name
_DIGITS = ("quote_volume", "taker_buy_volume")  # many digits, and hardly a value that comes twice


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of one instrument and one period; ``runs`` are the bars it holds, ``pieces`` their digests."""

    path: str
    instrument: str
    rows: int
    size: int
    first: int
    last: int
    runs: SpanSet
    pieces: bytes = b""

    @property
    def period(self) -> str:
        return self.path.partition(".")[0]


def stage(
    directory: Path, frame: pl.DataFrame, *, period: str, timeframe: Timeframe, feature: bool = False
) -> DataFile:
    """Write sorted rows of one instrument durably; the file is invisible until it is committed."""
    data = memoryview(_encoded_features(frame) if feature else _encoded_bars(frame)).cast("B")
    temporary = directory / f".staged-{uuid.uuid4().hex}"
    name = f"{period}.{_crc(data) if feature else _sha(data)}.{uuid.uuid4().hex[:8]}.parquet"
    try:
        durable.write(temporary, data, past_cache=feature)
        os.rename(temporary, directory / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    ts = frame["ts"].to_physical().to_numpy()
    runs = SpanSet.from_bars(ts, timeframe)
    made = b""
    if "known_at" in frame.columns:
        made = segments.pack(segments.pieces(ts, frame["known_at"].to_physical().to_numpy(), timeframe))
    return DataFile(name, str(frame["instrument"][0]), frame.height, len(data), int(ts[0]), int(ts[-1]), runs, made)


def _encoded_bars(frame: pl.DataFrame) -> Any:
    """Measured on minutes: 13 bytes a row, 20 with a venue's further columns; dictionaries on volumes and plain times
    cost twice that, lz4 as well. A dictionary that does not pay for itself is also built in vain: 0.08 µs a row. Split
    bytes of the further columns, which have many digits, save half as much again for 6 % more bytes than plain. Level 3
    of zstd would save 1 to 3 % of the bytes for 0.02 µs a row."""
    plain = {"ts": "DELTA_BINARY_PACKED", "volume": "PLAIN"} | dict.fromkeys(_DIGITS, "BYTE_STREAM_SPLIT")
    dictionary = [name for name in frame.columns if name not in plain]
    return _encoded(frame, dictionary, plain, compression="zstd", compression_level=1)


def _encoded_features(frame: pl.DataFrame) -> Any:
    """Measured on 40 columns of real minutes, ns and bytes a row: lz4 over split bytes 243 and 249; over plain numbers
    268 and 279; plain numbers as they are 117 and 320; zstd 520 and 248. A vote costs 5.7 ns and 0.2 bytes."""
    split = {n: "BYTE_STREAM_SPLIT" if k.is_float() else "DELTA_BINARY_PACKED" for n, k in frame.schema.items()}
    del split["instrument"]
    return _encoded(frame, ["instrument"], split, compression="lz4")


def _encoded(frame: pl.DataFrame, dictionary: list[str], encodings: dict[str, str], **packing: Any) -> Any:
    """The bytes of a file, in memory: what is written in one piece costs a third less than through a Python file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, table = pa.BufferOutputStream(), frame.drop(pl.selectors.string()).to_arrow()
    for at, column in enumerate(frame.iter_columns()):
        if column.dtype == pl.String:
            table = table.add_column(at, column.name, _words(column))
    pq.write_table(
        table, sink, store_schema=False, write_statistics=["ts"],
        use_dictionary=dictionary, column_encoding=encodings, **packing,
    )  # fmt: skip
    return sink.getvalue()


def _words(column: pl.Series) -> Any:
    """Few words over and over, as their dictionary: told by runs, so that no row's word is looked at again."""
    import pyarrow as pa

    if column.null_count():
        return column.to_arrow()
    runs, words = column.rle().struct, dict[str, int]()
    codes = [words.setdefault(word, len(words)) for word in runs.field("value")]
    repeated = np.repeat(np.array(codes, dtype=np.int32), runs.field("len").to_numpy())
    return pa.DictionaryArray.from_arrays(pa.array(repeated), pa.array(list(words), pa.string()))


def _sha(data: Any) -> str:
    """The first half of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:_DIGEST]


def _crc(data: Any) -> str:
    """A checksum against accidents, at a quarter of the time: features can be computed again, bars cannot."""
    return f"{zlib.crc32(data):08x}"


def check(path: Path) -> str:
    """What is wrong with a file, or an empty text."""
    if not path.exists():
        return "is missing"
    said, data = path.name.split(".")[1], path.read_bytes()
    return "" if said == (_sha(data) if len(said) == _DIGEST else _crc(data)) else "differs from its checksum"


def read(paths: list[Path], schema: Mapping[str, pl.DataType], columns: list[str] | None = None) -> pl.DataFrame:
    """All rows of the files, in their order, as ``schema``; LakeDamaged names a file that cannot be read."""
    wanted = {name: schema[name] for name in columns} if columns else dict(schema)
    if not paths:
        return pl.DataFrame(schema=wanted)
    try:
        frame = pl.read_parquet(paths, columns=list(wanted), glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LakeDamaged(_blame(paths, error), hint="run `gapless lake verify` to see all damage") from error
    return frame.cast(wanted)  # type: ignore[arg-type]


def read_features(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns of one file of features; joining split bytes takes polars three times as long as pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read(list(columns), use_threads=True)
    except (pa.ArrowException, OSError) as error:
        raise LakeDamaged(_blame([path], error), hint="run `gapless lake verify` to see all damage") from error
    return pl.DataFrame(table)


def schema(path: Path) -> dict[str, pl.DataType]:
    """The columns of a file, and their types."""
    return dict(pl.read_parquet_schema(path))


def _blame(paths: list[Path], error: Exception) -> str:
    for path in paths:
        problem = check(path)
        if problem:
            return f"{path} {problem}."
    return f"{paths[0]} cannot be read: {error}."


def statistics(file: DataFile) -> dict[str, Any]:
    """The Delta statistics of a file: enough to prune by instrument and time."""
    return {
        "numRecords": file.rows,
        "minValues": {"instrument": file.instrument, "ts": _stamp(file.first)},
        "maxValues": {"instrument": file.instrument, "ts": _stamp(file.last)},
        "nullCount": {"instrument": 0, "ts": 0},
    }


def _stamp(ts: int) -> str:
    from gapless.spans import to_datetime

    return to_datetime(ts).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
