"""CSV in its dialects, in batches of text cells."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from gapless.errors import InputError
from gapless.sources.files_columns import KLINE_ARCHIVE, PLAIN
from gapless.sources.files_tables import HEAD, Batch, Part, Table, opened

CHUNK = 1 << 23
BOM = b"\xef\xbb\xbf"
_CELL = re.compile(r"^\s*[+-]?(\d[\d.,:/TZ +-]*|\.\d+)([eE][+-]?\d+)?\s*$")


@dataclass(frozen=True)
class Dialect:
    """How the text is laid out. ``skip``: lines before the first data row."""

    separator: str
    header: bool
    names: tuple[str, ...]
    skip: int
    symbol: str | None = None
    notes: tuple[str, ...] = ()


def delimited(part: Part, head: bytes, rows: int, by_position: bool) -> Table:
    """A CSV table: separator, header and preamble found from its first lines."""
    dialect = dialect_of(head, part.name, by_position)
    return Table(
        part,
        "csv",
        list(dialect.names),
        _csv_batches(part, dialect, rows),
        separator=dialect.separator,
        header=dialect.header,
        symbol=dialect.symbol,
        notes=dialect.notes,
    )


def dialect_of(head: bytes, where: str, by_position: bool = False) -> Dialect:
    """The dialect of a CSV file by its first lines; raises InputError when it is not a table.

    Without a header the columns are named by the shape of the table, or ``column_1`` and so on if ``by_position``.

    >>> dialect_of(b"Date;Open\\n2025-05-01;1,5\\n", "x").separator
    ';'
    """
    lines = _first_lines(head, where)
    separator = max(",;\t|", key=lambda mark: _regular(lines, mark))
    if not _regular(lines, separator):
        raise InputError(
            f"{where}: no separator found in '{lines[0][:80]}'.",
            hint="expected a table with , ; tab or | between columns",
        )
    rows = [_split(line, separator) for line in lines]
    skip = _preamble(rows)
    notes = (f"{skip} line(s) before the header skipped",) if skip else ()
    first = rows[skip]
    if any(_CELL.match(cell) for cell in first):
        return Dialect(separator, False, shape_names(len(first), by_position), skip, notes=notes)
    if symbols := _yahoo_symbols(rows[skip:], where):
        names = ("Date", *first[1:])
        return Dialect(separator, True, names, skip + 3, symbols, (*notes, "header of three lines (yfinance)"))
    return Dialect(separator, True, _unique(first), skip + 1, notes=notes)


def _first_lines(head: bytes, where: str) -> list[str]:
    """Up to 30 whole lines of text that are not blank."""
    end = head.rfind(b"\n") + 1 if len(head) >= HEAD else len(head)
    text = _decode(head[: end or HEAD], where).removeprefix("\ufeff")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{where}: lines end in CR alone.", hint="convert the line ends to LF")
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()][:30]
    if not lines:
        raise InputError(f"{where}: the file holds nothing but blanks.", hint="fetch or export it again")
    return lines


def _regular(lines: Sequence[str], separator: str) -> int:
    """How many columns the separator makes, 0 when fewer than two; the most usual count decides."""
    counts = [len(_split(line, separator)) for line in lines]
    usual = max(counts, key=counts.count)
    return usual if usual > 1 else 0


def _split(line: str, separator: str) -> list[str]:
    """The cells of a line, at least one; the line itself where it cannot be a row (a cell of over 128 kB)."""
    try:
        return next(csv.reader([line], delimiter=separator), []) or [line]
    except csv.Error:
        return [line]


def _preamble(rows: Sequence[Sequence[str]]) -> int:
    """Lines of a single cell before a header (a vendor's link, a comment); never before a data row."""
    skip = next((i for i, row in enumerate(rows) if len(row) > 1), 0)
    return 0 if any(_CELL.match(cell) for cell in rows[skip]) else skip


def _yahoo_symbols(rows: Sequence[Sequence[str]], where: str) -> str | None:
    """The symbol of a yfinance table, whose header takes three lines: Price…, Ticker…, Date."""
    if len(rows) < 3 or [row[0].strip() for row in rows[:2]] != ["Price", "Ticker"]:
        return None
    symbols = sorted({cell.strip() for cell in rows[1][1:]})
    if len(symbols) != 1:
        raise InputError(
            f"{where}: one column for each of the symbols {', '.join(symbols)}.",
            hint="write one file a symbol, or one row a symbol and date (stack(level='Ticker'))",
        )
    return symbols[0]


def shape_names(width: int, by_position: bool) -> tuple[str, ...]:
    if width == len(KLINE_ARCHIVE) and not by_position:
        return KLINE_ARCHIVE
    return PLAIN if width == len(PLAIN) and not by_position else tuple(f"column_{i}" for i in range(1, width + 1))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Header names as frame columns: trimmed, the empty ones numbered, the second of a kind marked."""
    seen: dict[str, int] = {}
    result = []
    for name in (given.strip() or f"column_{i}" for i, given in enumerate(names, 1)):
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(result)


def _csv_batches(part: Part, dialect: Dialect, rows: int) -> Iterator[Batch]:
    done = 0
    with opened(part) as stream:
        for chunk in chunks(stream, dialect.skip, part.name):
            batch = _csv_batch(chunk, dialect, part.name, done)
            done += batch.frame.height
            for start in range(0, batch.frame.height, rows):
                torn = None if batch.torn is None else batch.torn.slice(start, rows)
                yield Batch(batch.frame.slice(start, rows), torn)


def chunks(stream: IO[bytes], skip: int, where: str) -> Iterator[bytes]:
    """Whole lines, about CHUNK bytes at a time, without byte-order mark, blank lines and the first ``skip`` lines.

    A line ends at a line break even inside quotes: no cell of a bar holds one, and a stray quote spoils one line only.
    """
    left, first = b"", True
    data = stream.read(CHUNK).removeprefix(BOM)
    while data:
        following = stream.read(CHUNK)
        data = left + data
        end = data.rfind(b"\n") + 1 if following else len(data)
        if not end and len(data) > CHUNK:
            raise InputError(f"{where}: a line of over {CHUNK >> 20} MB.", hint="this is not a table; check the file")
        whole, skip = _drop_lines(data[:end], skip, first)
        if whole.strip():
            yield whole
        left, data, first = data[end:], following, False


def _drop_lines(data: bytes, skip: int, first: bool) -> tuple[bytes, int]:
    """Without blank lines (looked for closely where the file begins) and without the lines still to skip."""
    if first or b"\n\n" in data or b"\n\r\n" in data or data[:1] in (b"\n", b"\r"):
        data = re.sub(rb"(?m)^[ \t]*\r?\n", b"", data)
    while skip and data:
        data, skip = data.partition(b"\n")[2], skip - 1
    return data, skip


def _csv_batch(chunk: bytes, dialect: Dialect, where: str, done: int) -> Batch:
    """Cells as text. A row of another width than the header cannot be trusted: such chunks go through ``_slow``."""
    if b"\0" in chunk:
        raise InputError(
            f"{where}: NUL bytes after row {done}.", hint="the file is damaged or not text: fetch it again"
        )
    bare = re.sub(rb'"[^"\n]*"', b"", chunk) if b'"' in chunk else chunk
    lines = bare.count(b"\n") + (not bare.endswith(b"\n"))
    if b'"' not in bare and bare.count(dialect.separator.encode()) == (len(dialect.names) - 1) * lines:
        try:
            return Batch(_fast(chunk, dialect))
        except pl.exceptions.PolarsError:
            pass  # a row too long beside one too short, or bytes that are not UTF-8, which _decode names
    return _slow(_decode(chunk, where, done), dialect)


def _fast(chunk: bytes, dialect: Dialect) -> pl.DataFrame:
    names = dict.fromkeys(dialect.names, pl.String())
    return pl.read_csv(chunk, has_header=False, separator=dialect.separator, schema=names)


def _slow(text: str, dialect: Dialect) -> Batch:
    """Line by line: a row of the wrong width, or with a stray quote, becomes null cells, its text is kept."""
    width = len(dialect.names)
    cells: list[list[str | None]] = []
    torn: list[str | None] = []
    for line in text.removesuffix("\n").split("\n"):
        line_text = line.rstrip("\r")
        row = _split(line_text, dialect.separator)
        right = len(row) == width and line.count('"') % 2 == 0
        cells.append([cell or None for cell in row] if right else [None] * width)
        torn.append(None if right else line_text)
    frame = pl.DataFrame(cells, schema=dict.fromkeys(dialect.names, pl.String()), orient="row")
    return Batch(frame, pl.Series(torn, dtype=pl.String))


def _decode(data: bytes, where: str, done: int = 0) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = done + data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}: near row {line} there is a byte {data[error.start]:#04x} that is not UTF-8.",
            hint="save the file as UTF-8",
        ) from None


def whole_text(path: Path, kind: str) -> str:
    """A small file's text; InputError says that it should be ``kind``."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", hint="check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text.", hint=kind) from None
