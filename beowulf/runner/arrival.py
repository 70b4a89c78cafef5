"""Write the files of a job that arrive from elsewhere, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf.errors import BeowulfError, InvalidInput
from beowulf.head.store import leads_outside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from beowulf.head.frames import Frame


@dataclass
class Arrival:
    """Files on their way into the directory ``target``; counts what came and what was there."""

    target: Path
    brought: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def have(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change, in ns, of each file that is there already.

        Raises:
            InvalidInput: The target is something else than a directory.
        """
        if self.target.exists() and not self.target.is_dir():
            raise InvalidInput("--to", f"{self.target} is no directory", "name another")
        found = {}
        for path in self.target.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                name = path.relative_to(self.target).as_posix()
                found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def take(self, frames: Iterable[Frame]) -> None:
        """Write the files that these frames carry.

        Raises:
            BeowulfError: A path leads out of the target; nothing is written there.
            OSError: The disk is full; files that came before are whole.
        """
        incoming = iter(frames)
        for frame in incoming:
            if "kept" in frame.document:
                self.kept.append(str(frame.document["kept"]))
            else:
                self._write(frame, incoming)

    def _write(self, first: Frame, rest: Iterator[Frame]) -> None:
        name = str(first.document["path"])
        if leads_outside(name):
            raise BeowulfError(f"the head sent a file named {name!r}, which is not one of a job")
        path = self.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                frame = first
                file.write(frame.data)
                while frame.document.get("more"):
                    frame = next(rest)
                    file.write(frame.data)
                self.size_bytes += file.tell()
            _dress(Path(temporary), first.document)
            Path(temporary).rename(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        self.brought.append(name)


def _dress(path: Path, facts: dict[str, Any]) -> None:
    """Give a file its time and those of its permissions that are its owner's business."""
    path.chmod((int(facts["mode"]) & 0o777) | 0o600)
    time_ns = int(facts["mtime_ns"])
    os.utime(path, ns=(time_ns, time_ns))
