"""List what a snapshot holds by content, so that only what the head lacks has to travel."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.head.store import Entry
from beowulf.runner import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from beowulf.runner.spec import Files

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Manifest:
    """The snapshot of a work directory: what is in it, and where each content is to be read."""

    entries: tuple[Entry, ...]
    sources: dict[str, Path]
    size_bytes: int

    def holds(self, path: str) -> bool:
        """Say whether ``path`` is a file of the snapshot, or lies outside it on the cluster."""
        name = posixpath.normpath(path)
        return name.startswith("/") or any(
            entry.path == name and entry.kind != "directory" for entry in self.entries
        )

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield the pieces of the file with this content; an empty file has one empty piece.

        Raises:
            InvalidInput: It cannot be read any more.
        """
        source = self.sources[digest]
        try:
            with source.open("rb") as file:
                piece = file.read(CHUNK_BYTES)
                yield piece
                while piece := file.read(CHUNK_BYTES):
                    yield piece
        except OSError as error:
            raise InvalidInput(
                "work directory",
                f"cannot read {source.name} any more ({error.strerror})",
                "submit again when nothing changes it",
            ) from None


def list_snapshot(work_directory: Path, files: Files, left_out: Path | None = None) -> Manifest:
    """Return what a job takes along, by the same rules as a snapshot on this computer.

    Raises:
        InvalidInput: Something cannot be read, or the whole is over the size limit.
    """
    root = work_directory.resolve()
    entries: list[Entry] = []
    sources: dict[str, Path] = {}
    size = 0
    for found in snapshot.select(work_directory, files, left_out):
        source = root / found.path
        name = found.path.as_posix()
        if found.is_directory:
            entries.append(Entry(name, "directory"))
        elif found.is_link:
            target = str(snapshot.link_target(root, source))
            entries.append(Entry(name, "link", content=target))
        else:
            digest = _digest(root, source)
            status = source.stat()
            entries.append(Entry(name, "file", status.st_mode & 0o777, status.st_mtime_ns, digest))
            sources[digest] = source
            size += status.st_size
    return Manifest(tuple(entries), sources, size)


def _digest(root: Path, source: Path) -> str:
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise snapshot.unreadable(root, source, error) from None
