"""Pages as their parts: fenced blocks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One page of documentation."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return FENCE.sub("", self.text)

    def blocks(self, language: str) -> list[str]:
        """Fenced blocks of a language, in order."""
        return [body for kind, body in FENCE.findall(self.text) if kind == language]

    @property
    def anchors(self) -> set[str]:
        """What links may point to, as GitHub makes it of headings."""
        titles = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles}


def pages() -> list[Page]:
    """README, CHANGELOG and everything under docs."""
    return [Page(ROOT / "README.md"), Page(ROOT / "CHANGELOG.md"), *map(Page, sorted((ROOT / "docs").rglob("*.md")))]


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Page:
    """A page by its path."""
    return Page(ROOT / request.param)
