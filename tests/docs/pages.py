"""The documentation as data: pages, their fenced blocks in order, and the HTML comments that say how a block is meant.

A comment on the line before a block: `not run: why`, `exits N`, `serves: PORT`, `file: path`, `job: names`, `needs: key`,
`output of: command`. Nothing is run here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (not run|exits|serves|file|job|needs|output of):? ([^>]+) -->\n$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block. `directive`, `argument`: of the comment right before it; `line`: of its fence, from 1."""

    page: Path
    line: int
    language: str
    text: str
    directive: str = ""
    argument: str = ""

    @property
    def name(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text, 0, match.start())
        directive, argument = (comment[1], comment[2].strip()) if comment else ("", "")
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2], directive, argument))
    return tuple(found)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def code(page: Path) -> list[str]:
    """Every piece of inline code."""
    return _CODE.findall(prose(page))
