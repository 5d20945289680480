"""What the pages say is there, and what is there is on the pages."""

from __future__ import annotations

import ast
import doctest
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

import gapless
from gapless import config
from gapless.app import Lake
from gapless.cli import app
from gapless.stores import lake as store

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def text(name: str) -> str:
    """A page below docs."""
    return (DOCS / name).read_text(encoding="utf-8")


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@functools.cache
def anchors(page: Path) -> set[str]:
    """What a link may point to, as hosts of repositories make it of headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_no_link_points_nowhere(page: Path) -> None:
    """Every relative link leads to a file that exists, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{title(page)} links to {target}"
        assert not anchor or anchor in anchors(found), f"{title(page)} links to {target}, a heading that is not there"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_no_page_names_a_machine(page: Path) -> None:
    """No absolute path of anybody's machine stands on a page."""
    assert re.findall(r"(?<![\w.:/])/(?:home|work|root|tmp|Users|private)/\S*", page.read_text(encoding="utf-8")) == []


EXAMPLES = ["python.md", "configuration.md", "lake.md", "architecture.md", "universes.md", "corporate_actions.md"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt of a page gives what the page says, in order, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    page = text(name)
    blocks = [body for kind, body in FENCE.findall(page) if kind == "python"]
    assert all(body.startswith(">>>") for body in blocks), "an example without a prompt is not run"
    found = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert (found.failed, found.attempted > 0) == (0, bool(blocks))


def test_the_example_configuration_is_one() -> None:
    """Every toml block of the page, and the file that `gapless init` writes, is a valid configuration."""
    blocks = [body for kind, body in FENCE.findall(text("configuration.md")) if kind == "toml"]
    assert blocks
    for body in [*blocks, config.EXAMPLE]:
        config.parse(tomllib.loads(body))


def keys(model: type[BaseModel], before: str = "") -> list[str]:
    """Every key of the configuration with its path; NAME stands for names that users choose."""
    found = []
    for name, field in model.model_fields.items():
        path = f"{before}{name}"
        inner = [m for m in _models(field.annotation) if issubclass(m, BaseModel)]
        named = "dict[" in str(field.annotation)
        if inner:
            found += [path] if "tuple[" in str(field.annotation) else []
            found += keys(inner[0], f"{path}.NAME." if named else f"{path}.")
        else:
            found.append(f"{path}.NAME" if named else path)
    return found


def _models(annotation: object) -> list[type]:
    parts = getattr(annotation, "__args__", ())
    return [annotation] if isinstance(annotation, type) and not parts else [m for p in parts for m in _models(p)]


def _section(path: list[str]) -> type[BaseModel]:
    """The model that holds the keys under a path."""
    model: type[BaseModel] = config.Config
    for name in path:
        if name != "NAME":
            model = next(m for m in _models(model.model_fields[name].annotation) if issubclass(m, BaseModel))
    return model


def test_every_key_of_the_configuration_has_its_line() -> None:
    """Every key has one, with the default that it has, and no line is about a key that is not there."""
    lines = re.findall(r"^\| `([\w.]+)` \|", text("configuration.md"), re.MULTILINE)
    assert sorted(lines) == sorted(keys(config.Config))


def test_the_configurations_defaults_are_those_of_the_page() -> None:
    """Where the page states a value, it is the model's."""
    told = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \|", text("configuration.md"), re.MULTILINE))
    assert len(told) > 8
    for path, value in told.items():
        *sections, key = path.split(".")
        default = _section(sections).model_fields[key].default
        assert tomllib.loads(f"x = {value}")["x"] == (list(default) if isinstance(default, tuple) else default), path


def test_every_public_name_is_on_the_python_page() -> None:
    """Every name of `gapless.__all__`, and every public method of a lake, has a heading or a line of the table."""
    page = text("python.md")
    told = set(re.findall(r"^#+ (\w+)$", page, re.MULTILINE)) | set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    public = {name for name in vars(Lake) if not name.startswith("_")}
    assert (set(gapless.__all__) | public) - told == set()


def test_the_exit_codes_of_errors_are_those_of_the_page() -> None:
    """Each error's exit code in the table is the class's."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", text("python.md"), re.MULTILINE)
    assert {name: int(code) for name, code in rows} == {
        name: getattr(gapless, name).exit_code
        for name in gapless.__all__
        if isinstance(getattr(gapless, name), type) and issubclass(getattr(gapless, name), gapless.GaplessError)
    }


def test_the_generated_pages_are_up_to_date() -> None:
    """`scripts/reference.py --check` says nothing."""
    script = ROOT / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_verb_has_a_heading() -> None:
    """The command line's own register of verbs and the headings of its page are the same."""
    found = []
    for name in app:
        if not name.startswith("-"):
            inner = [n for n in app[name] if not n.startswith("-")]
            found += [f"gapless {name} {n}" for n in inner] or [f"gapless {name}"]
    assert re.findall(r"^## (gapless .*)$", text("cli.md"), re.MULTILINE) == found


@functools.cache
def names(path: str) -> set[str]:
    """Names a source file defines: functions, classes, their members, constants."""
    tree = ast.parse((ROOT / "src" / "gapless" / path).read_text(encoding="utf-8"))
    return set(_defined(tree.body, ""))


def _defined(body: list[ast.stmt], before: str) -> list[str]:
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(before + node.name)
        if isinstance(node, ast.ClassDef):
            found += _defined(node.body, f"{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found += [before + t.id for t in targets if isinstance(t, ast.Name)]
    return found


def test_every_name_of_the_architecture_exists() -> None:
    """`file.py: name` is a name in that file, and `file.py` a file."""
    pages = [
        text("architecture.md"),
        *(p.read_text(encoding="utf-8") for p in sorted((DOCS / "decisions").glob("*.md"))),
    ]
    found = [pair for page in pages for pair in re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", page)]
    assert len(found) > 40
    for path, name in found:
        if path == "executors.py":
            continue  # decision 7 says that it is not there
        home = ROOT if path.startswith("tests/") else ROOT / "src" / "gapless"
        assert (home / path).is_file(), path
        assert not name or name in names(path), f"{path}: {name}"


def test_the_layers_of_the_page_are_the_contract() -> None:
    """The drawing in architecture.md and the contract that import-linter enforces are the same."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("gapless.", "") for layer in contract[0]["layers"] if layer != "gapless.__main__"]
    drawing = text("architecture.md").partition("```text\n")[2].partition("```")[0]
    assert [re.split(r"\s{2,}", line)[0] for line in drawing.splitlines()] == layers


def test_the_figures_of_the_lake_are_the_codes() -> None:
    """Rows that go to Parquet at once, and rows at which the tail is folded."""
    page = text("lake.md")
    assert f"Up to {store.DIRECT_ROWS:,} rows" in page
    assert f"more than {store.FOLD_ROWS:,} rows" in page


def test_the_tests_that_are_named_exist() -> None:
    """A promise on a page names a test that is there."""
    found = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {n for page in PAGES for n in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 15
    assert named - found == set()


def test_every_decision_is_listed() -> None:
    """The list of decisions has each record once, by its number and title, and each names its price."""
    listed = re.findall(r"^\| \[(\d+)\]\((\d{4}-[\w-]+\.md)\) \| (.+) \|$", text("decisions/README.md"), re.MULTILINE)
    assert [name for _, name, _ in listed] == [p.name for p in sorted((DOCS / "decisions").glob("0*.md"))]
    for number, name, words in listed:
        page = text(f"decisions/{name}")
        assert page.startswith(f"# {number}. {words}\n")
        assert "\n**What it costs.**" in page
