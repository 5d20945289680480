"""Text tables in batches of text cells: CSV in its dialects, JSON in the shapes vendors and libraries write."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import polars as pl

from gapless.errors import InputError
from gapless.sources.files_columns import KLINE_ARCHIVE, PLAIN
from gapless.sources.files_tables import HEAD, Batch, Part, Table, opened

CHUNK = 1 << 23
_WHOLE_JSON = 1 << 28
_BOM = b"\xef\xbb\xbf"
_CELL = re.compile(r"^\s*[+-]?(\d[\d.,:/TZ +-]*|\.\d+)([eE][+-]?\d+)?\s*$")


# ---------------------------------------------------------------- CSV


@dataclass(frozen=True)
class Dialect:
    """How the text is laid out. ``skip``: lines before the first data row."""

    separator: str
    header: bool
    names: tuple[str, ...]
    skip: int
    symbol: str | None = None
    notes: tuple[str, ...] = ()


def delimited(part: Part, head: bytes, rows: int) -> Table:
    """A CSV table: separator, header and preamble found from its first lines."""
    dialect = dialect_of(head, part.name)
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


def dialect_of(head: bytes, where: str) -> Dialect:
    """The dialect of a CSV file by its first lines; raises InputError when it is not a table.

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
        return Dialect(separator, False, _shape_names(len(first)), skip, notes=notes)
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


def _shape_names(width: int) -> tuple[str, ...]:
    if width == len(KLINE_ARCHIVE):
        return KLINE_ARCHIVE
    return PLAIN if width == len(PLAIN) else tuple(f"column_{i}" for i in range(1, width + 1))


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
        for chunk in _chunks(stream, dialect.skip, part.name):
            batch = _csv_batch(chunk, dialect, part.name, done)
            done += batch.frame.height
            for start in range(0, batch.frame.height, rows):
                torn = None if batch.torn is None else batch.torn.slice(start, rows)
                yield Batch(batch.frame.slice(start, rows), torn)


def _chunks(stream: IO[bytes], skip: int, where: str) -> Iterator[bytes]:
    """Whole lines, about CHUNK bytes at a time, without byte-order mark, blank lines and the first ``skip`` lines.

    A line ends at a line break even inside quotes: no cell of a bar holds one, and a stray quote spoils one line only.
    """
    left, first = b"", True
    data = stream.read(CHUNK).removeprefix(_BOM)
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


# ---------------------------------------------------------------- JSON


def json_table(part: Part, head: bytes, kind: str, rows: int) -> Table:
    """JSON in these shapes: rows as arrays or objects, a line each, in a list or under a key; columns of lists."""
    text = head.removeprefix(_BOM).lstrip()
    if kind == "jsonl":
        return _rows_table(part, kind, _json_lines(part), rows)
    inner = text[1:].lstrip()[:1]
    if text[:1] == b"[" and inner in (b"[", b"{"):
        return _rows_table(part, kind, _json_elements(part, inner), rows)
    value = _json_whole(part)
    found, symbol = _json_rows(value, part.name)
    return _rows_table(part, kind, iter([found]), rows, symbol)


def _rows_table(part: Part, kind: str, chunks: Iterator[list[Any]], rows: int, symbol: str | None = None) -> Table:
    """A table from lists of rows; the first row's kind and keys decide the columns."""
    first = next((chunk for chunk in chunks if chunk), None)
    if first is None:
        raise InputError(f"{part.name}: the file holds no rows.", hint="fetch or export it again")
    if isinstance(first[0], dict):
        names = tuple(dict.fromkeys(name for row in first[:1000] if isinstance(row, dict) for name in row))
    elif isinstance(first[0], list):
        names = _shape_names(len(first[0]))
    else:
        raise InputError(f"{part.name}: the rows are neither arrays nor objects.", hint="expected [[time, open, …], …]")
    batches = _json_batches(itertools.chain([first], chunks), names, rows)
    return Table(part, kind, list(names), batches, header=isinstance(first[0], dict) or None, symbol=symbol)


def _json_batches(chunks: Iterator[list[Any]], names: tuple[str, ...], rows: int) -> Iterator[Batch]:
    for chunk in chunks:
        for start in range(0, len(chunk), rows):
            yield _json_batch(chunk[start : start + rows], names)


