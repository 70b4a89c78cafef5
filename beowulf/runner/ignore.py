"""Ignore patterns as git reads them, asked of one file or directory at a time.

Source: gitignore(5), and git's ``dir.c`` and ``wildmatch.c`` where the manual leaves
something open. A pattern speaks of the very entry that it matches: what lies in an
ignored directory is never asked about, since nobody goes in.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CLASSES = {
    "alnum": "A-Za-z0-9", "alpha": "A-Za-z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": "!-/:-@\\[-`{-~", "space": "\\s", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
NAMED_CLASS = re.compile(r"\[:([a-z]+):\]")


@dataclass(frozen=True)
class Pattern:
    """One line of an ignore file.

    ``whole_path`` says whether it is compared with the path below its ignore file's
    directory, or with the last name in it alone.
    """

    regex: re.Pattern[str]
    negated: bool
    directories_only: bool
    whole_path: bool

    def matches(self, path: str, *, is_directory: bool) -> bool:
        """Say whether this pattern speaks of ``path``, written with ``/`` between names."""
        if self.directories_only and not is_directory:
            return False
        subject = path if self.whole_path else path.rpartition("/")[2]
        return self.regex.fullmatch(subject) is not None


def parse_pattern(line: str) -> Pattern | None:
    """Read one line; None for an empty one, a comment, and what can match nothing."""
    if line.startswith("#"):
        return None
    glob = _without_trailing_spaces(line)
    negated = glob.startswith("!")
    glob = glob.removeprefix("!")
    directories_only = glob.endswith("/")
    glob = glob.removesuffix("/")
    whole_path = "/" in glob
    translated = translate(glob.removeprefix("/"))
    if not translated:
        return None
    return Pattern(re.compile(translated, re.DOTALL), negated, directories_only, whole_path)


def parse_patterns(lines: Iterable[str]) -> tuple[Pattern, ...]:
    """Read lines in .gitignore syntax. As in git, what is no pattern matches nothing."""
    return tuple(pattern for line in lines if (pattern := parse_pattern(line)) is not None)


def read_patterns(ignore_file: Path) -> tuple[Pattern, ...]:
    """Read an ignore file. Bytes in it that are no text match such bytes in file names."""
    data = ignore_file.read_bytes().removeprefix(codecs.BOM_UTF8)
    return parse_patterns(os.fsdecode(line.removesuffix(b"\r")) for line in data.split(b"\n"))


def verdict(patterns: tuple[Pattern, ...], path: str, *, is_directory: bool) -> bool | None:
    """Say whether ``path`` is ignored, or None if no pattern speaks of it: the last one decides."""
    for pattern in reversed(patterns):
        if pattern.matches(path, is_directory=is_directory):
            return not pattern.negated
    return None


def _without_trailing_spaces(line: str) -> str:
    r"""Return the line up to its trailing spaces; ``\`` keeps the one behind it."""
    end = position = 0
    while position < len(line):
        width = 2 if line[position] == "\\" else 1
        if line[position] != " ":
            end = position + width
        position += width
    return line[:end]


def translate(glob: str) -> str | None:
    """Return the regular expression of a glob, or None if the glob can match nothing."""
    parts = []
    position = 0
    while position < len(glob):
        character = glob[position]
        if character == "*":
            part, position = _stars(glob, position)
        elif character == "?":
            part, position = "[^/]", position + 1
        elif character == "[":
            part, position = _bracket(glob, position)
        else:
            position += character == "\\"
            part, position = re.escape(glob[position : position + 1]), position + 1
        if not part:
            return None
        parts.append(part)
    return "".join(parts)


def _stars(glob: str, start: int) -> tuple[str, int]:
    """Translate the stars at ``start``; return that and where the glob goes on."""
    end = start
    while glob[end : end + 1] == "*":
        end += 1
    alone = (start == 0 or glob[start - 1] == "/") and glob[end : end + 1] in ("", "/")
    if end - start == 1 or not alone:
        return "[^/]*", end
    return ("(?:.*/)?", end + 1) if end < len(glob) else (".*", end)


def _bracket(glob: str, start: int) -> tuple[str, int]:
    """Translate the bracket at ``start``; the part is empty if it never closes or matches."""
    position = start + 1
    negated = glob[position : position + 1] in ("!", "^")
    position += negated
    members: list[str] = []
    first = True
    while first or glob[position : position + 1] != "]":
        first = False
        if position >= len(glob):
            return "", position
        named = NAMED_CLASS.match(glob, position)
        if named:
            if named[1] not in CLASSES:
                return "", position
            members.append(CLASSES[named[1]])
            position = named.end()
            continue
        low, position = _member(glob, position)
        if glob[position : position + 1] == "-" and glob[position + 1 : position + 2] not in (
            "", "]"
        ):  # fmt: skip
            high, position = _member(glob, position + 1)
            if low <= high:
                members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    content = "".join(members)
    if negated:
        return f"[^/{content}]", position + 1
    return (f"(?!/)[{content}]" if content else ""), position + 1


def _member(glob: str, position: int) -> tuple[str, int]:
    """Return one character of a bracket, perhaps behind a backslash, and where to go on."""
    position += glob[position] == "\\"
    return glob[position : position + 1], position + 1
