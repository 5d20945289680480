"""The physical side of a file: what it is by its content, and its rows in batches, never all at once.

A *part* is one table: a file, or a member of a zip. A *table* has column names and an iterator of raw batches: typed
columns from Parquet and Feather, text from everything else.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import polars as pl

from gapless.errors import InputError, UsageError

HEAD = 1 << 16
_GZIP = b"\x1f\x8b"
SUFFIXES = (
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".pq",
    ".feather",
    ".arrow",
    ".ipc",
    ".zip",
    ".gz",
)
_FOREIGN = {
    b"\xfd7zXZ": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"FEA1": "a Feather file of version 1",
    b"SQLite format": "an SQLite database",
    b"PK": "an archive inside an archive",
}


@dataclass(frozen=True)
class Part:
    """One table to read: a file, or one member of a zip archive. Members are streamed, never unpacked to disk."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """For messages: the path, and the member after a ``!``."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"

    @property
    def stems(self) -> tuple[str, ...]:
        """The member's and the file's name without their endings, the more telling first."""
        names = ([self.member] if self.member else []) + [self.path.name]
        return tuple(_stem(Path(name).name) for name in names)


@dataclass(frozen=True)
class Batch:
    """Raw rows. ``torn`` holds the text of rows that have too many or too few cells (their cells are null)."""

    frame: pl.DataFrame
    torn: pl.Series | None = None


@dataclass
class Table:
    """Column names, raw batches, and what the format itself says. ``text``: rows were ``separator``-joined text."""

    part: Part
    format: str
    names: list[str]
    batches: Iterator[Batch]
    separator: str = ""
    header: bool | None = None
    symbol: str | None = None
    notes: tuple[str, ...] = field(default=())


def parts(path: Path) -> list[Part]:
    """The tables in a file: one, or the table members of a zip. Raises InputError where there is none."""
    with opened(Part(path)) as stream:
        magic = stream.read(4)
    if not magic:
        raise InputError(f"{path}: the file is empty.", hint="fetch or export it again")
    if magic != b"PK\x03\x04":
        if magic == b"PK\x05\x06":
            raise InputError(f"{path}: the zip archive is empty.", hint="fetch it again")
        return [Part(path)]
    with guarded(path.name):
        members = [info for info in zipfile.ZipFile(path).infolist() if not info.is_dir()]
    if any(info.filename == "[Content_Types].xml" for info in members):
        raise InputError(f"{path}: this is an Excel workbook.", hint="save the sheet as CSV and import that")
    tables = [info.filename for info in members if _is_table(info.filename)]
    if not tables:
        seen = ", ".join(info.filename for info in members[:5]) or "nothing"
        raise InputError(
            f"{path}: the archive holds no table, only: {seen}.", hint="expected .csv, .json or .parquet inside"
        )
    return [Part(path, name) for name in tables]


def _is_table(name: str) -> bool:
    last = Path(name).name
    return not last.startswith(".") and "__MACOSX" not in name and last.lower().endswith(SUFFIXES)


def _stem(name: str) -> str:
    while name.lower().endswith(SUFFIXES):
        name = name[: name.rindex(".")]
    return name


@contextmanager
def opened(part: Part) -> Iterator[IO[bytes]]:
    """The bytes of a part, unpacked as they are read."""
    with guarded(part.name):
        if part.member is not None:
            with zipfile.ZipFile(part.path) as archive, archive.open(part.member) as stream:
                yield _unzipped(stream)
        else:
            with part.path.open("rb") as stream:
                yield _unzipped(stream)


def _unzipped(stream: IO[bytes]) -> IO[bytes]:
    """The stream itself, or its content when it is gzip."""
    magic = stream.read(2)
    stream.seek(0)
    return gzip.open(stream) if magic == _GZIP else stream  # type: ignore[return-value]  # GzipFile reads like any


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Turn what the readers raise over damaged or foreign bytes into an InputError that names the file."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: the archive is damaged: {error}.", hint="fetch it again") from None
    except NotImplementedError as error:
        raise InputError(f"{name}: {error}.", hint="unpack it and import the table inside") from None
    except RuntimeError as error:
        if "encrypted" not in str(error):  # zipfile has no class of its own for it
            raise
        raise InputError(f"{name}: {error}.", hint="unpack it with its password and import the table inside") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # damaged footers make polars panic
        raise InputError(
            f"{name}: cannot be read: {str(error).splitlines()[0]}.", hint="fetch or export it again"
        ) from None
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file.", hint="check the path") from None
    except IsADirectoryError:
        raise UsageError(f"{name} is a directory.", hint="expand() lists the files in it") from None
    except OSError as error:
        raise InputError(
            f"{name}: {error.strerror or error}.", hint="check that the file is whole and may be read"
        ) from None


def kind_of(head: bytes, name: str) -> str:
    """The format by the first bytes: parquet, feather, json, jsonl or csv; raises InputError for anything else."""
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "feather"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(
                f"{name}: this is {what}.", hint="unpack it, or save it as CSV or Parquet, and import that"
            )
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head:
        raise InputError(f"{name}: this is not UTF-8 text, nor a format known here.", hint="save it as UTF-8 CSV")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{name}: the file is empty.", hint="fetch or export it again")
    if text[:1] == b"[":
        return "jsonl" if _one_array_a_line(text) else "json"
    if text[:1] == b"{":
        first, _, rest = text.partition(b"\n")
        return (
            "jsonl" if first.rstrip().endswith(b"}") and rest.lstrip()[:1] in (b"{", b"") and _whole(first) else "json"
        )
    return "csv"


def _one_array_a_line(text: bytes) -> bool:
    first, _, rest = text.partition(b"\n")
    return first.rstrip().endswith(b"]") and rest.lstrip()[:1] == b"[" and _whole(first)


def _whole(line: bytes) -> bool:
    """Is the line a JSON value of its own, holding only plain cells?"""
    import msgspec

    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    cells = value.values() if isinstance(value, dict) else value
    return not any(isinstance(cell, list | dict) for cell in cells)


# ---------------------------------------------------------------- columnar files


def columnar(part: Part, kind: str, rows: int) -> Table:
    """Parquet or Feather: batches of at most ``rows`` rows, decoded as they are asked for."""
    scan: Callable[..., pl.LazyFrame] = pl.scan_parquet if kind == "parquet" else pl.scan_ipc
    source = _seekable(part)
    with guarded(part.name):
        lazy = scan(source)
        schema = lazy.collect_schema()
    flat = [name for name, dtype in schema.items() if not dtype.is_nested()]
    return Table(part, kind, flat, _columnar_batches(part, lazy.select(flat), rows))


def _columnar_batches(part: Part, lazy: pl.LazyFrame, rows: int) -> Iterator[Batch]:
    with guarded(part.name):
        for frame in lazy.collect_batches(chunk_size=rows, maintain_order=True):
            for piece in frame.iter_slices(rows):
                yield Batch(piece)


def _seekable(part: Part) -> Path | IO[bytes]:
    """A plain file by its path, so that only what is needed is read; a packed one unpacked into memory."""
    if part.member is None:
        with part.path.open("rb") as file:
            if file.read(2) != _GZIP:
                return part.path
    with opened(part) as stream:
        return io.BytesIO(stream.read())
