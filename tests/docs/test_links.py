"""Every link in the documentation leads somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tests.docs.markdown import anchors, links, pages

if TYPE_CHECKING:
    from pathlib import Path


def dead_links(page: Path) -> list[str]:
    """Return the relative links of a page whose file or heading is not there."""
    dead = []
    for link in links(page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        inside = target.is_relative_to(REPOSITORY.resolve()) and target.exists()
        if not inside or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_and_anchors_resolve(page: Path) -> None:
    assert dead_links(page) == []


def test_dead_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_links.REPOSITORY", tmp_path)
    (tmp_path / "other.md").write_text("# Here, there\n\n## Here, there\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#here-there) [b](other.md#here-there-1) [c](#top) `[d](no.md)`\n\n"
        "# Top\n\n[e](missing.md) [f](other.md#nowhere) [g](../outside.md) [h](https://a.example)\n"
    )
    assert dead_links(page) == ["missing.md", "other.md#nowhere", "../outside.md"]


def test_decisions_are_numbered_and_listed() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{n:04d}" for n in range(1, len(records) + 1)]
    listed = links((folder / "README.md").read_text(encoding="utf-8"))
    assert [link for link in listed if link[:1].isdigit()] == records