def _json_batch(rows: list[Any], names: tuple[str, ...]) -> Batch:
    cells = [_cells(row, names) for row in rows]
    torn = [None if row is not None else _json_text(rows[i]) for i, row in enumerate(cells)]
    blank: list[str | None] = [None] * len(names)
    columns = zip(*(blank if row is None else row for row in cells), strict=True)
    frame = pl.DataFrame([pl.Series(n, c, dtype=pl.String) for n, c in zip(names, columns, strict=True)])
    return Batch(frame, pl.Series(torn, dtype=pl.String))


def _cells(row: object, names: tuple[str, ...]) -> list[str | None] | None:
    """A row as text cells, None when it is of another shape."""
    if isinstance(row, dict):
        return [_cell(row.get(name)) for name in names]
    if isinstance(row, list) and len(row) == len(names):
        return [_cell(value) for value in row]
    return None


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else _json_text(value)


def _json_text(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _json_decode(data: bytes, where: str, done: int = 0) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # perhaps only a NaN, which JSON does not know but Python writes
    try:
        return json.loads(data)
    except ValueError as error:
        raise InputError(f"{where}: not JSON after row {done}: {error}.", hint="fetch or export it again") from None


def _json_lines(part: Part) -> Iterator[list[Any]]:
    done = 0
    with opened(part) as stream:
        for chunk in _chunks(stream, 0, part.name):
            rows = [_line(line) for line in chunk.splitlines() if line.strip()]
            done += len(rows)
            yield rows


def _line(line: bytes) -> Any:
    """The value of a line; its text when it is not JSON, so that the row is kept and refused, not lost."""
    import msgspec

    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line.decode(errors="replace")


def _json_elements(part: Part, mark: bytes) -> Iterator[list[Any]]:
    """The elements of one long array, a chunk at a time. Cells are plain, so an element ends at ``],`` or ``},``."""
    end = b"]" if mark == b"[" else b"}"
    cut = re.compile(rb"\%s\s*,\s*\%s" % (end, mark))
    left, first, done = b"", True, 0
    with opened(part) as stream:
        while data := stream.read(CHUNK):
            data = left + data
            if first:
                data, first = data.removeprefix(_BOM).lstrip()[1:], False
            at = max((found.start() for found in cut.finditer(data, max(0, len(data) - HEAD))), default=-1)
            if at < 0 and len(data) > _WHOLE_JSON:
                raise InputError(f"{part.name}: no row ends after row {done}.", hint="expected [[…], …] or [{…}, …]")
            if at < 0:
                left = data
                continue
            rows = _json_decode(b"[" + data[: at + 1] + b"]", part.name, done)
            left = data[at + 1 :].lstrip()[1:]
            done += len(rows)
            yield rows
    yield _json_decode(b"[" + left, part.name, done)


def _json_whole(part: Part) -> Any:
    """A JSON document that cannot be read in pieces, within reason."""
    with opened(part) as stream:
        data = stream.read(_WHOLE_JSON + 1)
    if len(data) > _WHOLE_JSON:
        raise InputError(
            f"{part.name}: over {_WHOLE_JSON >> 20} MB of JSON in one object.",
            hint="write rows as [[…], …] or one object a line, or convert it to Parquet",
        )
    return _json_decode(data.removeprefix(_BOM), part.name)


def _json_rows(value: Any, where: str) -> tuple[list[Any], str | None]:
    """The rows in a document, and the symbol it names; rows under a key, ``columns`` + ``data``, columns of lists."""
    if isinstance(value, dict):
        symbol = next((value[k] for k in ("ticker", "symbol", "pair") if isinstance(value.get(k), str)), None)
        if isinstance(names := value.get("columns"), list) and isinstance(data := value.get("data"), list):
            return [dict(zip(names, row, strict=False)) for row in data], symbol
        if value and all(isinstance(cells, dict) for cells in value.values()):  # pandas' default: column → index → cell
            keys = dict.fromkeys(key for cells in value.values() for key in cells)
            return [{"index": key} | {name: cells.get(key) for name, cells in value.items()} for key in keys], symbol
        lists = {name: cells for name, cells in value.items() if isinstance(cells, list)}
        nested = [cells for cells in lists.values() if cells and isinstance(cells[0], dict | list)]
        if len(nested) == 1:
            return nested[0], symbol
        if len(lists) > 1 and len({len(cells) for cells in lists.values()}) == 1:
            return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)], symbol
    seen = ", ".join(map(str, value)) if isinstance(value, dict) else str(value)[:80]
    raise InputError(
        f"{where}: no rows found in the JSON ({seen}).", hint="expected [[…], …], [{…}, …] or columns of lists"
    )
