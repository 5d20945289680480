"""Write docs/cli.md and docs/catalogue.md from the code; ``--check`` only says whether they are up to date."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cyclopts import App

from gapless import errors
from gapless.cli import app
from gapless.features import listing

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMON = ("--lake", "--config", "--json")
LENGTH = 20  # the length used in the catalogue's examples
ENDS = {
    0: "done, and complete",
    1: "it ran, but something failed or repairable gaps remain",
    2: "the call or the configuration is wrong",
    130: "interrupted by Ctrl-C or SIGTERM; what was done is kept",
}
# What a 1 means where it is an answer and not an error.
ONES = {
    "values sync": "a request failed; what came is kept, and the next run asks for the rest",
    "import": "a file could not be read, or bars that a file answers for are missing and can be fetched",
    "backfill": "something failed, or repairable gaps remain in the chosen series and span",
    "repair": "something failed, or repairable gaps remain in the chosen series and span",
    "gaps": "repairable gaps are among those listed",
    "features build": "a series was left alone because its values leave their bounds",
    "prove": "a check failed; the first difference is printed",
    "demo": "a check failed",
    "doctor": "something has to be fixed",
    "lake verify": "problems were found",
}
_KINDS = {int: "whole number", float: "number", str: "text", Path: "path"}


def verbs(group: App = app, before: str = "") -> Iterator[tuple[str, App]]:
    """Every verb by its whole name, in the order of the command line's own registration."""
    for name in group:
        if name.startswith("-"):
            continue
        whole = f"{before} {name}".strip()
        if any(not n.startswith("-") for n in group[name]):
            yield from verbs(group[name], whole)
        else:
            yield whole, group[name]


def arguments(verb: App) -> list[Any]:
    """What a verb takes, positional first."""
    shown = [a for a in verb.assemble_argument_collection(parse_docstring=True) if a.show]
    return sorted(shown, key=lambda a: not _positional(a))


def cli_page() -> str:
    """The reference of the command line."""
    found = list(verbs())
    unknown = ONES.keys() - {name for name, _ in found}
    if unknown:
        raise SystemExit(f"scripts/reference.py speaks of verbs that do not exist: {', '.join(sorted(unknown))}")
    lines = [
        "# The command line", "",
        "Generated from the code by `make docs`; do not edit.", "",
        "Results go to stdout, progress and messages to stderr. Times are ISO-8601 and UTC unless they say otherwise;",
        "an end is exclusive. A name that does not exist is an error that names the nearest one that does.", "",
        *[f"- [`gapless {name}`](#gapless-{name.replace(' ', '-')}): {_summary(verb)}" for name, verb in found], "",
        *_ends(), *_common(dict(found)["status"]),
    ]  # fmt: skip
    for name, verb in found:
        lines += _verb(name, verb)
    return "\n".join(lines).rstrip() + "\n"


def _ends() -> list[str]:
    rows = [f"| {code} | {text} | {_raised(code)} |" for code, text in ENDS.items()]
    return ["## Exit codes", "", "| code | means | errors |", "|---|---|---|", *rows, ""]


def _raised(code: int) -> str:
    kinds = [
        k for k in vars(errors).values()
        if inspect.isclass(k) and issubclass(k, errors.GaplessError) and k.exit_code == code
    ]  # fmt: skip
    return ", ".join(f"`{k.__name__}`" for k in kinds)


def _common(verb: App) -> list[str]:
    shared = [a for a in arguments(verb) if a.names[0] in COMMON]
    text = "Taken by every verb that does not say otherwise."
    return ["## Common options", "", text, "", *_table(shared), ""]


def _verb(name: str, verb: App) -> list[str]:
    taken = arguments(verb)
    shared = {a.names[0] for a in taken}.issuperset(COMMON)
    own = [a for a in taken if not (shared and a.names[0] in COMMON)]
    doc = inspect.cleandoc(verb.help).partition("\nParameters\n")[0].strip()
    lines = [f"## gapless {name}", "", f"    {_usage(name, own)}", "", doc, ""]
    lines += [*_table(own), ""] if own else []
    lines += [f"Exit code 1: {ONES[name]}.", ""] if name in ONES else []
    return lines + (["And the [common options](#common-options).", ""] if shared else ["Takes no common options.", ""])


