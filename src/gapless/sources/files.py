"""Bars from files: what a file is, and its rows in the bar schema, batch by batch.

1. ``expand`` turns paths, directories and globs into files.
2. ``files_tables.parts`` splits archives, and looks at content, never at a file's ending, to tell the format.
3. ``files_columns`` maps columns and reads the file name; ``files_times`` decides how times are written.
4. ``read`` yields batches. Rows come as they stand in the file: none is dropped, filled, sorted or merged here. A cell
   that cannot be read becomes null, and the row carries its text in ``raw``, so that ``check_bars`` refuses exactly
   that row with a reason. What is wrong with a file as a whole is raised, naming the file and the fix.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gapless.errors import InputError, UsageError
from gapless.sources.files_columns import check_timeframe
from gapless.sources.files_json import json_table
from gapless.sources.files_layout import FORMATS, Label, Layout, Reading, ReadOptions, Times
from gapless.sources.files_rows import bars, check_shape, decide
from gapless.sources.files_tables import HEAD, SUFFIXES, Batch, Part, Table, columnar, kind_of, opened, parts
from gapless.sources.files_text import delimited

__all__ = ["FORMATS", "Label", "Layout", "ReadOptions", "Reading", "Times", "expand", "read", "sniff"]


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """The files that paths, directories (searched through) and globs name, each once.

    Raises UsageError when one of them names nothing.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(_expand_one(Path(path)))
    if not found:
        raise UsageError("no files given.", hint="name files, directories or patterns such as 'data/*.zip'")
    return list(found)


def _expand_one(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and _importable(p.relative_to(path)))
        if not files:
            raise UsageError(f"{path}: no tables in this directory.", hint="expected " + ", ".join(SUFFIXES))
        return files
    if glob.has_magic(str(path)):
        files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if files:
            return files
        raise UsageError(f"{path}: nothing matches.", hint="check the pattern and the directory")
    raise UsageError(f"{path}: no such file or directory.", hint=_nearest(path))


def _importable(path: Path) -> bool:
    name = path.name.lower()
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return name.endswith(SUFFIXES) and not hidden and not name.startswith(("readme", "license", "checksum"))


def _nearest(path: Path) -> str:
    import difflib

    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean '{path.parent / near[0]}'?" if near else "check the path"


def sniff(path: str | Path, options: ReadOptions) -> Layout:
    """What the file (or the first table of an archive) is, from its first batch; ``describe()`` says it in words."""
    return _first(parts(Path(path))[0], replace(options, batch_rows=min(options.batch_rows, 100_000)))[1]


def read(path: str | Path, options: ReadOptions) -> Iterator[Reading]:
    """The rows of a file in the bar schema, in batches of at most ``options.batch_rows``.

    Besides the schema's columns each frame has ``row`` (1-based number of the row in its file or archive member) and
    ``raw`` (the row's text where a cell of it could not be read, else null). Raises InputError or UsageError.
    """
    for part in parts(Path(path)):
        yield from _read_part(part, options)


def _read_part(part: Part, options: ReadOptions) -> Iterator[Reading]:
    table, layout, first = _first(part, options)
    row, notes = 1, layout.notes
    for batch in itertools.chain([first], table.batches):
        frame, remarks = bars(batch, layout, row)
        if row == 1:
            check_shape(frame, layout, options.timeframe)
        yield Reading(frame, part.name, (*notes, *remarks))
        row, notes = row + frame.height, ()


def _first(part: Part, options: ReadOptions) -> tuple[Table, Layout, Batch]:
    """Open a part, take its first batch, and decide."""
    for stem in part.stems:
        check_timeframe(stem, options.timeframe, part.name)
    table = table_of(part, options)
    batch = next((b for b in table.batches if b.frame.height), None)
    if batch is None:
        raise InputError(f"{part.name}: the table holds no rows.", hint="fetch or export it again")
    return table, decide(table, batch.frame, options), batch


def table_of(part: Part, options: ReadOptions) -> Table:
    """The table of a part, by its content; a format the caller insists on must agree with it."""
    with opened(part) as stream:
        head = stream.read(HEAD)
    kind = kind_of(head, part.name)
    if options.format not in ("auto", kind):
        raise UsageError(
            f"{part.name}: --format {options.format} was given, but this is {kind}.", hint="leave --format out"
        )
    by_position = any(name.startswith("column_") for name in (options.columns or {}).values())
    if kind in ("parquet", "feather"):
        return columnar(part, kind, options.batch_rows)
    if kind == "csv":
        return delimited(part, head, options.batch_rows, by_position)
    return json_table(part, head, kind, options.batch_rows, by_position)
