"""Keep the files of jobs by what is in them, so that no file travels to the head twice."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

SHA256 = re.compile(r"[0-9a-f]{64}")
KEPT_S = 30 * 24 * 3600  # a file that no job has asked for in this time is removed
SWEEP_EVERY_S = 24 * 3600
YOUNG_S = 3600  # what is being written now is left alone


@dataclass(frozen=True)
class Entry:
    """One thing of a snapshot: ``content`` is a file's sha256, a link's target, or empty."""

    path: str
    kind: str
    mode: int = 0o644
    mtime_ns: int = 0
    content: str = ""

    @classmethod
    def from_json(cls, value: Any) -> Entry:
        """Check one entry of a client's list.

        Raises:
            InvalidInput: It could leave the job's directory, or is not an entry.
        """
        try:
            entry = cls(str(value[0]), str(value[1]), int(value[2]), int(value[3]), str(value[4]))
        except (TypeError, ValueError, IndexError, KeyError):
            raise _refused(str(value)) from None
        if leads_outside(entry.path):
            raise _refused(entry.path)
        if entry.kind == "file" and not SHA256.fullmatch(entry.content):
            raise _refused(entry.path)
        return entry

    def to_json(self) -> list[Any]:
        """Return the entry as it travels."""
        return [self.path, self.kind, self.mode, self.mtime_ns, self.content]


def leads_outside(name: str) -> bool:
    """Say whether a path from the other side could be anywhere but below the directory meant."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name


def _refused(path: str) -> InvalidInput:
    return InvalidInput("snapshot", f"{path!r} is not a path in it", "submit again")


class Store:
    """Files by their sha256, at ``root``. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Return where the file with this content is, or would be."""
        return self.root / digest[:2] / digest

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return which of these files are not here yet; those that are here are kept on."""
        absent = []
        now = time.time()
        for digest in dict.fromkeys(digests):
            try:
                os.utime(self.path(digest), (now, now))
            except OSError:
                absent.append(digest)
        return absent

    def receive(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Keep a file that arrives in pieces; it is there whole or not at all.

        Raises:
            InvalidInput: What arrived is another file: it was changed on the way here.
            OSError: The disk is full, or the user's quota.
        """
        target = self.path(digest)
        self.root.mkdir(mode=0o700, exist_ok=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            found = hashlib.sha256()
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    found.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())  # a name outlives a power cut, and so must what it names
            if found.hexdigest() != digest:
                raise InvalidInput(
                    "work directory", "a file was changed while it was sent", "submit again"
                )
            Path(temporary).rename(target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def lay_out(self, entries: Iterable[Entry], target: Path) -> None:
        """Write a snapshot to ``target``, which must not exist: copies, for the job to change.

        Raises:
            InvalidInput: A file was damaged on the head's disk; it is removed, to travel again.
            OSError: The disk is full, or a file has left the store meanwhile.
        """
        target.mkdir()
        for entry in entries:
            path = target / entry.path
            if entry.kind == "directory":
                path.mkdir()
            elif entry.kind == "link":
                path.symlink_to(entry.content)
            else:
                self._copy(entry, path)
                path.chmod(entry.mode & 0o777)
                os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))

    def _copy(self, entry: Entry, target: Path) -> None:
        source = self.path(entry.content)
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.content:
            source.unlink(missing_ok=True)
            raise InvalidInput(
                "snapshot",
                f"{entry.path}: the head's copy of this file was damaged, and is removed",
                "submit again, and it is sent anew",
            )
        shutil.copyfile(source, target)

    def sweep(self) -> None:
        """Remove what no job has asked for in a month; it looks at most once a day."""
        stamp = self.root / ".swept"
        now = time.time()
        try:
            if now - stamp.stat().st_mtime < SWEEP_EVERY_S:
                return
        except FileNotFoundError:
            pass
        self.root.mkdir(mode=0o700, exist_ok=True)
        stamp.touch()
        for path in self.root.glob("??/*"):
            _remove_if_old(path, now)
        for path in self.root.glob("??/.new-*"):
            _remove_if_old(path, now, YOUNG_S)


def _remove_if_old(path: Path, now: float, kept_s: float = KEPT_S) -> None:
    try:
        if now - path.stat().st_mtime > kept_s:
            path.unlink()
    except FileNotFoundError:  # somebody else was faster
        pass