def _summary(verb: App) -> str:
    return inspect.cleandoc(verb.help).partition("\n")[0]


def _usage(name: str, own: list[Any]) -> str:
    words = [_name(a) if a.required or _positional(a) else "" for a in own]
    needed = [
        w if a.required else f"[{w}]" for w, a in zip(words, own, strict=True) if w
    ]  # fmt: skip
    options = ["[options]"] if any(not w for w in words) else []
    return " ".join(["gapless", name, *needed, *options])


def _positional(argument: Any) -> bool:
    return argument.field_info.kind is not inspect.Parameter.KEYWORD_ONLY and argument.names[0] not in COMMON


def _name(argument: Any) -> str:
    if not _positional(argument):
        return f"{argument.names[0]} {argument.names[0].lstrip('-').upper()}"
    many = "…" if get_origin(argument.hint) is list else ""
    return str(argument.names[0].lstrip("-").upper()) + many


def _table(found: list[Any]) -> list[str]:
    return ["| option | value | what |", "|---|---|---|", *map(_row, found)]


def _row(argument: Any) -> str:
    names = _name(argument) if _positional(argument) else ", ".join(argument.names)
    text = " ".join((argument.parameter.help or "").split())
    if not text.strip(" ."):
        raise SystemExit(f"option {names} has no word of explanation; add one to its docstring")
    default = argument.field_info.default
    told = default not in (None, "", False, inspect.Parameter.empty, Path())
    value = _kind(argument.hint) + (", required" if argument.required else f", default `{default}`" if told else "")
    return f"| `{names}` | {value} | {text.replace('|', chr(92) + '|')} |"


def _kind(hint: Any) -> str:
    kinds = [k for k in (get_args(hint) or (hint,)) if k is not type(None)]
    if get_origin(hint) is Literal:
        return " ".join(f"`{k}`" for k in kinds)
    if get_origin(hint) is list:
        return f"{_kind(kinds[0])}, one or more"
    if kinds == [bool]:
        return "flag"
    return _KINDS[kinds[0]] if kinds[0] in _KINDS else _kind(kinds[0])


def catalogue_page() -> str:
    """Every feature: signature, what it is, bounds, warm-up, memory, where it is from."""
    rows = listing(LENGTH)
    lines = [
        "# The catalogue", "",
        "Generated from the code by `make docs`; do not edit. How to write features: [features.md](features.md).", "",
        "Warm-up (bars before the first value) and memory (bars a value depends on) are those of the example, with a",
        f"length of {LENGTH} where there is one. `decaying` is the memory of a recursion.", "",
    ]  # fmt: skip
    for group in dict.fromkeys(r["group"] for r in rows):
        lines += [f"## {group.capitalize()}", ""]
        for row in (r for r in rows if r["group"] == group):
            lines += _feature(row)
    return "\n".join(lines).rstrip() + "\n"


def _feature(row: dict[str, Any]) -> list[str]:
    text, _, rest = row["doc"].partition("\n>>> ")
    memory = f"{row['memory']} bars" if row["memory"] is not None else "decaying"
    facts = [
        f"`{row['example']}`: warm-up {row['warmup']} bars", f"memory {memory}", f"reads {', '.join(row['inputs'])}",
        f"bounds {_bounds(row['bounds'])}",
    ]  # fmt: skip
    lines = [f"### {row['name']}", "", f"    {row['signature']}", "", text.strip().replace("``", "`"), ""]
    lines += ["```python", f">>> {rest}", "", "```", ""] if rest else []
    lines += [" · ".join(facts) + ".", ""]
    return lines + ([f"Source: {row['source']}.", ""] if row["source"] else [])


def _bounds(found: dict[str, float | None]) -> str:
    low, high = (found[side] for side in ("low", "high"))
    if low is None and high is None:
        return "none"
    return f"[{'−∞' if low is None else f'{low:g}'}, {'∞' if high is None else f'{high:g}'}]"


PAGES = {"cli.md": cli_page, "catalogue.md": catalogue_page}


def main(words: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; 1 when they differ."""
    if words not in ([], ["--check"]):
        print("usage: python scripts/reference.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for name, make in PAGES.items():
        text, path = make(), DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(f"docs/{name}")
        if not words:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    if words and stale:
        print(f"{' and '.join(stale)}: not what the code says. Hint: make docs, and commit the result", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
