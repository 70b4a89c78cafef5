"""Copy the work directory into the job, less what is ignored, whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.runner.ignore import Pattern, parse_pattern, read_patterns, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.runner.spec import Files

IGNORE_FILES = (".gitignore", ".beowulfignore")
DIRECTORIES_LEFT_OUT = ("__pycache__", ".venv")
NAMED_IN_MESSAGE = 3
MOST_FILES = 100_000


@dataclass(frozen=True)
class Entry:
    """One thing to copy: its path below the work directory and its size in bytes."""

    path: Path
    size: int
    is_link: bool = False
    is_directory: bool = False


@dataclass(frozen=True)
class Rules:
    """Ignore patterns and where they hold, outermost first; the innermost that matches decides."""

    layers: tuple[tuple[Path, tuple[Pattern, ...]], ...] = field(default_factory=tuple)

    def below(self, directory: Path) -> Rules:
        """Return these rules with those that ``directory``'s own ignore files add."""
        layers = list(self.layers)
        for name in IGNORE_FILES:
            file = directory / name
            if file.is_file():
                layers.append((directory, read_patterns(file)))
        return Rules(tuple(layers))

    def ignore(self, path: Path, *, is_directory: bool) -> bool:
        """Say whether ``path`` stays behind."""
        for base, patterns in reversed(self.layers):
            name = path.relative_to(base).as_posix()
            ignored = verdict(patterns, name, is_directory=is_directory)
            if ignored is not None:
                return ignored
        return False


def take_snapshot(
    work_directory: Path, target: Path, files: Files, left_out: Path | None = None
) -> None:
    """Copy ``work_directory`` to ``target``, which must not exist yet.

    Left out: what .gitignore and .beowulfignore say (here, below, and above up to the
    top of the git repository), ``files.exclude``, ``.git``, ``.venv``, byte-code, the
    directory ``left_out``, and what is neither a file, a directory nor a link.

    Raises:
        InvalidInput: Something cannot be read, or the whole is over the size limit.
        OSError: The target cannot be written.
    """
    entries = select(work_directory, files, left_out)
    root = work_directory.resolve()
    target.mkdir()
    for entry in entries:
        _copy(root, entry, target)


def select(work_directory: Path, files: Files, left_out: Path | None = None) -> list[Entry]:
    """Return what the snapshot takes along, parents before children.

    Raises:
        InvalidInput: Something cannot be read, or the whole is over the size limit.
    """
    root = work_directory.resolve()
    rules = Rules()
    for ancestor in _ancestors_in_repository(root):
        rules = _rules_below(rules, root, ancestor)
    exclusions = _exclusions(root, files.exclude, left_out)
    entries: list[Entry] = []
    for entry in _walk(root, rules, exclusions):
        entries.append(entry)
        if len(entries) > MOST_FILES:
            raise InvalidInput(
                "work directory",
                f"{root} holds more than {MOST_FILES} files",
                "name what the job does not need in .beowulfignore, or submit from the "
                "script's own directory",
            )
    _refuse_too_large(root, entries, files.size_limit_mb)
    return entries


def _ancestors_in_repository(root: Path) -> list[Path]:
    """Return the directories above ``root`` up to the top of its git repository, outermost first.

    ``root`` inside no repository has none.
    """
    for depth, ancestor in enumerate(root.parents):
        if (ancestor / ".git").exists():
            return list(reversed(root.parents[: depth + 1]))
    return []


@dataclass(frozen=True)
class Exclusions:
    """What no ignore file can bring back."""

    root: Path
    patterns: tuple[Pattern, ...]
    left_out: Path | None

    def hold(self, path: Path, *, is_directory: bool) -> bool:
        """Say whether ``path`` stays behind, whatever the ignore files say."""
        if path.name == ".git" or (is_directory and path.name in DIRECTORIES_LEFT_OUT):
            return True
        name = path.relative_to(self.root).as_posix()
        return path == self.left_out or bool(
            verdict(self.patterns, name, is_directory=is_directory)
        )


def _exclusions(root: Path, lines: tuple[str, ...], left_out: Path | None) -> Exclusions:
    patterns = []
    for index, line in enumerate(lines):
        pattern = parse_pattern(line)
        if pattern is None:
            raise InvalidInput(
                f"files.exclude[{index}]", f"{line!r} is not a pattern", "see man gitignore"
            )
        patterns.append(pattern)
    return Exclusions(root, tuple(patterns), left_out.resolve() if left_out else None)


def _rules_below(rules: Rules, root: Path, directory: Path) -> Rules:
    try:
        return rules.below(directory)
    except OSError as error:
        raise unreadable(root, Path(error.filename or directory), error) from None


def _walk(directory: Path, rules: Rules, exclusions: Exclusions) -> Iterator[Entry]:
    root = exclusions.root
    try:
        with os.scandir(directory) as found:
            children = sorted(found, key=lambda child: child.name)
    except OSError as error:
        raise unreadable(root, directory, error) from None
    if any(child.name in IGNORE_FILES for child in children):
        rules = _rules_below(rules, root, directory)
    for child in children:
        path = Path(child.path)
        below = path.relative_to(root)
        try:
            status = child.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed a moment ago, as editors do
            continue
        except OSError as error:
            raise unreadable(root, path, error) from None
        is_directory = stat.S_ISDIR(status.st_mode)
        if exclusions.hold(path, is_directory=is_directory) or rules.ignore(
            path, is_directory=is_directory
        ):
            continue
        if is_directory:
            yield Entry(below, 0, is_directory=True)
            yield from _walk(path, rules, exclusions)
        elif stat.S_ISLNK(status.st_mode):
            yield Entry(below, 0, is_link=True)
        elif stat.S_ISREG(status.st_mode):
            yield Entry(below, status.st_size)


def _refuse_too_large(root: Path, entries: list[Entry], limit_mb: int) -> None:
    total = sum(entry.size for entry in entries)
    if total <= limit_mb * 1_000_000:
        return
    largest = sorted(entries, key=lambda entry: entry.size, reverse=True)[:NAMED_IN_MESSAGE]
    named = ", ".join(f"{entry.path} ({entry.size / 1e6:.0f} MB)" for entry in largest)
    raise InvalidInput(
        "work directory",
        f"{root} holds {total / 1e6:.0f} MB, over the limit of {limit_mb} MB; largest: {named}",
        "name what the job does not need in .beowulfignore, or raise files.size_limit_mb",
    )


def _copy(root: Path, entry: Entry, target: Path) -> None:
    source = root / entry.path
    copy = target / entry.path
    if entry.is_directory:
        copy.mkdir()
    elif entry.is_link:
        copy.symlink_to(link_target(root, source))
    else:
        try:
            reader = source.open("rb")
        except OSError as error:
            raise unreadable(root, source, error) from None
        with reader, copy.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        shutil.copystat(source, copy)


def link_target(root: Path, link: Path) -> Path:
    """Return where a link should point: as written inside the snapshot, absolute outside it."""
    pointed = link.parent.resolve() / link.readlink()
    inside = Path(os.path.normpath(pointed)).is_relative_to(root)
    if inside and not link.readlink().is_absolute():
        return link.readlink()
    return pointed


def unreadable(root: Path, path: Path, error: OSError) -> InvalidInput:
    """Return the refusal of a work directory of which something cannot be read."""
    name = path.relative_to(root) if path.is_relative_to(root) and path != root else path
    return InvalidInput(
        "work directory",
        f"cannot read {name} ({error.strerror})",
        f"make it readable (chmod u+rX) or name it in {IGNORE_FILES[1]}",
    )
