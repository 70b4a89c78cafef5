"""Ignore patterns mean what they mean to git, for any patterns and any names."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beowulf.runner.ignore import parse_pattern, parse_patterns, read_patterns, verdict
from beowulf.runner.snapshot import select
from beowulf.runner.spec import Files

if TYPE_CHECKING:
    from pathlib import Path

# Without "a**": git drops what is plain at a pattern's beginning first, and then takes
# the stars of "a**/b" for those of "**/b", against its own manual.
SEGMENTS = [
    "a", "b", "c", "ab", "b a", "*", "a*", "*b", "?", "??", "**", "**b", "***", "[ab]", "[!a]",
    "[^b]*", "[a-b]?", "[b-a]c", "[]a]*", "[a-]*", "[!]]*", "[", "[a", "\\a", "\\*", "\\", "*\\ ",
    "[[:alpha:]]", "[[:alpha:]-]*", "[[:nothing:]]", "[\\]]*", "-*", "]*", "{a,b}", "#a", "!a",
    " a",
]  # fmt: skip
PATTERNS = st.builds(
    lambda start, segments, end: start + "/".join(segments) + end,
    st.sampled_from(["", "", "", "!", "!", "/", "!/", "#"]),
    st.lists(st.sampled_from(SEGMENTS) | st.sampled_from("ab*"), min_size=1, max_size=3),
    st.sampled_from(["", "", "", "/", "/", " ", "  ", "\r", "//", "/**", "/*"]),
)
IGNORE_FILES = st.lists(PATTERNS, max_size=4).map("\n".join)
NAMES = [
    f"{first}{second}{third}"
    for first in ("", "a/", "b/", "ab/")
    for second in ("", "c/", "b a/")
    for third in ("x", "aa", "ba", "a-", "]b", "*", "#a")
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with files in a few directories, none of them tracked."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: nothing to compare with")
    path = tmp_path_factory.mktemp("repository")
    git(path, "init", "--quiet")
    for name in NAMES:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def git(directory: Path, *words: str) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-c", "core.excludesFile=", *words],
        cwd=directory, env=kept | own, check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip


@settings(max_examples=200)
@given(top=IGNORE_FILES, below=IGNORE_FILES)
def test_a_snapshot_takes_what_git_would_track(repository: Path, top: str, below: str) -> None:
    (repository / ".gitignore").write_bytes(top.encode())
    (repository / "a" / ".gitignore").write_bytes(below.encode())
    tracked = git(repository, "ls-files", "-z", "--others", "--exclude-standard").split("\0")[:-1]
    entries = select(repository, Files())
    assert {str(entry.path) for entry in entries if not entry.is_directory} == set(tracked)


@given(line=st.text(), path=st.text(min_size=1).filter(lambda path: "\0" not in path))
def test_any_line_can_be_asked_about_any_path(line: str, path: str) -> None:
    answer = verdict(parse_patterns([line]), path, is_directory=True)
    assert answer in (True, False, None)
    if answer is not None:
        assert answer != line.startswith("!")


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_a_name_with_every_character_escaped_matches_itself_alone(name: str) -> None:
    pattern = parse_pattern("".join(f"\\{character}" for character in name))
    assert pattern is not None
    assert pattern.matches(f"sub/{name}", is_directory=False)
    assert not pattern.matches(f"{name}x", is_directory=False)


@pytest.mark.parametrize(
    "line", ["", "   ", "#", "# *.py", "!", "/", "//", "[", "[a", "[z-a]", "\\"]
)
def test_what_is_no_pattern(line: str) -> None:
    assert parse_pattern(line) is None


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "sub/a.py", True), ("/*.py", "sub/a.py", False), ("sub/*.py", "sub/a.py", True),
        ("sub/*.py", "up/sub/a.py", False), ("**/sub/*.py", "up/sub/a.py", True),
        ("sub/**", "sub/a/b", True), ("sub/**", "sub", False), ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True), ("a/**/b", "ab", False), ("a**b", "a/b", False),
        ("*", "sub", True), ("[[:digit:]]*", "7x", True), ("[[:digit:]]*", "x7", False),
        ("caf?", "café", True), ("[é]", "é", True), ("a\\ ", "a ", True), ("a ", "a", True),
        ("\\#x", "#x", True), ("\\!x", "!x", True), ("two\nlines", "two\nlines", True),
        ("*", "two\nlines", True), ("a.b", "axb", False), ("a+", "aa", False), ("(a)", "a", False),
    ],
)  # fmt: skip
def test_single_patterns(pattern: str, path: str, matches: bool) -> None:
    parsed = parse_pattern(pattern)
    assert parsed is not None
    assert parsed.matches(path, is_directory=False) == matches


def test_a_pattern_that_ends_in_a_slash_is_for_directories() -> None:
    patterns = parse_patterns(["build/"])
    assert verdict(patterns, "sub/build", is_directory=True) is True
    assert verdict(patterns, "sub/build", is_directory=False) is None


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = parse_patterns(["*.py", "!a.py", "/a.*"])
    assert verdict(patterns, "b.py", is_directory=False) is True
    assert verdict(patterns, "sub/a.py", is_directory=False) is False
    assert verdict(patterns, "a.py", is_directory=False) is True
    assert verdict(patterns, "notes.txt", is_directory=False) is None


def test_reading_a_file_with_odd_bytes(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*.log\r\n\xff*\n")
    patterns = read_patterns(tmp_path / ".gitignore")
    assert verdict(patterns, "a.log", is_directory=False) is True
    assert verdict(patterns, "\udcffx", is_directory=False) is True
    assert verdict(patterns, "\r", is_directory=False) is None
