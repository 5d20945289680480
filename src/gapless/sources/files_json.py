"""JSON in the shapes vendors and libraries write, in batches of text cells like CSV's."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from gapless.errors import InputError
from gapless.sources import files_text
from gapless.sources.files_tables import HEAD, Batch, Part, Table, opened
from gapless.sources.files_text import BOM, chunks, shape_names

_WHOLE_JSON = 1 << 28


def json_table(part: Part, head: bytes, kind: str, rows: int, by_position: bool) -> Table:
    """JSON in these shapes: rows as arrays or objects, a line each, in a list or under a key; columns of lists."""
    text = head.removeprefix(BOM).lstrip()
    if kind == "jsonl":
        return _rows_table(part, kind, _json_lines(part), rows, by_position)
    inner = text[1:].lstrip()[:1]
    if text[:1] == b"[" and inner in (b"[", b"{"):
        return _rows_table(part, kind, _json_elements(part, inner), rows, by_position)
    value = _json_whole(part)
    found, symbol = _json_rows(value, part.name)
    return _rows_table(part, kind, iter([found]), rows, by_position, symbol)


def _rows_table(
    part: Part, kind: str, pieces: Iterator[list[Any]], rows: int, by_position: bool, symbol: str | None = None
) -> Table:
    """A table from lists of rows; the first row's kind and keys decide the columns."""
    first = next((piece for piece in pieces if piece), None)
    if first is None:
        raise InputError(f"{part.name}: the file holds no rows.", hint="fetch or export it again")
    if isinstance(first[0], dict):
        names = tuple(dict.fromkeys(name for row in first[:1000] if isinstance(row, dict) for name in row))
    elif isinstance(first[0], list):
        names = shape_names(len(first[0]), by_position)
    else:
        raise InputError(f"{part.name}: the rows are neither arrays nor objects.", hint="expected [[time, open, …], …]")
    batches = _json_batches(itertools.chain([first], pieces), names, rows)
    return Table(part, kind, list(names), batches, header=isinstance(first[0], dict) or None, symbol=symbol)


def _json_batches(pieces: Iterator[list[Any]], names: tuple[str, ...], rows: int) -> Iterator[Batch]:
    for chunk in pieces:
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
        for chunk in chunks(stream, 0, part.name):
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
        while data := stream.read(files_text.CHUNK):
            data = left + data
            if first:
                data, first = data.removeprefix(BOM).lstrip()[1:], False
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
    return _json_decode(data.removeprefix(BOM), part.name)


def _json_rows(value: Any, where: str) -> tuple[list[Any], str | None]:
    """The rows in a document, and the symbol it names; rows under a key, ``columns`` + ``data``, columns of lists."""
    if isinstance(value, dict) and isinstance(chart := value.get("chart"), dict) and chart.get("result"):
        return _yahoo_chart(chart["result"][0], where)
    if isinstance(value, dict):
        symbol = next((value[k] for k in ("ticker", "symbol", "pair") if isinstance(value.get(k), str)), None)
        if isinstance(names := value.get("columns"), list) and isinstance(data := value.get("data"), list):
            return [dict(zip(names, row, strict=False)) for row in data], symbol
        if _column_index_cell(value):
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


def _column_index_cell(value: dict[str, Any]) -> bool:
    """Is it pandas' default: column → index → cell?"""
    inner = [cells for cells in value.values() if isinstance(cells, dict)]
    plain = not any(isinstance(cell, dict | list) for cells in inner for cell in cells.values())
    return bool(value) and len(inner) == len(value) and plain


def _yahoo_chart(result: Any, where: str) -> tuple[list[Any], str | None]:
    """Yahoo's chart answer: times in one list, a list for each column beside it, the symbol in its head."""
    try:
        columns = {"timestamp": result["timestamp"], **result["indicators"]["quote"][0]}
        symbol = result["meta"].get("symbol")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], symbol
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{where}: a Yahoo chart without bars ({error!r}).", hint="ask for it again") from None
