"""Read Markdown as far as the tests need it: headings, links and fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
SAVED_AS = re.compile(r"\bSave (?:\w+ ){1,4}as\s+`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the file that the reader saves it as, if any."""

    language: str
    text: str
    section: str
    saved_as: str | None


def pages() -> list[Path]:
    """Return every Markdown file of the project."""
    hidden = {".venv", ".git", ".cache", "node_modules", ".pytest_cache"}
    return sorted(
        path
        for path in REPOSITORY.rglob("*.md")
        if not hidden & set(path.relative_to(REPOSITORY).parts)
    )


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    end_of_last = 0
    for fence in FENCE.finditer(text):
        before = text[end_of_last : fence.start()]
        paragraph = before.strip().split("\n\n")[-1]
        saved = SAVED_AS.search(paragraph)
        headings = HEADING.findall(FENCE.sub("", text[: fence.start()]))
        section = headings[-1] if headings else ""
        yield Block(fence[1], fence[2], section, saved[1] if saved else None)
        end_of_last = fence.end()


def links(text: str) -> list[str]:
    """Return where the links of a page point."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = 0
        while (name := f"{anchor}-{count}" if count else anchor) in found:
            count += 1
        found.add(name)
    return found
