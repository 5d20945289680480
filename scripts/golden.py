"""Answers made elsewhere, against ours: print the table, ``--write`` docs/golden.md, or ``--check`` that it is current.

The references stand in tests/features/golden.toml, their files in ../shared/golden; the exact vectors of the ratings
in ../shared/spec/vectors.json.
"""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.features import plan, run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "golden.md"
REGISTRY = ROOT / "tests" / "features" / "golden.toml"
GOLDEN = ROOT.parent / "shared" / "golden"
VECTORS = ROOT.parent / "shared" / "spec" / "vectors.json"
MISSING = {"", "NaN", "null", "None"}
BARS = ("open", "high", "low", "close", "volume")
Floats = npt.NDArray[np.float64]
Table = dict[str, Floats]


@dataclass(frozen=True)
class Reference:
    """One column of an answer made elsewhere: our expression for it, and how far the two may differ.

    ``relative`` to the answer, plus ``absolute``; both 0: every bit. ``begins``: ``same``, or ``later`` where the sheet
    gives its first values later than they are defined. ``printed``: answers of the last bars, in place of a column.
    """

    family: str
    path: Path
    bars: Path
    column: str
    ours: str
    relative: float = 0.0
    absolute: float = 0.0
    begins: str = "same"
    variant: str = ""
    zero_is_missing: bool = False
    first_volume: float | None = None
    printed: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.path.name}: {self.column}: {self.ours}"


@dataclass(frozen=True)
class Outcome:
    """How a reference and our values compare."""

    bars: int  # that both have
    first: tuple[int, int]  # first bar with a value: theirs, ours
    alone: int  # bars on which only one of them has a value, where the reference begins with ours
    absolute: float
    relative: float
    passed: bool


@cache
def registry() -> dict[str, Any]:
    """The file of references."""
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def references() -> list[Reference]:
    """Every reference, in the order of the file."""
    found = []
    for family in registry()["family"]:
        shared = {key: family[key] for key in ("relative", "absolute") if key in family}
        for row in family["rows"]:
            options = shared | {k: tuple(v) if k == "printed" else v for k, v in row.items() if k != "file"}
            path = GOLDEN / family["folder"] / row["file"]
            bars = GOLDEN / family["bars"] if "bars" in family else path
            found.append(Reference(family["name"], path, bars, **options))
    return found


@cache
def table(path: Path) -> Table:
    """Columns of a CSV or a JSON list by lower-case name, NaN where it says nothing; the first (times) is left out."""
    names, rows = _json(path) if path.suffix == ".json" else _csv(path)
    columns = list(zip(*rows, strict=True))
    return {
        name.strip().lower(): np.array([float("nan") if str(v).strip() in MISSING else float(v) for v in column])
        for name, column in list(zip(names, columns, strict=True))[1:]
    }


def _csv(path: Path) -> tuple[list[str], list[list[Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        names, *rows = csv.reader(file)
    return names, rows


def _json(path: Path) -> tuple[list[str], list[list[Any]]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return list(rows[0]), [list(row.values()) for row in rows]


def ours(expression: str, columns: Mapping[str, Floats]) -> Floats:
    """Our values of an expression over a table."""
    understood = plan({"x": expression})
    return run(understood, {name: columns[name] for name in understood.columns})[0]["x"]


def answer(reference: Reference, count: int) -> Floats:
    """The values of the reference, a bar each."""
    if reference.printed:
        return np.concatenate([np.full(count - len(reference.printed), np.nan), reference.printed])
    values = table(reference.path)[reference.column.lower()]
    return np.where(values == 0, np.nan, values) if reference.zero_is_missing else values


def compare(reference: Reference) -> Outcome:
    """Our values against the reference's, bar by bar, the first one included."""
    bars = dict(table(reference.bars))
    if reference.first_volume is not None:  # the sheet leaves it empty
        bars["volume"] = np.concatenate([[reference.first_volume], bars["volume"][1:]])
    mine = ours(reference.ours, bars)
    theirs = answer(reference, len(mine))
    known, have = np.isfinite(theirs), np.isfinite(mine)
    first = int(np.argmax(known)), int(np.argmax(have))
    later = reference.begins == "later" and first[0] > first[1]
    alone = int((known != have)[first[0] if later else 0 :].sum())
    a, b = mine[known & have], theirs[known & have]
    apart = np.abs(a - b)
    close = bool((apart <= reference.relative * np.abs(b) + reference.absolute).all())
    relative = apart[b != 0] / np.abs(b[b != 0])
    return Outcome(len(a), first, alone, _most(apart), _most(relative), close and not alone and len(a) > 10)


def _most(values: Floats) -> float:
    return float(values.max()) if len(values) else 0.0


def untold() -> list[str]:
    """Columns of the files that are neither bars, nor compared, nor left out with a reason."""
    told: dict[Path, set[str]] = {}
    for r in references():
        told.setdefault(r.path, set()).add(r.column.lower())
    for name, entry in registry()["left_out"].items():
        told.setdefault(GOLDEN / name, set()).update(c.lower() for c in entry["columns"])
    files = {p for p in GOLDEN.rglob("*") if p.suffix in (".csv", ".txt", ".json") and p.parent.name != "quotes"}
    return [f"{p.name}: {c}" for p in sorted(files) for c in table(p) if c not in {*BARS, *told.get(p, ())}]


# ---------------------------------------------------------------- the page


def page() -> str:
    """docs/golden.md."""
    every = [(r, compare(r)) for r in references()]
    lines = [
        "# Answers made elsewhere", "",
        "Generated by `python scripts/golden.py --write`; do not edit. That two of our own paths agree proves nothing",
        "about either: these are answers that others computed, each compared with our expression bar by bar. The test",
        "`test_answers_made_elsewhere` walks the same list, `tests/features/golden.toml`. The files do not come with",
        "the project.", "",
        f"{len(every)} columns, {sum(o.bars for _, o in every):,} values; "
        f"{sum(o.passed for _, o in every)} within what is allowed.", "",
        "*First value*: the bar, counted from 0, on which both have their first. *Allowed*: a share of the answer, or",
        "with ± an amount: half of the digit to which it is printed, or what its rounded prices make of that. A",
        "rounded answer near 0 has a large relative error by itself.", "",
    ]  # fmt: skip
    for family in registry()["family"]:
        rows = [(r, o) for r, o in every if r.family == family["name"]]
        lines += [f"## {family['name']}", "", family["about"], "", *_table(rows), "", *_variants(rows)]
    return "\n".join([*lines, *_ratings(), *_disagreements(), *_left_out()])


def _table(rows: list[tuple[Reference, Outcome]]) -> Iterator[str]:
    yield "| file | column | ours | bars | first value | largest relative error | largest error | allowed | |"
    yield "|---|---|---|---:|---|---:|---:|---|---|"
    for r, o in rows:
        mark = "✓" if o.passed else "✗"
        cells = [f"`{r.path.name}`", r.column, f"`{r.ours}`", f"{o.bars:,}", _first(o)]
        yield f"| {' | '.join([*cells, _error(o.relative), _error(o.absolute), _allowed(r), mark])} |"


def _first(outcome: Outcome) -> str:
    theirs, mine = outcome.first
    return f"{mine}, the same" if theirs == mine else f"{mine}; theirs {theirs}"


def _error(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _allowed(reference: Reference) -> str:
    parts = [_plain(reference.relative)] if reference.relative else []
    parts += [f"± {_plain(reference.absolute)}"] if reference.absolute else []
    return " ".join(parts) or "every bit"


def _plain(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _variants(rows: list[tuple[Reference, Outcome]]) -> list[str]:
    """Where the reference's variant is not our default."""
    found = [f"- `{r.path.name}` {r.column}, `{r.ours}`: {r.variant}." for r, _ in rows if r.variant]
    return ["Variants:", "", *found, ""] if found else []


def _ratings() -> Iterator[str]:
    yield from ("## Technical Ratings: exact vectors", "")
    yield "Exact rational arithmetic (`spec/vectors.json`): all 26 votes of every bar and the three ratings, every bit;"
    yield "checked by `test_every_vote_of_every_bar` and `test_every_rating_of_every_bar_to_the_bit`."
    yield from (
        "",
        "| series | profile | bars | votes | that differ | ratings | that differ |",
        "|---|---|---:|---:|---:|---:|---:|",
    )
    for name, series in json.loads(VECTORS.read_text(encoding="utf-8"))["series"].items():
        for profile in series["profiles"]:
            yield f"| {name} | {profile} | " + " | ".join(f"{n:,}" for n in votes(name, profile)) + " |"
    yield ""


def votes(name: str, profile: str) -> tuple[int, int, int, int, int]:
    """Bars, votes and those that differ, ratings and those that differ, of one series of the vectors."""
    tests = _ratings_tests()
    expected = tests.VECTORS["series"][name]["profiles"][profile]
    bars = tests.series(name)
    mine = np.array(list(tests.votes(bars, profile).values()))
    theirs = np.array([[tests.MARKS[mark] for mark in line] for line in expected["votes"]]).T
    exact = [[float("nan") if t is None else float(tests.Fraction(t)) for t in row[:3]] for row in expected["ratings"]]
    three, rated = np.array(tests.ratings(bars, profile)), np.array(exact).T
    return len(expected["votes"]), theirs.size, _unequal(mine, theirs), rated.size, _unequal(three, rated)


def _unequal(one: Floats, other: Floats) -> int:
    return int(((one != other) & ~(np.isnan(one) & np.isnan(other))).sum())


def _ratings_tests() -> Any:
    """The module that knows how the vectors' series are made."""
    from importlib import util

    spec = util.spec_from_file_location("ratings_vectors", ROOT / "tests" / "features" / "test_ratings.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _disagreements() -> Iterator[str]:
    yield from ("## Where they disagree", "")
    yield "More, beyond these files, in [features.md](features.md#catalogue)."
    yield from ("", "| | ours | | theirs | |", "|---|---|---|---|---|")
    for d in registry()["disagreement"]:
        yield f"| {d['about']} | `{d['ours']}` | {d['whose']} | `{d['other']}` | {d['others']} |"
    yield ""


def _left_out() -> Iterator[str]:
    yield from ("## Not compared", "", "| file | columns | why |", "|---|---|---|")
    for name, entry in registry()["left_out"].items():
        yield f"| `{name}` | {', '.join(entry['columns']) or '–'} | {entry['why']} |"
    yield ""


def main(words: list[str]) -> int:
    """Print, write or check the page; 1 where it is not current or an answer is missed."""
    if words not in ([], ["--write"], ["--check"]):
        print("usage: python scripts/golden.py [--write | --check]", file=sys.stderr)
        return 2
    if not GOLDEN.is_dir():
        print(f"golden.py: no answers at {GOLDEN}. Hint: they are not distributed with the project", file=sys.stderr)
        return 2
    text = page()
    if words == ["--write"]:
        PAGE.write_text(text, encoding="utf-8")
    elif words == ["--check"]:
        if PAGE.read_text(encoding="utf-8") != text:
            print("docs/golden.md is not current. Hint: python scripts/golden.py --write", file=sys.stderr)
            return 1
    else:
        print(text, end="")
    return 0 if "✗" not in text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
